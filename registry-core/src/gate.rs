//! The gate of an outbox: the bounded queue before one peer, and the wire that may stand behind it.
//!
//! Whether a subscriber has ended is decided here, under the gate's own lock. A push and a close exclude each other, so
//! nothing is accepted after a close returned, and what has not left the queue when a discarding close comes is gone
//! (REV-3). Where a [`Wire`] is attached, every write to it happens under the same lock, so that after a close returned
//! nothing more is handed to the operating system, and the close waits for one non-blocking write at most (REV-12).
//!
//! Without a wire the owner takes frames and writes them itself. With one, the gate is *open* while nothing waits: a lane
//! writes to the socket directly. A socket that is full makes it *slow*: frames queue, under the bounds and the policy of the
//! options, and the owner writes them when there is room again, one write per holding of the lock.
//!
//! Invariants: `bytes` is the sum of the queued frames' lengths; the queue holds at most `max_messages` frames and
//! `max_bytes` bytes, or exactly one frame that is larger than `max_bytes` (QUE-1); with a wire, `slow` says whether
//! anything waits; after a discarding end nothing waits, for ever; no waker is cloned, woken or dropped under the lock.

use crate::channel::Channel;
use crate::close::CloseReason;
use crate::contain::{contain, discard};
use crate::message::WireFormat;
use crate::outbox::{Batch, OutboxOptions, Overflow, Taken};
use crate::sink::{Seat, SendOutcome};
use crate::sync::Mutex;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// How much an owner takes from the queue at a time, for one write: more could not be recalled (REV-3).
pub(crate) const TAKE_BYTES: usize = 64 * 1024;

/// How large a buffer an idle outbox without a wire keeps, in frames: the smallest there is, 200 bytes.
const KEPT_FRAMES: usize = 4;

/// The writing side of a peer's socket.
///
/// It is called under the gate's lock: it must not block, not panic, and not call the registry.
pub trait Wire: Send + Sync + 'static {
    /// Hands bytes to the operating system, without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when the socket is full; any other means that the peer is gone.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// One subscriber's gate. What every write reads stands first, so that it misses the cache once.
#[repr(C)]
pub(crate) struct Gate {
    pub(crate) format: &'static WireFormat,
    wire: OnceLock<Arc<dyn Wire>>,
    queue: Mutex<Queue>,
    options: OutboxOptions,
    /// A flusher serves it: what was broadcast before a draining end may still be on its way.
    in_lane: bool,
}

#[repr(C)]
struct Queue {
    /// A wire is attached.
    wired: bool,
    /// Something waits for the wire to have room.
    slow: bool,
    /// The last write to the wire ended within a frame.
    mid_frame: bool,
    /// Its lane brings nothing more.
    complete: bool,
    ended: Option<CloseReason>,
    /// What the hook was called with: an end may be told by more than one thread.
    told: Option<CloseReason>,
    /// When the wire last took something.
    wrote: Option<Instant>,
    lost: u64,
    bytes: usize,
    frames: VecDeque<Queued>,
    /// What was taken from the queue, or written in part by a lane, and is still to be written.
    rest: Bytes,
    /// The owner's own frames, to be written before the queued ones.
    control: Vec<u8>,
    waker: Option<Waker>,
    on_end: Option<Arc<EndHook>>,
}

/// A frame and the channel that it came on.
#[derive(Clone)]
pub(crate) struct Queued {
    pub(crate) frame: Bytes,
    pub(crate) channel: Channel,
}

/// What an owner wants to be called at the end.
pub(crate) type EndHook = dyn Fn(CloseReason) + Send + Sync;

/// What became of frames that were offered. The caller wakes once it holds no lock.
pub(crate) struct Offered {
    pub(crate) outcome: SendOutcome,
    /// The end that this came to, which the registry has yet to learn; whether it is the first is to be counted (CNT-1).
    pub(crate) ended: Option<(CloseReason, bool)>,
    /// Messages that the policy dropped.
    pub(crate) dropped: u64,
    pub(crate) waker: Option<Waker>,
}

impl Offered {
    fn only(outcome: SendOutcome) -> Self {
        Self { outcome, ended: None, dropped: 0, waker: None }
    }

    /// Ends the subscriber for a reason that discards.
    fn end(&mut self, queue: &mut Queue, outcome: SendOutcome, reason: CloseReason) {
        self.outcome = outcome;
        self.ended = Some((reason, queue.ended.is_none()));
        queue.end(reason);
    }
}

/// Why something was not written.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// The peer is gone.
    Gone(io::Error),
    /// The format panicked.
    Broken,
}

/// What the owner of a wired gate is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Write,
    Closed(CloseReason),
}

impl Gate {
    pub(crate) fn new(format: &'static WireFormat, options: OutboxOptions) -> Self {
        let queue = Queue {
            wired: false,
            slow: false,
            mid_frame: false,
            complete: !options.in_lane,
            ended: None,
            told: None,
            wrote: None,
            lost: 0,
            bytes: 0,
            frames: VecDeque::new(),
            rest: Bytes::new(),
            control: Vec::new(),
            waker: None,
            on_end: None,
        };
        Self { format, wire: OnceLock::new(), queue: Mutex::new(queue), in_lane: options.in_lane, options }
    }

    /// Starts to bring the gate and its wire into the cache: what is read means nothing.
    pub(crate) fn warm(&self) -> usize {
        self.wire.get().map_or(0, Arc::strong_count)
    }

    /// Offers one frame to the queue.
    pub(crate) fn push(&self, frame: &Bytes, channel: &Channel) -> Offered {
        let mut queue = self.queue.lock();
        if !queue.takes(self.in_lane) {
            return Offered::only(SendOutcome::Closed);
        }
        let mut offered = Offered::only(SendOutcome::Accepted);
        queue.push(frame, channel, &self.options, &mut offered);
        queue.slow = queue.wired && offered.ended.is_none();
        offered.waker = queue.waker.take();
        offered
    }

    /// Offers the frames of one turn: to the wire, `joined` in one write, if nothing waits before them; else to the queue,
    /// one by one. `None` when they were written, to the end.
    pub(crate) fn offer(&self, joined: &Bytes, frames: &[Queued], now: Instant) -> Option<Offered> {
        let mut guard = self.queue.lock();
        let queue = &mut *guard;
        if !queue.takes(self.in_lane) {
            return Some(Offered::only(SendOutcome::Closed));
        }
        if queue.wired
            && !queue.slow
            && let Some(wire) = self.wire.get()
        {
            match wire.try_write(joined) {
                Ok(written) => {
                    if written > 0 {
                        queue.wrote = Some(now);
                    }
                    if written >= joined.len() {
                        return None;
                    }
                    queue.rest = joined.slice(written..);
                    queue.mid_frame = written > 0;
                    queue.slow = true;
                    return Some(Offered { waker: queue.waker.take(), ..Offered::only(SendOutcome::Accepted) });
                }
                Err(error) if is_full(&error) => {}
                Err(_gone) => {
                    let mut offered = Offered::only(SendOutcome::Closed);
                    offered.end(queue, SendOutcome::Closed, CloseReason::Unsubscribed);
                    offered.waker = queue.waker.take();
                    return Some(offered);
                }
            }
        }
        let mut offered = Offered::only(SendOutcome::Accepted);
        let woken = queue.slow;
        for queued in frames {
            queue.push(&queued.frame, &queued.channel, &self.options, &mut offered);
            if offered.ended.is_some() {
                break;
            }
        }
        queue.slow = queue.wired && offered.ended.is_none();
        if !woken || offered.ended.is_some() {
            offered.waker = queue.waker.take();
        }
        Some(offered)
    }

    /// Says that its lane dropped `messages` before they came here. The policy decides, as for a queue that is full.
    pub(crate) fn miss(&self, messages: u64) -> Offered {
        let mut queue = self.queue.lock();
        if !queue.takes(self.in_lane) {
            return Offered::only(SendOutcome::Closed);
        }
        let mut offered = Offered::only(SendOutcome::Dropped);
        if self.options.overflow == Overflow::Close {
            offered.end(&mut queue, SendOutcome::Lagged, CloseReason::Lagged);
        } else {
            queue.lost += messages;
            queue.slow = queue.wired; // so that the owner says it before the next message
        }
        offered.waker = queue.waker.take();
        offered
    }

    /// Ends it, because a frame could not be built.
    pub(crate) fn fail(&self) -> Offered {
        let mut queue = self.queue.lock();
        let mut offered = Offered::only(SendOutcome::Closed);
        if queue.takes(self.in_lane) {
            offered.end(&mut queue, SendOutcome::Failed, CloseReason::Failed);
            offered.waker = queue.waker.take();
        }
        offered
    }

    /// From now on frames are written to the wire, what was queued before first; the caller wakes. `None` when there was a
    /// wire already.
    pub(crate) fn attach(&self, wire: Arc<dyn Wire>) -> Option<Option<Waker>> {
        self.wire.set(wire).ok()?;
        let mut queue = self.queue.lock();
        queue.wired = true;
        queue.slow = queue.has_more();
        Some(if queue.slow { queue.waker.take() } else { None })
    }

    pub(crate) fn is_wired(&self) -> bool {
        self.wire.get().is_some()
    }

    pub(crate) fn poll_take(&self, cx: &mut Context<'_>, max_bytes: usize) -> Poll<Taken> {
        self.poll_or_wait(cx, |queue| {
            if queue.frames.is_empty() {
                queue.ended.filter(|reason| reason.discards() || queue.complete).map(Taken::Closed)
            } else {
                Some(Taken::Frames(queue.take(max_bytes)))
            }
        })
    }

    pub(crate) fn poll_discarded(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.poll_or_wait(cx, |queue| queue.ended.filter(|reason| reason.discards()))
    }

    pub(crate) fn poll_work(&self, cx: &mut Context<'_>) -> Poll<Work> {
        self.poll_or_wait(cx, |queue| match queue.ended {
            Some(reason) if reason.discards() => Some(Work::Closed(reason)),
            _ if queue.slow => Some(Work::Write),
            Some(reason) if queue.complete => Some(Work::Closed(reason)),
            _ => None,
        })
    }

    /// Looks, and leaves the waker where the next change finds it.
    fn poll_or_wait<R>(&self, cx: &mut Context<'_>, look: impl FnOnce(&mut Queue) -> Option<R>) -> Poll<R> {
        // Cloning and dropping a waker runs foreign code, so both happen outside the lock.
        let mut spare = Some(cx.waker().clone());
        let polled = {
            let mut queue = self.queue.lock();
            let seen = look(&mut queue);
            if seen.is_none() {
                spare = std::mem::replace(&mut queue.waker, spare);
            }
            seen
        };
        discard(spare);
        polled.map_or(Poll::Pending, Poll::Ready)
    }

    /// Writes once what waits, with at most [`TAKE_BYTES`] of frames; nothing after a discarding end.
    ///
    /// # Errors
    /// [`Gone`](Unwritten::Gone) as `write` has it, and [`Broken`](Unwritten::Broken) when the format panicked.
    pub(crate) fn write(&self, now: Instant, write: impl FnOnce(&[u8]) -> io::Result<usize>) -> Result<(), Unwritten> {
        let mut guard = self.queue.lock();
        let queue = &mut *guard;
        if !queue.slow {
            return Ok(());
        }
        if queue.rest.is_empty() {
            queue.rest = queue.take_joined(self.format).ok_or(Unwritten::Broken)?;
        }
        if !queue.rest.is_empty() {
            match write(&queue.rest) {
                Ok(0) => return Err(Unwritten::Gone(io::ErrorKind::WriteZero.into())),
                Ok(written) => queue.wrote(written, now),
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(Unwritten::Gone(error)),
            }
        }
        queue.slow = !queue.rest.is_empty() || queue.has_more();
        Ok(())
    }

    /// Writes the owner's own frame at the next border between frames; drops it after a discarding end. The caller wakes
    /// whoever has to write it.
    pub(crate) fn say(&self, frame: &[u8], now: Instant) -> Result<Option<Waker>, Unwritten> {
        let mut guard = self.queue.lock();
        let queue = &mut *guard;
        if queue.ended.is_some_and(CloseReason::discards) || frame.is_empty() {
            return Ok(None);
        }
        queue.control.extend_from_slice(frame);
        if queue.slow || !queue.wired {
            return Ok(None);
        }
        if let Some(wire) = self.wire.get() {
            queue.rest = queue.take_joined(self.format).ok_or(Unwritten::Broken)?;
            // An error is found again by whoever writes next, or by the owner who reads.
            queue.wrote(wire.try_write(&queue.rest).unwrap_or(0), now);
        }
        queue.slow = !queue.rest.is_empty();
        Ok(if queue.slow { queue.waker.take() } else { None })
    }

    /// Tells whether the last write to the wire ended within a frame.
    pub(crate) fn is_mid_frame(&self) -> bool {
        self.queue.lock().mid_frame
    }

    /// Tells whether something waits for the wire to have room.
    pub(crate) fn is_slow(&self) -> bool {
        self.queue.lock().slow
    }

    /// Bytes of the owner's own frames that wait.
    pub(crate) fn control_bytes(&self) -> usize {
        self.queue.lock().control.len()
    }

    /// When the wire last took something.
    pub(crate) fn wrote(&self) -> Option<Instant> {
        self.queue.lock().wrote
    }

    /// Replaces the hook; returns the former one and the end, if it has come and the hook has yet to hear of it.
    pub(crate) fn set_hook(&self, hook: Arc<EndHook>) -> (Option<Arc<EndHook>>, Option<CloseReason>) {
        let mut queue = self.queue.lock();
        queue.told = queue.ended;
        (queue.on_end.replace(hook), queue.ended)
    }

    /// Messages and bytes that wait, and the end.
    pub(crate) fn state(&self) -> (usize, usize, Option<CloseReason>) {
        let queue = self.queue.lock();
        (queue.frames.len(), queue.bytes, queue.ended)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Queue {
    /// Tells whether messages may still come: before the end, and to a draining end those that were broadcast before it.
    fn takes(&self, in_lane: bool) -> bool {
        match self.ended {
            None => true,
            Some(reason) => in_lane && !reason.discards() && !self.complete,
        }
    }

    fn push(&mut self, frame: &Bytes, channel: &Channel, options: &OutboxOptions, offered: &mut Offered) {
        let before = self.lost;
        if !self.has_room(frame.len(), options) {
            match options.overflow {
                Overflow::Close => {
                    offered.end(self, SendOutcome::Lagged, CloseReason::Lagged);
                    return;
                }
                Overflow::DropNewest => {
                    self.lost += 1;
                    offered.dropped += 1;
                    offered.outcome = SendOutcome::Dropped;
                    return;
                }
                Overflow::DropOldest => {}
                Overflow::KeepLatest => self.forget(channel),
            }
            while !self.has_room(frame.len(), options) {
                self.lost += u64::from(self.pop().is_some());
            }
        }
        self.bytes += frame.len();
        self.frames.push_back(Queued { frame: frame.clone(), channel: channel.clone() });
        offered.dropped += self.lost - before;
    }

    fn end(&mut self, reason: CloseReason) {
        self.ended = Some(reason);
        if reason.discards() {
            self.frames = VecDeque::new();
            self.bytes = 0;
            self.lost = 0;
            self.rest = Bytes::new();
            self.control = Vec::new();
            self.slow = false;
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
        // An owner who takes message by message should not pay for a buffer each time; with a wire, most never need one.
        if self.frames.is_empty() && (self.wired || self.frames.capacity() > KEPT_FRAMES) {
            self.frames = VecDeque::new();
        }
        batch
    }

    /// The owner's frames, the notice of a loss, and the oldest queued frames, as one write; `None` when the format panicked.
    fn take_joined(&mut self, format: &WireFormat) -> Option<Bytes> {
        let mut frames = Vec::new();
        if !self.control.is_empty() {
            frames.push(std::mem::take(&mut self.control).into());
        }
        let batch = self.take(TAKE_BYTES);
        contain(|| {
            frames.extend(format.notice(batch.lost));
            frames.extend(batch.frames);
            format.join(&frames)
        })
    }

    /// Tells whether something waits besides what was taken.
    fn has_more(&self) -> bool {
        !self.frames.is_empty() || !self.control.is_empty() || (self.wired && self.lost > 0)
    }

    /// Notes that so much of what was taken is written.
    fn wrote(&mut self, written: usize, now: Instant) {
        let written = written.min(self.rest.len());
        if written > 0 {
            self.wrote = Some(now);
            self.rest.advance(written);
            self.mid_frame = !self.rest.is_empty();
        }
        if self.rest.is_empty() {
            self.rest = Bytes::new();
        }
    }
}

impl Seat for Gate {
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

    fn complete(&self) -> Option<Waker> {
        let mut queue = self.queue.lock();
        queue.complete = true;
        queue.waker.take()
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

#[cfg(all(test, registry_loom))]
mod loom_tests;

#[cfg(all(test, not(any(registry_loom, registry_shuttle))))]
mod tests {
    use super::*;
    use crate::sync::{AtomicUsize, Ordering};

    static RAW: WireFormat = WireFormat::new("raw", |_, body, out| out.extend_from_slice(body));

    /// As when the owner asks while another thread is about to tell.
    #[test]
    fn clo_1_a_hook_that_comes_between_the_end_and_its_telling_hears_of_it_once() {
        let gate = Gate::new(&RAW, OutboxOptions::new());
        assert!(gate.end(CloseReason::Shutdown));
        let calls = Arc::new(AtomicUsize::new(0));
        let heard = calls.clone();
        let (former, ended) = gate.set_hook(Arc::new(move |_| {
            heard.fetch_add(1, Ordering::SeqCst);
        }));
        assert!(former.is_none());
        assert_eq!(ended, Some(CloseReason::Shutdown), "for the owner to call it with");
        gate.tell();
        assert_eq!(calls.load(Ordering::SeqCst), 0, "it is called a second time");
        assert!(!gate.end(CloseReason::Revoked));
        (0..2).for_each(|_| gate.tell());
        assert_eq!(calls.load(Ordering::SeqCst), 1, "of the reason that overrides it hears by the telling, once");
    }
}
