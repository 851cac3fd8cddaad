//! What a campaign came to: a verdict per requirement and profile, for people and for machines.

use std::fmt::Write as _;

use serde::Serialize;

use super::known::Known;
use crate::{
    campaign::{Failure, Fault, Outcome, never_exercised},
    catalogue::{self, Level},
    pretty,
    protocol::Hello,
};

/// The version of the JSON report's form.
pub const REPORT: u32 = 1;

/// How a run ended, as the process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// Conforming.
    Conforming = 0,
    /// A requirement is broken and not known to be.
    Failures = 1,
    /// The known-failing file names what does not fail.
    StaleKnown = 2,
    /// The adapter broke the protocol, or failed by itself.
    Adapter = 3,
    /// It could not be decided.
    Undecided = 4,
    /// Nothing was put to the test, or a MUST never was.
    NothingExercised = 5,
    /// The command line is wrong.
    Usage = 64,
}

/// What is said of one requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Put to the test and kept.
    Kept,
    /// Broken.
    Broken,
    /// Broken, as the known-failing file says.
    Known,
    /// Broken, but brought by an edition later than the port's.
    NotScored,
    /// Never put to the test.
    NotExercised,
    /// Its profile is not claimed.
    NotClaimed,
    /// Not judged by scripts; other tests are for it.
    Elsewhere,
}

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The requirement.
    pub id: String,
    /// How binding it is.
    pub level: Level,
    /// Its profile.
    pub profile: String,
    /// What is said of it.
    pub status: Status,
    /// How many scripts put it to the test and found it kept.
    pub kept: u64,
    /// Why it is excused.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The report: the JSON form is the source of the others.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The form's version.
    pub report: u32,
    /// The suite's version.
    pub suite: String,
    /// The catalogue's edition.
    pub edition: u32,
    /// The implementation.
    pub implementation: Hello,
    /// The seed of the random scripts.
    pub seed: u64,
    /// How many scripts were judged.
    pub scripts: u64,
    /// In how much time.
    pub seconds: f64,
    /// The verdict.
    pub exit: Exit,
    /// Per requirement.
    pub requirements: Vec<Line>,
    /// The failures.
    pub failures: Vec<Failure>,
    /// The adapter's own.
    pub faults: Vec<Fault>,
    /// Known failures that do not fail.
    pub stale: Vec<String>,
    /// MUSTs that nothing put to the test.
    pub never_exercised: Vec<String>,
    /// What the adapter lacked when asked, and how often.
    pub unsupported: std::collections::BTreeMap<String, u64>,
    /// What it wrote that was no message.
    pub warnings: Vec<String>,
}

/// What a report is made from.
#[derive(Debug)]
pub struct Input<'a> {
    /// The implementation.
    pub hello: &'a Hello,
    /// What came of the campaign.
    pub outcome: &'a Outcome,
    /// What the port knows of itself.
    pub known: &'a Known,
    /// The day.
    pub today: &'a str,
    /// The seed.
    pub seed: u64,
    /// Only a part of the suite was run, so that what is missing says nothing.
    pub partial: bool,
    /// Time ran out.
    pub cut_short: bool,
    /// The adapter's warnings.
    pub warnings: &'a [String],
}

impl Report {
    /// Judges a campaign.
    #[must_use]
    pub fn new(input: &Input<'_>) -> Self {
        let Input { hello, outcome, known, today, .. } = *input;
        let all = catalogue::catalogue();
        let requirements: Vec<Line> = all
            .requirements
            .iter()
            .map(|own| {
                let failure = outcome.failures.iter().find(|failure| failure.violation.requirement == own.id);
                let excuse = known.excuse(&own.id, today);
                let kept = outcome.kept.get(own.id.as_str()).copied().unwrap_or(0);
                let status = match (failure, excuse) {
                    (Some(_), _) if !known.scores(&own.id) => Status::NotScored,
                    (Some(_), Some(_)) => Status::Known,
                    (Some(_), None) => Status::Broken,
                    _ if !hello.offers(&own.profile) => Status::NotClaimed,
                    _ if !own.by_oracle() => Status::Elsewhere,
                    _ if kept == 0 => Status::NotExercised,
                    _ => Status::Kept,
                };
                let reason = excuse
                    .map(|entry| format!("{} {}", entry.reason, entry.link).trim().to_owned())
                    .unwrap_or_default();
                Line { id: own.id.clone(), level: own.level, profile: own.profile.clone(), status, kept, reason }
            })
            .collect();
        let stale: Vec<String> = if input.partial || input.cut_short {
            Vec::new()
        } else {
            let failing = |entry: &&super::known::Entry| {
                outcome.failures.iter().any(|failure| entry.covers(failure.violation.requirement))
            };
            known.entries.iter().filter(|entry| !failing(entry)).map(|entry| entry.requirement.clone()).collect()
        };
        let never: Vec<String> = if input.partial {
            Vec::new()
        } else {
            never_exercised(hello, outcome).into_iter().map(str::to_owned).collect()
        };
        let broken = requirements.iter().any(|line| {
            line.status == Status::Broken
                && outcome
                    .failures
                    .iter()
                    .any(|failure| failure.violation.requirement == line.id && failure.level == Level::M)
        });
        let exit = if broken {
            Exit::Failures
        } else if !outcome.faults.is_empty() {
            Exit::Adapter
        } else if outcome.runs == 0 {
            Exit::NothingExercised
        } else if input.cut_short && !never.is_empty() || !outcome.unsupported.is_empty() && !never.is_empty() {
            Exit::Undecided
        } else if !never.is_empty() {
            Exit::NothingExercised
        } else if !stale.is_empty() {
            Exit::StaleKnown
        } else {
            Exit::Conforming
        };
        Self {
            report: REPORT,
            suite: env!("CARGO_PKG_VERSION").into(),
            edition: all.edition,
            implementation: hello.clone(),
            seed: input.seed,
            scripts: outcome.runs,
            seconds: outcome.took.as_secs_f64(),
            exit,
            requirements,
            failures: outcome.failures.clone(),
            faults: outcome.faults.clone(),
            stale,
            never_exercised: never,
            unsupported: outcome.unsupported.clone(),
            warnings: input.warnings.to_vec(),
        }
    }

    fn with(&self, profile: &str, status: Status) -> Vec<&Line> {
        self.requirements.iter().filter(|line| line.profile == profile && line.status == status).collect()
    }

    /// One line per claimed profile.
    #[must_use]
    pub fn verdicts(&self) -> Vec<(String, String)> {
        let mut profiles: Vec<&str> = Vec::new();
        for line in &self.requirements {
            if self.implementation.offers(&line.profile) && !profiles.contains(&line.profile.as_str()) {
                profiles.push(&line.profile);
            }
        }
        let names = |lines: &[&Line]| lines.iter().map(|line| line.id.as_str()).collect::<Vec<_>>().join(" ");
        let verdict = |profile: &str| {
            let broken = self.with(profile, Status::Broken);
            let (must, should): (Vec<&Line>, Vec<&Line>) = broken.into_iter().partition(|line| {
                self.failures
                    .iter()
                    .any(|failure| failure.violation.requirement == line.id && failure.level == Level::M)
            });
            let known = self.with(profile, Status::Known);
            let judged = self.with(profile, Status::Kept).len();
            let mut text = if !must.is_empty() {
                format!("not conforming: {}", names(&must))
            } else if judged == 0 {
                "not judged by scripts".to_owned()
            } else if matches!(self.exit, Exit::Adapter | Exit::Undecided | Exit::NothingExercised) {
                "not decided".to_owned()
            } else {
                "conforming".to_owned()
            };
            if !known.is_empty() {
                let _ = write!(text, ", {} ({})", counted(known.len() as u64, "known failure"), names(&known));
            }
            // What may be declared binds nobody who does not.
            let (may, should): (Vec<&Line>, Vec<&Line>) = should.iter().partition(|line| line.level == Level::Y);
            for (what, lines) in [("shoulds", should), ("mays", may)] {
                if !lines.is_empty() {
                    let _ = write!(text, ", {what} not met: {}", names(&lines));
                }
            }
            text
        };
        profiles.into_iter().map(|profile| (profile.to_owned(), verdict(profile))).collect()
    }

    /// The report for a terminal, or for a log.
    #[must_use]
    pub fn text(&self, paint: &Paint, command: &str, saved: &dyn Fn(&str) -> Option<String>) -> String {
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
        let _ = writeln!(
            page,
            "  {} scripts in {:.1} s, seed {}, edition {}",
            self.scripts, self.seconds, self.seed, self.edition
        );
        for failure in &self.failures {
            self.failure(failure, paint, command, saved, &mut page);
        }
        for fault in &self.faults {
            let _ = writeln!(
                page,
                "\n{}\n  {}\n  in {}",
                paint.red("The adapter, not the registry"),
                fault.message,
                fault.found_by
            );
            let _ = write!(page, "{}", indent(&pretty::script(&fault.script), 2));
        }
        if !self.never_exercised.is_empty() {
            let _ = writeln!(page, "\n{}: {}", paint.yellow("Never put to the test"), self.never_exercised.join(" "));
        }
        for stale in &self.stale {
            let _ = writeln!(
                page,
                "\n{} {stale} is listed as known to fail and does not: remove it from the file",
                paint.red("Stale:")
            );
        }
        for (need, times) in &self.unsupported {
            let _ =
                writeln!(page, "\n{} {times} scripts were answered with unsupported: {need}", paint.yellow("Note:"));
        }
        for warning in &self.warnings {
            let _ = writeln!(page, "\n{} {warning}", paint.yellow("Warning:"));
        }
        page
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
        let title =
            if failure.level == Level::M && excused.is_empty() { paint.red(&title) } else { paint.yellow(&title) };
        let _ = writeln!(page, "\n{title}{excused}");
        let _ = writeln!(page, "{}", wrap(&requirement.text, 2));
        let _ = writeln!(page, "  {} {}", paint.bold("cause:"), failure.violation.cause);
        let steady = if failure.deterministic() {
            "fails every time".to_owned()
        } else {
            format!("flaky: failed in {} of 3 more runs", failure.again)
        };
        let _ =
            writeln!(page, "  found by {}, {steady}, broken by {}", failure.found_by, counted(failure.times, "script"));
        if let Some(line) = line.filter(|line| !line.reason.is_empty()) {
            let _ = writeln!(page, "  known: {}", line.reason);
        }
        if failure.script.steps.is_empty() {
            return;
        }
        let _ = write!(page, "  script:\n{}", indent(&pretty::script(&failure.script), 2));
        if !failure.trace.is_empty() {
            let mark = paint.red("► ");
            let _ = write!(
                page,
                "  trace:\n{}",
                indent(&pretty::trace(&failure.script, &failure.trace, failure.violation.at, &mark), 4)
            );
        }
        if let Some(file) = saved(id) {
            let _ = writeln!(page, "  replay:   registry-conform replay {file} -- {command}");
            let _ = writeln!(page, "  by hand:  registry-conform replay --lines {file} | {command}");
        }
    }

    /// The report as JUnit XML: one test case per requirement of the claimed profiles.
    #[must_use]
    pub fn junit(&self) -> String {
        let claimed: Vec<&Line> = self
            .requirements
            .iter()
            .filter(|line| !matches!(line.status, Status::NotClaimed | Status::Elsewhere))
            .collect();
        let failing = |line: &&&Line| line.status == Status::Broken && line.level == Level::M;
        let failures = claimed.iter().filter(failing).count();
        let skipped = claimed.iter().filter(|line| !matches!(line.status, Status::Kept) && !failing(line)).count();
        let mut page = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let _ = writeln!(
            page,
            "<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{}\" skipped=\"{skipped}\" time=\"{:.3}\">",
            escape(&self.implementation.name),
            claimed.len() + self.faults.len(),
            self.faults.len(),
            self.seconds
        );
        for line in &claimed {
            let _ = write!(page, "  <testcase classname=\"{}\" name=\"{}\">", escape(&line.profile), escape(&line.id));
            let failure = self.failures.iter().find(|failure| failure.violation.requirement == line.id);
            let body =
                failure.map(|failure| format!("{}\n{}", failure.violation.cause, pretty::script(&failure.script)));
            match (line.status, failing(&line)) {
                (Status::Kept, _) => {}
                (_, true) => {
                    let cause = failure.map(|failure| failure.violation.cause.as_str()).unwrap_or_default();
                    let _ = write!(
                        page,
                        "<failure message=\"{}\">{}</failure>",
                        escape(cause),
                        escape(&body.unwrap_or_default())
                    );
                }
                (status, false) => {
                    let why = match status {
                        Status::Known => format!("known: {}", line.reason),
                        Status::NotExercised => "never put to the test".to_owned(),
                        Status::NotScored => "later than the port's edition".to_owned(),
                        _ => format!("{} not met", line.level.word()),
                    };
                    let _ = write!(page, "<skipped message=\"{}\"/>", escape(&why));
                }
            }
            page.push_str("</testcase>\n");
        }
        for fault in &self.faults {
            let _ = writeln!(
                page,
                "  <testcase classname=\"adapter\" name=\"{}\"><error message=\"{}\"/></testcase>",
                escape(&fault.found_by),
                escape(&fault.message)
            );
        }
        page.push_str("</testsuite>\n");
        page
    }
}

/// Colours, if they are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    /// Whether to use them.
    pub colours: bool,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Good.
    #[must_use]
    pub fn green(&self, text: &str) -> String {
        self.with("32", text)
    }

    /// Bad.
    #[must_use]
    pub fn red(&self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// Doubtful.
    #[must_use]
    pub fn yellow(&self, text: &str) -> String {
        self.with("33", text)
    }

    /// Important.
    #[must_use]
    pub fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }
}

fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn indent(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}

/// Breaks a text into lines of at most 100 characters.
#[must_use]
pub fn wrap(text: &str, by: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + word.chars().count() >= 100 - by {
            lines.push(word.to_owned());
        } else {
            if !lines[last].is_empty() {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines.iter().map(|line| format!("{}{line}", " ".repeat(by))).collect::<Vec<_>>().join("\n")
}

/// Makes a text fit for XML, which has no way to say most control characters.
fn escape(text: &str) -> String {
    let mut page = String::new();
    for letter in text.chars() {
        match letter {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\n' => page.push_str("&#10;"),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => page.push('\u{fffd}'),
            letter => page.push(letter),
        }
    }
    page
}
