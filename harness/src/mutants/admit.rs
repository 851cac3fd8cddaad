//! How a [`SampleRegistry`] takes subscribers.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use super::gate::Member;
use super::handles::Subscription;
use super::sample::SampleRegistry;
use super::{Bug, Variety};
use crate::protocol::FullScope;
use crate::script::{Act, Identity, Registration};
use crate::subject::{Handle, Probe, Refused};

impl SampleRegistry {
    pub(super) fn admit(
        &self,
        sink: Probe,
        with: &Registration,
        since: Option<u64>,
    ) -> Result<Arc<dyn Handle>, Refused> {
        if self.twist.variety.is_some() {
            let (sub, sink, with) = (0, 0, with.clone());
            self.check_claims(match since {
                None => Act::Sub { sub, sink, with },
                Some(_) => Act::Admit { ticket: 0, sub, sink, with },
            });
        }
        let mut victims = Vec::new();
        let mut refused = false;
        let member = {
            let mut table = self.table();
            let crowded = self.has(Bug::RefusesCrowds) && table.members.len() >= 64;
            let unseen = self.has(Bug::AdmitsTheKnown)
                && with.identities().any(|own| !table.seen.contains(own))
                && since.is_some();
            table.seen.extend(with.identities().cloned());
            if table.down && self.is(Variety::ThrowsRefusals) {
                resume_unwind(Box::new("it was shut down"));
            }
            if table.down
                || crowded
                || unseen
                || with.identities().any(|own| table.banned.contains(own))
            {
                return Err(Refused);
            }
            if let Some(since) = since {
                let any = self.is(Variety::CautiousTickets) || self.has(Bug::AnyRevocationRefuses);
                let deaf = self.has(Bug::NewestTicketOnly) && since != table.newest;
                let kind = self.is(Variety::CautiousWithKinds);
                let same = |own: &Identity, past: &Identity| {
                    own == past || (kind && own.kind() == past.kind())
                };
                let revoked = since < table.forgotten
                    || table.past.iter().filter(|_| !deaf).any(|(at, past)| {
                        *at > since && (any || with.identities().any(|own| same(own, past)))
                    });
                if revoked && !self.has(Bug::TicketsForget) {
                    refused = true;
                    if self.has(Bug::ClosesTheRefused) {
                        drop(table);
                        sink.close(Some("revoked"));
                        return Err(Refused);
                    }
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
            if let (Some(cap), Some(scope)) = (self.cap, &with.scope) {
                let in_scope = |member: &&Arc<Member>| match self.twist.bug {
                    Some(Bug::CapsEverything) => member.with.scope.is_some(),
                    Some(Bug::ScopesIgnoreKinds) => {
                        member.with.scope.as_ref().map(Identity::value) == Some(scope.value())
                    }
                    Some(Bug::CapsGroups) => member.with.identities().any(|own| own == scope),
                    _ => member.with.scope.as_ref() == Some(scope),
                };
                let mut own: Vec<Arc<Member>> =
                    table.members.iter().filter(in_scope).cloned().collect();
                let refuses = self.twist.policies.full_scope == FullScope::RefuseNew;
                if refuses && own.len() >= cap {
                    return Err(Refused);
                }
                if self.has(Bug::EvictsTheNewest) {
                    own.reverse();
                }
                let all = own.len();
                let left = table.ended.iter().filter(in_scope).count();
                let excess = match self.twist.bug {
                    Some(Bug::CapOffByOne) => all.saturating_sub(cap),
                    Some(Bug::EvictsAll) if all >= cap => all,
                    Some(Bug::EvictsOneTooMany) if all >= cap => (all + 2 - cap).min(all),
                    Some(Bug::LeaversKeepTheirPlace) => {
                        (all + left + 1).saturating_sub(cap).min(all)
                    }
                    Some(Bug::NestedSubscribesSkipTheCap) if table.delivering => 0,
                    Some(Bug::ForgetsTheCapInCloses) if !table.closing.is_empty() => 0,
                    _ if self.is(Variety::EvictsAfterwards) => 0,
                    _ => (all + 1).saturating_sub(cap.max(1)),
                };
                victims = own.drain(..excess).collect();
                if !self.has(Bug::EvictedStay) {
                    table
                        .members
                        .retain(|member| !victims.iter().any(|victim| victim.id == member.id));
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
            let member = Arc::new(Member::new(table.next, sink, with.clone(), self.twist));
            let lost = self.has(Bug::LosesSubscribesInCloses)
                && table.closing.contains(&thread::current().id());
            if !lost {
                table.members.push(Arc::clone(&member));
            }
            if self.has(Bug::LooksBeforeItEvicts) {
                table.entering.push(member.id);
            }
            table.evicted.extend(victims.iter().map(|victim| victim.id));
            member
        };
        for victim in victims {
            if self.has(Bug::EvictedNotTold) {
                victim.silence();
                continue;
            }
            let notified = self.closing(|| victim.close("evicted"));
            if notified.is_err() && self.has(Bug::EvictionFailuresFailSubscribe) {
                std::panic::resume_unwind(Box::new("the evicted sink failed"));
            }
        }
        while self.is(Variety::EvictsAfterwards)
            && let Some(victim) = self.crowded_out(with)
        {
            let _ = self.closing(|| victim.close("evicted"));
        }
        self.table().entering.retain(|id| *id != member.id);
        if self.has(Bug::AddressesNewcomers) {
            self.catch_up(&member);
        }
        if self.has(Bug::ReplaysTheLast) {
            let last = self.table().last.clone();
            if let Some((channel, data)) = last
                && self.hears(with, &channel)
            {
                member.send(&channel, &data, false);
            }
        }
        if refused {
            return Err(Refused);
        }
        Ok(Arc::new(Subscription { registry: self.clone(), member }))
    }

    /// Removes the oldest of a scope that has too many.
    fn crowded_out(&self, with: &Registration) -> Option<Arc<Member>> {
        let (cap, scope) = (self.cap?, with.scope.as_ref()?);
        let mut table = self.table();
        let members = table.members.iter();
        let own: Vec<_> = members.filter(|own| own.with.scope.as_ref() == Some(scope)).collect();
        let oldest = own.first().filter(|_| own.len() > cap)?.id;
        let at = table.members.iter().position(|own| own.id == oldest)?;
        Some(table.members.remove(at))
    }
}
