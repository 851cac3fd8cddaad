//! The command line.

use std::{
    ffi::OsString,
    io::{IsTerminal, Write as _, stderr, stdout},
    path::{Path, PathBuf},
    time::Duration,
};

use lexopt::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    adapter::{Adapter, Deadlines},
    known::{Known, today},
    report::{Exit, Input, Paint, Report, wrap},
};
use crate::{
    campaign::{Answer, Driver, InProcess, Outcome, Plan, campaign},
    catalogue, gallery, oracle, pretty,
    protocol::{Hello, PROTOCOL, Request},
    script::{Act, Op, Registration, Script},
    subject::Limits,
};

const HELP: &str = "\
registry-conform: does a subscriber registry keep its promises?

  registry-conform run [OPTIONS] -- COMMAND…     judge the registry behind an adapter
  registry-conform replay FILE -- COMMAND…       run one saved script and show its trace
  registry-conform replay --lines FILE           print the lines that feed it to an adapter by hand
  registry-conform doctor -- COMMAND…            check an adapter before its registry
  registry-conform explain REQUIREMENT           print a promise, and why it is one
  registry-conform list                          print all promises, a line each
  registry-conform gallery [--seed N]            show that the suite sees: wrong registries, and what gave them away
  registry-conform spec                          print SPEC.md

Options of run:
  --scripts N      random scripts, after the fixed ones (2000)
  --seed N         where they start (by chance, and printed)
  --time S         start no script after so many seconds
  --profile NAME   only the requirements of a profile; may be repeated
  --only REQ       only this requirement; may be repeated
  --known FILE     requirements that are known to fail (TOML)
  --save DIR       where failing scripts are kept and found again (.registry-conform)
  --json FILE      write the report as JSON          --junit FILE   write it as JUnit XML
  --patience S     how long a lane may wait (2)

Exit: 0 conforming · 1 failures · 2 stale known-failing · 3 adapter error · 4 undecided · 5 nothing exercised · 64 usage
An adapter is any program that speaks PROTOCOL.md on its standard streams. NO_COLOR is respected.";

/// Runs the command line and says how the process should end.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    match dispatch(arguments.into_iter().collect()) {
        Ok(exit) => exit,
        Err(Problem::Usage(why)) => {
            say_error(&format!("{why}\n`registry-conform help` says what there is."));
            Exit::Usage
        }
        Err(Problem::Adapter(why)) => {
            say_error(&why);
            Exit::Adapter
        }
    }
}

enum Problem {
    Usage(String),
    Adapter(String),
}

impl From<lexopt::Error> for Problem {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

/// A failing script, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    requirement: String,
    script: Script,
}

struct Options {
    scripts: u64,
    seed: u64,
    time: Option<Duration>,
    only: Vec<String>,
    partial: bool,
    known: Option<PathBuf>,
    save: PathBuf,
    json: Option<PathBuf>,
    junit: Option<PathBuf>,
    lines: bool,
    patience: Duration,
    /// Positional arguments before `--`, if the command of an adapter follows it.
    files: Vec<String>,
    command: Vec<String>,
}

fn parse(arguments: Vec<OsString>) -> Result<Options, Problem> {
    // What follows the first `--` is the adapter's, whatever it looks like.
    let cut = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let command = arguments.iter().skip(cut + 1).map(|word| word.to_string_lossy().into_owned()).collect();
    let mut options = Options {
        scripts: 2_000,
        seed: chance(),
        time: None,
        only: Vec::new(),
        partial: false,
        known: None,
        save: ".registry-conform".into(),
        json: None,
        junit: None,
        lines: false,
        patience: Deadlines::default().patience,
        files: Vec::new(),
        command,
    };
    let mut parser = lexopt::Parser::from_args(arguments[..cut].to_vec());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("scripts") => options.scripts = parser.value()?.parse()?,
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("time") => options.time = Some(seconds(parser.value()?.parse()?)?),
            Long("patience") => options.patience = seconds(parser.value()?.parse()?)?,
            Long("profile") => {
                let name = parser.value()?.string()?;
                let of_it: Vec<_> =
                    catalogue::catalogue().requirements.iter().filter(|own| own.profile == name).collect();
                if of_it.is_empty() {
                    return Err(Problem::Usage(format!("there is no profile {name:?}")));
                }
                options.only.extend(of_it.into_iter().map(|own| own.id.clone()));
                options.partial = true;
            }
            Long("only") => {
                let id = parser.value()?.string()?;
                let found =
                    catalogue::find(&id).ok_or_else(|| Problem::Usage(format!("there is no requirement {id:?}")))?;
                options.only.push(found.id.clone());
                options.partial = true;
            }
            Long("known") => options.known = Some(parser.value()?.into()),
            Long("save") => options.save = parser.value()?.into(),
            Long("json") => options.json = Some(parser.value()?.into()),
            Long("junit") => options.junit = Some(parser.value()?.into()),
            Long("lines") => options.lines = true,
            Value(word) => options.files.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

fn dispatch(arguments: Vec<OsString>) -> Result<Exit, Problem> {
    let Some((command, rest)) = arguments.split_first() else {
        say(HELP);
        return Ok(Exit::Usage);
    };
    let options = parse(rest.to_vec());
    match command.to_string_lossy().as_ref() {
        "run" => run(options?),
        "replay" => replay(options?),
        "doctor" => doctor(options?),
        "explain" => explain(&options?),
        "list" => list(),
        "gallery" => show_gallery(&options?),
        "spec" => {
            let _ = write!(stdout(), "{}", catalogue::spec());
            Ok(Exit::Conforming)
        }
        "help" | "--help" | "-h" => {
            say(HELP);
            Ok(Exit::Conforming)
        }
        "--version" => {
            say(&format!(
                "registry-conform {}, catalogue edition {}, protocol {PROTOCOL}",
                env!("CARGO_PKG_VERSION"),
                catalogue::catalogue().edition
            ));
            Ok(Exit::Conforming)
        }
        other => Err(Problem::Usage(format!("there is no command {other:?}"))),
    }
}

fn adapter(options: &Options) -> Result<(Adapter, Hello), Problem> {
    if options.command.is_empty() {
        return Err(Problem::Usage("the adapter's command is missing: give it after `--`".into()));
    }
    let deadlines = Deadlines { patience: options.patience, ..Deadlines::default() };
    let mut adapter = Adapter::new(options.command.clone(), deadlines);
    let hello = adapter.hello().map_err(|why| Problem::Adapter(format!("the adapter: {why}")))?;
    Ok((adapter, hello))
}

fn run(options: Options) -> Result<Exit, Problem> {
    let known = match &options.known {
        Some(file) => Known::read(file).map_err(Problem::Usage)?,
        None => Known::default(),
    };
    if let Some(extra) = options.files.first() {
        return Err(Problem::Usage(format!("{extra:?} is not an option; the adapter's command comes after `--`")));
    }
    let (mut adapter, hello) = adapter(&options)?;
    let plan = Plan {
        scripts: options.scripts,
        seed: options.seed,
        time: options.time,
        only: options.only.clone(),
        saved: saved_scripts(&options.save),
        ..Plan::default()
    };
    let mut progress = Progress::new(options.scripts + plan.saved.len() as u64 + crate::cases::cases().len() as u64);
    let mut seen = 0;
    let mut printed = 0;
    let paint = Paint { colours: colours() };
    let outcome = campaign(&hello, &mut adapter, &plan, &mut |outcome, _| {
        seen += 1;
        progress.show(seen, outcome);
        for failure in &outcome.failures[printed..] {
            progress.clear();
            let line = format!(
                "{} {} (found by {})",
                failure.violation.requirement, failure.violation.cause, failure.found_by
            );
            let _ = writeln!(
                stderr(),
                "{}",
                if failure.level == catalogue::Level::M { paint.red(&line) } else { paint.yellow(&line) }
            );
        }
        printed = outcome.failures.len();
    });
    progress.clear();
    save(&options.save, &outcome)?;
    let report = Report::new(&Input {
        hello: &hello,
        outcome: &outcome,
        known: &known,
        today: &today(),
        seed: options.seed,
        partial: options.partial,
        cut_short: options.time.is_some_and(|time| outcome.took >= time),
        warnings: adapter.warnings(),
    });
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(&report).map_err(|error| Problem::Usage(error.to_string()))?;
        write_file(file, &json)?;
    }
    if let Some(file) = &options.junit {
        write_file(file, &report.junit())?;
    }
    let place = |id: &str| Some(options.save.join(format!("{id}.json")).display().to_string());
    let _ = write!(stdout(), "{}", report.text(&paint, &options.command.join(" "), &place));
    Ok(report.exit)
}

fn replay(options: Options) -> Result<Exit, Problem> {
    let [file] = options.files.as_slice() else {
        return Err(Problem::Usage("replay takes one file, before `--`".into()));
    };
    let saved = read_saved(Path::new(file)).map_err(Problem::Usage)?;
    if options.lines {
        let deadlines = Deadlines::default();
        let patience_ms = options.patience.as_millis() as u64;
        let requests = [
            Request::Hello { protocol: PROTOCOL },
            Request::Run { id: 1, fuel: deadlines.fuel, patience_ms, script: saved.script },
            Request::Bye,
        ];
        for request in requests {
            say(&serde_json::to_string(&request).map_err(|error| Problem::Usage(error.to_string()))?);
        }
        return Ok(Exit::Conforming);
    }
    let (mut adapter, hello) = adapter(&options)?;
    say(&pretty::script(&saved.script));
    match adapter.run(&saved.script) {
        Answer::Trace(trace) => {
            let verdict = oracle::judge(&saved.script, &trace, &hello.policies);
            let paint = Paint { colours: colours() };
            let first = verdict.first();
            let at = first.map_or(usize::MAX, |violation| violation.at);
            let mark = paint.red("► ");
            let at = if first.is_none() { trace.len() } else { at };
            let page = pretty::trace(&saved.script, &trace, at, if first.is_none() { "  " } else { &mark });
            let _ = write!(stdout(), "{page}");
            if let Some(why) = verdict.nonsense {
                return Err(Problem::Adapter(format!("the trace makes no sense: {why}")));
            }
            for violation in verdict.all() {
                say(&paint.red(&format!("{}: {}", violation.requirement, violation.cause)));
            }
            if verdict.violation.is_none() {
                say(&paint.green(&format!("{} is not broken by this script", saved.requirement)));
            }
            Ok(if verdict.violation.is_none() { Exit::Conforming } else { Exit::Failures })
        }
        Answer::Unsupported(need) => Err(Problem::Adapter(format!("the adapter lacks {need}"))),
        Answer::Fault(why) | Answer::Lost(why) => Err(Problem::Adapter(why)),
    }
}

fn doctor(options: Options) -> Result<Exit, Problem> {
    let (mut adapter, hello) = adapter(&options)?;
    let paint = Paint { colours: colours() };
    let offered: Vec<&str> = hello.profiles.iter().chain(&hello.features).map(String::as_str).collect();
    say(&format!("hello: {} {} {}, offers core {}", hello.name, hello.version, hello.language, offered.join(" ")));
    let op = Op::new;
    let sub = |id, sub| op(id, Act::Sub { sub, sink: sub, with: Registration::to(&["a"]).group("x") });
    let cast = |id, data: &str| op(id, Act::Cast { channel: "a".into(), data: data.into() });
    let steps = [
        ("a subscriber", vec![sub(1, 0)]),
        ("a broadcast", vec![sub(1, 0), cast(2, "m1"), op(3, Act::Settle)]),
        ("an unsubscribe, twice", vec![sub(1, 0), op(2, Act::Unsub { sub: 0 }), op(3, Act::Unsub { sub: 0 })]),
        ("an unknown label is skipped", vec![op(1, Act::Unsub { sub: 7 })]),
        ("a revocation", vec![sub(1, 0), sub(2, 1), op(3, Act::Revoke { identity: "x".into() })]),
    ];
    for (name, steps) in steps {
        let script = Script::new(steps);
        let problem = match adapter.run(&script) {
            Answer::Trace(trace) => {
                let verdict = oracle::judge(&script, &trace, &hello.policies);
                let wrong = verdict.first().map(|violation| format!("{}: {}", violation.requirement, violation.cause));
                verdict.nonsense.map(|why| format!("the trace makes no sense: {why}")).or(wrong)
            }
            Answer::Unsupported(need) => Some(format!("unsupported: {need}")),
            Answer::Fault(why) | Answer::Lost(why) => Some(why),
        };
        match problem {
            None => say(&format!("{} {name}", paint.green("ok"))),
            Some(why) => {
                say(&format!("{} {name}\n{}", paint.red("no"), pretty::script(&script)));
                return Err(Problem::Adapter(why));
            }
        }
    }
    for warning in adapter.warnings() {
        say(&format!("{} {warning}", paint.yellow("warning:")));
    }
    say("The adapter does what it should; `registry-conform run` judges the registry.");
    Ok(Exit::Conforming)
}

fn explain(options: &Options) -> Result<Exit, Problem> {
    let [id] = options.files.as_slice() else {
        return Err(Problem::Usage("explain takes one requirement, such as REV-2".into()));
    };
    let found = catalogue::find(id).ok_or_else(|| Problem::Usage(format!("there is no requirement {id:?}")))?;
    let paint = Paint { colours: colours() };
    say(&format!(
        "{} {} · profile {} · {} · since edition {}",
        paint.bold(&found.id),
        found.level.word(),
        found.profile,
        found.group,
        found.since
    ));
    say(&wrap(&found.text, 2));
    if !found.rationale.is_empty() {
        say(&wrap(&format!("Why: {}", found.rationale), 2));
    }
    say(&format!("  Checked by: {}", found.checked.join(", ")));
    Ok(Exit::Conforming)
}

fn list() -> Result<Exit, Problem> {
    for own in &catalogue::catalogue().requirements {
        let end = own.text.find(['.', ':', ';']).unwrap_or(own.text.len());
        say(&format!("{:<7} {:<6} {:<11} {}", own.id, own.level.word(), own.profile, &own.text[..end]));
    }
    Ok(Exit::Conforming)
}

/// Hunts every wrong registry and prints the requirement that each was rejected for.
fn show_gallery(options: &Options) -> Result<Exit, Problem> {
    let mut blind = 0;
    say(&format!(
        "{:<32} {:<14} {:<8} {:>7}  {}",
        "mutant", "breaks", "rejected", "scripts", "steps of the smallest script"
    ));
    for mutant in gallery::MUTANTS {
        let limits = Limits { patience: Duration::from_millis(200), ..Limits::default() };
        let mut driver = InProcess::new(gallery::mutant(mutant.bug)).within(limits);
        let plan = Plan { scripts: options.scripts, seed: options.seed, first_only: true, ..Plan::default() };
        let outcome = campaign(&gallery::hello(), &mut driver, &plan, &mut |_, _| {});
        let found = outcome.failures.first();
        let id = found.map_or("-", |failure| failure.violation.requirement);
        let seen = mutant.breaks.contains(&id);
        blind += usize::from(!seen);
        say(&format!(
            "{:<32} {:<14} {:<8} {:>7}  {}{}",
            format!("{:?}", mutant.bug),
            mutant.breaks.join(" "),
            id,
            found.map_or(0, |failure| failure.found_after),
            found.map_or(0, |failure| failure.script.steps.len()),
            if seen { "" } else { "  ← not what it breaks" },
        ));
    }
    for variant in gallery::VARIANTS {
        let (hello, factory) = gallery::variant(variant.variety);
        let plan = Plan { scripts: options.scripts, seed: options.seed, ..Plan::default() };
        let outcome = campaign(&hello, &mut InProcess::new(factory), &plan, &mut |_, _| {});
        let wrong = outcome.failures.iter().find(|failure| failure.level == catalogue::Level::M);
        blind += usize::from(wrong.is_some());
        let said = wrong.map_or("accepted", |failure| failure.violation.requirement);
        say(&format!(
            "legal: {:<25} {:<14} {:<8} {:>7}",
            format!("{:?}", variant.variety),
            "nothing",
            said,
            outcome.runs
        ));
    }
    say(&format!(
        "seed {}: {} mutants, {} legal variants, {blind} misjudged",
        options.seed,
        gallery::MUTANTS.len(),
        gallery::VARIANTS.len()
    ));
    Ok(if blind == 0 { Exit::Conforming } else { Exit::Failures })
}

fn saved_scripts(directory: &Path) -> Vec<(String, Script)> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "json"));
    files.sort();
    files
        .iter()
        .filter_map(|file| match read_saved(file) {
            Ok(saved) => Some((format!("saved {}", file.display()), saved.script)),
            Err(why) => {
                say_error(&format!("skipped: {why}"));
                None
            }
        })
        .collect()
}

fn read_saved(file: &Path) -> Result<Saved, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let saved: Saved = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    saved.script.check().map_err(|why| format!("{}: {why}", file.display()))?;
    Ok(saved)
}

fn save(directory: &Path, outcome: &Outcome) -> Result<(), Problem> {
    for failure in outcome.failures.iter().filter(|failure| !failure.script.steps.is_empty()) {
        std::fs::create_dir_all(directory)
            .map_err(|error| Problem::Usage(format!("{}: {error}", directory.display())))?;
        let saved = Saved { requirement: failure.violation.requirement.into(), script: failure.script.clone() };
        let json = serde_json::to_string_pretty(&saved).map_err(|error| Problem::Usage(error.to_string()))?;
        write_file(&directory.join(format!("{}.json", failure.violation.requirement)), &json)?;
    }
    Ok(())
}

fn write_file(file: &Path, text: &str) -> Result<(), Problem> {
    std::fs::write(file, format!("{}\n", text.trim_end()))
        .map_err(|error| Problem::Usage(format!("{}: {error}", file.display())))
}

/// A line on standard error that is written over, if somebody is looking.
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
            let _ =
                write!(stderr(), "\r{seen} of {} scripts, {} requirements broken ", self.all, outcome.failures.len());
            let _ = stderr().flush();
        }
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(stderr(), "\r\u{1b}[K");
        }
    }
}

fn colours() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn seconds(value: f64) -> Result<Duration, Problem> {
    Duration::try_from_secs_f64(value).map_err(|_| Problem::Usage(format!("{value} is no number of seconds")))
}

/// A seed that differs from run to run.
fn chance() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Small enough to be typed.
    std::hash::RandomState::new().build_hasher().finish() % 1_000_000_000
}

fn say(text: &str) {
    // A reader that went away is no reason to panic.
    let _ = writeln!(stdout(), "{text}");
}

fn say_error(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}
