//! Revocations that name their reason, and the ports that claim an edition from before those.

use std::process::Command;

use harness::campaign::{Answer, Driver, InProcess, Outcome, Plan, campaign, never_exercised};
use harness::cases::cases;
use harness::catalogue::{catalogue, find, needed_for, spec};
use harness::features::{Feature, Features};
use harness::generate::generate;
use harness::oracle::{self, Verdict};
use harness::protocol::{Hello, Policies, Request};
use harness::runner::{Adapter, Deadlines, Exit, Input, Known, Paint, Report};
use harness::script::{Act, Op, Outbox, Reason, Registration, Script};
use harness::shrink::{Bounds, candidates, shrink};
use harness::subject::{Limits, execute};
use harness::trace::{Event, Received};
use harness::{core, pretty};
use serde_json::json;

use crate::place::{Place, here};

fn sub(id: u32, sub: u32, outbox: bool) -> Op {
    let with =
        Registration { outbox: outbox.then(Outbox::default), ..Registration::all().group("x") };
    Op::new(id, Act::Sub { sub, sink: sub, with })
}

fn revoke(id: u32, reason: Option<Reason>) -> Op {
    Op::new(id, Act::Revoke { identity: "x".into(), reason })
}

fn names_a_reason(script: &Script) -> bool {
    let mut named = false;
    script.visit(&mut |op| named |= matches!(op.act, Act::Revoke { reason: Some(_), .. }));
    named
}

fn ret(op: u32) -> Event {
    Event::Ret { op, n: None, refused: false, report: None, taken: None }
}

fn revoked(op: u32, n: i64) -> Event {
    Event::Ret { op, n: Some(n), refused: false, report: None, taken: None }
}

fn call(op: u32) -> Event {
    Event::Call { op, thread: 0 }
}

/// Judges a sink that is revoked with the one reason and closed with the other.
fn closed_as(named: Option<Reason>, reason: &str) -> Verdict {
    let script = Script::new(vec![sub(1, 0, false), revoke(2, named)]);
    let close = Event::Close { sink: 0, reason: Some(reason.into()), thread: 0 };
    let closed = Event::Closed { sink: 0, threw: false, thread: 0 };
    let trace = vec![call(1), ret(1), call(2), close, closed, revoked(2, 1)];
    oracle::judge(&script, &trace, &Policies::default())
}

/// Judges an owner whose outbox is revoked twice, and that finds the third reason.
fn found(first: Option<Reason>, second: Option<Reason>, reason: &str) -> Verdict {
    let take = Op::new(4, Act::Take { sub: 0, bytes: None });
    let script = Script::new(vec![sub(1, 0, true), revoke(2, first), revoke(3, second), take]);
    let taken = Some(Received { end: Some(reason.into()), ..Received::default() });
    let took = Event::Ret { op: 4, n: None, refused: false, report: None, taken };
    let trace =
        vec![call(1), ret(1), call(2), revoked(2, 1), call(3), revoked(3, 0), call(4), took];
    oracle::judge(&script, &trace, &Policies::default())
}

fn broken(verdict: &Verdict) -> Option<&'static str> {
    assert_eq!(verdict.nonsense, None);
    verdict.first().map(|found| found.requirement)
}

#[test]
fn rev_13_a_close_says_the_reason_that_its_revocation_named() {
    for named in Reason::ALL.map(Some).into_iter().chain([None]) {
        let due = named.unwrap_or_default();
        for said in Reason::ALL {
            for (how, verdict) in [
                ("a sink", closed_as(named, said.word())),
                ("an outbox", found(named, Some(due), said.word())),
            ] {
                let wrong = if named.is_some() { "REV-13" } else { "CLO-5" };
                let expected = if said == due { None } else { Some(wrong) };
                assert_eq!(
                    broken(&verdict),
                    expected,
                    "{how}, revoked as {named:?}, gets {said:?}"
                );
                let kept = named.is_some() && said == due;
                assert_eq!(
                    verdict.kept.contains("REV-13"),
                    kept,
                    "{how}, revoked as {named:?}, gets {said:?}"
                );
            }
        }
    }
    let drained = closed_as(Some(Reason::LoggedOut), "shutdown");
    assert_eq!(broken(&drained), Some("REV-13"), "no other end is a reason of a revocation");
}

#[test]
fn clo_5_the_first_of_two_reasons_is_the_one_that_is_reported() {
    let (out, expired, plain) = (Some(Reason::LoggedOut), Some(Reason::Expired), None);
    for (first, second, said, expected) in [
        (out, expired, "logged_out", None),
        (out, expired, "expired", Some("CLO-5")),
        (plain, expired, "expired", Some("CLO-5")),
        // The registry may ignore reasons altogether, which is the more general fault.
        (out, plain, "revoked", Some("REV-13")),
        // No call named this reason.
        (out, plain, "expired", Some("REV-13")),
    ] {
        assert_eq!(
            broken(&found(first, second, said)),
            expected,
            "{first:?}, then {second:?}: {said}"
        );
    }
}

/// A trace may leave reasons out if they are not claimed. Then they are not judged.
#[test]
fn rev_13_is_judged_where_closes_carry_reasons() {
    let script = Script::new(vec![sub(1, 0, false), revoke(2, Some(Reason::LoggedOut))]);
    let close = Event::Close { sink: 0, reason: None, thread: 0 };
    let closed = Event::Closed { sink: 0, threw: false, thread: 0 };
    let trace = vec![call(1), ret(1), call(2), close, closed, revoked(2, 1)];
    let claims = |features: &[&str]| {
        oracle::judge_claims(&script, &trace, &Hello::new("any", &[], features))
    };
    let silent = claims(&["revoke_as"]);
    assert!(silent.clean() && !silent.kept.contains("REV-13"), "{silent:?}");
    assert_eq!(broken(&claims(&["reasons", "revoke_as"])), Some("CLO-5"));
    // So no other close has left the reason out.
    for (features, due) in
        [(&["revoke_as"][..], false), (&["reasons"], false), (&["reasons", "revoke_as"], true)]
    {
        let missing = never_exercised(&Hello::new("any", &[], features), &Outcome::default());
        assert_eq!(missing.contains("REV-13"), due, "{features:?}");
    }
}

/// A driver that records the scripts that it is asked to run.
struct Recorder(InProcess, Vec<Script>);

impl Driver for Recorder {
    fn run(&mut self, script: &Script) -> Answer {
        self.1.push(script.clone());
        self.0.run(script)
    }
}

#[test]
fn only_adapters_that_claim_the_feature_get_reasons() {
    let sent = |hello: &Hello| {
        let mut driver = Recorder(InProcess::new(core::factory()), Vec::new());
        let outcome =
            campaign(hello, &mut driver, &Plan { scripts: 100, ..Plan::default() }, &mut |_, _| {});
        assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
        assert_eq!(
            never_exercised(hello, &outcome).len(),
            0,
            "{:?}",
            never_exercised(hello, &outcome)
        );
        let fixed = cases().into_iter().filter(|case| hello.lacks(&case.script).is_none()).count();
        assert_eq!(driver.1.len(), fixed + 100, "no random script has what is not offered");
        (
            driver.1.iter().filter(|script| names_a_reason(script)).count(),
            outcome.kept.contains_key("REV-13"),
        )
    };
    let all = core::hello();
    let mut plain = all.clone();
    assert!(plain.features.remove("revoke_as"));
    let (with, judged) = sent(&all);
    assert!(with > 15 && judged, "{with} scripts named a reason");
    assert_eq!(sent(&plain), (0, false));
}

#[test]
fn a_script_without_reasons_has_the_same_json_as_before() {
    let all = Features::everything().without(Feature::RevokeAs);
    assert!((0..200).all(|seed| !names_a_reason(&generate(seed, all, Features::default()))));
    let only = needed_for("REV-13");
    assert!((0..50).any(|seed| names_a_reason(&generate(seed, Features::everything(), only))));
    let named = Script::new(vec![sub(1, 0, false), revoke(2, Some(Reason::Revoked))]);
    assert_eq!(Features::of(&named).without(Feature::Lists), only);
    assert_eq!(named.needs(), ["revoke_as"].into());
    // This is how such a script was saved before there were reasons.
    let old = json!({"steps": [{"id": 2, "op": "revoke", "identity": "x"}]});
    let script: Script = serde_json::from_value(old.clone()).unwrap();
    assert_eq!(script, Script::new(vec![revoke(2, None)]));
    assert_eq!(serde_json::to_value(&script).unwrap(), old);
}

#[test]
fn shrinking_first_drops_the_reasons_that_the_failure_does_not_need() {
    let script = Script::new(vec![
        sub(1, 0, false),
        sub(2, 1, false),
        revoke(3, Some(Reason::Expired)),
        sub(4, 2, false),
        revoke(5, Some(Reason::LoggedOut)),
    ]);
    let first = candidates(&script).next().unwrap();
    assert!(!names_a_reason(&first));
    assert_eq!(first.steps.len(), script.steps.len(), "and nothing else");
    let small = |requirement, fails: &dyn Fn(&Script) -> bool| {
        shrink(&script, requirement, Bounds::default(), |candidate| {
            fails(candidate).then_some(requirement)
        })
        .0
    };
    assert!(!names_a_reason(&small("REV-1", &|_| true)));
    let away = |op: &Op| matches!(op.act, Act::Revoke { reason: Some(Reason::LoggedOut), .. });
    let kept = small("REV-13", &|candidate| candidate.steps.iter().any(away));
    assert_eq!(kept, Script::new(vec![revoke(1, Some(Reason::LoggedOut))]));
    let any = small("REV-13", &names_a_reason);
    assert_eq!(any, Script::new(vec![revoke(1, Some(Reason::Revoked))]), "the plainest of them");
}

#[test]
fn a_reason_has_one_name_in_scripts_schemas_closes_and_reports() {
    let schema = serde_json::from_str(include_str!("../../schema/to-adapter.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for reason in Reason::ALL.map(Some).into_iter().chain([None]) {
        let script = Script::new(vec![sub(1, 0, false), revoke(2, reason)]);
        let request = Request::Run { id: 1, fuel: 9, patience_ms: 9, script: script.clone() };
        let message = serde_json::to_value(request).unwrap();
        assert!(schema.is_valid(&message), "{message}");
        assert_eq!(message["script"]["steps"][1]["reason"].as_str(), reason.map(Reason::word));
        let trace = execute(&script, &core::factory(), Limits::default());
        let said = trace.iter().find_map(|event| {
            if let Event::Close { reason, .. } = event { reason.as_deref() } else { None }
        });
        assert_eq!(said, Some(reason.unwrap_or_default().word()));
        let printed = match reason {
            None => "close_by_identity(\"x\")".to_owned(),
            Some(reason) => format!("close_by_identity_as(\"x\", {})", reason.word()),
        };
        assert_eq!(pretty::op(&script.steps[1]), printed);
        // A word that ends no authority is not accepted as a reason.
        for other in ["shutdown", "evicted", "unsubscribed", "Revoked", ""] {
            let mut message = message.clone();
            message["script"]["steps"][1]["reason"] = other.into();
            assert!(!schema.is_valid(&message), "{message}");
            assert!(serde_json::from_value::<Request>(message).is_err());
        }
    }
}

/// Runs a campaign against an adapter until its first failure; the first script should show it.
fn hunt(command: &[&str]) -> (Hello, Outcome) {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let mut adapter = Adapter::new(command, Deadlines::default());
    let hello = adapter.hello().unwrap();
    let cast = Op::new(2, Act::cast("a", "m"));
    let out = Script::new(vec![
        sub(1, 0, false),
        cast,
        revoke(3, Some(Reason::LoggedOut)),
        sub(4, 1, false),
    ]);
    let saved = vec![("a log-out".to_owned(), out)];
    let plan = Plan { saved, scripts: 20, first_only: true, ..Plan::default() };
    let outcome = campaign(&hello, &mut adapter, &plan, &mut |_, _| {});
    (hello, outcome)
}

#[test]
fn rev_13_a_registry_that_ignores_the_reason_is_found_behind_a_live_adapter() {
    for (language, file, from, to) in [
        (
            "javascript",
            "registry.mjs",
            "identities.has(identity)), reason)",
            "identities.has(identity)), \"revoked\")",
        ),
        (
            "python",
            "registry.py",
            "in member.identities, reason, identity",
            "in member.identities, \"revoked\", identity",
        ),
    ] {
        let place = Place::with(language, &format!("reasons-{language}"), file, from, to);
        let path = |file: &str| place.file(file);
        let (adapter, registry) = (path("adapter.mjs"), path("registry.mjs"));
        let commands = match language {
            "python" => vec![vec!["python3".to_owned(), "-B".into(), path("adapter.py")]],
            // The second command says how the class is called, and the adapter finds that the class
            // has the call.
            _ => vec![
                vec!["node".to_owned(), adapter.clone()],
                vec![
                    "node".into(),
                    adapter,
                    registry,
                    "SubscriberRegistry".into(),
                    "identities=groups".into(),
                ],
            ],
        };
        for command in commands {
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            let (hello, outcome) = hunt(&command);
            assert!(hello.offers("revoke_as") && hello.offers("reasons"), "{command:?}");
            let failure = outcome
                .failures
                .first()
                .unwrap_or_else(|| panic!("{command:?}: {:?}", outcome.faults));
            assert_eq!(failure.violation.requirement, "REV-13", "{command:?}");
            let steps: Vec<String> = failure.script.steps.iter().map(pretty::op).collect();
            assert_eq!(
                (steps.len(), steps[1].as_str()),
                (2, "close_by_identity_as(\"x\", logged_out)"),
                "{command:?}"
            );
        }
    }
}

#[test]
fn a_class_without_close_by_identity_as_does_not_claim_it() {
    let (adapter, styles) =
        (here("adapters/javascript/adapter.mjs"), here("tests/adapters/styles.mjs"));
    let (hello, outcome) = hunt(&["node", &adapter, &styles, "Listed", "identities=identities"]);
    assert!(!hello.offers("revoke_as") && !hello.offers("reasons"));
    assert!(
        outcome.failures.is_empty() && outcome.kept.contains_key("REV-1"),
        "{:?}",
        outcome.failures
    );
}

#[test]
fn the_doctor_finds_an_adapter_that_drops_the_reason() {
    let place =
        Place::with("javascript", "reasons-doctor", "adapter.mjs", "op.reason ?", "false ?");
    let adapter = place.file("adapter.mjs");
    let output = Command::new(env!("CARGO_BIN_EXE_registry-conform"))
        .args(["doctor", "--", "node", &adapter])
        .output()
        .unwrap();
    let page = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(3), "{page}");
    assert!(
        page.contains("no a revocation that names its reason") && page.contains("REV-13"),
        "{page}"
    );
}

/// The claims of a small port.
fn port() -> Hello {
    Hello::new("any", &[], &["count", "reasons", "revoke_as"])
}

/// The report on a registry that ignores the reason, or on one that is right, for a port with this
/// known-failing file.
fn report(known: &str, outcome: &Outcome) -> Report {
    Report::new(&Input {
        hello: &port(),
        outcome,
        known: &Known::parse(known).unwrap(),
        today: "2030-01-01",
        seed: 1,
        parts: &[],
        cut_short: false,
        warnings: &[],
    })
}

#[test]
fn a_port_of_edition_1_is_not_scored_by_later_requirements() {
    let plan = Plan { scripts: 30, ..Plan::default() };
    let run = |factory| campaign(&port(), &mut InProcess::new(factory), &plan, &mut |_, _| {});
    let deaf = run(harness::mutants::mutant(harness::mutants::Bug::IgnoresTheReason));
    let failures: Vec<_> =
        deaf.failures.iter().map(|failure| failure.violation.requirement).collect();
    assert_eq!(failures, ["REV-13"]);
    let text = |report: &Report| report.text(&Paint::plain(), "adapter", &|_| None);

    let early = report("edition = 1", &deaf);
    assert_eq!((early.exit, early.edition, early.scored_by), (Exit::Conforming, 2, 1));
    assert!(
        text(&early).contains("not scored, for it came after the port's edition: REV-13"),
        "{}",
        text(&early)
    );
    assert!(text(&early).contains("edition 2, scored by edition 1"), "{}", text(&early));
    for known in ["", "edition = 2"] {
        let late = report(known, &deaf);
        assert_eq!((late.exit, late.scored_by), (Exit::Failures, 2), "{known:?}");
        assert!(!text(&late).contains("scored"), "{}", text(&late));
    }

    // Requirements of edition 1 count as before, also with the entries of a file of that edition.
    let entry =
        |id: &str| format!("edition = 1\n[[known]]\nrequirement = \"{id}\"\nreason = \"not yet\"");
    assert_eq!(report(&entry("REV-13"), &deaf).exit, Exit::Conforming, "not scored, and not stale");
    assert_eq!(report(&entry("CLO-1"), &deaf).exit, Exit::StaleKnown);
    let hidden = report(&entry("CLO-5"), &deaf);
    assert_eq!(hidden.exit, Exit::Conforming, "it hides behind REV-13, so it may be true");

    // The port is not blamed if no script exercised a later requirement.
    let mut right = run(harness::mutants::sound());
    assert_eq!(report("edition = 1", &right).exit, Exit::Conforming);
    assert!(right.kept.remove("REV-13").is_some());
    assert_eq!(report("edition = 1", &right).exit, Exit::Conforming);
    assert_eq!(report("edition = 2", &right).exit, Exit::NothingExercised);
    assert!(right.kept.remove("CLO-5").is_some());
    assert_eq!(report("edition = 1", &right).exit, Exit::NothingExercised);
}

#[test]
fn each_requirement_names_the_edition_of_its_meaning() {
    let all = catalogue();
    assert!(all.requirements.iter().all(|own| (1..=all.edition).contains(&own.since)));
    let since = |id: &str| find(id).unwrap().since;
    assert_eq!([since("REV-13"), since("ADM-8"), since("SSE-4"), since("WS-1")], [2; 4]);
    assert_eq!(
        [since("REV-1"), since("CLO-5"), since("ADM-1")],
        [1; 3],
        "whose meaning has not changed"
    );
    let page = spec();
    for own in &all.requirements {
        let line = page.lines().find(|line| line.starts_with(&format!("- **{} ", own.id))).unwrap();
        let mark = format!("; since edition {})", own.since);
        assert_eq!(line.ends_with(&mark), own.since > 1, "{line}");
    }
}
