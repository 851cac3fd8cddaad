//! A campaign: many scripts against one implementation, and what came of them.
//!
//! Saved regressions run first, then the fixed cases, then random scripts. The first failure does
//! not end a campaign: failures are grouped by requirement, shrunk and run again. Random scripts
//! then avoid the feature that triggers the failure, so that they explore the rest; every eighth
//! script has it, which confirms that the failure is still there.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use crate::cases::cases_with;
use crate::catalogue::{self, same_or_more_general};
use crate::clock::Started;
use crate::features::{Feature, Features};
use crate::generate::generate;
use crate::oracle::{self, Symptom, Verdict, Violation};
use crate::protocol::{Hello, Reentrancy};
use crate::script::{Act, Script};
use crate::shrink::{Bounds, shrink};
use crate::trace::Trace;

mod driver;
mod exercised;
mod outcome;
mod unanswered;

pub use driver::{Answer, Driver, InProcess};
pub use exercised::never_exercised;
pub use outcome::{Failure, Fault, Outcome};
pub use unanswered::UNANSWERED;

/// How much, and of what.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many random scripts.
    pub scripts: u64,
    /// The seed of the first; the others follow from it.
    pub seed: u64,
    /// Stop starting scripts after this long.
    pub time: Option<Duration>,
    /// The seed of the very first random script, if it is to be a certain one.
    pub first: Option<u64>,
    /// Failures of these count, and scripts are made to provoke them; empty means all.
    pub only: Vec<String>,
    /// These are known to fail: what provokes them is avoided from the start, but for a few scripts
    /// that confirm it.
    pub known: Vec<String>,
    /// Run before everything else: name and script.
    pub saved: Vec<(String, Script)>,
    /// End with the first failure.
    pub first_only: bool,
    /// Bounds on shrinking one failure.
    pub shrinking: Bounds,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            scripts: 2_000,
            seed: 1,
            time: None,
            first: None,
            only: Vec::new(),
            known: Vec::new(),
            saved: Vec::new(),
            first_only: false,
            shrinking: Bounds::default(),
        }
    }
}

/// How many of the scripts that were declined for one need are named.
const NAMED: usize = 5;

/// After so many faults of the adapter a campaign ends.
const FAULTS: usize = 5;

/// The requirement that is broken when one script affects another.
const SHARED: &str = "ISO-6";

/// After so many shrinkings that led to a known failure, a requirement is not shrunk again.
const DETOURS: u32 = 3;

/// How long the scripts that confirm failures may take in all.
const CONFIRMING: Duration = Duration::from_secs(10);

/// How long a campaign waits in all for scripts that never end. After that it runs none with a
/// feature that made others never end.
const UNANSWERED_TIME: Duration = Duration::from_secs(10);

/// Runs a campaign. `progress` is called after every script.
pub fn campaign(
    hello: &Hello,
    driver: &mut dyn Driver,
    plan: &Plan,
    progress: &mut dyn FnMut(&Outcome, &str),
) -> Outcome {
    let mut run = Run {
        hello,
        driver,
        plan,
        progress,
        outcome: Outcome::default(),
        avoid: Features::everything(),
        detours: BTreeMap::new(),
        unsure: BTreeMap::new(),
        confirming: Duration::ZERO,
        hopeless: Features::default(),
        unanswered_time: Duration::ZERO,
        asked: 0,
        started: Started::now(),
    };
    if hello.policies.reentrancy == Reentrancy::Refused {
        run.refuses_reentrancy();
    }
    let counts = hello.offers("count");
    let fixed = cases_with(plan.scripts).into_iter().map(|case| {
        // A registry that cannot count runs the rest of the script.
        let script =
            if counts { case.script } else { case.script.without(|op| op.act == Act::Count) };
        (format!("case {:?}", case.name), script)
    });
    for (name, script) in plan.saved.iter().cloned().chain(fixed) {
        if run.over() {
            break;
        }
        run.script(&name, &script, true);
        (run.progress)(&run.outcome, &name);
    }
    run.avoid_known();
    let confirmed = plan.known.iter().map(|id| catalogue::needed_for(id)).collect::<Vec<_>>();
    let mut seeds = Rng::with_seed(plan.seed);
    let wanted = plan.only.iter().map(|id| catalogue::needed_for(id)).collect::<Vec<_>>();
    for index in 0..plan.scripts {
        if run.over() {
            break;
        }
        let seed = seeds.u64(..);
        let seed = plan.first.filter(|_| index == 0).unwrap_or(seed);
        let mut features = Features::offered_by(hello);
        // A registry that makes threads wait in vain costs the patience of each of these scripts.
        if index % 8 != 7 || run.confirming >= CONFIRMING {
            features = features.and(run.avoid);
        }
        let began = Started::now();
        let (wanted, turn) = match index % 8 {
            7 if wanted.is_empty() => (&confirmed, index / 8),
            _ => (&wanted, index),
        };
        let wanted = wanted.get(turn as usize % wanted.len().max(1)).copied().unwrap_or_default();
        let script = generate(seed, features, wanted);
        let name = format!("seed {seed:#018x}");
        run.script(&name, &script, false);
        if index % 8 == 7 {
            run.confirming += began.ago();
        }
        (run.progress)(&run.outcome, &name);
    }
    for (violation, name, script, trace) in std::mem::take(&mut run.unsure).into_values() {
        if run.over() {
            break;
        }
        run.violation(violation, None, &name, &script, &trace);
    }
    run.outcome.took = run.started.ago();
    run.outcome.settle_what_hides();
    run.outcome
}

struct Run<'a> {
    hello: &'a Hello,
    driver: &'a mut dyn Driver,
    plan: &'a Plan,
    progress: &'a mut dyn FnMut(&Outcome, &str),
    outcome: Outcome,
    /// What is still allowed.
    avoid: Features,
    detours: BTreeMap<&'static str, u32>,
    /// Violations that may be consequences of others, one for each requirement: with the script's
    /// name, the script and its trace.
    unsure: BTreeMap<&'static str, (Violation, String, Script, Trace)>,
    /// How long the scripts that avoid nothing have taken.
    confirming: Duration,
    /// The features that made scripts never end, and how long the campaign waited for those.
    hopeless: Features,
    unanswered_time: Duration,
    /// How many scripts were begun, without those that examine a failure.
    asked: u64,
    started: Started,
}

impl Run<'_> {
    fn over(&self) -> bool {
        self.plan.time.is_some_and(|time| self.started.ago() >= time)
            || self.driver.stopped()
            || self.hopeless == Features::everything()
            || self.outcome.faults.len() >= FAULTS
            || (self.plan.first_only && !self.outcome.failures.is_empty())
    }

    fn counts(&self, requirement: &str) -> bool {
        self.plan.only.is_empty()
            || self.plan.only.iter().any(|only| only.eq_ignore_ascii_case(requirement))
    }

    /// Runs one script. What a fixed one is made for has to be judged by it.
    fn script(&mut self, name: &str, script: &Script, fixed: bool) {
        if self.hello.lacks(script).is_some() {
            return;
        }
        let features = Features::of(script);
        if self.hello.policies.reentrancy == Reentrancy::Refused
            && features.any(&[Feature::InSend, Feature::InClose])
        {
            return;
        }
        let hopeless = features.and(self.hopeless) != Features::default();
        if hopeless && self.unanswered_time >= UNANSWERED_TIME {
            return;
        }
        let began = Started::now();
        self.asked += 1;
        let answer = self.driver.run(script);
        if self.driver.stopped() {
            return;
        }
        if let Answer::Missing(_) = answer {
            self.unanswered_time += began.ago();
        }
        let trace = match answer {
            Answer::Trace(trace) => trace,
            Answer::Unsupported(need) => {
                let names = self.outcome.declined.entry(need.clone()).or_default();
                if names.len() < NAMED {
                    names.push(name.to_owned());
                }
                *self.outcome.unsupported.entry(need).or_default() += 1;
                return;
            }
            Answer::Fault(message) => return self.fault(message, name, script),
            Answer::Missing(how) => return self.unanswered(how, name, script),
        };
        let verdict = oracle::judge_claims(script, &trace, self.hello);
        if let Some(why) = &verdict.nonsense {
            return self.fault(format!("the trace makes no sense: {why}"), name, script);
        }
        self.outcome.runs += 1;
        for id in &verdict.kept {
            *self.outcome.kept.entry(id).or_default() += 1;
        }
        if fixed {
            self.outcome.behind.extend(&verdict.behind);
        }
        for violation in verdict.all() {
            let first = verdict.violation.as_ref().filter(|_| !verdict.is_sure(violation));
            self.violation(violation.clone(), first, name, script, &trace);
        }
    }

    fn fault(&mut self, message: String, name: &str, script: &Script) {
        self.outcome.faults.push(Fault {
            message,
            found_by: name.to_owned(),
            script: script.clone(),
        });
    }

    /// A violation, and the one of which it may be a consequence.
    fn violation(
        &mut self,
        violation: Violation,
        first: Option<&Violation>,
        name: &str,
        script: &Script,
        trace: &Trace,
    ) {
        let Violation { requirement: id, symptom, .. } = violation;
        if let Some(known) = self.outcome.failure(id) {
            known.times += 1;
            return;
        }
        // Only a shrunk script tells a special case from its general rule.
        if !self.counts(id) && !self.plan.only.iter().any(|only| same_or_more_general(id, only)) {
            return self.outcome.hides(&violation);
        }
        if self.detours.get(id).is_some_and(|detours| *detours >= DETOURS) {
            return;
        }
        if let Some(first) = first {
            // The first one may have come to be blamed on a more general rule.
            let behind = &mut self.outcome.behind;
            let breach = *behind.get(first.requirement).unwrap_or(&first.requirement);
            if breach != id {
                behind.entry(id).or_insert(breach);
            }
            // Another script may show it first. If none does, this one may when it is smaller.
            let again = first.symptom == symptom && symptom != Symptom::Other;
            if !again && self.counts(id) {
                let found = || (violation, name.to_owned(), script.clone(), trace.clone());
                self.unsure.entry(id).or_insert_with(found);
            }
            return;
        }
        self.announce(&violation, name);
        // Threads that race do not fail every time.
        let tries = if Features::of(script).has(Feature::Free) { 10 } else { 1 };
        self.driver.hurry(true);
        let (driver, hello) = (&mut *self.driver, self.hello);
        let (small, blamed) = shrink(script, id, self.plan.shrinking, |candidate| {
            (0..tries).find_map(|_| {
                let verdict = judged(driver, candidate, hello)?.1;
                let alike = |found: &&Violation| {
                    found.symptom == symptom && same_or_more_general(id, found.requirement)
                };
                let alike = || verdict.all().filter(alike).map(|found| found.requirement);
                alike().find(|found| *found == id).or(alike().next())
            })
        });
        self.driver.hurry(false);
        if self.driver.stopped() {
            // It is reported as it was found.
            let (found_after, trace) = (self.outcome.runs, trace.clone());
            let found = Failure::new(violation, name, script.clone());
            return self.outcome.failures.push(Failure { found_after, trace, again: 0, ..found });
        }
        if blamed != id {
            self.outcome.behind.insert(id, blamed);
        }
        if blamed != id && self.outcome.is_broken(blamed) {
            *self.detours.entry(id).or_default() += 1;
            return;
        }
        if !self.counts(blamed) {
            return self.outcome.hides(&Violation { requirement: blamed, ..violation });
        }
        let mut shown = None;
        let mut again = 0;
        for _ in 0..3 * tries {
            let Some((trace, verdict)) = judged(self.driver, &small, self.hello) else { continue };
            let found = verdict.all().find(|found| found.requirement == blamed);
            let Some(found) = found else { continue };
            if !verdict.is_sure(found) {
                // However small the script is, another rule is broken first.
                let first = verdict.violation.map_or(blamed, |first| first.requirement);
                self.outcome.behind.insert(id, first);
                *self.detours.entry(id).or_default() = DETOURS;
                return;
            }
            again += 1;
            shown.get_or_insert((found.clone(), trace));
            if again == 3 {
                break;
            }
            self.driver.hurry(again > 0);
        }
        self.driver.hurry(false);
        let reproduced = shown.is_some();
        let vanished = tries == 1 && again == 0;
        let alone = tries == 1 && again > 0 && self.goes_well_alone(&small);
        let leaks = alone && again == 3 && self.counts(SHARED);
        // A failure that depends on earlier scripts is the known one, once one is known.
        if (vanished || leaks) && self.outcome.is_broken(SHARED) {
            self.outcome.behind.insert(id, SHARED);
            *self.detours.entry(id).or_default() += 1;
            return;
        }
        let (mut violation, trace, small) = match shown {
            Some((violation, small_trace)) => (violation, small_trace, small),
            None => (violation, trace.clone(), script.clone()),
        };
        if leaks {
            let Violation { requirement, at, cause, .. } = violation;
            let cause = format!(
                "{requirement} ({cause}), but only in a process that ran other scripts before"
            );
            violation = Violation { requirement: SHARED, symptom: Symptom::Other, at, cause };
        }
        if reproduced
            && !leaks
            && let Some(feature) = special(Features::of(&small))
        {
            self.avoid = self.avoid.without(feature);
        }
        self.outcome.failures.push(Failure {
            found_after: self.outcome.runs,
            script: small,
            trace,
            again,
            needs_others: alone || vanished,
            ..Failure::new(violation, name, script.clone())
        });
    }

    /// Reports a failure before it is shrunk, which can take long.
    fn announce(&mut self, violation: &Violation, name: &str) {
        self.outcome.shrinking = Some((violation.clone(), name.to_owned()));
        (self.progress)(&self.outcome, name);
        self.outcome.shrinking = None;
    }

    /// Keeps the features that provoke a known failure out of random scripts. If the fixed cases
    /// have shown the failure, its script says more precisely what to avoid, and this step skips
    /// it.
    fn avoid_known(&mut self) {
        for id in &self.plan.known {
            if !self.outcome.is_broken(id)
                && let Some(feature) = special(catalogue::needed_for(id))
            {
                self.avoid = self.avoid.without(feature);
            }
        }
    }

    /// Whether a script that fails every time passes in a process that ran nothing else.
    fn goes_well_alone(&mut self, script: &Script) -> bool {
        (0..2).all(|_| {
            self.driver.forget()
                && judged(self.driver, script, self.hello)
                    .is_some_and(|(_, verdict)| verdict.first().is_none())
        })
    }

    fn refuses_reentrancy(&mut self) {
        self.avoid = self.avoid.without(Feature::InSend).without(Feature::InClose);
        if !self.counts("RE-1") {
            return;
        }
        let cause =
            "the implementation declares that it refuses calls from inside a sink".to_owned();
        let violation = Violation { requirement: "RE-1", symptom: Symptom::Error, at: 0, cause };
        self.outcome.failures.push(Failure::new(violation, "hello", Script::default()));
    }
}

/// The feature to avoid for a failure. The plain features are never avoided: without them most
/// scripts have nothing left.
fn special(features: Features) -> Option<Feature> {
    features
        .most_special()
        .filter(|feature| !matches!(feature, Feature::Revoke | Feature::Unsub | Feature::Count))
}

fn judged(driver: &mut dyn Driver, script: &Script, hello: &Hello) -> Option<(Trace, Verdict)> {
    let Answer::Trace(trace) = driver.run(script) else { return None };
    let verdict = oracle::judge_claims(script, &trace, hello);
    verdict.nonsense.is_none().then_some((trace, verdict))
}
