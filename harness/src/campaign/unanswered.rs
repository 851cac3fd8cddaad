//! Scripts that were never answered: whether the registry or the adapter is to blame.

use std::time::Duration;

use super::{Answer, Failure, Run};
use crate::features::{Feature, Features};
use crate::oracle::{Symptom, Violation};
use crate::script::{Act, Ending, Outbox, Script};
use crate::shrink::{Bounds, shrink};

/// How long a script that never ends is shrunk at most.
const SHRINKING: Duration = Duration::from_secs(30);

/// How often an unanswered script is run again.
const AGAIN: u32 = 3;

/// The features that can make a script never end.
const GUILTY: [Feature; 7] = [
    Feature::InSend,
    Feature::InClose,
    Feature::Gated,
    Feature::Free,
    Feature::FailingSend,
    Feature::FailingClose,
    Feature::Outboxes,
];

/// The requirements that scripts without an end can break.
pub const UNANSWERED: [&str; 12] = [
    "CON-0", "RE-1", "ISO-4", "QUE-2", "SUB-1", "SUB-2", "SUB-6", "DEL-1", "REV-1", "CNT-2",
    "ADM-6", "QUE-1",
];

impl Run<'_> {
    /// Finds out whether the registry or the adapter is to blame for an answer that never came. The
    /// registry is, if the script is answered once its sinks no longer call back, its threads run
    /// one after the other, or its outboxes have room for everything; or if nothing is left of it
    /// but plain operations, and a script without any is answered. A failure that does not happen
    /// again is not attributed to either.
    pub(super) fn unanswered(&mut self, how: String, name: &str, script: &Script) {
        let features = Features::of(script);
        let known = special(script).is_some_and(|(id, _)| self.outcome.is_broken(id));
        let tries = if features.has(Feature::Free) { 3 * AGAIN } else { AGAIN };
        if !known && !(0..tries).any(|_| self.is_unanswered(script)) {
            return self.unanswered_once(&how, tries, name, script);
        }
        let mut suspect = script.clone();
        let special = loop {
            match special(&suspect) {
                Some((_, calm)) if self.is_unanswered(&calm) => suspect = calm,
                found => break found.map(|(id, _)| id),
            }
        };
        if special.is_none() && self.is_unanswered(&Script::default()) {
            return self.fault(how, name, script);
        }
        self.outcome.runs += 1;
        if let Some(known) = special.and_then(|id| self.outcome.failure(id)) {
            known.times += 1;
            return;
        }
        let requirement = special.unwrap_or_else(|| plain(&suspect));
        if special.is_some() && !self.counts(requirement) {
            return;
        }
        let what = match special {
            Some(_) => "though it does without what makes it special",
            None => "though one without operations does",
        };
        let cause = format!("the script never ended, {what}: {how}");
        let violation = Violation { requirement, symptom: Symptom::Other, at: 0, cause };
        self.announce(&violation, name);
        // Every failing run costs a deadline.
        let bounds = Bounds { time: SHRINKING, ..self.plan.shrinking };
        let driver = &mut *self.driver;
        let (small, _) = shrink(&suspect, requirement, bounds, |candidate| {
            matches!(driver.run(candidate), Answer::Missing(_)).then_some(requirement)
        });
        let again = (0..AGAIN).map(|_| u32::from(self.is_unanswered(&small))).sum();
        if again == 0 {
            return self.unanswered_once(&how, AGAIN, name, script);
        }
        for feature in GUILTY {
            if Features::of(&small).has(feature) {
                self.avoid = self.avoid.without(feature);
                self.hopeless = self.hopeless.with(feature);
            }
        }
        // The operation that the smallest script ends with is the one that does not come back.
        let requirement = special.unwrap_or_else(|| plain(&small));
        if let Some(known) = self.outcome.failure(requirement) {
            known.times += 1;
            return;
        }
        if !self.counts(requirement) {
            return;
        }
        self.outcome.failures.push(Failure {
            found_after: self.outcome.runs,
            script: small,
            again,
            ..Failure::new(Violation { requirement, ..violation }, name, script.clone())
        });
    }

    /// Whether a script is not answered now, in a new process if that can be had.
    fn is_unanswered(&mut self, script: &Script) -> bool {
        self.driver.forget();
        matches!(self.driver.run(script), Answer::Missing(_))
    }

    /// Reports a failure that never happened again: this script did not cause it, and it is no
    /// verdict on the registry.
    fn unanswered_once(&mut self, how: &str, tries: u32, name: &str, script: &Script) {
        let features = Features::of(script);
        let race = if features.has(Feature::Gated) || features.has(Feature::Free) {
            "; or its threads race, once in many times, for a deadlock or a crash (CON-0)"
        } else {
            ""
        };
        let message = format!(
            "script {} of this run was not answered, but was each time when it was run again, \
             {tries} times: look for state that outlives a script, in the adapter or in the \
             registry{race}; {how}",
            self.asked
        );
        self.fault(message, name, script);
    }
}

/// The requirement that a script without an end breaks for what is special in it, and the script
/// without that.
fn special(script: &Script) -> Option<(&'static str, Script)> {
    let features = Features::of(script);
    let has = |feature| features.has(feature);
    if has(Feature::Gated) || has(Feature::Free) {
        Some(("CON-0", without_threads(script)))
    } else if has(Feature::InSend) || has(Feature::InClose) {
        Some(("RE-1", without_calls_from_sinks(script)))
    } else if has(Feature::FailingSend) || has(Feature::FailingClose) {
        Some(("ISO-4", without_failures(script)))
    } else if script.ops().iter().any(|op| is_bounded(&op.act)) {
        Some(("QUE-2", without_bounds(script)))
    } else {
        None
    }
}

fn is_bounded(act: &Act) -> bool {
    let (Act::Sub { with, .. } | Act::Admit { with, .. }) = act else { return false };
    with.outbox.is_some_and(|outbox| outbox != Outbox::default())
}

/// The requirement that the last operation breaks by never coming back.
fn plain(script: &Script) -> &'static str {
    match script.steps.last().map(|op| &op.act) {
        Some(Act::Cast { .. }) => "DEL-1",
        Some(Act::Revoke { .. }) => "REV-1",
        Some(Act::Count) => "CNT-2",
        Some(Act::Unsub { .. }) => "SUB-2",
        Some(Act::Shutdown) => "SUB-6",
        Some(Act::Begin { .. } | Act::Abandon { .. }) => "ADM-6",
        Some(Act::Take { .. }) => "QUE-1",
        _ => "SUB-1",
    }
}

fn without_calls_from_sinks(script: &Script) -> Script {
    let mut calm = script.clone();
    calm.sinks.iter_mut().flat_map(|sink| &mut sink.rules).for_each(|rule| rule.ops.clear());
    calm
}

fn without_failures(script: &Script) -> Script {
    let mut calm = script.clone();
    calm.sinks.iter_mut().flat_map(|sink| &mut sink.rules).for_each(|rule| rule.then = Ending::Ok);
    calm
}

fn without_threads(script: &Script) -> Script {
    let mut calm = without_calls_from_sinks(script);
    calm.steps = calm
        .steps
        .into_iter()
        .flat_map(|op| match op.act {
            Act::Par { threads } => threads.into_iter().flatten().collect(),
            _ => vec![op],
        })
        .filter(|op| !matches!(op.act, Act::Hold { .. } | Act::Release { .. }))
        .collect();
    calm
}

fn without_bounds(script: &Script) -> Script {
    let mut calm = script.clone();
    calm.visit_mut(&mut |op| {
        if let Act::Sub { with, .. } | Act::Admit { with, .. } = &mut op.act {
            with.outbox = with.outbox.map(|_| Outbox::default());
        }
    });
    calm
}
