//! The file of requirements that a port is known to break.

use harness::catalogue::catalogue;
use harness::runner::{Entry, Known};

#[test]
fn invalid_dates_and_unknown_editions_are_refused() {
    let entry = |expires: &str| {
        Known::parse(&format!(
            "[[known]]\nrequirement = \"REV-1\"\nreason = \"slow\"\nexpires = \"{expires}\""
        ))
    };
    for day in ["2030-01-31", "2028-02-29", "2000-02-29", "9999-12-31"] {
        assert!(entry(day).is_ok(), "{day}");
    }
    let wrong = ["soon", "31-12-2020", "2030-1-31", "2030-02-29", "2100-02-29", "2030-13-01"];
    for day in wrong.into_iter().chain(["2030-04-31", "2030-00-10", "2030-01-31T00:00", "20300131"])
    {
        assert!(entry(day).unwrap_err().contains("write it as 2030-01-31"), "{day}");
    }
    assert!(Known::parse("edition = 1").is_ok());
    for edition in [0, catalogue().edition + 1] {
        let refused = Known::parse(&format!("edition = {edition}")).unwrap_err();
        assert!(refused.contains("there is no edition"), "{refused}");
    }
}

#[test]
fn an_entry_covers_an_id_or_a_family_until_its_day() {
    let entry = |requirement: &str| Entry {
        requirement: requirement.into(),
        reason: "slow".into(),
        link: String::new(),
        expires: "2030-01-31".into(),
    };
    assert!(entry("REV-1").covers("REV-1") && !entry("REV-1").covers("REV-10"));
    assert!(entry("FLT-*").covers("FLT-4"));
    assert!(!entry("REV-1").expired("2030-01-31") && entry("REV-1").expired("2030-02-01"));
}
