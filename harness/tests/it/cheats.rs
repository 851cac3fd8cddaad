//! Adapters that cheat, die, or write what they should not.

use std::io::{self, Write};
use std::time::Duration;

use harness::campaign::{Answer, Driver, Outcome, Plan, campaign};
use harness::runner::{Adapter, Deadlines, Exit, Paint, Report};
use harness::script::Script;

use crate::adapters::judge_by_the_first;
use crate::place::here;

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
