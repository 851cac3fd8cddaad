//! Traces that are written by hand, and the verdicts of the oracle.

use harness::oracle;
use harness::protocol::{Delivery, Policies};
use harness::script::{
    Act, Ending, Hook, Op, Outbox, Overflow, Registration, Rule, Script, SinkScript,
};
use harness::trace::{Event, Received, Trace};

fn call(op: u32) -> Event {
    Event::Call { op, thread: 0 }
}

fn ret(op: u32, n: Option<i64>) -> Event {
    Event::Ret { op, n, refused: false, report: None, taken: None }
}

fn took(op: u32, messages: &[&str], lost: u64, end: Option<&str>) -> Event {
    let messages = messages.iter().map(|data| (*data).to_owned()).collect();
    let taken = Received { messages, lost, end: end.map(str::to_owned) };
    Event::Ret { op, n: None, refused: false, report: None, taken: Some(taken) }
}

#[track_caller]
fn verdict(script: &Script, trace: &Trace) -> Option<&'static str> {
    let verdict = oracle::judge(script, trace, &Policies::default());
    assert_eq!(verdict.nonsense, None);
    verdict.first().map(|violation| violation.requirement)
}

/// Judges a sink whose first send runs this operation, which closes the sink on this thread, inside
/// that send or after it.
fn ended_inside_its_send(
    act: Act,
    n: Option<i64>,
    reason: &str,
    inside: bool,
    thread: u32,
) -> Option<&'static str> {
    let mut script = Script::new(vec![
        Op::new(1, Act::Sub { sub: 0, sink: 0, with: Registration::to(&["a"]).group("x") }),
        Op::new(2, Act::Cast { channel: "a".into(), data: "m".into() }),
    ]);
    let rule = Rule { on: Hook::Send, nth: 1, ops: vec![Op::new(3, act)], then: Ending::Ok };
    script.sinks.push(SinkScript { rules: vec![rule] });
    let close = [
        Event::Close { sink: 0, reason: Some(reason.into()), thread },
        Event::Closed { sink: 0, threw: false, thread },
    ];
    let mut trace = vec![
        call(1),
        ret(1, None),
        call(2),
        Event::Send { sink: 0, data: "m".into(), thread: 0 },
        call(3),
    ];
    trace.extend(close.iter().filter(|_| inside).cloned());
    trace.extend([ret(3, n), Event::Sent { sink: 0, threw: false, thread: 0 }]);
    trace.extend(close.iter().filter(|_| !inside).cloned());
    trace.push(ret(2, None));
    verdict(&script, &trace)
}

#[test]
fn a_close_waits_for_the_send_that_it_was_called_for_in() {
    let revoked = |inside, thread| {
        let act = Act::Revoke { identity: "x".into(), reason: None };
        ended_inside_its_send(act, Some(1), "revoked", inside, thread)
    };
    let shut_down =
        |inside, thread| ended_inside_its_send(Act::Shutdown, None, "shutdown", inside, thread);
    assert_eq!((revoked(false, 0), revoked(false, 100)), (None, None));
    assert_eq!((revoked(true, 0), revoked(true, 100)), (Some("RE-5"), Some("RE-5")));
    assert_eq!((shut_down(false, 0), shut_down(false, 100)), (None, None));
    assert_eq!(shut_down(true, 0), Some("CLO-4"));
    assert_eq!(shut_down(true, 100), None, "CLO-4 speaks of the same thread");
}

/// Of two threads, one broadcasts to a sink, and the other subscribes a second sink after or before
/// that send began. Then the broadcast reaches the second.
#[test]
fn re_4_a_subscriber_that_came_after_the_first_send_gets_no_send_of_its_own() {
    let sub = |op, sub| Op::new(op, Act::Sub { sub, sink: sub, with: Registration::to(&["a"]) });
    let cast = Op::new(4, Act::Cast { channel: "a".into(), data: "m".into() });
    let threads = vec![vec![cast], vec![sub(5, 1), Op::new(6, Act::Unsub { sub: 0 })]];
    let script = Script::new(vec![sub(1, 0), Op::new(2, Act::Par { threads })]);
    let sent = |sink| {
        [
            Event::Send { sink, data: "m".into(), thread: 1 },
            Event::Sent { sink, threw: false, thread: 1 },
        ]
    };
    let on = |op, thread| Event::Call { op, thread };
    let judge = |early: bool, first: bool| {
        let mut trace = vec![call(1), ret(1, None), call(2), on(4, 1)];
        let came = [on(5, 2), ret(5, None)];
        trace.extend(came.iter().filter(|_| early).cloned());
        trace.extend(sent(0).into_iter().filter(|_| first));
        trace.extend(came.into_iter().filter(|_| !early));
        // A subscriber that leaves meanwhile need not get it, and then its place is free.
        trace.extend([on(6, 2), ret(6, None)]);
        trace.extend(sent(1));
        trace.extend([ret(4, None), ret(2, None)]);
        verdict(&script, &trace)
    };
    assert_eq!((judge(true, true), judge(true, false), judge(false, false)), (None, None, None));
    assert_eq!(judge(false, true), Some("RE-4"));
}

#[test]
fn del_3_a_broadcast_fails_neither_after_a_shutdown_nor_during_one() {
    let err = |op| Event::Err { op, error: "it is down".into() };
    let shutdown = Op::new(1, Act::Shutdown);
    let cast = Op::new(2, Act::Cast { channel: "a".into(), data: "m".into() });
    let script = Script::new(vec![shutdown.clone(), cast.clone()]);
    let after = |outcome| verdict(&script, &vec![call(1), ret(1, None), call(2), outcome]);
    assert_eq!((after(ret(2, None)), after(err(2))), (None, Some("DEL-3")));
    let threads = vec![vec![shutdown], vec![cast]];
    let script = Script::new(vec![Op::new(3, Act::Par { threads })]);
    let on = |op, thread| Event::Call { op, thread };
    let during = |outcome| {
        let trace = vec![call(3), on(1, 1), on(2, 2), outcome, ret(1, None), ret(3, None)];
        verdict(&script, &trace)
    };
    assert_eq!((during(ret(2, None)), during(err(2))), (None, Some("DEL-3")));
}

/// Equal messages were merged if one of them came, and lost if none did.
#[test]
fn del_5_is_broken_only_by_what_leaves_one_of_equal_messages() {
    let with = Registration::to(&["a"]).outbox(Outbox::default());
    let cast = |id| Op::new(id, Act::Cast { channel: "a".into(), data: "m".into() });
    let take = |id| Op::new(id, Act::Take { sub: 0, bytes: None });
    let script = Script::new(vec![
        Op::new(1, Act::Sub { sub: 0, sink: 0, with }),
        cast(2),
        cast(3),
        take(4),
        take(5),
    ]);
    let judge = |messages: &[&str]| {
        let mut trace = vec![call(1), ret(1, None), call(2), ret(2, None), call(3), ret(3, None)];
        trace.extend([call(4), took(4, messages, 0, None), call(5), took(5, &[], 0, None)]);
        verdict(&script, &trace)
    };
    assert_eq!(
        (judge(&["m", "m"]), judge(&["m"]), judge(&[])),
        (None, Some("DEL-5"), Some("DEL-1"))
    );
}

/// A sink may get what was broadcast later; an outbox has it when the broadcast returns.
#[test]
fn del_1_asynchronous_delivery_does_not_fill_an_outbox_late() {
    let with = Registration::to(&["a"]).outbox(Outbox::default());
    let take = |id| Op::new(id, Act::Take { sub: 0, bytes: None });
    let script = Script::new(vec![
        Op::new(1, Act::Sub { sub: 0, sink: 0, with }),
        Op::new(2, Act::Cast { channel: "a".into(), data: "m".into() }),
        take(3),
        Op::new(4, Act::Settle),
        take(5),
    ]);
    let policies = Policies { delivery: Delivery::Async, ..Policies::default() };
    let judge = |early: &[&str], late: &[&str]| {
        let mut trace = vec![call(1), ret(1, None), call(2), ret(2, None)];
        trace.extend([call(3), took(3, early, 0, None), call(4), ret(4, None)]);
        trace.extend([call(5), took(5, late, 0, None)]);
        let verdict = oracle::judge(&script, &trace, &policies);
        verdict.first().map(|violation| violation.requirement)
    };
    assert_eq!((judge(&["m"], &[]), judge(&[], &["m"])), (None, Some("DEL-1")));
}

#[test]
fn cnt_1_and_rev_10_a_negative_number_breaks_a_requirement() {
    let revoked = |subscribed: bool, n| {
        let mut steps = vec![Op::new(2, Act::Revoke { identity: "x".into(), reason: None })];
        let mut trace = vec![call(2)];
        if subscribed {
            steps.insert(
                0,
                Op::new(1, Act::Sub { sub: 0, sink: 0, with: Registration::to(&["a"]).group("x") }),
            );
            trace.splice(0..0, [call(1), ret(1, None)]);
            trace.push(Event::Close { sink: 0, reason: Some("revoked".into()), thread: 0 });
            trace.push(Event::Closed { sink: 0, threw: false, thread: 0 });
        }
        trace.push(ret(2, Some(n)));
        verdict(&Script::new(steps), &trace)
    };
    assert_eq!((revoked(true, 1), revoked(false, 0)), (None, None));
    assert_eq!(revoked(true, -1), Some("CNT-1"));
    assert_eq!(revoked(false, -1), Some("REV-10"));
    let counted =
        |n| verdict(&Script::new(vec![Op::new(1, Act::Count)]), &vec![call(1), ret(1, Some(n))]);
    assert_eq!((counted(0), counted(-1)), (None, Some("CNT-2")));
}

/// Judges a take from an outbox of two messages after three broadcasts and perhaps a revocation.
fn taken(overflow: Overflow, revoked: bool, found: Event) -> Option<&'static str> {
    let with = Registration::to(&["a"]).group("x").outbox(Outbox::of(2, overflow));
    let cast = |op, data: &str| Op::new(op, Act::Cast { channel: "a".into(), data: data.into() });
    let mut steps = vec![
        Op::new(1, Act::Sub { sub: 0, sink: 0, with }),
        cast(2, "m1"),
        cast(3, "m2"),
        cast(4, "m3"),
        Op::new(6, Act::Take { sub: 0, bytes: Some(4) }),
    ];
    let mut trace = vec![
        call(1),
        ret(1, None),
        call(2),
        ret(2, None),
        call(3),
        ret(3, None),
        call(4),
        ret(4, None),
    ];
    if revoked {
        steps.insert(4, Op::new(5, Act::Revoke { identity: "x".into(), reason: None }));
        trace.extend([call(5), ret(5, Some(1))]);
    }
    trace.extend([call(6), found]);
    verdict(&Script::new(steps), &trace)
}

#[test]
fn each_overflow_policy_keeps_the_messages_that_it_promises() {
    use Overflow::{Close, DropNewest, DropOldest, KeepLatest};
    let lagged = || took(6, &[], 0, Some("lagged"));
    for (policy, found, verdict) in [
        (Close, lagged(), None),
        (Close, took(6, &["m1", "m2"], 1, None), Some("QUE-1")),
        (DropOldest, took(6, &["m2", "m3"], 1, None), None),
        (DropOldest, took(6, &["m2"], 1, None), None),
        (DropOldest, took(6, &["m2", "m3"], 0, None), Some("QUE-1")),
        (DropOldest, took(6, &["m3"], 2, None), Some("QUE-1")),
        (DropOldest, lagged(), Some("QUE-1")),
        (DropNewest, took(6, &["m1", "m2"], 1, None), None),
        (DropNewest, took(6, &["m1", "m2"], 0, None), None),
        (DropNewest, took(6, &["m2", "m3"], 1, None), Some("QUE-1")),
        (KeepLatest, took(6, &["m3"], 2, None), None),
        (KeepLatest, took(6, &["m2", "m3"], 1, None), None),
        (KeepLatest, took(6, &["m1", "m2"], 1, None), Some("QUE-1")),
        (DropOldest, took(6, &["m1", "m2", "m3"], 0, None), Some("REV-3")),
        (DropOldest, took(6, &["m3", "m2"], 1, None), Some("QUE-1")),
        (DropOldest, took(6, &["m2", "m2"], 1, None), Some("DEL-2")),
        (DropOldest, took(6, &["m4"], 1, None), Some("DEL-4")),
        (DropOldest, took(6, &[], 0, Some("unsubscribed")), Some("SUB-2")),
    ] {
        assert_eq!(taken(policy, false, found.clone()), verdict, "{policy:?} {found:?}");
    }
}

#[test]
fn a_revocation_discards() {
    let policy = Overflow::DropOldest;
    assert_eq!(taken(policy, true, took(6, &[], 0, Some("revoked"))), None);
    assert_eq!(taken(policy, true, took(6, &["m2", "m3"], 1, None)), Some("REV-3"));
    assert_eq!(taken(policy, true, took(6, &[], 0, None)), Some("REV-1"));
    assert_eq!(taken(policy, true, took(6, &[], 0, Some("evicted"))), Some("CLO-5"));
}

#[test]
fn a_script_that_takes_from_a_sink_is_refused() {
    let steps = vec![
        Op::new(1, Act::Sub { sub: 0, sink: 0, with: Registration::all() }),
        Op::new(2, Act::Take { sub: 0, bytes: None }),
    ];
    assert!(Script::new(steps).check().is_err());
}

#[test]
fn either_of_two_simultaneous_takes_may_get_the_first_messages() {
    let take = |id| Op::new(id, Act::Take { sub: 0, bytes: Some(1) });
    let cast = |id, data: &str| Op::new(id, Act::Cast { channel: "a".into(), data: data.into() });
    let mut script = Script::new(vec![
        Op::new(
            1,
            Act::Sub { sub: 0, sink: 0, with: Registration::to(&["a"]).outbox(Outbox::default()) },
        ),
        cast(2, "m1"),
        cast(3, "m2"),
        Op::new(4, Act::Par { threads: vec![vec![take(5)], vec![take(6)]] }),
    ]);
    let before = [call(1), ret(1, None), call(2), ret(2, None), call(3), ret(3, None)];
    let (five, six) = (took(5, &["m1"], 0, None), took(6, &["m2"], 0, None));
    let at_once = [
        call(4),
        Event::Call { op: 5, thread: 1 },
        Event::Call { op: 6, thread: 2 },
        six,
        five,
        ret(4, None),
    ];
    assert_eq!(verdict(&script, &[&before[..], &at_once].concat()), None);
    script.steps.splice(3.., [take(5), take(6)]);
    let (second, first) = (took(5, &["m2"], 0, None), took(6, &["m1"], 0, None));
    let in_turn = [call(5), second, call(6), first];
    assert_eq!(
        verdict(&script, &[&before[..], &in_turn].concat()),
        Some("DEL-1"),
        "the oldest was there"
    );
}

#[test]
fn either_of_two_simultaneous_uses_of_a_ticket_may_be_admitted() {
    let admit =
        |op, sub| Op::new(op, Act::Admit { ticket: 0, sub, sink: sub, with: Registration::all() });
    let threads = vec![vec![admit(3, 0)], vec![admit(4, 1)]];
    let script =
        Script::new(vec![Op::new(1, Act::Begin { ticket: 0 }), Op::new(2, Act::Par { threads })]);
    let admitted = |op, refused| Event::Ret { op, n: None, refused, report: None, taken: None };
    let begun = |thread| Event::Call { op: thread + 2, thread };
    for (calls, first, second) in [([1, 2], 3, 4), ([1, 2], 4, 3), ([2, 1], 3, 4), ([2, 1], 4, 3)] {
        let mut trace = vec![call(1), ret(1, None), call(2), begun(calls[0]), begun(calls[1])];
        trace.extend([admitted(first, false), admitted(second, true), ret(2, None)]);
        assert_eq!(verdict(&script, &trace), None);
        // If the uses follow each other, the second must be refused.
        let mut trace =
            vec![call(1), ret(1, None), call(2), begun(calls[0]), admitted(calls[0] + 2, false)];
        trace.extend([begun(calls[1]), admitted(calls[1] + 2, false), ret(2, None)]);
        assert_eq!(verdict(&script, &trace), Some("ADM-6"));
    }
}

#[test]
fn one_ticket_admits_one_of_two_threads() {
    let admit = |op, sub| {
        Op::new(op, Act::Admit { ticket: 0, sub, sink: sub, with: Registration::to(&["a"]) })
    };
    let par = Op::new(2, Act::Par { threads: vec![vec![admit(3, 0)], vec![admit(4, 1)]] });
    let script = Script::new(vec![Op::new(1, Act::Begin { ticket: 0 }), par]);
    let judge = |refused| {
        let trace = vec![
            call(1),
            ret(1, None),
            call(2),
            Event::Call { op: 3, thread: 1 },
            Event::Call { op: 4, thread: 2 },
            ret(3, None),
            Event::Ret { op: 4, n: None, refused, report: None, taken: None },
            ret(2, None),
        ];
        verdict(&script, &trace)
    };
    assert_eq!(judge(true), None);
    assert_eq!(judge(false), Some("ADM-6"));
}

/// Only a revocation that was called after `begin` had returned must refuse the admission; one that
/// was called while `begin` was in progress may have come first.
#[test]
fn adm_1_a_revocation_that_overlaps_begin_may_refuse_and_need_not() {
    let revoke = || Op::new(4, Act::Revoke { identity: "x".into(), reason: None });
    let begin = || Op::new(3, Act::Begin { ticket: 0 });
    let admit =
        Act::Admit { ticket: 0, sub: 0, sink: 0, with: Registration::to(&["a"]).group("x") };
    let script = Script::new(vec![
        Op::new(2, Act::Par { threads: vec![vec![begin()], vec![revoke()]] }),
        Op::new(5, admit),
    ]);
    let judge = |overlaps: bool, refused| {
        let on = |op, thread| Event::Call { op, thread };
        let mut trace = vec![call(2), on(3, 1)];
        if overlaps {
            trace.extend([on(4, 2), ret(4, Some(0)), ret(3, None)]);
        } else {
            trace.extend([ret(3, None), on(4, 2), ret(4, Some(0))]);
        }
        let admitted = Event::Ret { op: 5, n: None, refused, report: None, taken: None };
        trace.extend([ret(2, None), call(5), admitted]);
        verdict(&script, &trace)
    };
    assert_eq!((judge(true, false), judge(true, true)), (None, None));
    assert_eq!((judge(false, false), judge(false, true)), (Some("ADM-1"), None));
}

/// When a thread runs out of patience, all gates open. So the events after that moment are no
/// failure.
#[test]
fn a_thread_that_gives_up_late_is_no_failure_of_another() {
    let revoke = Op::new(5, Act::Revoke { identity: "x".into(), reason: None });
    let threads = vec![
        vec![Op::new(3, Act::Cast { channel: "a".into(), data: "m".into() })],
        vec![Op::new(4, Act::Hold { gate: 0 }), revoke, Op::new(6, Act::Release { gate: 1 })],
    ];
    let mut script = Script::new(vec![
        Op::new(1, Act::Sub { sub: 0, sink: 0, with: Registration::to(&["a"]).group("x") }),
        Op::new(2, Act::Par { threads }),
    ]);
    let ops = vec![Op::new(7, Act::Release { gate: 0 }), Op::new(8, Act::Hold { gate: 1 })];
    script
        .sinks
        .push(SinkScript { rules: vec![Rule { on: Hook::Send, nth: 1, ops, then: Ending::Ok }] });
    let on = |op, thread| Event::Call { op, thread };
    let trace = vec![
        call(1),
        ret(1, None),
        call(2),
        on(4, 2),
        on(3, 1),
        Event::Send { sink: 0, data: "m".into(), thread: 1 },
        on(7, 1),
        ret(7, None),
        on(8, 1),
        ret(4, None),
        on(5, 2),
        Event::Stuck { op: 8 },
        ret(8, None),
        Event::Sent { sink: 0, threw: false, thread: 1 },
        ret(3, None),
        Event::Stuck { op: 2 },
        Event::Close { sink: 0, reason: None, thread: 2 },
        Event::Closed { sink: 0, threw: false, thread: 2 },
        ret(5, Some(1)),
        on(6, 2),
        ret(6, None),
        ret(2, None),
    ];
    assert_eq!(verdict(&script, &trace), Some("PRG-2"), "a SHOULD, and not PRG-1");
}

/// A sink whose send, which a thread of the registry makes after the broadcast returned, revokes
/// that sink.
#[test]
fn with_asynchronous_delivery_a_close_after_its_send_is_due_when_all_has_settled() {
    let with = Registration::to(&["a"]).group("x");
    let mut script = Script::new(vec![
        Op::new(1, Act::Sub { sub: 0, sink: 0, with }),
        Op::new(2, Act::Cast { channel: "a".into(), data: "m".into() }),
        Op::new(4, Act::Settle),
    ]);
    let ops = vec![Op::new(3, Act::Revoke { identity: "x".into(), reason: None })];
    let rule = Rule { on: Hook::Send, nth: 1, ops, then: Ending::Ok };
    script.sinks.push(SinkScript { rules: vec![rule] });
    let thread = 7;
    let closing = |reason: &str| {
        [
            Event::Close { sink: 0, reason: Some(reason.into()), thread },
            Event::Closed { sink: 0, threw: false, thread },
        ]
    };
    let policies = Policies { delivery: Delivery::Async, ..Policies::default() };
    for (close, broken) in [
        (Some(closing("revoked")), None),
        (None, Some("RE-5")),
        (Some(closing("evicted")), Some("CLO-5")),
    ] {
        let mut trace = vec![call(1), ret(1, None), call(2), ret(2, None)];
        trace.push(Event::Send { sink: 0, data: "m".into(), thread });
        trace.extend([Event::Call { op: 3, thread }, ret(3, Some(1))]);
        trace.push(Event::Sent { sink: 0, threw: false, thread });
        trace.extend(close.into_iter().flatten());
        trace.extend([call(4), ret(4, None)]);
        let verdict = oracle::judge(&script, &trace, &policies);
        assert_eq!(verdict.nonsense, None);
        let found = verdict.first().map(|violation| violation.requirement);
        assert_eq!(found, broken, "{verdict:?}");
    }
}

/// A close of a subscriber that an eviction and a revocation claim says nothing of how far the
/// revocation got: those that it alone claims may still count.
#[test]
fn rev_8_a_close_that_an_eviction_may_have_made_does_not_begin_a_revocation() {
    let sub = |op, sub, with: Registration| Op::new(op, Act::Sub { sub, sink: sub, with });
    let revoke = Op::new(4, Act::Revoke { identity: "x".into(), reason: None });
    let scoped = || Registration::to(&["a"]).scope("s");
    let threads = vec![vec![revoke], vec![sub(5, 2, scoped()), Op::new(6, Act::Count)]];
    let mut script = Script::new(vec![
        sub(1, 0, scoped().group("x")),
        sub(2, 1, Registration::to(&["a"]).group("x")),
        Op::new(3, Act::Par { threads }),
    ]);
    script.cap = Some(1);
    let on = |op, thread| Event::Call { op, thread };
    let close = |sink, reason: &str, thread| {
        let reason = Some(reason.into());
        [Event::Close { sink, reason, thread }, Event::Closed { sink, threw: false, thread }]
    };
    let mut trace = vec![call(1), ret(1, None), call(2), ret(2, None), call(3), on(4, 1), on(5, 2)];
    trace.extend(close(0, "evicted", 2));
    trace.extend([ret(5, None), on(6, 2), ret(6, Some(2))]);
    trace.extend(close(1, "revoked", 1));
    trace.extend([ret(4, Some(1)), ret(3, None)]);
    assert_eq!(verdict(&script, &trace), None);
}
