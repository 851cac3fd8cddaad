//! Classes in JavaScript, which need no adapter of their own.

use std::time::Duration;

use harness::campaign::{Outcome, Plan};
use harness::protocol::Hello;
use harness::runner::{Deadlines, Exit, Paint, Report};
use harness::shrink::Bounds;

use crate::adapters::{conform, judge};
use crate::place::here;

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
