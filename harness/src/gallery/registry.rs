//! A small registry, right unless told otherwise.
//!
//! Broadcasts are queued with the members that they found and delivered by whichever thread finds
//! nobody delivering, so nested ones follow the outer one and all subscribers see one order. No
//! lock is held while a sink runs. Each bug is one condition at the place where a careless
//! implementation would go wrong.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

use super::{
    Bug, Variety,
    gate::{Member, Sent},
    handles::Admission,
    hub::Hub,
};
use crate::{
    script::{Identity, Reason, Registration},
    subject::{Handle, Probe, Refused, Subject, Ticket},
    trace::Report,
};

/// How long a mutant is in a deadlock: longer than a suite that expects it to be.
const DEADLOCK: std::time::Duration = std::time::Duration::from_millis(500);

/// A registry of the gallery; clones share everything.
#[derive(Clone)]
pub(super) struct Specimen {
    shared: Arc<Shared>,
}

struct Shared {
    cap: Option<usize>,
    bug: Option<Bug>,
    variety: Option<Variety>,
    /// Shared by registries that should share nothing.
    hub: Option<Arc<Hub>>,
    table: Mutex<Table>,
    quiet: Condvar,
}

/// What all clones share.
#[derive(Default)]
pub(super) struct Table {
    pub(super) members: Vec<Arc<Member>>,
    pub(super) next: u64,
    queue: VecDeque<Cast>,
    pub(super) delivering: bool,
    pub(super) deliverer: Option<ThreadId>,
    pub(super) down: bool,
    /// Revocations that open tickets must remember.
    pub(super) past: Vec<(u64, Identity)>,
    pub(super) clock: u64,
    pub(super) tickets: usize,
    /// When the last ticket was opened.
    pub(super) newest: u64,
    pub(super) last: Option<(String, String)>,
    pub(super) ended: Vec<Arc<Member>>,
    /// Shut down, with messages that may still be taken.
    pub(super) draining: Vec<Arc<Member>>,
    /// Revoked, to be told the reason of the next revocation.
    pub(super) told: Vec<Arc<Member>>,
    pub(super) banned: Vec<Identity>,
    /// The threads that are closing, once for each call that they are inside of.
    pub(super) closing: Vec<ThreadId>,
    /// What revocations inside closes have ended.
    pub(super) nested: usize,
    /// Ended and not told.
    pub(super) late: Vec<(Arc<Member>, &'static str)>,
    pub(super) evicted: Vec<u64>,
    /// Being admitted, and not found by revocations.
    pub(super) entering: Vec<u64>,
    pub(super) seen: Vec<Identity>,
}

/// A broadcast, and whom it found.
pub(super) struct Cast {
    channel: String,
    data: String,
    members: Vec<Arc<Member>>,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn is(&self, variety: Variety) -> bool {
        self.variety == Some(variety)
    }
}

impl Specimen {
    pub(super) fn new(
        cap: Option<usize>,
        bug: Option<Bug>,
        variety: Option<Variety>,
        hub: Option<Arc<Hub>>,
    ) -> Self {
        let shared =
            Shared { cap, bug, variety, hub, table: Mutex::default(), quiet: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn in_use(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.shared.has(bug)
    }

    pub(super) fn cap(&self) -> Option<usize> {
        self.shared.cap
    }

    pub(super) fn variety(&self) -> Option<Variety> {
        self.shared.variety
    }

    pub(super) fn bug(&self) -> Option<Bug> {
        self.shared.bug
    }

    /// Waits until what another thread is delivering has been delivered.
    pub(super) fn wait_for_deliveries(&self) {
        let me = thread::current().id();
        let table = self.shared.table();
        drop(
            self.shared
                .quiet
                .wait_while(table, |table| table.delivering && table.deliverer != Some(me)),
        );
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.table()
    }

    /// Closes, and notes that it does meanwhile.
    pub(super) fn closing<T>(&self, close: impl FnOnce() -> T) -> T {
        let me = thread::current().id();
        self.table().closing.push(me);
        let closed = close();
        let mut table = self.table();
        if let Some(at) = table.closing.iter().rposition(|thread| *thread == me) {
            table.closing.remove(at);
        }
        closed
    }

    pub(super) fn is_closing(&self) -> bool {
        self.table().closing.contains(&thread::current().id())
    }

    /// Waits, inside of one, until no other thread is inside of the other: a deadlock, but for its
    /// end.
    pub(super) fn wait_for_others(&self) {
        let me = thread::current().id();
        let table = self.table();
        let (delivers, closes) =
            (table.deliverer == Some(me) && table.delivering, table.closing.contains(&me));
        let others = |table: &mut Table| {
            (delivers && table.closing.iter().any(|thread| *thread != me))
                || (closes && table.delivering && table.deliverer != Some(me))
        };
        drop(self.shared.quiet.wait_timeout_while(table, DEADLOCK, others));
    }

    pub(super) fn is(&self, variety: Variety) -> bool {
        self.shared.is(variety)
    }

    pub(super) fn deliver(&self, cast: &Cast) -> Result<(), String> {
        let mut failed = false;
        let (mut index, mut last) = (0, 0);
        loop {
            let member = if self.has(Bug::IteratesTheLiveTable) {
                let table = self.shared.table();
                let fits = |member: &&Arc<Member>| {
                    member.id > last && self.hears(&member.with, &cast.channel)
                };
                table.members.iter().find(fits).cloned()
            } else if self.has(Bug::SkipsAfterARemoval) {
                let table = self.shared.table();
                let fits =
                    |member: &&Arc<Member>| cast.members.iter().any(|old| old.id == member.id);
                table.members.iter().filter(fits).nth(index).cloned()
            } else {
                cast.members.get(index).cloned()
            };
            let Some(member) = member else { break };
            index += 1;
            last = member.id;
            if self.has(Bug::LosesTheFourth) && index == 4
                || self.has(Bug::DeliversToSixtyFour) && index > 64
            {
                continue;
            }
            let whatever = match self.shared.bug {
                Some(Bug::SendsToUnsubscribed) => {
                    self.shared.table().ended.iter().any(|ended| ended.id == member.id)
                }
                Some(Bug::SendsToRevoked) => {
                    !self.shared.table().ended.iter().any(|ended| ended.id == member.id)
                }
                Some(Bug::SendsToEvicted) => self.shared.table().evicted.contains(&member.id),
                _ => false,
            };
            let times = match &member.with.channels {
                Some(names) if self.has(Bug::DuplicatesDeliverTwice) => {
                    names.iter().filter(|name| **name == cast.channel).count().max(1)
                }
                _ => 1 + usize::from(self.has(Bug::SendsTwice)),
            };
            for _ in 0..times {
                let sent = member.send(&cast.channel, &cast.data, whatever);
                if sent == Sent::Lagged && !self.has(Bug::LaggedStay) {
                    self.remove(member.id);
                }
                if matches!(sent, Sent::Lossy | Sent::Lagged) && self.has(Bug::StopsAtAFullOutbox) {
                    return Ok(());
                }
                if sent != Sent::Failed {
                    continue;
                }
                failed = true;
                self.failed(&member);
                if self.has(Bug::StopsAtAFailure) {
                    return Ok(());
                }
                if self.has(Bug::WedgesAtAFailure) {
                    return Err("wedged".into());
                }
                break;
            }
        }
        if failed
            && (self.has(Bug::FailsTheBroadcast) || self.is(Variety::ReportsFailuresAfterwards))
        {
            return Err("a sink failed".into());
        }
        Ok(())
    }

    fn failed(&self, member: &Arc<Member>) {
        if self.is(Variety::KeepsFailing) || self.has(Bug::KeepsFailingSinks) {
            return;
        }
        let left = || self.shared.table().ended.iter().any(|ended| ended.id == member.id);
        if self.has(Bug::ClosesWhoFailsAfterLeaving) && left() {
            member.sink.close(Some("failed"));
        }
        if self.remove(member.id) {
            member.silence();
            if !self.is(Variety::DropsFailing) && !self.has(Bug::DropsFailingSinks) {
                let _ = member.close("failed");
            }
        }
    }

    pub(super) fn remove(&self, id: u64) -> bool {
        let mut table = self.shared.table();
        let before = table.members.len();
        table.members.retain(|member| member.id != id);
        table.members.len() < before
    }

    fn drain(&self) -> Result<(), String> {
        let mut outcome = Ok(());
        loop {
            let cast = {
                let mut table = self.shared.table();
                let next = if self.has(Bug::LastInFirstOut) {
                    table.queue.pop_back()
                } else {
                    table.queue.pop_front()
                };
                if next.is_none() {
                    table.delivering = false;
                    self.shared.quiet.notify_all();
                }
                next
            };
            let Some(cast) = cast else { return outcome };
            match self.deliver(&cast) {
                Err(why) if why == "wedged" => return Err(why),
                Err(why) => outcome = Err(why),
                Ok(()) => {}
            }
        }
    }
}

impl Subject for Specimen {
    fn subscribe(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused> {
        self.admit(sink, with, None)
    }

    fn broadcast(&self, channel: &str, data: &str) -> Result<Option<Report>, String> {
        let start = data.get(..8 * 1024).filter(|_| self.has(Bug::CutsPayloads));
        let data = start.unwrap_or(data);
        if self.has(Bug::LocksInTwoOrders) {
            self.wait_for_others();
        }
        let alone = {
            let mut table = self.shared.table();
            let mut members: Vec<_> = table
                .members
                .iter()
                .filter(|member| self.hears(&member.with, channel))
                .cloned()
                .collect();
            let odd = self.has(Bug::EventNamesThrow) && channel == "error";
            if members.is_empty() && (self.has(Bug::NobodyIsAnError) || odd) {
                return Err("nobody listens".into());
            }
            if self.is(Variety::DeliversBackwards) {
                members.reverse();
            }
            if self.has(Bug::ClosesWhoDoesNotHear) {
                let deaf =
                    |member: &Arc<Member>| !members.iter().any(|other| other.id == member.id);
                let (leave, stay) = std::mem::take(&mut table.members).into_iter().partition(deaf);
                table.members = stay;
                drop(table);
                let leave: Vec<Arc<Member>> = leave;
                for member in leave {
                    let _ = member.close("heartbeat");
                }
                table = self.shared.table();
            }
            let repeat =
                table.last.as_ref().is_some_and(|last| last.0 == channel && last.1 == data);
            table.last = Some((channel.to_owned(), data.to_owned()));
            if repeat && self.has(Bug::MergesRepeats) {
                return Ok(None);
            }
            let cast = Cast { channel: channel.to_owned(), data: data.to_owned(), members };
            if table.delivering && self.has(Bug::LosesNestedBroadcasts) {
                return Ok(None);
            }
            if let Some(hub) = &self.shared.hub {
                drop(table);
                hub.deliver(self, cast);
                return Ok(None);
            }
            let beside = table.delivering && table.deliverer != Some(thread::current().id());
            if beside && self.has(Bug::LosesWhatOverlaps) {
                return Ok(None);
            }
            if self.has(Bug::DeliversOnEachThread) && beside {
                drop(table);
                return self.deliver(&cast).map(|()| None);
            }
            if self.has(Bug::InnerFirst) || self.is(Variety::DeliversInnerFirst) {
                drop(table);
                return self.deliver(&cast).map(|()| None);
            }
            table.queue.push_back(cast);
            let alone = !std::mem::replace(&mut table.delivering, true);
            if alone {
                table.deliverer = Some(thread::current().id());
            }
            alone
        };
        if alone && self.is(Variety::Asynchronous) {
            let specimen = self.clone();
            thread::spawn(move || specimen.drain());
            return Ok(None);
        }
        if alone {
            return match self.drain() {
                Err(why) if why == "wedged" => Ok(None),
                other => other.map(|()| None),
            };
        }
        Ok(None)
    }

    fn close_by_identity(&self, identity: &Identity) -> usize {
        self.revoke(identity, None)
    }

    fn close_by_identity_as(&self, identity: &Identity, reason: Reason) -> usize {
        self.revoke(identity, Some(reason))
    }

    fn count(&self) -> usize {
        let table = self.shared.table();
        let tickets = if self.has(Bug::CountsTickets) { table.tickets } else { 0 };
        let ended = if self.has(Bug::CountsTheUnsubscribed) { table.ended.len() } else { 0 };
        table.members.len() + tickets + ended
    }

    fn begin(&self) -> Option<Arc<dyn Ticket>> {
        let mut table = self.shared.table();
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
        let again = self.has(Bug::ShutsDownAgain);
        let (members, told) = {
            let mut table = self.shared.table();
            table.clock += 1;
            table.down |=
                !self.has(Bug::StaysOpenAfterShutdown) && !self.has(Bug::StaysOpenDuringShutdown);
            let members = std::mem::take(&mut table.members);
            let told: Vec<_> =
                table.draining.iter().filter(|member| member.outbox.is_none()).cloned().collect();
            table
                .draining
                .extend(members.iter().filter(|member| member.outbox.is_some() || again).cloned());
            (members, told)
        };
        for member in told {
            member.sink.close(Some("shutdown"));
        }
        if self.shared.bug.is_none() {
            members.iter().for_each(|member| member.shut());
        }
        for member in members {
            let _ = member.close("shutdown");
        }
        self.shared.table().down |= self.has(Bug::StaysOpenDuringShutdown);
    }

    fn settle(&self) {
        let table = self.shared.table();
        let patience = std::time::Duration::from_secs(5);
        let wedged = self.has(Bug::WedgesAtAFailure);
        drop(
            self.shared
                .quiet
                .wait_timeout_while(table, patience, |table| table.delivering && !wedged),
        );
    }
}
