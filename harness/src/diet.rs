//! What scripts may contain: the ingredients of a random script, and those of a given one.

use std::collections::BTreeSet;

use crate::{
    protocol::{Delivery, Hello},
    script::{Act, Ending, Hook, Script},
};

/// Something that a script may contain beyond plain subscribes and broadcasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Spice {
    /// Unsubscribing.
    Unsub,
    /// Revoking.
    Revoke,
    /// Counting.
    Count,
    /// Filters of none or several names.
    Lists,
    /// One payload twice.
    EqualData,
    /// A name twice in one list.
    Duplicates,
    /// Names that careless code confuses.
    Hostile,
    /// A caller that changes its list afterwards.
    Overwrite,
    /// Filters given exactly.
    Exact,
    /// Several identities on one subscriber.
    Groups,
    /// Identities with a kind.
    Kinds,
    /// Revocations that name their reason.
    RevokeAs,
    /// Scopes under a cap.
    Scope,
    /// Tickets.
    Admission,
    /// Calls from inside a send.
    InSend,
    /// Calls from inside a close.
    InClose,
    /// Sends that fail.
    FailingSend,
    /// Closes that fail.
    FailingClose,
    /// One sink subscribed more than once.
    SharedSinks,
    /// Two registries.
    TwoRegistries,
    /// Shutting down.
    Shutdown,
    /// A lane that parks in a sink.
    Gated,
    /// Lanes that run freely.
    Free,
    /// Outboxes, and readers that let them fill.
    Outboxes,
}

/// All ingredients, the plain ones first: of several that a failing script needs, the last says
/// most about it.
pub const SPICES: [Spice; 24] = [
    Spice::Unsub,
    Spice::Revoke,
    Spice::Count,
    Spice::Lists,
    Spice::EqualData,
    Spice::Duplicates,
    Spice::Hostile,
    Spice::Overwrite,
    Spice::Exact,
    Spice::Groups,
    Spice::Kinds,
    Spice::RevokeAs,
    Spice::Scope,
    Spice::Admission,
    Spice::InSend,
    Spice::InClose,
    Spice::FailingSend,
    Spice::FailingClose,
    Spice::SharedSinks,
    Spice::TwoRegistries,
    Spice::Shutdown,
    Spice::Gated,
    Spice::Free,
    Spice::Outboxes,
];

/// A set of ingredients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Diet(u32);

impl Diet {
    /// Everything.
    #[must_use]
    pub fn everything() -> Self {
        Self((1 << SPICES.len()) - 1)
    }

    /// Whether the ingredient is in it.
    #[must_use]
    pub fn has(self, spice: Spice) -> bool {
        self.0 & (1 << spice as u8) != 0
    }

    /// With the ingredient.
    #[must_use]
    pub fn with(self, spice: Spice) -> Self {
        Self(self.0 | (1 << spice as u8))
    }

    /// Without the ingredient.
    #[must_use]
    pub fn without(self, spice: Spice) -> Self {
        Self(self.0 & !(1 << spice as u8))
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The last ingredient of the list, which is the most special.
    #[must_use]
    pub fn most_special(self) -> Option<Spice> {
        SPICES.into_iter().rev().find(|spice| self.has(*spice))
    }

    /// What an implementation with these profiles and features offers, its policies being the
    /// default ones.
    ///
    /// ```
    /// use harness::diet::{Diet, Spice};
    ///
    /// let diet = Diet::of_profiles(&["core", "scope_cap"], &["count"]);
    /// assert!(diet.has(Spice::Scope) && diet.has(Spice::Count) && !diet.has(Spice::Admission));
    /// ```
    #[must_use]
    pub fn of_profiles(profiles: &[&str], features: &[&str]) -> Self {
        Self::offered_by(&Hello::new("any", profiles, features))
    }

    /// What an implementation offers.
    #[must_use]
    pub fn offered_by(hello: &Hello) -> Self {
        let mut diet = Self::everything();
        if hello.policies.delivery == Delivery::Async {
            // Equal payloads in flight at once could not be told apart, and deliveries that hop
            // between two registries have no moment at which they have settled. The fixed cases
            // have both, one at a time.
            diet = diet.without(Spice::EqualData).without(Spice::TwoRegistries);
        }
        for (need, spices) in [
            ("count", &[Spice::Count][..]),
            ("exact", &[Spice::Exact]),
            ("groups", &[Spice::Groups]),
            ("kinds", &[Spice::Kinds]),
            ("revoke_as", &[Spice::RevokeAs]),
            ("scope_cap", &[Spice::Scope]),
            ("admission", &[Spice::Admission]),
            ("queued", &[Spice::Outboxes]),
            ("shutdown", &[Spice::Shutdown]),
            ("threads", &[Spice::Gated, Spice::Free]),
        ] {
            if !hello.offers(need) {
                diet = spices.iter().fold(diet, |diet, spice| diet.without(*spice));
            }
        }
        diet
    }

    /// What a script contains.
    #[must_use]
    pub fn of(script: &Script) -> Self {
        let mut diet = Self::default();
        let mut add = |spice| diet = diet.with(spice);
        if script.cap.is_some() {
            add(Spice::Scope);
        }
        let mut sinks = BTreeSet::new();
        let mut payloads = BTreeSet::new();
        script.visit(&mut |op| {
            if op.registry != 0 {
                add(Spice::TwoRegistries);
            }
            match &op.act {
                Act::Sub { sink, with, .. } | Act::Admit { sink, with, .. } => {
                    if with.outbox.is_some() {
                        add(Spice::Outboxes);
                    } else if !sinks.insert(*sink) {
                        add(Spice::SharedSinks);
                    }
                    if with.exact {
                        add(Spice::Exact);
                    }
                    if with.overwrite.is_some() {
                        add(Spice::Overwrite);
                    }
                    if with.identities().count() > 1 {
                        add(Spice::Groups);
                    }
                    if with.identities().any(|own| own.kind().is_some()) {
                        add(Spice::Kinds);
                    }
                    let names = with.channels.as_deref().unwrap_or_default();
                    if names.len() != 1 {
                        add(Spice::Lists);
                    }
                    let mut seen = BTreeSet::new();
                    if !names.iter().all(|name| seen.insert(name)) {
                        add(Spice::Duplicates);
                    }
                    if names.iter().any(|name| !ordinary(name)) {
                        add(Spice::Hostile);
                    }
                    if with.identities().any(|own| !ordinary(own.value())) {
                        add(Spice::Hostile);
                    }
                }
                Act::Unsub { .. } => add(Spice::Unsub),
                Act::Revoke { identity, reason } => {
                    add(Spice::Revoke);
                    if reason.is_some() {
                        add(Spice::RevokeAs);
                    }
                    if !ordinary(identity.value()) {
                        add(Spice::Hostile);
                    }
                }
                Act::Count => add(Spice::Count),
                Act::Shutdown => add(Spice::Shutdown),
                Act::Begin { .. } => add(Spice::Admission),
                Act::Hold { .. } => add(Spice::Gated),
                Act::Par { .. } => add(Spice::Free),
                Act::Cast { channel, data } => {
                    if !payloads.insert(data.clone()) {
                        add(Spice::EqualData);
                    }
                    if !ordinary(channel) {
                        add(Spice::Hostile);
                    }
                }
                _ => {}
            }
        });
        for rule in script.sinks.iter().flat_map(|sink| &sink.rules) {
            let (inside, failing) = match rule.on {
                Hook::Send => (Spice::InSend, Spice::FailingSend),
                Hook::Close => (Spice::InClose, Spice::FailingClose),
            };
            if !rule.ops.is_empty() {
                add(inside);
            }
            if rule.then != Ending::Ok {
                add(failing);
            }
        }
        if diet.has(Spice::Gated) {
            diet = diet.without(Spice::Free);
        }
        diet
    }

    /// What a script must contain to put a requirement to the test.
    #[must_use]
    pub fn to_test(requirement: &str) -> Self {
        let spices: &[Spice] = match requirement {
            "FLT-1" => &[Spice::Lists],
            "FLT-2" => &[Spice::Lists, Spice::Exact],
            "FLT-3" => &[Spice::Lists, Spice::Duplicates],
            "FLT-4" | "FLT-5" | "FLT-6" => &[Spice::Hostile, Spice::Lists],
            "FLT-7" => &[Spice::Overwrite, Spice::Lists],
            "DEL-5" => &[Spice::EqualData],
            "ORD-2" | "ORD-3" | "RE-1" | "RE-3" | "RE-4" => &[Spice::InSend],
            "SUB-2" | "SUB-3" => &[Spice::Unsub, Spice::InSend, Spice::Revoke],
            "SUB-4" => &[Spice::Unsub],
            "SUB-5" => &[Spice::SharedSinks, Spice::Unsub, Spice::Revoke],
            "SUB-6" => &[Spice::Shutdown],
            "REV-2" | "RE-5" => &[Spice::Revoke, Spice::InSend],
            "REV-1" | "REV-4" | "REV-9" | "REV-10" | "CLO-2" | "CLO-5" | "CNT-1" => {
                &[Spice::Revoke]
            }
            "REV-5" => &[Spice::Revoke, Spice::Hostile],
            "REV-6" => &[Spice::Revoke, Spice::Kinds, Spice::Hostile],
            "REV-7" => &[Spice::Revoke, Spice::Groups],
            "REV-13" => &[Spice::Revoke, Spice::RevokeAs],
            "CLO-1" | "CLO-4" | "RE-6" | "RE-7" => &[Spice::Revoke, Spice::InClose],
            "CLO-3" => &[Spice::Revoke, Spice::Unsub, Spice::InClose],
            "CNT-2" => &[Spice::Count, Spice::Revoke, Spice::Unsub],
            "REV-8" | "CNT-3" => &[Spice::Count, Spice::Revoke, Spice::InClose],
            "ISO-1" | "ISO-2" | "ISO-4" | "ISO-5" => &[Spice::FailingSend],
            "ISO-3" => &[Spice::FailingClose, Spice::Revoke],
            "ISO-6" => &[Spice::TwoRegistries, Spice::Revoke],
            "ISO-7" => &[Spice::Scope, Spice::FailingClose],
            "RE-8" => &[Spice::Scope, Spice::InClose],
            "CAP-6" => &[Spice::Scope, Spice::Revoke],
            "CAP-1" | "CAP-2" | "CAP-3" | "CAP-4" => &[Spice::Scope],
            "ADM-1" | "ADM-2" | "ADM-4" | "ADM-5" | "ADM-6" => &[Spice::Admission, Spice::Revoke],
            "ADM-3" => &[Spice::Admission, Spice::Count],
            "QUE-1" | "QUE-2" | "QUE-3" => &[Spice::Outboxes],
            "REV-3" => &[Spice::Outboxes, Spice::Revoke],
            "PRG-1" | "PRG-2" | "PRG-3" => &[Spice::Gated, Spice::Revoke],
            "CON-0" | "CON-1" | "CON-2" => &[Spice::Free, Spice::Revoke, Spice::Unsub],
            _ => &[],
        };
        spices.iter().fold(Self::default(), |diet, spice| diet.with(*spice))
    }
}

fn ordinary(name: &str) -> bool {
    (1..=3).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase())
}
