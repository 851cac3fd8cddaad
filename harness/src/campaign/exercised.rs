//! What a campaign should have tested and did not.

use std::collections::BTreeSet;

use super::Outcome;
use crate::catalogue::{self, Level};
use crate::protocol::Hello;

/// Returns the MUSTs that the oracle judges and that no script put to the test, though the
/// implementation offers what they need.
#[must_use]
pub fn never_exercised(hello: &Hello, outcome: &Outcome) -> BTreeSet<&'static str> {
    let seen = |id: &str| {
        let failed = |own: &super::Failure| own.violation.requirement == id;
        outcome.kept.contains_key(id)
            || outcome.behind.contains_key(id)
            || outcome.failures.iter().any(failed)
    };
    catalogue::catalogue()
        .requirements
        .iter()
        .filter(|own| own.level == Level::M && own.by_oracle())
        .filter(|own| own.is_testable(hello) && own.applies(hello))
        .map(|own| own.id.as_str())
        .filter(|id| !seen(id))
        .collect()
}
