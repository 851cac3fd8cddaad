//! The oracle: walks a trace and says which requirement it breaks, if any.
//!
//! It accepts or rejects a trace; it does not compute an expected one. For each subscriber it knows
//! *admitting / active / claimed / ended*; for each open broadcast it knows which subscribers must,
//! may and must not receive it. What the requirements leave open stays open: any order between
//! subscribers, closing one at a time, nested calls at once or later, one late send of a thread
//! that took its turn before the end.
//!
//! When it rejects a trace, it names the requirement for the most special context that it sees: a
//! broadcast that is lost while another sink throws is ISO-1, not DEL-1. The shrinker then removes
//! contexts that the failure does not need; see [`crate::shrink`].
//!
//! Invariants of the walk: each event is read once, in order; later events decide nothing, but
//! obligations fall due when nothing is in progress any more.
//!
//! A breach does not end the walk. Where it leaves open what a subscriber is from now on, that
//! subscriber is *blurred*: whatever happens to it is accepted, and what would have been judged by
//! it hides behind the breach. So of all breaches that a trace shows only the first is sure; the
//! campaign shrinks each of the others until it comes first, or says that it was not judged.
//!
//! An outbox makes no calls: it is judged by what its owner finds; the module `queue` holds what
//! may be in it.
//!
//! A sink does not say for which of its subscribers it is called. Where that matters (a close that
//! is due to one of several, a send that calls back or fails) the walk makes a choice, and is
//! repeated with other choices until one explains the whole trace. A trace is rejected only if no
//! choice makes it legal.

mod blame;
mod calls;
mod choices;
mod close;
mod context;
mod deliver;
mod outbox;
mod progress;
mod queue;
mod similar;
mod state;
mod subscribe;
mod why;

use std::collections::{BTreeMap, BTreeSet};

use choices::Choices;
use serde::Serialize;
pub(crate) use state::Walk;

use crate::protocol::{Delivery, Hello, Policies};
use crate::script::{Act, Script};
use crate::trace::{Event, Trace};

/// What is wrong, whatever the context. The context makes a requirement of it: a message that is
/// missing is DEL-1, or ISO-1 if another sink failed meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Symptom {
    /// A message never came.
    Missing,
    /// A message came through a filter that does not have its channel.
    Unheard,
    /// A message came to a subscriber that was created inside its delivery.
    Newcomer,
    /// A message came again, or after the end.
    Unwanted,
    /// A subscriber was closed that nothing ended.
    Stranger,
    /// A close never came.
    Silence,
    /// A revocation returned the wrong number.
    Number,
    /// The wrong number is active.
    Count,
    /// A subscribe or admission was refused.
    Refusal,
    /// An operation failed.
    Error,
    /// An end has the wrong reason.
    Reason,
    /// Something else.
    Other,
}

impl Symptom {
    /// The requirement that it breaks in any context.
    pub(crate) fn general(self) -> Option<&'static str> {
        match self {
            Symptom::Missing => Some("DEL-1"),
            Symptom::Unheard => Some("FLT-1"),
            Symptom::Newcomer => Some("RE-4"),
            Symptom::Stranger => Some("REV-4"),
            Symptom::Number => Some("CNT-1"),
            Symptom::Count => Some("CNT-2"),
            Symptom::Reason => Some("CLO-5"),
            Symptom::Unwanted
            | Symptom::Silence
            | Symptom::Refusal
            | Symptom::Error
            | Symptom::Other => None,
        }
    }
}

/// Why a trace is rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The requirement that is broken.
    pub requirement: &'static str,
    /// What is wrong, whatever the context.
    pub symptom: Symptom,
    /// The first wrong event, as an index into the trace; its length means *at the end*.
    pub at: usize,
    /// One line.
    pub cause: String,
}

/// What the oracle says of one trace.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// The first violation of a MUST.
    pub violation: Option<Violation>,
    /// Violations of other MUSTs after it, in order. Each may be a consequence of an earlier one.
    pub further: Vec<Violation>,
    /// Violations of SHOULDs, in order.
    pub notes: Vec<Violation>,
    /// The trace makes no sense for the script (an unknown operation, a return without a call): the
    /// adapter's fault.
    pub nonsense: Option<String>,
    /// Requirements that this trace had occasion to break and kept.
    pub kept: BTreeSet<&'static str>,
    /// Requirements that could not be judged, each with the broken one behind which it hides.
    pub behind: BTreeMap<&'static str, &'static str>,
}

impl Verdict {
    /// Whether nothing is wrong, SHOULDs included.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.violation.is_none() && self.notes.is_empty() && self.nonsense.is_none()
    }

    /// The violation of a MUST or else the first note.
    #[must_use]
    pub fn first(&self) -> Option<&Violation> {
        self.violation.as_ref().or(self.notes.first())
    }

    /// Every violation, those of MUSTs first.
    pub fn all(&self) -> impl Iterator<Item = &Violation> {
        self.violation.iter().chain(&self.further).chain(&self.notes)
    }

    /// Whether this violation is none's consequence: no MUST was broken before it.
    #[must_use]
    pub fn is_sure(&self, of: &Violation) -> bool {
        self.violation.as_ref().is_none_or(|first| {
            let same = first.requirement == of.requirement;
            same || first.at > of.at || (first.at == of.at && self.notes.contains(of))
        })
    }

    /// Adds a violation of a MUST that the walk does not look for.
    fn add(&mut self, violation: Violation) {
        self.kept.remove(violation.requirement);
        if self.violation.as_ref().is_none_or(|first| first.at > violation.at) {
            self.further.splice(..0, self.violation.replace(violation));
        } else if self.further.iter().all(|own| own.requirement != violation.requirement) {
            self.further.push(violation);
        }
    }
}

/// Judges a trace of a script, given the implementation's policies.
///
/// ```
/// use harness::script::{Act, Op, Registration, Script};
/// use harness::{oracle, protocol::Policies, trace::Event};
///
/// let script = Script::new(vec![
///     Op::new(1, Act::Sub { sub: 0, sink: 0, with: Registration::to(&["a"]) }),
///     Op::new(2, Act::cast("a", "m")),
/// ]);
/// let call = |op| Event::Call { op, thread: 0 };
/// let ret = |op| Event::Ret { op, n: None, refused: false, report: None, taken: None };
/// let silent = vec![call(1), ret(1), call(2), ret(2)];
/// let verdict = oracle::judge(&script, &silent, &Policies::default());
/// assert_eq!(verdict.violation.map(|violation| violation.requirement), Some("DEL-1"));
/// ```
#[must_use]
pub fn judge(script: &Script, trace: &Trace, policies: &Policies) -> Verdict {
    let mut choices = Choices::default();
    let mut best: Option<(Verdict, usize)> = None;
    for _ in 0..WALKS {
        let (verdict, made) = walk(script, trace, policies, choices);
        if verdict.clean() || verdict.nonsense.is_some() {
            return verdict;
        }
        let reached = verdict.violation.as_ref().map_or(usize::MAX, |violation| violation.at);
        let better = |(best, far): &(Verdict, usize)| {
            (reached, best.notes.len()) > (*far, verdict.notes.len())
        };
        if best.as_ref().is_none_or(better) {
            best = Some((verdict, reached));
        }
        let Some(other) = made.next() else {
            return best.map(|(verdict, _)| verdict).unwrap_or_default();
        };
        choices = other;
    }
    // Choices that were not tried might explain it.
    Verdict::default()
}

/// Judges a trace as [`judge`] does, given all that the implementation claims: reports and reasons
/// that it claims must be there.
#[must_use]
pub fn judge_claims(script: &Script, trace: &Trace, hello: &Hello) -> Verdict {
    let mut verdict = judge(script, trace, &hello.policies);
    if hello.offers("report") && verdict.nonsense.is_none() {
        reports_missing(script, trace, &mut verdict);
    }
    let silent = |event: &Event| matches!(event, Event::Close { reason: None, .. });
    if hello.offers("reasons")
        && verdict.nonsense.is_none()
        && let Some(at) = trace.iter().position(silent)
    {
        let cause = "a close came without a reason, though reasons are claimed".to_owned();
        let symptom = Symptom::Reason;
        verdict.add(Violation { requirement: "CLO-5", symptom, at, cause });
    }
    verdict
}

/// Notes a broadcast that returned without the report that is claimed.
fn reports_missing(script: &Script, trace: &Trace, verdict: &mut Verdict) {
    let casts = script.ops().into_iter().filter(|op| matches!(op.act, Act::Cast { .. }));
    let casts: BTreeSet<_> = casts.map(|op| op.id).collect();
    let silent =
        |event: &Event| matches!(event, Event::Ret { op, report: None, .. } if casts.contains(op));
    let Some(at) = trace.iter().position(silent) else { return };
    verdict.kept.remove("DEL-7");
    let cause = "a broadcast returned without a report, though reports are claimed".to_owned();
    if verdict.notes.iter().all(|note| note.requirement != "DEL-7") {
        verdict.notes.push(Violation { requirement: "DEL-7", symptom: Symptom::Other, at, cause });
    }
}

/// The first number of a thread that no script began.
const FOREIGN: u32 = 100;

/// How many walks are tried. Random scripts need a few dozen at most.
const WALKS: u32 = 4_096;

fn walk<'t>(
    script: &'t Script,
    trace: &'t Trace,
    policies: &Policies,
    choices: Choices,
) -> (Verdict, Choices) {
    let mut walk = Walk::new(script, trace, *policies, choices);
    let mut stop = None;
    for (at, event) in trace.iter().enumerate() {
        if let Err(why) = walk.event(at, event) {
            stop = Some(why);
            break;
        }
    }
    let stop = stop.or_else(|| walk.end(trace.len()).err()).unwrap_or(Stop::End);
    let choices = std::mem::take(&mut walk.choices);
    (walk.finish(stop), choices)
}

/// Why a walk ends.
pub(crate) enum Stop {
    /// The trace is over, says that nothing follows, or cannot be followed any further.
    End,
    /// The trace is not one of this script.
    Nonsense(String),
}

pub(crate) type Step = Result<(), Stop>;

/// What is wrong, the requirement that it breaks, and why.
type Blame = (Symptom, &'static str, String);

fn other(requirement: &'static str, cause: impl Into<String>) -> Blame {
    (Symptom::Other, requirement, cause.into())
}

fn nonsense<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Nonsense(why.into()))
}

impl Walk<'_> {
    fn event(&mut self, at: usize, event: &Event) -> Step {
        self.now = at;
        let thread = match event {
            Event::Ret { op, .. } | Event::Err { op, .. } => Some(self.thread_of(*op)?),
            _ => event.thread(),
        };
        match event {
            Event::Call { op, thread } => self.call(*op, *thread),
            Event::Ret { op, n, refused, report, taken } => {
                self.ret(*op, *n, *refused, *report, taken.as_ref())
            }
            Event::Err { op, error } => self.err(*op, error),
            Event::Send { sink, data, thread } => self.send(*sink, data, *thread),
            Event::Sent { sink, threw, thread } => self.sent(*sink, *threw, *thread),
            Event::Close { sink, reason, thread } => self.close(*sink, reason.as_deref(), *thread),
            Event::Closed { sink, threw, thread } => self.closed(*sink, *threw, *thread),
            Event::Fuel => self.fuel(),
            Event::Stuck { .. } => self.stuck(),
            Event::Unbuilt { error } => self.unbuilt(error),
        }?;
        if let Some(thread) = thread {
            self.last_event.insert(thread, at);
        }
        if matches!(
            event,
            Event::Ret { .. } | Event::Err { .. } | Event::Sent { .. } | Event::Closed { .. }
        ) {
            self.rest(at)?;
        }
        Ok(())
    }

    /// Whether a thread that delivers later has yet to close a subscriber after the send in which
    /// it was ended (RE-5).
    fn closes_after_a_send(&self) -> bool {
        let due = |sub: &state::Sub<'_>| {
            sub.close.is_none() && sub.claims.iter().any(|claim| claim.within > 0)
        };
        self.policies.delivery == Delivery::Async && !self.settled && self.subs.iter().any(due)
    }

    /// Lets obligations fall due when nothing is in progress.
    fn rest(&mut self, at: usize) -> Step {
        if self.stacks.values().any(|stack| !stack.is_empty()) || self.closes_after_a_send() {
            return Ok(());
        }
        self.settle_queues();
        self.settle_casts(at);
        self.resolve_claims(at);
        Ok(())
    }

    fn end(&mut self, len: usize) -> Step {
        self.now = len;
        if self.was_stuck && self.stacks.values().any(|stack| !stack.is_empty()) {
            self.breaks(Symptom::Other, "CON-0", "a thread never came back");
            return Ok(());
        }
        if let Some(op) = self.stacks.values().flatten().find_map(state::Frame::op) {
            let foreign = self.threads.get(&op).is_some_and(|thread| *thread >= FOREIGN);
            let note = " (a thread of the registry was in it when the trace was sent)";
            let who = if foreign { note } else { "" };
            return nonsense(format!("operation {op} never returned{who}"));
        }
        self.unexecuted()?;
        // Asynchronous deliveries may still be in progress, and owe nothing yet.
        let settled = self.policies.delivery == Delivery::Sync;
        if settled && self.stacks.values().any(|stack| !stack.is_empty()) {
            return nonsense("a call of a sink never ended");
        }
        self.rest(len)?;
        self.notified_victims();
        if self.in_vain && self.notes.is_empty() && self.breaches.is_empty() {
            // Every call returned and owed nothing: the thread waited for what the script never
            // brought about, or was slow.
            let why = "a thread waited in vain, and nothing that the registry owes is missing";
            return nonsense(why);
        }
        Ok(())
    }

    fn finish(self, stop: Stop) -> Verdict {
        let mut breaches = self.breaches.into_iter();
        let mut verdict = Verdict {
            violation: breaches.next(),
            further: breaches.collect(),
            notes: self.notes,
            kept: self.kept,
            behind: self.behind,
            nonsense: None,
        };
        // What makes no sense after a breach may be its consequence.
        if let Stop::Nonsense(why) = stop
            && verdict.violation.is_none()
        {
            verdict.nonsense = Some(why);
        }
        for broken in verdict.violation.iter().chain(&verdict.further).chain(&verdict.notes) {
            broken.symptom.general().map(|general| verdict.kept.remove(general));
            verdict.kept.remove(broken.requirement);
        }
        for hidden in verdict.behind.keys() {
            verdict.kept.remove(hidden);
        }
        let broken: Vec<_> = verdict.all().map(|own| own.requirement).collect();
        verdict.behind.retain(|own, _| !broken.contains(own));
        verdict
    }
}
