//! Waiting for the end of a drain.

use super::{Inner, SubscriberRegistry};
use crate::contain::{discard, wake_all};
use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll, Waker};

/// The outboxes that owners hold, and the futures that wait until there are none.
#[derive(Default)]
pub(super) struct Owners {
    /// Outboxes that an owner holds, whether their subscribers have ended or not.
    held: AtomicUsize,
    /// Those of them that have a wire.
    wired: AtomicUsize,
    /// The wakers of the futures that wait, by the number of the future.
    waiting: Mutex<BTreeMap<u64, Waker>>,
    futures: AtomicU64,
}

impl Owners {
    pub(super) fn add(&self) {
        self.held.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn add_wire(&self) {
        self.wired.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn wired(&self) -> usize {
        self.wired.load(Ordering::Relaxed)
    }

    /// Notes that an owner dropped its outbox; true when it was the last.
    pub(super) fn remove(&self, wired: bool) -> bool {
        if wired {
            self.wired.fetch_sub(1, Ordering::Relaxed);
        }
        self.held.fetch_sub(1, Ordering::SeqCst) == 1
    }

    pub(super) fn wake_all(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        wake_all(waiting.into_values());
    }
}

impl<T: Send + Sync + 'static> Inner<T> {
    fn is_drained(&self) -> bool {
        // Owners are added under the registry's lock, and none after the shutdown began. So that
        // flag must be read first.
        self.state.lock().table.shutting_down && self.owners.held.load(Ordering::SeqCst) == 0
    }

    pub(super) fn wake_if_drained(&self) {
        if self.is_drained() {
            self.owners.wake_all();
        }
    }
}

impl<T: Send + Sync + 'static> SubscriberRegistry<T> {
    /// Completes when the registry [shuts down](Self::begin_shutdown) and every owner has dropped
    /// its outbox. This includes owners whose subscriber ended before: they may still be writing a
    /// farewell.
    ///
    /// It does not keep the registry alive; when the last handle is dropped, it completes too.
    ///
    /// # Cancel safety
    /// Cancel safe: it only observes.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{OutboxOptions, Registration, RegistryOptions, SubscriberRegistry};
    /// use std::future::Future;
    /// use std::pin::pin;
    /// use std::task::{Context, Waker};
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let outbox = registry.open_outbox(&TEXT, OutboxOptions::new(), Registration::new())?;
    /// let mut cx = Context::from_waker(Waker::noop());
    /// let mut drained = pin!(registry.drained());
    /// registry.begin_shutdown();
    /// assert!(drained.as_mut().poll(&mut cx).is_pending());
    /// drop(outbox); // its owner has flushed it
    /// assert!(drained.as_mut().poll(&mut cx).is_ready());
    /// # Ok::<_, registry_core::SubscribeError>(())
    /// ```
    pub fn drained(&self) -> impl Future<Output = ()> + Send + use<T> {
        Drained::new(&self.inner)
    }
}

/// The future of [`SubscriberRegistry::drained`].
pub(super) struct Drained<T: Send + Sync + 'static> {
    registry: Weak<Inner<T>>,
    number: u64,
}

impl<T: Send + Sync + 'static> Drained<T> {
    pub(super) fn new(inner: &Inner<T>) -> Self {
        let number = inner.owners.futures.fetch_add(1, Ordering::Relaxed);
        Self { registry: inner.this.clone(), number }
    }
}

impl<T: Send + Sync + 'static> Future for Drained<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(inner) = self.registry.upgrade() else { return Poll::Ready(()) };
        // The waker is registered first, so that an end between the check and the registration is
        // not missed.
        let waker = cx.waker().clone();
        let spare = inner.owners.waiting.lock().insert(self.number, waker);
        discard(spare);
        if inner.is_drained() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<T: Send + Sync + 'static> Drop for Drained<T> {
    fn drop(&mut self) {
        if let Some(inner) = self.registry.upgrade() {
            let spare = inner.owners.waiting.lock().remove(&self.number);
            discard(spare);
        }
    }
}
