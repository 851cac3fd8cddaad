//! What a [`SampleRegistry`] does when it is called.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::gate::Member;
use super::handles::Admission;
use super::outbox::Sent;
use super::sample::{Cast, SampleRegistry};
use super::threads::{MOMENT, on_helper};
use super::{Bug, Variety};
use crate::protocol::Delivery;
use crate::script::{Identity, Reason, Registration};
use crate::subject::{Handle, Probe, Refused, Subject, Ticket};
use crate::trace::Report;

impl Subject for SampleRegistry {
    fn subscribe(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused> {
        self.admit(sink, with, None)
    }

    fn broadcast(&self, channel: &str, data: &str) -> Result<Option<Report>, String> {
        let start = data.get(..8 * 1024).filter(|_| self.has(Bug::CutsPayloads));
        let data = start.unwrap_or(data);
        if self.has(Bug::LocksInTwoOrders) {
            self.wait_for_others();
        }
        let lots = Arc::<[AtomicU64; 5]>::default();
        let later = self.twist.policies.delivery == Delivery::Async;
        let (alone, matched) = {
            let mut table = self.table();
            let mut members: Vec<_> = table
                .members
                .iter()
                .filter(|member| self.hears(&member.with, channel))
                .cloned()
                .collect();
            let odd = self.has(Bug::EventNamesThrow) && channel == "error";
            let down = table.down && self.has(Bug::FailsAfterShutdown);
            if down || (members.is_empty() && (self.has(Bug::NobodyIsAnError) || odd)) {
                return Err("no subscriber listens".into());
            }
            table.casts += 1;
            self.arrange(&mut members, table.casts);
            if self.has(Bug::ClosesNonListeners) {
                let deaf =
                    |member: &Arc<Member>| !members.iter().any(|other| other.id == member.id);
                let (leave, stay) = std::mem::take(&mut table.members).into_iter().partition(deaf);
                table.members = stay;
                drop(table);
                let leave: Vec<Arc<Member>> = leave;
                for member in leave {
                    let _ = member.close("heartbeat");
                }
                table = self.table();
            }
            let repeat =
                table.last.as_ref().is_some_and(|last| last.0 == channel && last.1 == data);
            table.last = Some((channel.to_owned(), data.to_owned()));
            if repeat && self.has(Bug::MergesRepeats) {
                return Ok(None);
            }
            let matched = members.len() as u64;
            if later {
                // An outbox has it when this returns (DEL-1).
                let lag = |member: &Arc<Member>| {
                    member.outbox.is_some() && member.send(channel, data, false) == Sent::Lagged
                };
                let lagged: Vec<_> = members.iter().filter(|member| lag(member)).cloned().collect();
                table.members.retain(|own| lagged.iter().all(|lagged| lagged.id != own.id));
                members.retain(|member| member.outbox.is_none());
            }
            let lots = Arc::clone(&lots);
            let cast = Cast { channel: channel.to_owned(), data: data.to_owned(), members, lots };
            let same = |own: &Cast| (&own.channel, &own.data) == (&cast.channel, &cast.data);
            if self.has(Bug::MergesWhatWaits) && table.queue.iter().any(same) {
                return Ok(None);
            }
            if table.delivering && self.has(Bug::LosesNestedBroadcasts) {
                return Ok(None);
            }
            if let Some(shared_queue) = &self.shared_queue {
                drop(table);
                shared_queue.deliver(self, cast);
                return Ok(None);
            }
            let beside = table.delivering && table.deliverer != Some(thread::current().id());
            if beside && self.has(Bug::LosesWhatOverlaps) {
                return Ok(None);
            }
            let each = self.has(Bug::DeliversOnEachThread) && beside;
            if each || self.has(Bug::InnerFirst) || self.is(Variety::DeliversInnerFirst) {
                drop(table);
                return self.deliver(&cast).map(|()| None);
            }
            table.queue.push_back(cast);
            let alone = !std::mem::replace(&mut table.delivering, true);
            if alone {
                table.deliverer = Some(thread::current().id());
            }
            (alone, matched)
        };
        if alone && later {
            let sample = self.clone();
            thread::spawn(move || sample.drain());
        } else if alone {
            on_helper(self.is(Variety::DeliversOnAHelper), || self.drain())
                .or_else(|why| if why == "wedged" { Ok(()) } else { Err(why) })?;
        } else if self.is(Variety::WaitsItsTurn) {
            self.wait_for_deliveries(MOMENT);
        }
        let [_, accepted, failed, dropped, lagged] =
            lots.each_ref().map(|lot| lot.load(Ordering::Relaxed));
        let report = Report { matched, accepted, dropped, lagged, failed };
        Ok(Some(report).filter(|_| self.is(Variety::Reports)))
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
