//! The registry kit on `registry-core`.

use harness::campaign::{InProcess, Plan, campaign, never_exercised};
use harness::catalogue::catalogue;
use harness::kit::registry::Rig;
use harness::script::{Act, Hook, Op, Registration, Rule, Script, SinkScript};
use harness::subject::{Limits, execute};
use harness::{core, oracle};

harness::registry_suite!(kit, Rig::new(core::hello(), core::factory()));

#[test]
fn random_scripts_agree_with_the_oracle() {
    let plan = Plan { scripts: 3_000, seed: 7, ..Plan::default() };
    let outcome =
        campaign(&core::hello(), &mut InProcess::new(core::factory()), &plan, &mut |_, _| {});
    let found: Vec<String> = outcome
        .failures
        .iter()
        .map(|f| {
            format!(
                "{:?}\n{}\n{}",
                f.violation,
                serde_json::to_string(&f.script).unwrap(),
                serde_json::to_string(&f.trace).unwrap()
            )
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    assert_eq!(format!("{:?}", outcome.faults), "[]");
    assert_eq!(format!("{:?}", never_exercised(&core::hello(), &outcome)), "{}");
    let judged =
        catalogue().requirements.iter().filter(|own| own.by_oracle()).map(|own| own.id.as_str());
    let idle: Vec<&str> = judged.filter(|id| !outcome.kept.contains_key(id)).collect();
    // Only a breach of these two can be seen.
    assert_eq!(idle, ["PRG-2", "PRG-3"], "every other requirement was exercised");
}

/// A check of the kit skips what a registry does not claim. Here nothing is skipped.
#[test]
fn all_that_the_oracle_judges_is_claimed_and_has_a_check_in_the_kit() {
    let (hello, kit) = (core::hello(), include_str!("../../src/kit/registry.rs"));
    for own in catalogue().requirements.iter().filter(|own| own.by_oracle()) {
        assert!(own.is_testable(&hello), "what {} needs is not claimed", own.id);
        assert!(own.applies(&hello), "{} does not apply", own.id);
        let check = own.id.to_lowercase().replace('-', "_");
        let mut names = kit.split([' ', '\n', ';']);
        assert!(names.any(|name| name == check), "the kit has no check for {}", own.id);
    }
}

/// Only a later event shows which subscriber a close of a shared sink is for.
#[test]
fn a_close_of_a_shared_sink_may_be_for_any_of_its_subscribers() {
    let op = |act| Op::new(0, act);
    let sub = |sub, sink| op(Act::Sub { sub, sink, with: Registration::all().scope("s") });
    let cast = |data: &str| op(Act::cast("a", data));
    let mut script = Script::new(vec![sub(0, 0), sub(1, 0), cast("after")]);
    script.cap = Some(1);
    let ops = vec![cast("inside"), sub(2, 1), sub(3, 0)];
    let rule = Rule { on: Hook::Close, nth: 1, ops, then: Default::default() };
    script.sinks.push(SinkScript { rules: vec![rule] });
    let script = script.numbered();
    let trace = execute(&script, &core::factory(), Limits::default());
    let verdict = oracle::judge(&script, &trace, &core::hello().policies);
    assert!(verdict.clean(), "{verdict:?}\n{trace:#?}");
}
