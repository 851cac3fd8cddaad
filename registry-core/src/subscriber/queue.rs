//! The bounded queue before one subscriber: of frames for a peer, or of messages for a consumer in
//! the process. Pure state: the [gate](super::gate) holds the lock.
//!
//! Invariants: `bytes` is the sum of the sizes of what is queued; the queue holds at most
//! `max_messages` messages and `max_bytes` bytes, or exactly one message that is larger than
//! `max_bytes` (QUE-1); `lost` counts every message that a policy dropped, until the owner takes
//! the count or a notice to the peer is framed. What leaves the queue without being taken is
//! dropped in place only if no application code can run then. Nothing else leaves between two parts
//! of one frame.

use crate::contain::contain;
use crate::types::bounds::{OutboxOptions, Overflow};
use crate::types::channel::Channel;
use crate::types::close::CloseReason;
use crate::types::format::WireFormat;
use crate::types::message::Message;
use crate::types::report::SendOutcome;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::sync::Arc;

/// How many bytes an owner takes from the queue for one write. A revocation cannot recall what was
/// taken, so it is little (REV-3).
pub(crate) const WRITE_BYTES: usize = 64 * 1024;

/// The largest buffer that an idle outbox without a wire keeps, in frames: the smallest that is
/// ever allocated, 200 bytes.
const KEPT_FRAMES: usize = 4;

/// A broadcast as a queue holds it.
pub(crate) trait Item: Clone {
    /// Items that left the queue under its lock and are dropped without it. Empty for items whose
    /// destructor runs no application code.
    type Dropped: Default + IntoIterator;

    /// How many bytes it counts.
    fn size(&self) -> usize;

    /// Drops it, or puts it aside.
    fn put_aside(self, dropped: &mut Self::Dropped);
}

impl Item for Bytes {
    type Dropped = [(); 0];

    fn size(&self) -> usize {
        self.len()
    }

    fn put_aside(self, _: &mut [(); 0]) {}
}

/// A message for a consumer in the process.
impl<T> Item for Arc<Message<T>> {
    type Dropped = Vec<Self>;

    /// That of the encoded payload; without one, that of the payload's own memory.
    fn size(&self) -> usize {
        self.encoded.as_ref().map_or(size_of::<T>(), |encoded| encoded.body().len())
    }

    fn put_aside(self, dropped: &mut Vec<Self>) {
        dropped.push(self);
    }
}

/// A frame and the channel on which it was broadcast.
#[derive(Clone)]
pub(crate) struct Queued<F = Bytes> {
    pub(crate) frame: F,
    pub(crate) channel: Channel,
}

/// What the owner of an outbox gets next.
///
/// # Examples
/// ```
/// use registry_core::{
///     CloseReason, Next, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
/// };
/// use std::task::{Context, Poll, Waker};
/// # use registry_core::{Encoded, WireFormat};
/// # static TEXT: WireFormat =
/// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
/// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
/// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
///
/// let mut outbox = registry.open_outbox(&TEXT, OutboxOptions::new(), Registration::new())?;
/// registry.broadcast("runs", 1)?;
/// registry.begin_shutdown();
/// let mut written = Vec::new();
/// let mut cx = Context::from_waker(Waker::noop());
/// let reason = loop {
///     match outbox.poll_next(&mut cx, 65_536) {
///         Poll::Ready(Next::Frames(batch)) => written.extend(batch.frames),
///         Poll::Ready(Next::Closed(reason)) => break reason,
///         Poll::Pending => unreachable!("the subscriber has ended"),
///     }
/// };
/// assert_eq!((written, reason), (vec!["1".into()], CloseReason::Shutdown));
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an owner has to handle both")]
pub enum Next {
    /// The oldest frames, in order.
    Frames(Batch),
    /// The end: no frame follows. Every later call returns it again.
    Closed(CloseReason),
}

/// Frames taken from an outbox.
///
/// # Examples
/// ```
/// use registry_core::{
///     Next, OutboxOptions, Overflow, Registration, RegistryOptions, SubscriberRegistry,
/// };
/// use std::num::NonZeroUsize;
/// use std::task::{Context, Poll, Waker};
/// # use registry_core::{Encoded, WireFormat};
/// # static TEXT: WireFormat =
/// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
/// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
/// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
///
/// let options = OutboxOptions::new()
///     .with_max_messages(NonZeroUsize::MIN)
///     .with_overflow(Overflow::DropOldest);
/// let mut outbox = registry.open_outbox(&TEXT, options, Registration::new())?;
/// registry.broadcast("runs", 1)?;
/// registry.broadcast("runs", 2)?;
/// let next = outbox.poll_next(&mut Context::from_waker(Waker::noop()), 65_536);
/// let Poll::Ready(Next::Frames(batch)) = next else { panic!("nothing is queued") };
/// assert_eq!((batch.frames, batch.lost), (vec!["2".into()], 1));
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// The frames, oldest first; never empty.
    pub frames: Vec<Bytes>,
    /// How many messages were dropped since the last batch, before or between these.
    pub lost: u64,
    /// The last of the frames is only a part of one: a later batch begins with its rest, and until
    /// then nothing else may be written. Only what was [put first](crate::Outbox::put_first) is
    /// taken in parts.
    pub is_partial: bool,
}

/// What became of one frame.
pub(crate) struct Pushed {
    /// [`Lagged`](SendOutcome::Lagged) when the subscriber is to end.
    pub(crate) outcome: SendOutcome,
    /// Messages that the policy dropped.
    pub(crate) dropped: u64,
}

pub(crate) struct Queue<F: Item = Bytes> {
    /// Messages that were dropped, and reported neither to the owner nor to the peer.
    pub(crate) lost: u64,
    bytes: usize,
    frames: VecDeque<Queued<F>>,
    dropped: F::Dropped,
    /// Bytes that left the queue for one write and are not written yet.
    pub(crate) rest: Bytes,
    /// The owner's own frames, to be written before the queued ones.
    pub(crate) control: Vec<u8>,
    /// What is written before all that waits. Most outboxes have nothing of the kind.
    first: Option<Box<First>>,
}

/// Frames that are written before all that waits, and count towards no bound of the queue.
struct First {
    frames: VecDeque<Bytes>,
    /// A part of the first frame has left.
    is_begun: bool,
}

impl<F: Item> Default for Queue<F> {
    fn default() -> Self {
        Self {
            lost: 0,
            bytes: 0,
            frames: VecDeque::new(),
            dropped: F::Dropped::default(),
            rest: Bytes::new(),
            control: Vec::new(),
            first: None,
        }
    }
}

impl<F: Item> Queue<F> {
    /// Queues one frame. If there is no room for it, the policy of the options decides.
    pub(crate) fn push(&mut self, frame: &F, channel: &Channel, options: &OutboxOptions) -> Pushed {
        let before = self.lost;
        if !self.has_room(frame.size(), options) {
            match options.overflow {
                Overflow::Close => return Pushed { outcome: SendOutcome::Lagged, dropped: 0 },
                Overflow::DropNewest => {
                    self.lost += 1;
                    return Pushed { outcome: SendOutcome::Dropped, dropped: 1 };
                }
                Overflow::DropOldest => {}
                Overflow::KeepLatest => self.drop_channel(channel),
            }
            while !self.has_room(frame.size(), options) {
                if let Some(oldest) = self.pop() {
                    oldest.put_aside(&mut self.dropped);
                    self.lost += 1;
                }
            }
        }
        self.bytes += frame.size();
        self.frames.push_back(Queued { frame: frame.clone(), channel: channel.clone() });
        Pushed { outcome: SendOutcome::Accepted, dropped: self.lost - before }
    }

    /// Drops everything, as a discarding end does.
    pub(crate) fn discard(&mut self) {
        let Self { frames, mut dropped, .. } = std::mem::take(self);
        frames.into_iter().for_each(|queued| queued.frame.put_aside(&mut dropped));
        self.dropped = dropped;
    }

    /// Takes what was put aside, to be dropped without the lock.
    pub(crate) fn take_dropped(&mut self) -> F::Dropped {
        std::mem::take(&mut self.dropped)
    }

    /// Takes the oldest.
    pub(crate) fn take_one(&mut self) -> Option<F> {
        let frame = self.pop();
        self.shrink(true);
        frame
    }

    /// Gives up the buffer of an emptied queue. An owner that takes message by message should not
    /// cause an allocation each time, so with `keep_buffer` a small one stays. With a wire, most
    /// queues never need a buffer.
    fn shrink(&mut self, keep_buffer: bool) {
        if self.frames.is_empty() && !(keep_buffer && self.frames.capacity() <= KEPT_FRAMES) {
            self.frames = VecDeque::new();
        }
    }

    /// Tells whether something waits besides `rest`. A loss is reported even if no message follows.
    pub(crate) fn has_more(&self) -> bool {
        self.has_frames() || !self.control.is_empty() || self.lost > 0
    }

    pub(crate) fn has_frames(&self) -> bool {
        self.first.is_some() || !self.frames.is_empty()
    }

    /// Puts frames before all that waits, after those that were put there before.
    pub(crate) fn put_first(&mut self, frames: Vec<Bytes>) {
        let mut frames = frames.into_iter().filter(|frame| !frame.is_empty()).peekable();
        if frames.peek().is_some() {
            let none = || Box::new(First { frames: VecDeque::new(), is_begun: false });
            self.first.get_or_insert_with(none).frames.extend(frames);
        }
    }

    /// Bytes that wait besides the queued frames.
    pub(crate) fn unwritten(&self) -> usize {
        let first = self.first.iter().flat_map(|first| &first.frames).map(Bytes::len);
        self.rest.len() + self.control.len() + first.sum::<usize>()
    }

    /// Tells whether a part of a frame has left, and its rest is still here.
    pub(crate) fn is_mid_first(&self) -> bool {
        self.first.as_ref().is_some_and(|first| first.is_begun)
    }

    /// Messages and bytes that wait.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.frames.len(), self.bytes)
    }

    /// Notes that `written` bytes of `rest` were written; false when nothing of it was.
    pub(crate) fn advance_rest(&mut self, written: usize) -> bool {
        let written = written.min(self.rest.len());
        self.rest.advance(written);
        if self.rest.is_empty() {
            self.rest = Bytes::new(); // an empty slice would keep the whole buffer
        }
        written > 0
    }

    /// Tells whether a frame fits; a frame larger than the bound fits into an empty queue.
    fn has_room(&self, bytes: usize, options: &OutboxOptions) -> bool {
        self.frames.is_empty()
            || (self.frames.len() < options.max_messages.get()
                && self.bytes + bytes <= options.max_bytes.get())
    }

    fn pop(&mut self) -> Option<F> {
        let frame = self.frames.pop_front()?.frame;
        self.bytes -= frame.size();
        Some(frame)
    }

    /// Drops the queued frames of a channel.
    fn drop_channel(&mut self, channel: &Channel) {
        self.frames.retain(|queued| {
            let stays = queued.channel != *channel;
            if !stays {
                self.bytes -= queued.frame.size();
                self.lost += 1;
                queued.frame.clone().put_aside(&mut self.dropped);
            }
            stays
        });
    }
}

impl Queue {
    /// Takes the oldest frames, `max_bytes` at most but always one frame. With `keep_buffer` the
    /// emptied queue may keep a small buffer.
    pub(crate) fn take(&mut self, max_bytes: usize, keep_buffer: bool) -> Batch {
        if let Some(batch) = self.take_first(max_bytes) {
            return batch;
        }
        let lost = std::mem::take(&mut self.lost);
        let mut batch = Batch { frames: Vec::new(), lost, is_partial: false };
        let mut room = max_bytes;
        while self
            .frames
            .front()
            .is_some_and(|next| batch.frames.is_empty() || next.frame.len() <= room)
        {
            let frame = self.pop();
            batch.frames.extend(frame.inspect(|frame| room = room.saturating_sub(frame.len())));
        }
        self.shrink(keep_buffer);
        batch
    }

    /// Takes from what is to be written first, `max_bytes` at most but always something.
    fn take_first(&mut self, max_bytes: usize) -> Option<Batch> {
        let first = self.first.as_mut()?;
        let mut batch = Batch::default();
        let mut room = max_bytes.max(1);
        while room > 0
            && let Some(frame) = first.frames.front_mut()
        {
            let part = frame.split_to(frame.len().min(room));
            room -= part.len();
            batch.frames.push(part);
            first.is_begun = !frame.is_empty();
            if frame.is_empty() {
                first.frames.pop_front();
            }
        }
        batch.is_partial = first.is_begun;
        if first.frames.is_empty() {
            self.first = None;
        }
        Some(batch)
    }

    /// Moves the owner's frames, the notice of a loss, and the oldest queued frames into `rest`, as
    /// one write; false when the format panicked.
    pub(crate) fn fill_rest(&mut self, format: &WireFormat) -> bool {
        let mut frames = Vec::new();
        if !self.control.is_empty() && !self.is_mid_first() {
            frames.push(std::mem::take(&mut self.control).into());
        }
        let batch = self.take(WRITE_BYTES, false);
        let joined = contain(|| {
            frames.extend(format.notice(batch.lost));
            frames.extend(batch.frames);
            format.join(&frames)
        });
        let Some(joined) = joined else { return false };
        self.rest = joined;
        true
    }
}
