//! A verdict that does not lie: what hides behind a breach is found, or said not to be judged.

use std::collections::BTreeMap;

use harness::campaign::{InProcess, Outcome, Plan, campaign};
use harness::kit::registry::Rig;
use harness::mutants::{self, Bug};
use harness::oracle::{self, Verdict};
use harness::protocol::{Hello, Policies};
use harness::runner::{Adapter, Deadlines, Exit, Input, Known, Part, Report};
use harness::script::{Act, Ending, Hook, Op, OpId, Registration, Rule, Script, SinkScript};
use harness::trace::{Event, Trace};

use crate::place::here;

const NAIVE: [&str; 11] =
    ["ISO-1", "ISO-2", "ISO-3", "ISO-7", "RE-3", "RE-4", "RE-5", "RE-6", "CLO-1", "CLO-4", "CNT-1"];
const NAIVE_SHOULDS: [&str; 2] = ["REV-8", "ORD-2"];

/// Runs the dozen lines that most servers have.
fn naive(plan: &Plan) -> (Hello, Outcome) {
    let words =
        ["node", &here("adapters/javascript/drive-module.mjs"), &here("tests/adapters/naive.mjs")];
    let words = words.into_iter().chain(["Naive", "call=options", "cap=cap"]);
    let command: Vec<String> = words.map(str::to_owned).collect();
    let mut adapter = Adapter::new(command, Deadlines::default());
    let hello = adapter.hello().unwrap();
    let outcome = campaign(&hello, &mut adapter, plan, &mut |_, _| {});
    (hello, outcome)
}

fn report(hello: &Hello, outcome: &Outcome, known: &str, only: &[&str]) -> Report {
    let parts = only.iter().map(|id| Part { name: (*id).to_owned(), ids: vec![(*id).to_owned()] });
    Report::new(&Input {
        hello,
        outcome,
        known: &Known::parse(known).unwrap(),
        today: "2030-01-01",
        seed: 1,
        parts: &parts.collect::<Vec<_>>(),
        cut_short: false,
        warnings: &[],
    })
}

fn verdicts(report: &Report) -> BTreeMap<&str, (&str, Option<&str>)> {
    let rules = report.rules.iter();
    rules.map(|own| (own.id.as_str(), (own.verdict, own.behind.as_deref()))).collect()
}

#[test]
fn the_naive_class_keeps_none_of_what_it_breaks() {
    let (hello, outcome) = naive(&Plan { scripts: 400, ..Plan::default() });
    let page = report(&hello, &outcome, "", &[]);
    assert_eq!(page.exit, Exit::Failures);
    let verdicts = verdicts(&page);
    let broken = |id: &str| verdicts.get(id).is_some_and(|own| own.0 == "broken");
    for id in NAIVE.iter().chain(&NAIVE_SHOULDS) {
        match verdicts[id] {
            ("broken", None) => {}
            ("not_judged", Some(behind)) => assert!(broken(behind), "{id} behind {behind}"),
            other => panic!("{id}: {other:?}"),
        }
    }
    for id in
        ["ISO-1", "ISO-2", "ISO-3", "ISO-7", "RE-3", "RE-5", "CLO-1", "CLO-4", "ORD-2", "REV-8"]
    {
        assert!(broken(id), "{id} can be shown alone: {:?}", verdicts[id]);
    }
    for kept in ["FLT-1", "FLT-5", "SUB-1", "DEL-3", "REV-5"] {
        assert_eq!(verdicts[kept], ("kept", None), "{kept}");
    }
    for failure in &outcome.failures {
        let (id, script) = (failure.violation.requirement, &failure.script);
        let verdict = oracle::judge_claims(script, &failure.trace, &hello);
        let shown = verdict.all().find(|own| own.requirement == id);
        assert!(shown.is_some_and(|own| verdict.is_sure(own)), "{id}: {verdict:?}");
    }
}

#[test]
fn asked_for_one_rule_that_hides_the_suite_does_not_call_it_kept() {
    for (id, exit) in [("ISO-1", Exit::Failures), ("RE-6", Exit::Undecided)] {
        let plan = Plan { scripts: 60, only: vec![id.to_owned()], ..Plan::default() };
        let (hello, outcome) = naive(&plan);
        let page = report(&hello, &outcome, "", &[id]);
        assert_eq!((page.exit, page.exit as i32), (exit, exit as i32), "{id}");
        assert_eq!(page.rules.len(), 1);
        assert_ne!(page.rules[0].verdict, "kept", "{id}");
        assert_eq!(page.junit().contains("not judged: behind "), exit == Exit::Undecided, "{id}");
    }
}

#[test]
fn an_entry_that_hides_is_not_out_of_date_and_what_is_excused_excuses_what_hides_behind_it() {
    let (hello, outcome) = naive(&Plan { scripts: 60, ..Plan::default() });
    let entry =
        |id: &str| format!("[[known]]\nrequirement = \"{id}\"\nreason = \"a plain loop\"\n");
    let failing: Vec<_> = outcome.failures.iter().map(|own| own.violation.requirement).collect();
    let known: String = failing.iter().copied().chain(["RE-6", "RE-4"]).map(entry).collect();
    let page = report(&hello, &outcome, &known, &[]);
    assert_eq!((page.exit, &page.stale[..]), (Exit::Conforming, &[][..]));
    assert_eq!(verdicts(&page)["RE-4"], ("not_judged", Some("RE-3")));
    let all = report(&hello, &outcome, &(known + &entry("FLT-1")), &[]);
    assert_eq!((all.exit, &all.stale[..]), (Exit::StaleKnown, &["FLT-1".to_owned()][..]));
}

#[test]
fn a_check_of_the_registry_kit_fails_for_what_hides() {
    for (bug, check, says) in [
        (Bug::CutsLongNames, "flt_8", "FLT-8: "),
        (Bug::FoldsCase, "flt_1", "FLT-1: not judged: behind FLT-5"),
        (Bug::CountsNestedTwice, "cnt_1", "CNT-1: "),
        (Bug::StopsAtAFailure, "del_1", "DEL-1: not judged: behind ISO-1"),
    ] {
        let wrong = Rig::new(mutants::hello(), mutants::mutant(bug)).check(check).unwrap_err();
        assert!(wrong.starts_with(says), "{bug:?}: {wrong}");
        assert_eq!(Rig::new(mutants::hello(), mutants::sound()).check(check), Ok(()));
    }
}

#[test]
fn a_rule_that_is_broken_in_a_special_case_only_is_not_called_kept() {
    let plan = Plan { scripts: 200, ..Plan::default() };
    let mut driver = InProcess::new(mutants::mutant(Bug::FoldsCase));
    let outcome = campaign(&mutants::hello(), &mut driver, &plan, &mut |_, _| {});
    let failing: Vec<_> = outcome.failures.iter().map(|own| own.violation.requirement).collect();
    assert_eq!(failing, ["FLT-5"]);
    assert_eq!(outcome.behind.get("FLT-1"), Some(&"FLT-5"));
    assert!(outcome.kept["FLT-1"] > 0 && !outcome.behind.contains_key("DEL-1"));
}

fn call(op: OpId) -> Event {
    Event::Call { op, thread: 0 }
}

fn ret(op: OpId, n: Option<i64>) -> Event {
    Event::Ret { op, n, refused: false, report: None, taken: None }
}

fn sends(sink: u32, data: &str) -> [Event; 2] {
    let data = data.into();
    [Event::Send { sink, data, thread: 0 }, Event::Sent { sink, threw: false, thread: 0 }]
}

fn closes(sink: u32) -> [Event; 2] {
    [
        Event::Close { sink, reason: None, thread: 0 },
        Event::Closed { sink, threw: false, thread: 0 },
    ]
}

fn sub(op: OpId, sink: u32, with: Registration) -> Op {
    Op::new(op, Act::Sub { sub: sink, sink, with })
}

fn cast(op: OpId, data: &str) -> Op {
    Op::new(op, Act::cast("a", data))
}

fn revoke(op: OpId, identity: &str) -> Op {
    Op::new(op, Act::Revoke { identity: identity.into(), reason: None })
}

fn count(op: OpId) -> Op {
    Op::new(op, Act::Count)
}

fn a() -> Registration {
    Registration::to(&["a"])
}

fn judge(steps: Vec<Op>, trace: &[&[Event]]) -> Verdict {
    let trace: Trace = trace.concat();
    oracle::judge(&Script::new(steps), &trace, &Policies::default())
}

fn broken(verdict: &Verdict) -> Vec<&str> {
    verdict.all().map(|own| own.requirement).collect()
}

/// A message is lost, and a revocation of another subscriber returns the wrong number.
#[test]
fn breaches_that_have_nothing_to_do_with_each_other_are_all_found() {
    let steps =
        vec![sub(1, 0, a()), sub(2, 1, a().group("x")), cast(3, "m"), revoke(4, "x"), count(5)];
    let begun = [call(1), ret(1, None), call(2), ret(2, None), call(3)];
    let lost = [&begun[..], &sends(1, "m"), &[ret(3, None), call(4)], &closes(1)].concat();
    let verdict = judge(steps, &[&lost, &[ret(4, Some(2)), call(5), ret(5, Some(1))]]);
    assert_eq!(broken(&verdict), ["DEL-1", "CNT-1"]);
    let [first, second] = [&verdict.violation.as_ref().unwrap(), &verdict.further.first().unwrap()];
    assert!(verdict.is_sure(first) && !verdict.is_sure(second));
    assert!(verdict.kept.contains("REV-1") && verdict.kept.contains("CLO-2"), "{verdict:?}");
    assert!(!verdict.kept.contains("DEL-1") && !verdict.kept.contains("CNT-1"));
}

/// Whether one that was not notified of its end is counted or sent to is that breach's consequence.
#[test]
fn what_a_breach_leaves_open_is_not_judged() {
    let steps =
        vec![sub(1, 0, a().group("x")), revoke(2, "x"), cast(3, "m"), count(4), revoke(5, "x")];
    let silent = [call(1), ret(1, None), call(2), ret(2, Some(1)), call(3)];
    for (late, counted, again) in [(true, 1, 1), (true, 0, 0), (false, 0, 0), (false, 1, 0)] {
        let late = if late { sends(0, "m").to_vec() } else { Vec::new() };
        let rest = [ret(3, None), call(4), ret(4, Some(counted)), call(5), ret(5, Some(again))];
        let verdict = judge(steps.clone(), &[&silent, &late, &rest]);
        assert_eq!(broken(&verdict), ["REV-1"], "{verdict:?}");
        assert!(!verdict.kept.contains("CNT-2") && !verdict.kept.contains("REV-10"), "{verdict:?}");
        assert_eq!(verdict.behind.get("CNT-2"), Some(&"REV-1"));
    }
    let steps = vec![sub(1, 0, a().group("x")), revoke(2, "x"), count(3)];
    let more = [call(1), ret(1, None), call(2), ret(2, Some(1)), call(3), ret(3, Some(2))];
    assert_eq!(broken(&judge(steps, &[&more])), ["REV-1", "CNT-2"], "it counts once at most");
}

/// It was never subscribed: no breach of another rule makes that right.
#[test]
fn after_a_breach_no_trace_is_the_adapters_fault() {
    let steps = vec![sub(1, 0, a().group("x")), revoke(2, "x"), count(3)];
    let begun = [call(1), ret(1, None), call(2)];
    let wrong = [ret(2, Some(7)), call(3), Event::Sent { sink: 0, threw: false, thread: 0 }];
    let verdict = judge(steps.clone(), &[&begun, &closes(0), &wrong]);
    assert_eq!((broken(&verdict), &verdict.nonsense), (vec!["CNT-1"], &None));
    let right = [ret(2, Some(1)), call(3), Event::Sent { sink: 0, threw: false, thread: 0 }];
    let verdict = judge(steps, &[&begun, &closes(0), &right]);
    assert!(verdict.nonsense.is_some_and(|why| why.contains("that had not begun")));
}

/// Only the sending thread has to wait for its send before it closes.
#[test]
fn rev_1_a_send_on_another_thread_does_not_excuse_a_close_that_comes_late() {
    let threads = vec![vec![cast(3, "m")], vec![Op::new(4, Act::Hold { gate: 0 }), revoke(5, "x")]];
    let mut script = Script::new(vec![sub(1, 0, a().group("x")), Op::new(2, Act::Par { threads })]);
    let ops = vec![Op::new(6, Act::Release { gate: 0 }), Op::new(7, Act::Hold { gate: 1 })];
    script.steps.push(Op::new(8, Act::Release { gate: 1 }));
    script.sinks =
        vec![SinkScript { rules: vec![Rule { on: Hook::Send, nth: 1, ops, then: Ending::Ok }] }];
    let on = |op, thread| Event::Call { op, thread };
    let begun = [
        call(1),
        ret(1, None),
        call(2),
        on(3, 1),
        Event::Send { sink: 0, data: "m".into(), thread: 1 },
        on(6, 1),
        ret(6, None),
        on(7, 1),
        on(4, 2),
        ret(4, None),
        on(5, 2),
    ];
    let close = |thread| {
        [
            Event::Close { sink: 0, reason: None, thread },
            Event::Closed { sink: 0, threw: false, thread },
        ]
    };
    let done = [ret(7, None), Event::Sent { sink: 0, threw: false, thread: 1 }];
    let policies = Policies::default();
    let early = [&begun[..], &close(2), &[ret(5, Some(1))], &done, &[ret(3, None), ret(2, None)]];
    let early = [&early.concat()[..], &[call(8), ret(8, None)]].concat();
    assert_eq!(broken(&oracle::judge(&script, &early, &policies)), [""; 0]);
    let late = [&begun[..], &[ret(5, Some(1))], &done, &close(1), &[ret(3, None), ret(2, None)]];
    let late = [&late.concat()[..], &[call(8), ret(8, None)]].concat();
    let verdict = oracle::judge(&script, &late, &policies);
    assert_eq!(verdict.violation.map(|own| own.requirement), Some("REV-1"));
}

#[test]
fn cap_5_a_cap_of_one_can_be_constructed() {
    let judged = |cap| {
        let script = Script { cap, ..Script::new(vec![sub(1, 0, a())]) };
        let verdict = oracle::judge(
            &script,
            &vec![Event::Unbuilt { error: "too small".into() }],
            &Policies::default(),
        );
        (broken(&verdict).first().map(|id| (*id).to_owned()), verdict.nonsense.is_some())
    };
    assert_eq!(judged(Some(0)), (None, false));
    assert_eq!(judged(Some(1)), (Some("CAP-5".to_owned()), false));
    assert_eq!(judged(None), (None, true));
}
