//! The bounded queue between the registry and whoever writes to one peer.
//!
//! The registry pushes frames, one owner takes them. Whether a subscriber has ended is decided here, under the queue's
//! own lock: a push and a close exclude each other, so nothing is accepted after a close returned, and what the owner has
//! not yet taken when a discarding close comes is gone (REV-3).
//!
//! Invariants: `bytes` is the sum of the queued frames' lengths; the queue holds at most `max_messages` frames and
//! `max_bytes` bytes, or exactly one frame that is larger than `max_bytes` (QUE-1); after a discarding end the queue is
//! empty for ever; no waker is cloned, woken or dropped under the lock.

use crate::channel::Channel;
use crate::close::CloseReason;
use crate::contain::{contain, discard};
use crate::sink::{Seat, SendOutcome};
use crate::subscription::Subscription;
use crate::sync::Mutex;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

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
    max_messages: NonZeroUsize,
    max_bytes: NonZeroUsize,
    overflow: Overflow,
}

impl OutboxOptions {
    /// 1,024 messages: a second of a busy channel, which a short stall must not cost.
    pub const DEFAULT_MESSAGES: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");
    /// 1 MiB: the bound that peers of this library use; 1,000 stalled readers cost 1 GiB at the very most.
    pub const DEFAULT_BYTES: NonZeroUsize = NonZeroUsize::new(1 << 20).expect("not zero");

    /// Creates the default bounds: 1,024 messages, 1 MiB, close on overflow.
    #[must_use]
    pub fn new() -> Self {
        Self { max_messages: Self::DEFAULT_MESSAGES, max_bytes: Self::DEFAULT_BYTES, overflow: Overflow::default() }
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

/// The registry's end of an outbox.
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    options: OutboxOptions,
}

struct Queue {
    frames: VecDeque<Queued>,
    bytes: usize,
    lost: u64,
    ended: Option<CloseReason>,
    waker: Option<Waker>,
    on_end: Option<Arc<EndHook>>,
    /// What the hook was called with: an end may be told by more than one thread.
    told: Option<CloseReason>,
}

/// A frame and the channel that it came on.
struct Queued {
    frame: Bytes,
    channel: Channel,
}

/// What an owner wants to be called at the end.
type EndHook = dyn Fn(CloseReason) + Send + Sync;

impl Shared {
    pub(crate) fn new(options: OutboxOptions) -> Self {
        let queue =
            Queue { frames: VecDeque::new(), bytes: 0, lost: 0, ended: None, waker: None, on_end: None, told: None };
        Self { queue: Mutex::new(queue), options }
    }

    /// Offers one frame. Returns the outcome, how many messages it or its policy cost, and the owner's waker if the owner
    /// waits; the caller wakes once it holds no lock.
    pub(crate) fn push(&self, frame: &Bytes, channel: &Channel) -> (SendOutcome, u64, Option<Waker>) {
        let mut guard = self.queue.lock();
        let queue = &mut *guard;
        if queue.ended.is_some() {
            return (SendOutcome::Closed, 0, None);
        }
        let before = queue.lost;
        if !queue.has_room(frame.len(), &self.options) {
            match self.options.overflow {
                Overflow::Close => {
                    queue.end(CloseReason::Lagged);
                    return (SendOutcome::Lagged, 0, queue.waker.take());
                }
                Overflow::DropNewest => {
                    queue.lost += 1;
                    return (SendOutcome::Dropped, 1, None);
                }
                Overflow::DropOldest => {}
                Overflow::KeepLatest => queue.forget(channel),
            }
            while !queue.has_room(frame.len(), &self.options) {
                queue.lost += u64::from(queue.pop().is_some());
            }
        }
        queue.bytes += frame.len();
        queue.frames.push_back(Queued { frame: frame.clone(), channel: channel.clone() });
        (SendOutcome::Accepted, queue.lost - before, queue.waker.take())
    }

    fn poll_take(&self, cx: &mut Context<'_>, max_bytes: usize) -> Poll<Taken> {
        // Cloning and dropping a waker runs foreign code, so both happen outside the lock.
        let mut spare = Some(cx.waker().clone());
        let polled = {
            let mut guard = self.queue.lock();
            let queue = &mut *guard;
            if queue.frames.is_empty() {
                match queue.ended {
                    Some(reason) => Poll::Ready(Taken::Closed(reason)),
                    None => {
                        spare = std::mem::replace(&mut queue.waker, spare);
                        Poll::Pending
                    }
                }
            } else {
                Poll::Ready(Taken::Frames(queue.take(max_bytes)))
            }
        };
        discard(spare);
        polled
    }

    fn poll_discarded(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let mut spare = Some(cx.waker().clone());
        let polled = {
            let mut queue = self.queue.lock();
            match queue.ended.filter(|reason| reason.discards()) {
                Some(reason) => Poll::Ready(reason),
                None => {
                    spare = std::mem::replace(&mut queue.waker, spare);
                    Poll::Pending
                }
            }
        };
        discard(spare);
        polled
    }
}

impl Queue {
    fn end(&mut self, reason: CloseReason) {
        self.ended = Some(reason);
        if reason.discards() {
            self.frames = VecDeque::new();
            self.bytes = 0;
        }
    }

    /// Tells whether a frame fits; a larger one than the bound fits into an empty queue.
    fn has_room(&self, bytes: usize, options: &OutboxOptions) -> bool {
        self.frames.is_empty()
            || (self.frames.len() < options.max_messages.get() && self.bytes + bytes <= options.max_bytes.get())
    }

    fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?.frame;
        self.bytes -= frame.len();
        Some(frame)
    }

    /// Drops what is queued of a channel.
    fn forget(&mut self, channel: &Channel) {
        self.frames.retain(|queued| {
            let stays = queued.channel != *channel;
            if !stays {
                self.bytes -= queued.frame.len();
                self.lost += 1;
            }
            stays
        });
    }

    fn take(&mut self, max_bytes: usize) -> Batch {
        let mut batch = Batch { frames: Vec::new(), lost: std::mem::take(&mut self.lost) };
        let mut room = max_bytes;
        while self.frames.front().is_some_and(|next| batch.frames.is_empty() || next.frame.len() <= room) {
            batch.frames.extend(self.pop().inspect(|frame| room = room.saturating_sub(frame.len())));
        }
        if self.frames.is_empty() {
            self.frames = VecDeque::new(); // an idle outbox keeps no buffer
        }
        batch
    }
}

impl Seat for Shared {
    fn end(&self, reason: CloseReason) -> bool {
        let mut queue = self.queue.lock();
        match queue.ended {
            None => {
                queue.end(reason);
                true
            }
            // A discarding reason overrides a draining one, but ends nothing a second time (CLO-5).
            Some(first) => {
                if !first.discards() && reason.discards() {
                    queue.end(reason);
                }
                false
            }
        }
    }

    fn tell(&self) {
        let (waker, hook, ended) = {
            let mut guard = self.queue.lock();
            let queue = &mut *guard;
            let untold = queue.ended.filter(|_| queue.told != queue.ended);
            queue.told = queue.ended;
            (queue.waker.take(), queue.on_end.clone(), untold)
        };
        if let Some(waker) = waker {
            contain(|| waker.wake());
        }
        if let (Some(hook), Some(reason)) = (hook, ended) {
            contain(|| hook(reason));
            discard(hook);
        }
    }
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
    shared: Arc<Shared>,
    subscription: Subscription,
}

impl Outbox {
    pub(crate) fn new(shared: Arc<Shared>, subscription: Subscription) -> Self {
        Self { shared, subscription }
    }

    /// Takes the oldest frames, `max_bytes` at most (but always one frame, whatever its size), or learns of the end.
    ///
    /// While it is pending, the latest waker is woken when there is something to take.
    ///
    /// A write of what was taken cannot be recalled, so take little: 64 KiB is what the transports take at a time.
    pub fn poll_take(&mut self, cx: &mut Context<'_>, max_bytes: usize) -> Poll<Taken> {
        self.shared.poll_take(cx, max_bytes)
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
    pub fn poll_discarded(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.shared.poll_discarded(cx)
    }

    /// Has `hook` called with the reason when the subscriber ends, on the thread that ends it, or at once if it has ended.
    ///
    /// Unlike a waker, it is called also while nobody polls: an owner whose socket is full learns of the end this way. It
    /// is called again when a discarding reason overrides a draining one. It must not block. A later hook replaces an
    /// earlier one.
    pub fn on_end(&self, hook: impl Fn(CloseReason) + Send + Sync + 'static) {
        let hook: Arc<EndHook> = Arc::new(hook);
        let (former, ended) = {
            let mut queue = self.shared.queue.lock();
            queue.told = queue.ended;
            (queue.on_end.replace(hook.clone()), queue.ended)
        };
        discard(former);
        if let Some(reason) = ended {
            contain(|| hook(reason));
        }
    }

    /// Ends the subscriber from its owner's side, as when a heartbeat failed, and discards the queue. The first reason
    /// stands. With [`Shutdown`](CloseReason::Shutdown) it keeps the queue to be flushed, and a revocation still discards it.
    pub fn end(&self, reason: CloseReason) {
        self.subscription.end(reason);
    }

    /// Returns the guard's view: id and unsubscribe.
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.subscription.unsubscribe();
        self.subscription.let_go();
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.shared.queue.lock();
        f.debug_struct("Outbox")
            .field("id", &self.subscription.id())
            .field("messages", &queue.frames.len())
            .field("bytes", &queue.bytes)
            .field("ended", &queue.ended)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, registry_loom))]
mod loom_tests;
