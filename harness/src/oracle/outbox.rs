//! Outboxes: what happens to them, and what it means when their owner finds what it should not.

use super::deliver::{Refusal, Unwanted};
use super::queue::{self, Change, Fate, Message, Queue, Rule};
use super::state::{Cast, Revocation, Walk};
use super::why::Why;
use super::{Blame, Step, Symptom, nonsense, other};
use crate::pretty;
use crate::protocol::Delivery;
use crate::script::{OpId, Outbox};
use crate::text::short;
use crate::trace::Received;

impl Walk<'_> {
    /// A broadcast begins: each subscriber with an outbox that listens gets it at some moment.
    pub(crate) fn cast_to_queues(&mut self, cast: usize) {
        for sub in 0..self.subs.len() {
            let must = self.subs[sub].returned.is_some();
            self.offer(sub, cast, must);
        }
    }

    /// A subscriber comes while broadcasts are in progress: it may get them, unless it comes from
    /// inside of them.
    pub(crate) fn late_for_casts(&mut self, new: usize) {
        for cast in 0..self.casts.len() {
            if self.casts[cast].returned.is_none() && !self.subs[new].inside.contains(&cast) {
                self.offer(new, cast, false);
            }
        }
    }

    fn offer(&mut self, sub: usize, cast: usize, must: bool) {
        let (subject, own) = (&self.subs[sub], &self.casts[cast]);
        if subject.refused || subject.registry != own.registry || !self.hears(subject, own.channel)
        {
            return;
        }
        let (op, message) = (own.op, Message { cast, channel: own.channel, data: own.data });
        let stems = (0..cast).filter(|outer| self.stems_from(cast, *outer)).collect();
        let Some(queue) = &mut self.subs[sub].queue else { return };
        queue.begin(op, Change::Push(message, stems), must);
        if queue.may_lag() && !self.subs[sub].over() {
            self.claim(sub, Why::Lag, op, false);
        }
    }

    /// Something claims this subscriber: its outbox ends at some moment, if it is sure to.
    pub(crate) fn end_claimed_queue(&mut self, sub: usize) {
        let subject = &mut self.subs[sub];
        let (Some(queue), Some((claim, before))) =
            (&mut subject.queue, subject.claims.split_last())
        else {
            return;
        };
        // What others have claimed and not yet ended may be theirs to end.
        let alone = before.iter().all(|other| !other.open || other.why == Why::Lag);
        let must = match claim.why {
            Why::Lag => return,
            Why::Evict => claim.sure,
            Why::Unsub => subject.returned.is_some(),
            Why::Revoke(_) | Why::Shutdown | Why::Fail => subject.returned.is_some() && alone,
        };
        queue.begin(claim.op, Change::End(claim.why), must);
    }

    /// An end for a subscriber that has ended, perhaps by a shutdown: then it discards what was
    /// left to be taken.
    pub(crate) fn end_queue(&mut self, sub: usize, why: Why, op: OpId) {
        if let Some(queue) = &mut self.subs[sub].queue {
            let must = matches!(queue.fate(), Fate::Over(_));
            queue.begin(op, Change::End(why), must);
        }
    }

    /// An operation has ended. Asynchronous delivery is for sinks: an outbox has a message when the
    /// broadcast returns (DEL-1). Others leave it to the delivery in progress.
    pub(crate) fn queues_hear_of(&mut self, op: OpId) {
        let plain = |cast: &Cast<'_>| cast.op == op && !cast.nested && !cast.threw;
        let arrived = self.policies.delivery == Delivery::Async && self.casts.iter().any(plain);
        for queue in self.subs.iter_mut().filter_map(|sub| sub.queue.as_mut()) {
            queue.returned(op, arrived);
        }
    }

    /// Nothing is in progress.
    pub(crate) fn settle_queues(&mut self) {
        let due = self.deliveries_are_due();
        self.subs.iter_mut().filter_map(|sub| sub.queue.as_mut()).for_each(|queue| queue.rest(due));
    }

    /// Nothing is in progress: it has ended or not, if that can be known.
    pub(crate) fn resolve_queue(&mut self, sub: usize, at: usize) {
        let subject = &mut self.subs[sub];
        match subject.queue.as_ref().map_or(Fate::Unknown, Queue::fate) {
            Fate::Unknown if subject.gone.is_none() => return,
            Fate::Over(why) => {
                subject.gone.get_or_insert((at, why));
            }
            Fate::Unknown | Fate::Alive => {}
        }
        subject.claims.clear();
    }

    /// Whether a broadcast in progress may have found an outbox without room.
    pub(crate) fn waits_for_a_reader(&self) -> bool {
        self.subs.iter().filter_map(|sub| sub.queue.as_ref()).any(Queue::may_crowd)
    }

    pub(crate) fn call_take(&mut self, op: OpId, label: u32, limit: u32) -> Step {
        let found = self.by_label.get(&label).and_then(|sub| self.subs[*sub].queue.as_mut());
        let Some(queue) = found else {
            return nonsense(format!("operation {op} takes from a subscriber that has no outbox"));
        };
        if let Some(taken) = self.taken.get(&op) {
            queue.take_begins();
            queue.begin(op, Change::Take(limit, taken), true);
        }
        Ok(())
    }

    pub(crate) fn ret_take(&mut self, op: OpId, label: u32, limit: u32, taken: &Received) -> Step {
        if taken.end.is_some() && !taken.messages.is_empty() {
            return nonsense(format!("operation {op} found messages and the end at once"));
        }
        let Some(sub) = self.by_label.get(&label).copied() else { return Ok(()) };
        let Some(queue) = &mut self.subs[sub].queue else { return Ok(()) };
        let exceeds = queue.exceeds(taken);
        if !queue.returned(op, false) {
            let (symptom, requirement, cause) = self.blame_take(sub, limit, taken, exceeds);
            self.breaks(symptom, requirement, format!("{} {cause}", self.name(sub)));
            self.blur(sub, requirement);
        } else if !self.is_blurred(sub) {
            self.took(sub, taken);
        }
        Ok(())
    }

    /// A take that has an explanation: checks the order, and notes what it proves.
    fn took(&mut self, sub: usize, taken: &Received) {
        let in_order = self.subs[sub].queue.as_mut().is_some_and(Queue::take_ends);
        for data in &taken.messages {
            let Some(queue) = &mut self.subs[sub].queue else { break };
            let (had, full) = (queue.had.clone(), !queue.crowded.is_empty());
            let Some(cast) = queue.only(data) else { continue };
            queue.had.push(cast);
            if in_order {
                self.order(sub, had, cast);
            }
            self.keeps(&self.occasions(sub, cast));
            self.keeps(&["DEL-2", "DEL-4"]);
            if full {
                self.keeps(&["QUE-1", "QUE-3"]);
            }
        }
        self.said_again(sub, taken);
        let Some(queue) = &self.subs[sub].queue else { return };
        if let (Some(reason), Some(why)) = (&taken.end, queue.ended()) {
            let discarded = queue.cut_short;
            self.keeps(&self.occasions_of_close(sub, why));
            self.keeps_if(!reason.is_empty(), "CLO-5");
            self.keeps_if(why.names(reason), "REV-13");
            self.keeps_if(discarded, "REV-3");
        }
    }

    /// An end is said again by every later take. Only a shutdown, and an end of one's own, may
    /// become something else.
    fn said_again(&mut self, sub: usize, taken: &Received) {
        let (Some(queue), Some(reason)) = (&mut self.subs[sub].queue, &taken.end) else {
            return;
        };
        let before = queue.said.replace(reason.clone()).filter(|before| before != reason);
        if let Some(before) = before
            && !["", "shutdown"].contains(&before.as_str())
        {
            let who = self.name(sub);
            let cause =
                format!("{who} was notified that it ended as {before:?}, and later as {reason:?}");
            self.breaks(Symptom::Reason, "CLO-5", cause);
        }
    }

    /// Nothing explains what a take found: finds the nearest explanation.
    fn blame_take(&self, sub: usize, limit: u32, taken: &Received, exceeds: bool) -> Blame {
        let subject = &self.subs[sub];
        let Some(queue) = &subject.queue else { return other("QUE-1", "has no outbox") };
        let bytes = queue::bytes(taken);
        if taken.messages.len() > 1 && bytes > limit as usize {
            return other("REV-3", format!("took {bytes} bytes at once, of {limit} at most"));
        }
        for data in &taken.messages {
            let begun_before =
                |cast: usize| subject.gone.is_none_or(|(at, _)| self.casts[cast].called < at);
            if !queue.offered(data).any(begun_before) {
                let Unwanted { symptom, requirement, cause, .. } =
                    self.explain_unwanted(None, data, &[sub]);
                return (symptom, requirement, cause);
            }
            if queue.times_taken(data) > queue.offered(data).count() {
                let cast = queue.offered(data).next().unwrap_or_default();
                let requirement = self.blame_unwanted(sub, cast, Refusal::Again);
                return (Symptom::Unwanted, requirement, format!("took {} again", short(data)));
            }
        }
        if exceeds {
            let Outbox { messages, bytes, .. } = queue.bounds;
            let bounds = format!("{messages} messages of {bytes} bytes in all");
            return other("QUE-3", format!("held more at once than {bounds}"));
        }
        if queue.explained_without(Rule::Discards) {
            let drained = self.shutdowns.iter().any(|past| past.registry == subject.registry);
            let cause = "was ended, which discards its queue, and took from it afterwards";
            return other(if drained { "CLO-5" } else { "REV-3" }, cause);
        }
        if queue.explained_without(Rule::Counts) {
            let lost = taken.lost;
            let cause = format!("was notified of {lost} lost messages, which is not their number");
            return other("QUE-1", cause);
        }
        if queue.explained_without(Rule::Merges) {
            return other("DEL-5", "found fewer equal messages than there were");
        }
        if queue.explained_without(Rule::Bounds) {
            return other("QUE-3", "found what there was no room for");
        }
        match (&taken.end, queue.ended_before()) {
            (Some(reason), Some(why)) => {
                let cause = format!("was closed as {reason:?}, but was {}", why.reason());
                (Symptom::Reason, self.blame_reason(sub, reason, &[why]), cause)
            }
            (Some(reason), None) => {
                let cause = format!("was ended as {reason:?}, and nothing called for it");
                self.blame_end(sub, reason, cause)
            }
            (None, _) => self.blame_contents(sub, queue, taken),
        }
    }

    /// The messages are the wrong ones.
    fn blame_contents(&self, sub: usize, queue: &Queue<'_>, taken: &Received) -> Blame {
        if let Some(why) = queue.ended_before().filter(|_| taken.messages.is_empty()) {
            let cause = format!("was {} and does not learn of it", why.reason());
            return (Symptom::Silence, self.occasions_of_close(sub, why)[0], cause);
        }
        if let (Some(why), None, Some(data)) =
            (queue.ended_before(), queue.first_wrong(&Received::default()), taken.messages.first())
        {
            let cast = queue.offered(data).next().unwrap_or_default();
            let requirement = self.blame_unwanted(sub, cast, Refusal::Ended(why));
            let (reason, data) = (why.reason(), short(data));
            let cause = format!("was {reason} and got {data} afterwards");
            return (Symptom::Unwanted, requirement, cause);
        }
        let found = pretty::list(&taken.messages, |data| short(data));
        let lost = taken.lost;
        if !queue.crowded.is_empty() {
            return other("QUE-1", format!("found {found}, which its policy does not leave there"));
        }
        if lost > 0 {
            let cause = format!("was notified of {lost} lost messages, and nothing was lost");
            return other("QUE-1", cause);
        }
        let Some(missing) = queue.first_wrong(taken) else {
            return other("QUE-1", format!("found {found}, which nothing explains"));
        };
        let had = queue.times_taken(missing.data);
        if had > 0 && queue.offered(missing.data).count() > had {
            other("DEL-5", format!("found {found}, which is fewer equal messages than there were"))
        } else if taken.messages.iter().any(|data| data == missing.data) {
            other("ORD-1", format!("found {found}, which is not the order of the broadcasts"))
        } else if missing.data.len() > queue.bounds.bytes as usize {
            let cause = "did not get a message larger than the bound, though its outbox was empty";
            other("QUE-1", cause)
        } else {
            let (op, channel) = (self.casts[missing.cast].op, short(missing.channel));
            let cause = format!("never got broadcast {op} on {channel}");
            (Symptom::Missing, self.blame_missing(sub, missing.cast), cause)
        }
    }

    /// An end that nothing called for.
    fn blame_end(&self, sub: usize, reason: &str, cause: String) -> Blame {
        let own = |past: &Revocation<'_>| {
            past.called > self.subs[sub].called && past.names(&self.subs[sub])
        };
        let requirement = match reason {
            "lagged" => "QUE-1",
            "evicted" => "CAP-3",
            "shutdown" => "SUB-6",
            "unsubscribed" => "SUB-2",
            _ if self.revocations.iter().any(own) => {
                return (Symptom::Reason, "CLO-5", cause);
            }
            _ => {
                let last = self.revocations.last();
                last.map_or("CLO-2", |past| self.blame_stranger(sub, past.registry, past.identity))
            }
        };
        other(requirement, cause)
    }
}
