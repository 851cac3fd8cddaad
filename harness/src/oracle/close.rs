//! Forced ends: closes, the numbers that revocations return, and what is active.

use super::state::{Claim, Failure, Frame, Sub, Walk};
use super::why::Why;
use super::{FOREIGN, Step, Symptom, nonsense};
use crate::protocol::{Concurrency, Delivery, SendFailure};
use crate::script::{Act, Hook, Op, OpId};

fn range(least: i64, most: i64) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

impl Walk<'_> {
    pub(crate) fn close(&mut self, sink: u32, reason: Option<&str>, thread: u32) -> Step {
        let (nth, subs) = self.count_call(sink, Hook::Close)?;
        let silent = self.policies.send_failure == SendFailure::Drop;
        let notified = |claim: &Claim| claim.why.forced() && !(silent && claim.why == Why::Fail);
        let owed = |sub: &&usize| {
            let sub = &self.subs[**sub];
            sub.close.is_none() && !sub.doomed && sub.claims.iter().any(notified)
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
        let rule = self.throws(sink, Hook::Close, nth);
        self.stack(thread).push(Frame::Close { sink, rule });
        let Some(sub) = owing.get(choice).copied() else {
            self.stray_close(sink, &subs, thread);
            return Ok(());
        };
        self.keeps(&["CLO-2"]);
        if let Some(reason) = reason {
            let due: Vec<Why> = self.subs[sub].claims.iter().map(|claim| claim.why).collect();
            if due.iter().any(|why| why.reason() == reason) {
                self.keeps(&["CLO-5"]);
                self.keeps_if(due.iter().any(|why| why.names(reason)), "REV-13");
            } else {
                let was = due.iter().map(|why| why.reason()).collect::<Vec<_>>().join(" or ");
                let cause = format!("{} was closed as {reason:?}, but was {was}", self.name(sub));
                self.breaks(Symptom::Reason, self.blame_reason(sub, reason, &due), cause);
            }
        }
        // The send from inside of which it was ended is still running, and close has to wait for
        // it: after a revocation on whichever thread it is called (RE-5), after any other end on
        // the thread of the send (CLO-4). An end that anybody else called for as well may be
        // notified at once.
        let too_early = |claim: &Claim| {
            let caller = self.threads.get(&claim.op).filter(|_| claim.why.revokes());
            let sends = self.own_sends(sub, *caller.unwrap_or(&thread));
            (1..=sends).contains(&claim.within)
        };
        let mut forced = self.subs[sub].claims.iter().filter(|claim| claim.why.forced());
        if forced.all(too_early) {
            let requirement = if self.subs[sub].revoked() { "RE-5" } else { "CLO-4" };
            let what = "was closed inside its own send, which close has to wait for";
            self.breaks(Symptom::Other, requirement, format!("{} {what}", self.name(sub)));
        }
        self.subs[sub].close = Some(self.now);
        Ok(())
    }

    /// A close for which nothing calls.
    fn stray_close(&mut self, sink: u32, subs: &[usize], thread: u32) {
        let (symptom, requirement, cause) = self.blame_close(sink, subs, thread);
        if let Some(blurred) = subs.iter().find(|sub| self.is_blurred(**sub)) {
            self.hides(*blurred, requirement);
            return;
        }
        self.breaks(symptom, requirement, cause);
        for sub in subs {
            if self.subs[*sub].close.is_none() {
                self.blur(*sub, requirement);
            }
        }
    }

    pub(crate) fn closed(&mut self, sink: u32, threw: bool, thread: u32) -> Step {
        match self.stack(thread).pop() {
            Some(Frame::Close { sink: of, rule }) if of == sink => {
                self.ended(sink, Hook::Close, threw, rule)
            }
            _ => nonsense(format!("a close of sink {sink} ended that had not begun")),
        }
    }

    /// A call of a sink has ended, as the rule says or not.
    pub(crate) fn ended(&mut self, sink: u32, hook: Hook, threw: bool, rule: bool) -> Step {
        if threw != rule {
            return nonsense(format!("whether sink {sink} threw is not what its rules say"));
        }
        if threw {
            self.failures.push(Failure { at: self.now, sink, hook });
        }
        Ok(())
    }

    /// Checks that an operation which is about to return has notified all that it surely ended.
    pub(crate) fn owed_closes(&mut self, op: OpId, why: Why) {
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
            if self.is_blurred(sub) {
                self.hides(sub, self.blame_late(sub, why, op));
                continue;
            }
            if subject.close.is_some() {
                self.keeps(&self.occasions_of_close(sub, why));
                continue;
            }
            let others = subject
                .claims
                .iter()
                .any(|claim| claim.op != op && (claim.open || claim.why == Why::Unsub));
            // Only a send from inside of which it is ended makes a close wait. A task does not show
            // which one that is, nor does a sink with several subscribers, nor a thread of the
            // registry: it may close for a thread that is in that send and waits for it.
            let tasks = self.policies.threads != Concurrency::Threads;
            let helper = self.threads.get(&op).is_some_and(|thread| *thread >= FOREIGN);
            let sending = if tasks || helper || self.shares_sink(sub) {
                self.busy.get(&subject.sink).is_some_and(|busy| *busy > 0)
            } else {
                own.within > 0
            };
            // A victim that was not notified may still be subscribed, which what follows will show
            // (CAP-1).
            if own.sure && !others && !sending && why != Why::Evict {
                let (who, was) = (self.name(sub), why.reason());
                let cause = format!("{who} was {was} and was not notified to close");
                let breach = self.blame_late(sub, why, op);
                self.breaks(Symptom::Silence, breach, cause);
                self.blur(sub, breach);
            }
        }
    }

    pub(crate) fn ret_revoke(&mut self, id: OpId, n: i64) {
        let Some(index) = self.revocations.iter().position(|past| past.op == id) else { return };
        let past = &mut self.revocations[index];
        (past.returned, past.n) = (Some(self.now), n);
        let (registry, identity, why) = (past.registry, past.identity, Why::Revoke(past.named));
        self.owed_closes(id, why);
        let (mut least, mut most) = (0, 0);
        for (sub, subject) in self.subs.iter().enumerate() {
            let own = subject.claims.iter().find(|claim| claim.op == id && claim.why == why);
            if self.is_blurred(sub) {
                most += i64::from(self.revocations[index].names(subject));
            } else if let Some(own) = own {
                most += 1;
                let alone = subject.claims.len() == 1;
                least += i64::from(own.sure && alone);
            }
        }
        let held = |sub: &usize| self.revocations[index].names(&self.subs[*sub]);
        let blurred = self.blurred.keys().copied().find(held);
        if !(least..=most).contains(&n) {
            let cause = format!("the revocation ended {} and returned {n}", range(least, most));
            self.breaks(Symptom::Number, self.blame_number(index, n > most), cause);
        } else if let Some(blurred) = blurred {
            self.hides(blurred, self.occasions_of_number(index)[0]);
        } else {
            self.keeps(&self.occasions_of_number(index));
        }
        let stuck = self.stacks.values().any(|stack| {
            self.is_parked(stack) && stack.iter().any(|frame| matches!(frame, Frame::Send { .. }))
        });
        self.keeps_if(stuck, "PRG-1");
        let bystander =
            |sub: &Sub<'_>| sub.registry == registry && sub.active() && !sub.holds(identity);
        if self.subs.iter().any(bystander) {
            self.keeps(&["REV-4", "REV-5"]);
        }
        self.close_claims(id);
    }

    pub(crate) fn ret_count(&mut self, op: &Op, n: i64) {
        let began = self.called[&op.id];
        // Others may come and go while it counts: it surely counts those that were active all the
        // time.
        let blurred =
            |sub: &usize| self.is_blurred(*sub) && self.subs[*sub].registry == op.registry;
        let steady = |sub: &usize| {
            let subject = &self.subs[*sub];
            subject.active() && subject.returned.is_some_and(|returned| returned < began)
        };
        let here = |sub: &usize| self.subs[*sub].was_there_after(began, op.registry);
        let here = (0..self.subs.len()).filter(|sub| here(sub) || blurred(sub));
        let (sure, doubtful): (Vec<_>, Vec<_>) = here.partition(|sub| steady(sub) && !blurred(sub));
        let doubtful: Vec<_> = doubtful.into_iter().map(|sub| &self.subs[sub]).collect();
        let sure = sure.len() as i64;
        // A SHOULD says that a surely claimed subscriber no longer counts once a close of the same
        // operation has begun.
        let closed_before = |sub: &Sub<'_>| sub.close.is_some_and(|close| close < began);
        let begun = |claim: &Claim| {
            claim.sure
                && matches!(claim.why, Why::Revoke(_) | Why::Evict | Why::Shutdown)
                && self.subs.iter().any(|other| {
                    let claimed = !other.claims.is_empty();
                    // A subscriber that others claim too may have been closed by one of those.
                    claimed
                        && closed_before(other)
                        && other.claims.iter().all(|own| own.op == claim.op)
                })
        };
        let leaving = doubtful.iter().copied().filter(|sub| sub.claims.iter().any(begun));
        let (closing, waiting): (Vec<_>, Vec<_>) = leaving.partition(|sub| closed_before(sub));
        let (closing, waiting) = (closing.len() as i64, waiting.len() as i64);
        let most = sure + doubtful.len() as i64;
        if !(sure..=most).contains(&n) {
            let cause = format!("{} are active and count returned {n}", range(sure, most));
            return self.breaks(Symptom::Count, self.blame_count(op.registry), cause);
        }
        if let Some(blurred) = (0..self.subs.len()).find(blurred) {
            return self.hides(blurred, self.blame_count(op.registry));
        }
        let strict = most - closing - waiting;
        let cause =
            format!("{strict} are active without those being closed, and count returned {n}");
        if n > strict + waiting {
            self.breaks(Symptom::Other, "CNT-3", cause.clone());
        }
        if n > strict && n <= strict + waiting || n > strict + closing {
            self.behind.insert("CNT-3", "REV-8");
            self.breaks(Symptom::Other, "REV-8", cause);
        }
        if n <= strict && closing + waiting > 0 {
            self.keeps(&["REV-8", "CNT-3"]);
        }
        self.keeps(&["CNT-2"]);
        self.keeps_if(self.tickets.values().any(|ticket| ticket.open()), "ADM-3");
    }

    /// Nothing is in progress: decides whether what was claimed has ended.
    pub(crate) fn resolve_claims(&mut self, at: usize) {
        if self.subs.iter().all(|sub| sub.claims.is_empty()) {
            return self.sum();
        }
        self.notified();
        self.sum();
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
            let notified = sub.close.is_some();
            let (sure, excused) = (sub.surely_forced(), self.need_not_tell(index));
            if let Some((Why::Evict, op)) = sure
                && !notified
                && !excused
            {
                self.silent_victims.push((index, op));
            }
            let silent_victim = self.is_silent_victim(index);
            let sub = &mut self.subs[index];
            let by = sub.claims.iter().map(|claim| claim.why).find(|why| why.forced());
            let failed = |claim: &Claim| claim.sure && claim.why == Why::Fail;
            if silent_victim || notified || (silent_failure && sub.claims.iter().any(failed)) {
                sub.gone.get_or_insert((at, by.unwrap_or(Why::Unsub)));
            }
            sub.claims.clear();
            if notified {
                self.keeps(&["CLO-1"]);
                if let Some(why) = by {
                    self.keeps(&self.occasions_of_close(index, why));
                }
            } else if by.is_none() {
                self.keeps(&["SUB-4", "CLO-3"]);
            }
        }
        let contended = std::mem::take(&mut self.contended);
        if let Some(cap) = self.script.cap {
            for (registry, scope) in contended {
                // Whether an outbox has ended may not have shown yet.
                let unclaimed =
                    |own: &usize| self.subs[*own].claims.is_empty() && !self.is_blurred(*own);
                let inside = |sub: &Sub<'_>| self.nested_at(sub.op, Hook::Close);
                let of_it = |sub: &&Sub<'_>| sub.with.scope.as_ref() == Some(scope);
                let nested = self.subs.iter().filter(of_it).any(inside);
                let rule = if nested { "RE-8" } else { "CAP-1" };
                let active = self.members(registry, scope).filter(unclaimed).count();
                if active > cap as usize {
                    let cause = format!("{active} are active in a scope capped at {cap}");
                    self.breaks(Symptom::Other, rule, cause);
                } else {
                    self.keeps(&[rule]);
                }
            }
        }
    }

    /// Every subscriber that was surely ended by force has been notified.
    fn notified(&mut self) {
        for index in 0..self.subs.len() {
            let sub = &self.subs[index];
            if sub.queue.is_some()
                || sub.close.is_some()
                || self.resolves_later(index)
                || self.need_not_tell(index)
                || self.is_blurred(index)
            {
                continue;
            }
            if let Some((why, op)) = sub.surely_forced().filter(|(why, _)| *why != Why::Evict) {
                let (who, was) = (self.name(index), why.reason());
                let cause = format!("{who} was {was} and was never notified to close");
                let breach = self.blame_silence(index, why, op);
                self.breaks(Symptom::Silence, breach, cause);
                self.blur(index, breach);
            }
        }
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
    fn sum(&mut self) {
        let (mut total, mut summed) = (0, Vec::new());
        for (index, past) in self.revocations.iter_mut().enumerate() {
            if past.returned.is_some() && !std::mem::replace(&mut past.summed, true) {
                total += past.n;
                summed.push(index);
            }
        }
        let Some(last) = summed.last().copied() else { return };
        let (mut least, mut most) = (0, 0);
        let clear = || self.subs.iter().enumerate().filter(|(sub, _)| !self.is_blurred(*sub));
        for (_, sub) in clear().filter(|(_, sub)| sub.close.is_some() && sub.revoked()) {
            most += 1;
            let only =
                sub.claims.iter().all(|claim| matches!(claim.why, Why::Revoke(_) | Why::Unsub));
            least += i64::from(only);
        }
        for (_, sub) in clear().filter(|(_, sub)| sub.queue.is_some() && sub.revoked()) {
            most += 1;
            least +=
                i64::from(sub.claims.iter().all(|claim| claim.why.revokes()) && sub.claims[0].sure);
        }
        let range = range(least, most);
        let cause = format!("revocations that overlap ended {range} and returned {total} in all");
        let held =
            |sub: &usize| summed.iter().any(|past| self.revocations[*past].names(&self.subs[*sub]));
        if let Some(blurred) = self.blurred.keys().copied().find(held) {
            self.hides(blurred, self.occasions_of_number(last)[0]);
        } else if (least..=most).contains(&total) {
            self.keeps(&["CNT-1"]);
        } else {
            self.breaks(Symptom::Number, self.blame_number(last, total > most), cause);
        }
    }

    /// Victims that nothing else gave away were evicted without being notified.
    pub(crate) fn notified_victims(&mut self) {
        for (victim, op) in std::mem::take(&mut self.silent_victims) {
            if self.is_blurred(victim) {
                continue;
            }
            let cause =
                format!("{} was evicted and was never notified to close", self.name(victim));
            self.breaks(Symptom::Silence, self.blame_silence(victim, Why::Evict, op), cause);
        }
    }

    /// Whether anything in progress may close subscribers.
    pub(crate) fn closing_ops(&self) -> Vec<&Op> {
        let closes = |op: &&Op| {
            matches!(op.act, Act::Revoke { .. } | Act::Shutdown) || op.act.registers().is_some()
        };
        self.open.keys().map(|op| self.ops[op]).filter(closes).collect()
    }
}
