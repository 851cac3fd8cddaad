//! A crowd of clients: shows the promise at 18,000 connections, of which 50 never read.
//!
//! Without a command it starts the demo and two processes of clients, and prints a table of
//! figures, or the first expectation that was not met. `crowd clients …` is one process of clients.

mod board;
mod clients;
mod http;
mod processes;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Shows the subscriber registry with a crowd of connections.

Usage: crowd [--connections N] [--accounts N] [--warm-ups N] --demo PATH
       crowd clients --to ADDRESS --transport sse|ws [--connections N] [--accounts N] [--stalled N]

Without a command it starts the demo (the program at PATH) and two processes of clients, N
connections each [default: 9000] of as many accounts [default: 900], 25 of which never read in each
process, and prints a table of figures. The first rounds [default: 3] only bring the allocator to
its level.

`clients` opens connections and holds them until its standard input ends. It answers each line that
it reads by a line of JSON: how many are open, what they heard, how they ended.
";

fn main() -> ExitCode {
    take_all_descriptors();
    let outcome = match parse(lexopt::Parser::from_env()) {
        Ok(Command::Help) => {
            print!("{HELP}");
            Ok(())
        }
        Ok(Command::Show(plan)) => show::run(&plan),
        Ok(Command::Clients(plan)) => clients::run(plan),
        Err(error) => Err(format!("{error}\n\n{HELP}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("crowd: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Takes as many descriptors as the system grants: each connection needs one.
fn take_all_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If this is refused, connections fail later, which is reported.
    let _ = setrlimit(Resource::Nofile, limit);
}

enum Command {
    Help,
    Show(show::Plan),
    Clients(clients::Plan),
}

fn parse(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut connections, mut accounts, mut stalled, mut warm_ups) = (9000, 900, 0, 3);
    let (mut clients, mut to, mut transport, mut demo) =
        (false, None, clients::Transport::Sse, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Value(word) if word == "clients" => clients = true,
            Long("connections") => connections = parser.value()?.parse()?,
            Long("accounts") => accounts = parser.value()?.parse()?,
            Long("warm-ups") => warm_ups = parser.value()?.parse()?,
            Long("stalled") => stalled = parser.value()?.parse()?,
            Long("to") => to = Some(parser.value()?.parse()?),
            Long("transport") => transport = parser.value()?.parse()?,
            Long("demo") => demo = Some(PathBuf::from(parser.value()?)),
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    Ok(if clients {
        let to = to.ok_or("--to ADDRESS is missing")?;
        Command::Clients(clients::Plan { to, transport, connections, accounts, stalled })
    } else {
        let demo = demo.ok_or("--demo PATH is missing: the demo's program")?;
        Command::Show(show::Plan { connections, accounts, warm_ups, demo })
    })
}
