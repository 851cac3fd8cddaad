//! The registry kit on `registry-core`.

use harness::{
    campaign::{InProcess, Plan, campaign, never_exercised},
    core,
    kit::registry::Rig,
};

harness::registry_suite!(kit, Rig::new(core::hello(), core::factory()));

#[test]
fn random_scripts_agree_with_the_oracle() {
    let plan = Plan { scripts: 3_000, seed: 7, ..Plan::default() };
    let outcome = campaign(&core::hello(), &mut InProcess::new(core::factory()), &plan, &mut |_, _| {});
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
}
