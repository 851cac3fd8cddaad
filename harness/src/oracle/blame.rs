//! Names the requirement that a failure breaks: the most special context that explains it comes
//! first.
//!
//! The same lists say, for a trace that is right, which requirements it had occasion to break.

use std::ops::Range;

use super::deliver::Refusal;
use super::similar::{MAGIC, joined, near, plain, similar, similar_kinds};
use super::state::{Claim, Failure, Frame, Revocation, Sub, Walk};
use super::why::Why;
use super::{Blame, Symptom, other};
use crate::catalogue::place;
use crate::pretty;
use crate::protocol::SendFailure;
use crate::script::{Act, Hook, Identity, OpId, Reason};

/// How many names make a long list, and how many bytes a long name. Whatever needs more of them
/// than this, when all else is taken away, is about their number.
pub(super) const LONG: usize = 64;

fn lagged(sub: &Sub<'_>) -> bool {
    sub.gone.is_some_and(|(_, why)| why == Why::Lag)
}

/// The requirements whose condition holds, the most special first.
fn those<const N: usize>(list: [(bool, &'static str); N]) -> Vec<&'static str> {
    let holding = list.into_iter().filter_map(|(holds, requirement)| holds.then_some(requirement));
    let mut list: Vec<_> = holding.collect();
    list.sort_by_key(|requirement| place(requirement));
    list
}

/// The most special of these whose condition holds; one always does.
pub(super) fn first_of<const N: usize>(list: [(bool, &'static str); N]) -> &'static str {
    those(list)[0]
}

impl Walk<'_> {
    pub(crate) fn blame_missing(&self, sub: usize, cast: usize) -> &'static str {
        self.occasions(sub, cast)[0]
    }

    /// What a delivery to `sub` proves, most special first; never empty.
    pub(crate) fn occasions(&self, sub: usize, cast: usize) -> Vec<&'static str> {
        let (subject, message) = (&self.subs[sub], &self.casts[cast]);
        let began = message.called;
        let is_full = |other: usize| {
            self.subs[other].queue.as_ref().is_some_and(|queue| queue.crowded.contains(&cast))
        };
        let unsubbed = |during: Range<usize>| {
            self.unsubs.iter().any(|(at, other)| *other != sub && during.contains(at))
        };
        let revoked = |during: Range<usize>| {
            let mut begun = self.revocations.iter().filter(|past| during.contains(&past.called));
            begun.any(|past| !subject.holds(past.identity))
        };
        let calls_within =
            self.called.values().any(|at| *at > began && Some(*at) < message.returned);
        let kept = self.failures.iter().any(|failure| {
            failure.hook == Hook::Send && failure.sink == subject.sink && failure.at < began
        });
        let similar = |past: &&Revocation<'_>| {
            past.called < began && subject.with.identities().any(|own| similar(own, past.identity))
        };
        let other_scope =
            self.evictions.iter().any(|victim| self.subs[*victim].with.scope != subject.with.scope);
        let mut list = those([
            ((0..self.subs.len()).any(|other| other != sub && is_full(other)), "QUE-2"),
            (self.overlapped(message.op) || self.overlapped(subject.op), "CON-1"),
            (self.is_overwritten(sub), "FLT-7"),
            (self.shares_sink(sub), "SUB-5"),
            (self.several_registries(), "ISO-6"),
            (self.nested_at(subject.op, Hook::Close), "RE-7"),
            (subject.by_ticket, "ADM-4"),
            (self.failed_after(began, Hook::Send), "ISO-1"),
            (self.failed_after(began, Hook::Close), "ISO-3"),
            (unsubbed(began..usize::MAX), "SUB-2"),
            (revoked(began..usize::MAX), "REV-4"),
            (kept && self.policies.send_failure == SendFailure::Keep, "ISO-5"),
            (message.nested || calls_within, "RE-1"),
            (self.failures.iter().any(|failure| failure.at < began), "ISO-4"),
            (self.was_revoked_before(subject), "REV-9"),
            (self.revocations.iter().any(|past| similar(&past)), "REV-5"),
            (revoked(0..began), "REV-4"),
            (other_scope, "CAP-4"),
            (self.script.cap.is_some() && subject.with.scope.is_some(), "CAP-3"),
            (unsubbed(subject.called..began), "SUB-2"),
            (cast > 0 && self.casts[cast - 1].data == message.data, "DEL-5"),
        ]);
        match message.to {
            Some(identity) => list.push(self.blame_address(identity)),
            None => list.extend(self.filter_occasions(sub, message.channel)),
        }
        list.sort_by_key(|requirement| place(requirement));
        list
    }

    /// What a message breaks that does not reach exactly the holders of its identity.
    pub(crate) fn blame_address(&self, identity: &Identity) -> &'static str {
        if self.subs.iter().any(|sub| sub.holds(identity)) { "DIR-1" } else { "DIR-3" }
    }

    fn filter_occasions(&self, sub: usize, channel: &str) -> Vec<&'static str> {
        let names = self.subs[sub].with.channels.as_deref().unwrap_or_default();
        those([
            (names.len() > LONG || channel.len() > LONG, "FLT-8"),
            (names.iter().filter(|name| *name == channel).count() > 1, "FLT-3"),
            (channel.is_empty(), "FLT-4"),
            (MAGIC.contains(&channel), "FLT-6"),
            (!plain(channel) && !channel.is_empty(), "FLT-5"),
            (names.is_empty(), "FLT-2"),
            (names.len() > 1, "FLT-1"),
            (true, "DEL-1"),
        ])
    }

    pub(crate) fn blame_unwanted(&self, sub: usize, cast: usize, refusal: Refusal) -> &'static str {
        let (with, channel) = (self.subs[sub].with, self.casts[cast].channel);
        let names = with.channels.as_deref().unwrap_or_default();
        if let Some(identity) = self.casts[cast].to {
            match refusal {
                Refusal::Filtered => return self.blame_address(identity),
                Refusal::Later { inside: false } | Refusal::Again => return "DIR-1",
                Refusal::Ended(Why::Unsub | Why::Revoke(_) | Why::Shutdown) => return "DIR-4",
                _ => {}
            }
        }
        match refusal {
            Refusal::Elsewhere => "ISO-6",
            Refusal::Refused => "ADM-2",
            Refusal::Later { inside: true } => "RE-3",
            Refusal::Later { inside: false } => "DEL-4",
            Refusal::Ended(Why::Unsub) => "SUB-3",
            Refusal::Ended(Why::Revoke(_)) => "REV-2",
            // The subscriber left its scope before its close, so the cap holds. The late send
            // breaks CLO-4.
            Refusal::Ended(Why::Evict)
                if self.subs[sub].close.is_some_and(|at| self.casts[cast].called < at) =>
            {
                "CLO-4"
            }
            Refusal::Ended(Why::Evict) => "CAP-1",
            Refusal::Ended(Why::Fail) => "ISO-5",
            Refusal::Ended(Why::Shutdown) => "SUB-6",
            Refusal::Ended(Why::Lag) => "QUE-1",
            Refusal::Closing => "CLO-4",
            Refusal::Again if names.iter().filter(|name| *name == channel).count() > 1 => "FLT-3",
            Refusal::Again => "DEL-2",
            Refusal::Filtered => {
                let any =
                    |odd: &dyn Fn(&str) -> bool| odd(channel) || names.iter().any(|name| odd(name));
                first_of([
                    (with.overwrite.as_deref() == Some(channel), "FLT-7"),
                    (channel.len() > LONG, "FLT-8"),
                    (names.is_empty(), "FLT-2"),
                    (with.identities().any(|own| own.value() == channel), "REV-6"),
                    (any(&str::is_empty), "FLT-4"),
                    (any(&|name| MAGIC.contains(&name)), "FLT-6"),
                    (any(&|name| !plain(name) || near(name, channel)), "FLT-5"),
                    (true, "FLT-1"),
                ])
            }
        }
    }

    /// Names a close that no operation called for.
    pub(crate) fn blame_close(&self, sink: u32, subs: &[usize], thread: u32) -> Blame {
        let live =
            subs.iter().copied().find(|sub| !self.subs[*sub].over() && !self.subs[*sub].doomed);
        let Some(sub) = live else {
            let (requirement, cause) = self.blame_close_of_none(subs);
            return other(requirement, cause);
        };
        let who = self.name(sub);
        let subject = &self.subs[sub];
        let sending =
            matches!(self.inside(thread), Some(Frame::Send { sink: of, .. }) if of == sink);
        let failed = |failure: &Failure| failure.sink == sink && failure.hook == Hook::Send;
        if subject.claimed(Why::Unsub) {
            return other("SUB-4", format!("unsubscribing {who} called its close"));
        }
        let mut open = self.closing_ops();
        open.sort_by_key(|op| std::cmp::Reverse(self.called[&op.id]));
        for op in open {
            match &op.act {
                Act::Revoke { identity, .. } => {
                    let named = pretty::identity(identity);
                    let cause = format!("revoking {named} closed {who}, which does not hold it");
                    let requirement = self.blame_stranger(sub, op.registry, identity);
                    return (Symptom::Stranger, requirement, cause);
                }
                Act::Sub { with, .. } | Act::Admit { with, .. } if self.script.cap.is_some() => {
                    if with.scope.is_none() || with.scope != subject.with.scope {
                        let cause = format!("a subscribe closed {who}, which is not in its scope");
                        return other("CAP-4", cause);
                    }
                    if op.registry != subject.registry {
                        let what = "which is in a scope of another registry";
                        return other("ISO-6", format!("a subscribe closed {who}, {what}"));
                    }
                    let (requirement, why) = match self.victim(|claim| claim.op == op.id) {
                        Some(older) => ("CAP-2", format!("and {older} is older")),
                        None => ("CAP-3", "for which there was room".to_owned()),
                    };
                    return other(requirement, format!("a subscribe closed {who}, {why}"));
                }
                _ => {}
            }
        }
        // The victim's own send may have delayed it.
        let scope = subject.with.scope.as_ref();
        let rival = |claim: &Claim| {
            self.subs.iter().any(|new| new.op == claim.op && new.with.scope.as_ref() == scope)
        };
        if let Some(older) = self.victim(|claim| scope.is_some() && rival(claim)) {
            return other("CAP-2", format!("{who} was evicted, and {older} is older"));
        }
        let left = |sub: &&usize| self.subs[**sub].gone.is_some_and(|(_, why)| why == Why::Unsub);
        if let Some(left) = subs.iter().find(left).filter(|_| sending || !self.failures.is_empty())
        {
            let cause = format!("{} was unsubscribed before and is closed", self.name(*left));
            return other("CLO-3", cause);
        }
        if sending || self.failures.iter().any(failed) {
            let cause = format!("{who} failed, which by policy is not answered by a close");
            return other("ISO-5", cause);
        }
        if self.open.keys().any(|op| matches!(self.ops[op].act, Act::Unsub { .. })) {
            return other("SUB-2", format!("unsubscribing another closed {who}"));
        }
        other("CLO-2", format!("{who} is closed, and nothing called for it"))
    }

    /// Names a close of a sink that has no subscriber any more.
    fn blame_close_of_none(&self, subs: &[usize]) -> (&'static str, String) {
        // One that was subscribed, if any was.
        let was = |sub: &&usize| !self.subs[**sub].refused && !self.subs[**sub].doomed;
        let last = subs.iter().rev().find(was).or(subs.last()).copied().unwrap_or_default();
        let subject = &self.subs[last];
        let who = self.name(last);
        if !was(&&last) {
            ("ADM-2", format!("{who} was refused and is closed"))
        } else if subs.iter().any(|sub| self.subs[*sub].close.is_some()) {
            ("CLO-1", format!("{who} was closed twice"))
        } else if let Some(late) = subs.iter().find(|sub| self.is_silent_victim(**sub)) {
            let what = "is closed only now, and had to make room for an earlier subscribe";
            ("CAP-1", format!("{} {what}", self.name(*late)))
        } else if subject.gone.is_some_and(|(_, why)| why == Why::Fail) {
            ("ISO-5", format!("{who} failed, which by policy is not answered by a close"))
        } else {
            ("CLO-3", format!("{who} was unsubscribed before and is closed"))
        }
    }

    /// A subscriber that such an operation is to evict and that was not notified yet.
    fn victim(&self, by: impl Fn(&Claim) -> bool) -> Option<String> {
        let due = |sub: &usize| {
            let sub = &self.subs[*sub];
            sub.close.is_none()
                && sub.claims.iter().any(|claim| claim.why == Why::Evict && by(claim))
        };
        (0..self.subs.len()).find(due).map(|sub| self.name(sub))
    }

    pub(crate) fn blame_stranger(
        &self,
        sub: usize,
        registry: u32,
        identity: &Identity,
    ) -> &'static str {
        let subject = &self.subs[sub];
        let mut names = subject.with.channels.iter().flatten();
        let of_another_kind = |own: &Identity| {
            let joint = joined(own) == joined(identity);
            let (kind, other) = (own.kind(), identity.kind());
            !similar_kinds(own, identity)
                && ((kind != other && (joint || own.value() == identity.value()))
                    || (kind.is_some() && joint))
        };
        first_of([
            (subject.registry != registry, "ISO-6"),
            (self.shares_sink(sub), "SUB-5"),
            (subject.with.identities().any(of_another_kind), "REV-6"),
            (subject.with.identities().any(|own| similar(own, identity)), "REV-5"),
            (names.any(|name| name == identity.value()), "REV-6"),
            (true, "REV-4"),
        ])
    }

    /// Names a subscriber that was not notified before the operation returned.
    pub(crate) fn blame_late(&self, sub: usize, why: Why, op: OpId) -> &'static str {
        let inside = self.threads.get(&op).and_then(|thread| self.inside(*thread));
        if !why.revokes() || !matches!(inside, Some(Frame::Close { .. })) {
            return self.blame_silence(sub, why, op);
        }
        // Inside a close it may be notified by the outer call yet, which keeps CLO-1 and CNT-1 and
        // comes too late.
        let mut list = self.occasions_of_close(sub, why).into_iter();
        list.find(|own| !["RE-6", "ISO-3", "ISO-4"].contains(own)).unwrap_or("REV-1")
    }

    pub(crate) fn blame_silence(&self, sub: usize, why: Why, op: OpId) -> &'static str {
        let began = self.called.get(&op).copied().unwrap_or_default();
        if self.failed_after(began, Hook::Close) && why != Why::Fail {
            return "ISO-3";
        }
        self.occasions_of_close(sub, why)[0]
    }

    /// What the close of `sub` proves, most special first; never empty.
    pub(crate) fn occasions_of_close(&self, sub: usize, why: Why) -> Vec<&'static str> {
        let subject = &self.subs[sub];
        match why {
            Why::Evict => return vec!["CAP-6", "CAP-2", "CAP-1"],
            Why::Fail => return vec!["ISO-5"],
            Why::Shutdown => return vec!["SUB-6"],
            Why::Lag => return vec!["QUE-1"],
            Why::Unsub | Why::Revoke(_) => {}
        }
        let during = |past: &Revocation<'_>| {
            past.names(subject)
                && subject.returned.is_some_and(|returned| past.called < returned)
                && past.returned.is_none_or(|returned| returned > subject.called)
        };
        let at = subject.last_claim.unwrap_or_default();
        let inside = |hook| {
            self.revocations.iter().any(|past| past.called == at && self.nested_at(past.op, hook))
        };
        // A revocation in progress around it is another context.
        let over = |past: &Revocation<'_>| {
            past.returned.is_some_and(|returned| returned < at) && !subject.holds(past.identity)
        };
        those([
            (subject.by_ticket && self.revocations.iter().any(during), "ADM-1"),
            (self.shares_sink(sub), "SUB-5"),
            (self.several_registries(), "ISO-6"),
            (self.nested_at(subject.op, Hook::Close), "RE-7"),
            (subject.by_ticket, "ADM-4"),
            (self.failures.iter().any(|failure| failure.hook == Hook::Close), "ISO-3"),
            (!self.failures.is_empty(), "ISO-4"),
            (subject.with.identities().count() > 1, "REV-7"),
            (subject.with.identities().any(|own| own.kind().is_some()), "REV-6"),
            (inside(Hook::Send), "RE-5"),
            (inside(Hook::Close), "RE-6"),
            (self.was_revoked_before(subject), "REV-9"),
            (subject.with.identities().any(|own| !plain(own.value())), "REV-5"),
            (self.unsubs.iter().any(|(_, other)| *other != sub), "SUB-2"),
            (self.revocations.iter().any(over), "REV-4"),
            (true, "REV-1"),
        ])
    }

    /// Names a reason that none of these ends has.
    pub(crate) fn blame_reason(&self, sub: usize, reason: &str, due: &[Why]) -> &'static str {
        let subject = &self.subs[sub];
        let of_it = |past: &&Revocation<'_>| past.called > subject.called && past.names(subject);
        let own = self.revocations.iter().filter(of_it);
        // *Revoked* is also what a registry says that does not listen to the reason.
        let later = own.skip(1).filter_map(|past| past.named).any(|named| named.word() == reason);
        let takes_the_last = later && reason != Reason::Revoked.word();
        let named = due.iter().any(|why| matches!(why, Why::Revoke(Some(_))));
        if named && !takes_the_last { "REV-13" } else { "CLO-5" }
    }

    pub(crate) fn blame_number(&self, revocation: usize, too_many: bool) -> &'static str {
        let occasions = self.occasions_of_number(revocation);
        let past = &self.revocations[revocation];
        let evicted = self.evictions.iter().any(|victim| self.subs[*victim].holds(past.identity));
        if too_many && evicted {
            return "CAP-6";
        }
        if too_many && !occasions.contains(&"CNT-1") {
            return "REV-10";
        }
        occasions[0]
    }

    /// What the number that a revocation returned proves, most special first; never empty.
    pub(crate) fn occasions_of_number(&self, revocation: usize) -> Vec<&'static str> {
        let past = &self.revocations[revocation];
        if !self.subs.iter().any(|sub| past.names(sub)) {
            return vec!["REV-10"];
        }
        let mine = || self.subs.iter().enumerate().filter(|(_, sub)| sub.holds(past.identity));
        let twice =
            |sub: &Sub<'_>| sub.with.identities().filter(|own| *own == past.identity).count() > 1;
        // It, or one from inside its closes, which both of them may count.
        let within = |inner: &Revocation<'_>| {
            inner.called >= past.called
                && inner.begins_before_the_end_of(past)
                && self.nested_at(inner.op, Hook::Close)
        };
        those([
            (mine().any(|(_, sub)| lagged(sub)), "QUE-1"),
            (mine().any(|(_, sub)| sub.claimed(Why::Unsub) && sub.revoked()), "CON-2"),
            (self.failed_after(past.called, Hook::Close), "ISO-3"),
            (mine().any(|(_, sub)| twice(sub)), "REV-7"),
            (mine().any(|(index, _)| self.shares_sink(index)), "SUB-5"),
            (self.failures.iter().any(|failure| failure.at < past.called), "ISO-4"),
            (self.revocations.iter().any(within), "RE-6"),
            (self.evictions.iter().any(|victim| self.subs[*victim].holds(past.identity)), "CAP-6"),
            (true, "CNT-1"),
        ])
    }

    pub(crate) fn blame_count(&self, registry: u32) -> &'static str {
        let beside = |sub: &Sub<'_>| sub.registry == registry && self.overlapped(sub.op);
        first_of([
            (self.subs.iter().any(beside), "CON-1"),
            (self.subs.iter().any(lagged), "QUE-1"),
            (self.subs.iter().any(|sub| sub.registry != registry), "ISO-6"),
            (self.by_sink.values().any(|all| all.len() > 1), "SUB-5"),
            (self.tickets.values().any(|ticket| ticket.open()), "ADM-3"),
            (self.subs.iter().any(|sub| sub.refused), "ADM-2"),
            (self.evictions.iter().any(|victim| self.subs[*victim].close.is_none()), "CAP-1"),
            (self.failures.iter().any(|failure| failure.hook == Hook::Send), "ISO-5"),
            (!self.failures.is_empty(), "ISO-3"),
            (true, "CNT-2"),
        ])
    }
}
