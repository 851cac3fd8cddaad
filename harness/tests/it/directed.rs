//! Messages that are sent to an identity: what scripts need, and what breaks which requirement.

use std::sync::{Arc, Mutex};

use harness::campaign::{Answer, Driver, InProcess, Plan, campaign};
use harness::core;
use harness::features::{Feature, Features};
use harness::generate::generate;
use harness::mutants::{self, Bug};
use harness::oracle;
use harness::pretty;
use harness::protocol::{Hello, Order, Policies};
use harness::script::{Act, Identity, Op, Outbox, Registration, Script};
use harness::shrink::{Bounds, shrink};
use harness::trace::{Event, Trace};

fn send_to(op: u32, identity: impl Into<Identity>, data: &str) -> Op {
    Op::new(op, Act::Cast { channel: "b".into(), data: data.into(), to: Some(identity.into()) })
}

fn sub(op: u32, at: u32, with: Registration) -> Op {
    Op::new(op, Act::Sub { sub: at, sink: at, with })
}

fn a() -> Registration {
    Registration::to(&["a"])
}

/// Each operation, and the sends that are made inside it: the operation, the sink, the payload.
fn trace(ops: &[u32], sends: &[(u32, u32, &str)]) -> Trace {
    let mut events = Vec::new();
    for op in ops {
        events.push(Event::Call { op: *op, thread: 0 });
        for (_, sink, data) in sends.iter().filter(|(of, ..)| of == op) {
            let (sink, thread) = (*sink, 0);
            events.push(Event::Send { sink, data: (*data).into(), thread });
            events.push(Event::Sent { sink, threw: false, thread });
        }
        let (n, report, taken) = (None, None, None);
        events.push(Event::Ret { op: *op, n, refused: false, report, taken });
    }
    events
}

fn broken(steps: Vec<Op>, sends: &[(u32, u32, &str)]) -> Option<&'static str> {
    let ops: Vec<u32> = steps.iter().map(|op| op.id).collect();
    let verdict = oracle::judge(&Script::new(steps), &trace(&ops, sends), &Policies::default());
    assert_eq!(verdict.nonsense, None);
    verdict.violation.map(|violation| violation.requirement)
}

#[test]
fn a_script_with_an_address_needs_the_profile() {
    let script = Script::new(vec![send_to(1, Identity::kinded("user", "x"), "m")]);
    assert_eq!(script.needs(), ["directed", "kinds"].into());
    assert_eq!(pretty::script(&script), "  1  send_to((\"user\", \"x\"), \"b\", \"m\")\n");
    let text = serde_json::to_string(&script.steps[0]).unwrap();
    assert!(text.contains(r#""to":{"kind":"user","value":"x"}"#), "{text}");
    assert_eq!(serde_json::from_str::<Op>(&text).unwrap(), script.steps[0]);
    let plain = serde_json::to_string(&Op::new(1, Act::cast("a", "m"))).unwrap();
    assert!(!plain.contains("to\""), "{plain}");
}

#[test]
fn each_failure_has_its_name() {
    let two = || vec![sub(1, 0, a().group("x")), sub(2, 1, a().group("y"))];
    let sent = |more: Vec<Op>| [two(), more].concat();
    let m = || sent(vec![send_to(3, "x", "m")]);
    assert_eq!(broken(m(), &[(3, 0, "m")]), None);
    assert_eq!(broken(m(), &[]), Some("DIR-1"), "it never came");
    assert_eq!(broken(m(), &[(3, 0, "m"), (3, 0, "m")]), Some("DIR-1"), "it came twice");
    assert_eq!(broken(m(), &[(3, 0, "m"), (3, 1, "m")]), Some("DIR-1"), "it came to another");
    let nobody = || sent(vec![send_to(3, "z", "m")]);
    assert_eq!(broken(nobody(), &[]), None);
    assert_eq!(broken(nobody(), &[(3, 1, "m")]), Some("DIR-3"), "it came though nobody holds it");
    let late = sent(vec![send_to(3, "x", "m"), sub(4, 2, a().group("x"))]);
    let sends = [(3, 0, "m"), (4, 2, "m")];
    assert_eq!(broken(late, &sends), Some("DIR-1"), "it came to one that was not there");
    let left = sent(vec![Op::new(3, Act::Unsub { sub: 0 }), send_to(4, "x", "m")]);
    assert_eq!(broken(left.clone(), &[]), None);
    assert_eq!(broken(left, &[(4, 0, "m")]), Some("DIR-4"), "it came after the end");
}

/// The order of directed messages does not depend on what is declared.
#[test]
fn directed_messages_have_one_order_whatever_is_declared() {
    let hears = |at| sub(at + 1, at, a().group("x"));
    let send = |sink, data: &str, thread| {
        let data = data.to_owned();
        [Event::Send { sink, data, thread }, Event::Sent { sink, threw: false, thread }]
    };
    let ret = |op| Event::Ret { op, n: None, refused: false, report: None, taken: None };
    for (first, requirement) in
        [(send_to(4, "x", "m"), Some("DIR-2")), (Op::new(4, Act::cast("a", "m")), None)]
    {
        let par = Act::Par { threads: vec![vec![first], vec![Op::new(5, Act::cast("a", "n"))]] };
        let script = Script::new(vec![hears(0), hears(1), Op::new(3, par)]);
        let mut events = trace(&[1, 2], &[]);
        events.push(Event::Call { op: 3, thread: 0 });
        events.extend([Event::Call { op: 4, thread: 1 }, Event::Call { op: 5, thread: 2 }]);
        for (sink, data, thread) in [(0, "m", 1), (1, "n", 2), (1, "m", 1), (0, "n", 2)] {
            events.extend(send(sink, data, thread));
        }
        events.extend([ret(4), ret(5), ret(3)]);
        let policies = Policies { order: Order::PerSubscriber, ..Policies::default() };
        let verdict = oracle::judge(&script, &events, &policies);
        assert_eq!(verdict.nonsense, None);
        assert_eq!(verdict.violation.map(|own| own.requirement), requirement);
    }
}

/// A queue that loses count of directed messages breaks the bound, and not the filter.
#[test]
fn a_full_outbox_is_judged_with_directed_messages() {
    let outbox = a().group("x").outbox(Outbox::of(1, harness::script::Overflow::DropNewest));
    let take = |op| Op::new(op, Act::Take { sub: 0, bytes: None });
    let steps = vec![sub(1, 0, outbox), send_to(2, "x", "m"), send_to(3, "x", "n"), take(4)];
    let script = Script::new(steps);
    let judged = |factory| {
        let Answer::Trace(trace) = InProcess::new(factory).run(&script) else { panic!("no trace") };
        oracle::judge(&script, &trace, &mutants::hello().policies)
    };
    let verdict = judged(mutants::sound());
    assert!(verdict.clean() && verdict.kept.contains("DIR-5"), "{verdict:?}");
    let found = judged(mutants::mutant(Bug::AddressesPastTheBound)).violation;
    assert_eq!(found.map(|own| own.requirement), Some("DIR-5"));
}

/// Where the failure remains without it, an address is dropped, and the failure gets its plain
/// name.
#[test]
fn an_address_that_does_not_matter_is_dropped() {
    let script = Script::new(vec![sub(1, 0, Registration::all().group("x")), send_to(2, "x", "m")]);
    let run = |bug| {
        move |script: &Script| {
            let Answer::Trace(trace) = InProcess::new(mutants::mutant(bug)).run(script) else {
                panic!("no trace")
            };
            let verdict = oracle::judge(script, &trace, &mutants::hello().policies);
            verdict.violation.map(|violation| violation.requirement)
        }
    };
    let (small, requirement) = shrink(&script, "DIR-1", Bounds::default(), run(Bug::SendsTwice));
    assert_eq!(requirement, "DEL-2");
    assert!(!small.needs().contains("directed"), "{small:?}");
    let twice = Registration::all().group("x").group("x");
    let script = Script::new(vec![sub(1, 0, twice), send_to(2, "x", "m")]);
    let listed = run(Bug::AddressesEachListing);
    let (small, requirement) = shrink(&script, "DIR-1", Bounds::default(), listed);
    assert_eq!(requirement, "DIR-1");
    assert!(small.needs().contains("directed"), "{small:?}");
}

#[test]
fn random_scripts_have_addresses_where_they_are_claimed_and_only_there() {
    let all = Features::everything();
    let without = all.without(Feature::Directed);
    let directed = Features::default().with(Feature::Directed);
    for seed in 0..200 {
        assert!(generate(seed, all, directed).needs().contains("directed"), "{seed}");
        assert!(!generate(seed, without, directed).needs().contains("directed"), "{seed}");
    }
}

/// Notes whether any script has an address.
struct Watched(InProcess, Arc<Mutex<bool>>);

impl Driver for Watched {
    fn run(&mut self, script: &Script) -> Answer {
        *self.1.lock().unwrap() |= script.needs().contains("directed");
        self.0.run(script)
    }
}

#[test]
fn one_that_does_not_claim_the_profile_is_never_sent_an_address() {
    let seen = |hello: &Hello| {
        let seen = Arc::default();
        let mut driver = Watched(InProcess::new(core::factory()), Arc::clone(&seen));
        let plan = Plan { scripts: 150, ..Plan::default() };
        assert!(campaign(hello, &mut driver, &plan, &mut |_, _| {}).failures.is_empty());
        *seen.lock().unwrap()
    };
    let mut hello = core::hello();
    assert!(seen(&hello));
    assert!(hello.profiles.remove("directed"));
    assert!(!seen(&hello));
}
