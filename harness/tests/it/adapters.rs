//! The adapters conform to everything that they claim, and the doctor and the runner find what is
//! wrong with a copy of one.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use harness::campaign::{Answer, Driver, Outcome, Plan, campaign, never_exercised};
use harness::protocol::{Hello, Reply};
use harness::runner::{Adapter, Deadlines, Exit, Input, Known, Paint, Report};
use harness::script::Script;

use crate::place::{Place, here};

pub(crate) fn judge(
    command: &[&str],
    plan: &Plan,
    deadlines: Deadlines,
) -> (Hello, Outcome, Report) {
    judge_by_the_first(u32::MAX, command, plan, deadlines)
}

/// Passes so many scripts to the adapter, and no later one.
struct First(u32, Adapter);

impl Driver for First {
    fn run(&mut self, script: &Script) -> Answer {
        let Some(left) = self.0.checked_sub(1) else {
            return Answer::Unsupported("more scripts".into());
        };
        self.0 = left;
        self.1.run(script)
    }

    fn forget(&mut self) -> bool {
        self.1.forget()
    }
}

pub(crate) fn judge_by_the_first(
    scripts: u32,
    command: &[&str],
    plan: &Plan,
    deadlines: Deadlines,
) -> (Hello, Outcome, Report) {
    let adapter = Adapter::new(command.iter().map(|word| (*word).to_owned()).collect(), deadlines);
    let mut first = First(scripts, adapter);
    let hello = first.1.hello().unwrap();
    let outcome = campaign(&hello, &mut first, plan, &mut |_, _| {});
    let report = Report::new(&Input {
        hello: &hello,
        outcome: &outcome,
        known: &Known::default(),
        today: "2030-01-01",
        seed: plan.seed,
        parts: &[],
        cut_short: false,
        warnings: &first.1.warnings(),
    });
    (hello, outcome, report)
}

fn conforms(command: &[&str]) {
    let plan = Plan { scripts: 800, seed: 11, ..Plan::default() };
    let (hello, outcome, report) = judge(command, &plan, Deadlines::default());
    let paint = Paint::plain();
    assert_eq!(report.exit, Exit::Conforming, "{}", report.text(&paint, "adapter", &|_| None));
    assert_eq!(format!("{:?}", never_exercised(&hello, &outcome)), "{}");
    let queued = ["QUE-1", "QUE-2", "QUE-3", "REV-3"]
        .iter()
        .filter(|id| outcome.kept.contains_key(**id))
        .count();
    assert_eq!(
        queued,
        if hello.offers("queued") { 4 } else { 0 },
        "what is not claimed is not judged"
    );
    assert!(outcome.failures.is_empty(), "not even a SHOULD: {:?}", outcome.failures[0].violation);
}

#[test]
fn the_javascript_registry_conforms() {
    conforms(&["node", &here("adapters/javascript/adapter.mjs")]);
}

#[test]
fn the_python_registry_conforms() {
    conforms(&["python3", "-B", &here("adapters/python/adapter.py")]);
}

#[test]
fn the_rust_registry_conforms_from_outside() {
    conforms(&[env!("CARGO_BIN_EXE_registry-core-adapter")]);
}

/// The operation comes from a later suite, or from inside a sink. It is not run, and the registry
/// is not blamed.
#[test]
fn an_operation_that_an_adapter_does_not_know_is_unsupported() {
    let (javascript, registry) =
        (here("adapters/javascript/adapter.mjs"), here("adapters/javascript/registry.mjs"));
    let python = here("adapters/python/adapter.py");
    let adapters: [&[&str]; 4] = [
        &["node", &javascript],
        &["node", &javascript, &registry, "SubscriberRegistry", "identities=groups"],
        &["python3", "-B", &python],
        &[env!("CARGO_BIN_EXE_registry-core-adapter")],
    ];
    let sub = r#"{"id":1,"op":"sub","sub":0,"sink":0}"#;
    let cast = r#"{"id":2,"op":"cast","channel":"a","data":"m"}"#;
    let inside = r#"{"rules":[{"on":"send","nth":1,"do":[{"id":3,"op":"whole"}]}]}"#;
    let scripts = [
        (format!(r#"{{"steps":[{sub},{cast},{{"id":3,"op":"log"}}]}}"#), "log"),
        (format!(r#"{{"steps":[{{"id":3,"op":"constructor"}},{sub}]}}"#), "constructor"),
        (format!(r#"{{"sinks":[{inside}],"steps":[{sub},{cast}]}}"#), "whole"),
    ];
    for adapter in adapters {
        let mut process = Command::new(adapter[0])
            .args(&adapter[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = process.stdin.take().unwrap();
        for (script, _) in &scripts {
            writeln!(
                stdin,
                r#"{{"type":"run","id":7,"fuel":9,"patience_ms":9,"script":{script}}}"#
            )
            .unwrap();
        }
        drop(stdin);
        let said = String::from_utf8(process.wait_with_output().unwrap().stdout).unwrap();
        let replies: Vec<Reply> =
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(replies.len(), scripts.len(), "{said}");
        for (reply, (_, word)) in replies.iter().zip(&scripts) {
            let Reply::Unsupported { id: 7, need } = reply else {
                panic!("{adapter:?}: {reply:?}")
            };
            assert!(need.contains(word), "{need}");
        }
    }
}

/// Each promise is broken in both languages. The last two show that the adapter does what the
/// doctor cannot check.
#[test]
fn broken_copies_of_the_sample_registries_fail_for_what_they_break_and_again_when_replayed() {
    for (language, file, from, to, requirement) in [
        ("javascript", "registry.mjs", "if (member.ended) return;", "", "SUB-3"),
        (
            "javascript",
            "registry.mjs",
            "catch { /* a failing close",
            "finally { /* a failing close",
            "ISO-3",
        ),
        (
            "javascript",
            "registry.mjs",
            "channels.length ? new Set(channels)",
            "channels.length ? { has: (name) => channels.includes(name) }",
            "FLT-7",
        ),
        (
            "javascript",
            "registry.mjs",
            "this.#members.add(member);",
            "for (const other of this.#members)
                if (other.stream === stream) this.#members.delete(other);
             this.#members.add(member);",
            "SUB-5",
        ),
        ("python", "registry.py", "if self.ended:", "if False:", "SUB-3"),
        (
            "python",
            "registry.py",
            "except Exception:  # a failing close",
            "except KeyError:  # a failing close",
            "ISO-3",
        ),
        ("python", "registry.py", "frozenset(channels) or None", "channels or None", "FLT-7"),
        (
            "python",
            "registry.py",
            "            self._members[member] = None",
            "            for other in list(self._members):
                if other.sink is member.sink: del self._members[other]
            self._members[member] = None",
            "SUB-5",
        ),
    ] {
        let place = Place::with(language, language, file, from, to);
        let file = if language == "python" { "adapter.py" } else { "adapter.mjs" };
        let adapter = place.file(file);
        let command = match language {
            "python" => vec!["python3", "-B", &adapter],
            _ => vec!["node", &adapter],
        };
        let saved = place.file("saved");
        let run = ["run", "--scripts", "60", "--seed", "2", "--patience", "0.05"];
        let run = [&run[..], &["--only", requirement, "--save", &saved, "--"]].concat();
        let (code, page) = conform(&[&run[..], &command].concat());
        assert_eq!(code, 1, "{from}: {page}");
        let file = format!("{saved}/{requirement}.json");
        let (code, again) = conform(&[&["replay", &file, "--"][..], &command].concat());
        assert_eq!(code, 1, "{from}: {page} {again}");
        assert!(again.contains(&format!("{requirement}: ")), "{again}");
    }
}

/// Runs `registry-conform` with these arguments. Returns its exit code and its output.
pub(crate) fn conform(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry-conform"));
    let output = command.args(arguments).env("COLUMNS", "999").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// The adapter that porters copy, with one part left out or changed.
#[test]
fn the_doctor_finds_what_a_copied_adapter_leaves_out() {
    let place = Place::new("doctor");
    fs::copy(here("adapters/javascript/registry.mjs"), place.file("registry.mjs")).unwrap();
    let right = fs::read_to_string(here("adapters/javascript/adapter.mjs")).unwrap();
    let copy = place.file("adapter.mjs");
    for (from, to, script, words) in [
        (
            "run.subs[op.sub]();",
            "run.subs[op.sub](); delete run.subs[op.sub];",
            "an unsubscribe, twice",
            "was skipped",
        ),
        (
            "if (op.op === \"unsub\" &&",
            "if (false &&",
            "an unknown label is skipped",
            "subscriber that does not exist",
        ),
        (
            "&& !Object.hasOwn(this.tickets, op.ticket)",
            "&& false",
            "tickets that are unknown or used up",
            "ticket that does not exist",
        ),
        ("scope: op.scope,", "", "a scope, which is an identity too", "REV-1"),
        ("groups: op.groups }", "groups: op.groups?.slice(0, 1) }", "two groups", "REV-"),
        ("cap: this.script.cap", "", "a cap of one", "CAP-1"),
        ("(this.calls[on + sink] ?? 0) + 1", "1", "one sink for two subscribers", "makes no sense"),
        ("op.channels && [...op.channels]", "[...(op.channels ?? \"a\")]", "every channel", "FLT-"),
        ("registry.count) }", "registry.count + 1) }", "a count", "CNT-2"),
    ] {
        let wrong = right.replace(from, to);
        assert_ne!(wrong, right, "{from}");
        fs::write(&copy, wrong).unwrap();
        let (code, page) = conform(&["doctor", "--", "node", &copy]);
        assert_eq!(code, 3, "{from}: {page}");
        assert!(page.contains(&format!("no {script}")) && page.contains(words), "{from}: {page}");
    }
}

#[test]
fn the_program_contains_the_texts_for_porters() {
    for (name, file) in [
        ("porting", "../docs/porting.md"),
        ("PROTOCOL.md", "PROTOCOL.md"),
        ("to-adapter.schema.json", "schema/to-adapter.schema.json"),
        ("from-adapter.schema.json", "schema/from-adapter.schema.json"),
        ("adapter.mjs", "adapters/javascript/adapter.mjs"),
        ("adapter.py", "adapters/python/adapter.py"),
        ("adapter.go", "adapters/go/adapter.go"),
    ] {
        assert_eq!(
            conform(&["docs", name]),
            (0, fs::read_to_string(here(file)).unwrap()),
            "{name}"
        );
        let listed = conform(&["docs"]).1.to_lowercase();
        assert!(listed.contains(name.trim_end_matches(".md").to_lowercase().as_str()), "{name}");
    }
    assert_eq!(conform(&["docs", "nothing"]).0, 64);
}

#[test]
fn a_saved_failure_is_replayed() {
    let runner = env!("CARGO_BIN_EXE_registry-conform");
    let place = Place::new("replayed");
    let adapter =
        [here("adapters/javascript/adapter.mjs"), here("tests/adapters/broken.mjs"), "Deaf".into()];
    let save = place.file("saved");
    let run = |arguments: &[&str], adapter: &[String]| {
        Command::new(runner).args(arguments).args(["--", "node"]).args(adapter).output().unwrap()
    };
    let first = run(&["run", "--scripts", "50", "--seed", "1", "--save", &save], &adapter);
    assert_eq!(first.status.code(), Some(1));
    let file = format!("{save}/REV-1.json");
    let again = run(&["replay", &file], &adapter);
    let page = String::from_utf8(again.stdout).unwrap();
    assert_eq!(again.status.code(), Some(1), "{page}");
    assert!(page.contains("REV-1") && page.contains("close_by_identity"), "{page}");
    let mended = run(&["replay", &file], &adapter[..1]);
    assert_eq!(mended.status.code(), Some(0));
}
