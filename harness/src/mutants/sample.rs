//! A small registry, right unless it is made wrong on purpose.
//!
//! A broadcast is queued with the members that it found. A thread that finds no other delivering
//! delivers the queue, so nested broadcasts follow the outer one and all subscribers see one order.
//! No lock is held while a sink runs. Each bug is one condition at the place where a careless
//! implementation would go wrong.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::gate::Member;
use super::outbox::Sent;
use super::threads::{at_once, on_helper};
use super::{Bug, Twist, Variety};
use crate::protocol::SendFailure;
use crate::script::Identity;

/// How long a mutant is in a deadlock: longer than a suite that expects it to be.
const DEADLOCK: Duration = Duration::from_millis(500);

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
    home: ThreadId,
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
    pub(super) casts: usize,
    /// When the last revocation that is not remembered was made.
    pub(super) forgotten: u64,
}

/// A broadcast, and the members that it found.
pub(super) struct Cast {
    pub(super) channel: String,
    pub(super) data: String,
    pub(super) members: Vec<Arc<Member>>,
    /// How many members had each lot of [`Sent`].
    pub(super) lots: Arc<[AtomicU64; 5]>,
}

impl Shared {
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        let bound = self.is(Variety::ClaimsNoThreads) || self.is(Variety::ClaimsOnlyCore);
        assert!(!bound || self.home == thread::current().id(), "on another thread");
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
        let (table, quiet, home) = (Mutex::default(), Condvar::new(), thread::current().id());
        Self(Arc::new(Shared { cap, twist, shared_queue, table, quiet, home }))
    }

    pub(super) fn in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Waits until what another thread is delivering has been delivered.
    pub(super) fn wait_for_deliveries(&self, patience: Duration) {
        let me = thread::current().id();
        let others = |table: &mut Table| table.delivering && table.deliverer != Some(me);
        drop(self.quiet.wait_timeout_while(self.table(), patience, others));
    }

    /// Waits until nothing is being delivered, or for a while.
    pub(super) fn wait_for_rest(&self) {
        let table = self.table();
        let patience = Duration::from_secs(5);
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
        let (mut index, mut last, mut closes) = (0, 0, Vec::new());
        let sends =
            cast.members.iter().map(|member| || member.send(&cast.channel, &cast.data, false));
        let sent_at_once = if self.is(Variety::SendsAtOnce) || self.is(Variety::SendsAtOnceLater) {
            at_once(sends)
        } else {
            Vec::new()
        };
        loop {
            let found = |member: &Member| cast.members.iter().any(|old| old.id == member.id);
            let member = if self.has(Bug::IteratesTheLiveTable) || self.has(Bug::LetsOthersIn) {
                let table = self.table();
                let others = |member: &Member| member.home != thread::current().id();
                let fits = |member: &&Arc<Member>| {
                    member.id > last
                        && self.hears(&member.with, &cast.channel)
                        && (!self.has(Bug::LetsOthersIn) || found(member) || others(member))
                };
                table.members.iter().find(fits).cloned()
            } else if self.has(Bug::SkipsAfterARemoval) {
                let table = self.table();
                table.members.iter().filter(|member| found(member)).nth(index).cloned()
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
                let send = || member.send(&cast.channel, &cast.data, whatever);
                let sent = sent_at_once.get(index - 1).copied();
                let sent =
                    sent.unwrap_or_else(|| on_helper(self.is(Variety::SendsOnHelpers), send));
                cast.lots[sent as usize].fetch_add(1, Ordering::Relaxed);
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
                if self.failed(&member) {
                    closes.push(Arc::clone(&member));
                }
                if !self.is(Variety::ClosesFailingLast) {
                    closes.drain(..).for_each(|member| {
                        let _ = member.close("failed");
                    });
                }
                if self.has(Bug::StopsAtAFailure) {
                    return Ok(());
                }
                if self.has(Bug::WedgesAtAFailure) {
                    return Err("wedged".into());
                }
                break;
            }
        }
        closes.iter().for_each(|member| {
            let _ = member.close("failed");
        });
        if self.is(Variety::ClosesItselfLast) {
            cast.members.iter().for_each(|member| member.notify_late());
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

    /// Removes a sink that failed, unless it is to be kept. True if it has to be closed.
    fn failed(&self, member: &Arc<Member>) -> bool {
        let policy = self.twist.policies.send_failure;
        if policy == SendFailure::Keep || self.has(Bug::KeepsFailingSinks) {
            return false;
        }
        if self.has(Bug::ClosesAFailureAfterLeaving) && self.was_unsubscribed(member) {
            member.sink.close(Some("failed"));
        }
        let removed = self.remove(member.id);
        if removed {
            member.silence();
        }
        removed && policy != SendFailure::Drop && !self.has(Bug::DropsFailingSinks)
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
