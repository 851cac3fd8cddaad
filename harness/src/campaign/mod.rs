//! A campaign: many scripts against one implementation, and what came of them.
//!
//! Saved regressions run first, then the fixed cases, then random scripts. The first failure does
//! not end a campaign: failures are grouped by requirement, shrunk and run again. Random scripts
//! then avoid the feature that triggers the failure, so that they explore the rest; every eighth
//! script has it, which confirms that the failure is still there.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

use crate::cases::cases;
use crate::catalogue::{self, Level};
use crate::clock::Started;
use crate::features::{Feature, Features};
use crate::generate::generate;
use crate::oracle::{self, Verdict, Violation};
use crate::protocol::{Hello, Reentrancy};
use crate::script::{Act, Script};
use crate::shrink::{Bounds, same_or_more_general, shrink};
use crate::trace::Trace;

mod driver;
mod exercised;
mod unanswered;

pub use driver::{Answer, Driver, InProcess};
pub use exercised::never_exercised;
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

/// A requirement that an implementation broke, with the smallest script that shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// What is broken, where, and why.
    pub violation: Violation,
    /// How binding it is.
    pub level: Level,
    /// The case, or the seed of the random script, that found it.
    pub found_by: String,
    /// How many scripts had been run.
    pub found_after: u64,
    /// The smallest script found.
    pub script: Script,
    /// Its trace.
    pub trace: Trace,
    /// The script that found it.
    pub original: Script,
    /// In how many of three more runs the small script failed alike.
    pub again: u32,
    /// It fails only after other scripts of the same process, as far as was seen.
    pub needs_others: bool,
    /// How many scripts failed for it in all.
    pub times: u64,
}

impl Failure {
    /// A failure that was found by a script before any was run, and has happened each time.
    fn new(violation: Violation, found_by: &str, script: Script) -> Self {
        let found = catalogue::find(violation.requirement).map_or(Level::M, |found| found.level);
        Self {
            level: if catalogue::is_must(violation.requirement) { Level::M } else { found },
            violation,
            found_by: found_by.to_owned(),
            found_after: 0,
            original: script.clone(),
            script,
            trace: Trace::new(),
            again: 3,
            needs_others: false,
            times: 1,
        }
    }

    /// Whether it failed each time.
    #[must_use]
    pub fn deterministic(&self) -> bool {
        self.again == 3
    }
}

/// A script that could not be judged.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// What went wrong.
    pub message: String,
    /// The case or seed.
    pub found_by: String,
    /// The script.
    pub script: Script,
}

/// What came of a campaign.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// One for each broken requirement, in the order of discovery.
    pub failures: Vec<Failure>,
    /// The adapter's own failures.
    pub faults: Vec<Fault>,
    /// How many scripts kept each requirement that they could have broken.
    pub kept: BTreeMap<&'static str, u64>,
    /// Scripts that were judged.
    pub runs: u64,
    /// Scripts that the adapter declined when asked, by what they need.
    pub unsupported: BTreeMap<String, u64>,
    /// The names of these scripts, the first few for each need.
    pub declined: BTreeMap<String, Vec<String>>,
    /// The failure that is about to be shrunk, and the script that found it.
    pub shrinking: Option<(Violation, String)>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// The failure for this requirement, if there is one.
    fn failure(&mut self, id: &str) -> Option<&mut Failure> {
        self.failures.iter_mut().find(|known| known.violation.requirement == id)
    }

    /// Whether this requirement is known to be broken.
    fn is_broken(&self, id: &str) -> bool {
        self.failures.iter().any(|known| known.violation.requirement == id)
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
    let fixed = cases().into_iter().map(|case| {
        // A registry that cannot count runs the rest of the script.
        let script =
            if counts { case.script } else { case.script.without(|op| op.act == Act::Count) };
        (format!("case {:?}", case.name), script)
    });
    for (name, script) in plan.saved.iter().cloned().chain(fixed) {
        if run.over() {
            break;
        }
        run.script(&name, &script);
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
        run.script(&name, &script);
        if index % 8 == 7 {
            run.confirming += began.ago();
        }
        (run.progress)(&run.outcome, &name);
    }
    run.outcome.took = run.started.ago();
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

    fn script(&mut self, name: &str, script: &Script) {
        if self.hello.lacks(script).is_some() {
            return;
        }
        let features = Features::of(script);
        if self.hello.policies.reentrancy == Reentrancy::Refused
            && (features.has(Feature::InSend) || features.has(Feature::InClose))
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
        let broken: Vec<Violation> = verdict.all().cloned().collect();
        for violation in broken {
            self.violation(violation, name, script, &trace);
        }
    }

    fn fault(&mut self, message: String, name: &str, script: &Script) {
        self.outcome.faults.push(Fault {
            message,
            found_by: name.to_owned(),
            script: script.clone(),
        });
    }

    fn violation(&mut self, violation: Violation, name: &str, script: &Script, trace: &Trace) {
        let id = violation.requirement;
        if let Some(known) = self.outcome.failure(id) {
            known.times += 1;
            return;
        }
        // Only a shrunk script tells a special case from its general rule.
        if !self.counts(id) && !self.plan.only.iter().any(|only| same_or_more_general(id, only)) {
            return;
        }
        if self.detours.get(id).is_some_and(|detours| *detours >= DETOURS) {
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
                let mut broken = verdict.all().map(|found| found.requirement);
                broken.find(|found| same_or_more_general(id, found))
            })
        });
        self.driver.hurry(false);
        if self.driver.stopped() {
            // It is reported as it was found.
            let (found_after, trace) = (self.outcome.runs, trace.clone());
            let found = Failure::new(violation, name, script.clone());
            return self.outcome.failures.push(Failure { found_after, trace, again: 0, ..found });
        }
        if blamed != id && self.outcome.is_broken(blamed) {
            *self.detours.entry(id).or_default() += 1;
            return;
        }
        if !self.counts(blamed) {
            return;
        }
        let mut shown = None;
        let mut again = 0;
        for _ in 0..3 * tries {
            let Some((trace, verdict)) = judged(self.driver, &small, self.hello) else { continue };
            if let Some(found) = verdict.all().find(|found| found.requirement == blamed) {
                again += 1;
                shown.get_or_insert((found.clone(), trace));
            }
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
            *self.detours.entry(id).or_default() += 1;
            return;
        }
        let (mut violation, trace, small) = match shown {
            Some((violation, small_trace)) => (violation, small_trace, small),
            None => (violation, trace.clone(), script.clone()),
        };
        if leaks {
            let Violation { requirement, at, cause } = violation;
            let cause = format!(
                "{requirement} ({cause}), but only in a process that ran other scripts before"
            );
            violation = Violation { requirement: SHARED, at, cause };
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
        let violation = Violation { requirement: "RE-1", at: 0, cause };
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
