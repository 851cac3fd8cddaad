//! A small registry, right unless it is made wrong on purpose.
//!
//! A broadcast is queued with the members that it found. A thread that finds no other delivering
//! delivers the queue, so nested broadcasts follow the outer one and all subscribers see one order.
//! No lock is held while a sink runs. Each bug is one condition at the place where a careless
//! implementation would go wrong.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use super::gate::Member;
use super::outbox::Sent;
use super::{Bug, Twist, Variety};
use crate::script::Identity;

/// How long a mutant is in a deadlock: longer than a suite that expects it to be.
const DEADLOCK: std::time::Duration = std::time::Duration::from_millis(500);

/// A registry that may have a bug; clones share everything.
#[derive(Clone)]
pub(super) struct SampleRegistry(Arc<Shared>);

pub(super) struct Shared {
    pub(super) cap: Option<usize>,
    pub(super) twist: Twist,
    /// Shared by registries that should share nothing.
    pub(super) shared_queue: Option<Arc<SharedQueue>>,
    table: Mutex<Table>,
    quiet: Condvar,
}

impl Deref for SampleRegistry {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// What all clones share.
#[derive(Default)]
pub(super) struct Table {
    pub(super) members: Vec<Arc<Member>>,
    pub(super) next: u64,
    pub(super) queue: VecDeque<Cast>,
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
    /// Revoked, to be notified of the reason of the next revocation.
    pub(super) notified: Vec<Arc<Member>>,
    pub(super) banned: Vec<Identity>,
    /// The threads that are closing, once for each call that they are inside of.
    pub(super) closing: Vec<ThreadId>,
    /// What revocations inside closes have ended.
    pub(super) nested: usize,
    /// Ended and not notified.
    pub(super) late: Vec<(Arc<Member>, &'static str)>,
    pub(super) evicted: Vec<u64>,
    /// Being admitted, and not found by revocations.
    pub(super) entering: Vec<u64>,
    pub(super) seen: Vec<Identity>,
}

/// A broadcast, and the members that it found.
pub(super) struct Cast {
    pub(super) channel: String,
    pub(super) data: String,
    pub(super) members: Vec<Arc<Member>>,
}

impl Shared {
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.twist.has(bug)
    }

    pub(super) fn is(&self, variety: Variety) -> bool {
        self.twist.is(variety)
    }
}

impl SampleRegistry {
    pub(super) fn new(
        cap: Option<usize>,
        twist: Twist,
        shared_queue: Option<Arc<SharedQueue>>,
    ) -> Self {
        let (table, quiet) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { cap, twist, shared_queue, table, quiet }))
    }

    pub(super) fn in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Waits until what another thread is delivering has been delivered.
    pub(super) fn wait_for_deliveries(&self) {
        let me = thread::current().id();
        let table = self.table();
        drop(self.quiet.wait_while(table, |table| table.delivering && table.deliverer != Some(me)));
    }

    /// Waits until nothing is being delivered, or for a while.
    pub(super) fn wait_for_rest(&self) {
        let table = self.table();
        let patience = std::time::Duration::from_secs(5);
        let wedged = self.has(Bug::WedgesAtAFailure);
        drop(self.quiet.wait_timeout_while(table, patience, |table| table.delivering && !wedged));
    }

    /// Runs a close, and notes that this thread is closing meanwhile.
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

    /// Waits, while delivering or closing, until no other thread does the other: a deadlock with a
    /// time limit.
    pub(super) fn wait_for_others(&self) {
        let me = thread::current().id();
        let table = self.table();
        let (delivers, closes) =
            (table.deliverer == Some(me) && table.delivering, table.closing.contains(&me));
        let others = |table: &mut Table| {
            (delivers && table.closing.iter().any(|thread| *thread != me))
                || (closes && table.delivering && table.deliverer != Some(me))
        };
        drop(self.quiet.wait_timeout_while(table, DEADLOCK, others));
    }

    pub(super) fn deliver(&self, cast: &Cast) -> Result<(), String> {
        let mut failed = false;
        let (mut index, mut last) = (0, 0);
        loop {
            let member = if self.has(Bug::IteratesTheLiveTable) {
                let table = self.table();
                let fits = |member: &&Arc<Member>| {
                    member.id > last && self.hears(&member.with, &cast.channel)
                };
                table.members.iter().find(fits).cloned()
            } else if self.has(Bug::SkipsAfterARemoval) {
                let table = self.table();
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
            let whatever = match self.twist.bug {
                Some(Bug::SendsToUnsubscribed) => self.was_unsubscribed(&member),
                Some(Bug::SendsToRevoked) => !self.was_unsubscribed(&member),
                Some(Bug::SendsToEvicted) => self.table().evicted.contains(&member.id),
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

    fn was_unsubscribed(&self, member: &Member) -> bool {
        self.table().ended.iter().any(|ended| ended.id == member.id)
    }

    fn failed(&self, member: &Arc<Member>) {
        if self.is(Variety::KeepsFailing) || self.has(Bug::KeepsFailingSinks) {
            return;
        }
        if self.has(Bug::ClosesAFailureAfterLeaving) && self.was_unsubscribed(member) {
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
        let mut table = self.table();
        let before = table.members.len();
        table.members.retain(|member| member.id != id);
        table.members.len() < before
    }

    pub(super) fn drain(&self) -> Result<(), String> {
        let mut outcome = Ok(());
        loop {
            let cast = {
                let mut table = self.table();
                let next = if self.has(Bug::LastInFirstOut) {
                    table.queue.pop_back()
                } else {
                    table.queue.pop_front()
                };
                if next.is_none() {
                    table.delivering = false;
                    self.quiet.notify_all();
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

/// Broadcasts of several registries, and whether a thread is delivering them.
#[derive(Default)]
pub(super) struct SharedQueue(Mutex<(VecDeque<(SampleRegistry, Cast)>, bool)>);

impl SharedQueue {
    /// Delivers what waits, of whichever registry, unless another thread does.
    pub(super) fn deliver(&self, registry: &SampleRegistry, cast: Cast) {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut all = lock();
            all.0.push_back((registry.clone(), cast));
            if std::mem::replace(&mut all.1, true) {
                return;
            }
        }
        loop {
            let next = {
                let mut all = lock();
                let next = all.0.pop_front();
                all.1 = next.is_some();
                next
            };
            let Some((registry, cast)) = next else { return };
            let _ = registry.deliver(&cast);
        }
    }
}
