//! Which scripts a campaign runs.

use harness::{
    campaign::{Answer, Driver, InProcess, Plan, campaign},
    core,
    diet::{Diet, SPICES, Spice},
    generate::generate,
    protocol::Reentrancy,
    script::{Act, Op, Registration, Script},
};

/// Remembers what it runs.
struct Recorder(InProcess, Vec<Script>);

impl Driver for Recorder {
    fn run(&mut self, script: &Script) -> Answer {
        self.1.push(script.clone());
        self.0.run(script)
    }
}

/// The random scripts of a campaign against a registry that is right.
fn random(plan: &Plan) -> Vec<Script> {
    let mut driver = Recorder(InProcess::new(core::factory()), Vec::new());
    let outcome = campaign(&core::hello(), &mut driver, plan, &mut |_, _| {});
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    driver.1.split_off(driver.1.len() - plan.scripts as usize)
}

#[test]
fn what_is_known_to_fail_is_avoided_from_the_start_but_for_every_eighth_script() {
    let capped = |plan: &Plan| {
        let scripts = random(plan);
        let has: Vec<bool> =
            scripts.iter().map(|script| Diet::of(script).has(Spice::Scope)).collect();
        let confirming = has.iter().skip(7).step_by(8).filter(|has| **has).count();
        (has.iter().filter(|has| **has).count() - confirming, confirming)
    };
    let unknown = Plan { scripts: 400, ..Plan::default() };
    let known = Plan { known: vec!["CAP-1".into()], ..unknown.clone() };
    assert!(capped(&unknown).0 > 50);
    let (others, confirming) = capped(&known);
    assert_eq!(others, 0);
    assert!(confirming > 40, "{confirming} of 50 are made to confirm it");
}

#[test]
fn what_a_script_contains_is_seen() {
    let plain = vec![
        Op::new(1, Act::Sub { sub: 0, sink: 0, with: Registration::to(&["a"]) }),
        Op::new(2, Act::Cast { channel: "a".into(), data: "m".into() }),
    ];
    assert_eq!(Diet::of(&Script::new(plain)), Diet::default());
    let scripts: Vec<Script> =
        (0..300).map(|seed| generate(seed, Diet::everything(), Diet::default())).collect();
    for spice in SPICES {
        let number = scripts.iter().filter(|script| Diet::of(script).has(spice)).count();
        assert!(number > 10, "{spice:?} is in {number} of 300");
    }
}

#[test]
fn a_part_does_not_fail_for_a_refusal_that_is_not_in_it() {
    let mut hello = core::hello();
    hello.policies.reentrancy = Reentrancy::Refused;
    for (only, failures) in [("FLT-1", 0), ("RE-1", 1)] {
        let plan = Plan { scripts: 1, only: vec![only.to_owned()], ..Plan::default() };
        let outcome = campaign(&hello, &mut InProcess::new(core::factory()), &plan, &mut |_, _| {});
        assert_eq!(outcome.failures.len(), failures, "{only}");
    }
}

#[test]
fn the_script_of_a_seed_can_be_run_first() {
    let plan = Plan { scripts: 3, first: Some(0xfeed), ..Plan::default() };
    let scripts = random(&plan);
    assert_eq!(scripts[0], generate(0xfeed, Diet::offered_by(&core::hello()), Diet::default()));
    assert_eq!(scripts[1..], random(&Plan { first: None, ..plan })[1..]);
}
