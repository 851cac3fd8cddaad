//! A small registry, right unless told otherwise.
//!
//! Broadcasts are queued with the members that they found and delivered by whichever thread finds nobody delivering, so nested
//! ones follow the outer one and all subscribers see one order. No lock is held while a sink runs. Each bug is one
//! condition at the place where a careless implementation would go wrong.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

use super::{
    Bug, Variety,
    gate::{Member, Sent},
};
use crate::{
    script::{Identity, Registration},
    subject::{Handle, Probe, Refused, Subject, Ticket},
    trace::Report,
};

/// A registry of the gallery; clones share everything.
#[derive(Clone)]
pub(super) struct Specimen {
    shared: Arc<Shared>,
}

struct Shared {
    cap: Option<usize>,
    bug: Option<Bug>,
    variety: Option<Variety>,
    table: Mutex<Table>,
    quiet: Condvar,
}

#[derive(Default)]
struct Table {
    members: Vec<Arc<Member>>,
    next: u64,
    queue: VecDeque<Cast>,
    delivering: bool,
    deliverer: Option<ThreadId>,
    down: bool,
    /// Revocations that open tickets must remember.
    past: Vec<(u64, Identity)>,
    clock: u64,
    tickets: usize,
    last: Option<(String, String)>,
    ended: Vec<Arc<Member>>,
    banned: Vec<Identity>,
}

struct Cast {
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
    pub(super) fn new(cap: Option<usize>, bug: Option<Bug>, variety: Option<Variety>) -> Self {
        let shared = Shared { cap, bug, variety, table: Mutex::default(), quiet: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn in_use(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    fn has(&self, bug: Bug) -> bool {
        self.shared.has(bug)
    }

    fn is(&self, variety: Variety) -> bool {
        self.shared.is(variety)
    }

    fn hears(&self, with: &Registration, channel: &str) -> bool {
        let Some(names) = &with.channels else { return !self.has(Bug::NoListHearsNothing) };
        if names.is_empty() {
            let exact = with.exact && !self.has(Bug::ExactEmptyHearsAll);
            return !exact && !self.has(Bug::EmptyListHearsNothing);
        }
        if let (Bug::KeepsTheCallersList, Some(name)) = (self.shared.bug.unwrap_or(Bug::CapOfZero), &with.overwrite) {
            return name == channel;
        }
        let same = |name: &String| match self.shared.bug {
            Some(Bug::MatchesPrefixes) => channel.starts_with(name.as_str()) && !name.is_empty() || name == channel,
            Some(Bug::FoldsCase) => name.eq_ignore_ascii_case(channel),
            Some(Bug::TrimsNames) => name.trim() == channel.trim(),
            Some(Bug::MatchesWildcards) => name == channel || name == "*",
            Some(Bug::CutsAtNul) => name.split('\0').next() == channel.split('\0').next(),
            Some(Bug::EmptyNameHearsAll) => name == channel || name.is_empty(),
            Some(Bug::EmptyNameHearsNothing) => name == channel && !name.is_empty(),
            Some(Bug::MagicNamesHearNothing) => name == channel && !name.starts_with("__"),
            Some(Bug::ComparesNumbers) => {
                name == channel || matches!((name.parse::<f64>(), channel.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
            }
            Some(Bug::CutsLongNames) => name.len() <= 4_096 && name == channel,
            _ => name == channel,
        };
        let limit = match self.shared.bug {
            Some(Bug::FirstNameOnly) => 1,
            Some(Bug::CutsLongLists) => 1_000,
            _ => usize::MAX,
        };
        names.iter().take(limit).any(same)
    }

    fn holds(&self, with: &Registration, identity: &Identity) -> bool {
        match self.shared.bug {
            Some(Bug::ConcatenatesKinds) => with.identities().any(|own| joined(own) == joined(identity)),
            Some(Bug::IgnoresKinds) => with.identities().any(|own| own.value() == identity.value()),
            Some(Bug::FoldsIdentities) => with
                .identities()
                .any(|own| own.kind() == identity.kind() && own.value().eq_ignore_ascii_case(identity.value())),
            Some(Bug::MatchesIdentityPrefixes) => {
                with.identities().any(|own| own.kind() == identity.kind() && own.value().starts_with(identity.value()))
            }
            Some(Bug::RevokesChannels) => {
                with.identities().any(|own| own == identity)
                    || with.channels.iter().flatten().any(|name| name == identity.value())
            }
            Some(Bug::RevokesTheNameless) => {
                with.identities().any(|own| own == identity) || with.identities().next().is_none()
            }
            Some(Bug::FirstIdentityOnly) => with.identities().next() == Some(identity),
            Some(Bug::ScopeIsNoIdentity) => with.groups.contains(identity),
            _ => with.identities().any(|own| own == identity),
        }
    }

    fn deliver(&self, cast: &Cast) -> Result<(), String> {
        let mut failed = false;
        let (mut index, mut last) = (0, 0);
        loop {
            let member = if self.has(Bug::IteratesTheLiveTable) {
                let table = self.shared.table();
                let fits = |member: &&Arc<Member>| member.id > last && self.hears(&member.with, &cast.channel);
                table.members.iter().find(fits).cloned()
            } else if self.has(Bug::SkipsAfterARemoval) {
                let table = self.shared.table();
                let fits = |member: &&Arc<Member>| cast.members.iter().any(|old| old.id == member.id);
                table.members.iter().filter(fits).nth(index).cloned()
            } else {
                cast.members.get(index).cloned()
            };
            let Some(member) = member else { break };
            index += 1;
            last = member.id;
            if self.has(Bug::LosesTheFourth) && index == 4 {
                continue;
            }
            let whatever = match self.shared.bug {
                Some(Bug::SendsToUnsubscribed) => self.shared.table().ended.iter().any(|ended| ended.id == member.id),
                Some(Bug::SendsToRevoked) => !self.shared.table().ended.iter().any(|ended| ended.id == member.id),
                _ => false,
            };
            let times = match &member.with.channels {
                Some(names) if self.has(Bug::DuplicatesDeliverTwice) => {
                    names.iter().filter(|name| **name == cast.channel).count().max(1)
                }
                _ => 1 + usize::from(self.has(Bug::SendsTwice)),
            };
            for _ in 0..times {
                if member.send(&cast.data, whatever) != Sent::Failed {
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
        if failed && (self.has(Bug::FailsTheBroadcast) || self.is(Variety::ReportsFailuresAfterwards)) {
            return Err("a sink failed".into());
        }
        Ok(())
    }

    fn failed(&self, member: &Arc<Member>) {
        if self.is(Variety::KeepsFailing) || self.has(Bug::KeepsFailingSinks) {
            return;
        }
        if self.remove(member.id) {
            member.silence();
            if !self.is(Variety::DropsFailing) && !self.has(Bug::DropsFailingSinks) {
                let _ = member.close("failed");
            }
        }
    }

    fn remove(&self, id: u64) -> bool {
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
                let next = if self.has(Bug::LastInFirstOut) { table.queue.pop_back() } else { table.queue.pop_front() };
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

    fn admit(&self, sink: Probe, with: &Registration, since: Option<u64>) -> Result<Arc<dyn Handle>, Refused> {
        let shared = &self.shared;
        let mut victims = Vec::new();
        let mut refused = false;
        let member = {
            let mut table = shared.table();
            if table.down || with.identities().any(|own| table.banned.contains(own)) {
                return Err(Refused);
            }
            if let Some(since) = since {
                let any = self.is(Variety::CautiousTickets) || self.has(Bug::AnyRevocationRefuses);
                let revoked = table
                    .past
                    .iter()
                    .any(|(at, past)| *at > since && (any || with.identities().any(|own| own == past)));
                if revoked && !self.has(Bug::TicketsForget) {
                    refused = true;
                    if !self.has(Bug::RefusalsEvict) && !self.has(Bug::RefusedStay) {
                        return Err(Refused);
                    }
                }
            }
            if self.has(Bug::KeyedBySink) || self.has(Bug::RefusesASinkTwice) {
                let again = table.members.iter().any(|member| member.sink.sink() == sink.sink());
                if again && self.has(Bug::RefusesASinkTwice) {
                    return Err(Refused);
                }
                table.members.retain(|member| member.sink.sink() != sink.sink());
            }
            if let (Some(cap), Some(scope)) = (shared.cap, &with.scope) {
                let in_scope = |member: &&Arc<Member>| match shared.bug {
                    Some(Bug::CapsEverything) => member.with.scope.is_some(),
                    Some(Bug::CapsGroups) => member.with.identities().any(|own| own == scope),
                    _ => member.with.scope.as_ref() == Some(scope),
                };
                let mut own: Vec<Arc<Member>> = table.members.iter().filter(in_scope).cloned().collect();
                if self.is(Variety::RefusesWhenFull) && own.len() >= cap {
                    return Err(Refused);
                }
                if self.has(Bug::EvictsTheNewest) {
                    own.reverse();
                }
                let all = own.len();
                let excess = match shared.bug {
                    Some(Bug::CapOffByOne) => all.saturating_sub(cap),
                    Some(Bug::EvictsAll) if all >= cap => all,
                    Some(Bug::EvictsOneTooMany) if all >= cap => (all + 2 - cap).min(all),
                    Some(Bug::NestedSubscribesSkipTheCap) if table.delivering => 0,
                    _ => (all + 1).saturating_sub(cap.max(1)),
                };
                victims = own.drain(..excess).collect();
                if !self.has(Bug::EvictedStay) {
                    table.members.retain(|member| !victims.iter().any(|victim| victim.id == member.id));
                }
            }
            if refused && self.has(Bug::RefusalsEvict) {
                drop(table);
                for victim in victims {
                    let _ = victim.close("evicted");
                }
                return Err(Refused);
            }
            table.next += 1;
            let member = Arc::new(Member::new(table.next, sink, with.clone(), shared.bug));
            table.members.push(Arc::clone(&member));
            member
        };
        for victim in victims {
            if self.has(Bug::EvictedNotTold) {
                victim.silence();
            } else if victim.close("evicted").is_err() && self.has(Bug::EvictionFailuresFailSubscribe) {
                std::panic::resume_unwind(Box::new("the evicted sink failed"));
            }
        }
        if self.has(Bug::ReplaysTheLast) {
            let last = self.shared.table().last.clone();
            if let Some((channel, data)) = last
                && self.hears(with, &channel)
            {
                member.send(&data, false);
            }
        }
        if refused {
            return Err(Refused);
        }
        Ok(Arc::new(Subscription { registry: self.clone(), member }))
    }

    fn claim(&self, identity: &Identity) -> Vec<Arc<Member>> {
        let mut table = self.shared.table();
        table.clock += 1;
        if table.tickets > 0 {
            let now = table.clock;
            table.past.push((now, identity.clone()));
        }
        if self.has(Bug::BansTheRevoked) {
            table.banned.push(identity.clone());
        }
        let mut matching: Vec<_> =
            table.members.iter().filter(|member| self.holds(&member.with, identity)).cloned().collect();
        if self.has(Bug::RevokesTheFirstOnly) || self.is(Variety::ClosesOneByOne) {
            matching.truncate(1);
        }
        let stays = self.has(Bug::RevokedStay) || self.has(Bug::RemovesAfterClosing) || self.has(Bug::SendsToRevoked);
        if !stays {
            table.members.retain(|member| !matching.iter().any(|gone| gone.id == member.id));
        }
        if self.has(Bug::RevocationTakesABystander) && !matching.is_empty() {
            table.members.pop();
        }
        if self.has(Bug::ClosesTheUnsubscribed) {
            let late: Vec<_> =
                table.ended.iter().filter(|member| self.holds(&member.with, identity)).cloned().collect();
            table.ended.clear();
            drop(table);
            for member in late {
                let _ = member.close("revoked");
            }
        }
        matching
    }

    fn revoke(&self, identity: &Identity) -> usize {
        if self.has(Bug::RevocationsWaitForDeliveries) {
            let me = thread::current().id();
            let table = self.shared.table();
            drop(self.shared.quiet.wait_while(table, |table| table.delivering && table.deliverer != Some(me)));
        }
        let mut count = 0;
        loop {
            let matching = self.claim(identity);
            let found = matching.len();
            for (index, member) in matching.iter().enumerate() {
                if self.has(Bug::RevokesWithoutTelling) {
                    member.silence();
                    continue;
                }
                if self.has(Bug::CountsWhoEscaped) && member.is_over() {
                    continue;
                }
                if self.has(Bug::RevokedStay) {
                    member.sink.close(Some("revoked"));
                    continue;
                }
                let told = member.close("revoked");
                if told.is_err() && self.has(Bug::StopsAtAFailingClose) {
                    return count + index + 1;
                }
                if told.is_err() && self.has(Bug::FailingClosesDoNotCount) {
                    count -= usize::from(count > 0);
                    if count == 0 && found == 1 {
                        return 0;
                    }
                }
                if self.has(Bug::RemovesAfterClosing) || self.has(Bug::SendsToRevoked) {
                    self.remove(member.id);
                }
            }
            count += found;
            if self.has(Bug::CountsIdentities) {
                count += matching
                    .iter()
                    .map(|member| member.with.identities().filter(|own| *own == identity).count() - 1)
                    .sum::<usize>();
            }
            if !self.is(Variety::ClosesOneByOne) || found == 0 {
                break;
            }
        }
        if self.has(Bug::UnknownReturnsOne) {
            count = count.max(1);
        }
        if self.has(Bug::CountsTheLiving) {
            count += usize::from(count > 0) * self.shared.table().members.len();
        }
        count
    }
}

impl Subject for Specimen {
    fn subscribe(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused> {
        self.admit(sink, with, None)
    }

    fn broadcast(&self, channel: &str, data: &str) -> Result<Option<Report>, String> {
        let alone = {
            let mut table = self.shared.table();
            let mut members: Vec<_> =
                table.members.iter().filter(|member| self.hears(&member.with, channel)).cloned().collect();
            if members.is_empty() && self.has(Bug::NobodyIsAnError) {
                return Err("nobody listens".into());
            }
            if self.is(Variety::DeliversBackwards) {
                members.reverse();
            }
            let repeat = table.last.as_ref().is_some_and(|last| last.0 == channel && last.1 == data);
            table.last = Some((channel.to_owned(), data.to_owned()));
            if repeat && self.has(Bug::MergesRepeats) {
                return Ok(None);
            }
            let cast = Cast { channel: channel.to_owned(), data: data.to_owned(), members };
            if table.delivering && self.has(Bug::LosesNestedBroadcasts) {
                return Ok(None);
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
        self.revoke(identity)
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
        Some(Arc::new(Admission { registry: self.clone(), since: table.clock, spent: Mutex::new(false) }))
    }

    fn shutdown(&self) {
        let members = {
            let mut table = self.shared.table();
            table.down = !self.has(Bug::StaysOpenAfterShutdown);
            std::mem::take(&mut table.members)
        };
        for member in members {
            let _ = member.close("shutdown");
        }
    }

    fn settle(&self) {
        let table = self.shared.table();
        let patience = std::time::Duration::from_secs(5);
        let wedged = self.has(Bug::WedgesAtAFailure);
        drop(self.shared.quiet.wait_timeout_while(table, patience, |table| table.delivering && !wedged));
    }
}

struct Subscription {
    registry: Specimen,
    member: Arc<Member>,
}

impl Handle for Subscription {
    fn unsubscribe(&self) {
        let registry = &self.registry;
        let found = {
            let mut table = registry.shared.table();
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
            self.member.silence();
        }
    }
}

struct Admission {
    registry: Specimen,
    since: u64,
    spent: Mutex<bool>,
}

impl Admission {
    /// True if it was not used before.
    fn spend(&self) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let first = !std::mem::replace(&mut *spent, true);
        if first {
            let mut table = self.registry.shared.table();
            table.tickets -= 1;
        }
        first
    }
}

impl Ticket for Admission {
    fn admit(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused> {
        if !self.spend() && !self.registry.has(Bug::TicketsAdmitTwice) {
            return Err(Refused);
        }
        let made = self.registry.admit(sink, with, Some(self.since));
        let mut table = self.registry.shared.table();
        if table.tickets == 0 {
            table.past.clear();
        }
        made
    }

    fn abandon(&self) {
        self.spend();
    }
}

fn joined(identity: &Identity) -> String {
    identity.kind().map_or_else(|| identity.value().to_owned(), |kind| format!("{kind}:{}", identity.value()))
}
