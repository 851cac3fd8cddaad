//! What came of a campaign.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::catalogue::{self, Level};
use crate::oracle::Violation;
use crate::script::Script;
use crate::trace::Trace;

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
    pub(super) fn new(violation: Violation, found_by: &str, script: Script) -> Self {
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
    /// Requirements that are not known to be broken and could not be judged where it counts: each
    /// with the broken one behind which it hides.
    pub behind: BTreeMap<&'static str, &'static str>,
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
    pub(super) fn failure(&mut self, id: &str) -> Option<&mut Failure> {
        self.failures.iter_mut().find(|known| known.violation.requirement == id)
    }

    /// Whether this requirement is known to be broken.
    pub(super) fn is_broken(&self, id: &str) -> bool {
        self.failures.iter().any(|known| known.violation.requirement == id)
    }

    /// A requirement that is broken in a special case only hides behind that case.
    pub(super) fn hides(&mut self, Violation { requirement, symptom, .. }: &Violation) {
        if let Some(general) = symptom.general() {
            self.behind.entry(general).or_insert(requirement);
        }
    }

    /// Says of each requirement that is not broken behind which broken one it hides, if it does.
    pub(super) fn settle_what_hides(&mut self) {
        for failure in std::mem::take(&mut self.failures) {
            self.hides(&failure.violation);
            self.failures.push(failure);
        }
        let broken: BTreeSet<_> =
            self.failures.iter().map(|own| own.violation.requirement).collect();
        self.behind.retain(|id, _| !broken.contains(id));
        // A rule that hides behind a hidden one hides behind what that hides behind.
        let behind = self.behind.clone();
        for breach in self.behind.values_mut() {
            let mut left = behind.len();
            while let Some(next) = behind.get(breach).filter(|_| left > 0) {
                (*breach, left) = (next, left - 1);
            }
        }
    }
}
