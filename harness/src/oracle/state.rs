//! What the walk knows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::choices::Choices;
use super::queue::Queue;
use super::why::Why;
use super::{Stop, Symptom, Violation, nonsense};
use crate::catalogue;
use crate::protocol::{Concurrency, Delivery as When, EmptyChannels, Policies};
use crate::script::{Act, Ending, Hook, Identity, Op, OpId, Reason, Registration, Script};
use crate::trace::{Event, Received, Trace};

/// An operation that ends a subscriber, or may.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) why: Why,
    pub(crate) op: OpId,
    /// Nothing else can have ended the subscriber first.
    pub(crate) sure: bool,
    /// The operation has not returned.
    pub(crate) open: bool,
    /// How many of its own sends the operation was called from inside of.
    pub(crate) within: usize,
}

/// One registration.
#[derive(Debug)]
pub(crate) struct Sub<'s> {
    pub(crate) label: u32,
    pub(crate) op: OpId,
    pub(crate) sink: u32,
    pub(crate) registry: u32,
    pub(crate) with: &'s Registration,
    pub(crate) by_ticket: bool,
    /// The broadcasts from inside whose deliveries it was subscribed.
    pub(crate) inside: Vec<usize>,
    pub(crate) called: usize,
    pub(crate) returned: Option<usize>,
    pub(crate) refused: bool,
    /// It is going to be refused, known before its moment: nothing may reach its sink.
    pub(crate) doomed: bool,
    /// From here on it has surely ended: no send begins.
    pub(crate) gone: Option<(usize, Why)>,
    /// Its close began.
    pub(crate) close: Option<usize>,
    /// What may be ending it; cleared when nothing is in progress.
    pub(crate) claims: Vec<Claim>,
    /// The latest claim ever made.
    pub(crate) last_claim: Option<usize>,
    /// What may be in its outbox, if it has one; its sink is then never called.
    pub(crate) queue: Option<Queue<'s>>,
}

impl Sub<'_> {
    pub(crate) fn over(&self) -> bool {
        self.refused || self.gone.is_some() || self.close.is_some()
    }

    /// Active for sure: subscribed, and nothing is ending it.
    pub(crate) fn active(&self) -> bool {
        self.returned.is_some() && !self.over() && self.claims.is_empty()
    }

    pub(crate) fn holds(&self, identity: &Identity) -> bool {
        self.with.identities().any(|own| own == identity)
    }

    /// Whether it was a subscriber of this registry at some moment after `at`.
    pub(crate) fn was_there_after(&self, at: usize, registry: u32) -> bool {
        self.registry == registry && !self.refused && self.gone.is_none_or(|(gone, _)| gone > at)
    }

    /// What has ended it by force, for sure.
    pub(crate) fn surely_forced(&self) -> Option<(Why, OpId)> {
        let claim = self.claims.iter().find(|claim| claim.sure && claim.why.forced())?;
        Some((claim.why, claim.op))
    }

    pub(crate) fn claimed(&self, why: Why) -> bool {
        self.claims.iter().any(|claim| claim.why == why)
    }

    /// Whether a revocation is ending it, or may be.
    pub(crate) fn revoked(&self) -> bool {
        self.claims.iter().any(|claim| claim.why.revokes())
    }
}

/// A send, as seen by a broadcast.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) sink: u32,
    /// The subscribers that it may have been made for.
    pub(crate) eligible: Vec<usize>,
    /// The one that it is counted for at present.
    pub(crate) taken: usize,
}

/// One broadcast.
#[derive(Debug)]
pub(crate) struct Cast<'s> {
    pub(crate) op: OpId,
    pub(crate) registry: u32,
    pub(crate) channel: &'s str,
    pub(crate) data: &'s str,
    pub(crate) called: usize,
    pub(crate) returned: Option<usize>,
    /// All its obligations were checked.
    pub(crate) settled: Option<usize>,
    /// The broadcast from inside whose delivery it was made.
    pub(crate) outer: Option<usize>,
    /// It was made from inside a sink.
    pub(crate) nested: bool,
    /// Those that must receive it, if nothing ends them.
    pub(crate) must: Vec<usize>,
    /// When its first send began.
    pub(crate) began: Option<usize>,
    pub(crate) deliveries: Vec<Delivery>,
    /// It threw.
    pub(crate) threw: bool,
}

/// One `close_by_identity`.
#[derive(Debug)]
pub(crate) struct Revocation<'s> {
    pub(crate) op: OpId,
    pub(crate) registry: u32,
    pub(crate) identity: &'s Identity,
    /// The reason that it named.
    pub(crate) named: Option<Reason>,
    pub(crate) called: usize,
    pub(crate) returned: Option<usize>,
    pub(crate) n: i64,
    /// Its number was added up.
    pub(crate) summed: bool,
}

impl Revocation<'_> {
    /// Whether it is for this subscriber.
    pub(crate) fn names(&self, sub: &Sub<'_>) -> bool {
        self.registry == sub.registry && sub.holds(self.identity)
    }

    /// Whether it was called before the other returned.
    pub(crate) fn begins_before_the_end_of(&self, other: &Self) -> bool {
        other.returned.is_none_or(|returned| self.called < returned)
    }
}

/// One shutdown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shutdown {
    pub(crate) op: OpId,
    pub(crate) registry: u32,
    pub(crate) called: usize,
    pub(crate) returned: Option<usize>,
}

/// One admission ticket.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    pub(crate) registry: u32,
    pub(crate) called: usize,
    pub(crate) returned: Option<usize>,
    /// When it was used or given up: the calls, and their returns.
    pub(crate) uses: Vec<(usize, Option<usize>)>,
    /// It has admitted.
    pub(crate) admitted: bool,
}

impl Ticket {
    pub(crate) fn open(&self) -> bool {
        self.uses.is_empty()
    }

    /// A use that began at `began` has ended.
    pub(crate) fn end_use(&mut self, began: usize, now: usize) {
        for (_, end) in self.uses.iter_mut().filter(|(begun, _)| *begun == began) {
            *end = Some(now);
        }
    }
}

/// Something in progress on a thread.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Frame {
    Call(OpId),
    /// The broadcast is unknown if the message was never broadcast.
    Send {
        sink: u32,
        cast: Option<usize>,
        sub: usize,
        rule: bool,
    },
    Close {
        sink: u32,
        rule: bool,
    },
}

impl Frame {
    pub(crate) fn op(&self) -> Option<OpId> {
        let Frame::Call(op) = self else { return None };
        Some(*op)
    }

    /// The broadcast that is being delivered.
    pub(crate) fn cast(&self) -> Option<usize> {
        let Frame::Send { cast, .. } = self else { return None };
        *cast
    }
}

/// A sink failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure {
    pub(crate) at: usize,
    pub(crate) sink: u32,
    pub(crate) hook: Hook,
}

/// The walk over one trace.
#[derive(Default)]
pub(crate) struct Walk<'s> {
    pub(crate) script: &'s Script,
    pub(crate) policies: Policies,
    pub(crate) choices: Choices,
    pub(crate) now: usize,
    pub(crate) ops: HashMap<OpId, &'s Op>,
    /// What each `take` found, known before its moment.
    pub(crate) taken: HashMap<OpId, &'s Received>,
    /// What is going to be refused.
    pub(crate) refusals: BTreeSet<OpId>,
    pub(crate) open: HashMap<OpId, u32>,
    /// When and on which thread each operation was called.
    pub(crate) called: HashMap<OpId, usize>,
    pub(crate) threads: HashMap<OpId, u32>,
    pub(crate) returned: HashMap<OpId, usize>,
    pub(crate) stacks: BTreeMap<u32, Vec<Frame>>,
    pub(crate) last_event: BTreeMap<u32, usize>,
    pub(crate) subs: Vec<Sub<'s>>,
    pub(crate) by_label: HashMap<u32, usize>,
    pub(crate) by_sink: HashMap<u32, Vec<usize>>,
    pub(crate) casts: Vec<Cast<'s>>,
    /// Casts before this one are settled.
    pub(crate) first_open: usize,
    pub(crate) revocations: Vec<Revocation<'s>>,
    pub(crate) tickets: HashMap<u32, Ticket>,
    pub(crate) evictions: Vec<usize>,
    /// Victims that were not notified to close, with the operation that evicted them.
    pub(crate) silent_victims: Vec<(usize, OpId)>,
    /// Scopes in which several subscribes overlap.
    pub(crate) contended: Vec<(u32, &'s Identity)>,
    pub(crate) unsubs: Vec<(usize, usize)>,
    pub(crate) failures: Vec<Failure>,
    /// How often each sink was called.
    pub(crate) calls_of: HashMap<(u32, Hook), u32>,
    /// Sends in progress, per sink.
    pub(crate) busy: HashMap<u32, u32>,
    pub(crate) shutdowns: Vec<Shutdown>,
    /// For each broadcast, whether some subscriber had it after the other of that index.
    pub(crate) seen_after: Vec<Vec<bool>>,
    /// A thread waited until patience ran out.
    pub(crate) was_stuck: bool,
    /// No requirement says yet what it waited for.
    pub(crate) in_vain: bool,
    /// Asynchronous deliveries are due.
    pub(crate) settled: bool,
    /// Broken MUSTs, and others, each once.
    pub(crate) breaches: Vec<Violation>,
    pub(crate) notes: Vec<Violation>,
    pub(crate) kept: BTreeSet<&'static str>,
    /// Subscribers of which a breach leaves open what they are now, with that breach.
    pub(crate) blurred: BTreeMap<usize, &'static str>,
    /// What could not be judged, and the breach behind which it hides.
    pub(crate) behind: BTreeMap<&'static str, &'static str>,
}

impl<'s> Walk<'s> {
    pub(crate) fn new(
        script: &'s Script,
        trace: &'s Trace,
        policies: Policies,
        choices: Choices,
    ) -> Self {
        let ops = script.ops().into_iter().map(|op| (op.id, op)).collect();
        let mut walk = Self { script, policies, choices, ops, ..Self::default() };
        for event in trace {
            let Event::Ret { op, refused, taken, .. } = event else { continue };
            walk.taken.extend(taken.as_ref().map(|taken| (*op, taken)));
            walk.refusals.extend(refused.then_some(*op));
        }
        walk
    }

    /// Rejects, or takes a note if the requirement is not a MUST.
    pub(crate) fn breaks(
        &mut self,
        symptom: Symptom,
        requirement: &'static str,
        cause: impl Into<String>,
    ) {
        let violation = Violation { requirement, symptom, at: self.now, cause: cause.into() };
        let must = catalogue::is_must(requirement);
        let list = if must { &mut self.breaches } else { &mut self.notes };
        if list.iter().all(|known| known.requirement != requirement) {
            list.push(violation);
        }
    }

    /// What happens to this subscriber from now on is a consequence of that breach, or is not.
    pub(crate) fn blur(&mut self, sub: usize, breach: &'static str) {
        self.blurred.entry(sub).or_insert(breach);
        if let Some(queue) = &mut self.subs[sub].queue {
            queue.give_up();
        }
    }

    pub(crate) fn is_blurred(&self, sub: usize) -> bool {
        self.blurred.contains_key(&sub)
    }

    /// Notes what this subscriber would have proved if it were not blurred.
    pub(crate) fn hides(&mut self, sub: usize, requirement: &'static str) {
        let breach = self.blurred.get(&sub);
        self.behind.extend(breach.map(|breach| (requirement, *breach)));
    }

    pub(crate) fn keeps(&mut self, requirements: &[&'static str]) {
        self.kept.extend(requirements);
    }

    pub(crate) fn keeps_if(&mut self, holds: bool, requirement: &'static str) {
        self.kept.extend(holds.then_some(requirement));
    }

    pub(crate) fn thread_of(&self, op: OpId) -> Result<u32, Stop> {
        match self.open.get(&op) {
            Some(thread) => Ok(*thread),
            None => nonsense(format!("operation {op} ended without having begun")),
        }
    }

    pub(crate) fn stack(&mut self, thread: u32) -> &mut Vec<Frame> {
        self.stacks.entry(thread).or_default()
    }

    /// What is in progress around the next call on this thread.
    fn around(&self, thread: u32) -> &[Frame] {
        let stack = |thread| self.stacks.get(&thread).map_or(&[][..], Vec::as_slice);
        let own = stack(thread);
        if self.policies.threads == Concurrency::Threads || !own.is_empty() {
            return own;
        }
        // A sink that cannot wait for what it calls begins a task with it: the task's first call
        // follows upon the sink's.
        let last = self.last_event.iter().find(|(_, at)| **at + 1 == self.now);
        last.map(|(thread, _)| stack(*thread))
            .filter(|outer| matches!(outer.last(), Some(Frame::Send { .. } | Frame::Close { .. })))
            .unwrap_or(own)
    }

    /// The sink call from inside which the next call on this thread is made.
    pub(crate) fn inside(&self, thread: u32) -> Option<Frame> {
        let stack = self.around(thread);
        stack.iter().rev().copied().find(|frame| !matches!(frame, Frame::Call(_)))
    }

    /// Whether the thread with this stack waits for a gate.
    pub(crate) fn is_parked(&self, stack: &[Frame]) -> bool {
        let top = stack.last().and_then(Frame::op).map(|op| &self.ops[&op].act);
        matches!(top, Some(Act::Hold { .. }))
    }

    /// Counts a call of a sink; gives its number and the subscribers that it may be for.
    pub(crate) fn count_call(&mut self, sink: u32, hook: Hook) -> Result<(u32, Vec<usize>), Stop> {
        let nth = self.calls_of.entry((sink, hook)).or_default();
        *nth += 1;
        match self.by_sink.get(&sink) {
            Some(subs) => Ok((*nth, subs.clone())),
            None => nonsense(format!("sink {sink} was never subscribed")),
        }
    }

    /// How many sends to this subscriber the thread is inside of.
    pub(crate) fn own_sends(&self, sub: usize, thread: u32) -> usize {
        let stack = self.stacks.get(&thread).into_iter().flatten();
        stack.filter(|frame| matches!(frame, Frame::Send { sub: of, .. } if *of == sub)).count()
    }

    /// The broadcasts that this thread is delivering.
    pub(crate) fn casts_around(&self, thread: u32) -> Vec<usize> {
        let stack = self.around(thread).iter();
        stack.filter_map(Frame::cast).collect()
    }

    /// Whether a rule tells this call to throw or fail.
    pub(crate) fn throws(&self, sink: u32, hook: Hook, nth: u32) -> bool {
        self.script.rule(sink, hook, nth).is_some_and(|rule| rule.then != Ending::Ok)
    }

    pub(crate) fn hears(&self, sub: &Sub<'_>, channel: &str) -> bool {
        match &sub.with.channels {
            None => true,
            Some(names) if names.is_empty() && !sub.with.exact => {
                self.policies.empty_channels == EmptyChannels::All
            }
            Some(names) => names.iter().any(|name| name == channel),
        }
    }

    /// Tells whether a send that this thread logs now may have begun before the event `end`: the
    /// thread has logged nothing since.
    ///
    /// A thread that logged nothing at all yet may have been on its way as well. Without a thread,
    /// or where threads are tasks that take turns, nothing may.
    pub(crate) fn turn_before(&self, thread: Option<u32>, end: usize) -> bool {
        let thread = thread.filter(|_| self.policies.threads == Concurrency::Threads);
        thread.is_some_and(|thread| self.last_event.get(&thread).is_none_or(|last| *last < end))
    }

    pub(crate) fn claim(&mut self, sub: usize, why: Why, op: OpId, sure: bool) {
        // The send that failed has ended.
        let thread = self.threads.get(&op).filter(|_| why != Why::Fail);
        let within = thread.map_or(0, |thread| self.own_sends(sub, *thread));
        self.subs[sub].last_claim = Some(self.now);
        self.subs[sub].claims.push(Claim { why, op, sure, open: true, within });
        if why != Why::Evict {
            self.may_make_room(sub, op);
        }
        self.end_claimed_queue(sub);
    }

    /// An end on another thread may come before an eviction in progress and make it needless.
    fn may_make_room(&mut self, leaving: usize, op: OpId) {
        let (registry, with) = (self.subs[leaving].registry, self.subs[leaving].with);
        let Some(scope) = &with.scope else { return };
        let thread = self.threads.get(&op).copied();
        for (index, sub) in self.subs.iter_mut().enumerate() {
            if index == leaving
                || sub.registry != registry
                || sub.with.scope.as_ref() != Some(scope)
            {
                continue;
            }
            for claim in sub.claims.iter_mut().filter(|claim| claim.open && claim.why == Why::Evict)
            {
                claim.sure &= self.threads.get(&claim.op).copied() == thread;
                if let Some(queue) = sub.queue.as_mut().filter(|_| !claim.sure) {
                    queue.spared(claim.op);
                }
            }
        }
    }

    /// Whether what was broadcast has to have arrived when nothing is in progress.
    pub(crate) fn deliveries_are_due(&self) -> bool {
        self.policies.delivery == When::Sync || self.settled
    }

    pub(crate) fn name(&self, sub: usize) -> String {
        format!("subscriber {}", self.subs[sub].label)
    }
}
