//! What a [`SampleRegistry`](super::sample::SampleRegistry) hands out: subscriptions and tickets.

use std::sync::{Arc, Mutex, PoisonError};

use super::gate::Member;
use super::sample::SampleRegistry;
use super::{Bug, Variety};
use crate::script::Registration;
use crate::subject::{Handle, Probe, Refused, Ticket};
use crate::trace::Received;

pub(super) struct Subscription {
    pub(super) registry: SampleRegistry,
    pub(super) member: Arc<Member>,
}

impl Handle for Subscription {
    fn unsubscribe(&self) {
        let registry = &self.registry;
        let found = {
            let mut table = registry.table();
            let before = table.members.len();
            let id = self.member.id;
            if registry.has(Bug::UnsubscribesTheWholeSink) {
                let sink = self.member.sink.sink();
                table.members.retain(|member| member.sink.sink() != sink);
            } else {
                table.members.retain(|member| member.id != id);
            }
            let found = table.members.len() < before;
            if found {
                table.ended.push(Arc::clone(&self.member));
            } else if registry.has(Bug::UnsubscribesAnother) {
                table.members.pop();
            }
            found
        };
        if found && registry.has(Bug::UnsubscribeCloses) {
            let _ = self.member.close("revoked");
        }
        if !registry.has(Bug::ClosesTheUnsubscribed) {
            self.member.leave();
        }
        if registry.is(Variety::WaitsForTheUnsubscribed) {
            self.member.wait_for_sends();
        }
    }

    fn take(&self, max_bytes: u32) -> Option<Received> {
        self.member.outbox.as_ref().map(|outbox| outbox.take(max_bytes))
    }
}

pub(super) struct Admission {
    pub(super) registry: SampleRegistry,
    pub(super) since: u64,
    pub(super) spent: Mutex<bool>,
}

impl Admission {
    /// True if it was not used before.
    fn spend(&self) -> bool {
        !std::mem::replace(&mut *self.spent.lock().unwrap_or_else(PoisonError::into_inner), true)
    }

    /// Revocations are forgotten when no ticket is open. A ticket is open while it admits.
    fn end(&self) {
        let mut table = self.registry.table();
        table.tickets -= 1;
        if table.tickets == 0 {
            table.past.clear();
        }
    }
}

impl Ticket for Admission {
    fn admit(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused> {
        let first = self.spend();
        if !first && !self.registry.has(Bug::TicketsAdmitTwice) {
            return Err(Refused);
        }
        let made = self.registry.admit(sink, with, Some(self.since));
        if first {
            self.end();
        }
        made
    }

    fn abandon(&self) {
        if self.spend() {
            self.end();
        }
    }
}
