//! One subscriber, its owner and its peer; and one flusher.

use super::{FILTERS, Plan};
use crate::kit::*;
use crate::wire::*;
use registry_core::{CloseReason, Flusher, Next, Outbox, Progress, SocketOutbox, SubscriptionId};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// The outbox that the owner of a subscriber holds.
pub(super) enum Owned {
    Queue(Outbox),
    Wire(SocketOutbox),
}

impl Owned {
    pub(super) fn outbox(&self) -> &Outbox {
        match self {
            Self::Queue(outbox) => outbox,
            Self::Wire(outbox) => outbox.outbox(),
        }
    }

    pub(super) fn wire(&self) -> Option<&SocketOutbox> {
        match self {
            Self::Queue(_) => None,
            Self::Wire(outbox) => Some(outbox),
        }
    }
}

/// One line of the list, and its subscriber.
pub(super) struct Line {
    pub(super) id: SubscriptionId,
    pub(super) plan: Plan,
    pub(super) owned: Option<Owned>,
    pub(super) socket: Arc<Socket>,
    pub(super) wired: bool,
    pub(super) wakes: Arc<Wakes>,
    pub(super) waker: Waker,
    /// Wake-ups after which its owner was polled.
    pub(super) followed: usize,
    /// The owner waits for room.
    pub(super) waits_for_room: bool,
    /// The end that the owner has seen.
    pub(super) closed: Option<CloseReason>,
    pub(super) lane: Option<usize>,
    pub(super) reasons: Arc<Mutex<Vec<CloseReason>>>,
    /// The messages that the subscriber should get: the sequence number and the value of each.
    pub(super) expected: Vec<(u64, u32)>,
    pub(super) controls: usize,
    /// The frames that the owner took before there was a wire.
    pub(super) taken: Vec<Read>,
    pub(super) was_mid_frame: bool,
}

impl Line {
    pub(super) fn is_active(&self) -> bool {
        self.reasons.lock().unwrap().is_empty()
    }

    pub(super) fn reason(&self) -> Option<CloseReason> {
        self.reasons.lock().unwrap().last().copied()
    }

    pub(super) fn hears(&self, channel: usize) -> bool {
        FILTERS[self.plan.filter].is_none_or(|names| names.contains(&channel))
    }

    pub(super) fn enveloped(&self) -> bool {
        self.plan.format != 0
    }

    /// Polls the owner once.
    pub(super) fn turn(&mut self) {
        let Some(owned) = &mut self.owned else { return };
        self.followed = self.wakes.count();
        self.waits_for_room = false;
        let outbox = match owned {
            Owned::Queue(outbox) => outbox,
            Owned::Wire(outbox) => {
                match flush_with(outbox, &self.waker) {
                    Poll::Ready(Ok(reason)) => self.closed = Some(reason),
                    Poll::Ready(Err(_broken)) => self.leave(),
                    Poll::Pending => self.waits_for_room = !self.socket.has_room(),
                }
                return;
            }
        };
        while let Poll::Ready(taken) = outbox.poll_next(&mut Context::from_waker(&self.waker), 100)
        {
            match taken {
                Next::Frames(batch) => {
                    self.taken.extend((batch.lost > 0).then_some(Read::Lost(batch.lost)));
                    self.taken.extend(read_frames(&batch.frames));
                }
                Next::Closed(reason) => {
                    self.closed = Some(reason);
                    break;
                }
            }
        }
    }

    pub(super) fn leave(&mut self) {
        if let Some(owned) = self.owned.take() {
            owned.outbox().subscription().unsubscribe();
            self.was_mid_frame = owned.wire().is_some_and(SocketOutbox::is_mid_frame);
        }
        self.socket.seal();
    }

    /// Tells whether the owner was woken, or the socket has room again.
    pub(super) fn is_due(&self) -> bool {
        self.owned.is_some()
            && self.closed.is_none()
            && (self.wakes.count() > self.followed
                || (self.waits_for_room && self.socket.has_room()))
    }

    pub(super) fn has_bounds(&self) -> bool {
        let Some(owned) = &self.owned else { return true };
        let shown = format!("{:?}", owned.outbox());
        let field = |name: &str| -> usize {
            let from = shown.find(&format!("{name}: ")).unwrap() + name.len() + 2;
            shown[from..]
                .chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
                .parse()
                .unwrap()
        };
        let (messages, bytes) = (field("messages"), field("bytes"));
        self.plan
            .bounds
            .is_none_or(|(most, size)| messages <= 1 || (messages <= most && bytes <= size))
    }
}

pub(super) struct Lane {
    pub(super) flusher: Option<Flusher<u32>>,
    pub(super) wakes: Arc<Wakes>,
    pub(super) waker: Waker,
    pub(super) followed: usize,
    /// The flusher said that there is more to do, or was never called.
    pub(super) more: bool,
    pub(super) done: bool,
}

impl Lane {
    pub(super) fn serve(&mut self) {
        let Some(flusher) = &mut self.flusher else { return };
        self.followed = self.wakes.count();
        let served = flusher.poll_serve(&mut Context::from_waker(&self.waker), now());
        self.more = served == Poll::Ready(Progress::More);
        self.done |= served == Poll::Ready(Progress::Done);
    }

    pub(super) fn is_due(&self) -> bool {
        self.flusher.is_some() && !self.done && (self.more || self.wakes.count() > self.followed)
    }
}
