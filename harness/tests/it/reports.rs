//! Reports on outcomes that few registries cause.

use harness::campaign::{Failure, Fault, Outcome};
use harness::catalogue::{Level, catalogue};
use harness::core;
use harness::oracle::{Symptom, Violation};
use harness::runner::{Exit, Input, Known, Paint, Part, Report, quoted};
use harness::script::{Act, Op, Script};

fn report(outcome: &Outcome, known: &Known, parts: &[Part]) -> Report {
    Report::new(&Input {
        hello: &core::hello(),
        outcome,
        known,
        today: "2030-01-01",
        seed: 1,
        parts,
        cut_short: false,
        warnings: &[],
    })
}

fn failure(requirement: &'static str) -> Failure {
    Failure {
        violation: Violation {
            requirement,
            symptom: Symptom::Other,
            at: 0,
            cause: "so it is".into(),
        },
        level: Level::M,
        found_by: "a case".into(),
        found_after: 1,
        script: Script::new(vec![Op::new(1, Act::Count)]),
        trace: Vec::new(),
        original: Script::default(),
        again: 3,
        needs_others: false,
        times: 1,
    }
}

fn text(report: &Report) -> String {
    report.text(&Paint::plain(), "adapter", &|_| None)
}

#[test]
fn order_that_was_declared_and_is_broken_fails_everywhere() {
    let outcome = Outcome { runs: 1, failures: vec![failure("ORD-3")], ..Outcome::default() };
    let report = report(&outcome, &Known::default(), &[]);
    assert_eq!(report.exit, Exit::Failures);
    assert!(text(&report).contains("not conforming: ORD-3"), "{}", text(&report));
    assert!(report.junit().contains(" failures=\"1\" "), "{}", report.junit());
}

#[test]
fn each_part_has_a_verdict_of_its_own() {
    let sure = Outcome { runs: 1, kept: [("REV-2", 1)].into(), ..Outcome::default() };
    let parts = |ids: &[&str]| {
        let parts =
            ids.iter().map(|id| Part { name: format!("--only {id}"), ids: vec![(*id).to_owned()] });
        let report = report(&sure, &Known::default(), &parts.collect::<Vec<_>>());
        assert_eq!(report.exit, Exit::NothingExercised);
        text(&report)
    };
    assert!(parts(&["REV-2", "SSE-1"]).contains("core       conforming (asked for: REV-2)"));
    assert!(parts(&["REV-2", "ORD-2"]).contains("core       not decided (asked for: ORD-2 REV-2)"));
}

/// What was not run for want of time may still fail, so an entry for it is not out of date.
#[test]
fn a_run_that_was_cut_short_calls_no_known_entry_out_of_date() {
    let known = Known::parse("[[known]]\nrequirement = \"REV-1\"\nreason = \"was so\"").unwrap();
    let everything = catalogue().requirements.iter().map(|own| (own.id.as_str(), 1)).collect();
    let outcome = Outcome { runs: 1, kept: everything, ..Outcome::default() };
    let hello = core::hello();
    let of = |cut_short| {
        Report::new(&Input {
            hello: &hello,
            outcome: &outcome,
            known: &known,
            today: "2030-01-01",
            seed: 1,
            parts: &[],
            cut_short,
            warnings: &[],
        })
    };
    let whole = of(false);
    assert_eq!((whole.exit, whole.stale), (Exit::StaleKnown, vec!["REV-1".to_owned()]));
    let cut = of(true);
    assert_eq!((cut.exit, cut.stale), (Exit::Conforming, Vec::new()));
}

#[test]
fn junit_has_an_error_whenever_there_is_no_verdict() {
    let sure = Outcome { runs: 1, kept: [("REV-2", 1)].into(), ..Outcome::default() };
    let part = |id: &str| Part { name: format!("--only {id}"), ids: vec![id.to_owned()] };
    let stale = Known::parse("[[known]]\nrequirement = \"REV-1\"\nreason = \"was so\"").unwrap();
    let fault =
        Fault { message: "it died".into(), found_by: "a case".into(), script: Script::default() };
    let declined = [("patience".to_owned(), vec!["a case".to_owned()])];
    for (outcome, known, parts, exit) in [
        (sure.clone(), Known::default(), vec![part("REV-2")], Exit::Conforming),
        (sure.clone(), Known::default(), vec![part("REV-1")], Exit::NothingExercised),
        (sure.clone(), Known::default(), vec![part("SSE-1")], Exit::NothingExercised),
        (sure.clone(), Known::default(), Vec::new(), Exit::NothingExercised),
        (Outcome::default(), Known::default(), vec![part("REV-2")], Exit::NothingExercised),
        (
            Outcome { faults: vec![fault], ..sure.clone() },
            Known::default(),
            vec![part("REV-2")],
            Exit::Adapter,
        ),
        (
            Outcome { declined: declined.into(), ..sure },
            Known::default(),
            vec![part("REV-2")],
            Exit::Undecided,
        ),
    ] {
        let report = report(&outcome, &known, &parts);
        assert_eq!(report.exit, exit, "{parts:?}");
        let junit = report.junit();
        assert_eq!(junit.contains("<error "), exit != Exit::Conforming, "{junit}");
        assert_eq!(junit.contains(" errors=\"0\" "), exit == Exit::Conforming, "{junit}");
        assert!(
            junit.contains(&format!(" tests=\"{}\" ", junit.matches("<testcase ").count())),
            "{junit}"
        );
        assert!(
            junit.contains(&format!(" errors=\"{}\" ", junit.matches("<error ").count())),
            "{junit}"
        );
    }
    let report = report(&Outcome::default(), &stale, &[]);
    let line: String = report.junit().lines().map(str::trim).collect();
    let case = "<testcase name=\"REV-1\" classname=\"known-failing\"><error ";
    assert!(line.contains(case), "{line}");
}

#[test]
fn requirements_after_the_ports_edition_are_named() {
    let outcome = Outcome { runs: 1, failures: vec![failure("REV-2")], ..Outcome::default() };
    let report = report(&outcome, &Known { edition: Some(0), ..Known::default() }, &[]);
    assert_ne!(report.exit, Exit::Failures);
    assert!(
        text(&report).contains("not scored, for it came after the port's edition: REV-2"),
        "{}",
        text(&report)
    );
}

#[test]
fn words_are_quoted_for_a_shell() {
    assert_eq!(quoted("./a/b-1.json"), "./a/b-1.json");
    assert_eq!(quoted("my adapter.py"), "'my adapter.py'");
    assert_eq!(quoted("it's"), r"'it'\''s'");
    assert_eq!(quoted(""), "''");
}
