//! The report as JUnit XML.

use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::{Exit, Line, Report, Status, is_failing, is_open};
use crate::campaign::Failure;
use crate::pretty;

impl Report {
    /// What stands in the way of a verdict and is of no one requirement: a class, a name, and why.
    fn errors(&self) -> Vec<(&'static str, String, String)> {
        let mut errors = Vec::new();
        let mut error = |class, name: &str, why: String| errors.push((class, name.to_owned(), why));
        for fault in &self.faults {
            error("adapter", &fault.found_by, fault.message.clone());
        }
        for stale in &self.stale {
            error("known-failing", stale, "listed as known to fail, and does not".into());
        }
        for (need, names) in &self.declined {
            error("unsupported", need, format!("undecided: declined {}", names.join(", ")));
        }
        for untested in &self.untested {
            error("suite", "selection", format!("nothing was put to the test: {untested}"));
        }
        let open = match self.exit {
            Exit::Interrupted | Exit::Terminated => "the run was cut short by a signal",
            Exit::NothingExercised if self.scripts == 0 => "no script was judged",
            Exit::Undecided if !self.never_exercised.is_empty() => {
                "undecided: not everything was put to the test"
            }
            _ => return errors,
        };
        error("suite", "verdict", open.into());
        errors
    }

    /// The report as JUnit XML: one test case per requirement of the claimed profiles.
    #[must_use]
    pub fn junit(&self) -> String {
        let mut suite = TestSuite::new(self.implementation.name.as_str());
        suite.set_time(Duration::from_secs_f64(self.seconds));
        for line in &self.requirements {
            if !matches!(line.status, Status::NotClaimed | Status::Elsewhere) {
                let mut case = TestCase::new(line.id.as_str(), self.case(line));
                case.set_classname(line.profile.as_str());
                suite.add_test_case(case);
            }
        }
        for (class, name, why) in self.errors() {
            let mut case = TestCase::new(name, ended(NonSuccessKind::Error, &why));
            case.set_classname(class);
            suite.add_test_case(case);
        }
        let mut report = quick_junit::Report::new(self.implementation.name.as_str());
        report.add_test_suite(suite);
        report.to_string().unwrap_or_default()
    }

    fn case(&self, line: &Line) -> TestCaseStatus {
        let never = self.never_exercised.contains(&line.id);
        let why = match line.status {
            Status::Kept => return TestCaseStatus::success(),
            Status::NotExercised if never => {
                return ended(NonSuccessKind::Error, "never put to the test");
            }
            _ if is_failing(line, &self.failures) => {
                let own = |failure: &&Failure| failure.violation.requirement == line.id;
                let Some(failure) = self.failures.iter().find(own) else {
                    return ended(NonSuccessKind::Failure, "");
                };
                let cause = &failure.violation.cause;
                let mut status = ended(NonSuccessKind::Failure, cause);
                status.set_description(format!("{cause}\n{}", pretty::script(&failure.script)));
                return status;
            }
            Status::NotJudged => {
                let behind = line.behind.as_deref().unwrap_or_default();
                let why = format!("not judged: behind {behind}, which is broken");
                if is_open(line, &self.requirements) {
                    return ended(NonSuccessKind::Error, &why);
                }
                why
            }
            Status::Known => format!("known: {}", line.reason),
            Status::NotExercised => "never put to the test".to_owned(),
            Status::NotScored => "later than the port's edition".to_owned(),
            _ => format!("{} not met", line.level.word()),
        };
        let mut status = TestCaseStatus::skipped();
        status.set_message(why);
        status
    }
}

fn ended(kind: NonSuccessKind, why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(why);
    status
}
