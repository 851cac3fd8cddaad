//! The report as a text for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Report, Status};
use crate::campaign::Failure;
use crate::catalogue::{self, Level};
use crate::pretty;
use crate::runner::terminal::{Paint, counted, quoted, wrap};

type Colour = fn(&Paint, &str) -> String;

impl Report {
    /// The report for a terminal, or for a log.
    #[must_use]
    pub fn text(
        &self,
        paint: &Paint,
        command: &str,
        saved: &dyn Fn(&str) -> Option<String>,
    ) -> String {
        let mut page = String::new();
        let own = &self.implementation;
        let _ = writeln!(page, "{}", paint.bold(&own.title()));
        for (profile, verdict) in self.verdicts() {
            let colour = if verdict.starts_with("conforming") {
                Paint::green
            } else if verdict.starts_with("not conforming") {
                Paint::red
            } else {
                Paint::yellow
            };
            let _ = writeln!(page, "  {profile:<11}{}", colour(paint, &verdict));
        }
        let scored_by = if self.scored_by == self.edition {
            String::new()
        } else {
            format!(", scored by edition {}", self.scored_by)
        };
        let _ = writeln!(
            page,
            "  {} scripts in {:.1} s, seed {}, edition {}{scored_by}",
            self.scripts, self.seconds, self.seed, self.edition
        );
        for failure in &self.failures {
            self.failure(failure, paint, command, saved, &mut page);
        }
        for fault in &self.faults {
            let title = paint.red("The adapter, not the registry");
            let _ = writeln!(page, "\n{title}\n  {}\n  in {}", fault.message, fault.found_by);
            let _ = write!(page, "{}", indent(&pretty::script(&fault.script), 2));
        }
        let hidden = self.hidden();
        if !hidden.is_empty() {
            let title = paint.yellow("Not judged, because of what is broken:");
            let _ = writeln!(page, "\n{title}");
        }
        for (breach, ids) in hidden {
            let _ = writeln!(page, "  {} behind {breach}", ids.join(" "));
        }
        let mut note = |colour: Colour, label, text: String| {
            let _ = writeln!(page, "\n{} {text}", colour(paint, label));
        };
        if !self.never_exercised.is_empty() {
            note(Paint::yellow, "Never put to the test:", self.never_exercised.join(" "));
        }
        for untested in &self.untested {
            note(Paint::yellow, "Nothing was put to the test:", untested.clone());
        }
        for stale in &self.stale {
            let text = "is listed as known to fail and does not: remove it from the file";
            note(Paint::red, "Stale:", format!("{stale} {text}"));
        }
        for (need, times) in &self.unsupported {
            let named = self.declined.get(need).map(Vec::as_slice).unwrap_or_default();
            let more = if (named.len() as u64) < *times { ", …" } else { "" };
            let were = if *times == 1 { "was" } else { "were" };
            let text = format!(
                "{} {were} answered with unsupported: {need}, though hello offers what they need: \
                 {}{more}",
                counted(*times, "script"),
                named.join(", ")
            );
            note(Paint::yellow, "Undecided:", text);
        }
        for warning in &self.warnings {
            note(Paint::yellow, "Warning:", warning.clone());
        }
        page
    }

    /// What could not be judged, by the broken requirement behind which it hides.
    fn hidden(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut hidden: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for line in self.requirements.iter().filter(|line| line.status == Status::NotJudged) {
            hidden.entry(line.behind.as_deref().unwrap_or_default()).or_default().push(&line.id);
        }
        hidden
    }

    fn failure(
        &self,
        failure: &Failure,
        paint: &Paint,
        command: &str,
        saved: &dyn Fn(&str) -> Option<String>,
        page: &mut String,
    ) {
        let id = failure.violation.requirement;
        let Some(requirement) = catalogue::find(id) else { return };
        let line = self.requirements.iter().find(|line| line.id == id);
        let title = format!("{id} {}", requirement.level.word());
        let excused = match line.map(|line| line.status) {
            Some(Status::Known) => " (known)",
            Some(Status::NotScored) => " (not scored: later than the port's edition)",
            _ => "",
        };
        let decides = failure.level == Level::M && excused.is_empty();
        let title = if decides { paint.red(&title) } else { paint.yellow(&title) };
        let _ = writeln!(page, "\n{title}{excused}");
        let _ = writeln!(page, "{}", wrap(&requirement.text, 2));
        let _ = writeln!(page, "  {} {}", paint.bold("cause:"), failure.violation.cause);
        let mut steady = match failure.again {
            3 => "fails every time".to_owned(),
            0 => "did not fail again".to_owned(),
            some => format!("flaky: failed in {some} of 3 more runs"),
        };
        if failure.needs_others {
            steady += ", not broken when run alone (look for state shared between registries)";
        }
        let _ = writeln!(
            page,
            "  found by {}, {steady}, broken by {}",
            failure.found_by,
            counted(failure.times, "script")
        );
        if let Some(line) = line.filter(|line| !line.reason.is_empty()) {
            let _ = writeln!(page, "  known: {}", line.reason);
        }
        if failure.script.steps.is_empty() {
            return;
        }
        let _ = write!(page, "  script:\n{}", indent(&pretty::script(&failure.script), 2));
        if !failure.trace.is_empty() {
            let mark = paint.red("► ");
            let trace = pretty::trace(&failure.script, &failure.trace, failure.violation.at, &mark);
            let _ = write!(page, "  trace:\n{}", indent(&trace, 4));
        }
        if let Some(file) = saved(id) {
            let file = quoted(&file);
            let _ = writeln!(page, "  replay:   registry-conform replay {file} -- {command}");
            let _ =
                writeln!(page, "  by hand:  registry-conform replay --lines {file} | {command}");
        }
    }
}

fn indent(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}
