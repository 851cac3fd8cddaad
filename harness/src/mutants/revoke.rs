//! How a [`SampleRegistry`] revokes.

use std::sync::Arc;
use std::time::Duration;

use super::gate::Member;
use super::sample::SampleRegistry;
use super::threads::at_once;
use super::{Bug, Variety};
use crate::script::{Identity, Reason};

impl SampleRegistry {
    fn holders(&self, members: &[Arc<Member>], identity: &Identity) -> Vec<Arc<Member>> {
        members.iter().filter(|member| self.holds(&member.with, identity)).cloned().collect()
    }

    fn claim(&self, identity: &Identity, named: Option<Reason>) -> Vec<Arc<Member>> {
        let mut table = self.table();
        table.clock += 1;
        let spared = named.is_some() && self.has(Bug::NamedReasonsSpareTickets);
        if table.tickets > 0 && !spared && !self.has(Bug::TicketsLearnLate) {
            let now = table.clock;
            table.past.push((now, identity.clone()));
            if self.is(Variety::ForgetsRevocations) && table.past.len() > 2 {
                table.forgotten = table.past.remove(0).0;
            }
        }
        if self.has(Bug::BansTheRevoked) {
            table.banned.push(identity.clone());
        }
        let mut matching = self.holders(&table.members, identity);
        matching.retain(|member| !table.entering.contains(&member.id));
        if self.is(Variety::ClosesBackwards) {
            matching.reverse();
        }
        if self.has(Bug::RevokesTheFirstOnly) || self.is(Variety::ClosesOneByOne) {
            matching.truncate(1);
        }
        let stays = self.has(Bug::RevokedStay)
            || self.has(Bug::RemovesAfterClosing)
            || self.has(Bug::SendsToRevoked);
        if !stays {
            table.members.retain(|member| !matching.iter().any(|gone| gone.id == member.id));
        }
        if self.has(Bug::ReportsTheLastReason) {
            table.notified.extend(matching.iter().cloned());
        }
        if self.has(Bug::RevocationTakesABystander) && !matching.is_empty() {
            table.members.pop();
        }
        if self.has(Bug::ClosesTheUnsubscribed) {
            let late = self.holders(&std::mem::take(&mut table.ended), identity);
            drop(table);
            for member in late {
                let _ = member.close("revoked");
            }
        }
        matching
    }

    pub(super) fn revoke(&self, identity: &Identity, named: Option<Reason>) -> usize {
        let reason = match (self.twist.bug, named) {
            (Some(Bug::IgnoresTheReason), _) => Reason::Revoked,
            (Some(Bug::RevokesAsLoggedOut), None) => Reason::LoggedOut,
            _ => named.unwrap_or_default(),
        };
        let reason = reason.word();
        if self.has(Bug::RevocationsWaitForDeliveries) {
            self.wait_for_deliveries(Duration::from_secs(60));
        }
        if self.has(Bug::LocksInTwoOrders) {
            self.wait_for_others();
        }
        let inside = self.is_closing();
        let draining = self.holders(&self.table().draining, identity);
        for outbox in draining.iter().filter_map(|member| member.outbox.as_ref()) {
            outbox.end(reason);
        }
        let notified = self.holders(&self.table().notified, identity);
        notified.iter().for_each(|member| member.notify_otherwise(reason));
        let (mut count, mut rounds) = (0, 0);
        loop {
            rounds += 1;
            let matching = self.claim(identity, named);
            let alone = self.table().clock;
            if self.twist.bug.is_none() {
                matching.iter().for_each(|member| member.shut());
            }
            if self.is(Variety::WaitsForTheRevoked) {
                matching.iter().for_each(|member| member.wait_for_sends());
            }
            if self.is(Variety::ClosesAtOnce) {
                at_once(matching.iter().map(|member| || member.close(reason)));
            }
            let found = matching.len();
            let mut escaped = 0;
            for (index, member) in matching.iter().enumerate() {
                if self.has(Bug::RevokesWithoutTelling) {
                    member.silence();
                    continue;
                }
                if self.has(Bug::CountsTheEscaped) && member.is_over() {
                    continue;
                }
                // A revocation that returned meanwhile promised that this one closes what it
                // found (REV-1).
                let spared = self.is(Variety::SparesTheUnsubscribed) && member.has_left();
                if spared && self.table().clock == alone {
                    escaped += 1;
                    continue;
                }
                if self.has(Bug::QueuesCloses) && inside && member.outbox.is_none() {
                    member.silence();
                    self.table().late.push((Arc::clone(member), reason));
                    continue;
                }
                if self.has(Bug::RevokedStay) {
                    if member.outbox.is_none() {
                        member.sink.close(Some(reason));
                    }
                    continue;
                }
                let notified = self.closing(|| member.close(reason));
                if notified.is_err() && self.has(Bug::StopsAtAFailingClose) {
                    return count + index + 1;
                }
                if notified.is_err() && self.has(Bug::FailingClosesDoNotCount) {
                    count -= usize::from(count > 0);
                    if count == 0 && found == 1 {
                        return 0;
                    }
                }
                if self.has(Bug::RemovesAfterClosing) || self.has(Bug::SendsToRevoked) {
                    self.remove(member.id);
                }
            }
            count += found - escaped;
            if self.has(Bug::CountsIdentities) {
                count += matching
                    .iter()
                    .map(|member| {
                        member.with.identities().filter(|own| *own == identity).count() - 1
                    })
                    .sum::<usize>();
            }
            let twice = self.is(Variety::SearchesTwice) && rounds == 1;
            if !twice && (!self.is(Variety::ClosesOneByOne) || found == 0) {
                break;
            }
        }
        if self.has(Bug::CountsNestedTwice) {
            let mut table = self.table();
            if inside {
                table.nested += count;
            } else {
                count += std::mem::take(&mut table.nested);
            }
        }
        let late = if inside { Vec::new() } else { std::mem::take(&mut self.table().late) };
        for (member, reason) in late {
            let _ = self.closing(|| member.close(reason));
        }
        if self.has(Bug::TicketsLearnLate) || self.is(Variety::RefusesTheOverlapping) {
            let mut table = self.table();
            table.clock += u64::from(self.is(Variety::RefusesTheOverlapping));
            let now = table.clock;
            table.past.push((now, identity.clone()));
        }
        if self.has(Bug::UnknownReturnsOne) {
            count = count.max(1);
        }
        if self.has(Bug::CountsTheLiving) {
            count += usize::from(count > 0) * self.table().members.len();
        }
        count
    }
}
