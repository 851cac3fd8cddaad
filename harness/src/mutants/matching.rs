//! Which subscribers hear a channel, and which hold an identity.

use super::Bug;
use super::sample::SampleRegistry;
use crate::script::{Identity, Registration};

impl SampleRegistry {
    pub(super) fn hears(&self, with: &Registration, channel: &str) -> bool {
        let Some(names) = &with.channels else { return !self.has(Bug::NoListHearsNothing) };
        if names.is_empty() {
            let exact = with.exact && !self.has(Bug::ExactEmptyHearsAll);
            return !exact && !self.has(Bug::EmptyListHearsNothing);
        }
        if let (Bug::KeepsTheCallersList, Some(name)) =
            (self.bug().unwrap_or(Bug::CapOfZero), &with.overwrite)
        {
            return name == channel;
        }
        let same = |name: &String| match self.bug() {
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
            Some(Bug::ComparesNumbers) => {
                let numbers = (name.parse::<f64>(), channel.parse::<f64>());
                name == channel || matches!(numbers, (Ok(a), Ok(b)) if a == b)
            }
            Some(Bug::EncodesLatin1) => latin_1(name) == latin_1(channel),
            Some(Bug::CastsLettersToBytes) => low_bytes(name) == low_bytes(channel),
            Some(Bug::KeysByHash) => hash(name) == hash(channel),
            Some(Bug::CutsNames) => name.bytes().take(255).eq(channel.bytes().take(255)),
            Some(Bug::SplitsAtColons) => channel.split(':').next() == Some(name) || name == channel,
            Some(Bug::CutsLongNames) => name.len() <= 4_096 && name == channel,
            _ => name == channel,
        };
        let limit = match self.bug() {
            Some(Bug::FirstNameOnly) => 1,
            Some(Bug::CutsLongLists) => 1_000,
            _ => usize::MAX,
        };
        names.iter().take(limit).any(same)
    }

    pub(super) fn holds(&self, with: &Registration, identity: &Identity) -> bool {
        match self.bug() {
            Some(Bug::ConcatenatesKinds) => {
                with.identities().any(|own| joined(own) == joined(identity))
            }
            Some(Bug::IgnoresKinds) => with.identities().any(|own| own.value() == identity.value()),
            Some(Bug::FoldsIdentities) => with.identities().any(|own| {
                own.kind() == identity.kind() && own.value().eq_ignore_ascii_case(identity.value())
            }),
            Some(Bug::ComparesNumericIdentities) => with.identities().any(|own| {
                let numbers = (own.value().parse::<f64>(), identity.value().parse::<f64>());
                own == identity
                    || (own.kind() == identity.kind()
                        && matches!(numbers, (Ok(a), Ok(b)) if a == b))
            }),
            Some(Bug::FoldsKinds) => with.identities().any(|own| {
                own.kind().map(str::to_lowercase) == identity.kind().map(str::to_lowercase)
                    && own.value() == identity.value()
            }),
            Some(Bug::EncodesIdentities) => with.identities().any(|own| {
                own.kind() == identity.kind() && latin_1(own.value()) == latin_1(identity.value())
            }),
            Some(Bug::MatchesIdentityPrefixes) => with.identities().any(|own| {
                own.kind() == identity.kind() && own.value().starts_with(identity.value())
            }),
            Some(Bug::RevokesChannels) => {
                with.identities().any(|own| own == identity)
                    || with.channels.iter().flatten().any(|name| name == identity.value())
            }
            Some(Bug::RevokesTheNameless) => {
                with.identities().any(|own| own == identity) || with.identities().next().is_none()
            }
            Some(Bug::FirstIdentityOnly) => with.identities().next() == Some(identity),
            Some(Bug::ScopeIsNoIdentity) => with.groups.contains(identity),
            _ => with.identities().any(|own| own == identity),
        }
    }
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
    identity
        .kind()
        .map_or_else(|| identity.value().to_owned(), |kind| format!("{kind}:{}", identity.value()))
}
