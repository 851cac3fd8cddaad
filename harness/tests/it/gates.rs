//! Scripts that wait for themselves are refused.

use harness::script::{Act, Ending, Hook, Op, Registration, Rule, Script, SinkScript};

fn ops(acts: Vec<Act>) -> Vec<Op> {
    acts.into_iter().map(|act| Op::new(0, act)).collect()
}

fn hold(gate: u32) -> Act {
    Act::Hold { gate }
}

fn release(gate: u32) -> Act {
    Act::Release { gate }
}

/// A thread broadcasts to a sink that parks; another does this meanwhile.
fn parked(in_send: Vec<Act>, other: Vec<Act>, channel: &str) -> Script {
    let sub = Act::Sub { sub: 0, sink: 0, with: Registration::to(&["a"]) };
    let cast = Act::cast(channel, "m");
    let mut script =
        Script::new(ops(vec![sub, Act::Par { threads: vec![ops(vec![cast]), ops(other)] }]));
    let rule = Rule { on: Hook::Send, nth: 1, ops: ops(in_send), then: Ending::Ok };
    script.sinks.push(SinkScript { rules: vec![rule] });
    script.numbered()
}

#[test]
fn a_script_that_waits_for_itself_is_refused() {
    let both = || vec![release(0), hold(1)];
    assert_eq!(parked(both(), vec![hold(0), release(1)], "a").check(), Ok(()));
    let refused = |script: Script| script.check().is_err_and(|why| why.contains("gate"));
    assert!(refused(Script::new(ops(vec![hold(3)])).numbered()), "nothing releases it");
    assert!(refused(Script::new(ops(vec![hold(3), release(3)])).numbered()), "too late");
    assert!(refused(parked(both(), vec![hold(0)], "a")), "a sink waits for ever");
    assert!(refused(parked(both(), vec![hold(0), release(1)], "b")), "the sink is never called");
    assert!(refused(parked(both(), vec![release(1), hold(2)], "a")), "another gate");
    let crossed = vec![ops(vec![hold(0), release(1)]), ops(vec![hold(1), release(0)])];
    assert!(
        refused(Script::new(ops(vec![Act::Par { threads: crossed }])).numbered()),
        "each waits for the other"
    );
    let cast = || Act::cast("a", "n");
    assert_eq!(parked(both(), vec![hold(0), cast(), release(1)], "a").check(), Ok(()));
    assert!(
        refused(parked(vec![hold(1)], vec![cast(), release(1)], "a")),
        "the thread that releases it may be in the sink"
    );
}
