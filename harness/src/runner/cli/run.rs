//! `run`: judges a registry.

use std::fs::{self, OpenOptions};
use std::io::{Write as _, stderr, stdout};

use super::options::Options;
use super::saved::{save, saved_scripts, write_file};
use super::{Problem, adapter, cut, say, say_error};
use crate::campaign::{Outcome, Plan, campaign};
use crate::cases::cases_with;
use crate::catalogue;
use crate::oracle::Violation;
use crate::runner::stop::Stop;
use crate::runner::terminal::moves;
use crate::runner::{Exit, Input, Known, Paint, Report, quoted, today};

pub(super) fn run(options: Options, stop: &Stop) -> Result<Exit, Problem> {
    let today = today();
    let known = match &options.known {
        Some(file) => {
            let known = Known::read(file).map_err(Problem::Usage)?;
            let expired = |why| Problem::Known(format!("{}: {why}", file.display()));
            known.check(&today).map_err(expired)?;
            known
        }
        None => Known::default(),
    };
    if let Some(extra) = options.files.first() {
        return Err(Problem::Usage(format!(
            "{extra:?} is not an option; the adapter's command comes after `--`"
        )));
    }
    // What cannot be written is better known before than after.
    for file in options.json.iter().chain(&options.junit) {
        let fresh = !file.exists();
        let opened = OpenOptions::new().append(true).create(true).open(file);
        opened.map_err(Problem::file(file))?;
        // An empty file would be taken for a report if the adapter does not even start.
        if fresh {
            let _ = fs::remove_file(file);
        }
    }
    let (mut adapter, hello) = match adapter(&options, stop) {
        Err(Problem::Adapter(why)) => {
            say_error(&why);
            let exit = stop.exit().unwrap_or(Exit::Adapter);
            say(&format!("Verdict: not decided, because {}", exit.why()));
            return Ok(exit);
        }
        started => started?,
    };
    let plan = Plan {
        scripts: options.scripts,
        seed: options.seed,
        time: options.time,
        first: options.first,
        only: options.parts.iter().flat_map(|part| part.ids.iter().cloned()).collect(),
        known: known.excused(&today),
        saved: saved_scripts(&options.save),
        ..Plan::default()
    };
    let fixed = plan.saved.len() + cases_with(options.scripts).len();
    let all = options.scripts + fixed as u64;
    let mut seen = 0;
    let mut printed = 0;
    let paint = Paint::to(&stdout());
    // The two streams may go different ways.
    let aside = Paint::to(&stderr());
    let mut progress = Progress { shown: moves(&stderr()), columns: aside.columns, all, last: 0 };
    let outcome = campaign(&hello, &mut adapter, &plan, &mut |outcome, _| {
        let said = |Violation { requirement, cause, .. }: &Violation, found_by: &str| {
            format!("{requirement} {} (found by {found_by})", cut(cause))
        };
        if let Some((violation, found_by)) = &outcome.shrinking {
            progress.clear();
            let line = said(violation, found_by) + ", shrinking…";
            let _ = write!(stderr(), "{}", aside.indent(0, 2, &line));
            return;
        }
        for failure in &outcome.failures[printed..] {
            progress.clear();
            let line = said(&failure.violation, &failure.found_by);
            let must = failure.level == catalogue::Level::M;
            let line = if must { aside.red(&line) } else { aside.yellow(&line) };
            let _ = write!(stderr(), "{}", aside.indent(0, 2, &line));
        }
        seen += 1;
        progress.show(seen, outcome);
        printed = outcome.failures.len();
    });
    progress.clear();
    let warnings = adapter.warnings();
    // Nothing of it outlives the campaign, whatever the report has to wait for.
    drop(adapter);
    save(&options.save, &outcome)?;
    let stopped = stop.exit();
    let mut report = Report::new(&Input {
        hello: &hello,
        outcome: &outcome,
        known: &known,
        today: &today,
        seed: options.seed,
        parts: &options.parts,
        cut_short: stopped.is_some() || options.time.is_some_and(|time| outcome.took >= time),
        warnings: &warnings,
    });
    report.exit = stopped.unwrap_or(report.exit);
    if let Some(file) = &options.json {
        write_file(file, &serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(file) = &options.junit {
        write_file(file, &report.junit())?;
    }
    let place = |id: &str| Some(options.save.join(format!("{id}.json")).display().to_string());
    let command: Vec<String> = options.command.iter().map(|word| quoted(word)).collect();
    let _ = write!(stdout(), "{}", report.text(&paint, &command.join(" "), &place));
    Ok(report.exit)
}

/// A line that is written over again and again.
struct Progress {
    shown: bool,
    columns: usize,
    all: u64,
    last: u64,
}

impl Progress {
    fn show(&mut self, seen: u64, outcome: &Outcome) {
        if self.shown && (seen == 1 || seen >= self.last + 50) {
            self.last = seen;
            let broken = outcome.failures.len();
            let line = format!("{seen} of {} scripts, broken so far: {broken} ", self.all);
            let _ = write!(stderr(), "\r{line:.*}", self.columns - 1);
            let _ = stderr().flush();
        }
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(stderr(), "\r{:1$}\r", "", self.columns - 1);
        }
    }
}
