//! What stands on the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use super::Problem;
use crate::catalogue;
use crate::runner::{Deadlines, Part};

#[derive(Default)]
pub(super) struct Options {
    pub(super) scripts: u64,
    pub(super) seed: u64,
    /// The seed of one script, as failures name it.
    pub(super) first: Option<u64>,
    pub(super) time: Option<Duration>,
    pub(super) parts: Vec<Part>,
    pub(super) known: Option<PathBuf>,
    pub(super) save: PathBuf,
    pub(super) json: Option<PathBuf>,
    pub(super) junit: Option<PathBuf>,
    pub(super) transcript: Option<PathBuf>,
    pub(super) lines: bool,
    pub(super) patience: Duration,
    /// Positional arguments before `--`, if the command of an adapter follows it.
    pub(super) files: Vec<String>,
    pub(super) command: Vec<String>,
}

pub(super) fn parse(arguments: Vec<OsString>) -> Result<Options, Problem> {
    // What follows the first `--` is the adapter's, whatever it looks like.
    let cut = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let command =
        arguments.iter().skip(cut + 1).map(|word| word.to_string_lossy().into_owned()).collect();
    let mut options = Options {
        scripts: 2_000,
        seed: chance(),
        save: ".registry-conform".into(),
        patience: Deadlines::default().patience,
        command,
        ..Options::default()
    };
    let mut parser = lexopt::Parser::from_args(arguments[..cut].to_vec());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("scripts") => options.scripts = parser.value()?.parse()?,
            Long("seed") => {
                let value = parser.value()?.string()?;
                let one_script = value.strip_prefix("0x");
                let seed = one_script
                    .map_or_else(|| value.parse(), |digits| u64::from_str_radix(digits, 16))
                    .map_err(|error| Problem::Usage(format!("{value:?} is no seed: {error}")))?;
                options.seed = seed;
                options.first = one_script.map(|_| seed).or(options.first);
            }
            Long("time") => options.time = Some(seconds(parser.value()?.parse()?)?),
            Long("patience") => options.patience = seconds(parser.value()?.parse()?)?,
            Long("profile") => {
                let name = parser.value()?.string()?;
                let of_it =
                    catalogue::catalogue().requirements.iter().filter(|own| own.profile == name);
                let ids: Vec<String> = of_it.map(|own| own.id.clone()).collect();
                if ids.is_empty() {
                    return Err(Problem::Usage(format!("there is no profile {name:?}")));
                }
                options.parts.push(Part { name: format!("--profile {name}"), ids });
            }
            Long("only") => {
                let id = parser.value()?.string()?;
                let found = catalogue::find(&id)
                    .ok_or_else(|| Problem::Usage(format!("there is no requirement {id:?}")))?;
                options.parts.push(Part {
                    name: format!("--only {}", found.id),
                    ids: vec![found.id.clone()],
                });
            }
            Long("known") => options.known = Some(parser.value()?.into()),
            Long("save") => options.save = parser.value()?.into(),
            Long("json") => options.json = Some(parser.value()?.into()),
            Long("junit") => options.junit = Some(parser.value()?.into()),
            Long("transcript") => options.transcript = Some(parser.value()?.into()),
            Long("lines") => options.lines = true,
            Value(word) => options.files.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

fn seconds(value: f64) -> Result<Duration, Problem> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| Problem::Usage(format!("{value} is no number of seconds")))
}

/// A seed that differs from run to run.
fn chance() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Small enough to be typed.
    std::hash::RandomState::new().build_hasher().finish() % 1_000_000_000
}
