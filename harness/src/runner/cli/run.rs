//! `run`: judges a registry.

use std::fs::{self, OpenOptions};
use std::io::{IsTerminal, Write as _, stderr, stdout};

use super::options::Options;
use super::saved::{save, saved_scripts, write_file};
use super::{Problem, adapter, colours};
use crate::campaign::{Outcome, Plan, campaign};
use crate::catalogue;
use crate::oracle::Violation;
use crate::runner::{Exit, Input, Known, Paint, Report, quoted, today};

pub(super) fn run(options: Options) -> Result<Exit, Problem> {
    let known = match &options.known {
        Some(file) => Known::read(file).map_err(Problem::Usage)?,
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
    let today = today();
    let (mut adapter, hello) = adapter(&options)?;
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
    let mut progress = Progress::new(
        options.scripts + plan.saved.len() as u64 + crate::cases::cases().len() as u64,
    );
    let mut seen = 0;
    let mut printed = 0;
    let paint = Paint { colours: colours(&stdout()) };
    // The two streams may go different ways.
    let aside = Paint { colours: colours(&stderr()) };
    let outcome = campaign(&hello, &mut adapter, &plan, &mut |outcome, _| {
        if let Some((violation, found_by)) = &outcome.shrinking {
            progress.clear();
            let Violation { requirement, cause, .. } = violation;
            let _ = writeln!(stderr(), "{requirement} {cause} (found by {found_by}), shrinking…");
            return;
        }
        seen += 1;
        progress.show(seen, outcome);
        for failure in &outcome.failures[printed..] {
            progress.clear();
            let line = format!(
                "{} {} (found by {})",
                failure.violation.requirement, failure.violation.cause, failure.found_by
            );
            let must = failure.level == catalogue::Level::M;
            let line = if must { aside.red(&line) } else { aside.yellow(&line) };
            let _ = writeln!(stderr(), "{line}");
        }
        printed = outcome.failures.len();
    });
    progress.clear();
    save(&options.save, &outcome)?;
    let report = Report::new(&Input {
        hello: &hello,
        outcome: &outcome,
        known: &known,
        today: &today,
        seed: options.seed,
        parts: &options.parts,
        cut_short: options.time.is_some_and(|time| outcome.took >= time),
        warnings: &adapter.warnings(),
    });
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

struct Progress {
    shown: bool,
    all: u64,
    last: u64,
}

impl Progress {
    fn new(all: u64) -> Self {
        Self { shown: stderr().is_terminal(), all, last: 0 }
    }

    fn show(&mut self, seen: u64, outcome: &Outcome) {
        if self.shown && (seen == 1 || seen >= self.last + 50) {
            self.last = seen;
            let _ = write!(
                stderr(),
                "\r{seen} of {} scripts, broken so far: {} ",
                self.all,
                outcome.failures.len()
            );
            let _ = stderr().flush();
        }
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(stderr(), "\r\u{1b}[K");
        }
    }
}
