//! The catalogue, the text that is generated from it, and the checks that it names.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use harness::catalogue::{Level, catalogue, find, same_or_more_general, spec};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn spec_md_is_what_the_catalogue_says() {
    let page = fs::read_to_string(root().join("docs/spec.md")).unwrap();
    assert!(
        page == spec(),
        "run: cargo run -p harness --bin registry-conform -- spec > docs/spec.md"
    );
}

#[test]
fn ids_are_unique() {
    let mut seen = BTreeSet::new();
    assert!(catalogue().requirements.iter().all(|own| seen.insert(&own.id)));
}

/// Reports and `explain` print each text alone.
#[test]
fn every_text_stands_alone() {
    let leaning =
        ["After it", "After that", "It", "Its", "Nor", "Others", "So", "That", "They", "This"];
    let leans = |text: &str| leaning.iter().any(|word| text.starts_with(&format!("{word} ")));
    let all = catalogue().requirements.iter();
    let partial: Vec<_> = all.filter(|own| leans(&own.text)).map(|own| &own.id).collect();
    assert!(partial.is_empty(), "these continue the text of another requirement: {partial:?}");
}

#[test]
fn every_requirement_says_why() {
    let silent = |why: &str| !why.contains(' ') || !why.ends_with('.');
    let all = catalogue().requirements.iter();
    let unexplained: Vec<_> = all.filter(|own| silent(&own.rationale)).map(|own| &own.id).collect();
    assert!(unexplained.is_empty(), "nothing says what goes wrong without {unexplained:?}");
}

/// All text of a crate's sources and tests.
fn text_of(name: &str) -> String {
    let mut text = String::new();
    let mut folders = vec![root().join(name)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                text += &fs::read_to_string(path).unwrap();
            }
        }
    }
    text
}

/// The names of a crate's tests: functions with a test attribute, even if other attributes follow
/// it, and the names in the macro's list.
pub(crate) fn tests_of(name: &str) -> BTreeSet<String> {
    let (text, mut is_test) = (text_of(name), false);
    let lists = text.split("on_every_host!(").skip(1).filter_map(|list| list.split(')').next());
    let mut tests: BTreeSet<String> =
        lists.flat_map(|list| list.split(',')).map(|name| name.trim().to_owned()).collect();
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            is_test |= line.contains("test]") || line.contains("test(");
            assert!(!line.starts_with("#[ignore"), "a test that is not run: {line}");
        }
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let Some(function) = function {
            let end = function.find(['(', '<']).unwrap_or(function.len());
            tests.extend(is_test.then(|| function[..end].to_owned()));
            is_test = false;
        }
    }
    tests
}

#[test]
fn every_must_is_checked_where_the_catalogue_says() {
    let all = catalogue();
    let mut missing = Vec::new();
    let kit = text_of("harness/src/kit");
    for own in &all.requirements {
        let prefix = own.id.to_lowercase().replace('-', "_");
        for by in &own.checked {
            let there = match by.as_str() {
                "oracle" => {
                    let quoted = format!("\"{}\"", own.id);
                    text_of("harness/src/oracle").contains(&quoted)
                }
                "type" => own.level != Level::M,
                "not yet" => all.unimplemented.contains(&own.profile),
                other => match other.split_once(':') {
                    Some(("kit", name)) => kit.contains(&format!("fn {name}")),
                    _ => tests_of(other).iter().any(|test| test.starts_with(&format!("{prefix}_"))),
                },
            };
            if !there {
                missing.push(format!("{} by {by}", own.id));
            }
        }
        if own.checked.is_empty() {
            missing.push(format!("{} by anything", own.id));
        }
    }
    assert!(missing.is_empty(), "not checked where the catalogue says: {missing:#?}");
}

/// A failure may come to be blamed on a more general rule while its script shrinks, and never on a
/// more special one.
#[test]
fn shrinking_goes_to_the_rule_that_another_is_a_special_case_of_and_not_back() {
    for special in &catalogue().requirements {
        for general in &special.special_case_of {
            let (special, general) = (special.id.as_str(), general.as_str());
            assert!(find(general).is_some(), "{special} is a special case of {general}");
            assert!(same_or_more_general(special, general), "{special} to {general}");
            assert!(!same_or_more_general(general, special), "{general} to {special}");
        }
    }
    let pairs = [("ISO-1", "DEL-1"), ("FLT-5", "FLT-1"), ("RE-6", "CNT-1"), ("REV-6", "REV-4")];
    for (special, general) in pairs {
        assert!(same_or_more_general(special, general), "{special} to {general}");
    }
    assert!(same_or_more_general("DEL-1", "DEL-1") && !same_or_more_general("DEL-1", "REV-1"));
}
