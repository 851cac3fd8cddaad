//! The suite rejects what is wrong and nothing else: mutants, legal variants, tampered traces.

use std::{collections::BTreeSet, fs};

use harness::campaign::{Answer, Driver, InProcess, Plan, campaign, never_exercised};
use harness::catalogue::{Level, catalogue};
use harness::features::{Feature, Features};
use harness::generate::generate;
use harness::mutants::{self, Bug, MUTANTS, VARIANTS, Variety};
use harness::oracle;
use harness::script::{Act, Ending, Hook, Op, Registration, Rule, Script, SinkScript};
use harness::subject::Limits;
use serde_json::{Value, json};

use crate::{
    catalogue::tests_of,
    tamper::{Tampering, tamper},
};

#[test]
fn the_sound_registry_conforms() {
    let plan = Plan { scripts: 1_000, ..Plan::default() };
    let outcome =
        campaign(&mutants::hello(), &mut InProcess::new(mutants::sound()), &plan, &mut |_, _| {});
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
        let limits = Limits { patience: mutant.patience(), ..Limits::default() };
        let shrinking = mutant.shrinking();
        let plan = Plan { scripts: 2_000, first_only: true, shrinking, ..Plan::default() };
        let mut driver = InProcess::new(mutants::mutant(mutant.bug)).within(limits);
        let outcome = campaign(&mutants::hello(), &mut driver, &plan, &mut |_, _| {});
        let found: Vec<_> =
            outcome.failures.iter().map(|failure| failure.violation.requirement).collect();
        if !found.first().is_some_and(|first| mutant.breaks.contains(first)) {
            let script = outcome
                .failures
                .first()
                .map(|failure| serde_json::to_string(&failure.script).unwrap());
            wrong.push(format!(
                "{:?}: expected {:?}, found {found:?} {script:?} {:?}",
                mutant.bug,
                mutant.breaks,
                outcome.faults.first()
            ));
        }
        // A correct registry passes the shrunk script too.
        for failure in &outcome.failures {
            let Answer::Trace(trace) = InProcess::new(mutants::sound()).run(&failure.script) else {
                panic!("no trace")
            };
            let verdict = oracle::judge(&failure.script, &trace, &mutants::hello().policies);
            if failure.script.check().is_err() || !verdict.clean() {
                let script = serde_json::to_string(&failure.script).unwrap();
                wrong.push(format!("{:?}: no registry passes {script}: {verdict:?}", mutant.bug));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_must_that_the_oracle_judges_has_a_wrong_registry() {
    let musts =
        catalogue().requirements.iter().filter(|own| own.level == Level::M && own.by_oracle());
    let broken = |id: &str| MUTANTS.iter().any(|mutant| mutant.breaks.contains(&id));
    let none: Vec<_> = musts.map(|own| own.id.as_str()).filter(|id| !broken(id)).collect();
    assert_eq!(none, [""; 0]);
}

/// The text of `docs/verification.md`.
fn guide() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/verification.md");
    fs::read_to_string(page).unwrap()
}

#[test]
fn the_guide_has_the_number_of_mutants() {
    let page = guide();
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let counts = [
        (MUTANTS.len(), "wrong registries"),
        (VARIANTS.len(), "legal variants"),
        (Tampering::ALL.len(), "kinds of tampering"),
    ];
    for (count, what) in counts {
        assert!(page.contains(&format!(" {count} {what}")), "there are {count} {what}");
    }
}

/// A name that ends in `…` is the beginning of a test's name.
#[test]
fn the_guide_cites_tests_that_exist() {
    let crates = [
        "registry-core",
        "transport-core",
        "transport-sse",
        "transport-ws",
        "harness",
        "demo",
        "examples",
    ];
    let tests: BTreeSet<String> = crates.into_iter().flat_map(tests_of).collect();
    let exists = |name: &str| match name.strip_suffix('…') {
        Some(start) => tests.iter().any(|test| test.starts_with(start)),
        None => tests.contains(name),
    };
    // Other code is quoted too. A test's name has a requirement's number, or begins with
    // `limits_`, or is cut.
    let is_test = |code: &str| {
        let in_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_…".contains(c);
        let number = code.split('_').nth(1).map(|word| word.trim_end_matches('…'));
        let numbered = number.is_some_and(|word| word.parse::<u8>().is_ok());
        code.chars().all(in_a_name)
            && (numbered || code.ends_with('…') || code.starts_with("limits_"))
    };
    let page = guide();
    let cited: Vec<_> = page.split('`').skip(1).step_by(2).filter(|code| is_test(code)).collect();
    assert!(cited.len() > 50, "these look like names of tests: {cited:?}");
    let missing: Vec<_> = cited.into_iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "docs/verification.md cites tests that do not exist: {missing:?}");
}

/// Gives every operation a number, for `numbered` to change.
fn with_ids(mut json: Value) -> Value {
    match &mut json {
        Value::Array(all) => all.iter_mut().for_each(|own| *own = with_ids(own.take())),
        Value::Object(all) => {
            all.values_mut().for_each(|own| *own = with_ids(own.take()));
            if all.contains_key("op") {
                all.insert("id".into(), 0.into());
            }
        }
        _ => {}
    }
    json
}

/// Small scripts whose first wrong event could be blamed on another requirement.
#[test]
fn each_mutant_is_rejected_for_its_own_requirement() {
    let sub = |sub: u32, sink: u32, with: Value| {
        let mut op = json!({"op": "sub", "sub": sub, "sink": sink});
        op.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        op
    };
    let cast = |channel: &str, data: &str| json!({"op": "cast", "channel": channel, "data": data});
    let revoke = |identity: &str| json!({"op": "revoke", "identity": identity});
    let elsewhere = |mut op: Value| {
        op["registry"] = 1.into();
        op
    };
    let s = json!({"scope": "s"});
    let on = |hook: &str, ops: Vec<Value>| json!({"rules": [{"on": hook, "nth": 1, "do": ops}]});
    let (x, y) = (json!({"groups": ["x"]}), json!({"groups": ["y"]}));
    let aliased = json!({"channels": ["a"], "overwrite": "b"});
    let refused =
        json!({"op": "admit", "ticket": 0, "sub": 1, "sink": 1, "groups": ["x"], "scope": "s"});
    for (bug, requirement, script) in [
        (
            Bug::CapOffByOne,
            "CAP-1",
            json!({"cap": 1,
                "steps": [sub(0, 0, s.clone()), sub(1, 1, s.clone()), sub(2, 2, s.clone())]}),
        ),
        (
            Bug::CapOffByOne,
            "CAP-1",
            json!({"cap": 1, "steps": [sub(0, 0, s.clone()), sub(1, 1, s.clone()), revoke("s")]}),
        ),
        (
            Bug::ClosesTheRefused,
            "ADM-2",
            json!({"cap": 1,
                "steps": [sub(0, 0, s.clone()), {"op": "begin", "ticket": 0}, revoke("x"),
                    refused]}),
        ),
        (
            Bug::ClosesTheRefused,
            "ADM-2",
            json!({"sinks": [on("close", vec![refused.clone()])],
                "steps": [sub(0, 0, x.clone()), {"op": "begin", "ticket": 0}, revoke("x")]}),
        ),
        (
            Bug::SendsToEvicted,
            "CLO-4",
            json!({"cap": 1, "sinks": [on("send", vec![sub(2, 2, s.clone())])],
                "steps": [sub(0, 0, json!({})), sub(1, 1, s.clone()), cast("a", "m")]}),
        ),
        (
            Bug::KeepsTheCallersList,
            "FLT-7",
            json!({"steps": [sub(0, 0, aliased.clone()), sub(1, 0, json!({"channels": ["b"]})),
                cast("b", "m")]}),
        ),
        (
            Bug::KeepsTheCallersList,
            "FLT-7",
            json!({"steps": [sub(0, 0, json!({"channels": ["a"]})), sub(1, 0, aliased.clone()),
                cast("a", "m")]}),
        ),
        (
            Bug::QueuesCloses,
            "REV-1",
            json!({"sinks": [on("close", vec![revoke("y")])],
                "steps": [sub(0, 0, x.clone()), sub(1, 1, y.clone()), revoke("x")]}),
        ),
        (
            Bug::QueuesCloses,
            "REV-1",
            json!({"sinks": [on("close", vec![revoke("y")]),
                    {"rules": [{"on": "send", "nth": 1, "then": "throw"}]}],
                "steps": [sub(0, 0, x.clone()), sub(1, 1, json!({})), cast("a", "m"),
                    sub(2, 2, y.clone()), revoke("x")]}),
        ),
        (
            Bug::ComparesNumericIdentities,
            "REV-5",
            json!({"steps": [sub(0, 0, json!({"groups": ["01"]})), revoke("1")]}),
        ),
        (
            Bug::FoldsKinds,
            "REV-5",
            json!({"steps": [sub(0, 0, json!({"groups": [{"kind": "User", "value": "a"}]})),
                {"op": "revoke", "identity": {"kind": "user", "value": "a"}}]}),
        ),
        (
            Bug::OneQueueForAll,
            "ISO-6",
            json!({"sinks": [on("send", vec![elsewhere(cast("a", "n"))])],
                "steps": [sub(0, 0, json!({})), elsewhere(sub(1, 1, json!({}))), cast("a", "m")]}),
        ),
    ] {
        let script = serde_json::from_value::<Script>(with_ids(script)).unwrap().numbered();
        let verdict = |factory| {
            let Answer::Trace(trace) = InProcess::new(factory).run(&script) else {
                panic!("no trace")
            };
            oracle::judge(&script, &trace, &mutants::hello().policies)
        };
        let found = verdict(mutants::mutant(bug));
        assert_eq!(
            found.violation.as_ref().map(|own| own.requirement),
            Some(requirement),
            "{bug:?} {found:?}"
        );
        assert!(verdict(mutants::sound()).clean(), "{bug:?}");
    }
}

#[test]
fn missing_reports_that_are_claimed_break_del_7() {
    let hear = Op::new(1, Act::Sub { sub: 0, sink: 0, with: Registration::all() });
    let script = Script::new(vec![hear, Op::new(2, Act::cast("a", "m"))]);
    let Answer::Trace(trace) = InProcess::new(mutants::sound()).run(&script) else {
        panic!("no trace")
    };
    let mut hello = mutants::hello();
    assert!(oracle::judge_claims(&script, &trace, &hello).clean());
    hello.features.insert("report".into());
    let verdict = oracle::judge_claims(&script, &trace, &hello);
    assert_eq!(verdict.first().map(|own| own.requirement), Some("DEL-7"));
    assert!(!verdict.kept.contains("DEL-7"));
}

#[test]
fn every_variant_is_accepted() {
    for (place, variant) in VARIANTS.iter().enumerate() {
        let (hello, factory) = mutants::variant(variant.variety);
        // The gallery runs the systematic cases for all; they take as long as all others.
        let scripts = if place % 12 == 0 { 200 } else { 149 };
        // Whether calls of two threads overlap depends on the machine. So a requirement that the
        // scripts of one seed did not exercise may be exercised by those of another.
        let mut unexercised = None;
        for seed in 1..=10 {
            let plan = Plan { scripts, seed, ..Plan::default() };
            let outcome =
                campaign(&hello, &mut InProcess::new(factory.clone()), &plan, &mut |_, _| {});
            let musts: Vec<_> = outcome.failures.iter().filter(|f| f.level == Level::M).collect();
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
            assert_eq!(format!("{:?}", outcome.faults), "[]", "{:?}", variant.variety);
            let never = never_exercised(&hello, &outcome);
            let still = unexercised.take().map_or(never.clone(), |before| &before & &never);
            if still.is_empty() {
                break;
            }
            assert!(seed < 10, "{:?}: {still:?}", variant.variety);
            unexercised = Some(still);
        }
    }
}

/// What a variant quotes stands in the text.
#[test]
fn every_variant_is_allowed_by_the_words_that_it_names() {
    let protocol = include_str!("../../PROTOCOL.md");
    for variant in VARIANTS {
        let (id, words) = variant.allowed_by.split_once(": ").unwrap();
        let known = catalogue().requirements.iter().find(|own| own.id == id);
        let allows = match (known, words) {
            (Some(own), "a SHOULD") => own.level == Level::S,
            (Some(own), "a MAY") => own.level == Level::Y,
            (Some(own), _) => own.text.to_lowercase().contains(words),
            (None, _) => id == "PROTOCOL" && protocol.to_lowercase().contains(words),
        };
        assert!(allows, "{:?}: {}", variant.variety, variant.allowed_by);
    }
}

/// A send revokes another, whose close, on a thread of the registry, revokes the sender.
#[test]
fn a_close_on_another_thread_is_part_of_the_send_that_waits_for_it() {
    let hear = |id, at, name: &str| {
        let with = Registration::to(&[name]).group(name);
        Op::new(id, Act::Sub { sub: at, sink: at, with })
    };
    let revoke = |id, name: &str| {
        let act = Act::Revoke { identity: name.into(), reason: None };
        SinkScript {
            rules: vec![Rule {
                on: Hook::Send,
                nth: 1,
                ops: vec![Op::new(id, act)],
                then: Ending::Ok,
            }],
        }
    };
    let cast = Op::new(3, Act::cast("x", "m"));
    let mut script = Script::new(vec![hear(1, 0, "x"), hear(2, 1, "y"), cast]);
    script.sinks = vec![revoke(4, "y"), revoke(5, "x")];
    script.sinks[1].rules[0].on = Hook::Close;
    for variety in [Variety::ClosesOnHelpers, Variety::ClosesAtOnce, Variety::SendsOnHelpers] {
        let (hello, factory) = mutants::variant(variety);
        let Answer::Trace(trace) = InProcess::new(factory).run(&script) else { panic!("no trace") };
        let verdict = oracle::judge(&script, &trace, &hello.policies);
        assert!(verdict.clean(), "{variety:?} {verdict:?} {trace:?}");
    }
}

/// A revocation inside a close returns; then the second subscriber of the outer one unsubscribes.
#[test]
fn a_variant_closes_all_that_a_returned_revocation_had_found() {
    let hear = |id, at| {
        let with = Registration::to(&["a"]).group("x");
        Op::new(id, Act::Sub { sub: at, sink: at, with })
    };
    let revoke = |id| Op::new(id, Act::Revoke { identity: "x".into(), reason: None });
    for inner in [revoke(4), Op::new(4, Act::Shutdown)] {
        let mut script = Script::new(vec![hear(1, 0), hear(2, 1), revoke(3)]);
        let ops = vec![inner, Op::new(5, Act::Unsub { sub: 1 })];
        let rule = Rule { on: Hook::Close, nth: 1, ops, then: Ending::Ok };
        script.sinks.push(SinkScript { rules: vec![rule] });
        let (hello, factory) = mutants::variant(Variety::SparesTheUnsubscribed);
        let Answer::Trace(trace) = InProcess::new(factory).run(&script) else { panic!("no trace") };
        let verdict = oracle::judge(&script, &trace, &hello.policies);
        assert!(verdict.clean(), "{verdict:?} {trace:?}");
    }
}

#[test]
fn tampered_traces_are_rejected() {
    let plain = [
        Feature::Unsub,
        Feature::Revoke,
        Feature::Count,
        Feature::Lists,
        Feature::Groups,
        Feature::Kinds,
        Feature::Hostile,
    ];
    let features =
        plain.into_iter().fold(Features::default().with(Feature::RevokeAs), Features::with);
    let hello = mutants::hello();
    let mut driver = InProcess::new(mutants::sound());
    let mut seen = [0; Tampering::ALL.len()];
    for seed in 0..400 {
        let outboxes = if seed % 2 == 0 {
            Features::default()
        } else {
            Features::default().with(Feature::Outboxes)
        };
        let script = generate(seed, features.with(Feature::Outboxes), outboxes);
        let Answer::Trace(trace) = driver.run(&script) else { panic!("no trace") };
        assert!(oracle::judge(&script, &trace, &hello.policies).clean());
        // With keep-latest a full outbox may have lagged or not. Until the script takes from it, it
        // may be counted or not.
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
