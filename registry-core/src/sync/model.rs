//! Helpers of the loom tests, which try every schedule of a few threads, up to a bound on
//! preemptions.
//!
//! A test makes its assertions outside of sinks and wakers, because the crate contains their
//! panics, failed assertions too.

use crate::types::channel::Channel;
use crate::types::encode::Encoded;
use crate::types::id::{Key, MemberId, MessageId};
use crate::types::message::Message;
use crate::types::report::Tally;
use loom::sync::Notify;
pub(crate) use loom::thread::spawn;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Two preemptions are enough to find every bug that was planted; three take seconds.
/// `LOOM_MAX_PREEMPTIONS` sets another bound.
const PREEMPTIONS: usize = 3;

/// Runs a scenario under every schedule.
pub(crate) fn every_schedule(scenario: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(PREEMPTIONS));
    // A scenario has a few hundred steps; one with more steps than this is in an endless loop.
    model.max_branches = 5_000;
    model.check(scenario);
}

struct Parked(Notify);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// Polls until there is an answer. A wake-up that never comes is a deadlock, which loom reports.
pub(crate) fn wait<R>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>) -> R {
    let parked = Arc::new(Parked(Notify::new()));
    let waker = Waker::from(parked.clone());
    loop {
        match poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => parked.0.wait(),
        }
    }
}

/// The subscriber at this key.
pub(crate) fn id(key: Key) -> MemberId {
    MemberId { key, serial: 1 + key as u64 }
}

/// The broadcast with this sequence number, whose frame is one byte long.
pub(crate) fn message(seq: u64) -> Arc<Message<u64>> {
    let encoded = Some(Encoded::text("."));
    let id = MessageId::new(0, seq);
    Arc::new(Message {
        id,
        channel: Channel::from("c"),
        data: seq,
        encoded,
        tally: Tally::default(),
    })
}
