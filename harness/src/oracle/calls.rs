//! Operations: what they claim when they begin, what they owe when they return.

use super::{
    Step, Stop,
    state::{Cast, Frame, Revocation, Sub, Ticket, Walk, Why},
};
use crate::{
    protocol::{FullScope, Reentrancy},
    script::{Act, Hook, Identity, Op, OpId},
    trace::Report,
};

impl<'s> Walk<'s> {
    pub(crate) fn call(&mut self, id: OpId, lane: u32) -> Step {
        let Some(op) = self.ops.get(&id).copied() else {
            return Err(Stop::Nonsense(format!("the script has no operation {id}")));
        };
        if self.called.insert(id, self.now).is_some() {
            return Err(Stop::Nonsense(format!("operation {id} was run twice")));
        }
        self.lanes.insert(id, lane);
        if self.script.cap == Some(0) {
            return self.breaks("CAP-5", "a registry with a cap of 0 was constructed".into());
        }
        match &op.act {
            Act::Sub { .. } => self.call_sub(op, lane, None)?,
            Act::Admit { ticket, .. } => self.call_sub(op, lane, Some(*ticket))?,
            Act::Unsub { sub } => self.call_unsub(id, *sub)?,
            Act::Cast { channel, data } => self.call_cast(op, channel, data, lane),
            Act::Revoke { identity } => self.call_revoke(op, identity),
            Act::Begin { ticket } => {
                let fresh = Ticket { registry: op.registry, called: self.now, returned: None, used: None };
                self.tickets.insert(*ticket, fresh);
            }
            Act::Shutdown => {
                self.shutdowns.push((op.registry, self.now, None));
                for sub in 0..self.subs.len() {
                    if self.subs[sub].registry == op.registry && !self.subs[sub].over() {
                        let sure = self.subs[sub].active();
                        self.claim(sub, Why::Shutdown, id, sure);
                    }
                }
            }
            Act::Abandon { ticket } => {
                let now = self.now;
                if let Some(ticket) = self.tickets.get_mut(ticket) {
                    ticket.begin_use(now);
                }
            }
            Act::Count | Act::Settle | Act::Par { .. } | Act::Hold { .. } | Act::Release { .. } => {}
        }
        self.open.insert(id, lane);
        self.stack(lane).push(Frame::Call(id));
        Ok(())
    }

    pub(crate) fn ret(&mut self, id: OpId, n: Option<u64>, refused: bool, report: Option<Report>) -> Step {
        let op = self.pop(id)?;
        match &op.act {
            Act::Sub { .. } | Act::Admit { .. } => self.ret_sub(op, refused),
            Act::Unsub { sub } => self.ret_unsub(id, *sub),
            Act::Cast { .. } => self.ret_cast(id, report),
            Act::Revoke { .. } => {
                let n = n.ok_or_else(|| Stop::Nonsense(format!("operation {id} returned no number")))?;
                self.ret_revoke(id, n)
            }
            Act::Count => {
                let n = n.ok_or_else(|| Stop::Nonsense(format!("operation {id} returned no number")))?;
                self.ret_count(op, n)
            }
            Act::Begin { ticket } => {
                let now = self.now;
                if let Some(ticket) = self.tickets.get_mut(ticket) {
                    ticket.returned = Some(now);
                }
                Ok(())
            }
            Act::Abandon { ticket } => {
                let (began, now) = (self.called[&id], self.now);
                if let Some(ticket) = self.tickets.get_mut(ticket) {
                    ticket.end_use(began, now);
                }
                Ok(())
            }
            Act::Settle => {
                self.settled = true;
                Ok(())
            }
            Act::Par { .. } => {
                self.keeps(&["CON-0"]);
                Ok(())
            }
            Act::Shutdown => self.ret_shutdown(id),
            Act::Hold { .. } | Act::Release { .. } => Ok(()),
        }
    }

    pub(crate) fn err(&mut self, id: OpId, error: &str) -> Step {
        let op = self.pop(id)?;
        let nested = self.open.keys().any(|open| !matches!(self.ops[open].act, Act::Par { .. }));
        if nested && self.policies.reentrancy == Reentrancy::Refused {
            return self.breaks("RE-1", format!("a call from inside a sink is refused: {error}"));
        }
        let began = self.called[&id];
        let failed_inside = self.failures.iter().any(|failure| failure.at > began);
        // An admission belongs to the registry of its ticket.
        let registry = self.subs.iter().find(|sub| sub.op == id).map_or(op.registry, |sub| sub.registry);
        let down = self.shutdowns.iter().any(|(of, ..)| *of == registry);
        let nested_blame = if nested { "RE-1" } else { "" };
        let (requirement, what) = match &op.act {
            Act::Sub { .. } if failed_inside => ("ISO-7", "subscribe failed because the evicted sink's close did"),
            Act::Sub { .. } => (self.sub_blame(id), "subscribe failed"),
            Act::Admit { .. } => ("ADM-4", "admit failed"),
            Act::Begin { .. } | Act::Abandon { .. } => ("ADM-6", "a ticket could not be opened or given up"),
            Act::Unsub { .. } => ("SUB-2", "unsubscribe failed"),
            Act::Cast { .. } if failed_inside => ("ISO-2", "a failing sink failed the broadcast"),
            Act::Cast { .. } if !self.failures.is_empty() => ("ISO-4", "broadcast failed after an earlier failure"),
            Act::Cast { channel, .. } => (self.cast_blame(op.registry, channel), "broadcast failed"),
            Act::Revoke { .. } if failed_inside => ("ISO-3", "a failing close failed the revocation"),
            Act::Revoke { .. } if !self.failures.is_empty() => ("ISO-4", "revocation failed after an earlier failure"),
            Act::Revoke { identity } if !self.subs.iter().any(|sub| sub.holds(identity)) => {
                ("REV-10", "revoking an unknown identity failed")
            }
            Act::Revoke { .. } => ("REV-1", "revocation failed"),
            Act::Count => ("CNT-2", "count failed"),
            Act::Shutdown => ("SUB-6", "shutdown failed"),
            Act::Settle | Act::Par { .. } | Act::Hold { .. } | Act::Release { .. } => {
                return Err(Stop::Nonsense(format!("operation {id} threw: {error}")));
            }
        };
        let special = ["ISO-7", "ISO-2", "ISO-3", "ISO-4"].contains(&requirement);
        let requirement = if nested && !special { nested_blame } else { requirement };
        if down && matches!(op.act, Act::Sub { .. } | Act::Admit { .. }) {
            return self.ret_sub(op, true);
        }
        if !(down && matches!(op.act, Act::Cast { .. })) {
            self.breaks(requirement, format!("{what}: {error}"))?;
        }
        // What follows is judged as if it had returned: only a SHOULD was broken.
        if let Act::Cast { .. } = &op.act {
            if let Some(cast) = self.casts.iter_mut().find(|cast| cast.op == id) {
                cast.threw = true;
            }
            return self.ret_cast(id, None);
        }
        Ok(())
    }

    fn sub_blame(&self, id: OpId) -> &'static str {
        let Some(sub) = self.subs.iter().find(|sub| sub.op == id) else { return "SUB-1" };
        if let Some(names) = &sub.with.channels {
            if names.len() > 1_000 || names.iter().any(|name| name.len() > 1_000) {
                return "FLT-8";
            }
            if names.iter().any(String::is_empty) {
                return "FLT-4";
            }
        }
        if !self.failures.is_empty() {
            return "ISO-4";
        }
        if sub.with.identities().any(|own| self.revocations.iter().any(|past| past.identity == own)) {
            return "REV-9";
        }
        if self.by_sink.get(&sub.sink).is_some_and(|all| all.len() > 1) {
            return "SUB-5";
        }
        if self.evictions.iter().any(|victim| self.subs[*victim].with.scope == sub.with.scope) {
            return "CAP-2";
        }
        "SUB-1"
    }

    fn cast_blame(&self, registry: u32, channel: &str) -> &'static str {
        let heard = self.subs.iter().any(|sub| sub.registry == registry && !sub.over() && self.hears(sub, channel));
        if heard { "DEL-1" } else { "DEL-3" }
    }

    fn pop(&mut self, id: OpId) -> Result<&'s Op, Stop> {
        let lane = self.lane_of(id)?;
        match self.stack(lane).pop() {
            Some(Frame::Call(top)) if top == id => {}
            _ => return Err(Stop::Nonsense(format!("operation {id} ended while something that it contains had not"))),
        }
        self.open.remove(&id);
        Ok(self.ops[&id])
    }

    fn call_sub(&mut self, op: &'s Op, lane: u32, ticket: Option<u32>) -> Step {
        let (Act::Sub { sub: label, sink, with } | Act::Admit { sub: label, sink, with, .. }) = &op.act else {
            return Ok(());
        };
        let (label, sink) = (*label, *sink);
        // A ticket belongs to the registry that opened it.
        let registry = match ticket.map(|ticket| self.tickets.get(&ticket)) {
            None => op.registry,
            Some(Some(ticket)) => ticket.registry,
            Some(None) => {
                return Err(Stop::Nonsense(format!("operation {} names a ticket that does not exist", op.id)));
            }
        };
        let new = self.subs.len();
        let (inside, now) = (self.casts_around(lane), self.now);
        if let Some(ticket) = ticket.and_then(|ticket| self.tickets.get_mut(&ticket)) {
            ticket.begin_use(now);
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
            gone: None,
            close: None,
            claims: Vec::new(),
            last_claim: None,
        });
        self.by_sink.entry(sink).or_default().push(new);
        let open: Vec<OpId> = self
            .revocations
            .iter()
            .filter(|past| past.returned.is_none() && past.registry == registry && self.subs[new].holds(past.identity))
            .map(|past| past.op)
            .collect();
        for revoke in open {
            self.claim(new, Why::Revoke, revoke, false);
        }
        if self.shutdowns.iter().any(|(of, _, returned)| *of == registry && returned.is_none()) {
            self.claim(new, Why::Shutdown, op.id, false);
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
        let members: Vec<usize> = self.members(registry, scope).filter(|member| *member != new).collect();
        let op = self.subs[new].op;
        let calm =
            members.iter().all(|member| self.subs[*member].active()) && !self.contended.contains(&(registry, scope));
        let excess = (members.len() + 1).saturating_sub(cap);
        if calm {
            let ambiguous = excess > 0
                && excess < members.len()
                && self.subs[members[excess]].called < self.subs[members[excess - 1]].returned.unwrap_or(usize::MAX);
            if !ambiguous {
                for victim in &members[..excess] {
                    self.evictions.push(*victim);
                    self.claim(*victim, Why::Evict, op, true);
                }
                return;
            }
        }
        if excess > 0 {
            self.contended.push((registry, scope));
            for member in members.into_iter().chain([new]) {
                self.evictions.push(member);
                self.claim(member, Why::Evict, op, false);
            }
        }
    }

    /// Those of a scope that have not surely ended, oldest call first.
    pub(crate) fn members(&self, registry: u32, scope: &'s Identity) -> impl Iterator<Item = usize> {
        self.subs
            .iter()
            .enumerate()
            .filter(move |(_, sub)| sub.registry == registry && sub.with.scope.as_ref() == Some(scope) && !sub.over())
            .map(|(index, _)| index)
    }

    fn ret_sub(&mut self, op: &'s Op, refused: bool) -> Step {
        let Some(new) = self.subs.iter().position(|sub| sub.op == op.id) else { return Ok(()) };
        let now = self.now;
        self.must_refuse(op, new, refused)?;
        if let Act::Admit { ticket, .. } = &op.act
            && let Some(ticket) = self.tickets.get_mut(ticket)
        {
            ticket.end_use(self.subs[new].called, now);
        }
        if refused {
            return self.refused(op, new);
        }
        self.subs[new].returned = Some(now);
        self.keeps(&["SUB-1"]);
        if self.failures.iter().any(|failure| failure.at > self.subs[new].called && failure.hook == Hook::Close) {
            self.keeps(&["ISO-7"]);
        }
        self.owed_closes(op.id, Why::Evict)?;
        self.close_claims(op.id);
        Ok(())
    }

    /// Judges whether `sub` or `admit` had to be refused, or had to be accepted.
    fn must_refuse(&mut self, op: &'s Op, new: usize, refused: bool) -> Step {
        let (began, registry) = (self.subs[new].called, self.subs[new].registry);
        let down = self.shutdowns.iter().find(|(of, ..)| *of == registry).copied();
        if let Some((_, called, returned)) = down {
            if returned.is_some_and(|returned| returned < began) && !refused {
                return self.breaks("SUB-6", "a registry that was shut down accepted a subscriber".into());
            }
            if called < self.now {
                return Ok(());
            }
        }
        if let (Some(cap), Some(scope), FullScope::RefuseNew) =
            (self.script.cap, &self.subs[new].with.scope, self.policies.full_scope)
        {
            let others: Vec<usize> = self.members(registry, scope).filter(|member| *member != new).collect();
            let sure = others.iter().filter(|other| self.subs[**other].active()).count();
            if sure >= cap as usize && !refused {
                return self.breaks("CAP-1", format!("the scope already had {sure} and one more was accepted"));
            }
            if others.len() >= cap as usize {
                return Ok(());
            }
        }
        match &op.act {
            Act::Admit { ticket, .. } => self.judge_admission(*ticket, new, refused),
            _ if refused => {
                let blame = self.sub_blame(op.id);
                self.breaks(blame, "a valid subscribe was refused".into())
            }
            _ => {
                let past = self.revocations.iter().any(|past| {
                    past.returned.is_some_and(|returned| returned < began) && self.subs[new].holds(past.identity)
                });
                if past {
                    self.keeps(&["REV-9"]);
                }
                Ok(())
            }
        }
    }

    fn judge_admission(&mut self, ticket: u32, new: usize, refused: bool) -> Step {
        let Some(ticket) = self.tickets.get(&ticket) else { return Ok(()) };
        let began = self.subs[new].called;
        let (opened, ready) = (ticket.called, ticket.returned.unwrap_or(usize::MAX));
        if let Some((first, ended)) = ticket.used
            && first != began
        {
            let before = ended.is_some_and(|ended| ended < began);
            if before && !refused {
                return self.breaks("ADM-6", "a ticket that was used or given up admitted again".into());
            }
            // While another use is in progress, either of them may have it.
            if before || refused {
                self.keeps(&["ADM-6"]);
                return Ok(());
            }
        }
        let own =
            |past: &&Revocation<'_>| past.registry == self.subs[new].registry && self.subs[new].holds(past.identity);
        let within = self
            .revocations
            .iter()
            .filter(own)
            .find(|past| past.called > ready && past.returned.is_some_and(|returned| returned < began));
        if let Some(past) = within {
            if !refused {
                let cause =
                    format!("{:?} was revoked after begin returned and before admit, and was admitted", past.identity);
                return self.breaks("ADM-1", cause);
            }
            self.keeps(&["ADM-1"]);
            return Ok(());
        }
        let overlaps =
            self.revocations.iter().filter(own).any(|past| past.returned.is_none_or(|returned| returned > opened));
        if overlaps || !refused {
            if !refused {
                self.keeps(&["ADM-4", "ADM-5"]);
            }
            return Ok(());
        }
        if self.revocations.iter().any(|past| past.returned.is_none_or(|returned| returned > opened)) {
            return self.breaks("ADM-5", "refused, though only other identities were revoked".into());
        }
        let past = self.revocations.iter().any(|past| self.subs[new].holds(past.identity));
        let (requirement, cause) = if past {
            ("REV-9", "refused for a revocation that ended before begin")
        } else {
            ("ADM-4", "a valid admission was refused")
        };
        self.breaks(requirement, cause.into())
    }

    fn refused(&mut self, op: &'s Op, new: usize) -> Step {
        self.subs[new].refused = true;
        let closed = (0..self.subs.len()).find(|sub| {
            let sub = &self.subs[*sub];
            sub.close.is_some_and(|close| close > self.subs[new].called)
                && sub.claims.iter().any(|claim| claim.op == op.id)
                && sub.claims.len() == 1
        });
        if let Some(closed) = closed {
            let name = self.name(closed);
            return self.breaks("ADM-2", format!("a refused subscribe evicted {name}"));
        }
        for sub in &mut self.subs {
            sub.claims.retain(|claim| claim.op != op.id);
        }
        self.keeps(&["ADM-2"]);
        Ok(())
    }

    fn call_unsub(&mut self, id: OpId, label: u32) -> Step {
        let Some(sub) = self.by_label.get(&label).copied() else {
            return Err(Stop::Nonsense(format!("operation {id} names a subscriber that does not exist")));
        };
        self.unsubs.push((self.now, sub));
        if self.subs[sub].gone.is_none() {
            let sure = self.subs[sub].active();
            self.claim(sub, Why::Unsub, id, sure);
        }
        Ok(())
    }

    fn ret_unsub(&mut self, id: OpId, label: u32) -> Step {
        let now = self.now;
        if let Some(sub) = self.by_label.get(&label).copied() {
            let sub = &mut self.subs[sub];
            if sub.gone.is_none() {
                sub.gone = Some((now, Why::Unsub));
            }
        }
        self.keeps(&["SUB-2"]);
        self.close_claims(id);
        Ok(())
    }

    fn call_cast(&mut self, op: &'s Op, channel: &'s str, data: &'s str, lane: u32) {
        let must = (0..self.subs.len())
            .filter(|sub| {
                let sub = &self.subs[*sub];
                sub.registry == op.registry && sub.active() && self.hears(sub, channel)
            })
            .collect();
        let inside = self.inside(lane);
        self.settled = false;
        self.casts.push(Cast {
            op: op.id,
            registry: op.registry,
            channel,
            data,
            called: self.now,
            returned: None,
            settled: None,
            outer: match inside {
                Some(Frame::Send { cast, .. }) => Some(cast),
                _ => None,
            },
            nested: inside.is_some(),
            must,
            deliveries: Vec::new(),
            threw: false,
        });
    }

    fn ret_cast(&mut self, id: OpId, report: Option<Report>) -> Step {
        let now = self.now;
        let Some(index) = self.casts.iter().position(|cast| cast.op == id) else { return Ok(()) };
        self.casts[index].returned = Some(now);
        if let Some(report) = report {
            let cast = &self.casts[index];
            let sure =
                cast.must.iter().filter(|sub| self.subs[**sub].last_claim.is_none_or(|at| at < cast.called)).count();
            let most = self
                .subs
                .iter()
                .filter(|sub| {
                    sub.registry == cast.registry && !sub.refused && sub.gone.is_none_or(|(at, _)| at > cast.called)
                })
                .filter(|sub| self.hears(sub, cast.channel))
                .count();
            let parts = report.accepted + report.dropped + report.lagged + report.failed;
            let fits = (sure as u64..=most as u64).contains(&report.matched) && parts <= report.matched;
            if !fits {
                let cause = format!("it matched {sure} to {most} subscribers and reported {report:?}");
                self.breaks("DEL-7", cause)?;
            } else {
                self.keeps(&["DEL-7"]);
            }
        }
        self.close_claims(id);
        Ok(())
    }

    fn call_revoke(&mut self, op: &'s Op, identity: &'s Identity) {
        self.revocations.push(Revocation {
            op: op.id,
            registry: op.registry,
            identity,
            called: self.now,
            returned: None,
            n: 0,
            summed: false,
        });
        for sub in 0..self.subs.len() {
            if self.subs[sub].registry == op.registry && self.subs[sub].holds(identity) && !self.subs[sub].over() {
                let sure = self.subs[sub].active();
                self.claim(sub, Why::Revoke, op.id, sure);
            }
        }
    }

    fn ret_shutdown(&mut self, id: OpId) -> Step {
        let now = self.now;
        if let Some(last) = self.shutdowns.iter_mut().rev().find(|(_, _, returned)| returned.is_none()) {
            last.2 = Some(now);
        }
        self.owed_closes(id, Why::Shutdown)?;
        self.close_claims(id);
        Ok(())
    }

    /// The operation returned: what it surely ended has ended.
    pub(crate) fn close_claims(&mut self, op: OpId) {
        let now = self.now;
        for sub in &mut self.subs {
            let surely = sub.claims.iter().any(|claim| claim.sure);
            for claim in sub.claims.iter_mut().filter(|claim| claim.op == op && claim.why != Why::Fail) {
                claim.open = false;
                // Of an eviction that may have been needless, what others are sure to end later says nothing.
                let ended = if claim.why == Why::Evict { claim.sure } else { surely };
                if sub.gone.is_none() && (ended || sub.close.is_some()) {
                    sub.gone = Some((now, claim.why));
                }
            }
        }
    }

    pub(crate) fn fuel(&mut self) -> Step {
        let lane = self.stacks.iter().find(|(_, stack)| !stack.is_empty()).map(|(lane, _)| *lane).unwrap_or_default();
        let outermost = self.stacks.get(&lane).and_then(|stack| stack.first().and_then(Frame::op));
        let requirement = match outermost.map(|op| &self.ops[&op].act) {
            Some(Act::Cast { .. }) => "RE-4",
            Some(Act::Revoke { .. }) => "RE-6",
            Some(Act::Sub { .. } | Act::Admit { .. }) => "RE-8",
            _ => "RE-1",
        };
        self.breaks(requirement, "the registry kept calling sinks until the fuel ran out".into())?;
        Err(Stop::End)
    }

    pub(crate) fn stuck(&mut self) -> Step {
        self.in_vain |= !self.was_stuck;
        self.was_stuck = true;
        let parked: Vec<u32> = self
            .stacks
            .values()
            .filter(|stack| {
                stack.last().and_then(Frame::op).is_some_and(|op| matches!(self.ops[&op].act, Act::Hold { .. }))
            })
            .flat_map(|stack| {
                stack.iter().filter_map(|frame| if let Frame::Send { sink, .. } = frame { Some(*sink) } else { None })
            })
            .collect();
        // A broadcast that is being delivered on another lane does not wait for it: that is where it is.
        let delivering = |op: &OpId| {
            let own = |frame: &Frame| matches!(frame, Frame::Send { cast, .. } if self.casts[*cast].op == *op);
            self.stacks.values().flatten().any(own)
        };
        let blocked = self
            .stacks
            .values()
            .filter_map(|stack| stack.last().and_then(Frame::op))
            .filter(|op| !matches!(self.ops[op].act, Act::Hold { .. } | Act::Par { .. } | Act::Settle))
            .find(|op| !delivering(op));
        let Some(blocked) = blocked else {
            // A delivery that should have come did not: its own requirement will say so.
            return Ok(());
        };
        let own = |op: OpId| {
            self.subs.iter().any(|sub| parked.contains(&sub.sink) && sub.claims.iter().any(|claim| claim.op == op))
        };
        let (requirement, what) = match &self.ops[&blocked].act {
            Act::Revoke { .. } if own(blocked) => ("PRG-2", "the revocation waited for the sink that it revoked"),
            Act::Revoke { .. } => ("PRG-1", "the revocation waited for a sink that is stuck in send"),
            Act::Cast { .. } => ("PRG-3", "the broadcast waited for a sink that is stuck in send"),
            _ => ("PRG-3", "the operation waited for a sink that is stuck in send"),
        };
        self.breaks(requirement, format!("{what} (operation {blocked})"))?;
        // Only a SHOULD: whoever else waited in vain waited for this.
        self.in_vain = false;
        Ok(())
    }

    pub(crate) fn unbuilt(&mut self, error: &str) -> Step {
        if self.script.cap == Some(0) {
            self.keeps(&["CAP-5"]);
            return Err(Stop::End);
        }
        Err(Stop::Nonsense(format!("the registry could not be constructed: {error}")))
    }
}
