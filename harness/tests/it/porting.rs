//! What `docs/porting.md` and the protocol answer to a porter, as the oracle judges it.

use harness::oracle::{self, Verdict};
use harness::protocol::Policies;
use harness::script::{
    Act, Ending, Hook, Op, OpId, Outbox, Registration, Rule, Script, SinkScript,
};
use harness::trace::{Event, Received, Trace};

fn call(op: OpId, thread: u32) -> Event {
    Event::Call { op, thread }
}

fn ret(op: OpId) -> Event {
    Event::Ret { op, n: None, refused: false, report: None, taken: None }
}

fn revoked(op: OpId, n: i64) -> Event {
    Event::Ret { op, n: Some(n), refused: false, report: None, taken: None }
}

fn took(op: OpId, messages: &[&str], lost: u64, end: Option<&str>) -> Event {
    let messages = messages.iter().map(|data| (*data).to_owned()).collect();
    let taken = Some(Received { messages, lost, end: end.map(str::to_owned) });
    Event::Ret { op, n: None, refused: false, report: None, taken }
}

fn send(thread: u32) -> Event {
    Event::Send { sink: 0, data: "m".into(), thread }
}

fn sent(threw: bool, thread: u32) -> Event {
    Event::Sent { sink: 0, threw, thread }
}

fn close(thread: u32) -> [Event; 2] {
    [
        Event::Close { sink: 0, reason: None, thread },
        Event::Closed { sink: 0, threw: false, thread },
    ]
}

fn sub(with: Registration) -> Op {
    Op::new(1, Act::Sub { sub: 0, sink: 0, with })
}

fn cast(op: OpId) -> Op {
    cast_of(op, "m")
}

fn cast_of(op: OpId, data: &str) -> Op {
    Op::new(op, Act::cast("a", data))
}

fn revoke(op: OpId) -> Op {
    Op::new(op, Act::Revoke { identity: "x".into(), reason: None })
}

fn take(op: OpId, bytes: Option<u32>) -> Op {
    Op::new(op, Act::Take { sub: 0, bytes })
}

fn first_send(ops: Vec<Op>, then: Ending) -> SinkScript {
    SinkScript { rules: vec![Rule { on: Hook::Send, nth: 1, ops, then }] }
}

fn judge(script: &Script, trace: &Trace) -> Verdict {
    oracle::judge(script, trace, &Policies::default())
}

/// The requirement that is broken; or that the trace makes no sense, and why.
fn verdict(script: &Script, trace: &Trace) -> Result<Option<&'static str>, String> {
    let verdict = judge(script, trace);
    let found = verdict.first().map(|violation| violation.requirement);
    verdict.nonsense.map_or(Ok(found), Err)
}

/// A broadcast parks in the sink until a gate opens, for which a second thread only waits as well.
fn both_wait() -> (Script, Trace) {
    let threads = vec![vec![cast(3)], vec![Op::new(4, Act::Hold { gate: 0 })]];
    let mut script =
        Script::new(vec![sub(Registration::to(&["a"])), Op::new(2, Act::Par { threads })]);
    script.sinks.push(first_send(vec![Op::new(5, Act::Hold { gate: 1 })], Ending::Ok));
    let parked = vec![
        call(1, 0),
        ret(1),
        call(2, 0),
        call(3, 1),
        call(4, 2),
        send(1),
        call(5, 1),
        Event::Stuck { op: 5 },
    ];
    (script, parked)
}

#[test]
fn after_a_stuck_the_trace_goes_on_until_all_has_returned() {
    let (script, parked) = both_wait();
    let rest = [ret(4), ret(5), sent(false, 1), ret(3), ret(2)];
    let whole = [&parked[..], &rest].concat();
    let vain = verdict(&script, &whole).unwrap_err();
    assert!(vain.contains("waited in vain"), "no failure of the registry's: {vain}");

    // More of them say nothing, each `ret` is as due as ever, and an `err` is none of them.
    let again = [&parked[..], &[Event::Stuck { op: 4 }, Event::Stuck { op: 2 }], &rest].concat();
    assert_eq!(verdict(&script, &again), Err(vain));
    let cut = [&parked[..], &rest[..3]].concat();
    assert_eq!(verdict(&script, &cut), Ok(Some("CON-0")), "the thread of the broadcast is missing");
    let silent = [&parked[..], &[ret(4), sent(false, 1), ret(3), ret(2)]].concat();
    let ended = verdict(&script, &silent).unwrap_err();
    assert!(ended.contains("a send on sink 0 ended that had not begun"), "{ended}");
    let error = Event::Err { op: 5, error: "timeout".into() };
    let thrown = [&parked[..], &[error], &rest[2..]].concat();
    assert_eq!(verdict(&script, &thrown), Err("operation 5 threw: timeout".to_owned()));
}

#[test]
fn after_a_stuck_the_script_goes_on_behind_the_threads() {
    let (mut script, parked) = both_wait();
    script.steps.push(cast_of(6, "n"));
    let late = Event::Send { sink: 0, data: "n".into(), thread: 0 };
    // The thread of the first broadcast never comes back.
    let rest = [ret(4), ret(5), ret(2), call(6, 0), late, sent(false, 0), ret(6)];
    assert_eq!(verdict(&script, &[&parked[..], &rest].concat()), Ok(Some("CON-0")));
    let missing = [&parked[..], &[ret(4), ret(5), sent(false, 1), ret(3), ret(2)]].concat();
    assert_eq!(
        verdict(&script, &missing),
        Err("operation 6 is missing from the trace".to_owned()),
        "the steps after it are run"
    );
}

/// An error that `send` returns and one that it throws are the same to the trace.
#[test]
fn threw_is_what_the_rule_says_however_the_sink_fails() {
    for (then, fails) in [(Ending::Throw, true), (Ending::Fail, true), (Ending::Ok, false)] {
        let mut script = Script::new(vec![sub(Registration::to(&["a"])), cast(2)]);
        script.sinks.push(first_send(Vec::new(), then));
        let notified = |threw| {
            let begun = [call(1, 0), ret(1), call(2, 0), send(0), sent(threw, 0)];
            let closed = close(0);
            let closed = if fails { &closed[..] } else { &[] };
            verdict(&script, &[&begun[..], closed, &[ret(2)]].concat())
        };
        assert_eq!(notified(fails), Ok(None), "{then:?}");
        let other = notified(!fails).unwrap_err();
        assert!(other.contains("is not what its rules say"), "{then:?}: {other}");
    }
}

/// Three messages for an outbox of one, so that two are lost; then the end, and a take.
fn ended_after_losses(end: Act, found: Event) -> Result<Option<&'static str>, String> {
    let outbox = Outbox::of(1, harness::script::Overflow::DropNewest);
    let with = Registration::to(&["a"]).group("x").outbox(outbox);
    let returned = match end {
        Act::Revoke { .. } => revoked(5, 1),
        _ => ret(5),
    };
    let casts = ["1", "2", "3"].into_iter().zip(2..).map(|(data, op)| cast_of(op, data));
    let mut steps = vec![sub(with)];
    steps.extend(casts);
    steps.extend([Op::new(5, end), take(6, None), take(7, None)]);
    let mut trace: Trace = (1..=4).flat_map(|op| [call(op, 0), ret(op)]).collect();
    trace.extend([call(5, 0), returned, call(6, 0), found, call(7, 0)]);
    let reason = if matches!(steps[4].act, Act::Shutdown) { "shutdown" } else { "revoked" };
    trace.push(took(7, &[], 0, Some(reason)));
    verdict(&Script::new(steps), &trace)
}

#[test]
fn lost_may_stand_beside_end_and_is_at_most_what_overflow_has_cost() {
    let revoke = || revoke(5).act;
    for (lost, judged) in [(0, None), (2, None), (3, Some("QUE-1"))] {
        let end = took(6, &[], lost, Some("revoked"));
        assert_eq!(ended_after_losses(revoke(), end), Ok(judged), "{lost}: one was discarded");
        let end = took(6, &[], lost, Some("shutdown"));
        assert_eq!(ended_after_losses(Act::Shutdown, end), Ok(judged), "{lost}");
    }
    // A shutdown may leave what waits. Then the losses behind it may be notified with it, or never.
    for (lost, judged) in [(0, None), (2, None), (3, Some("QUE-1"))] {
        let first = took(6, &["1"], lost, None);
        assert_eq!(ended_after_losses(Act::Shutdown, first), Ok(judged), "{lost}");
    }
    let both = ended_after_losses(Act::Shutdown, took(6, &["1"], 0, Some("shutdown")));
    assert!(both.unwrap_err().contains("messages and the end at once"));
}

/// A send on this lane after a revocation has returned; before it or behind it, one that the lane
/// makes to a subscriber that was not revoked.
fn late_send(lane: u32, busy: bool) -> Result<Option<&'static str>, String> {
    let threads = vec![vec![cast(3)], vec![revoke(4)]];
    let with = Registration::to(&["a"]).group("x");
    let other = Op::new(6, Act::Sub { sub: 1, sink: 1, with: Registration::to(&["a"]) });
    let script = Script::new(vec![sub(with), other, Op::new(2, Act::Par { threads })]);
    let mut trace =
        vec![call(1, 0), ret(1), call(6, 0), ret(6), call(2, 0), call(3, 1), call(4, 2)];
    trace.extend(close(2));
    trace.push(revoked(4, 1));
    let first = [
        Event::Send { sink: 1, data: "m".into(), thread: lane },
        Event::Sent { sink: 1, threw: false, thread: lane },
    ];
    let late = [send(lane), sent(false, lane)];
    let sends = if busy { [first, late] } else { [late, first] };
    trace.extend(sends.concat());
    trace.extend([ret(3), ret(2)]);
    verdict(&script, &trace)
}

#[test]
fn a_lane_that_logged_nothing_since_may_send_late_and_a_lane_per_call_would_hide_it() {
    for lane in [1, 100, 4_000_000] {
        assert_eq!(late_send(lane, false), Ok(None), "{lane}: it may have been on its way");
        assert_eq!(late_send(lane, true), Ok(Some("REV-2")), "{lane}: it has been here since");
    }
}

#[test]
fn a_thread_of_the_registry_logs_what_it_does_on_its_lane_and_nothing_else() {
    let mut script = Script::new(vec![sub(Registration::to(&["a"]).group("x")), cast(2)]);
    script.sinks.push(first_send(vec![Op::new(3, Act::Count)], Ending::Ok));
    let run = |send_lane, call_lane, sent_lane, returns: bool| {
        let mut trace = vec![call(1, 0), ret(1), call(2, 0), send(send_lane), call(3, call_lane)];
        trace.extend(returns.then(|| revoked(3, 1)));
        trace.extend([sent(false, sent_lane), ret(2)]);
        verdict(&script, &trace)
    };
    assert_eq!(run(100, 100, 100, true), Ok(None), "as inside the call of lane 0");
    let apart = run(100, 100, 0, true).unwrap_err();
    assert!(apart.contains("a send on sink 0 ended that had not begun"), "{apart}");
    assert!(run(100, 100, 100, false).is_err(), "what a rule runs returns before its sink does");
    assert!(run(100, 100, 101, true).is_err(), "one thread under two numbers");
}

#[test]
fn bounds_that_are_absent_are_those_of_the_protocol() {
    let read = |text: &str| serde_json::from_str::<Script>(text).unwrap();
    let script = read(
        r#"{"steps": [{"id": 1, "op": "sub", "sub": 0, "sink": 0, "outbox": {"messages": 2}}]}"#,
    );
    let Act::Sub { with, .. } = &script.steps[0].act else { panic!("{script:?}") };
    assert_eq!(with.outbox, Some(Outbox { messages: 2, ..Outbox::default() }));
    assert_eq!((script.cap, &with.channels, &with.scope), (None, &None, &None));
    assert_eq!((Outbox::default().messages, Outbox::default().bytes), (1_024, 1 << 20));

    // What fits is there, and one byte more ends the subscriber.
    let half = "h".repeat(1 << 19);
    let fill = |more: usize, found: Event| {
        let more = "m".repeat((1 << 19) + more);
        let outbox = Registration::to(&["a"]).outbox(Outbox::default());
        let steps = vec![sub(outbox), cast_of(2, &half), cast_of(3, &more), take(4, Some(1))];
        let trace: Trace = (1..=3).flat_map(|op| [call(op, 0), ret(op)]).collect();
        verdict(&Script::new(steps), &[&trace[..], &[call(4, 0), found]].concat())
    };
    assert_eq!(fill(0, took(4, &[&half], 0, None)), Ok(None));
    assert_eq!(fill(1, took(4, &[], 0, Some("lagged"))), Ok(None));
    assert_eq!(fill(1, took(4, &[&half], 0, None)), Ok(Some("QUE-3")));

    // A take without `bytes` stops at 64 KiB.
    let (first, second) = ("1".repeat(40 << 10), "2".repeat(40 << 10));
    let at_once = |found: Event| {
        let outbox = Registration::to(&["a"]).outbox(Outbox::default());
        let steps = vec![sub(outbox), cast_of(2, &first), cast_of(3, &second), take(4, None)];
        let trace: Trace = (1..=3).flat_map(|op| [call(op, 0), ret(op)]).collect();
        verdict(&Script::new(steps), &[&trace[..], &[call(4, 0), found]].concat())
    };
    assert_eq!(at_once(took(4, &[&first], 0, None)), Ok(None));
    assert_eq!(at_once(took(4, &[&first, &second], 0, None)), Ok(Some("REV-3")));
}
