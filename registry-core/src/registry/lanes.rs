//! The lanes of flushers: how a lane is opened, and how publishers wait for all of them.

use super::SubscriberRegistry;
use crate::lane::flusher::Flusher;
use crate::lane::flusher_log::FlusherLog;
use crate::subscriber::seat::Registrar;
use crate::types::bounds::LaneOptions;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::task::Poll;

impl<T: Send + Sync + 'static> SubscriberRegistry<T> {
    /// Opens a lane for outboxes whose owners write to sockets of their own; a task must drive the
    /// [`Flusher`].
    ///
    /// An outbox that [asks for a flusher](crate::OutboxOptions::with_flusher) is assigned to the
    /// lane with the fewest subscribers. A broadcast only appends to the lane's log and returns.
    pub fn open_lane(&self, options: LaneOptions) -> Flusher<T> {
        let log = Arc::new(FlusherLog::new(options));
        let number = {
            let mut state = self.inner.state.lock();
            if state.table.shutting_down {
                let _nothing_waits = log.close();
            }
            state.lanes.push(log.clone());
            state.table.open_lane()
        };
        let registry: Weak<dyn Registrar> = self.inner.this.clone();
        Flusher::new(number, log, registry)
    }

    /// Completes when the flushers keep up: when none has more than 128 KiB of broadcasts waiting,
    /// besides what it is writing.
    ///
    /// [`broadcast`](Self::broadcast) never waits, so publishers that produce as fast as they can
    /// outrun the flushers, up to the bound of the log; then messages arrive late, and in the end
    /// are lost. A publisher that awaits this before each broadcast is held to the pace of the
    /// writes. Without lanes it is complete at once.
    ///
    /// # Cancel safety
    /// Cancel safe: it only observes.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     LaneOptions, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
    /// };
    /// use std::future::Future;
    /// use std::pin::pin;
    /// use std::task::{Context, Waker};
    /// use std::time::Instant;
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let mut flusher = registry.open_lane(LaneOptions::new());
    /// let options = OutboxOptions::new().with_flusher();
    /// let _outbox = registry.open_outbox(&TEXT, options, Registration::new())?;
    /// // Each broadcast counts about 130 bytes.
    /// let publish = |count| (0..count).try_for_each(|n| registry.broadcast("runs", n).map(drop));
    /// publish(900)?;
    /// let mut cx = Context::from_waker(Waker::noop());
    /// let mut caught_up = pin!(registry.caught_up());
    /// assert!(caught_up.as_mut().poll(&mut cx).is_ready());
    /// publish(900)?;
    /// assert!(caught_up.as_mut().poll(&mut cx).is_pending());
    /// while flusher.poll_serve(&mut cx, Instant::now()).is_ready() {}
    /// assert!(caught_up.as_mut().poll(&mut cx).is_ready());
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn caught_up(&self) -> impl Future<Output = ()> + Send + use<T> {
        let lanes = self.inner.state.lock().lanes.clone();
        std::future::poll_fn(move |cx| {
            let behind = lanes.iter().any(|log| log.poll_caught_up(cx).is_pending());
            if behind { Poll::Pending } else { Poll::Ready(()) }
        })
    }
}
