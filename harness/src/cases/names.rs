//! Filters, and the names that careless code confuses.

use super::*;
use crate::neighbours::families;

pub(super) fn filters() -> Vec<Case> {
    let many: Vec<String> = (0..5_000).map(|n| format!("n{n}")).collect();
    let long = "long".repeat(16 * 1024);
    let exact = |channels: &[&str]| Registration { exact: true, ..on(channels) };
    cases! {
        "one subscriber hears its channel and no other" {
            sub(0, a()); cast("a", "m1"); cast("b", "m2"); settle();
        };
        "absent and empty lists hear everything" {
            sub(0, Registration::all()); sub(1, on(&[])); cast("a", "m1"); cast("", "m2"); settle();
        };
        "a name twice in one list" {
            sub(0, on(&["a", "b", "a"])); cast("a", "m1"); cast("b", "m2"); settle();
        };
        "an exact empty list hears nothing" {
            sub(0, exact(&[])); sub(1, exact(&["a"])); cast("a", "m1"); settle();
        };
        "five thousand names" {
            sub(0, Registration { channels: Some(many), ..Registration::default() });
            cast("n0", "m1"); cast("n4999", "m2"); cast("n5000", "m3"); settle();
        };
        "a name of 64 KiB" {
            sub(0, on(&[&long])); cast(&long, "m1"); cast(&long[1..], "m2"); settle();
        };
        "long names that differ at the end" {
            sub(0, on(&[&long, "a"])); cast(&format!("{long}a"), "m1");
            cast(&format!("{long}b"), "m2"); settle();
        };
        "long names of one length that differ at the end" {
            sub(0, on(&[&format!("{long}a")])); cast(&format!("{long}b"), "m1"); settle();
        };
        "long identities that differ at the end" {
            sub(0, a().group(format!("{long}a").as_str()));
            sub(1, a().group(format!("{long}b").as_str())); revoke(format!("{long}b").as_str());
            cast("a", "m1"); settle(); revoke(format!("{long}a").as_str());
        };
        "the caller changes its list afterwards" {
            sub(0, Registration { overwrite: Some("b".into()), ..a() }); cast("b", "m1");
            cast("a", "m2"); settle();
        };
        "equal payloads are two messages" {
            sub(0, a()); cast("a", "same"); cast("a", "same"); cast("a", "same"); settle();
        };
        "one after the other, in order" {
            sub(0, a()); sub(1, Registration::all()); cast("a", "m1"); cast("a", "m2");
            cast("b", "m3"); cast("a", "m4"); settle();
        };
        "odd payloads" {
            sub(0, a()); cast("a", ""); cast("a", " \u{0}\r\n\u{2028}\u{1F600}\"");
            cast("a", "{\"a\":null}"); settle();
        };
        "long payloads that differ at the end" {
            sub(0, a()); cast("a", &format!("{long}a")); cast("a", &format!("{long}b")); settle();
        };
    }
}

/// Each family of names that careless code confuses: as channels, scopes, identities and kinds.
pub(super) fn confusable() -> Vec<Case> {
    let label = |at: usize| at as u32;
    let channels = |family: &[String]| {
        let casts = |word: &'static str| {
            let names = family.iter().enumerate();
            names.map(move |(at, name)| cast(name, &format!("{word}{at}")))
        };
        let names: Vec<&str> = family.iter().map(String::as_str).collect();
        let mut steps: Vec<Op> = casts("n").collect();
        steps.extend(names.iter().enumerate().map(|(at, name)| sub(label(at), on(&[name]))));
        steps.push(sub(9, on(&names)));
        steps.extend(casts("m").chain([settle()]));
        steps
    };
    let revoked = |family: &[String], identity: fn(&str) -> Identity| {
        let own = |name: &str| a().group(identity(name));
        let each = || family.iter().enumerate();
        let mut steps: Vec<Op> = each().map(|(at, name)| sub(label(at), own(name))).collect();
        for (at, name) in each() {
            steps.extend([revoke(identity(name)), cast("a", &format!("m{at}")), settle()]);
        }
        steps
    };
    let scopes = |family: &[String]| {
        let each = family.iter().enumerate();
        let subs = each.map(|(at, name)| sub(label(at), a().scope(name.as_str())));
        subs.chain([cast("a", "m1"), settle()]).collect()
    };
    let mut all = Vec::new();
    for family in &families() {
        let not_alike =
            |what: &str, steps| case(format!("{what} that are not alike: {family:?}"), steps);
        all.push(not_alike("channels", channels(family)));
        all.push(not_alike("scopes", scopes(family)).cap(1));
        all.push(not_alike("identities", revoked(family, |name| name.into())));
        // Other cases test whether kinds count at all.
        all.push(not_alike("kinds", revoked(family, |name| Identity::kinded(name, "v"))));
    }
    all
}
