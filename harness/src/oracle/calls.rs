//! Operations: what they claim when they begin, what they owe when they return.

use super::state::{Cast, Frame, Revocation, Shutdown, Sub, Ticket, Walk};
use super::why::Why;
use super::{Step, Stop, Symptom, nonsense, similar};
use crate::protocol::Reentrancy;
use crate::script::{Act, Hook, Identity, Op, OpId, Reason, TAKEN_AT_ONCE};
use crate::trace::{Received, Report};

impl<'s> Walk<'s> {
    pub(crate) fn call(&mut self, id: OpId, thread: u32) -> Step {
        let Some(op) = self.ops.get(&id).copied() else {
            return nonsense(format!("the script has no operation {id}"));
        };
        if self.called.insert(id, self.now).is_some() {
            return nonsense(format!("operation {id} was run twice"));
        }
        self.threads.insert(id, thread);
        if self.script.cap == Some(0) {
            self.breaks(Symptom::Other, "CAP-5", "a registry with a cap of 0 was constructed");
            return Err(Stop::End);
        }
        match &op.act {
            Act::Sub { .. } => self.call_sub(op, thread, None)?,
            Act::Admit { ticket, .. } => self.call_sub(op, thread, Some(*ticket))?,
            Act::Unsub { sub } => self.call_unsub(id, *sub)?,
            Act::Take { sub, bytes } => self.call_take(id, *sub, bytes.unwrap_or(TAKEN_AT_ONCE))?,
            Act::Cast { channel, data } => self.call_cast(op, channel, data, thread),
            Act::Revoke { identity, reason } => self.call_revoke(op, identity, *reason),
            Act::Begin { ticket } => {
                let (registry, called) = (op.registry, self.now);
                self.tickets.insert(*ticket, Ticket { registry, called, ..Ticket::default() });
            }
            Act::Shutdown => {
                let (registry, called) = (op.registry, self.now);
                self.shutdowns.push(Shutdown { op: id, registry, called, returned: None });
                for sub in 0..self.subs.len() {
                    if self.subs[sub].registry == op.registry && !self.subs[sub].over() {
                        let sure = self.subs[sub].active();
                        self.claim(sub, Why::Shutdown, id, sure);
                    }
                }
            }
            Act::Abandon { ticket } => {
                if let Some(ticket) = self.tickets.get_mut(ticket) {
                    ticket.uses.push((self.now, None));
                }
            }
            Act::Count | Act::Settle | Act::Par { .. } | Act::Hold { .. } | Act::Release { .. } => {
            }
        }
        self.open.insert(id, thread);
        self.stack(thread).push(Frame::Call(id));
        Ok(())
    }

    pub(crate) fn ret(
        &mut self,
        id: OpId,
        n: Option<i64>,
        refused: bool,
        report: Option<Report>,
        taken: Option<&Received>,
    ) -> Step {
        let op = self.pop(id)?;
        let number = || match n {
            Some(n) => Ok(n),
            None => nonsense(format!(
                "operation {id} returned no number (does the registry's own call return one?)"
            )),
        };
        match &op.act {
            Act::Sub { .. } | Act::Admit { .. } => self.ret_sub(op, refused),
            Act::Unsub { sub } => self.ret_unsub(id, *sub),
            Act::Take { sub, bytes } => {
                let taken = taken.ok_or_else(|| {
                    Stop::Nonsense(format!("operation {id} does not say what it took"))
                })?;
                self.ret_take(id, *sub, bytes.unwrap_or(TAKEN_AT_ONCE), taken)?;
            }
            Act::Cast { .. } => self.ret_cast(id, report),
            Act::Revoke { .. } => self.ret_revoke(id, number()?),
            Act::Count => self.ret_count(op, number()?),
            Act::Begin { ticket } => {
                if let Some(ticket) = self.tickets.get_mut(ticket) {
                    ticket.returned = Some(self.now);
                }
            }
            Act::Abandon { ticket } => {
                if let Some(ticket) = self.tickets.get_mut(ticket) {
                    ticket.end_use(self.called[&id], self.now);
                }
            }
            Act::Settle => self.settled = true,
            Act::Par { .. } => self.keeps(&["CON-0"]),
            Act::Shutdown => self.ret_shutdown(id),
            Act::Hold { .. } | Act::Release { .. } => {}
        }
        self.queues_hear_of(id);
        Ok(())
    }

    pub(crate) fn err(&mut self, id: OpId, error: &str) -> Step {
        let outcome = self.threw(id, error);
        self.queues_hear_of(id);
        outcome
    }

    fn threw(&mut self, id: OpId, error: &str) -> Step {
        let op = self.pop(id)?;
        let nested = self.nested_at(id, Hook::Send) || self.nested_at(id, Hook::Close);
        if nested && self.policies.reentrancy == Reentrancy::Refused {
            let cause = format!("a call from inside a sink is refused: {error}");
            self.breaks(Symptom::Error, "RE-1", cause);
            self.undone(op, "RE-1");
            return Ok(());
        }
        let began = self.called[&id];
        let failed_inside = self.failures.iter().any(|failure| failure.at > began);
        // An admission belongs to the registry of its ticket.
        let registry =
            self.subs.iter().find(|sub| sub.op == id).map_or(op.registry, |sub| sub.registry);
        let down = self.shutdowns.iter().any(|past| past.registry == registry);

        let (requirement, what) = match &op.act {
            Act::Sub { .. } if failed_inside => {
                ("ISO-7", "subscribe failed because the evicted sink's close did")
            }
            Act::Sub { .. } => (self.sub_blame(id), "subscribe failed"),
            Act::Admit { .. } => {
                let own = self.subs.iter().position(|sub| sub.op == id).unwrap_or_default();
                (self.admit_blame(own), "admit failed")
            }
            Act::Begin { .. } | Act::Abandon { .. } => {
                ("ADM-6", "a ticket could not be opened or given up")
            }
            Act::Unsub { .. } => ("SUB-2", "unsubscribe failed"),
            Act::Take { .. } => ("QUE-1", "taking from an outbox failed"),
            Act::Cast { .. } if failed_inside => ("ISO-2", "a failing sink failed the broadcast"),
            Act::Cast { .. } if !self.failures.is_empty() => {
                ("ISO-4", "broadcast failed after an earlier failure")
            }
            Act::Cast { channel, .. } => {
                (self.cast_blame(op.registry, channel), "broadcast failed")
            }
            Act::Revoke { .. } if failed_inside => {
                ("ISO-3", "a failing close failed the revocation")
            }
            Act::Revoke { .. } if !self.failures.is_empty() => {
                ("ISO-4", "revocation failed after an earlier failure")
            }
            Act::Revoke { identity, .. } if !self.subs.iter().any(|sub| sub.holds(identity)) => {
                ("REV-10", "revoking an unknown identity failed")
            }
            Act::Revoke { .. } => ("REV-1", "revocation failed"),
            Act::Count => ("CNT-2", "count failed"),
            Act::Shutdown if failed_inside => ("ISO-3", "a failing close failed the shutdown"),
            Act::Shutdown => ("SUB-6", "shutdown failed"),
            Act::Settle | Act::Par { .. } | Act::Hold { .. } | Act::Release { .. } => {
                return nonsense(format!("operation {id} threw: {error}"));
            }
        };
        let special = ["ISO-7", "ISO-2", "ISO-3", "ISO-4"].contains(&requirement);
        let requirement = if nested && !special { "RE-1" } else { requirement };
        if down && matches!(op.act, Act::Sub { .. } | Act::Admit { .. }) {
            self.ret_sub(op, true);
            return Ok(());
        }
        self.breaks(Symptom::Error, requirement, format!("{what}: {error}"));
        // What follows a broadcast is judged as if it had returned.
        if let Act::Cast { .. } = &op.act {
            if let Some(cast) = self.casts.iter_mut().find(|cast| cast.op == id) {
                cast.threw = true;
            }
            self.ret_cast(id, None);
        } else {
            self.undone(op, requirement);
        }
        Ok(())
    }

    /// An operation failed that must not: whether it did what it was called for is open.
    fn undone(&mut self, op: &'s Op, breach: &'static str) {
        let mine =
            |sub: &Sub<'_>| sub.op == op.id || sub.claims.iter().any(|claim| claim.op == op.id);
        let subs: Vec<usize> = (0..self.subs.len()).filter(|sub| mine(&self.subs[*sub])).collect();
        for sub in subs {
            self.blur(sub, breach);
        }
        if let Act::Admit { ticket, .. } | Act::Abandon { ticket } = &op.act
            && let Some(ticket) = self.tickets.get_mut(ticket)
        {
            ticket.end_use(self.called[&op.id], self.now);
        }
        self.close_claims(op.id);
    }

    fn cast_blame(&self, registry: u32, channel: &str) -> &'static str {
        let heard = self
            .subs
            .iter()
            .any(|sub| sub.registry == registry && !sub.over() && self.hears(sub, channel));
        let general = if heard { "DEL-1" } else { "DEL-3" };
        similar::odd(channel).unwrap_or(general)
    }

    fn pop(&mut self, id: OpId) -> Result<&'s Op, Stop> {
        let thread = self.thread_of(id)?;
        match self.stack(thread).pop() {
            Some(Frame::Call(top)) if top == id => {}
            _ => {
                return nonsense(format!(
                    "operation {id} ended while something that it contains had not"
                ));
            }
        }
        self.open.remove(&id);
        self.returned.insert(id, self.now);
        Ok(self.ops[&id])
    }

    fn call_unsub(&mut self, id: OpId, label: u32) -> Step {
        let Some(sub) = self.by_label.get(&label).copied() else {
            return nonsense(format!("operation {id} names a subscriber that does not exist"));
        };
        self.unsubs.push((self.now, sub));
        if self.subs[sub].gone.is_none() {
            let sure = self.subs[sub].active();
            self.claim(sub, Why::Unsub, id, sure);
        } else {
            self.end_queue(sub, Why::Unsub, id);
        }
        Ok(())
    }

    fn ret_unsub(&mut self, id: OpId, label: u32) {
        if let Some(sub) = self.by_label.get(&label) {
            self.subs[*sub].gone.get_or_insert((self.now, Why::Unsub));
        }
        self.keeps(&["SUB-2"]);
        self.close_claims(id);
    }

    fn call_cast(&mut self, op: &'s Op, channel: &'s str, data: &'s str, thread: u32) {
        let must = (0..self.subs.len())
            .filter(|sub| {
                let sub = &self.subs[*sub];
                sub.registry == op.registry && sub.active() && self.hears(sub, channel)
            })
            .collect();
        let inside = self.inside(thread);
        self.settled = false;
        self.casts.push(Cast {
            op: op.id,
            registry: op.registry,
            channel,
            data,
            called: self.now,
            returned: None,
            settled: None,
            outer: inside.and_then(|frame| frame.cast()),
            nested: inside.is_some(),
            must,
            began: None,
            deliveries: Vec::new(),
            threw: false,
        });
        self.cast_to_queues(self.casts.len() - 1);
    }

    fn ret_cast(&mut self, id: OpId, report: Option<Report>) {
        let Some(index) = self.casts.iter().position(|cast| cast.op == id) else { return };
        self.casts[index].returned = Some(self.now);
        if let Some(report) = report {
            let cast = &self.casts[index];

            let sure = cast
                .must
                .iter()
                .filter(|sub| self.subs[**sub].last_claim.is_none_or(|at| at < cast.called))
                .filter(|sub| !self.is_blurred(**sub))
                .count();
            let hears = |sub: &&Sub<'_>| {
                sub.was_there_after(cast.called, cast.registry) && self.hears(sub, cast.channel)
            };
            let most = self.subs.iter().filter(hears).count();
            let parts = report.accepted + report.dropped + report.lagged + report.failed;
            if (sure as u64..=most as u64).contains(&report.matched) && parts <= report.matched {
                self.keeps(&["DEL-7"]);
            } else {
                let cause =
                    format!("it matched {sure} to {most} subscribers and reported {report:?}");
                self.breaks(Symptom::Other, "DEL-7", cause);
            }
        }
        self.close_claims(id);
    }

    fn call_revoke(&mut self, op: &'s Op, identity: &'s Identity, named: Option<Reason>) {
        self.revocations.push(Revocation {
            op: op.id,
            registry: op.registry,
            identity,
            named,
            called: self.now,
            returned: None,
            n: 0,
            summed: false,
        });
        for sub in 0..self.subs.len() {
            let subject = &self.subs[sub];
            if subject.registry != op.registry || !subject.holds(identity) {
                continue;
            }
            if subject.over() {
                self.end_queue(sub, Why::Revoke(named), op.id);
            } else {
                self.claim(sub, Why::Revoke(named), op.id, subject.active());
            }
        }
    }

    fn ret_shutdown(&mut self, id: OpId) {
        if let Some(own) = self.shutdowns.iter_mut().find(|past| past.op == id) {
            own.returned = Some(self.now);
        }
        self.owed_closes(id, Why::Shutdown);
        self.close_claims(id);
    }

    /// The operation returned: what it surely ended has ended.
    pub(crate) fn close_claims(&mut self, op: OpId) {
        for sub in &mut self.subs {
            let surely = sub.claims.iter().any(|claim| claim.sure);
            for claim in
                sub.claims.iter_mut().filter(|claim| claim.op == op && claim.why != Why::Fail)
            {
                claim.open = false;
                // Of an eviction that may have been needless, what others are sure to end later
                // says nothing.
                let ended =
                    if matches!(claim.why, Why::Evict | Why::Lag) { claim.sure } else { surely };
                if ended || sub.close.is_some() {
                    sub.gone.get_or_insert((self.now, claim.why));
                }
            }
        }
    }
}
