//! Sends: which broadcast and which subscriber they are for, and whether they may be.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{Delivery, Frame, Sub, Walk};
use super::why::Why;
use super::{Step, Symptom, nonsense};
use crate::protocol::{Delivery as When, Order, SendFailure};
use crate::script::{Act, Hook};
use crate::text::short;

/// Why a subscriber must not receive a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// It belongs to another registry.
    Elsewhere,
    /// It was never admitted.
    Refused,
    /// Its filter does not match.
    Filtered,
    /// It was subscribed too late.
    Later { inside: bool },
    /// It has had it.
    Again,
    /// It has ended; by which revocation does not matter.
    Ended(Why),
    /// Its close has begun.
    Closing,
}

/// A message that came and should not have, as far as it can be explained.
pub(crate) struct Unwanted {
    pub(crate) requirement: &'static str,
    pub(crate) symptom: Symptom,
    pub(crate) cause: String,
    /// The subscriber that it came to, and the broadcast.
    sub: usize,
    cast: Option<usize>,
    /// The subscriber may be registered although it has ended.
    stays: bool,
}

impl Walk<'_> {
    pub(crate) fn send(&mut self, sink: u32, data: &str, thread: u32) -> Step {
        let (nth, subs) = self.count_call(sink, Hook::Send)?;
        let takes = |cast: &usize| {
            let own = &self.casts[*cast];
            let fits = |sub: &usize| {
                self.may_receive(*sub, *cast, Some(thread)).is_ok() && own.has_room(sink, *sub)
            };
            own.data == data && own.settled.is_none() && subs.iter().any(fits)
        };
        let mut open: Vec<usize> = (self.first_open..self.casts.len()).filter(takes).collect();
        if open.len() > 1 {
            // Equal payloads: it may be for any of these broadcasts.
            let first = self.choices.pick(open.len());
            open.rotate_left(first);
        }
        for cast in open {
            let mut eligible = subs.clone();
            eligible.retain(|sub| self.may_receive(*sub, cast, Some(thread)).is_ok());
            // What the sink does from inside the call depends on whose call it is; otherwise it may
            // stay open.
            if eligible.len() > 1 && self.script.rule(sink, Hook::Send, nth).is_some() {
                eligible.retain(|sub| self.casts[cast].has_room(sink, *sub));
                if !eligible.is_empty() {
                    eligible = vec![eligible[self.choices.pick(eligible.len())]];
                }
            }
            if !eligible.is_empty() && self.casts[cast].attribute(sink, eligible) {
                self.delivered(sink, cast, thread, self.throws(sink, Hook::Send, nth));
                return Ok(());
            }
        }
        let rule = self.throws(sink, Hook::Send, nth);
        let unwanted = self.explain_unwanted(Some(thread), data, &subs);
        let (sub, cast) = (unwanted.sub, unwanted.cast);
        if let Some(blurred) = subs.iter().find(|sub| self.is_blurred(**sub)) {
            self.hides(*blurred, unwanted.requirement);
        } else {
            self.breaks(unwanted.symptom, unwanted.requirement, unwanted.cause);
            if unwanted.stays {
                self.blur(sub, unwanted.requirement);
            }
        }
        self.begins_send(sink, cast, sub, thread, rule);
        Ok(())
    }

    fn begins_send(&mut self, sink: u32, cast: Option<usize>, sub: usize, thread: u32, rule: bool) {
        *self.busy.entry(sink).or_default() += 1;
        self.stack(thread).push(Frame::Send { sink, cast, sub, rule });
    }

    /// Whether this subscriber may be sent this broadcast now, leaving aside whether it has had it.
    pub(crate) fn may_receive(
        &self,
        sub: usize,
        cast: usize,
        thread: Option<u32>,
    ) -> Result<(), Refusal> {
        let cast_index = cast;
        let (sub, cast) = (&self.subs[sub], &self.casts[cast]);
        if sub.registry != cast.registry {
            return Err(Refusal::Elsewhere);
        }
        if sub.refused || sub.doomed {
            return Err(Refusal::Refused);
        }
        if !self.hears(sub, cast.channel) {
            return Err(Refusal::Filtered);
        }
        if sub.called > cast.called
            && (sub.inside.contains(&cast_index)
                || cast.returned.is_some_and(|returned| returned < sub.called))
        {
            return Err(Refusal::Later { inside: !sub.inside.is_empty() });
        }
        if let Some((at, why)) = sub.gone
            && !(self.turn_before(thread, at) && cast.called < at)
        {
            return Err(Refusal::Ended(why.unnamed()));
        }
        if let Some(at) = sub.close
            && !(self.turn_before(thread, at) && cast.called < at)
        {
            return Err(Refusal::Closing);
        }
        Ok(())
    }

    fn delivered(&mut self, sink: u32, cast: usize, thread: u32, rule: bool) {
        let sub = self.casts[cast].deliveries.last().map_or(0, |delivery| delivery.taken);
        self.keeps(&["DEL-4"]);
        if let Some(other) = self.call_elsewhere(cast, thread) {
            let (op, who) = (self.casts[cast].op, self.name(sub));
            let cause = format!("broadcast {op} was sent to {who} by a call on registry {other}");
            self.breaks(Symptom::Other, "ISO-6", cause);
        }
        self.count_sends(cast);
        if !self.shares_sink(sub) {
            let had = (0..self.casts.len()).filter(|other| {
                self.casts[*other].deliveries.iter().any(|delivery| delivery.sink == sink)
            });
            self.order(sub, had.collect(), cast);
        }
        self.begins_send(sink, Some(cast), sub, thread, rule);
    }

    /// Checks that a broadcast makes no more sends than there were subscribers when it began.
    fn count_sends(&mut self, cast: usize) {
        let first = *self.casts[cast].began.get_or_insert(self.now);
        let own = &self.casts[cast];
        // It had begun when its first send did: a subscriber that came later was not there.
        let there = |sub: &&Sub<'_>| {
            sub.called < first && !sub.doomed && sub.was_there_after(own.called, own.registry)
        };
        let (sends, most) = (own.deliveries.len(), self.subs.iter().filter(there).count());
        if sends > most {
            let op = own.op;
            let cause = format!("broadcast {op} makes {sends} sends, and {most} were there for it");
            self.breaks(Symptom::Newcomer, "RE-4", cause);
        }
    }

    /// The registry whose call makes this send, if it is not the broadcast's: what one has waiting
    /// is not another's to do.
    fn call_elsewhere(&self, cast: usize, thread: u32) -> Option<u32> {
        let stack = self.stacks.get(&thread).filter(|_| self.policies.delivery == When::Sync);
        let mut at_work = None;
        for op in stack.into_iter().flatten().filter_map(Frame::op).map(|op| self.ops[&op]) {
            match &op.act {
                Act::Par { .. } | Act::Settle | Act::Hold { .. } | Act::Release { .. } => {}
                // Handles and tickets belong to the registry that gave them.
                Act::Unsub { .. } | Act::Take { .. } | Act::Admit { .. } | Act::Abandon { .. } => {
                    return None;
                }
                _ if op.registry == self.casts[cast].registry => return None,
                _ => at_work = Some(op.registry),
            }
        }
        at_work
    }

    /// Checks the order of this delivery against all that the subscriber has had.
    pub(crate) fn order(&mut self, sub: usize, had: Vec<usize>, cast: usize) {
        self.seen_after.resize_with(self.casts.len(), Vec::new);
        self.seen_after[cast].resize(self.casts.len(), false);
        let (mut compared, who) = (false, self.name(sub));
        for other in had.into_iter().filter(|other| *other != cast) {
            let (own, before) = (self.casts[cast].op, self.casts[other].op);
            let began = self.casts[other].called;
            if self.stems_from(other, cast) {
                let cause = format!(
                    "{who} got the inner broadcast {before} before the outer broadcast {own}"
                );
                self.breaks(Symptom::Other, "ORD-2", cause);
            } else if self.casts[cast].returned.is_some_and(|returned| returned < began) {
                let cause =
                    format!("{who} got broadcast {before} before {own}, which had ended earlier");
                return self.breaks(Symptom::Other, "ORD-1", cause);
            }
            if self.policies.order == Order::Total
                && self.seen_after[other].get(cast) == Some(&true)
            {
                let cause = format!(
                    "{who} got broadcast {before} before {own}, another the other way round"
                );
                return self.breaks(Symptom::Other, "ORD-3", cause);
            }
            self.seen_after[cast][other] = true;
            if !std::mem::replace(&mut compared, true) {
                self.keeps(&["ORD-1", "ORD-3"]);
            }
            self.keeps_if(self.stems_from(cast, other), "ORD-2");
        }
    }

    /// Whether `inner` was made, directly or not, from inside a delivery of `outer`.
    pub(crate) fn stems_from(&self, inner: usize, outer: usize) -> bool {
        let around = |cast: &usize| self.casts[*cast].outer;
        std::iter::successors(around(&inner), around).any(|cast| cast == outer)
    }

    /// No broadcast in progress accounts for this message: finds the nearest explanation.
    pub(crate) fn explain_unwanted(
        &self,
        thread: Option<u32>,
        data: &str,
        subs: &[usize],
    ) -> Unwanted {
        let mut nearest: Option<(Refusal, usize, usize)> = None;
        for cast in (0..self.casts.len()).filter(|cast| self.casts[*cast].data == data) {
            for sub in subs {
                let refusal = self.may_receive(*sub, cast, thread).err().unwrap_or(Refusal::Again);
                if nearest.is_none_or(|(best, ..)| refusal > best) {
                    nearest = Some((refusal, *sub, cast));
                }
            }
        }
        let Some((refusal, sub, cast)) = nearest else {
            return Unwanted {
                requirement: "DEL-4",
                symptom: Symptom::Unwanted,
                cause: format!("was sent {}, which was not broadcast", short(data)),
                sub: subs[0],
                cast: None,
                stays: false,
            };
        };
        let (op, channel) = (self.casts[cast].op, self.casts[cast].channel);
        // Of several on one sink it may be the one whose list was overwritten.
        let aliased = |sub: &&usize| {
            let own = &self.subs[**sub];
            let similar = own.registry == self.casts[cast].registry
                && !own.over()
                && !self.hears(own, channel);
            similar && own.with.overwrite.as_deref() == Some(channel)
        };
        if let Some(sub) = subs.iter().find(aliased) {
            let (channel, who) = (short(channel), self.name(*sub));
            return Unwanted {
                requirement: "FLT-7",
                symptom: Symptom::Unheard,
                cause: format!(
                    "{who} was sent broadcast {op} on {channel}, which its list got later"
                ),
                sub: *sub,
                cast: Some(cast),
                stays: false,
            };
        }
        let why = match refusal {
            Refusal::Elsewhere => "belongs to another registry",
            Refusal::Refused => "was refused",
            Refusal::Filtered => "does not listen to it",
            Refusal::Later { .. } => "subscribed after it had begun",
            Refusal::Again => "has had it already",
            Refusal::Ended(Why::Unsub) => "was unsubscribed before",
            Refusal::Ended(Why::Revoke(_)) => "was revoked before",
            Refusal::Ended(Why::Evict) => "was evicted before",
            Refusal::Ended(Why::Fail) => "was removed for a failure before",
            Refusal::Ended(Why::Shutdown) => "was shut down before",
            Refusal::Ended(Why::Lag) => "had lagged before",
            Refusal::Closing => "had its close begun before",
        };
        let (channel, who) = (short(channel), self.name(sub));
        Unwanted {
            requirement: self.blame_unwanted(sub, cast, refusal),
            symptom: match refusal {
                Refusal::Filtered => Symptom::Unheard,
                Refusal::Later { inside: true } => Symptom::Newcomer,
                _ => Symptom::Unwanted,
            },
            cause: format!("broadcast {op} on {channel} was sent to {who}, which {why}"),
            sub,
            cast: Some(cast),
            stays: matches!(refusal, Refusal::Refused | Refusal::Ended(_) | Refusal::Closing),
        }
    }

    pub(crate) fn sent(&mut self, sink: u32, threw: bool, thread: u32) -> Step {
        let frame = self.stack(thread).pop();
        let Some(Frame::Send { sink: of, sub, rule, cast }) = frame else {
            return nonsense(format!("a send on sink {sink} ended that had not begun"));
        };
        if of != sink {
            return nonsense(format!("a send on sink {sink} ended inside one on sink {of}"));
        }
        self.ended(sink, Hook::Send, threw, rule)?;
        if let Some(busy) = self.busy.get_mut(&sink) {
            *busy -= 1;
        }
        let removed = threw && self.policies.send_failure != SendFailure::Keep;
        if removed && !self.subs[sub].over() {
            // By policy a failing sink is removed, whatever else was ending it.
            match cast.map(|cast| self.casts[cast].op) {
                Some(op) => self.claim(sub, Why::Fail, op, true),
                None => self.blur(sub, "DEL-4"),
            }
        }
        Ok(())
    }

    /// Checks what every finished broadcast owed.
    pub(crate) fn settle_casts(&mut self, at: usize) {
        for cast in self.first_open..self.casts.len() {
            let due = self.deliveries_are_due();
            if self.casts[cast].settled.is_some() || self.casts[cast].returned.is_none() || !due {
                continue;
            }
            self.casts[cast].settled = Some(at);
            let own = &self.casts[cast];
            let due = own.must.iter().copied().filter(|sub| {
                let sub = &self.subs[*sub];
                sub.queue.is_none() && sub.last_claim.is_none_or(|claim| claim < own.called)
            });
            let (blurred, mut must): (Vec<_>, Vec<_>) = due.partition(|sub| self.is_blurred(*sub));
            for sub in blurred {
                self.hides(sub, self.blame_missing(sub, cast));
            }
            while let Some(lost) = self.casts[cast].lost(&must, |sub| self.subs[sub].sink) {
                let own = &self.casts[cast];
                let (op, channel, who) = (own.op, short(own.channel), self.name(lost));
                let cause = format!("broadcast {op} on {channel} never reached {who}");
                let breach = self.blame_missing(lost, cast);
                self.breaks(Symptom::Missing, breach, cause);
                self.blur(lost, breach);
                must.retain(|sub| *sub != lost);
            }
            for sub in &must {
                self.keeps(&self.occasions(*sub, cast));
                self.keeps(&["DEL-2"]);
            }
            self.kept_silence(cast);
        }
        while self.casts.get(self.first_open).is_some_and(|cast| cast.settled.is_some()) {
            self.first_open += 1;
        }
    }

    /// Notes what was rightly not delivered.
    fn kept_silence(&mut self, cast: usize) {
        for sub in 0..self.subs.len() {
            if self.subs[sub].queue.is_none()
                && !self.is_blurred(sub)
                && let Err(refusal) = self.may_receive(sub, cast, None)
            {
                self.keeps(&[self.blame_unwanted(sub, cast, refusal)]);
                if refusal == (Refusal::Later { inside: true }) {
                    self.keeps(&["RE-4"]);
                }
                let began = self.casts[cast].called;
                self.keeps_if(self.subs[sub].close.is_some_and(|close| close < began), "CLO-4");
            }
        }
        self.keeps_if(self.casts[cast].must.is_empty(), "DEL-3");
        if self.casts[cast].threw {
            self.kept.remove("ISO-2");
        } else if self.failures.iter().any(|failure| failure.at > self.casts[cast].called) {
            self.keeps(&["ISO-2"]);
        }
    }
}

impl super::state::Cast<'_> {
    /// Counts a send for one of `eligible`, moving others over if need be. False if all have had
    /// it.
    fn attribute(&mut self, sink: u32, eligible: Vec<usize>) -> bool {
        let deliveries = self.deliveries.iter().enumerate();
        let own = deliveries.filter(|(_, delivery)| delivery.sink == sink);
        let mut holders = own.map(|(index, delivery)| (delivery.taken, index)).collect();
        let new = self.deliveries.len();
        self.deliveries.push(Delivery { sink, eligible, taken: usize::MAX });
        let eligible = |index: usize| self.deliveries[index].eligible.clone();
        if !augment(new, &eligible, &mut holders, &mut BTreeSet::new()) {
            self.deliveries.pop();
            return false;
        }
        for (sub, index) in holders {
            self.deliveries[index].taken = sub;
        }
        true
    }

    /// Whether a send could be counted for this one.
    fn has_room(&self, sink: u32, sub: usize) -> bool {
        let mut copy = Self { deliveries: self.deliveries.clone(), must: Vec::new(), ..*self };
        copy.attribute(sink, vec![sub])
    }

    /// One of `must` that the deliveries cannot account for. If all sends and all of `must` can be
    /// matched apart, both can be matched at once (Mendelsohn and Dulmage), so looking at `must`
    /// alone is enough.
    fn lost(&self, must: &[usize], sink_of: impl Fn(usize) -> u32) -> Option<usize> {
        let sends = |sub: usize| {
            let fits = |delivery: &Delivery| {
                delivery.sink == sink_of(sub) && delivery.eligible.contains(&sub)
            };
            (0..self.deliveries.len()).filter(|index| fits(&self.deliveries[*index])).collect()
        };
        let mut given = BTreeMap::new();
        let mut is_given = |sub| augment(sub, &sends, &mut given, &mut BTreeSet::new());
        must.iter().copied().find(|sub| !is_given(*sub))
    }
}

/// Finds one of its options for `new`, along an augmenting path: those that hold others move over
/// if need be. False if there is none.
fn augment(
    new: usize,
    options: &dyn Fn(usize) -> Vec<usize>,
    holders: &mut BTreeMap<usize, usize>,
    visited: &mut BTreeSet<usize>,
) -> bool {
    for option in options(new) {
        if !visited.insert(option) {
            continue;
        }
        let holder = holders.get(&option).copied();
        if holder.is_none_or(|other| augment(other, options, holders, visited)) {
            holders.insert(option, new);
            return true;
        }
    }
    false
}
