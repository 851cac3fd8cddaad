//! The state under the lock of a gate: where frames go, the queue, and the end.
//!
//! Invariants: with a wire, the stage is slow exactly while something waits; after a discarding end
//! nothing waits any more.

use super::queue::{Item, Queue};
use crate::types::bounds::OutboxOptions;
use crate::types::channel::Channel;
use crate::types::close::{CloseReason, EndHook};
use crate::types::report::SendOutcome;
use bytes::Bytes;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

#[repr(C)]
pub(crate) struct State<F: Item = Bytes> {
    pub(crate) stage: Stage,
    /// The last write to the wire ended within a frame. It stays true after the end.
    pub(crate) mid_frame: bool,
    /// Its lane appends no more frames.
    pub(crate) complete: bool,
    pub(crate) end: Option<End>,
    /// When the wire last took bytes.
    pub(crate) last_write: Option<Instant>,
    /// Messages that a policy or the bound of a lane's log dropped so far.
    pub(crate) lost: u64,
    pub(crate) queue: Queue<F>,
    pub(crate) waker: Option<Waker>,
    pub(crate) on_end: Option<Arc<EndHook>>,
}

/// Where frames go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Into the queue, which the owner polls: there is no wire.
    Polled,
    /// To the wire: nothing waits.
    Open,
    /// Into the queue: something waits for the wire to have room.
    Slow,
}

#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(crate) reason: CloseReason,
    /// The hook was called with this reason: more than one thread may notify an end.
    pub(crate) notified: bool,
}

/// The result of an offer. The caller wakes the waker when it holds no lock.
pub(crate) struct Offered {
    pub(crate) outcome: SendOutcome,
    /// The end that the offer caused, which the registry has yet to handle; true if it is the
    /// subscriber's first end, the one that is counted (CNT-1).
    pub(crate) ended: Option<(CloseReason, bool)>,
    /// Messages that the policy dropped.
    pub(crate) dropped: u64,
    pub(crate) waker: Option<Waker>,
}

impl Offered {
    pub(crate) fn only(outcome: SendOutcome) -> Self {
        Self { outcome, ended: None, dropped: 0, waker: None }
    }

    /// Ends the subscriber for a reason that discards.
    pub(crate) fn end<F: Item>(
        &mut self,
        state: &mut State<F>,
        outcome: SendOutcome,
        reason: CloseReason,
    ) {
        self.outcome = outcome;
        self.ended = Some((reason, state.end.is_none()));
        state.end(reason);
    }
}

impl<F: Item> State<F> {
    /// `complete` is true if no flusher appends frames.
    pub(crate) fn new(complete: bool, on_end: Option<Arc<EndHook>>) -> Self {
        Self {
            stage: Stage::Polled,
            mid_frame: false,
            complete,
            end: None,
            last_write: None,
            lost: 0,
            queue: Queue::default(),
            waker: None,
            on_end,
        }
    }

    /// Tells whether frames are accepted: before the end always; after a draining end until it is
    /// complete, since earlier broadcasts may still be on their way.
    pub(crate) fn accepts(&self) -> bool {
        self.end.is_none_or(|end| !end.reason.discards() && !self.complete)
    }

    /// Returns the reason of the end, once nothing more can come.
    pub(crate) fn ended(&self) -> Option<CloseReason> {
        let end = self.end.filter(|end| end.reason.discards() || self.complete);
        end.map(|end| end.reason)
    }

    pub(crate) fn discards(&self) -> bool {
        self.end.is_some_and(|end| end.reason.discards())
    }

    pub(crate) fn push(
        &mut self,
        frame: &F,
        channel: &Channel,
        options: &OutboxOptions,
        offered: &mut Offered,
    ) {
        let pushed = self.queue.push(frame, channel, options);
        offered.dropped += pushed.dropped;
        self.lost += pushed.dropped;
        match pushed.outcome {
            SendOutcome::Accepted => {}
            SendOutcome::Lagged => offered.end(self, SendOutcome::Lagged, CloseReason::Lagged),
            other => offered.outcome = other,
        }
    }

    /// Notes that something waits. An open gate becomes slow.
    pub(crate) fn slow_down(&mut self) {
        if self.stage == Stage::Open {
            self.stage = Stage::Slow;
        }
    }

    pub(crate) fn end(&mut self, reason: CloseReason) {
        self.end = Some(End { reason, notified: false });
        if reason.discards() {
            self.queue.discard();
            if self.stage == Stage::Slow {
                self.stage = Stage::Open;
            }
        }
    }

    /// Notes that so many bytes of the rest were written.
    pub(crate) fn written(&mut self, bytes: usize, now: Instant) {
        if self.queue.advance_rest(bytes) {
            self.last_write = Some(now);
            self.mid_frame = !self.queue.rest.is_empty() || self.queue.is_mid_first();
        }
    }
}
