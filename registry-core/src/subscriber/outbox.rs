//! The outbox: the queue of one subscriber, as the owner that writes to the peer sees it.
//!
//! The registry pushes frames; one owner takes them, or attaches the peer's socket and has them
//! written. The [gate](super::gate) is between the two.

use super::gate::Gate;
use super::queue::{Next, WRITE_BYTES};
use super::subscription::{CloseHandle, Subscription};
use crate::contain::{contain, discard, in_drop, wake_all};
use crate::types::close::{CloseReason, EndHook};
use crate::types::format::WireFormat;
use bytes::Bytes;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The owner's end of an outbox: the queue of one subscriber, and the subscriber's handle.
///
/// The task that writes to the peer owns it, takes the frames and puts them on the wire. Dropping
/// it unsubscribes. It is made by [`open_outbox`](crate::SubscriberRegistry::open_outbox) and by
/// [`Ticket::admit_outbox`](crate::Ticket::admit_outbox).
///
/// # Examples
/// ```
/// use registry_core::{
///     Encoded, Identity, Next, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
///     WireFormat,
/// };
/// use std::task::{Context, Poll, Waker};
///
/// static LINES: WireFormat = WireFormat::new("lines", |_, encoded, out| {
///     out.extend_from_slice(encoded.body());
///     out.extend_from_slice(b"\n");
/// });
///
/// let encoder = |number: &u32| Ok(Encoded::json(number.to_string()));
/// let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
/// let ada = Identity::new("account", "ada");
/// let registration = Registration::new().with_group(ada.clone());
/// let mut outbox = registry.open_outbox(&LINES, OutboxOptions::new(), registration)?;
///
/// registry.broadcast("runs", 42)?;
/// let mut cx = Context::from_waker(Waker::noop());
/// let next = outbox.poll_next(&mut cx, 65_536);
/// let Poll::Ready(Next::Frames(batch)) = next else { panic!("nothing is queued") };
/// assert_eq!(batch.frames, ["42\n"]);
///
/// registry.broadcast("runs", 43)?;
/// registry.close_by_identity(&ada);
/// let next = outbox.poll_next(&mut cx, 65_536);
/// let Poll::Ready(Next::Closed(reason)) = next else { panic!("still open") };
/// assert_eq!(reason.as_str(), "revoked"); // and 43 was discarded
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[must_use = "dropping an outbox unsubscribes it"]
pub struct Outbox {
    gate: Arc<Gate>,
    subscription: Subscription,
}

impl Outbox {
    /// How many bytes of frames one write holds at most, unless a single frame is longer: 64 KiB.
    /// Take no more at a time with [`poll_next`](Self::poll_next), because a revocation cannot
    /// recall what was taken (REV-3).
    pub const WRITE_BYTES: usize = WRITE_BYTES;

    pub(crate) fn new(gate: Arc<Gate>, subscription: Subscription) -> Self {
        Self { gate, subscription }
    }

    /// Returns the format of its frames.
    #[must_use]
    pub fn format(&self) -> &'static WireFormat {
        self.gate.format
    }

    /// Has these frames written before everything that waits, such as a snapshot of the state that
    /// later broadcasts change.
    ///
    /// They count towards no bound of the outbox, so the caller bounds them. They are written in
    /// parts of 64 KiB (REV-12), and a discarding end discards what is not written.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     Next, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
    /// };
    /// use std::task::{Context, Poll, Waker};
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let mut outbox = registry.open_outbox(&TEXT, OutboxOptions::new(), Registration::new())?;
    /// registry.broadcast("runs", 2)?;
    /// outbox.put_first(vec!["all up to 1".into()]);
    /// let mut cx = Context::from_waker(Waker::noop());
    /// let mut parts = Vec::new();
    /// while let Poll::Ready(Next::Frames(batch)) = outbox.poll_next(&mut cx, 4) {
    ///     parts.extend(batch.frames);
    /// }
    /// assert_eq!(parts, ["all ", "up t", "o 1", "2"]);
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn put_first(&self, frames: Vec<Bytes>) {
        wake_all(self.gate.put_first(frames));
    }

    /// Takes the oldest frames, `max_bytes` at most (but always one frame, whatever its size), or
    /// reports the end.
    ///
    /// While it is pending, the waker of the latest call is woken when there is something to take.
    ///
    /// A write of frames that were taken cannot be recalled, so take little: the transports take 64
    /// KiB at a time.
    pub fn poll_next(&mut self, cx: &mut Context<'_>, max_bytes: usize) -> Poll<Next> {
        self.gate.poll_next(cx, max_bytes)
    }

    /// Waits until there is something to take. See [`poll_next`](Self::poll_next).
    ///
    /// # Cancel safety
    /// Cancel safe: frames leave the queue only when they are returned.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     Next, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
    /// };
    /// use std::future::Future;
    /// use std::pin::pin;
    /// use std::task::{Context, Poll, Waker};
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let mut outbox = registry.open_outbox(&TEXT, OutboxOptions::new(), Registration::new())?;
    /// let mut cx = Context::from_waker(Waker::noop());
    /// // A future that is dropped removes no frame.
    /// assert!(pin!(outbox.next(65_536)).poll(&mut cx).is_pending());
    /// registry.broadcast("runs", 1)?;
    /// let next = pin!(outbox.next(65_536)).poll(&mut cx);
    /// assert!(matches!(next, Poll::Ready(Next::Frames(batch)) if batch.frames == ["1"]));
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub async fn next(&mut self, max_bytes: usize) -> Next {
        poll_fn(|cx| self.poll_next(cx, max_bytes)).await
    }

    /// Waits for a discarding end, without taking anything.
    ///
    /// An owner asks this before each write, and while its socket is full. After a discarding end
    /// it should drop the frames that it took and has not written.
    ///
    /// It shares its waker with [`poll_next`](Self::poll_next): the waker of the later call is
    /// woken.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     CloseReason, Identity, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
    /// };
    /// use std::task::{Context, Poll, Waker};
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let ada = Identity::new("account", "ada");
    /// let registration = Registration::new().with_group(ada.clone());
    /// let outbox = registry.open_outbox(&TEXT, OutboxOptions::new(), registration)?;
    /// let mut cx = Context::from_waker(Waker::noop());
    /// registry.begin_shutdown();
    /// assert!(outbox.poll_discarded(&mut cx).is_pending()); // a shutdown discards nothing
    /// registry.close_by_identity(&ada);
    /// assert_eq!(outbox.poll_discarded(&mut cx), Poll::Ready(CloseReason::Revoked));
    /// # Ok::<_, registry_core::SubscribeError>(())
    /// ```
    pub fn poll_discarded(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.gate.poll_discarded(cx)
    }

    /// Adds a hook that is called with the reason when the subscriber ends, on the thread that ends
    /// it, or at once if it has ended.
    ///
    /// Unlike a waker, the hook is called also while nothing polls the outbox: an owner whose
    /// socket is full learns of the end this way. It is called again when a discarding reason
    /// overrides a draining one. It must not block. Hooks are called in the order in which they
    /// were added.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     CloseReason, Identity, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
    /// };
    /// use std::sync::mpsc;
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let ada = Identity::new("account", "ada");
    /// let registration = Registration::new().with_group(ada.clone());
    /// let outbox = registry.open_outbox(&TEXT, OutboxOptions::new(), registration)?;
    /// let (ends, ended) = mpsc::channel();
    /// outbox.on_end(move |reason| drop(ends.send(reason)));
    /// registry.begin_shutdown();
    /// registry.close_by_identity(&ada);
    /// assert!(ended.try_iter().eq([CloseReason::Shutdown, CloseReason::Revoked]));
    /// # Ok::<_, registry_core::SubscribeError>(())
    /// ```
    pub fn on_end(&self, hook: impl Fn(CloseReason) + Send + Sync + 'static) {
        let hook: Arc<EndHook> = Arc::new(hook);
        if let Some((uncalled, reason)) = self.gate.add_hook(hook) {
            contain(|| uncalled(reason));
            discard(uncalled);
        }
    }

    /// Ends the subscriber for a reason of its owner's, such as a failed heartbeat, and discards
    /// the queue. The first reason stands. [`Shutdown`](CloseReason::Shutdown) keeps the queue to
    /// be flushed, and a revocation still discards it then.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     CloseReason, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
    /// };
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let outbox = registry.open_outbox(&TEXT, OutboxOptions::new(), Registration::new())?;
    /// outbox.close(CloseReason::Heartbeat);
    /// outbox.close(CloseReason::Protocol); // too late
    /// assert_eq!(registry.stats().ended, [(CloseReason::Heartbeat, 1)].into());
    /// # Ok::<_, registry_core::SubscribeError>(())
    /// ```
    pub fn close(&self, reason: CloseReason) {
        self.subscription.end(reason);
    }

    /// Returns a handle that ends the subscriber while its owner is busy, or is not polled.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     CloseReason, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
    /// };
    /// use std::thread;
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let outbox = registry.open_outbox(&TEXT, OutboxOptions::new(), Registration::new())?;
    /// let handle = outbox.close_handle();
    /// let timer = thread::spawn(move || handle.close(CloseReason::Expired));
    /// timer.join().expect("it does not panic");
    /// assert_eq!((registry.len(), registry.stats().ended[&CloseReason::Expired]), (0, 1));
    /// # drop(outbox);
    /// # Ok::<_, registry_core::SubscribeError>(())
    /// ```
    #[must_use]
    pub fn close_handle(&self) -> CloseHandle {
        self.subscription.close_handle()
    }

    /// Returns the subscriber's handle: its id, and unsubscribe.
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// Notes that a wire is attached to the gate.
    pub(super) fn wire_attached(&self) {
        self.subscription.wire_attached();
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }
}

#[cfg(all(test, registry_loom))]
impl Outbox {
    /// Tells whether the subscriber has ended; for tests that cannot take from it, because other
    /// threads hold it too.
    pub(crate) fn has_ended(&self) -> bool {
        self.gate.status().2.is_some()
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        in_drop(|| {
            self.subscription.unsubscribe();
            self.subscription.outbox_dropped(self.gate.is_wired());
        });
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (messages, bytes, ended) = self.gate.status();
        f.debug_struct("Outbox")
            .field("id", &self.subscription.id())
            .field("messages", &messages)
            .field("bytes", &bytes)
            .field("wired", &self.gate.is_wired())
            .field("ended", &ended)
            .finish_non_exhaustive()
    }
}
