//! The suite sees what it should and nothing else: mutants, legal variants, tampered traces.

use std::time::Duration;

use harness::{
    campaign::{Answer, Driver, InProcess, Plan, campaign, never_exercised},
    diet::{Diet, Spice},
    gallery::{self, Bug, MUTANTS, Tampering, VARIANTS, tamper},
    generate::generate,
    oracle,
    subject::Limits,
};

#[test]
fn the_sound_registry_conforms() {
    let plan = Plan { scripts: 2_000, ..Plan::default() };
    let outcome = campaign(&gallery::hello(), &mut InProcess::new(gallery::sound()), &plan, &mut |_, _| {});
    for failure in &outcome.failures {
        eprintln!(
            "{:?}\n{}\n{}",
            failure.violation,
            serde_json::to_string(&failure.script).unwrap(),
            serde_json::to_string(&failure.trace).unwrap()
        );
    }
    assert!(outcome.failures.is_empty());
    assert_eq!(format!("{:?}", outcome.faults), "[]");
}

#[test]
fn every_mutant_is_rejected_for_what_it_breaks() {
    let mut wrong = Vec::new();
    for mutant in MUTANTS {
        let plan = Plan { scripts: 2_000, first_only: true, ..Plan::default() };
        // Only these make lanes wait in vain; the others need not be hurried.
        let waits = matches!(mutant.bug, Bug::RevocationsWaitForDeliveries | Bug::WaitsForRoom);
        let patience = if waits { 100 } else { 2_000 };
        let limits = Limits { patience: Duration::from_millis(patience), ..Limits::default() };
        let mut driver = InProcess::new(gallery::mutant(mutant.bug)).within(limits);
        let outcome = campaign(&gallery::hello(), &mut driver, &plan, &mut |_, _| {});
        let found: Vec<_> = outcome.failures.iter().map(|failure| failure.violation.requirement).collect();
        if !found.first().is_some_and(|first| mutant.breaks.contains(first)) {
            let script = outcome.failures.first().map(|failure| serde_json::to_string(&failure.script).unwrap());
            wrong.push(format!(
                "{:?}: expected {:?}, found {found:?} {script:?} {:?}",
                mutant.bug,
                mutant.breaks,
                outcome.faults.first()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_variant_is_accepted() {
    for variant in VARIANTS {
        let (hello, factory) = gallery::variant(variant.variety);
        let outcome =
            campaign(&hello, &mut InProcess::new(factory), &Plan { scripts: 1_000, ..Plan::default() }, &mut |_, _| {});
        let musts: Vec<_> = outcome.failures.iter().filter(|f| f.level == harness::catalogue::Level::M).collect();
        for failure in &musts {
            eprintln!(
                "{:?}: {:?}\n{}\n{}",
                variant.variety,
                failure.violation,
                serde_json::to_string(&failure.script).unwrap(),
                serde_json::to_string(&failure.trace).unwrap()
            );
        }
        assert!(musts.is_empty());
        assert!(never_exercised(&hello, &outcome).is_empty(), "{:?}", never_exercised(&hello, &outcome));
        assert_eq!(format!("{:?}", outcome.faults), "[]", "{:?}", variant.variety);
    }
}

#[test]
fn tampered_traces_are_rejected() {
    let plain = [Spice::Unsub, Spice::Revoke, Spice::Count, Spice::Lists, Spice::Groups, Spice::Kinds, Spice::Hostile];
    let diet = plain.into_iter().fold(Diet::default(), Diet::with);
    let hello = gallery::hello();
    let mut driver = InProcess::new(gallery::sound());
    let mut seen = [0; Tampering::ALL.len()];
    for seed in 0..400 {
        let outboxes = if seed % 2 == 0 { Diet::default() } else { Diet::default().with(Spice::Outboxes) };
        let script = generate(seed, diet.with(Spice::Outboxes), outboxes);
        let Answer::Trace(trace) = driver.run(&script) else { panic!("no trace") };
        assert!(oracle::judge(&script, &trace, &hello.policies).clean());
        // Keeping the latest leaves open whether who is full has lagged; until it is taken from, it may count or not.
        let vague = serde_json::to_string(&script).unwrap().contains("keep_latest");
        for (kind, how) in Tampering::ALL.into_iter().enumerate() {
            if vague && matches!(how, Tampering::OneMore | Tampering::OneLess) {
                continue;
            }
            for nth in 0..3 {
                let Some(tampered) = tamper(&trace, how, nth) else { continue };
                seen[kind] += 1;
                let verdict = oracle::judge(&script, &tampered, &hello.policies);
                assert!(
                    !verdict.clean(),
                    "{how:?} {nth} went unnoticed in {}",
                    serde_json::to_string(&script).unwrap()
                );
            }
        }
    }
    assert!(seen.iter().all(|times| *times > 20), "{seen:?}");
}
