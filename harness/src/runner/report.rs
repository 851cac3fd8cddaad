//! What a campaign came to: a verdict per requirement and profile, for people and for machines.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::known::{Entry, Known};
use super::terminal::counted;
use crate::campaign::{Failure, Fault, Outcome, never_exercised};
use crate::catalogue::{self, Level};
use crate::protocol::Hello;

mod junit;
mod page;

/// The version of the JSON report's form.
pub const REPORT: u32 = 2;

/// How a run ended, as the process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// Conforming.
    Conforming = 0,
    /// A requirement is broken and not known to be.
    Failures = 1,
    /// The known-failing file names what does not fail, or has an entry whose day has passed.
    StaleKnown = 2,
    /// The adapter broke the protocol, or failed by itself.
    Adapter = 3,
    /// It could not be decided, or a MUST could not be judged.
    Undecided = 4,
    /// Nothing was put to the test, or a MUST never was.
    NothingExercised = 5,
    /// The command line, or a file that it names, is wrong.
    Usage = 64,
    /// Ended by SIGINT.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
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
    /// Broken, but brought or changed by an edition later than the port's.
    NotScored,
    /// It could not be judged, because of another requirement that is broken.
    NotJudged,
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
    /// The broken requirement behind which it could not be judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
    /// Why it is excused.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The verdict on one requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The requirement.
    pub id: String,
    /// `kept`, `broken` (also if it is known to be), `not_judged` or `not_claimed`.
    pub verdict: &'static str,
    /// The broken requirement behind which it could not be judged.
    pub behind: Option<String>,
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
    /// The edition that the port is scored by.
    pub scored_by: u32,
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
    /// Whether time ran out or a signal came before all scripts were run.
    pub cut_short: bool,
    /// The verdict per requirement, in short.
    pub rules: Vec<Rule>,
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
    /// Parts that were asked for and of which nothing was put to the test, with why.
    pub untested: Vec<String>,
    /// What the adapter lacked when asked, and how often.
    pub unsupported: BTreeMap<String, u64>,
    /// The scripts that were answered so, the first few for each need.
    pub declined: BTreeMap<String, Vec<String>>,
    /// What it wrote that was no message.
    pub warnings: Vec<String>,
}

/// A part of the suite that was asked for.
#[derive(Debug, Clone)]
pub struct Part {
    /// How it was asked for.
    pub name: String,
    /// The requirements in it.
    pub ids: Vec<String>,
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
    /// The parts of the suite that were asked for, of which alone is spoken; all of it if there are
    /// none.
    pub parts: &'a [Part],
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
        let parts = input.parts;
        let selected = |id: &str| {
            parts.is_empty() || parts.iter().any(|part| part.ids.iter().any(|own| own == id))
        };
        let requirements: Vec<Line> = all
            .requirements
            .iter()
            .filter(|own| selected(&own.id))
            .map(|own| {
                let failure =
                    outcome.failures.iter().find(|failure| failure.violation.requirement == own.id);
                let excuse = known.excuse(&own.id, today);
                let kept = outcome.kept.get(own.id.as_str()).copied().unwrap_or(0);
                let behind = outcome.behind.get(own.id.as_str());
                let status = match (failure, excuse) {
                    (Some(_), _) if !known.scores(&own.id) => Status::NotScored,
                    (Some(_), Some(_)) => Status::Known,
                    (Some(_), None) => Status::Broken,
                    _ if !hello.offers(&own.profile) => Status::NotClaimed,
                    _ if !own.by_oracle() => Status::Elsewhere,
                    _ if behind.is_some() => Status::NotJudged,
                    _ if kept == 0 => Status::NotExercised,
                    _ => Status::Kept,
                };
                let reason = excuse
                    .map(|entry| format!("{} {}", entry.reason, entry.link).trim().to_owned())
                    .unwrap_or_default();
                Line {
                    id: own.id.clone(),
                    level: own.level,
                    profile: own.profile.clone(),
                    status,
                    kept,
                    behind: behind.map(|own| (*own).to_owned()),
                    reason,
                }
            })
            .collect();
        let stale: Vec<String> = if !parts.is_empty() || input.cut_short {
            Vec::new()
        } else {
            let failing = |entry: &&Entry| {
                outcome.failures.iter().any(|failure| entry.covers(failure.violation.requirement))
                    || outcome.behind.keys().any(|hidden| entry.covers(hidden))
            };
            known
                .entries
                .iter()
                .filter(|entry| !failing(entry))
                .map(|entry| entry.requirement.clone())
                .collect()
        };
        let due = |id: &&str| selected(id) && known.scores(id);
        let never: Vec<String> =
            never_exercised(hello, outcome).into_iter().filter(due).map(str::to_owned).collect();
        let untested: Vec<String> =
            parts.iter().filter_map(|part| untested(part, &requirements)).collect();
        let failures: Vec<Failure> = outcome
            .failures
            .iter()
            .filter(|failure| selected(failure.violation.requirement))
            .cloned()
            .collect();
        let exit = if requirements.iter().any(|line| is_failing(line, &failures)) {
            Exit::Failures
        } else if !outcome.faults.is_empty() {
            Exit::Adapter
        } else if outcome.runs == 0 {
            Exit::NothingExercised
        } else if requirements.iter().any(|line| is_open(line, &requirements))
            || !outcome.declined.is_empty()
            || input.cut_short && !(never.is_empty() && untested.is_empty())
        {
            Exit::Undecided
        } else if !never.is_empty() || !untested.is_empty() {
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
            scored_by: known.edition.unwrap_or(all.edition),
            implementation: hello.clone(),
            seed: input.seed,
            scripts: outcome.runs,
            seconds: outcome.took.as_secs_f64(),
            exit,
            cut_short: input.cut_short,
            rules: requirements.iter().map(Line::rule).collect(),
            requirements,
            failures,
            faults: outcome.faults.clone(),
            stale,
            never_exercised: never,
            untested,
            unsupported: outcome.unsupported.clone(),
            declined: outcome.declined.clone(),
            warnings: input.warnings.to_vec(),
        }
    }

    fn with(&self, profile: &str, status: Status) -> Vec<&Line> {
        self.requirements
            .iter()
            .filter(|line| line.profile == profile && line.status == status)
            .collect()
    }

    /// One line per profile that is claimed or was asked for.
    #[must_use]
    pub fn verdicts(&self) -> Vec<(String, String)> {
        let mut profiles: Vec<&str> = Vec::new();
        let some = self.requirements.len() < catalogue::catalogue().requirements.len();
        for line in &self.requirements {
            if (some || line.status != Status::NotClaimed)
                && !profiles.contains(&line.profile.as_str())
            {
                profiles.push(&line.profile);
            }
        }
        let names = |lines: &[&Line]| {
            lines.iter().map(|line| line.id.as_str()).collect::<Vec<_>>().join(" ")
        };
        let verdict = |profile: &str| {
            let broken = self.with(profile, Status::Broken);
            let (must, should): (Vec<&Line>, Vec<&Line>) =
                broken.into_iter().partition(|line| is_failing(line, &self.failures));
            let known = self.with(profile, Status::Known);
            let judged = self.with(profile, Status::Kept).len();
            let hidden = self.with(profile, Status::NotJudged);
            // Of several parts that were asked for, one may be decided although another is not.
            // A run that ended early has not put everything to the test.
            let open = match self.exit {
                _ if !self.faults.is_empty() || !self.declined.is_empty() => true,
                Exit::Undecided => true,
                Exit::NothingExercised => {
                    !self.never_exercised.is_empty()
                        || !self.with(profile, Status::NotExercised).is_empty()
                }
                _ => hidden.iter().any(|line| is_open(line, &self.requirements)),
            };
            let mut text = if !must.is_empty() {
                format!("not conforming: {}", names(&must))
            } else if !self.implementation.offers(profile) {
                "not claimed".to_owned()
            } else if judged == 0
                && !self.with(profile, Status::NotExercised).is_empty()
                && known.is_empty()
            {
                "not put to the test".to_owned()
            } else if judged == 0 && known.is_empty() && should.is_empty() && hidden.is_empty() {
                "not judged by scripts".to_owned()
            } else if open {
                "not decided".to_owned()
            } else {
                "conforming".to_owned()
            };
            if !known.is_empty() {
                let number = counted(known.len() as u64, "known failure");
                let _ = write!(text, ", {number} ({})", names(&known));
            }
            if !hidden.is_empty() {
                let _ = write!(text, ", not judged: {}", names(&hidden));
            }
            let later = self.with(profile, Status::NotScored);
            if !later.is_empty() {
                let why = "not scored, for it came after the port's edition";
                let _ = write!(text, ", {why}: {}", names(&later));
            }
            let all = &catalogue::catalogue().requirements;
            let all = all.iter().filter(|own| own.profile == profile).count();
            let own: Vec<&Line> =
                self.requirements.iter().filter(|line| line.profile == profile).collect();
            if own.len() < all {
                let _ = write!(text, " (asked for: {})", names(&own));
            }
            // An optional promise binds only an implementation that declares it.
            let (may, should): (Vec<&Line>, Vec<&Line>) =
                should.iter().partition(|line| line.level == Level::Y);
            for (what, lines) in [("shoulds", should), ("mays", may)] {
                if !lines.is_empty() {
                    let _ = write!(text, ", {what} not met: {}", names(&lines));
                }
            }
            text
        };
        profiles.into_iter().map(|profile| (profile.to_owned(), verdict(profile))).collect()
    }
}

impl Line {
    fn rule(&self) -> Rule {
        let verdict = match self.status {
            Status::Kept => "kept",
            Status::Broken | Status::Known | Status::NotScored => "broken",
            Status::NotJudged | Status::NotExercised | Status::Elsewhere => "not_judged",
            Status::NotClaimed => "not_claimed",
        };
        let behind = self.behind.clone().filter(|_| self.status == Status::NotJudged);
        Rule { id: self.id.clone(), verdict, behind }
    }
}

/// Whether a requirement must be kept and could not be judged, unless it hides behind what is
/// excused.
fn is_open(line: &Line, all: &[Line]) -> bool {
    let excused = |status| matches!(status, Status::Known | Status::NotScored);
    let known = |behind: &String| all.iter().any(|own| own.id == *behind && excused(own.status));
    line.status == Status::NotJudged
        && line.level == Level::M
        && !line.behind.as_ref().is_some_and(known)
}

/// Whether a requirement is broken and decides.
fn is_failing(line: &Line, failures: &[Failure]) -> bool {
    // The failure's own level, not the catalogue's: a declared order binds.
    let must = |own: &Failure| own.violation.requirement == line.id && own.level == Level::M;
    line.status == Status::Broken && failures.iter().any(must)
}

/// Why nothing of a part was put to the test, if so.
fn untested(part: &Part, lines: &[Line]) -> Option<String> {
    let own: Vec<&Line> = lines.iter().filter(|line| part.ids.contains(&line.id)).collect();
    let all = |status| own.iter().all(|line| line.status == status);
    let open = |line: &&Line| {
        matches!(line.status, Status::NotClaimed | Status::Elsewhere | Status::NotExercised)
    };
    let why = if !own.iter().all(open) {
        return None;
    } else if all(Status::NotClaimed) {
        let profile = own.first().map_or("", |line| line.profile.as_str());
        format!("the profile {profile} is not claimed")
    } else if all(Status::Elsewhere) {
        "it is not judged by scripts".to_owned()
    } else {
        "no script had occasion to break it".to_owned()
    };
    Some(format!("{}: {why}", part.name))
}
