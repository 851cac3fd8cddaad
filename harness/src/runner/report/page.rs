//! The report as a text for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Exit, Report, Status, is_failing};
use crate::campaign::Failure;
use crate::catalogue::{self, Level};
use crate::pretty;
use crate::runner::terminal::{Paint, counted, cut, quoted};

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
        let _ = writeln!(page, "{}", paint.bold(&paint.wrap("", 2, &cut(&own.title()))));
        for (profile, verdict) in self.verdicts() {
            let verdict = coloured(paint, &verdict);
            let _ = writeln!(page, "{}", paint.wrap(&format!("  {profile:<11}"), 13, &verdict));
        }
        let scored_by = if self.scored_by == self.edition {
            String::new()
        } else {
            format!(", scored by edition {}", self.scored_by)
        };
        let figures = format!(
            "{} in {:.1} s, seed {}, edition {}{scored_by}",
            counted(self.scripts, "script"),
            self.seconds,
            self.seed,
            self.edition
        );
        let _ = writeln!(page, "{}", paint.wrap("  ", 2, &figures));
        for failure in &self.failures {
            self.failure(failure, paint, command, saved, &mut page);
        }
        for fault in &self.faults {
            let title = paint.red("The adapter, not the registry");
            let message =
                paint.indent(2, 0, &format!("{}\nin {}", cut(&fault.message), fault.found_by));
            let script = paint.code(2, &pretty::script(&fault.script));
            let _ = write!(page, "\n{title}\n{message}{script}");
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
            let text = format!("{} {}", colour(paint, label), cut(&text));
            let _ = writeln!(page, "\n{}", paint.wrap("", 2, &text));
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
        let _ = writeln!(page, "\n{}", self.last_line(paint));
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

    /// The verdict in one line: the last of the page, so that nobody has to look for it.
    fn last_line(&self, paint: &Paint) -> String {
        let failing = self.requirements.iter().filter(|line| is_failing(line, &self.failures));
        let broken: Vec<&str> = failing.map(|line| line.id.as_str()).collect();
        let all = catalogue::catalogue().requirements.len();
        let known = self.requirements.iter().filter(|line| line.status == Status::Known).count();
        let mut verdict = match self.exit {
            _ if !broken.is_empty() => {
                let number = counted(broken.len() as u64, "requirement");
                format!("not conforming, {number} broken: {}", broken.join(" "))
            }
            exit @ (Exit::Adapter | Exit::Interrupted | Exit::Terminated) => {
                format!("not decided, because {}", exit.why())
            }
            Exit::Undecided if self.declined.is_empty() => {
                "not decided, because time ran out".to_owned()
            }
            Exit::Undecided => "not decided, because the adapter declined scripts".to_owned(),
            Exit::NothingExercised => "not decided, for want of tests".to_owned(),
            Exit::StaleKnown => {
                format!(
                    "conforming, but the file of known failures is stale: {}",
                    self.stale.join(" ")
                )
            }
            _ => "conforming".to_owned(),
        };
        if known > 0 {
            let _ = write!(verdict, ", with {}", counted(known as u64, "known failure"));
        }
        if self.requirements.len() < all {
            verdict += ", in the part asked for";
        }
        if self.cut_short {
            verdict += ", cut short";
        }
        let room = paint.columns - "Verdict: ".len();
        if verdict.chars().count() > room {
            // What does not fit stands above.
            let head: String = verdict.chars().take(room - 1).collect();
            verdict = format!("{} …", head.rsplit_once(' ').map_or("", |(head, _)| head));
        }
        paint.bold("Verdict: ") + &coloured(paint, &verdict)
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
        let cause = format!("{} {}", paint.bold("cause:"), cut(&failure.violation.cause));
        let _ =
            write!(page, "{}{}", paint.indent(2, 0, &requirement.text), paint.indent(2, 0, &cause));
        let mut steady = match failure.again {
            3 => "fails every time".to_owned(),
            0 => "was not seen to fail again".to_owned(),
            some => format!("flaky: failed in {some} of 3 more runs"),
        };
        if failure.needs_others {
            steady += ", not broken when run alone (look for state shared between registries)";
        }
        let times = counted(failure.times, "script");
        let mut found = format!("found by {}, {steady}, broken by {times}\n", failure.found_by);
        if let Some(line) = line.filter(|line| !line.reason.is_empty()) {
            let _ = writeln!(found, "known: {}", cut(&line.reason));
        }
        page.push_str(&paint.indent(2, 0, &found));
        if failure.script.steps.is_empty() {
            return;
        }
        let script = paint.code(2, &pretty::script(&failure.script));
        let _ = write!(page, "  script:\n{script}");
        if !failure.trace.is_empty() {
            let mark = paint.red("► ");
            let trace = pretty::trace(&failure.script, &failure.trace, failure.violation.at, &mark);
            let _ = write!(page, "  trace:\n{}", paint.code(4, &trace));
        }
        if let Some(file) = saved(id) {
            let file = quoted(&file);
            let replay = format!("registry-conform replay {file} -- {command}");
            let by_hand = format!("registry-conform replay --lines {file} | {command}");
            let _ = writeln!(page, "{}", paint.command("  replay:   ", &replay));
            let _ = writeln!(page, "{}", paint.command("  by hand:  ", &by_hand));
        }
    }
}

impl Exit {
    /// Why there is no verdict.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Interrupted => "SIGINT came",
            Self::Terminated => "SIGTERM came",
            _ => "the adapter failed",
        }
    }
}

fn coloured(paint: &Paint, verdict: &str) -> String {
    if verdict.starts_with("conforming") {
        paint.green(verdict)
    } else if verdict.starts_with("not conforming") {
        paint.red(verdict)
    } else {
        paint.yellow(verdict)
    }
}
