//! Counts the instructions of the hot paths under valgrind, which is the same on a busy machine as
//! on a quiet one.
//!
//! `cargo bench --bench instructions` compares them with `instructions.txt` and fails when one has
//! grown by more than a tenth; `-- --save` writes the file anew, which belongs into the commit that
//! changes them. A path is run some times and twice as often, in two processes; the difference is
//! what it costs, without the beginning and the end. A hash map's seed is another one in each
//! process, so the median of some pairs is taken.

use micro::{Crowd, CrowdInLane, body, identity, open};
use registry_core::{Channel, MessageHead, SubscriberRegistry, WireFormat};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use transport_sse::SSE;
use transport_ws::WS;

/// What a count may grow by before it is a fault.
const TOLERANCE: f64 = 0.10;
const SUBSCRIBERS: usize = 10_000;
const PAIRS: usize = 5;

/// A path's name, how often it is run at least, and the path.
type Case = (&'static str, usize, fn(usize));

const CASES: [Case; 9] = [
    ("broadcast-0", 10_000, |times| broadcast(times, 0)),
    ("broadcast-10", 1_000, |times| broadcast(times, 10)),
    ("broadcast-1000", 20, |times| broadcast(times, 1000)),
    ("lane-10", 1_000, |times| lane(times, 10)),
    ("lane-1000", 50, |times| lane(times, 1000)),
    ("close-1", 3_000, close),
    ("subscribe-unsubscribe", 1_000, subscribe),
    ("frame-sse", 5_000, |times| frame(times, &SSE)),
    ("frame-ws", 5_000, |times| frame(times, &WS)),
];

/// Each message is taken, too, or the outboxes would be full.
fn broadcast(times: usize, hearing: usize) {
    let mut crowd = Crowd::new(SUBSCRIBERS, hearing);
    for _ in 0..times {
        crowd.broadcast();
        crowd.take();
    }
}

/// What a message costs in a lane, but for the system calls.
fn lane(times: usize, hearing: usize) {
    let mut crowd = CrowdInLane::new(SUBSCRIBERS, hearing);
    for _ in 0..times {
        crowd.broadcast();
        crowd.serve();
    }
}

fn close(times: usize) {
    let crowd = Crowd::new(SUBSCRIBERS, 0);
    for number in 0..times {
        assert_eq!(crowd.registry.close_by_identity(identity(number)), 1);
    }
}

fn subscribe(times: usize) {
    let crowd = Crowd::new(SUBSCRIBERS, 0);
    for _ in 0..times {
        drop(open(&crowd.registry, SUBSCRIBERS, "other-7"));
    }
}

fn frame(times: usize, format: &WireFormat) {
    let id = SubscriberRegistry::<()>::new().broadcast("", ()).expect("nothing is encoded").id;
    let body = body();
    let channel = Channel::from("runs");
    let head = MessageHead::new(id, &channel);
    (0..times).for_each(|_| drop(black_box(format.frame(head, black_box(&body)))));
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [run, name, times] = arguments.as_slice()
        && run == "--run"
    {
        let case = CASES.iter().find(|case| case.0 == name);
        let times = times.parse().expect("a number");
        case.expect("a case").2(times);
        return ExitCode::SUCCESS;
    }
    let save = arguments.iter().any(|argument| argument == "--save");
    compare(save).unwrap_or_else(|error| {
        eprintln!("instructions: {error}");
        ExitCode::from(2)
    })
}

fn compare(save: bool) -> Result<ExitCode, Box<dyn Error>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt");
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let known: BTreeMap<&str, f64> = known
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, count)| Some((name, count.trim().parse().ok()?)))
        .collect();
    let (mut text, mut grown) = (String::new(), false);
    for (name, times, _) in CASES {
        let mut counts = [0.0; PAIRS];
        for count in &mut counts {
            *count = (counted(name, 2 * times)? - counted(name, times)?) / times as f64;
        }
        counts.sort_by(f64::total_cmp);
        let count = counts[PAIRS / 2];
        writeln!(text, "{name} {count:.0}")?;
        let change = known.get(name).map(|before| count / before - 1.0);
        let change_text =
            change.map_or("new".to_owned(), |change| format!("{:+.1} %", 100.0 * change));
        println!("{name:24} {count:10.0} instructions  {change_text}");
        grown |= change.is_none_or(|change| change > TOLERANCE);
    }
    if save {
        std::fs::write(&file, text)?;
        return Ok(ExitCode::SUCCESS);
    }
    if grown {
        eprintln!(
            "instructions: more than in {}; if that is meant, run it with `-- --save`",
            file.display()
        );
    }
    Ok(if grown { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The instructions of a process that runs a case so many times.
fn counted(name: &str, times: usize) -> Result<f64, Box<dyn Error>> {
    let valgrind = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--run", name, &times.to_string()])
        .output()
        .map_err(|error| format!("valgrind is needed: {error}"))?;
    let said = String::from_utf8_lossy(&valgrind.stderr);
    let count =
        said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    count.ok_or_else(|| format!("{name} failed under valgrind: {said}").into())
}
