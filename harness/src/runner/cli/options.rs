//! What stands on the command line.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use lexopt::prelude::*;

use super::Problem;
use crate::{catalogue, runner::Deadlines};

pub(super) struct Options {
    pub(super) scripts: u64,
    pub(super) seed: u64,
    pub(super) time: Option<Duration>,
    pub(super) only: Vec<String>,
    pub(super) partial: bool,
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
        transcript: None,
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
            Long("transcript") => options.transcript = Some(parser.value()?.into()),
            Long("lines") => options.lines = true,
            Value(word) => options.files.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
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
