//! The gate of an outbox: it decides whether the subscriber has ended, and its lock guards the
//! queue.
//!
//! A push and an end exclude each other, so nothing is accepted after an end returned, and a
//! discarding end drops the frames that have not left the queue (REV-3). Where a [`Wire`] is
//! attached, every write to it happens under the same lock, so that after an end returned nothing
//! more is handed to the operating system, and the end waits for one non-blocking write at most
//! (REV-12).
//!
//! Without a wire, the owner takes frames and writes them itself. With a wire, the gate is *open*
//! while nothing waits: a flusher writes to the socket directly. A full socket makes the gate
//! *slow*: frames are queued, under the bounds and the policy of the options, and the owner writes
//! them when there is room again, one write for each time it holds the lock.
//!
//! Invariant: no waker is cloned, woken or dropped under the lock.

use super::queue::{Item, Next, Queued};
use super::seat::{Seat, Status};
use super::state::{Offered, Stage, State};
use super::wire::Wire;
use crate::contain::{contain, discard};
use crate::sync::Mutex;
use crate::types::bounds::{OutboxOptions, Overflow};
use crate::types::channel::Channel;
use crate::types::close::{CloseReason, EndHook, both};
use crate::types::format::WireFormat;
use crate::types::report::SendOutcome;
use bytes::Bytes;
use std::io;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// One subscriber's gate. The fields that every write reads come first, so that a write has one
/// cache miss.
#[repr(C)]
pub(crate) struct Gate<F: Item = Bytes> {
    pub(crate) format: &'static WireFormat,
    wire: OnceLock<Arc<dyn Wire>>,
    state: Mutex<State<F>>,
    options: OutboxOptions,
}

/// The reason why nothing was written.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// The wire failed.
    Gone(io::Error),
    /// The format panicked.
    Broken,
}

/// What the owner of a gate with a wire is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Write,
    Closed(CloseReason),
}

impl<F: Item> Gate<F> {
    pub(crate) fn new(
        format: &'static WireFormat,
        options: OutboxOptions,
        hook: Option<Arc<EndHook>>,
    ) -> Self {
        let state = State::new(!options.flusher, hook);
        Self { format, wire: OnceLock::new(), state: Mutex::new(state), options }
    }

    /// Offers one frame to the queue.
    pub(crate) fn push(&self, frame: &F, channel: &Channel) -> Offered {
        let mut state = self.state.lock();
        if !state.accepts() {
            return Offered::only(SendOutcome::Closed);
        }
        let mut offered = Offered::only(SendOutcome::Accepted);
        state.push(frame, channel, &self.options, &mut offered);
        if offered.ended.is_none() {
            state.slow_down();
        }
        offered.waker = state.waker.take();
        offered
    }

    /// Takes what a policy has dropped. The caller drops it without locks.
    pub(crate) fn take_dropped(&self) -> F::Dropped {
        self.state.lock().queue.take_dropped()
    }

    /// Takes the oldest, and how much was lost before it; or reports the end.
    pub(crate) fn poll_one(&self, cx: &mut Context<'_>) -> Poll<Result<(F, u64), CloseReason>> {
        self.poll_or_wait(cx, |state| match state.queue.take_one() {
            Some(oldest) => Some(Ok((oldest, std::mem::take(&mut state.queue.lost)))),
            None => state.ended().map(Err),
        })
    }

    pub(crate) fn poll_discarded(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.poll_or_wait(cx, |state| {
            state.end.map(|end| end.reason).filter(|reason| reason.discards())
        })
    }

    /// Looks at the state. If that gives no answer yet, stores the waker for the next change.
    fn poll_or_wait<R>(
        &self,
        cx: &mut Context<'_>,
        look: impl FnOnce(&mut State<F>) -> Option<R>,
    ) -> Poll<R> {
        // Cloning and dropping a waker runs application code, so both happen outside the lock.
        let mut spare = Some(cx.waker().clone());
        let polled = {
            let mut state = self.state.lock();
            let seen = look(&mut state);
            if seen.is_none() {
                spare = std::mem::replace(&mut state.waker, spare);
            }
            seen
        };
        discard(spare);
        polled.map_or(Poll::Pending, Poll::Ready)
    }

    /// Adds a hook, to be called after the earlier ones. If the subscriber has ended, returns the
    /// reason and what the caller has to call with it: the hooks that were not called yet.
    pub(crate) fn add_hook(&self, hook: Arc<EndHook>) -> Option<(Arc<EndHook>, CloseReason)> {
        let mut state = self.state.lock();
        let all = match state.on_end.take() {
            None => hook.clone(),
            Some(former) => both(former, hook.clone()),
        };
        state.on_end = Some(all.clone());
        let end = state.end.as_mut()?;
        let uncalled = if end.notified { hook } else { all };
        end.notified = true;
        Some((uncalled, end.reason))
    }

    /// Messages and bytes that wait, and the end.
    pub(crate) fn status(&self) -> (usize, usize, Option<CloseReason>) {
        let state = self.state.lock();
        let (messages, bytes) = state.queue.len();
        (messages, bytes, state.end.map(|end| end.reason))
    }
}

impl Gate {
    /// Starts to load the gate and its wire into the cache. The result has no meaning.
    pub(crate) fn prefetch(&self) -> usize {
        self.wire.get().map_or(0, Arc::strong_count)
    }

    /// Offers the frames of one turn. If nothing waits, it writes `joined` to the wire in one call.
    /// Otherwise it queues the frames one by one. Returns `None` if the wire took everything.
    pub(crate) fn offer(&self, joined: &Bytes, frames: &[Queued], now: Instant) -> Option<Offered> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if !state.accepts() {
            return Some(Offered::only(SendOutcome::Closed));
        }
        if state.stage == Stage::Open
            && let Some(wire) = self.wire.get()
        {
            match wire.try_write(joined) {
                Ok(written) => {
                    if written > 0 {
                        state.last_write = Some(now);
                    }
                    if written >= joined.len() {
                        return None;
                    }
                    state.queue.rest = joined.slice(written..);
                    state.mid_frame = written > 0;
                    state.stage = Stage::Slow;
                    let waker = state.waker.take();
                    return Some(Offered { waker, ..Offered::only(SendOutcome::Accepted) });
                }
                Err(error) if is_full(&error) => {}
                Err(_gone) => {
                    let mut offered = Offered::only(SendOutcome::Closed);
                    offered.end(state, SendOutcome::Closed, CloseReason::Unsubscribed);
                    offered.waker = state.waker.take();
                    return Some(offered);
                }
            }
        }
        let mut offered = Offered::only(SendOutcome::Accepted);
        let was_slow = state.stage == Stage::Slow;
        for queued in frames {
            state.push(&queued.frame, &queued.channel, &self.options, &mut offered);
            if offered.ended.is_some() {
                break;
            }
        }
        if offered.ended.is_none() {
            state.slow_down();
        }
        // The owner of a slow gate is awake already, or waits for the socket.
        if !was_slow || offered.ended.is_some() {
            offered.waker = state.waker.take();
        }
        Some(offered)
    }

    /// Notes that the lane dropped so many messages before they reached this gate. The overflow
    /// policy decides, as for a full queue.
    pub(crate) fn overflowed(&self, messages: u64) -> Offered {
        let mut state = self.state.lock();
        if !state.accepts() {
            return Offered::only(SendOutcome::Closed);
        }
        let mut offered = Offered::only(SendOutcome::Dropped);
        if self.options.overflow == Overflow::Close {
            offered.end(&mut state, SendOutcome::Lagged, CloseReason::Lagged);
        } else {
            state.queue.lost += messages;
            state.lost += messages;
            state.slow_down(); // so that the owner reports the loss before the next message
        }
        offered.waker = state.waker.take();
        offered
    }

    /// Ends the subscriber, because a frame could not be built.
    pub(crate) fn fail(&self) -> Offered {
        let mut state = self.state.lock();
        let mut offered = Offered::only(SendOutcome::Closed);
        if state.accepts() {
            offered.end(&mut state, SendOutcome::Failed, CloseReason::Failed);
            offered.waker = state.waker.take();
        }
        offered
    }

    /// Attaches the wire: from now on frames are written to it, those already queued first. A
    /// second wire is ignored. The caller wakes the returned waker.
    pub(crate) fn attach(&self, wire: Arc<dyn Wire>) -> Option<Waker> {
        if let Err(second) = self.wire.set(wire) {
            discard(second);
            return None;
        }
        let mut state = self.state.lock();
        if state.discards() {
            return None;
        }
        state.stage = if state.queue.has_more() { Stage::Slow } else { Stage::Open };
        if state.stage == Stage::Slow { state.waker.take() } else { None }
    }

    /// Puts frames before all that waits; after a discarding end it drops them. The caller wakes
    /// the returned waker.
    pub(crate) fn put_first(&self, frames: Vec<Bytes>) -> Option<Waker> {
        let mut state = self.state.lock();
        if state.discards() {
            return None;
        }
        state.queue.put_first(frames);
        if state.queue.has_frames() {
            state.slow_down();
        }
        state.waker.take()
    }

    pub(crate) fn is_wired(&self) -> bool {
        self.wire.get().is_some()
    }

    pub(crate) fn poll_next(&self, cx: &mut Context<'_>, max_bytes: usize) -> Poll<Next> {
        self.poll_or_wait(cx, |state| {
            if state.queue.has_frames() {
                return Some(Next::Frames(state.queue.take(max_bytes, true)));
            }
            state.ended().map(Next::Closed)
        })
    }

    pub(crate) fn poll_work(&self, cx: &mut Context<'_>) -> Poll<Work> {
        self.poll_or_wait(cx, |state| match state.end.map(|end| end.reason) {
            Some(reason) if reason.discards() => Some(Work::Closed(reason)),
            _ if state.stage == Stage::Slow => Some(Work::Write),
            Some(reason) if state.complete => Some(Work::Closed(reason)),
            _ => None,
        })
    }

    /// Waits until the wire may have room.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.get().map_or(Poll::Ready(Ok(())), |wire| wire.poll_ready(cx))
    }

    /// Makes one write of the waiting bytes, at most [`WRITE_BYTES`](super::queue::WRITE_BYTES) of
    /// frames. After a discarding end it writes nothing.
    ///
    /// # Errors
    /// [`Gone`](Unwritten::Gone) when the wire failed, [`Broken`](Unwritten::Broken) when the
    /// format panicked.
    pub(crate) fn write(&self, now: Instant) -> Result<(), Unwritten> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let (Stage::Slow, Some(wire)) = (state.stage, self.wire.get()) else { return Ok(()) };
        if state.queue.rest.is_empty() && !state.queue.fill_rest(self.format) {
            return Err(Unwritten::Broken);
        }
        if !state.queue.rest.is_empty() {
            match wire.try_write(&state.queue.rest) {
                Ok(0) => return Err(Unwritten::Gone(io::ErrorKind::WriteZero.into())),
                Ok(written) => state.written(written, now),
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(Unwritten::Gone(error)),
            }
        }
        if state.queue.rest.is_empty() && !state.queue.has_more() {
            state.stage = Stage::Open;
        }
        Ok(())
    }

    /// Writes a frame of the owner's own at the next border between frames. After a discarding end
    /// it drops the frame. The caller wakes the returned waker, whose task writes the rest.
    pub(crate) fn send_control(
        &self,
        frame: &[u8],
        now: Instant,
    ) -> Result<Option<Waker>, Unwritten> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.discards() || frame.is_empty() {
            return Ok(None);
        }
        state.queue.control.extend_from_slice(frame);
        let (Stage::Open, Some(wire)) = (state.stage, self.wire.get()) else { return Ok(None) };
        if !state.queue.fill_rest(self.format) {
            return Err(Unwritten::Broken);
        }
        // An error is ignored here: the next write, or the owner's next read, fails with it again.
        let written = wire.try_write(&state.queue.rest).unwrap_or(0);
        state.written(written, now);
        if state.queue.rest.is_empty() {
            return Ok(None);
        }
        state.stage = Stage::Slow;
        Ok(state.waker.take())
    }

    /// Tells whether the last write to the wire ended within a frame.
    pub(crate) fn is_mid_frame(&self) -> bool {
        self.state.lock().mid_frame
    }

    /// Tells whether something waits for the wire to have room.
    pub(crate) fn is_slow(&self) -> bool {
        self.state.lock().stage == Stage::Slow
    }

    /// Bytes of the owner's own frames that wait.
    pub(crate) fn control_bytes(&self) -> usize {
        self.state.lock().queue.control.len()
    }

    /// When the wire last took something.
    pub(crate) fn last_write(&self) -> Option<Instant> {
        self.state.lock().last_write
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl<F: Item + Send> Seat for Gate<F>
where
    F::Dropped: Send,
{
    fn end(&self, reason: CloseReason) -> bool {
        let mut state = self.state.lock();
        match state.end {
            None => {
                state.end(reason);
                true
            }
            // A discarding reason overrides a draining one, but ends nothing a second time (CLO-5).
            Some(first) => {
                if !first.reason.discards() && reason.discards() {
                    state.end(reason);
                }
                false
            }
        }
    }

    fn complete(&self) -> Option<Waker> {
        let mut state = self.state.lock();
        state.complete = true;
        state.waker.take()
    }

    fn describe(&self) -> Status {
        let state = self.state.lock();
        let (queued_messages, bytes) = state.queue.len();
        Status {
            label: self.options.label,
            queued_messages,
            queued_bytes: bytes + state.queue.unwritten(),
            lost: state.lost,
            last_write: state.last_write,
            wired: self.wire.get().is_some(),
        }
    }

    fn notify(&self) {
        let (waker, hook, pending, dropped) = {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            let pending = state.end.as_mut().filter(|end| !end.notified).map(|end| {
                end.notified = true;
                end.reason
            });
            (state.waker.take(), state.on_end.clone(), pending, state.queue.take_dropped())
        };
        dropped.into_iter().for_each(discard);
        if let Some(waker) = waker {
            contain(|| waker.wake());
        }
        if let (Some(hook), Some(reason)) = (hook, pending) {
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

    static RAW: WireFormat =
        WireFormat::new("raw", |_, encoded, out| out.extend_from_slice(encoded.body()));

    /// The owner sets its hook while another thread is about to notify.
    #[test]
    fn clo_1_a_hook_that_is_set_between_the_end_and_its_notice_is_called_once() {
        let gate = Gate::<Bytes>::new(&RAW, OutboxOptions::new(), None);
        assert!(gate.end(CloseReason::Shutdown));
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let uncalled = gate.add_hook(Arc::new(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        }));
        let reason = uncalled.map(|(_, reason)| reason);
        assert_eq!(reason, Some(CloseReason::Shutdown), "the owner calls it with this");
        gate.notify();
        assert_eq!(calls.load(Ordering::SeqCst), 0, "it is called a second time");
        assert!(!gate.end(CloseReason::Revoked));
        (0..2).for_each(|_| gate.notify());
        assert_eq!(calls.load(Ordering::SeqCst), 1, "it hears of the overriding reason, once");
    }
}
