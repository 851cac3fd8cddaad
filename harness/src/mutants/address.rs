//! How a [`SampleRegistry`] publishes: to all that listen, or to all that hold an identity.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::gate::Member;
use super::outbox::Sent;
use super::sample::{Cast, SampleRegistry, Table};
use super::threads::{MOMENT, on_helper};
use super::{Bug, Variety, variant};
use crate::protocol::Delivery;
use crate::script::{Act, Identity, Op, Script};
use crate::trace::Report;

impl SampleRegistry {
    pub(super) fn publish(
        &self,
        channel: &str,
        data: &str,
        to: Option<&Identity>,
    ) -> Result<Option<Report>, String> {
        if let Some(identity) = to {
            let to = Some(identity.clone());
            self.check_claims(Act::Cast { channel: channel.into(), data: data.into(), to });
        }
        let start = data.get(..8 * 1024).filter(|_| self.has(Bug::CutsPayloads));
        let data = start.unwrap_or(data);
        if self.has(Bug::LocksInTwoOrders) {
            self.wait_for_others();
        }
        let lots = Arc::<[AtomicU64; 5]>::default();
        let later = self.twist.policies.delivery == Delivery::Async;
        let (alone, matched) = {
            let mut table = self.table();
            let mut members = self.find(&table, channel, to);
            let odd = self.has(Bug::EventNamesThrow) && channel == "error";
            let unknown = to.is_some() && self.has(Bug::UnknownAddressesThrow);
            let down = table.down && self.has(Bug::FailsAfterShutdown);
            if down || members.is_empty() && (self.has(Bug::NobodyIsAnError) || odd || unknown) {
                return Err("no subscriber is there".into());
            }
            table.casts += 1;
            self.arrange(&mut members, table.casts);
            if self.has(Bug::ClosesNonListeners) && to.is_none() {
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
            let repeat = to.is_none()
                && table.last.as_ref().is_some_and(|last| last.0 == channel && last.1 == data);
            match to {
                Some(identity) => {
                    let sent = (identity.clone(), channel.to_owned(), data.to_owned());
                    table.addressed.push(sent);
                }
                None => table.last = Some((channel.to_owned(), data.to_owned())),
            }
            if repeat && self.has(Bug::MergesRepeats) {
                return Ok(None);
            }
            let all = to.is_some() && self.has(Bug::MatchesAllInReports);
            let matched = if all { table.members.len() } else { members.len() } as u64;
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
            let (channel, data) = (channel.to_owned(), data.to_owned());
            let cast = Cast { channel, data, to: to.cloned(), members, lots };
            let same = |own: &Cast| {
                (&own.channel, &own.data, &own.to) == (&cast.channel, &cast.data, &cast.to)
            };
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
            let at_once = to.is_some() && self.has(Bug::AddressesAtOnce);
            let inner = self.has(Bug::InnerFirst) || self.is(Variety::DeliversInnerFirst);
            if each || inner || at_once {
                drop(table);
                return self.deliver(&cast).map(|()| None);
            }
            if to.is_some() && self.has(Bug::AddressedOvertake) {
                table.queue.push_front(cast);
            } else {
                table.queue.push_back(cast);
            }
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
        let reports = self.is(Variety::Reports) || self.has(Bug::MatchesAllInReports);
        Ok(Some(report).filter(|_| reports))
    }

    fn find(&self, table: &Table, channel: &str, to: Option<&Identity>) -> Vec<Arc<Member>> {
        let members = table.members.iter();
        let mut found: Vec<Arc<Member>> =
            members.filter(|member| self.is_for(member, channel, to)).cloned().collect();
        let Some(identity) = to else { return found };
        let by_scope = |member: &Arc<Member>| member.with.scope.as_ref() == Some(identity);
        match self.twist.bug {
            Some(Bug::AddressesTheNewest) => drop(found.drain(..found.len().saturating_sub(1))),
            Some(Bug::AddressesTheOldest) => found.truncate(1),
            Some(Bug::AddressesAllIfNobody) if found.is_empty() => found = table.members.clone(),
            Some(Bug::AddressesNoOutboxes) => found.retain(|member| member.outbox.is_none()),
            _ => {}
        }
        if self.is(Variety::AddressesTheNewestFirst) {
            found.reverse();
        }
        if self.is(Variety::AddressesScopesFirst) {
            found.sort_by_key(|member| !by_scope(member));
        }
        found
    }

    /// Whether a message is for this one: it holds the identity that the message is sent to, or
    /// else it listens to its channel.
    pub(super) fn is_for(&self, member: &Member, channel: &str, to: Option<&Identity>) -> bool {
        let with = &member.with;
        let Some(identity) = to else { return self.hears(with, channel) };
        let held = match self.twist.bug {
            Some(Bug::AddressesValues) => {
                with.identities().any(|own| own.value() == identity.value())
            }
            Some(Bug::AddressesGroupsOnly) => with.groups.contains(identity),
            _ => self.holds(with, identity),
        };
        held && (!self.has(Bug::FiltersTheAddressed) || self.hears(with, channel))
    }

    /// How often it gets what is sent to an identity: once, if nothing is wrong.
    pub(super) fn times_held(&self, member: &Member, cast: &Cast) -> usize {
        let Some(identity) = cast.to.as_ref().filter(|_| self.has(Bug::AddressesEachListing))
        else {
            return 0;
        };
        member.with.identities().filter(|own| *own == identity).count()
    }

    pub(super) fn hand_over(&self, member: &Member, cast: &Cast, whatever: bool) -> Sent {
        let (channel, data) = (cast.channel.as_str(), cast.data.as_str());
        match &member.outbox {
            Some(outbox) if cast.to.is_some() && self.has(Bug::AddressesPastTheBound) => {
                outbox.push_past_the_bound(channel, data)
            }
            _ => member.send(channel, data, whatever),
        }
    }

    /// Sends a newcomer what was sent to its identities before.
    pub(super) fn catch_up(&self, member: &Member) {
        let holds = |identity| member.with.identities().any(|own| own == identity);
        let addressed = self.table().addressed.clone();
        for (_, channel, data) in addressed.iter().filter(|sent| holds(&sent.0)) {
            member.send(channel, data, false);
        }
    }

    /// Fails at what a variant does not claim.
    pub(super) fn check_claims(&self, act: Act) {
        if let Some(variety) = self.twist.variety {
            let lack = variant(variety).0.lacks(&Script::new(vec![Op::new(1, act)]));
            assert!(lack.is_none(), "beyond what it claims");
        }
    }
}
