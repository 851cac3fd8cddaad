//! Forced ends: closes, the numbers that revocations return, and what is active.

use super::state::{Claim, Failure, Frame, Sub, Walk};
use super::why::Why;
use super::{Step, Stop, nonsense};
use crate::protocol::{Delivery, SendFailure};
use crate::script::{Act, Hook, Op, OpId};

fn range(least: i64, most: i64) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

impl Walk<'_> {
    pub(crate) fn close(&mut self, sink: u32, reason: Option<&str>, thread: u32) -> Step {
        let (nth, subs) = self.count_call(sink, Hook::Close)?;
        let silent = self.policies.send_failure == SendFailure::Drop;
        let owed = |sub: &&usize| {
            let sub = &self.subs[**sub];
            let mut forced = sub.claims.iter().filter(|claim| claim.why.forced());
            sub.close.is_none()
                && !sub.doomed
                && forced.any(|claim| !(silent && claim.why == Why::Fail))
        };
        let mut owing: Vec<usize> = subs.iter().filter(owed).copied().collect();
        // The likeliest comes first, so that most traces take one walk.
        owing.sort_by_key(|sub| {
            let sub = &self.subs[*sub];
            std::cmp::Reverse((
                sub.claims.iter().any(|claim| claim.sure),
                sub.gone.is_none(),
                sub.called,
            ))
        });
        let choice = self.choices.pick(owing.len());
        let Some(sub) = owing.get(choice).copied() else {
            let (requirement, cause) = self.blame_close(sink, &subs, thread);
            self.breaks(requirement, cause)?;
            return Err(Stop::End);
        };
        self.keeps(&["CLO-2"]);
        if let Some(reason) = reason {
            let due: Vec<Why> = self.subs[sub].claims.iter().map(|claim| claim.why).collect();
            if !due.iter().any(|why| why.reason() == reason) {
                let (requirement, who) = (self.blame_reason(sub, reason, &due), self.name(sub));
                let due: Vec<&str> = due.into_iter().map(Why::reason).collect();
                return self.breaks(
                    requirement,
                    format!("{who} was closed as {reason:?}, but was {}", due.join(" or ")),
                );
            }
            self.keeps(&["CLO-5"]);
            if due.iter().any(|why| why.names(reason)) {
                self.keeps(&["REV-13"]);
            }
        }
        // The send from inside of which it was ended is still running, and close has to wait for
        // it, whatever ended it (CLO-4, RE-5). An end that anybody else called for as well may be
        // told at once.
        let sends = self.own_sends(sub, thread);
        let own = self.subs[sub]
            .claims
            .iter()
            .filter(|claim| claim.why.forced())
            .all(|claim| (1..=sends).contains(&claim.within));
        if own {
            let who = self.name(sub);
            let requirement = if self.subs[sub].revoked() { "RE-5" } else { "CLO-4" };
            return self.breaks(
                requirement,
                format!("{who} was closed inside its own send, which close has to wait for"),
            );
        }
        self.subs[sub].close = Some(self.now);
        let rule = self.throws(sink, Hook::Close, nth);
        self.stack(thread).push(Frame::Close { sink, rule });
        Ok(())
    }

    pub(crate) fn closed(&mut self, sink: u32, threw: bool, thread: u32) -> Step {
        match self.stack(thread).pop() {
            Some(Frame::Close { sink: of, rule }) if of == sink => {
                if threw != rule {
                    return nonsense(format!(
                        "whether sink {sink} threw is not what its rules say"
                    ));
                }
            }
            _ => {
                return nonsense(format!("a close of sink {sink} ended that had not begun"));
            }
        }
        if threw {
            self.failures.push(Failure { at: self.now, sink, hook: Hook::Close });
        }
        Ok(())
    }

    /// Checks that an operation which is about to return has told all that it surely ended.
    pub(crate) fn owed_closes(&mut self, op: OpId, why: Why) -> Step {
        for sub in 0..self.subs.len() {
            let subject = &self.subs[sub];
            if subject.queue.is_some() {
                // Its owner learns of it by taking.
                continue;
            }
            let Some(own) = subject.claims.iter().find(|claim| claim.op == op && claim.why == why)
            else {
                continue;
            };
            if subject.close.is_some() {
                let occasions = self.occasions_of_close(sub, why);
                self.keeps(&occasions);
                continue;
            }
            let others = subject
                .claims
                .iter()
                .any(|claim| claim.op != op && (claim.open || claim.why == Why::Unsub));
            let sending = self.busy.get(&subject.sink).is_some_and(|busy| *busy > 0);
            // A victim that was not told may still be subscribed, which what follows will show
            // (CAP-1).
            if own.sure && !others && !sending && why != Why::Evict {
                let requirement = self.blame_late(sub, why, op);
                let who = self.name(sub);
                return self.breaks(
                    requirement,
                    format!("{who} was {} and was not told to close", why.reason()),
                );
            }
        }
        Ok(())
    }

    pub(crate) fn ret_revoke(&mut self, id: OpId, n: i64) -> Step {
        let now = self.now;
        let Some(index) = self.revocations.iter().position(|past| past.op == id) else {
            return Ok(());
        };
        self.revocations[index].returned = Some(now);
        self.revocations[index].n = n;
        let why = Why::Revoke(self.revocations[index].named);
        self.owed_closes(id, why)?;
        let (mut least, mut most) = (0, 0);
        for sub in &self.subs {
            if let Some(own) = sub.claims.iter().find(|claim| claim.op == id && claim.why == why) {
                most += 1;
                let alone = sub.claims.len() == 1;
                least += i64::from(own.sure && alone);
            }
        }
        if !(least..=most).contains(&n) {
            let requirement = self.blame_number(index, n > most);
            let range = range(least, most);
            return self
                .breaks(requirement, format!("the revocation ended {range} and returned {n}"));
        }
        let occasions = self.occasions_of_number(index);
        self.keeps(&occasions);
        let stuck = self.stacks.values().any(|stack| {
            self.is_parked(stack) && stack.iter().any(|frame| matches!(frame, Frame::Send { .. }))
        });
        if stuck {
            self.keeps(&["PRG-1"]);
        }
        for sub in 0..self.subs.len() {
            if self.subs[sub].registry == self.revocations[index].registry
                && self.subs[sub].active()
                && !self.subs[sub].holds(self.revocations[index].identity)
            {
                self.keeps(&["REV-4", "REV-5"]);
            }
        }
        self.close_claims(id);
        Ok(())
    }

    pub(crate) fn ret_count(&mut self, op: &Op, n: i64) -> Step {
        let began = self.called[&op.id];
        // Others may come and go while it counts: it surely counts those that were active all the
        // time.
        let here = |sub: &&Sub<'_>| {
            sub.registry == op.registry && !sub.refused && sub.gone.is_none_or(|(at, _)| at > began)
        };
        let steady =
            |sub: &&Sub<'_>| sub.active() && sub.returned.is_some_and(|returned| returned < began);
        let sure = self.subs.iter().filter(here).filter(steady).count() as i64;
        let doubtful: Vec<_> = self.subs.iter().filter(here).filter(|sub| !steady(sub)).collect();
        // A SHOULD says that a surely claimed subscriber no longer counts once a close of the same
        // operation has begun.
        let closed_before = |sub: &Sub<'_>| sub.close.is_some_and(|close| close < began);
        let begun = |claim: &Claim| {
            claim.sure
                && matches!(claim.why, Why::Revoke(_) | Why::Evict | Why::Shutdown)
                && self.subs.iter().any(|other| {
                    closed_before(other) && other.claims.iter().any(|own| own.op == claim.op)
                })
        };
        let leaving = doubtful.iter().copied().filter(|sub| sub.claims.iter().any(begun));
        let (closing, waiting): (Vec<_>, Vec<_>) = leaving.partition(|sub| closed_before(sub));
        let (closing, waiting) = (closing.len() as i64, waiting.len() as i64);
        let most = sure + doubtful.len() as i64;
        if !(sure..=most).contains(&n) {
            let requirement = self.blame_count(op.registry);
            let range = range(sure, most);
            return self.breaks(requirement, format!("{range} are active and count returned {n}"));
        }
        let strict = most - closing - waiting;
        if n > strict {
            let requirement = if n <= strict + waiting { "REV-8" } else { "CNT-3" };
            let cause =
                format!("{strict} are active without those being closed, and count returned {n}");
            self.breaks(requirement, cause)?;
        } else if closing + waiting > 0 {
            self.keeps(&["REV-8", "CNT-3"]);
        }
        self.keeps(&["CNT-2"]);
        if self.tickets.values().any(|ticket| ticket.open()) {
            self.keeps(&["ADM-3"]);
        }
        Ok(())
    }

    /// Nothing is in progress: decides whether what was claimed has ended.
    pub(crate) fn resolve_claims(&mut self, at: usize) -> Step {
        if self.subs.iter().all(|sub| sub.claims.is_empty()) {
            return self.sum();
        }
        self.told()?;
        self.sum()?;
        for index in 0..self.subs.len() {
            if self.subs[index].queue.is_some() {
                self.resolve_queue(index, at);
                continue;
            }
            let silent_failure = self.policies.send_failure == SendFailure::Drop;
            if self.resolves_later(index) {
                continue;
            }
            let sub = &self.subs[index];
            let told = sub.close.is_some();
            let (sure, excused) = (sub.surely_forced(), self.need_not_tell(index));
            if let Some((Why::Evict, op)) = sure
                && !told
                && !excused
            {
                self.silent_victims.push((index, op));
            }
            let silent_victim = self.is_silent_victim(index);
            let sub = &mut self.subs[index];
            let ended = silent_victim
                || told
                || (silent_failure
                    && sub.claims.iter().any(|claim| claim.sure && claim.why == Why::Fail));
            if ended && sub.gone.is_none() {
                let why = sub
                    .claims
                    .iter()
                    .find(|claim| claim.why.forced())
                    .map_or(Why::Unsub, |claim| claim.why);
                sub.gone = Some((at, why));
            }
            let by = sub.claims.iter().map(|claim| claim.why).find(|why| why.forced());
            sub.claims.clear();
            if told {
                self.keeps(&["CLO-1"]);
                if let Some(why) = by {
                    let occasions = self.occasions_of_close(index, why);
                    self.keeps(&occasions);
                }
            } else if by.is_none() {
                self.keeps(&["SUB-4", "CLO-3"]);
            }
        }
        let contended = std::mem::take(&mut self.contended);
        if let Some(cap) = self.script.cap {
            for (registry, scope) in contended {
                // Whether an outbox has ended may not have shown yet.
                let active = self
                    .members(registry, scope)
                    .filter(|own| self.subs[*own].claims.is_empty())
                    .count();
                if active > cap as usize {
                    return self
                        .breaks("RE-8", format!("{active} are active in a scope capped at {cap}"));
                }
                self.keeps(&["RE-8"]);
            }
        }
        Ok(())
    }

    /// Every subscriber that was surely ended by force has been notified.
    fn told(&mut self) -> Step {
        for index in 0..self.subs.len() {
            let sub = &self.subs[index];
            if sub.queue.is_some()
                || sub.close.is_some()
                || self.resolves_later(index)
                || self.need_not_tell(index)
            {
                continue;
            }
            if let Some((why, op)) = sub.surely_forced().filter(|(why, _)| *why != Why::Evict) {
                let requirement = self.blame_silence(index, why, op);
                let who = self.name(index);
                return self.breaks(
                    requirement,
                    format!("{who} was {} and was never told to close", why.reason()),
                );
            }
        }
        Ok(())
    }

    /// Whether nothing is ending it, or a registry that delivers later has not removed it for its
    /// failure yet.
    fn resolves_later(&self, sub: usize) -> bool {
        let sub = &self.subs[sub];
        let later =
            self.policies.delivery == Delivery::Async && !self.settled && sub.claimed(Why::Fail);
        sub.claims.is_empty() || later
    }

    /// Whether it may have ended without a close.
    fn need_not_tell(&self, sub: usize) -> bool {
        let sub = &self.subs[sub];
        sub.claimed(Why::Unsub)
            || (self.policies.send_failure == SendFailure::Drop && sub.claimed(Why::Fail))
    }

    /// Adds up what the revocations since the last rest returned, against what they ended.
    fn sum(&mut self) -> Step {
        let mut total = 0;
        let mut last = None;
        for (index, past) in self.revocations.iter_mut().enumerate() {
            if !past.summed && past.returned.is_some() {
                past.summed = true;
                total += past.n;
                last = Some(index);
            }
        }
        let Some(last) = last else { return Ok(()) };
        let (mut least, mut most) = (0, 0);
        for sub in self.subs.iter().filter(|sub| sub.close.is_some() && sub.revoked()) {
            most += 1;
            let only =
                sub.claims.iter().all(|claim| matches!(claim.why, Why::Revoke(_) | Why::Unsub));
            least += i64::from(only);
        }
        for sub in self.subs.iter().filter(|sub| sub.queue.is_some() && sub.revoked()) {
            most += 1;
            least +=
                i64::from(sub.claims.iter().all(|claim| claim.why.revokes()) && sub.claims[0].sure);
        }
        if (least..=most).contains(&total) {
            self.keeps(&["CNT-1"]);
            return Ok(());
        }
        let requirement = self.blame_number(last, total > most);
        let range = range(least, most);
        self.breaks(
            requirement,
            format!("revocations that overlap ended {range} and returned {total} in all"),
        )
    }

    /// Victims that nothing else gave away were evicted without being told.
    pub(crate) fn told_victims(&mut self) -> Step {
        for (victim, op) in std::mem::take(&mut self.silent_victims) {
            let requirement = self.blame_silence(victim, Why::Evict, op);
            let who = self.name(victim);
            self.breaks(requirement, format!("{who} was evicted and was never told to close"))?;
        }
        Ok(())
    }

    /// Whether anything in progress may close subscribers.
    pub(crate) fn closing_ops(&self) -> Vec<&Op> {
        self.open
            .keys()
            .map(|op| self.ops[op])
            .filter(|op| {
                matches!(
                    op.act,
                    Act::Revoke { .. } | Act::Sub { .. } | Act::Admit { .. } | Act::Shutdown
                )
            })
            .collect()
    }
}
