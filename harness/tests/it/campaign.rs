//! The choice of scripts in a campaign.

use harness::campaign::{Answer, Driver, InProcess, Plan, campaign};
use harness::catalogue::Level;
use harness::core;
use harness::features::{FEATURES, Feature, Features};
use harness::generate::generate;
use harness::mutants::{self, Bug};
use harness::protocol::Reentrancy;
use harness::script::{Act, Op, Registration, Script};

/// A driver that records the scripts that it runs.
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
fn known_failures_are_avoided_except_in_every_eighth_script() {
    let capped = |plan: &Plan| {
        let scripts = random(plan);
        let has: Vec<bool> =
            scripts.iter().map(|script| Features::of(script).has(Feature::Scope)).collect();
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
fn the_features_of_a_script_are_found() {
    let plain = vec![
        Op::new(1, Act::Sub { sub: 0, sink: 0, with: Registration::to(&["a"]) }),
        Op::new(2, Act::cast("a", "m")),
    ];
    assert_eq!(Features::of(&Script::new(plain)), Features::default());
    let scripts: Vec<Script> =
        (0..300).map(|seed| generate(seed, Features::everything(), Features::default())).collect();
    for feature in FEATURES {
        let number = scripts.iter().filter(|script| Features::of(script).has(feature)).count();
        assert!(number > 10, "{feature:?} is in {number} of 300");
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
    assert_eq!(
        scripts[0],
        generate(0xfeed, Features::offered_by(&core::hello()), Features::default())
    );
    assert_eq!(scripts[1..], random(&Plan { first: None, ..plan })[1..]);
}

/// Order is a policy. A registry that declares it is held to it as to any MUST.
#[test]
fn ord_3_a_declared_order_that_is_broken_is_a_failure() {
    let plan = Plan { only: vec!["ORD-3".into()], first_only: true, ..Plan::default() };
    let mut driver = InProcess::new(mutants::mutant(Bug::InnerFirst));
    let outcome = campaign(&mutants::hello(), &mut driver, &plan, &mut |_, _| {});
    let found: Vec<_> =
        outcome.failures.iter().map(|own| (own.violation.requirement, own.level)).collect();
    assert_eq!(found, [("ORD-3", Level::M)]);
}
