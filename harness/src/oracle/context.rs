//! The context of a failure: what else was going on.

use super::state::{Sub, Walk};
use crate::script::{Act, Hook, OpId};

impl Walk<'_> {
    pub(crate) fn shares_sink(&self, sub: usize) -> bool {
        self.subs[sub].queue.is_none()
            && self.by_sink.get(&self.subs[sub].sink).is_some_and(|all| all.len() > 1)
    }

    /// Whether it may hear what its caller wrote into its list later. A call of a shared sink does
    /// not show which subscriber it is for.
    pub(crate) fn is_overwritten(&self, sub: usize) -> bool {
        let own = &self.subs[sub];
        let beside = |other: &Sub<'_>| {
            other.queue.is_none() && own.queue.is_none() && other.sink == own.sink
        };
        own.with.overwrite.is_some()
            || self.subs.iter().any(|other| beside(other) && other.with.overwrite.is_some())
    }

    pub(crate) fn several_registries(&self) -> bool {
        let casts = self.casts.iter().map(|cast| cast.registry);
        let mut all = self.subs.iter().map(|sub| sub.registry).chain(casts);
        let first = all.next();
        all.any(|registry| Some(registry) != first)
    }

    /// Whether it holds an identity that was revoked before it came.
    pub(crate) fn was_revoked_before(&self, sub: &Sub<'_>) -> bool {
        self.revocations.iter().any(|past| past.called < sub.called && sub.holds(past.identity))
    }

    /// Whether a sink has failed in this hook since then.
    pub(crate) fn failed_after(&self, at: usize, hook: Hook) -> bool {
        self.failures.iter().any(|failure| failure.at > at && failure.hook == hook)
    }

    /// Whether the script has the operation inside a sink's rule on this hook.
    pub(crate) fn nested_at(&self, op: OpId, hook: Hook) -> bool {
        let mut rules = self.script.rules().filter(|(_, rule)| rule.on == hook);
        rules.any(|(_, rule)| rule.ops.iter().any(|own| own.id == op))
    }

    /// A victim that was never notified: whether it is still subscribed is open.
    pub(crate) fn is_silent_victim(&self, sub: usize) -> bool {
        self.silent_victims.iter().any(|(victim, _)| *victim == sub)
    }

    /// Whether anything was going on in another thread than `op`'s while that was in progress, up
    /// to now.
    pub(crate) fn overlapped(&self, op: OpId) -> bool {
        let (Some(thread), Some(began)) = (self.threads.get(&op), self.called.get(&op)) else {
            return false;
        };
        let ended = self.returned.get(&op).copied().unwrap_or(self.now);
        let beside = |other: &OpId| {
            let lasted = self.returned.get(other).is_none_or(|returned| returned > began);
            // The main thread waits while others run.
            let waits = self.threads.get(other).is_none_or(|other| other == thread || *other == 0)
                || matches!(self.ops[other].act, Act::Hold { .. } | Act::Release { .. });
            !waits && lasted && self.called[other] < ended
        };
        *thread != 0 && self.called.keys().any(beside)
    }
}
