//! The outbox: what stands between the registry and whoever writes to one peer, as its owner sees it.
//!
//! The registry pushes frames; one owner takes them, or attaches the peer's socket and has them written. What happens
//! between the two is the [gate](crate::gate)'s.

use crate::close::CloseReason;
use crate::contain::{contain, discard, in_drop, wake_all};
use crate::gate::{EndHook, Gate, Unwritten, Wire, Work};
use crate::subscription::{Ender, Subscription};
use bytes::Bytes;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// What happens when a message does not fit into an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The subscriber is ended as [`Lagged`](CloseReason::Lagged); a client that comes back starts afresh. The default: no
    /// loss goes unnoticed.
    #[default]
    Close,
    /// The oldest messages make room; the loss is counted and shown to the owner.
    DropOldest,
    /// The new message is dropped; the loss is counted and shown to the owner.
    DropNewest,
    /// Of each channel only the latest matters: older queued messages of the same channel make room, and then, if that is
    /// not enough, the oldest of all. The new one is appended, so what remains is in order; the loss is counted and shown.
    /// For values that replace each other, with a channel for each.
    KeepLatest,
}

/// The bounds of an outbox and what happens at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxOptions {
    pub(crate) max_messages: NonZeroUsize,
    pub(crate) max_bytes: NonZeroUsize,
    pub(crate) overflow: Overflow,
    pub(crate) in_lane: bool,
}

impl OutboxOptions {
    /// 1,024 messages: a second of a busy channel, which a short stall must not cost.
    pub const DEFAULT_MESSAGES: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");
    /// 1 MiB: the bound that peers of this library use; 1,000 stalled readers cost 1 GiB at the very most.
    pub const DEFAULT_BYTES: NonZeroUsize = NonZeroUsize::new(1 << 20).expect("not zero");

    /// Creates the default bounds: 1,024 messages, 1 MiB, close on overflow.
    #[must_use]
    pub fn new() -> Self {
        Self {
            max_messages: Self::DEFAULT_MESSAGES,
            max_bytes: Self::DEFAULT_BYTES,
            overflow: Overflow::default(),
            in_lane: false,
        }
    }

    /// Sets the largest number of queued messages.
    #[must_use]
    pub fn with_max_messages(mut self, messages: NonZeroUsize) -> Self {
        self.max_messages = messages;
        self
    }

    /// Sets the largest number of queued bytes, counted in encoded frames. A single larger frame is still accepted by an
    /// empty outbox.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets what happens at a bound.
    #[must_use]
    pub fn with_overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Has a [flusher](crate::Flusher) serve the outbox, if the registry has one: a broadcast then leaves it to the flusher
    /// and returns. For owners who mean to [attach a wire](Outbox::attach).
    #[must_use]
    pub fn in_lane(mut self) -> Self {
        self.in_lane = true;
        self
    }
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What the owner of an outbox finds in it.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// The oldest frames, in order.
    Frames(Batch),
    /// The end: no frame follows. It is reported again at every later call.
    Closed(CloseReason),
}

/// Frames taken from an outbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The frames, oldest first; never empty.
    pub frames: Vec<Bytes>,
    /// How many messages were dropped since the last batch, before or between these.
    pub lost: u64,
}

/// The owner's end of an outbox: the queue of one subscriber, and the subscriber's guard.
///
/// Whoever writes to the peer owns it, takes the frames and puts them on the wire. Dropping it unsubscribes. Made by
/// [`open_outbox`](crate::SubscriberRegistry::open_outbox) and [`Ticket::admit_outbox`](crate::Ticket::admit_outbox).
///
/// # Examples
/// ```
/// use registry_core::{Identity, Json, OutboxOptions, Registration, SubscriberRegistry, Taken, WireFormat};
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// static LINES: WireFormat = WireFormat::new("lines", |_, body, out| {
///     out.extend_from_slice(body);
///     out.extend_from_slice(b"\n");
/// });
///
/// let registry = SubscriberRegistry::new();
/// registry.encode_with(Json);
/// let ada = Identity::new("account", "ada");
/// let mut outbox = registry.open_outbox(&LINES, OutboxOptions::new(), Registration::new().group(ada.clone()))?;
/// registry.broadcast("runs", 42)?;
/// let mut cx = Context::from_waker(Waker::noop());
/// let Poll::Ready(Taken::Frames(batch)) = outbox.poll_take(&mut cx, 65_536) else { panic!("nothing there") };
/// assert_eq!(batch.frames, ["42\n"]);
/// registry.broadcast("runs", 43)?;
/// registry.close_by_identity(&ada);
/// let Poll::Ready(Taken::Closed(reason)) = outbox.poll_take(&mut cx, 65_536) else { panic!("still open") };
/// assert_eq!(reason.as_str(), "revoked"); // and 43 is gone
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[must_use = "dropping an outbox unsubscribes it"]
pub struct Outbox {
    gate: Arc<Gate>,
    subscription: Subscription,
}

impl Outbox {
    pub(crate) fn new(gate: Arc<Gate>, subscription: Subscription) -> Self {
        Self { gate, subscription }
    }

    /// Takes the oldest frames, `max_bytes` at most (but always one frame, whatever its size), or learns of the end.
    ///
    /// While it is pending, the latest waker is woken when there is something to take.
    ///
    /// A write of what was taken cannot be recalled, so take little: 64 KiB is what the transports take at a time.
    pub fn poll_take(&mut self, cx: &mut Context<'_>, max_bytes: usize) -> Poll<Taken> {
        self.gate.poll_take(cx, max_bytes)
    }

    /// Waits until there is something to take. See [`poll_take`](Self::poll_take).
    ///
    /// # Cancel safety
    /// Cancel safe: frames leave the queue only when they are returned.
    pub async fn take(&mut self, max_bytes: usize) -> Taken {
        poll_fn(|cx| self.poll_take(cx, max_bytes)).await
    }

    /// Waits for a discarding end, without taking anything: what an owner asks before each write, and while its socket
    /// is full. What it took before and has not written, it should throw away then.
    ///
    /// It shares its waker with [`poll_take`](Self::poll_take): the later of the two calls is woken.
    pub fn poll_discarded(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.gate.poll_discarded(cx)
    }

    /// Has `hook` called with the reason when the subscriber ends, on the thread that ends it, or at once if it has ended.
    ///
    /// Unlike a waker, it is called also while nobody polls: an owner whose socket is full learns of the end this way. It
    /// is called again when a discarding reason overrides a draining one. It must not block. A later hook replaces an
    /// earlier one.
    pub fn on_end(&self, hook: impl Fn(CloseReason) + Send + Sync + 'static) {
        let hook: Arc<EndHook> = Arc::new(hook);
        let (former, ended) = self.gate.set_hook(hook.clone());
        discard(former);
        if let Some(reason) = ended {
            contain(|| hook(reason));
        }
    }

    /// Attaches the peer's socket: from now on frames are written to it, and no more are to be taken. What is queued goes
    /// first; a later wire is ignored.
    ///
    /// Every write happens under the gate that a close shuts, so that after
    /// [`close_by_identity`](crate::SubscriberRegistry::close_by_identity) returned nothing more of the application's is
    /// written, and that call waits for one non-blocking write at most (REV-12). A frame that is partly written then stays so.
    ///
    /// An outbox [in a lane](OutboxOptions::in_lane) is written by the lane's flusher while the socket has room. What does not
    /// fit is queued, and the owner writes it: see [`poll_flush`](Self::poll_flush).
    pub fn attach(&self, wire: Arc<dyn Wire>) {
        if let Some(waker) = self.gate.attach(wire) {
            self.subscription.wired();
            wake_all(waker);
        }
    }

    /// Tells whether a wire is attached.
    #[must_use]
    pub fn is_wired(&self) -> bool {
        self.gate.is_wired()
    }

    /// Writes what waits for the [wire](Self::attach) to have room, and ends with the subscriber.
    ///
    /// `has_room` polls the socket; `write` writes to it without waiting and is called under the gate's lock, as
    /// [`Wire::try_write`] is. While it is pending, the latest waker is woken when something is left to write, or at the end.
    /// `now` is what [`wrote`](Self::wrote) gives back.
    ///
    /// # Errors
    /// Those of `has_room` and `write`: the peer is gone.
    pub fn poll_flush(
        &self,
        cx: &mut Context<'_>,
        now: Instant,
        mut has_room: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> Poll<io::Result<CloseReason>> {
        loop {
            match ready!(self.gate.poll_work(cx)) {
                Work::Closed(reason) => return Poll::Ready(Ok(reason)),
                Work::Write => {}
            }
            let Poll::Ready(room) = has_room(cx) else { return self.gate.poll_discarded(cx).map(Ok) };
            room?;
            match self.gate.write(now, &mut write) {
                Ok(()) => {}
                Err(Unwritten::Gone(error)) => return Poll::Ready(Err(error)),
                Err(Unwritten::Broken) => self.end(CloseReason::Failed),
            }
        }
    }

    /// Writes a frame of the owner's own to the [wire](Self::attach), at the next border between frames and before what is
    /// queued: a keep-alive, an answer to a ping. It counts towards no bound, so an owner who answers its peer looks at
    /// [`unsaid`](Self::unsaid) first. Until there is a wire it waits for one; after a discarding end it is dropped.
    pub fn say(&self, frame: &[u8], now: Instant) {
        match self.gate.say(frame, now) {
            Ok(waker) => wake_all(waker),
            Err(_) => self.end(CloseReason::Failed),
        }
    }

    /// Tells whether something waits for the [wire](Self::attach) to have room.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.gate.is_slow()
    }

    /// Returns how many bytes of the owner's own frames wait.
    #[must_use]
    pub fn unsaid(&self) -> usize {
        self.gate.control_bytes()
    }

    /// Returns when the [wire](Self::attach) last took something, as the writer told the time.
    #[must_use]
    pub fn wrote(&self) -> Option<Instant> {
        self.gate.wrote()
    }

    /// Tells whether the last write to the [wire](Self::attach) ended within a frame: then no farewell can follow.
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        self.gate.is_mid_frame()
    }

    /// Ends the subscriber from its owner's side, as when a heartbeat failed, and discards the queue. The first reason
    /// stands. With [`Shutdown`](CloseReason::Shutdown) it keeps the queue to be flushed, and a revocation still discards it.
    pub fn end(&self, reason: CloseReason) {
        self.subscription.end(reason);
    }

    /// Returns what ends the subscriber while its owner is busy, or is not polled.
    #[must_use]
    pub fn ender(&self) -> Ender {
        self.subscription.ender()
    }

    /// Returns the guard's view: id and unsubscribe.
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }
}

#[cfg(all(test, registry_loom))]
impl Outbox {
    /// Whether its end has come; for tests that cannot take from it, because others hold it too.
    pub(crate) fn has_ended(&self) -> bool {
        self.gate.state().2.is_some()
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        in_drop(|| {
            self.subscription.unsubscribe();
            self.subscription.let_go(self.is_wired());
        });
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (messages, bytes, ended) = self.gate.state();
        f.debug_struct("Outbox")
            .field("id", &self.subscription.id())
            .field("messages", &messages)
            .field("bytes", &bytes)
            .field("wired", &self.is_wired())
            .field("ended", &ended)
            .finish_non_exhaustive()
    }
}
