//! Scripts that were never answered: whether the registry or the adapter is to blame.

use std::time::Duration;

use super::{Answer, Failure, Run};
use crate::features::{FEATURES, Feature, Features};
use crate::oracle::{Symptom, Violation};
use crate::script::{Act, Ending, Op, Outbox, Script};
use crate::shrink::{Bounds, shrink};

/// How long a script that never ends is shrunk at most.
const SHRINKING: Duration = Duration::from_secs(15);

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
pub const UNANSWERED: [&str; 13] = [
    "CON-0", "RE-1", "ISO-4", "QUE-2", "SUB-1", "SUB-2", "SUB-6", "DEL-1", "REV-1", "CNT-2",
    "ADM-4", "ADM-6", "QUE-1",
];

/// The requirement that an operation breaks if it never returns, with nothing special about it.
fn owed(act: &Act) -> &'static str {
    match act {
        Act::Unsub { .. } => "SUB-2",
        Act::Take { .. } => "QUE-1",
        Act::Cast { .. } | Act::Settle => "DEL-1",
        Act::Revoke { .. } => "REV-1",
        Act::Count => "CNT-2",
        Act::Begin { .. } | Act::Abandon { .. } => "ADM-6",
        Act::Admit { .. } => "ADM-4",
        Act::Shutdown => "SUB-6",
        _ => "SUB-1",
    }
}

impl Run<'_> {
    /// Finds out whether the registry or the adapter is to blame for an answer that never came. The
    /// adapter is, if a script without operations is not answered; the registry is, if the script
    /// is answered once its sinks no longer call back, its threads run one after the other, or its
    /// outboxes have room for everything. A failure that does not happen again is not attributed to
    /// either.
    pub(super) fn unanswered(&mut self, how: String, name: &str, script: &Script) {
        let mute = self.is_unanswered(&Script::default());
        if mute && !self.driver.stopped() {
            self.hopeless = Features::everything();
            return self.fault(how, name, script);
        }
        let features = Features::of(script);
        let mut calm = script.clone();
        let requirement = if features.any(&[Feature::Gated, Feature::Free]) {
            calm.each_rule(|rule| rule.ops.clear());
            one_after_the_other(&mut calm.steps);
            "CON-0"
        } else if features.any(&[Feature::InSend, Feature::InClose]) {
            calm.each_rule(|rule| rule.ops.clear());
            "RE-1"
        } else if features.any(&[Feature::FailingSend, Feature::FailingClose]) {
            calm.each_rule(|rule| rule.then = Ending::Ok);
            "ISO-4"
        } else if features.has(Feature::Outboxes) {
            calm.visit_mut(&mut |op| {
                if let Act::Sub { with, .. } | Act::Admit { with, .. } = &mut op.act {
                    with.outbox = with.outbox.map(|_| Outbox::default());
                }
            });
            "QUE-2"
        } else {
            return self.blocked(how, name, script);
        };
        let known = self.outcome.is_broken(requirement);
        let tries = if features.has(Feature::Free) { 3 * AGAIN } else { AGAIN };
        if !known && !(0..tries).any(|_| self.is_unanswered(script)) {
            return self.unanswered_once(&how, tries, name, script);
        }
        if !matches!(self.driver.run(&calm), Answer::Trace(_)) {
            return self.blocked(how, name, &calm);
        }
        let cause =
            format!("the script never ended, though it does without what makes it special: {how}");
        self.never_ends(requirement, cause, name, script);
    }

    /// As [`unanswered`](Self::unanswered), for a script with nothing in it that could make it
    /// never end. The first operation after which no answer comes is to blame.
    fn blocked(&mut self, how: String, name: &str, script: &Script) {
        let all = script.steps.len();
        let found = (1..=all).chain([all, all]).find_map(|length| {
            let steps = script.steps[..length].to_vec();
            let start = Script { steps, ..script.clone() };
            self.is_unanswered(&start).then_some(start)
        });
        match found {
            Some(start) => {
                let last = &start.steps[start.steps.len() - 1];
                let cause = format!("operation {} never returned: {how}", last.id);
                self.never_ends(owed(&last.act), cause, name, &start);
            }
            None => self.unanswered_once(&how, AGAIN, name, script),
        }
    }

    fn never_ends(
        &mut self,
        requirement: &'static str,
        cause: String,
        name: &str,
        script: &Script,
    ) {
        if self.driver.stopped() {
            return;
        }
        self.outcome.runs += 1;
        if let Some(known) = self.outcome.failure(requirement) {
            known.times += 1;
            return;
        }
        let guilty = |script| GUILTY.into_iter().filter(move |one| Features::of(script).has(*one));
        let plain = guilty(script).next().is_none();
        let features = Features::of(script);
        if features == Features::default() {
            // There is nothing to avoid, so the campaign ends.
            self.hopeless = Features::everything();
        } else if plain {
            self.give_up(FEATURES.into_iter().filter(|one| features.has(*one)));
        }
        if !self.counts(requirement) {
            if self.hopeless == Features::everything() {
                self.fault(format!("{requirement}: {cause}"), name, script);
            }
            return;
        }
        let violation = Violation { requirement, symptom: Symptom::Other, at: 0, cause };
        self.announce(&violation, name);
        // Every failing run costs a deadline.
        let time = if plain { Duration::ZERO } else { SHRINKING };
        let bounds = Bounds { time, ..self.plan.shrinking };
        let driver = &mut *self.driver;
        driver.hurry(true);
        let (small, _) = shrink(script, requirement, bounds, |candidate| {
            matches!(driver.run(candidate), Answer::Missing(_)).then_some(requirement)
        });
        driver.hurry(plain);
        let runs = self.unanswered_of(AGAIN, &small);
        if runs == 0 {
            return self.unanswered_once(&violation.cause, AGAIN, name, script);
        }
        self.give_up(guilty(&small));
        self.outcome.failures.push(Failure {
            found_after: self.outcome.runs,
            again: if self.driver.stopped() { 0 } else { runs },
            script: small.clone(),
            ..Failure::new(violation, name, script.clone())
        });
    }

    /// From now on avoids what makes scripts never end.
    fn give_up(&mut self, features: impl Iterator<Item = Feature>) {
        for feature in features {
            self.avoid = self.avoid.without(feature);
            self.hopeless = self.hopeless.with(feature);
        }
    }

    /// In how many of so many runs a script is not answered. Once it was not, it has less time.
    fn unanswered_of(&mut self, runs: u32, script: &Script) -> u32 {
        let mut unanswered = 0;
        for _ in 0..runs {
            unanswered += u32::from(self.is_unanswered(script));
            self.driver.hurry(unanswered > 0);
        }
        self.driver.hurry(false);
        unanswered
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
        let race = if features.any(&[Feature::Gated, Feature::Free]) {
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

/// Runs threads one after the other. On one thread, a gate that is waited for could not be opened.
fn one_after_the_other(steps: &mut Vec<Op>) {
    let inline = |op: Op| match op.act {
        Act::Par { threads } => threads.into_iter().flatten().collect(),
        _ => vec![op],
    };
    *steps = std::mem::take(steps).into_iter().flat_map(inline).collect();
    steps.retain(|op| !matches!(op.act, Act::Hold { .. } | Act::Release { .. }));
}
