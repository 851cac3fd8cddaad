//! The gate of one subscriber of a [`Specimen`](super::registry::Specimen): decides, atomically, whether a send or a close
//! may begin.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

use super::Bug;
use crate::{script::Registration, subject::Probe};

/// One registration.
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) sink: Probe,
    pub(super) with: Registration,
    pub(super) bug: Option<Bug>,
    gate: Mutex<Gate>,
}

#[derive(Default)]
struct Gate {
    over: bool,
    told: bool,
    sending: Vec<ThreadId>,
    /// A close that waits for the send on its own thread to end.
    pending: Option<&'static str>,
}

/// What became of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Skipped,
    Accepted,
    Failed,
}

impl Member {
    pub(super) fn new(id: u64, sink: Probe, with: Registration, bug: Option<Bug>) -> Self {
        Self { id, sink, with, bug, gate: Mutex::new(Gate::default()) }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_over(&self) -> bool {
        self.gate().over
    }

    /// Ends it without telling the sink.
    pub(super) fn silence(&self) {
        self.gate().over = true;
    }

    /// Takes its turn, if it is still active, and sends.
    pub(super) fn send(&self, data: &str, whatever: bool) -> Sent {
        let me = thread::current().id();
        {
            let mut gate = self.gate();
            if gate.over && !whatever {
                return Sent::Skipped;
            }
            gate.sending.push(me);
        }
        let sent = panic::catch_unwind(AssertUnwindSafe(|| self.sink.send(data)));
        let pending = {
            let mut gate = self.gate();
            gate.sending.retain(|thread| *thread != me);
            if gate.sending.contains(&me) { None } else { gate.pending.take() }
        };
        if let Some(reason) = pending {
            let _ = self.tell(reason);
        }
        match sent {
            Ok(true) => Sent::Accepted,
            Ok(false) | Err(_) => Sent::Failed,
        }
    }

    /// Ends it and tells the sink, once. False if somebody else did.
    pub(super) fn close(&self, reason: &'static str) -> Result<bool, ()> {
        {
            let mut gate = self.gate();
            gate.over = self.bug != Some(Bug::ClosesBeforeTheGate);
            if gate.told && self.bug != Some(Bug::ClosesTwice) {
                return Ok(false);
            }
            gate.told = true;
            if gate.sending.contains(&thread::current().id()) && self.bug != Some(Bug::ClosesInsideTheSend) {
                gate.pending = Some(reason);
                return Ok(true);
            }
        }
        let told = self.tell(reason);
        self.gate().over = true;
        told.map(|()| true)
    }

    fn tell(&self, reason: &'static str) -> Result<(), ()> {
        let reason = if self.bug == Some(Bug::SaysTheWrongReason) { "shutdown" } else { reason };
        let told = panic::catch_unwind(AssertUnwindSafe(|| self.sink.close(Some(reason)))).map_err(drop);
        if self.bug == Some(Bug::ClosesTwice) {
            let _ = panic::catch_unwind(AssertUnwindSafe(|| self.sink.close(Some(reason))));
        }
        told
    }
}
