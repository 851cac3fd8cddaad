//! The adapter of `registry-core`: the protocol on standard input and output, all profiles that it
//! has.

use std::io::{BufRead, Write, stdin, stdout};
use std::time::Duration;

use harness::core;
use harness::protocol::{Reply, Request};
use harness::subject::{Limits, execute_or};

fn main() {
    let factory = core::factory();
    for line in stdin().lock().lines().map_while(Result::ok) {
        let request: Request = match serde_json::from_str(&line) {
            Ok(request) => request,
            Err(error) => {
                answer(&unread(&line, &error));
                continue;
            }
        };
        match request {
            Request::Hello { .. } => answer(&Reply::Hello(core::hello())),
            Request::Run { id, fuel, patience_ms, script } => {
                let limits = Limits { fuel, patience: Duration::from_millis(patience_ms) };
                let out_of_fuel = Box::new(move |events| {
                    answer(&Reply::Trace { id, events });
                    std::process::exit(0);
                });
                let events = execute_or(&script, &factory, limits, Some(out_of_fuel));
                answer(&Reply::Trace { id, events });
            }
            Request::Bye => break,
        }
    }
}

/// What to say to a request that cannot be read: an operation that is unknown here is no failure.
fn unread(line: &str, error: &serde_json::Error) -> Reply {
    let request: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let (id, message) = (request["id"].as_u64(), error.to_string());
    match id {
        Some(id) if request["type"] == "run" && message.starts_with("unknown ") => {
            Reply::Unsupported { id, need: message }
        }
        _ => Reply::AdapterError { id, message },
    }
}

fn answer(reply: &Reply) {
    let Ok(mut line) = serde_json::to_string(reply) else { std::process::exit(1) };
    line.push('\n');
    let mut out = stdout().lock();
    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        // The runner reads no more.
        std::process::exit(0);
    }
}
