//! Subscribes and admissions: which may be accepted, which must be refused, and which subscriber
//! makes room.

use super::blame::{LONG, first_of};
use super::queue::Queue;
use super::state::{Revocation, Sub, Walk};
use super::why::Why;
use super::{Step, Symptom, nonsense, similar};
use crate::pretty;
use crate::protocol::FullScope;
use crate::script::{Act, Hook, Identity, Op, OpId};

impl<'s> Walk<'s> {
    pub(crate) fn call_sub(&mut self, op: &'s Op, thread: u32, ticket: Option<u32>) -> Step {
        let (Act::Sub { sub: label, sink, with } | Act::Admit { sub: label, sink, with, .. }) =
            &op.act
        else {
            return Ok(());
        };
        let (label, sink) = (*label, *sink);
        // A ticket belongs to the registry that opened it.
        let registry = match ticket.map(|ticket| self.tickets.get(&ticket)) {
            None => op.registry,
            Some(Some(ticket)) => ticket.registry,
            Some(None) => {
                return nonsense(format!("operation {} names a ticket that does not exist", op.id));
            }
        };
        let (new, inside) = (self.subs.len(), self.casts_around(thread));
        if let Some(ticket) = ticket.and_then(|ticket| self.tickets.get_mut(&ticket)) {
            ticket.uses.push((self.now, None));
        }
        self.by_label.insert(label, new);
        self.subs.push(Sub {
            label,
            inside,
            op: op.id,
            sink,
            registry,
            with,
            by_ticket: ticket.is_some(),
            called: self.now,
            returned: None,
            refused: false,
            doomed: self.refusals.contains(&op.id),
            gone: None,
            close: None,
            claims: Vec::new(),
            last_claim: None,
            queue: with.outbox.as_ref().map(Queue::new),
        });
        if with.outbox.is_none() {
            self.by_sink.entry(sink).or_default().push(new);
        }
        self.late_for_casts(new);
        // What is ending subscribers already may end this one too.
        let ours = |past: &&Revocation<'_>| past.names(&self.subs[new]);
        let revocations = self.revocations.iter().filter(ours);
        let shutdowns = self.shutdowns.iter().filter(|past| past.registry == registry);
        let begun: Vec<_> = revocations
            .map(|past| (past.returned, Why::Revoke(past.named), past.op))
            .chain(shutdowns.map(|past| (past.returned, Why::Shutdown, past.op)))
            .collect();
        for (_, why, op) in begun.into_iter().filter(|(returned, ..)| returned.is_none()) {
            self.claim(new, why, op, false);
        }
        if let (Some(cap), Some(scope), FullScope::EvictOldest) =
            (self.script.cap, &with.scope, self.policies.full_scope)
        {
            self.claim_victims(new, cap as usize, registry, scope);
        }
        Ok(())
    }

    /// Claims those that make room for `new`; when calls overlap in the scope, any of it may go.
    fn claim_victims(&mut self, new: usize, cap: usize, registry: u32, scope: &'s Identity) {
        let members: Vec<usize> =
            self.members(registry, scope).filter(|member| *member != new).collect();
        let op = self.subs[new].op;
        let calm = members.iter().all(|member| self.subs[*member].active())
            && !self.contended.contains(&(registry, scope));
        let excess = (members.len() + 1).saturating_sub(cap);
        let ambiguous = excess > 0
            && excess < members.len()
            && self.subs[members[excess]].called
                < self.subs[members[excess - 1]].returned.unwrap_or(usize::MAX);
        let sure = calm && !ambiguous;
        let mut victims = members;
        if sure {
            victims.truncate(excess);
        } else if excess > 0 {
            self.contended.push((registry, scope));
            victims.push(new);
        } else {
            return;
        }
        for victim in victims {
            self.evictions.push(victim);
            self.claim(victim, Why::Evict, op, sure);
        }
    }

    /// Those of a scope that have not surely ended, oldest call first.
    pub(crate) fn members(
        &self,
        registry: u32,
        scope: &'s Identity,
    ) -> impl Iterator<Item = usize> {
        let within = move |sub: &Sub<'_>| {
            sub.registry == registry && sub.with.scope.as_ref() == Some(scope) && !sub.over()
        };
        (0..self.subs.len()).filter(move |index| within(&self.subs[*index]))
    }

    pub(crate) fn ret_sub(&mut self, op: &'s Op, refused: bool) {
        let Some(new) = self.subs.iter().position(|sub| sub.op == op.id) else { return };
        self.must_refuse(op, new, refused);
        if let Act::Admit { ticket, .. } = &op.act
            && let Some(ticket) = self.tickets.get_mut(ticket)
        {
            ticket.end_use(self.subs[new].called, self.now);
            let twice = ticket.admitted && !refused;
            ticket.admitted |= !refused;
            if twice {
                let cause = "a ticket admitted twice, at the same time";
                self.breaks(Symptom::Other, "ADM-6", cause);
            }
        }
        if refused {
            return self.refused(op, new);
        }
        self.subs[new].returned = Some(self.now);
        self.keeps(&["SUB-1"]);
        self.keeps_if(self.failed_after(self.subs[new].called, Hook::Close), "ISO-7");
        self.owed_closes(op.id, Why::Evict);
        self.close_claims(op.id);
    }

    /// Judges whether `sub` or `admit` had to be refused, or had to be accepted.
    fn must_refuse(&mut self, op: &'s Op, new: usize, refused: bool) {
        let (began, registry) = (self.subs[new].called, self.subs[new].registry);
        let down = self.shutdowns.iter().find(|past| past.registry == registry).copied();
        if let Some(down) = down {
            if down.returned.is_some_and(|returned| returned < began) && !refused {
                let cause = "a registry that was shut down accepted a subscriber";
                return self.breaks(Symptom::Other, "SUB-6", cause);
            }
            if down.called < self.now {
                // A shutdown that overlaps and did not refuse it ends it.
                for claim in &mut self.subs[new].claims {
                    claim.sure |= claim.why == Why::Shutdown && !refused;
                }
                return;
            }
        }
        let refuses = self.policies.full_scope == FullScope::RefuseNew;
        let full_elsewhere = refuses && self.full_elsewhere(new);
        if let (Some(cap), Some(scope), true) =
            (self.script.cap, &self.subs[new].with.scope, refuses)
        {
            let others: Vec<usize> =
                self.members(registry, scope).filter(|member| *member != new).collect();
            let sure = others.iter().filter(|other| self.subs[**other].active()).count();
            if sure >= cap as usize && !refused {
                let cause = format!("the scope already had {sure} and one more was accepted");
                return self.breaks(Symptom::Other, "CAP-1", cause);
            }
            if others.len() >= cap as usize {
                if refused {
                    self.keeps(&["CAP-1", "CAP-2"]);
                }
                return;
            }
        }
        self.keeps_if(full_elsewhere && !refused, "CAP-4");
        match &op.act {
            Act::Admit { ticket, .. } => self.judge_admission(*ticket, new, refused),
            _ if refused => {
                let blame = if full_elsewhere { "CAP-4" } else { self.sub_blame(op.id) };
                self.breaks(Symptom::Refusal, blame, "a valid subscribe was refused");
            }
            _ => {
                let past = |past: &Revocation<'_>| {
                    past.returned.is_some_and(|returned| returned < began)
                        && self.subs[new].holds(past.identity)
                };
                self.keeps_if(self.revocations.iter().any(past), "REV-9");
            }
        }
    }

    /// Whether a scope is full that is not the newcomer's.
    fn full_elsewhere(&self, new: usize) -> bool {
        let Some(cap) = self.script.cap else { return false };
        let registry = self.subs[new].registry;
        let active = |own: &usize| self.subs[*own].active();
        let full = |scope| self.members(registry, scope).filter(active).count() >= cap as usize;
        let others = self.subs.iter().filter_map(|sub| sub.with.scope.as_ref());
        others.filter(|scope| self.subs[new].with.scope.as_ref() != Some(*scope)).any(full)
    }

    fn judge_admission(&mut self, ticket: u32, new: usize, refused: bool) {
        let Some(ticket) = self.tickets.get(&ticket) else { return };
        let began = self.subs[new].called;
        let (opened, ready) = (ticket.called, ticket.returned.unwrap_or(usize::MAX));
        let mut others = ticket.uses.iter().filter(|(begun, _)| *begun != began).peekable();
        if others.peek().is_some() {
            let before = others.any(|(_, ended)| ended.is_some_and(|ended| ended < began));
            if before && !refused {
                let cause = "a ticket that was used or given up admitted again";
                return self.breaks(Symptom::Other, "ADM-6", cause);
            }
            // Of uses that overlap, whichever was called first, any may have it.
            if before || refused {
                self.keeps(&["ADM-6"]);
                return;
            }
        }
        let own = |past: &&Revocation<'_>| past.names(&self.subs[new]);
        let within = self.revocations.iter().filter(own).find(|past| {
            past.called > ready && past.returned.is_some_and(|returned| returned < began)
        });
        if let Some(past) = within {
            if !refused {
                let what = "was revoked after begin returned and before admit, and was admitted";
                let cause = format!("{} {what}", pretty::identity(past.identity));
                return self.breaks(Symptom::Other, "ADM-1", cause);
            }
            self.keeps(&["ADM-1"]);
            return;
        }
        let meanwhile =
            |past: &&Revocation<'_>| past.returned.is_none_or(|returned| returned > opened);
        if !refused {
            // A revocation that began after begin had returned and overlaps with admit did not
            // refuse it: so it ends it.
            let late = self.revocations.iter().filter(own).filter(|past| past.called > ready);
            let late: Vec<OpId> = late.map(|past| past.op).collect();
            for claim in &mut self.subs[new].claims {
                claim.sure |= late.contains(&claim.op);
            }
            self.keeps(&["ADM-4", "ADM-5"]);
            return;
        }
        if self.revocations.iter().filter(own).any(|past| meanwhile(&past)) {
            return;
        }
        let registry = self.subs[new].registry;
        if self.revocations.iter().filter(meanwhile).any(|past| past.registry == registry) {
            let cause = "refused, though only other identities were revoked";
            return self.breaks(Symptom::Refusal, "ADM-5", cause);
        }
        if self.revocations.iter().any(|past| meanwhile(&past)) {
            let cause = "refused for a revocation in another registry";
            return self.breaks(Symptom::Refusal, "ISO-6", cause);
        }
        let past = self.revocations.iter().any(|past| self.subs[new].holds(past.identity));
        let (requirement, cause) = if past {
            ("REV-9", "refused for a revocation that ended before begin")
        } else {
            (self.admit_blame(new), "a valid admission was refused")
        };
        self.breaks(Symptom::Refusal, requirement, cause);
    }

    /// An admission that names no identity is a plain subscribe.
    pub(crate) fn admit_blame(&self, new: usize) -> &'static str {
        if self.subs[new].with.identities().next().is_some() { "ADM-4" } else { "SUB-1" }
    }

    fn refused(&mut self, op: &'s Op, new: usize) {
        self.subs[new].refused = true;
        let closed = (0..self.subs.len()).find(|sub| {
            let sub = &self.subs[*sub];
            sub.close.is_some_and(|close| close > self.subs[new].called)
                && matches!(&sub.claims[..], [claim] if claim.op == op.id)
        });
        if let Some(closed) = closed {
            let name = self.name(closed);
            self.breaks(Symptom::Other, "ADM-2", format!("a refused subscribe evicted {name}"));
            return self.blur(closed, "ADM-2");
        }
        for sub in &mut self.subs {
            sub.claims.retain(|claim| claim.op != op.id);
            if let Some(queue) = &mut sub.queue {
                queue.spared(op.id);
            }
        }
        self.keeps(&["ADM-2"]);
    }

    pub(crate) fn sub_blame(&self, id: OpId) -> &'static str {
        let Some(sub) = self.subs.iter().find(|sub| sub.op == id) else { return "SUB-1" };
        let names = sub.with.channels.as_deref().unwrap_or_default();
        let long = names.len() > LONG || names.iter().any(|name| name.len() > LONG);
        if let Some(odd) = names.iter().find_map(|name| similar::odd(name)).filter(|_| !long) {
            return odd;
        }
        let elsewhere = self.revocations.iter().any(|past| past.registry != sub.registry)
            || self.shutdowns.iter().any(|past| past.registry != sub.registry);
        let was_revoked = |own: &Identity| self.revocations.iter().any(|past| past.identity == own);
        let of_its_scope = |victim: &usize| self.subs[*victim].with.scope == sub.with.scope;
        first_of([
            (long, "FLT-8"),
            (elsewhere, "ISO-6"),
            (!self.failures.is_empty(), "ISO-4"),
            (sub.with.identities().any(was_revoked), "REV-9"),
            (self.by_sink.get(&sub.sink).is_some_and(|all| all.len() > 1), "SUB-5"),
            (self.evictions.iter().any(of_its_scope), "CAP-2"),
            (true, "SUB-1"),
        ])
    }
}
