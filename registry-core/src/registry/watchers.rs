//! Watches of the identities that come and leave: their queues, and how the table fills them.
//!
//! Events are queued under the registry's lock, so that each watch has them in the order in which
//! they happened; the wakers are kept until the caller has released that lock. Without a watch,
//! nothing is done.

use crate::contain::{discard, in_drop};
use crate::subscriber::seat::Registrar;
use crate::sync::Mutex;
use crate::types::identity::Identity;
use crate::types::presence::Presence;
use futures_core::Stream;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

/// The watches of a registry.
#[derive(Default)]
pub(crate) struct Watchers {
    /// Their queues by the kind that they watch, each with the number of its watch.
    queues: BTreeMap<Box<str>, Vec<(u64, Arc<EventQueue>)>>,
    opened: u64,
    /// Consumers to be woken when the registry is unlocked.
    wakers: Vec<Waker>,
}

impl Watchers {
    /// Adds a queue and returns the number of its watch.
    pub(crate) fn add(&mut self, kind: &str, queue: Arc<EventQueue>) -> u64 {
        self.opened += 1;
        self.queues.entry(kind.into()).or_default().push((self.opened, queue));
        self.opened
    }

    /// Forgets a queue. Its watch still has it, so no waker is dropped here.
    pub(crate) fn remove(&mut self, watch: u64) {
        self.queues.retain(|_, queues| {
            queues.retain(|(number, _)| *number != watch);
            !queues.is_empty()
        });
    }

    /// Notes that an identity has its first active holder.
    pub(crate) fn came(&mut self, identity: &Identity) {
        if !self.queues.is_empty() {
            self.note(identity, Presence::Came);
        }
    }

    /// Notes that an identity has no active holder any more.
    pub(crate) fn left(&mut self, identity: &Identity) {
        if !self.queues.is_empty() {
            self.note(identity, Presence::Left);
        }
    }

    fn note(&mut self, identity: &Identity, event: fn(Identity) -> Presence) {
        let queues = identity.kind().and_then(|kind| self.queues.get(kind));
        for (_, queue) in queues.into_iter().flatten() {
            self.wakers.extend(queue.push(event(identity.clone())));
        }
    }

    /// Ends every watch, after its events.
    pub(crate) fn close(&mut self) {
        for (_, queue) in std::mem::take(&mut self.queues).into_values().flatten() {
            self.wakers.extend(queue.close());
        }
    }

    /// Moves the consumers to be woken to those that the caller wakes without the registry's lock.
    pub(crate) fn hand_over(&mut self, wakers: &mut Vec<Waker>) {
        if !self.wakers.is_empty() {
            wakers.append(&mut self.wakers);
        }
    }
}

/// The events of one watch that its consumer has yet to take.
///
/// Invariant: at most `capacity` events wait, and one count of those that were missed after them.
pub(crate) struct EventQueue {
    state: Mutex<Events>,
    capacity: NonZeroUsize,
}

#[derive(Default)]
struct Events {
    waiting: VecDeque<Presence>,
    closed: bool,
    waker: Option<Waker>,
}

impl EventQueue {
    pub(crate) fn new(capacity: NonZeroUsize) -> Self {
        Self { state: Mutex::new(Events::default()), capacity }
    }

    /// Adds an event, or counts it as missed. The caller wakes the returned waker without locks.
    fn push(&self, event: Presence) -> Option<Waker> {
        let mut state = self.state.lock();
        if state.waiting.len() < self.capacity.get() {
            state.waiting.push_back(event);
        } else if let Some(Presence::Missed(events)) = state.waiting.back_mut() {
            *events += 1;
        } else {
            state.waiting.push_back(Presence::Missed(1));
        }
        state.waker.take()
    }

    fn close(&self) -> Option<Waker> {
        let mut state = self.state.lock();
        state.closed = true;
        state.waker.take()
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Presence>> {
        // Cloning and dropping a waker runs application code, so both happen outside the lock.
        let mut spare = Some(cx.waker().clone());
        let polled = {
            let mut state = self.state.lock();
            match state.waiting.pop_front() {
                Some(event) => Poll::Ready(Some(event)),
                None if state.closed => Poll::Ready(None),
                None => {
                    spare = std::mem::replace(&mut state.waker, spare);
                    Poll::Pending
                }
            }
        };
        discard(spare);
        polled
    }
}

/// Tells which identities of one kind come and leave; made by
/// [`watch`](crate::SubscriberRegistry::watch).
///
/// An identity *came* when it has its first active holder, and *left* when the last one ended or
/// began to drain. The events are in the order in which they happened. A watch is bounded: while it
/// is full, events are counted and not kept, and the count is an event of its own
/// ([`Presence::Missed`]).
///
/// It ends, after what it holds, when the last handle of the registry is dropped; it does not keep
/// the registry alive. After it was dropped, nothing is kept for it.
///
/// # Examples
/// ```
/// use registry_core::{OutboxOptions, Presence, Registration, SubscriberRegistry};
/// use std::future::Future;
/// use std::num::NonZeroUsize;
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// let registry = SubscriberRegistry::<u32>::new();
/// let mut watch = registry.watch("account", NonZeroUsize::new(2).expect("not zero"));
/// let tab = |name| {
///     registry.stream(Registration::new().with_group(("account", name)), OutboxOptions::new())
/// };
/// let (first, second) = (tab("ada")?, tab("ada")?);
/// drop(first);
/// drop(second);
/// drop(tab("bob")?);
/// drop(registry);
///
/// // With a runtime: `while let Some(event) = watch.next().await`.
/// let mut seen = Vec::new();
/// let mut cx = Context::from_waker(Waker::noop());
/// while let Poll::Ready(Some(event)) = pin!(watch.next()).poll(&mut cx) {
///     seen.push(event);
/// }
/// let ada = || ("account", "ada").into();
/// assert_eq!(seen, [Presence::Came(ada()), Presence::Left(ada()), Presence::Missed(2)]);
/// # Ok::<_, registry_core::SubscribeError>(())
/// ```
#[must_use = "a watch that is dropped watches nothing"]
pub struct Watch {
    queue: Arc<EventQueue>,
    number: u64,
    registry: Weak<dyn Registrar>,
}

impl Watch {
    pub(crate) fn new(queue: Arc<EventQueue>, number: u64, registry: Weak<dyn Registrar>) -> Self {
        Self { queue, number, registry }
    }

    /// Waits for the next event; `None` at the end.
    ///
    /// # Cancel safety
    /// Cancel safe: an event leaves the watch only when it is returned.
    pub async fn next(&mut self) -> Option<Presence> {
        poll_fn(|cx| self.queue.poll(cx)).await
    }
}

impl Stream for Watch {
    type Item = Presence;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Presence>> {
        self.queue.poll(cx)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            in_drop(|| registry.unwatch(self.number));
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.queue.state.lock().waiting.len();
        f.debug_struct("Watch").field("waiting", &waiting).finish_non_exhaustive()
    }
}

#[cfg(all(test, registry_loom))]
mod loom_tests;
