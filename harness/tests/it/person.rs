//! What a person sees of a run, and what a run leaves behind.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use harness::campaign::{Answer, Driver, Fault, Outcome, Plan, campaign};
use harness::core;
use harness::kit::{waits_for, watched};
use harness::runner::{Adapter, Deadlines, Input, Known, Paint, Report};
use harness::script::{Act, Op, Registration, Script};
use harness::trace::Event;

use crate::place::{Place, here};

impl Place {
    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    fn conform(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_registry-conform"));
        command.current_dir(&self.0).args(arguments).envs(environment.iter().copied());
        command.output().unwrap()
    }
}

/// A runner in the middle of a run over a registry that breaks REV-1. Its adapter has children and
/// grandchildren; each holds the end of a pipe.
struct Running {
    place: Place,
    runner: Child,
    said: BufReader<std::process::ChildStderr>,
    alive: Option<File>,
}

impl Running {
    fn begin(name: &str) -> Self {
        let place = Place::new(name);
        let alive = place.fifo("alive");
        let adapter = format!(
            "exec 9>alive; sleep 1000 & (sleep 1000 & exec sleep 1000) & node {} {} Deaf; :",
            here("adapters/javascript/adapter.mjs"),
            here("tests/adapters/broken.mjs")
        );
        let mut runner = Command::new(env!("CARGO_BIN_EXE_registry-conform"));
        runner
            .args([
                "run",
                "--scripts",
                "10000000",
                "--json",
                "report.json",
                "--junit",
                "report.xml",
            ])
            .args(["--", "sh", "-c", &adapter])
            .current_dir(&place.0)
            .env("COLUMNS", "999")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut runner = runner.spawn().unwrap();
        // It opens once the adapter has opened it.
        let alive = File::open(alive).unwrap();
        let said = BufReader::new(runner.stderr.take().unwrap());
        let mut running = Self { place, runner, said, alive: Some(alive) };
        running.until("REV-1 subscriber 1 was revoked");
        running
    }

    /// Reads what it says until this comes.
    fn until(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "{words}: never said");
        }
    }

    fn send(&self, signal: &str) {
        let (signal, pid) = (format!("-{signal}"), self.runner.id().to_string());
        assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
    }

    /// Waits until nothing that the adapter was or has started is there any more.
    fn nothing_is_left(&mut self) {
        all_have_ended(self.alive.take().unwrap());
    }

    /// Its exit code, and what it says at the end.
    fn ended(&mut self) -> (Option<i32>, String) {
        let mut page = String::new();
        self.runner.stdout.take().unwrap().read_to_string(&mut page).unwrap();
        (self.runner.wait().unwrap().code(), page)
    }
}

/// Waits until nobody holds the other end of a pipe any more.
fn all_have_ended(mut pipe: File) {
    let ended = watched("the adapter", Duration::from_secs(20), move || {
        waits_for("the end of all that it has started");
        pipe.read_to_end(&mut Vec::new()).map(drop).map_err(|error| error.to_string())
    });
    assert_eq!(ended, Ok(()));
}

#[test]
fn nothing_of_an_adapter_outlives_a_runner_that_is_killed() {
    let mut running = Running::begin("killed");
    running.runner.kill().unwrap();
    running.runner.wait().unwrap();
    running.nothing_is_left();
}

#[test]
fn a_signal_ends_a_run_with_what_it_has_found() {
    for (signal, code, exit) in [("INT", 130, "interrupted"), ("TERM", 143, "terminated")] {
        let mut running = Running::begin(signal);
        running.send(signal);
        let (ended, page) = running.ended();
        assert_eq!(ended, Some(code), "{page}");
        running.nothing_is_left();
        let last = page.lines().last().unwrap();
        assert!(last.starts_with("Verdict: not conforming, "), "{page}");
        assert!(last.contains("REV-1") && last.ends_with(", cut short"), "{page}");
        let json = fs::read_to_string(running.place.0.join("report.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["exit"], &json["cut_short"]), (&exit.into(), &true.into()));
        let xml = fs::read_to_string(running.place.0.join("report.xml")).unwrap();
        assert!(xml.contains("REV-1") && xml.contains("cut short"), "{xml}");
    }
}

#[test]
fn a_signal_ends_a_run_whose_adapter_says_nothing() {
    let verdict = "Verdict: not decided, because SIGINT came\n";
    for (command, said) in [("run", verdict), ("doctor", "")] {
        let mut runner = Command::new(env!("CARGO_BIN_EXE_registry-conform"))
            .args([command, "--", "sh", "-c", "kill -INT $PPID; exec sleep 1000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut page = String::new();
        runner.stdout.take().unwrap().read_to_string(&mut page).unwrap();
        assert_eq!(runner.wait().unwrap().code(), Some(130), "{command}");
        assert_eq!(page, said);
    }
}

/// The first signal leads to the report, which here waits for ever for somebody who reads a file.
#[test]
fn a_second_signal_ends_a_run_at_once() {
    let mut running = Running::begin("twice");
    let kept = running.place.0.join(".registry-conform");
    fs::create_dir_all(&kept).unwrap();
    let _ = fs::remove_file(kept.join("REV-1.json"));
    running.place.fifo(".registry-conform/REV-1.json");
    running.send("INT");
    // The adapter ends with the first.
    running.nothing_is_left();
    running.send("TERM");
    let (ended, page) = running.ended();
    assert_eq!((ended, page.as_str()), (Some(143), ""));
}

#[test]
fn nothing_of_an_adapter_outlives_a_run() {
    let place = Place::new("leaves");
    let alive = place.fifo("alive");
    let adapter = format!(
        "exec 9>alive; sleep 1000 & node {}; sleep 1000",
        here("adapters/javascript/adapter.mjs")
    );
    let mut runner = Command::new(env!("CARGO_BIN_EXE_registry-conform"));
    runner.args(["run", "--scripts", "10", "--", "sh", "-c", &adapter]).current_dir(&place.0);
    let mut runner = runner.stdout(Stdio::null()).spawn().unwrap();
    let alive = File::open(alive).unwrap();
    assert_eq!(runner.wait().unwrap().code(), Some(0));
    all_have_ended(alive);
}

/// The guard is the first of the group.
#[test]
fn nothing_of_an_adapter_that_stops_its_guard_is_left() {
    let place = Place::new("stops");
    let alive = place.fifo("alive");
    let hello = r#"{"type":"hello","protocol":1,"name":"stops"}"#;
    // Nobody else is stopped, should it be in another group.
    let guard = "read -r _ _ _ _ guard _ </proc/self/stat; read -r name </proc/$guard/comm";
    let stop = format!(
        "exec 9>{}; sleep 1000 & {guard}; [ $name != sh ] || kill -STOP $guard; sleep 1000",
        alive.display()
    );
    let command = format!("read -r _; echo '{hello}'; read -r _; {stop}");
    let each = Duration::from_millis(300);
    let mut adapter = Adapter::new(
        ["sh", "-c", &command].map(str::to_owned).to_vec(),
        Deadlines { each, ..Deadlines::default() },
    );
    adapter.hello().unwrap();
    let alive = std::thread::spawn(move || File::open(alive).unwrap());
    assert!(matches!(adapter.run(&Script::default()), Answer::Missing(_)));
    all_have_ended(alive.join().unwrap());
}

#[test]
fn the_verdict_is_the_last_line() {
    let place = Place::new("verdict");
    let (adapter, broken, cheat) = (
        here("adapters/javascript/adapter.mjs"),
        here("tests/adapters/broken.mjs"),
        here("tests/adapters/cheat.mjs"),
    );
    let known = |name: &str, requirement: &str| {
        let text = format!("[[known]]\nrequirement = \"{requirement}\"\nreason = \"slow\"\n");
        fs::write(place.0.join(name), text).unwrap();
    };
    known("plain.toml", "FLT-6");
    known("stale.toml", "REV-1");
    for (options, command, verdict) in [
        (&[][..], &[&adapter[..]][..], "conforming"),
        (&[], &[&adapter, &broken, "Plain"], "not conforming, 1 requirement broken: FLT-6"),
        (
            &["--known", "plain.toml"],
            &[&adapter, &broken, "Plain"],
            "conforming, with 1 known failure",
        ),
        (
            &["--known", "stale.toml"],
            &[&adapter],
            "conforming, but the file of known failures is stale: REV-1",
        ),
        (&["--only", "REV-2"], &[&adapter], "conforming, in the part asked for"),
        (&["--time", "0"], &[&adapter], "not decided, for want of tests, cut short"),
        (
            &["--only", "SSE-1"],
            &[&adapter],
            "not decided, for want of tests, in the part asked for",
        ),
        (&[], &[&cheat, "shy"], "not decided, because the adapter declined scripts"),
        (&[], &[&cheat, "confesses"], "not decided, because the adapter failed"),
        (&[], &["no/such/file.mjs"], "not decided, because the adapter failed"),
    ] {
        let run = ["run", "--scripts", "60", "--seed", "5"];
        let arguments = [&run[..], options, &["--", "node"], command].concat();
        let output = place.conform(&arguments, &[("COLUMNS", "999")]);
        let page = String::from_utf8(output.stdout).unwrap();
        assert_eq!(page.lines().last(), Some(format!("Verdict: {verdict}").as_str()), "{page}");
    }
    let run = ["run", "--scripts", "60", "--seed", "5", "--", "node", &adapter, &broken, "Sticky"];
    let page = String::from_utf8(place.conform(&run, &[("COLUMNS", "56")]).stdout).unwrap();
    let last = page.lines().last().unwrap();
    assert!(last.starts_with("Verdict: not conforming, ") && last.ends_with(" …"), "{page}");
}

fn report(outcome: &Outcome) -> Report {
    Report::new(&Input {
        hello: &core::hello(),
        outcome,
        known: &Known::default(),
        today: "2030-01-01",
        seed: 1,
        parts: &[],
        cut_short: false,
        warnings: &["w".repeat(9_000)],
    })
}

#[test]
fn what_is_long_is_cut_in_texts_and_whole_in_json() {
    let long = |letter: &str| letter.repeat(70_000);
    let with = Registration::to(&[&long("c")]).group(long("i").as_str());
    let mut steps = vec![Op::new(1, Act::Sub { sub: 0, sink: 0, with })];
    steps.push(Op::new(2, Act::cast(&long("c"), &long("d"))));
    let script = Script::new(steps);
    let message = format!("{}\n{}", long("m"), "line\n".repeat(70_000));
    let fault = Fault { message, found_by: "a case".into(), script: script.clone() };
    let report = report(&Outcome { faults: vec![fault], ..Outcome::default() });
    let page = report.text(&Paint::plain(), "adapter", &|_| None);
    assert!(page.len() < 8_000, "{} bytes: {page:.9000}", page.len());
    for part in ["cccc", "iiii", "dddd", "mmmm", "(70000 bytes)", "(70001 lines)", "(9000 bytes)"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let json = serde_json::to_string(&report).unwrap();
    for letter in ["c", "i", "d", "m"] {
        assert!(json.contains(&long(letter)), "{letter}");
    }

    let said = |event: Event| harness::pretty::trace(&script, &vec![event], 9, "");
    let reason = Some(long("r"));
    for text in [
        said(Event::Err { op: 2, error: long("e") }),
        said(Event::Unbuilt { error: long("e") }),
        said(Event::Close { sink: 0, reason, thread: 0 }),
        said(Event::Send { sink: 0, data: long("d"), thread: 0 }),
    ] {
        assert!(text.len() < 600 && text.contains("(70000 bytes)"), "{text:.900}");
    }
}

#[test]
fn what_a_registry_throws_is_cut_wherever_it_is_printed() {
    let place = Place::new("verbose");
    let adapter = [
        "node",
        &here("adapters/javascript/adapter.mjs"),
        &here("tests/adapters/blocks.mjs"),
        "Verbose",
    ];
    let run = ["run", "--scripts", "20", "--only", "DEL-1", "--json", "report.json", "--"];
    let output = place.conform(&[&run[..], &adapter].concat(), &[]);
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said:.9000}");
    // One that is not cut has 180,025 bytes.
    assert!(said.contains("much ado") && said.len() < 100_000, "{} bytes", said.len());
    let json = fs::read_to_string(place.0.join("report.json")).unwrap();
    assert!(json.len() > 180_000, "{}", json.len());
    let replay = ["replay", ".registry-conform/DEL-1.json", "--"];
    let output = place.conform(&[&replay[..], &adapter].concat(), &[]);
    assert!(output.stdout.len() < 20_000, "{}", output.stdout.len());
}

/// Runs a broken registry in a terminal. Returns both streams together, without a terminal's ends
/// of lines.
fn in_a_terminal(place: &Place, environment: &[(&str, &str)]) -> String {
    let spawn = "import pty, sys; pty.spawn(sys.argv[1:])";
    let mut command = Command::new("python3");
    command.args(["-c", spawn, env!("CARGO_BIN_EXE_registry-conform"), "run", "--scripts", "60"]);
    command.args(["--seed", "5", "--", "node", &here("adapters/javascript/adapter.mjs")]);
    command.args([&here("tests/adapters/broken.mjs"), "Sticky"]).current_dir(&place.0);
    command.env_remove("NO_COLOR").env_remove("COLUMNS").env("TERM", "xterm");
    command.envs(environment.iter().copied()).stdin(Stdio::null());
    String::from_utf8(command.output().unwrap().stdout).unwrap().replace("\r\n", "\n")
}

#[test]
fn a_terminal_that_wants_no_colours_or_cannot_move_gets_none_and_does_not() {
    let place = Place::new("plain");
    let page = in_a_terminal(&place, &[]);
    assert!(page.contains('\u{1b}') && page.contains('\r'), "{page}");
    let page = in_a_terminal(&place, &[("NO_COLOR", "")]);
    assert!(page.contains('\u{1b}'), "empty is not set: {page}");
    let page = in_a_terminal(&place, &[("NO_COLOR", "1")]);
    assert!(!page.contains('\u{1b}') && page.contains('\r'), "{page}");
    let page = in_a_terminal(&place, &[("TERM", "dumb")]);
    assert!(!page.contains(['\u{1b}', '\r']), "{page}");
    assert!(page.contains("Verdict: not conforming"), "{page}");
}

#[test]
fn lines_fit() {
    let place = Place::new("narrow");
    // A terminal of python's has no size.
    for (environment, columns) in [(&[][..], 80), (&[("COLUMNS", "50")], 50)] {
        let page = in_a_terminal(&place, environment);
        for line in page.split(['\n', '\r']) {
            assert!(fits(line, columns), "{line}");
        }
        assert!(page.lines().any(|line| line.len() > columns / 2), "{page}");
    }
    let run = |command: &[&str], columns: &str| {
        let output = place.conform(command, &[("COLUMNS", columns)]);
        String::from_utf8(output.stdout).unwrap()
    };
    for command in [&["explain", "REV-2"][..], &["list"]] {
        assert!(run(command, "60").lines().all(|line| fits(line, 60)), "{command:?}");
        assert!(run(command, "wide").lines().all(|line| fits(line, 80)));
    }
    let least = run(&["explain", "REV-2"], "3");
    assert!(least.lines().all(|line| fits(line, 40)), "{least}");
    assert!(least.lines().any(|line| line.len() > 30), "there is a least width: {least}");
    assert!(run(&["help"], "80").lines().all(|line| line.chars().count() <= 80));
}

/// Whether a line has so many columns at most, or a single word that could not be broken.
fn fits(line: &str, columns: usize) -> bool {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    let line = first + &parts.map(|part| part.split_once('m').unwrap().1).collect::<String>();
    line.chars().count() <= columns || !line.trim_start().trim_end_matches(" \\").contains(' ')
}

/// A class of `blocks.mjs`, with short deadlines, and its outcome.
fn judged(class: &str, plan: &Plan, memory: u64) -> Outcome {
    let (adapter, blocks) =
        (here("adapters/javascript/adapter.mjs"), here("tests/adapters/blocks.mjs"));
    let command = ["node", &adapter, &blocks, class, "identities=groups"];
    let each = Duration::from_millis(1_000);
    let deadlines = Deadlines { each, memory, ..Deadlines::default() };
    let mut adapter = Adapter::new(command.map(str::to_owned).to_vec(), deadlines);
    let hello = adapter.hello().unwrap();
    campaign(&hello, &mut adapter, plan, &mut |_, _| {})
}

#[test]
fn a_call_that_never_returns_breaks_the_promise_of_that_call() {
    let plan = Plan { scripts: 50, ..Plan::default() };
    for (class, requirement, operation) in [("Subscribe", "SUB-1", 1), ("Broadcast", "DEL-1", 2)] {
        let outcome = judged(class, &plan, u64::MAX);
        let [failure] = outcome.failures.as_slice() else { panic!("{class}: {outcome:?}") };
        assert_eq!(failure.violation.requirement, requirement);
        let cause = format!("operation {operation} never returned: the adapter did not answer");
        assert!(failure.violation.cause.starts_with(&cause), "{}", failure.violation.cause);
        assert_eq!(failure.script.steps.len(), operation, "the operations up to it");
        assert_eq!(failure.again, 3);
    }
    let outcome = judged("Nested", &Plan { first_only: true, ..plan }, u64::MAX);
    assert_eq!(outcome.failures[0].violation.requirement, "RE-1");
}

#[test]
fn a_part_that_does_not_contain_it_is_not_decided_by_a_call_that_never_returns() {
    let plan = Plan { scripts: 50, only: vec!["FLT-1".into()], ..Plan::default() };
    let outcome = judged("Broadcast", &plan, u64::MAX);
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert!(outcome.faults[0].message.starts_with("DEL-1: operation 2 never returned"));
}

#[test]
fn cnt_2_a_registry_that_keeps_what_has_left_is_found() {
    let outcome = judged("Hoards", &Plan { scripts: 50, ..Plan::default() }, u64::MAX);
    let found: Vec<_> =
        outcome.failures.iter().map(|failure| failure.violation.requirement).collect();
    assert!(found.contains(&"CNT-2"), "{found:?}");
}

#[test]
fn a_registry_that_takes_memory_without_end_is_found() {
    let plan = Plan { scripts: 100, ..Plan::default() };
    let outcome = judged("Grows", &plan, 300 << 20);
    let Some(failure) = outcome.failures.first() else { panic!("{:?}", outcome.faults) };
    assert_eq!(failure.violation.requirement, "DEL-1");
    let grown = "it was killed, because it had more than 300 MiB in memory";
    assert!(failure.violation.cause.contains(grown), "{}", failure.violation.cause);
    let outcome = judged("Keeps", &plan, 300 << 20);
    let fault = &outcome.faults.first().unwrap_or_else(|| panic!("{:?}", outcome.failures)).message;
    assert!(fault.starts_with("the adapter, after 256 scripts: it was killed"), "{fault}");
}

/// With the options that a person has who gives none.
#[test]
#[expect(clippy::disallowed_methods, reason = "the bound is the promise")]
fn a_registry_that_blocks_is_named_within_30_seconds() {
    let place = Place::new("blocks");
    let began = Instant::now();
    let mut runner = Command::new(env!("CARGO_BIN_EXE_registry-conform"))
        .args(["run", "--", "node", &here("adapters/javascript/adapter.mjs")])
        .args([&here("tests/adapters/blocks.mjs"), "Subscribe"])
        .current_dir(&place.0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(runner.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("SUB-1 operation 1 never returned"), "{line}");
    let mut page = String::new();
    runner.stdout.take().unwrap().read_to_string(&mut page).unwrap();
    assert!(page.ends_with("\nVerdict: not conforming, 1 requirement broken: SUB-1\n"), "{page}");
    assert_eq!(runner.wait().unwrap().code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

/// An answer that comes later than the deadline is none, however long the adapter would take.
#[test]
fn an_adapter_that_takes_half_a_minute_is_not_waited_for() {
    let mut adapter = Adapter::new(
        [
            "sh",
            "-c",
            "read -r _; echo '{\"type\":\"hello\",\"protocol\":1,\"name\":\"slow\"}'; sleep 1000",
        ]
        .map(str::to_owned)
        .to_vec(),
        Deadlines { each: Duration::from_millis(300), ..Deadlines::default() },
    );
    adapter.hello().unwrap();
    assert!(adapter.longest(&Script::default(), true) < Duration::from_secs(15));
    let Answer::Missing(how) = adapter.run(&Script::default()) else { panic!("an answer") };
    assert!(how.starts_with("the adapter did not answer within"), "{how}");
    let usual = Adapter::new(vec!["true".into()], Deadlines::default());
    assert!(usual.longest(&Script::default(), true) <= Duration::from_secs(10));
}
