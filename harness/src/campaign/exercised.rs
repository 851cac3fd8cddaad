//! What a campaign should have put to the test and did not.

use std::collections::BTreeSet;

use super::Outcome;
use crate::{
    catalogue::{self, Level},
    diet::Diet,
    protocol::{FullScope, Hello, Reentrancy},
};

/// MUSTs of the claimed profiles that the oracle judges and that no script put to the test, though
/// the implementation offers what they need.
#[must_use]
pub fn never_exercised(hello: &Hello, outcome: &Outcome) -> BTreeSet<&'static str> {
    let offered = Diet::offered_by(hello);
    catalogue::catalogue()
        .requirements
        .iter()
        .filter(|own| own.level == Level::M && own.by_oracle() && hello.offers(&own.profile))
        .map(|own| own.id.as_str())
        .filter(|id| Diet::to_test(id).and(offered) == Diet::to_test(id) && optional(hello, id))
        .filter(|id| {
            !outcome.kept.contains_key(id)
                && outcome.failures.iter().all(|own| own.violation.requirement != *id)
        })
        .collect()
}

/// Whether a requirement applies that hangs on a policy or feature of its own.
fn optional(hello: &Hello, id: &str) -> bool {
    match id {
        "CLO-5" | "REV-13" => hello.offers("reasons"),
        "RE-1" | "RE-3" | "RE-4" | "RE-5" | "RE-6" | "RE-7" => {
            hello.policies.reentrancy == Reentrancy::Allowed
        }
        "CAP-2" | "CAP-3" | "CAP-6" | "ISO-7" => {
            hello.policies.full_scope == FullScope::EvictOldest
        }
        "RE-8" => {
            hello.policies.full_scope == FullScope::EvictOldest
                && hello.policies.reentrancy == Reentrancy::Allowed
        }
        _ => true,
    }
}
