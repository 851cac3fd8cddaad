//! The gate of one subscriber of a [`SampleRegistry`](super::sample::SampleRegistry): decides,
//! atomically, whether a send or a close may begin.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use super::outbox::{Outbox, Sent};
use super::threads::{MOMENT, is_part_of, on_helper};
use super::{Bug, Twist, Variety};
use crate::script::Registration;
use crate::subject::Probe;

/// One registration.
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) sink: Probe,
    pub(super) with: Registration,
    /// The thread that subscribed it.
    pub(super) home: ThreadId,
    twist: Twist,
    /// In place of the sink.
    pub(super) outbox: Option<Outbox>,
    gate: Mutex<Gate>,
    sent: Condvar,
}

#[derive(Default)]
struct Gate {
    over: bool,
    /// Its owner unsubscribed it.
    left: bool,
    notified: bool,
    sending: Vec<ThreadId>,
    /// A close that waits for the send on its own thread to end.
    pending: Option<&'static str>,
}

impl Member {
    pub(super) fn new(id: u64, sink: Probe, with: Registration, twist: Twist) -> Self {
        let outbox = with.outbox.map(|bounds| Outbox::new(bounds, twist));
        let (home, gate, sent) = (thread::current().id(), Mutex::default(), Condvar::new());
        Self { id, sink, with, home, twist, outbox, gate, sent }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_over(&self) -> bool {
        self.gate().over
    }

    pub(super) fn has_left(&self) -> bool {
        self.gate().left
    }

    /// Ends it for its owner, which needs no notice.
    pub(super) fn leave(&self) {
        self.gate().left = true;
        self.silence();
    }

    /// Lets no further send begin: several members end at once, and are notified one by one.
    pub(super) fn shut(&self) {
        self.gate().over = true;
    }

    /// Ends it without telling the sink.
    pub(super) fn silence(&self) {
        self.gate().over = true;
        if let Some(outbox) = &self.outbox {
            outbox.end("unsubscribed");
        }
    }

    /// Changes the reason of an end that was not notified yet.
    pub(super) fn notify_otherwise(&self, reason: &'static str) {
        let mut gate = self.gate();
        gate.pending = gate.pending.map(|_| reason);
        if let Some(outbox) = &self.outbox {
            outbox.end_otherwise(reason);
        }
    }

    /// Takes its turn, if it is still active, and sends.
    pub(super) fn send(&self, channel: &str, data: &str, whatever: bool) -> Sent {
        if let Some(outbox) = &self.outbox {
            return outbox.push(channel, data);
        }
        let me = thread::current().id();
        {
            let mut gate = self.gate();
            if gate.over && !whatever {
                return Sent::Skipped;
            }
            gate.sending.push(me);
        }
        let sent = panic::catch_unwind(AssertUnwindSafe(|| self.sink.send(data)));
        {
            let mut gate = self.gate();
            // Sends nest when a sink broadcasts: each ends one.
            if let Some(at) = gate.sending.iter().rposition(|thread| *thread == me) {
                gate.sending.remove(at);
            }
            self.sent.notify_all();
        }
        if !self.twist.is(Variety::ClosesItselfLast) {
            self.notify_late();
        }
        match sent {
            Ok(true) => Sent::Accepted,
            Ok(false) | Err(_) => Sent::Failed,
        }
    }

    /// Notifies it of an end that came inside its own send.
    pub(super) fn notify_late(&self) {
        let mut gate = self.gate();
        let sends = gate.sending.iter().any(is_part_of);
        let pending = gate.pending.take_if(|_| !sends);
        drop(gate);
        if let Some(reason) = pending {
            let _ = self.notify(reason);
        }
    }

    /// Waits a moment for the sends in progress on other threads.
    pub(super) fn wait_for_sends(&self) {
        let others = |gate: &mut Gate| !gate.sending.iter().all(is_part_of);
        drop(self.sent.wait_timeout_while(self.gate(), MOMENT, others));
    }

    /// Ends the member and notifies the sink once. False if that was done before.
    pub(super) fn close(&self, reason: &'static str) -> Result<bool, ()> {
        {
            let mut gate = self.gate();
            gate.over = !self.twist.has(Bug::ClosesBeforeTheGate);
            if gate.notified && !self.twist.has(Bug::ClosesTwice) {
                return Ok(false);
            }
            gate.notified = true;
            if let Some(outbox) = &self.outbox {
                outbox.end(self.said(reason));
                return Ok(true);
            }
            let elsewhere =
                self.twist.has(Bug::ClosesAfterSendsOfOthers) && !gate.sending.is_empty();
            if (elsewhere || gate.sending.iter().any(is_part_of))
                && !self.twist.has(Bug::ClosesInsideTheSend)
                && !self.twist.has(Bug::ClosesTheSenderElsewhere)
            {
                let forgets =
                    self.twist.has(Bug::ForgetsTheReasonOfADelayedClose) && reason == "logged_out";
                gate.pending = Some(if forgets { "revoked" } else { reason });
                return Ok(true);
            }
        }
        let notified = self.notify(reason);
        self.gate().over = true;
        notified.map(|()| true)
    }

    fn said(&self, reason: &'static str) -> &'static str {
        if self.twist.has(Bug::SaysTheWrongReason) { "shutdown" } else { reason }
    }

    fn notify(&self, reason: &'static str) -> Result<(), ()> {
        let reason = self.said(reason);
        let said = Some(reason)
            .filter(|reason| !self.twist.has(Bug::EvictsWithoutAReason) || *reason != "evicted")
            .filter(|_| !self.twist.is(Variety::GivesNoReasons));
        let elsewhere = self.twist.is(Variety::ClosesOnHelpers)
            || self.twist.has(Bug::ClosesTheSenderElsewhere);
        let close = || on_helper(elsewhere, || self.sink.close(said));
        let notified = panic::catch_unwind(AssertUnwindSafe(close)).map_err(drop);
        if self.twist.has(Bug::ClosesTwice) {
            let _ = panic::catch_unwind(AssertUnwindSafe(|| self.sink.close(Some(reason))));
        }
        notified
    }
}
