//! The adapters conform to everything that they claim, and adapters that cheat are detected.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::campaign::{Answer, Driver, Outcome, Plan, campaign, never_exercised};
use harness::protocol::{Hello, Reply};
use harness::runner::{Adapter, Deadlines, Exit, Input, Known, Paint, Report};
use harness::script::Script;
use harness::shrink::Bounds;

pub(crate) fn here(path: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

fn judge(command: &[&str], plan: &Plan, deadlines: Deadlines) -> (Hello, Outcome, Report) {
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

fn judge_by_the_first(
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

/// A registry of `promises.mjs`, whose calls return promises.
fn promising(class: &str, plan: &Plan, patience: u64) -> (Hello, Outcome, Report) {
    let promises = if class == "PlainSinks" { "returns=promises" } else { "awaits=sinks" };
    let command = [
        "node",
        &here("adapters/javascript/adapter.mjs"),
        &here("tests/adapters/promises.mjs"),
        class,
        promises,
    ];
    judge(
        &command,
        plan,
        Deadlines { patience: Duration::from_millis(patience), ..Deadlines::default() },
    )
}

#[test]
fn registries_that_return_promises_are_judged_in_full() {
    for class in ["OneByOne", "AllAtOnce", "PlainSinks"] {
        let (hello, outcome, report) =
            promising(class, &Plan { scripts: 150, seed: 3, ..Plan::default() }, 2_000);
        assert_eq!(
            report.exit,
            Exit::Conforming,
            "{class}: {:?} {:?}",
            outcome.failures,
            report.never_exercised
        );
        assert!(
            outcome.failures.is_empty() && outcome.unsupported.is_empty(),
            "{class}: {:?}",
            outcome.failures
        );
        assert!(
            outcome.kept["RE-3"] > 0 && outcome.kept["RE-5"] > 0 && outcome.kept["REV-2"] > 0,
            "{class}"
        );
        // Only a sink that the registry waits for can be stuck.
        assert_eq!(hello.offers("threads"), class != "PlainSinks", "{class}");
        assert_eq!(outcome.kept.contains_key("PRG-1"), class != "PlainSinks", "{class}");
    }
}

#[test]
fn a_revocation_that_waits_for_sends_to_the_revoked_breaks_a_should() {
    let (_, outcome, report) =
        promising("WaitsForSends", &Plan { scripts: 150, seed: 3, ..Plan::default() }, 500);
    assert_eq!(report.exit, Exit::Conforming, "{:?}", outcome.failures);
    let broken: Vec<_> =
        outcome.failures.iter().map(|failure| failure.violation.requirement).collect();
    assert_eq!(broken, ["PRG-2"]);
}

#[test]
fn typical_mistakes_with_promises_are_found() {
    for (class, broken) in [
        ("LooksOnce", "REV-2"),
        ("LooksOnce", "SUB-3"),
        ("LooksAgain", "RE-3"),
        ("WaitsForItself", "RE-1"),
        ("Locked", "PRG-1"),
        ("Careless", "ISO-5"),
        ("Sticky", "REV-2"),
    ] {
        let only = vec![broken.to_owned()];
        let (_, outcome, report) =
            promising(class, &Plan { scripts: 100, only, first_only: true, ..Plan::default() }, 50);
        assert_eq!(report.exit, Exit::Failures, "{class}");
        assert_eq!(outcome.failures[0].violation.requirement, broken, "{class}");
    }
}

/// Copies an adapter's folder, and replaces a text in one file.
fn copy(folder: &str, file: &str, from: &str, to: &str) -> PathBuf {
    let place =
        std::env::temp_dir().join(format!("registry-conform-{}-{folder}", std::process::id()));
    fs::create_dir_all(&place).unwrap();
    for entry in fs::read_dir(here(&format!("adapters/{folder}"))).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), place.join(entry.file_name())).unwrap();
        }
    }
    let right = fs::read_to_string(place.join(file)).unwrap();
    let wrong = right.replace(from, to);
    assert_ne!(wrong, right, "{from}");
    fs::write(place.join(file), wrong).unwrap();
    place
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
        let place = copy(language, file, from, to);
        let file = if language == "python" { "adapter.py" } else { "adapter.mjs" };
        let adapter = place.join(file).display().to_string();
        let command = match language {
            "python" => vec!["python3", "-B", &adapter],
            _ => vec!["node", &adapter],
        };
        let saved = place.join("saved").display().to_string();
        let run = ["run", "--scripts", "60", "--seed", "2", "--patience", "0.05"];
        let run = [&run[..], &["--only", requirement, "--save", &saved, "--"]].concat();
        let (code, page) = conform(&[&run[..], &command].concat());
        assert_eq!(code, 1, "{from}: {page}");
        let file = format!("{saved}/{requirement}.json");
        let (code, again) = conform(&[&["replay", &file, "--"][..], &command].concat());
        assert_eq!(code, 1, "{from}: {page} {again}");
        assert!(again.contains(&format!("{requirement}: ")), "{again}");
        fs::remove_dir_all(place).unwrap();
    }
}

/// Runs a class of `styles.mjs` behind the adapter; the words say how the class is called.
fn styled(words: &[&str]) -> (Hello, Outcome, Report) {
    let (adapter, styles) =
        (here("adapters/javascript/adapter.mjs"), here("tests/adapters/styles.mjs"));
    let command: Vec<&str> =
        ["node", &adapter, &styles].into_iter().chain(words.iter().copied()).collect();
    judge(&command, &Plan { scripts: 150, seed: 4, ..Plan::default() }, Deadlines::default())
}

#[test]
fn right_classes_conform_in_both_shapes_of_call() {
    for words in [
        &["Helper", "call=options"][..],
        &["Listed", "identities=identities"],
        &["Grouped", "identities=groups"],
        &["Defaults"],
        &["Rest"],
        &["Rest", "call=positional"],
        &["Odd", "identity=badge"],
        &["Arrows"],
        &["Strict", "call=options"],
    ] {
        let (hello, outcome, report) = styled(words);
        assert_eq!(
            report.exit,
            Exit::Conforming,
            "{words:?}: {:?} {:?}",
            outcome.failures,
            outcome.faults
        );
        assert!(
            outcome.failures.is_empty() && outcome.unsupported.is_empty(),
            "{words:?}: {:?}",
            outcome.failures
        );
        assert_eq!(hello.offers("groups"), ["Listed", "Grouped"].contains(&words[0]), "{words:?}");
    }
}

#[test]
fn a_revocation_that_returns_no_number_fails_the_registry() {
    for (class, call) in [("Mute", "call=options"), ("Names", "call=positional")] {
        let (_, outcome, report) = styled(&[class, call]);
        assert_eq!(report.exit, Exit::Failures, "{class}: {:?}", outcome.faults);
        let failure = |id| {
            outcome.failures.iter().find(|failure| failure.violation.requirement == id).unwrap()
        };
        assert!(
            failure("REV-1").violation.cause.contains("and not the number of subscribers"),
            "{class}"
        );
    }
}

#[test]
fn a_class_that_is_called_in_the_other_shape_fails() {
    for words in [&["Strict"][..], &["Names", "call=options"]] {
        let (_, outcome, report) = styled(words);
        assert_eq!(report.exit, Exit::Failures, "{words:?}: {:?}", outcome.faults);
    }
}

#[test]
fn unknown_options_and_classes_are_refused() {
    for (words, fault) in [
        (&["Names", "identitty=badge"][..], "identitty"),
        (&["Nameless"], "has no export Nameless"),
        (&[], "has no export default"),
    ] {
        let (adapter, styles) =
            (here("adapters/javascript/adapter.mjs"), here("tests/adapters/styles.mjs"));
        let (code, page) =
            conform(&[&["doctor", "--", "node", &adapter, &styles][..], words].concat());
        assert!(code == 3 && page.contains(fault), "{words:?}: {code} {page}");
    }
}

/// Runs `registry-conform` with these arguments. Returns its exit code and its output.
fn conform(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry-conform"));
    let output = command.args(arguments).env("COLUMNS", "999").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// The adapter that porters copy, with one part left out or changed.
#[test]
fn the_doctor_finds_what_a_copied_adapter_leaves_out() {
    let place =
        std::env::temp_dir().join(format!("registry-conform-{}-doctor", std::process::id()));
    fs::create_dir_all(&place).unwrap();
    fs::copy(here("adapters/javascript/registry.mjs"), place.join("registry.mjs")).unwrap();
    let right = fs::read_to_string(here("adapters/javascript/adapter.mjs")).unwrap();
    let copy = place.join("adapter.mjs").display().to_string();
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
    fs::remove_dir_all(place).unwrap();
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

/// Runs the cheating adapter with short deadlines, since a cheat may use them up, and with only as
/// many scripts as the cheat needs to show. Each further script may cost a deadline and more than
/// one process.
fn cheat(mode: &str, scripts: u32) -> (Outcome, Report) {
    let plan = Plan { scripts: 20, ..Plan::default() };
    let deadlines = Deadlines { each: Duration::from_millis(1_000), ..Deadlines::default() };
    let command = ["node", &here("tests/adapters/cheat.mjs"), mode];
    let (_, outcome, report) = judge_by_the_first(scripts, &command, &plan, deadlines);
    (outcome, report)
}

#[track_caller]
fn blamed(mode: &str, words: &str) {
    // The cheat shows at the second script, which is then run three more times.
    let (outcome, report) = cheat(mode, 5);
    assert_eq!(report.exit, Exit::Adapter, "{mode}: {:?}", outcome.failures);
    assert!(
        outcome.faults.iter().any(|fault| fault.message.contains(words)),
        "{mode}: {:?}",
        outcome.faults
    );
}

#[test]
fn an_adapter_that_dies_is_blamed_with_its_last_words() {
    blamed("dies", "famous last words");
}

#[test]
fn output_after_invalid_utf_8_is_still_read() {
    blamed("mumbles", "famous last words");
}

#[test]
fn an_adapter_that_hangs_is_blamed() {
    blamed("hangs", "did not answer");
}

/// A transcript that is written more slowly than lines arrive, so that there is always one more
/// line.
struct Laborious;

impl Write for Laborious {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        for turn in 0..5_000 {
            std::hint::black_box(turn);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_adapter_that_floods_its_output_is_blamed() {
    let deadlines = Deadlines { each: Duration::from_millis(500), ..Deadlines::default() };
    let command = vec!["node".into(), here("tests/adapters/cheat.mjs"), "floods".into()];
    let mut adapter = Adapter::new(command, deadlines).transcript(Laborious);
    adapter.hello().unwrap();
    assert!(matches!(adapter.run(&Script::default()), Answer::Trace(_)));
    let Answer::Missing(how) = adapter.run(&Script::default()) else {
        panic!("an answer in all that noise")
    };
    assert!(how.contains("did not answer"), "{how}");
}

#[test]
fn an_adapter_that_closes_its_output_and_does_not_exit_is_blamed() {
    blamed("closes", "closed its standard output and did not exit");
}

#[test]
fn an_occasional_failure_of_the_adapter_is_not_attributed_to_the_registry() {
    for mode in ["tires", "dozes"] {
        let (outcome, report) = cheat(mode, 23);
        assert!(outcome.failures.is_empty(), "{mode}: {:?}", outcome.failures[0].violation);
        assert_eq!(report.exit, Exit::Adapter, "{mode}");
        let fault =
            "script 20 of this run was not answered, but was each time when it was run again";
        assert!(outcome.faults[0].message.contains(fault), "{mode}: {:?}", outcome.faults[0]);
        assert!(
            outcome.faults[0].message.contains("look for state that outlives a script"),
            "{mode}"
        );
    }
}

#[test]
fn re_1_a_script_that_never_ends_is_run_again_as_often_as_it_says() {
    let command = [
        "node",
        &here("adapters/javascript/adapter.mjs"),
        &here("tests/adapters/broken.mjs"),
        "Spins",
    ];
    let shrinking = Bounds { runs: 2, ..Bounds::default() };
    let plan = Plan { only: vec!["RE-1".into()], first_only: true, shrinking, ..Plan::default() };
    let deadlines = Deadlines { each: Duration::from_millis(500), ..Deadlines::default() };
    let (_, outcome, _) = judge(&command, &plan, deadlines);
    assert_eq!((outcome.failures[0].violation.requirement, outcome.failures[0].again), ("RE-1", 3));
}

#[test]
fn cnt_1_and_rev_10_a_negative_number_reaches_the_oracle() {
    let report = broken("Negative");
    let found: Vec<_> =
        report.failures.iter().map(|failure| failure.violation.requirement).collect();
    assert!(
        report.exit == Exit::Failures && found.contains(&"REV-10"),
        "{found:?} {:?}",
        report.faults
    );
}

#[test]
fn a_failure_that_needs_earlier_scripts_is_reported_as_such() {
    let report = broken("Lapse");
    let failure = report.failures.iter().find(|failure| failure.needs_others).unwrap();
    assert_eq!(failure.again, 0);
    let page = report.text(&Paint::plain(), "adapter", &|_| None);
    assert!(
        page.contains("not broken when run alone (look for state shared between registries)"),
        "{page}"
    );
}

#[test]
fn an_adapter_that_declines_one_case_does_not_pass() {
    let (outcome, report) = cheat("coy", u32::MAX);
    assert_eq!((report.exit, outcome.unsupported["patience"]), (Exit::Undecided, 1));
    assert!(report.never_exercised.is_empty(), "the rest is enough: {:?}", report.never_exercised);
    let page = report.text(&Paint::plain(), "adapter", &|_| None);
    assert!(
        page.contains("unsupported: patience") && page.contains(&report.declined["patience"][0]),
        "{page}"
    );
}

#[test]
fn an_adapter_that_answers_twice_is_blamed() {
    blamed("twice", "twice");
}

#[test]
fn an_adapter_that_garbles_is_blamed() {
    blamed("garbles", "what the protocol does not have");
}

#[test]
fn an_adapter_that_answers_another_request_is_blamed() {
    blamed("renumbers", "answered request 999999");
}

#[test]
fn an_adapter_that_runs_nothing_is_blamed() {
    blamed("idle", "missing from the trace");
    let (outcome, _) = cheat("idle", u32::MAX);
    assert_eq!(outcome.faults.len(), 5, "it will not get better, and is not asked for ever");
}

#[test]
fn an_adapter_that_reports_its_own_failure_does_not_pass() {
    blamed("confesses", "I am broken");
}

#[test]
fn an_adapter_that_claims_too_much_does_not_pass() {
    // Its sinks cannot park. So no calls overlap, and no call is ever seen to pass a parked sink.
    let (_, report) = cheat("claims", u32::MAX);
    assert_eq!(report.exit, Exit::NothingExercised);
    assert_eq!(report.never_exercised, ["CON-1", "PRG-1"]);
}

#[test]
fn an_adapter_that_declines_everything_passes_nothing() {
    let (outcome, report) = cheat("declines", u32::MAX);
    assert_eq!(outcome.runs, 0);
    assert_eq!(report.exit, Exit::NothingExercised);
}

#[test]
fn a_banner_is_a_warning() {
    let mut adapter = Adapter::new(
        vec!["node".into(), here("tests/adapters/cheat.mjs"), "banner".into()],
        Deadlines::default(),
    );
    let hello = adapter.hello().unwrap();
    let outcome =
        campaign(&hello, &mut adapter, &Plan { scripts: 20, ..Plan::default() }, &mut |_, _| {});
    assert!(outcome.failures.is_empty() && outcome.faults.is_empty());
    assert!(adapter.warnings()[0].contains("Welcome"));
}

/// Runs an adapter that writes other text before its first message. Returns the warnings.
fn warned(mode: &str) -> Vec<String> {
    let deadlines = Deadlines { hello: Duration::from_secs(20), ..Deadlines::default() };
    let mut adapter =
        Adapter::new(vec!["node".into(), here("tests/adapters/cheat.mjs"), mode.into()], deadlines);
    adapter.hello().unwrap();
    adapter.warnings()
}

#[test]
fn a_byte_order_mark_is_a_warning() {
    let warnings = warned("mark");
    assert!(warnings.len() == 1 && warnings[0].contains("byte order mark"), "{warnings:?}");
}

#[test]
fn many_stray_lines_are_one_warning_with_advice() {
    let warnings = warned("chatty");
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    for part in ["50 lines", "\"loading 1\"", "standard error"] {
        assert!(warning.contains(part), "{warning}");
    }
}

/// Reports on a registry that is broken on purpose, behind the adapter that drives any module.
fn broken(class: &str) -> Report {
    let command = [
        "node",
        &here("adapters/javascript/adapter.mjs"),
        &here("tests/adapters/broken.mjs"),
        class,
    ];
    // The size of a shrunk failure must not depend on how busy the machine is.
    let shrinking = Bounds { time: Duration::from_secs(120), ..Bounds::default() };
    judge(&command, &Plan { scripts: 150, shrinking, ..Plan::default() }, Deadlines::default()).2
}

#[test]
fn a_broken_copy_fails_for_the_right_requirement_in_three_steps() {
    for (class, requirement) in
        [("Deaf", "REV-1"), ("Sticky", "REV-2"), ("Aliased", "FLT-7"), ("Plain", "FLT-6")]
    {
        let report = broken(class);
        assert_eq!(report.exit, Exit::Failures);
        let found: Vec<_> =
            report.failures.iter().map(|failure| failure.violation.requirement).collect();
        assert!(found.contains(&requirement), "{class}: {found:?}");
        let failure = report
            .failures
            .iter()
            .find(|failure| failure.violation.requirement == requirement)
            .unwrap();
        assert!(
            failure.script.steps.len() <= 3,
            "{class}: {}",
            harness::pretty::script(&failure.script)
        );
        assert!(failure.deterministic());
    }
}

/// A failure that needs the state of an earlier script is distinguished from a failure of the
/// script itself.
#[test]
fn state_that_registries_of_one_process_share_is_found() {
    let report = broken("Shared");
    let shared =
        report.failures.iter().find(|failure| failure.violation.requirement == "ISO-6").unwrap();
    assert!(shared.violation.cause.contains("ran other scripts"), "{:?}", shared.violation);
}

#[test]
fn a_saved_failure_is_replayed() {
    let runner = env!("CARGO_BIN_EXE_registry-conform");
    let place = std::env::temp_dir().join(format!("registry-conform-{}", std::process::id()));
    let adapter =
        [here("adapters/javascript/adapter.mjs"), here("tests/adapters/broken.mjs"), "Deaf".into()];
    let save = place.display().to_string();
    let run = |arguments: &[&str], adapter: &[String]| {
        Command::new(runner).args(arguments).args(["--", "node"]).args(adapter).output().unwrap()
    };
    let first = run(&["run", "--scripts", "50", "--seed", "1", "--save", &save], &adapter);
    assert_eq!(first.status.code(), Some(1));
    let file = place.join("REV-1.json").display().to_string();
    let again = run(&["replay", &file], &adapter);
    let page = String::from_utf8(again.stdout).unwrap();
    assert_eq!(again.status.code(), Some(1), "{page}");
    assert!(page.contains("REV-1") && page.contains("close_by_identity"), "{page}");
    let mended = run(&["replay", &file], &adapter[..1]);
    assert_eq!(mended.status.code(), Some(0));
    fs::remove_dir_all(place).unwrap();
}

/// What is warned of after a shell has run this in place of an adapter.
fn warned_of(command: &str) -> String {
    let command = ["sh", "-c", command].map(str::to_owned).to_vec();
    let mut adapter = Adapter::new(command, Deadlines::default());
    assert!(adapter.hello().is_err_and(|why| why.contains("ended instead of answering")));
    adapter.warnings().concat()
}

#[test]
fn lines_of_any_bytes_are_read() {
    let warning = warned_of(r"printf 'one\r\n\377\n\nlast'");
    assert!(
        warning
            .starts_with("3 lines on standard output are no messages, the first of them \"one\""),
        "{warning}"
    );
}

/// An adapter that is a line of shell: hello, and then this.
fn shell(then: &str) -> Adapter {
    let hello = r#"{"type":"hello","protocol":1,"name":"shell"}"#;
    let command = format!("read -r _; echo '{hello}'; read -r _; {then}");
    Adapter::new(["sh", "-c", &command].map(str::to_owned).to_vec(), Deadlines::default())
}

#[test]
fn a_line_without_end_is_cut_and_blamed() {
    for start in ["", "printf '{'; "] {
        let mut adapter = shell(&format!(r"{start}tr '\0' y </dev/zero"));
        adapter.hello().unwrap();
        let answer = adapter.run(&Script::default());
        let Answer::Fault(why) = answer else { panic!("{answer:?}") };
        assert_eq!(why, "it wrote a line of more than 16 MiB to its standard output");
    }
}

#[test]
fn standard_error_without_end_takes_no_memory_without_end() {
    // 320 MB, of which 20 pieces are kept.
    let mut adapter = shell(r"head -c 320000000 /dev/zero | tr '\0' y >&2; exit 3");
    adapter.hello().unwrap();
    let answer = adapter.run(&Script::default());
    let Answer::Missing(how) = answer else { panic!("{answer:?}") };
    assert!(how.contains("exit status: 3; on standard error:\n    yyy"), "{how:.100}");
    assert!(how.len() < 100_000, "{}", how.len());
}
