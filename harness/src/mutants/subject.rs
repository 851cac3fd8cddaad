//! What a [`SampleRegistry`] does when it is called.

use std::sync::{Arc, Mutex};

use super::handles::Admission;
use super::sample::SampleRegistry;
use super::{Bug, Variety};
use crate::script::{Identity, Reason, Registration};
use crate::subject::{Handle, Probe, Refused, Subject, Ticket};
use crate::trace::Report;

impl Subject for SampleRegistry {
    fn subscribe(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused> {
        self.admit(sink, with, None)
    }

    fn broadcast(&self, channel: &str, data: &str) -> Result<Option<Report>, String> {
        self.publish(channel, data, None)
    }

    fn send_to(
        &self,
        identity: &Identity,
        channel: &str,
        data: &str,
    ) -> Result<Option<Report>, String> {
        self.publish(channel, data, Some(identity))
    }

    fn close_by_identity(&self, identity: &Identity) -> usize {
        self.revoke(identity, None)
    }

    fn close_by_identity_as(&self, identity: &Identity, reason: Reason) -> usize {
        self.revoke(identity, Some(reason))
    }

    fn count(&self) -> usize {
        let table = self.table();
        let tickets = if self.has(Bug::CountsTickets) { table.tickets } else { 0 };
        let ended = if self.has(Bug::CountsTheUnsubscribed) { table.ended.len() } else { 0 };
        let closing = if self.is(Variety::CountsTheClosing) { table.closing.len() } else { 0 };
        table.members.len() + tickets + ended + closing
    }

    fn begin(&self) -> Option<Arc<dyn Ticket>> {
        let mut table = self.table();
        table.tickets += 1;
        table.clock += 1;
        table.newest = table.clock;
        Some(Arc::new(Admission {
            registry: self.clone(),
            since: table.clock,
            spent: Mutex::new(false),
        }))
    }

    fn shutdown(&self) {
        if self.is(Variety::ShutsDownTwice) {
            self.end_all(false);
        }
        self.end_all(true);
    }

    fn settle(&self) {
        self.wait_for_rest();
    }
}

impl SampleRegistry {
    /// Ends all; then it is down, or takes others still.
    fn end_all(&self, down: bool) {
        let again = self.has(Bug::ShutsDownAgain);
        let (members, notified) = {
            let mut table = self.table();
            table.clock += 1;
            table.down |= down
                && !self.has(Bug::StaysOpenAfterShutdown)
                && !self.has(Bug::StaysOpenDuringShutdown);
            let members = std::mem::take(&mut table.members);
            let notified: Vec<_> =
                table.draining.iter().filter(|member| member.outbox.is_none()).cloned().collect();
            table
                .draining
                .extend(members.iter().filter(|member| member.outbox.is_some() || again).cloned());
            (members, notified)
        };
        for member in notified {
            member.sink.close(Some("shutdown"));
        }
        if self.twist.bug.is_none() {
            members.iter().for_each(|member| member.shut());
        }
        for member in members {
            let _ = member.close("shutdown");
        }
        self.table().down |= self.has(Bug::StaysOpenDuringShutdown);
    }
}
