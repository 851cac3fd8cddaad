//! A load generator for servers that push messages to many event streams.
//!
//! It opens the connections, waits until each is subscribed, publishes over HTTP, counts what
//! arrives by a stamp in the payload, and prints one line of JSON. One thread, one epoll, and
//! another of each for revocations; loopback addresses only. See `--help`.

mod args;
mod histogram;
mod http;
mod meter;
mod poll;
mod publisher;
mod report;
mod run;
mod stamp;
mod subscriber;
mod victims;

use args::Args;
use run::Run;
use std::process::ExitCode;

/// Any error: it ends the run, and its text is all that matters.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match generate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::from(2)
        }
    }
}

fn generate() -> Result<()> {
    let Some(args) = Args::parse()? else {
        print!("{}", args::HELP);
        return Ok(());
    };
    let report = Run::connect(args)?.measure()?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
