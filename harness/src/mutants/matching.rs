//! Which subscribers hear a channel, and which hold an identity.

use std::sync::Arc;

use super::gate::Member;
use super::sample::SampleRegistry;
use super::{Bug, Variety};
use crate::protocol::EmptyChannels;
use crate::script::{Identity, Registration};

impl SampleRegistry {
    pub(super) fn hears(&self, with: &Registration, channel: &str) -> bool {
        let Some(names) = &with.channels else { return !self.has(Bug::NoListHearsNothing) };
        if names.is_empty() {
            let exact = with.exact && !self.has(Bug::ExactEmptyHearsAll);
            let none = self.twist.policies.empty_channels == EmptyChannels::None;
            return !exact && !none && !self.has(Bug::EmptyListHearsNothing);
        }
        if let Some(name) = with.overwrite.as_ref().filter(|_| self.has(Bug::KeepsTheCallersList)) {
            return name == channel;
        }
        let same = |name: &String| match self.twist.bug {
            Some(Bug::MatchesPrefixes) => {
                channel.starts_with(name.as_str()) && !name.is_empty() || name == channel
            }
            Some(Bug::FoldsCase) => name.eq_ignore_ascii_case(channel),
            Some(Bug::TrimsNames) => name.trim() == channel.trim(),
            Some(Bug::MatchesWildcards) => name == channel || name == "*",
            Some(Bug::CutsAtNul) => name.split('\0').next() == channel.split('\0').next(),
            Some(Bug::EmptyNameHearsAll) => name == channel || name.is_empty(),
            Some(Bug::EmptyNameHearsNothing) => name == channel && !name.is_empty(),
            Some(Bug::MagicNamesHearNothing) => name == channel && !name.starts_with("__"),
            Some(Bug::ComparesNumbers) => name == channel || same_number(name, channel),
            Some(Bug::EncodesLatin1) => latin_1(name) == latin_1(channel),
            Some(Bug::CastsLettersToBytes) => low_bytes(name) == low_bytes(channel),
            Some(Bug::KeysByHash) => hash(name) == hash(channel),
            Some(Bug::CutsNames) => name.bytes().take(255).eq(channel.bytes().take(255)),
            Some(Bug::SplitsAtColons) => channel.split(':').next() == Some(name) || name == channel,
            Some(Bug::CutsLongNames) => name.len() <= 4_096 && name == channel,
            _ => name == channel,
        };
        let limit = match self.twist.bug {
            Some(Bug::FirstNameOnly) => 1,
            Some(Bug::CutsLongLists) => 1_000,
            _ => usize::MAX,
        };
        names.iter().take(limit).any(same)
    }

    /// Puts those that the nth broadcast found into the order in which they get it.
    pub(super) fn arrange(&self, found: &mut [Arc<Member>], nth: usize) {
        let of_all = |member: &Arc<Member>| member.with.channels.as_ref().is_none_or(Vec::is_empty);
        match self.twist.variety {
            Some(Variety::DeliversBackwards) => found.reverse(),
            Some(Variety::DeliversOddFirst) => found.sort_by_key(|member| member.id % 2 == 0),
            Some(Variety::DeliversToNamedFirst) => found.sort_by_key(of_all),
            Some(Variety::DeliversInTurns) => found.rotate_left(nth % found.len().max(1)),
            _ => {}
        }
    }

    pub(super) fn holds(&self, with: &Registration, identity: &Identity) -> bool {
        let value = identity.value();
        let folded = |own: &Identity| own.kind().map(str::to_lowercase);
        let same = |own: &Identity| {
            let (same_kind, held) = (own.kind() == identity.kind(), own.value());
            match self.twist.bug {
                Some(Bug::ConcatenatesKinds) => joined(own) == joined(identity),
                Some(Bug::IgnoresKinds) => held == value,
                Some(Bug::FoldsIdentities) => same_kind && held.eq_ignore_ascii_case(value),
                Some(Bug::ComparesNumericIdentities) => {
                    own == identity || (same_kind && same_number(held, value))
                }
                Some(Bug::FoldsKinds) => folded(own) == folded(identity) && held == value,
                Some(Bug::EncodesIdentities) => same_kind && latin_1(held) == latin_1(value),
                Some(Bug::MatchesIdentityPrefixes) => same_kind && held.starts_with(value),
                _ => own == identity,
            }
        };
        let mut all = with.identities();
        match self.twist.bug {
            Some(Bug::RevokesChannels) => {
                all.any(same) || with.channels.iter().flatten().any(|name| name == value)
            }
            Some(Bug::RevokesTheNameless) => all.any(same) || with.identities().next().is_none(),
            Some(Bug::FirstIdentityOnly) => all.next().is_some_and(same),
            Some(Bug::ScopeIsNoIdentity) => with.groups.contains(identity),
            _ => all.any(same),
        }
    }
}

/// Different texts of one number.
fn same_number(a: &str, b: &str) -> bool {
    matches!((a.parse::<f64>(), b.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

fn latin_1(name: &str) -> Vec<u8> {
    name.chars().map(|letter| u8::try_from(letter).unwrap_or(b'?')).collect()
}

fn low_bytes(name: &str) -> Vec<u8> {
    name.encode_utf16().map(|unit| unit.to_le_bytes()[0]).collect()
}

fn hash(name: &str) -> u32 {
    name.encode_utf16().fold(0, |hash: u32, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
}

fn joined(identity: &Identity) -> String {
    identity.kind().map_or(String::new(), |kind| format!("{kind}:")) + identity.value()
}
