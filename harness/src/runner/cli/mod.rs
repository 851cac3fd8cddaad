//! The command line.

mod docs;
mod doctor;
mod help;
mod mutants;
mod options;
mod replay;
mod run;
mod saved;

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io::{Write as _, stderr, stdout};
use std::path::Path;

use help::{help, help_of};
use options::{Options, parse};

use super::adapter::{Adapter, Deadlines};
use super::report::Exit;
use super::stop::Stop;
use super::terminal::{Paint, cut};
use crate::catalogue;
use crate::protocol::{Hello, PROTOCOL};

/// Runs the command line and says how the process should end.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let stop = Stop::default();
    let exit = dispatch(arguments.into_iter().collect(), &stop).unwrap_or_else(|problem| {
        let (why, exit) = match problem {
            Problem::Usage(why) => {
                (why + "\n`registry-conform help` says what there is.", Exit::Usage)
            }
            Problem::Known(why) => (why, Exit::StaleKnown),
            Problem::Adapter(why) => (why, Exit::Adapter),
        };
        say_error(&why);
        exit
    });
    stop.exit().unwrap_or(exit)
}

enum Problem {
    Usage(String),
    Known(String),
    Adapter(String),
}

impl Problem {
    /// A file that cannot be used.
    fn file<E: Display>(file: &Path) -> impl Fn(E) -> Self {
        move |error| Self::Usage(format!("{}: {error}", file.display()))
    }
}

impl<E: Error> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Usage(error.to_string())
    }
}

fn dispatch(arguments: Vec<OsString>, stop: &Stop) -> Result<Exit, Problem> {
    let Some((command, rest)) = arguments.split_first() else {
        say(help());
        return Ok(Exit::Usage);
    };
    let command = command.to_string_lossy();
    let ours = rest.iter().take_while(|argument| *argument != "--");
    if let Some(page) =
        help_of(&command).filter(|_| ours.into_iter().any(|word| word == "--help" || word == "-h"))
    {
        say(&page);
        return Ok(Exit::Conforming);
    }
    let options = parse(rest.to_vec());
    if let ("list" | "gallery" | "spec", Ok(options)) = (command.as_ref(), &options)
        && let files = options.files.first().filter(|_| command != "gallery")
        && let Some(extra) = files.or(options.command.first())
    {
        return Err(Problem::Usage(format!("{command} takes no {extra:?}")));
    }
    match command.as_ref() {
        "run" => run::run(options?, stop),
        "replay" => replay::replay(options?, stop),
        "doctor" => doctor::doctor(options?, stop),
        "explain" => explain(&options?),
        "list" => options.and_then(|_| list()),
        "gallery" => mutants::show_mutants(&options?),
        "docs" => docs::docs(&options?),
        "spec" => {
            let _ = write!(stdout(), "{}", catalogue::spec());
            Ok(Exit::Conforming)
        }
        "help" | "--help" | "-h" => {
            say(help());
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

/// Starts the adapter. From here on signals are listened to.
fn adapter(options: &Options, stop: &Stop) -> Result<(Adapter, Hello), Problem> {
    if options.command.is_empty() {
        return Err(Problem::Usage("the adapter's command is missing: give it after `--`".into()));
    }
    let deadlines = Deadlines { patience: options.patience, ..Deadlines::default() };
    let mut adapter = Adapter::new(options.command.clone(), deadlines).until(stop);
    if let Some(file) = &options.transcript {
        adapter = adapter.transcript(File::create(file).map_err(Problem::file(file))?);
    }
    stop.listen()?;
    let hello = adapter.hello().map_err(|why| Problem::Adapter(format!("the adapter: {why}")))?;
    Ok((adapter, hello))
}

fn explain(options: &Options) -> Result<Exit, Problem> {
    let [id] = options.files.as_slice() else {
        return Err(Problem::Usage("explain takes one requirement, such as REV-2".into()));
    };
    let found = catalogue::find(id)
        .ok_or_else(|| Problem::Usage(format!("there is no requirement {id:?}")))?;
    let paint = Paint::to(&stdout());
    let head = format!(
        "{} {} · profile {} · {} · since edition {}",
        paint.bold(&found.id),
        found.level.word(),
        found.profile,
        found.group,
        found.since
    );
    say(&paint.wrap("", 2, &head));
    say(&paint.wrap("  ", 2, &found.text));
    if !found.rationale.is_empty() {
        say(&paint.wrap("  Why: ", 2, &found.rationale));
    }
    say(&paint.wrap("  Checked by: ", 2, &found.checked.join(", ")));
    Ok(Exit::Conforming)
}

fn list() -> Result<Exit, Problem> {
    let paint = Paint::to(&stdout());
    for own in &catalogue::catalogue().requirements {
        let end = own.text.find(['.', ':', ';']).unwrap_or(own.text.len());
        let first = format!("{:<7} {:<6} {:<11} ", own.id, own.level.word(), own.profile);
        say(&paint.wrap(&first, first.len(), &own.text[..end]));
    }
    Ok(Exit::Conforming)
}

fn say(text: &str) {
    // A reader that went away is no reason to panic.
    let _ = writeln!(stdout(), "{text}");
}

/// Says what has to fit the terminal.
fn show(text: &str) {
    let _ = write!(stdout(), "{}", Paint::to(&stdout()).code(0, text));
}

fn say_error(text: &str) {
    let _ = write!(stderr(), "{}", Paint::to(&stderr()).indent(0, 2, &cut(text)));
}
