//! Runs the servers against each other, interleaved, and reports what each delivery costs on the
//! server's core.
//!
//! `matrix --quick` takes minutes, `matrix` longer; see `matrix --help`. `report FILE.json` writes
//! the tables and the picture of a former run again.

mod build;
mod cases;
mod machine;
mod picture;
mod pin;
mod results;
mod runner;
mod servers;
mod stats;
mod table;

use cases::Size;
use lexopt::prelude::*;
use results::Results;
use servers::Server;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Any error: it ends the program, and its text is all that matters.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const HELP: &str = "\
Measures the demo server beside the bare floor and other servers, interleaved, on this machine.

Usage: cargo run --release -- matrix [OPTIONS]
       cargo run --release -- report FILE.json

  --quick          fewer messages: some minutes instead of half an hour
  --repeats N      how often everything is run [3]
  --cases A,B      only these cases (see the table's first column)
  --servers A,B    only these servers; the floor always runs
  --demo PATH      measure this binary instead of the one that is built from the sources
  --out DIR        where to write matrix.json, matrix.md and matrix.svg [target/matrix]

nginx with libnginx-mod-nchan, and node, are used if they are installed (or NGINX_PROGRAM and
NCHAN_MODULE say where they are).
Exit code 3: a run of the floor or of the demo lost deliveries, so there is nothing to compare.
";

struct Args {
    size: Size,
    repeats: usize,
    cases: Option<Vec<String>>,
    servers: Option<Vec<String>>,
    demo: Option<PathBuf>,
    out: PathBuf,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("matrix: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut parser = lexopt::Parser::from_env();
    match parser.next()? {
        Some(Value(command)) if command == "matrix" => match read(parser)? {
            Some(args) => matrix(&args),
            None => help(),
        },
        Some(Value(command)) if command == "report" => {
            let file = PathBuf::from(parser.value()?);
            let results = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
            report(&results, &file)?;
            Ok(ExitCode::SUCCESS)
        }
        None | Some(Long("help")) => help(),
        Some(other) => Err(other.unexpected().into()),
    }
}

fn help() -> Result<ExitCode> {
    print!("{HELP}");
    Ok(ExitCode::SUCCESS)
}

/// Writes the tables and the picture beside the file of the figures.
fn report(results: &Results, file: &Path) -> Result<()> {
    std::fs::write(file.with_extension("md"), table::markdown(results))?;
    Ok(std::fs::write(file.with_extension("svg"), picture::draw(results))?)
}

/// What is asked for; `None` when it is help.
fn read(mut parser: lexopt::Parser) -> Result<Option<Args>> {
    let out = build::directory().join("target/matrix");
    let mut args =
        Args { size: Size::Full, repeats: 3, cases: None, servers: None, demo: None, out };
    let list = |value: std::ffi::OsString| -> Result<Vec<String>> {
        Ok(value.string()?.split(',').map(str::to_owned).collect())
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("quick") => args.size = Size::Quick,
            Long("repeats") => args.repeats = parser.value()?.parse::<usize>()?.max(1),
            Long("cases") => args.cases = Some(list(parser.value()?)?),
            Long("servers") => args.servers = Some(list(parser.value()?)?),
            Long("demo") => args.demo = Some(parser.value()?.into()),
            Long("out") => args.out = parser.value()?.into(),
            Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(args))
}

/// Refuses a name that is none.
fn known<'a>(
    kind: &str,
    asked: &Option<Vec<String>>,
    names: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let names: Vec<&str> = names.collect();
    match asked.iter().flatten().find(|name| !names.contains(&name.as_str())) {
        Some(name) => {
            Err(format!("there is no {kind} {name:?}; there are {}", names.join(", ")).into())
        }
        None => Ok(()),
    }
}

fn matrix(args: &Args) -> Result<ExitCode> {
    let binaries = build::all(args.demo.clone())?;
    pin::allow_descriptors()?;
    let cores = pin::Cores::choose()?;
    let (servers, mut cases) = (servers::all(&binaries), cases::all(args.size));
    known("case", &args.cases, cases.iter().map(|case| case.name))?;
    known("server", &args.servers, servers.iter().map(|server| server.name.as_str()))?;
    let servers: Vec<Server> = servers
        .into_iter()
        .filter(|server| {
            server.is_floor()
                || args.servers.as_ref().is_none_or(|only| only.contains(&server.name))
        })
        .filter(|server| match &server.missing {
            Some(what) => {
                eprintln!("{} is left out: {what}", server.label);
                false
            }
            None => true,
        })
        .collect();
    cases.retain(|case| {
        args.cases.as_ref().is_none_or(|only| only.iter().any(|name| name == case.name))
    });
    std::fs::create_dir_all(&args.out)?;
    let save = |results: &Results| -> Result<()> {
        let file = args.out.join("matrix.json");
        std::fs::write(&file, serde_json::to_string_pretty(results)?)?;
        report(results, &file)
    };
    let results = runner::run(&cases, &servers, args.repeats, &binaries, &cores, save)?;
    println!("{}", table::markdown(&results));
    println!("Written to {}.", args.out.display());
    let void = results.void();
    for reason in &void {
        eprintln!("matrix: void: {reason}");
    }
    Ok(if void.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
