//! The features of scripts: which a random script may have, and which a given one has.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::protocol::{Delivery, Hello};
use crate::script::{Act, Ending, Hook, Script};

macro_rules! features {
    ($($(#[doc = $text:literal])* $name:ident,)*) => {
        /// Something that a script may contain beyond plain subscribes and broadcasts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum Feature {
            $($(#[doc = $text])* $name,)*
        }

        /// All features, the plain ones first. The last one that a failing script needs says most
        /// about the failure.
        pub const FEATURES: [Feature; [$(stringify!($name)),*].len()] = [$(Feature::$name),*];
    };
}

features! {
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
    /// A thread that parks in a sink.
    Gated,
    /// Threads that run freely.
    Free,
    /// Outboxes, and readers that let them fill.
    Outboxes,
}

/// A set of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features(u32);

impl Features {
    /// Everything.
    #[must_use]
    pub fn everything() -> Self {
        Self((1 << FEATURES.len()) - 1)
    }

    /// Whether the feature is in it.
    #[must_use]
    pub fn has(self, feature: Feature) -> bool {
        self.0 & (1 << feature as u8) != 0
    }

    /// Whether one of them is in it.
    #[must_use]
    pub fn any(self, features: &[Feature]) -> bool {
        features.iter().any(|feature| self.has(*feature))
    }

    /// With the feature.
    #[must_use]
    pub fn with(self, feature: Feature) -> Self {
        Self(self.0 | (1 << feature as u8))
    }

    /// Without the feature.
    #[must_use]
    pub fn without(self, feature: Feature) -> Self {
        Self(self.0 & !(1 << feature as u8))
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The last feature of the list, which is the most special.
    #[must_use]
    pub fn most_special(self) -> Option<Feature> {
        FEATURES.into_iter().rev().find(|feature| self.has(*feature))
    }

    /// What an implementation with these profiles and features offers, its policies being the
    /// default ones.
    ///
    /// ```
    /// use harness::features::{Features, Feature};
    ///
    /// let features = Features::of_profiles(&["core", "scope_cap"], &["count"]);
    /// assert!(features.has(Feature::Scope) && features.has(Feature::Count));
    /// assert!(!features.has(Feature::Admission));
    /// ```
    #[must_use]
    pub fn of_profiles(profiles: &[&str], features: &[&str]) -> Self {
        Self::offered_by(&Hello::new("any", profiles, features))
    }

    /// What an implementation offers.
    #[must_use]
    pub fn offered_by(hello: &Hello) -> Self {
        let mut features = Self::everything();
        if hello.policies.delivery == Delivery::Async {
            // Equal payloads in flight at once could not be distinguished, and deliveries that hop
            // between two registries have no moment at which they have settled. The fixed cases
            // have both, one at a time.
            features = features.without(Feature::EqualData).without(Feature::TwoRegistries);
        }
        for (need, list) in [
            ("count", &[Feature::Count][..]),
            ("exact", &[Feature::Exact]),
            ("groups", &[Feature::Groups]),
            ("kinds", &[Feature::Kinds]),
            ("revoke_as", &[Feature::RevokeAs]),
            ("scope_cap", &[Feature::Scope]),
            ("admission", &[Feature::Admission]),
            ("queued", &[Feature::Outboxes]),
            ("shutdown", &[Feature::Shutdown]),
            ("threads", &[Feature::Gated, Feature::Free]),
        ] {
            if !hello.offers(need) {
                features =
                    list.iter().fold(features, |features, feature| features.without(*feature));
            }
        }
        features
    }

    /// What a script contains.
    #[must_use]
    pub fn of(script: &Script) -> Self {
        let mut features = Self::default();
        let mut add = |there: bool, feature| {
            if there {
                features = features.with(feature);
            }
        };
        add(script.cap.is_some(), Feature::Scope);
        let mut sinks = BTreeSet::new();
        let mut payloads = BTreeSet::new();
        script.visit(&mut |op| {
            add(op.registry != 0, Feature::TwoRegistries);
            match &op.act {
                Act::Sub { sink, with, .. } | Act::Admit { sink, with, .. } => {
                    let queued = with.outbox.is_some();
                    add(queued, Feature::Outboxes);
                    add(!queued && !sinks.insert(*sink), Feature::SharedSinks);
                    add(with.exact, Feature::Exact);
                    add(with.overwrite.is_some(), Feature::Overwrite);
                    add(with.identities().count() > 1, Feature::Groups);
                    add(with.identities().any(|own| own.kind().is_some()), Feature::Kinds);
                    add(with.identities().any(|own| !ordinary(own.value())), Feature::Hostile);
                    let names = with.channels.as_deref().unwrap_or_default();
                    let mut seen = BTreeSet::new();
                    add(names.len() != 1, Feature::Lists);
                    add(!names.iter().all(|name| seen.insert(name)), Feature::Duplicates);
                    add(names.iter().any(|name| !ordinary(name)), Feature::Hostile);
                }
                Act::Revoke { identity, reason } => {
                    add(true, Feature::Revoke);
                    add(reason.is_some(), Feature::RevokeAs);
                    add(!ordinary(identity.value()), Feature::Hostile);
                }
                Act::Cast { channel, data } => {
                    add(!payloads.insert(data.clone()), Feature::EqualData);
                    add(!ordinary(channel), Feature::Hostile);
                }
                Act::Unsub { .. } => add(true, Feature::Unsub),
                Act::Count => add(true, Feature::Count),
                Act::Shutdown => add(true, Feature::Shutdown),
                Act::Begin { .. } => add(true, Feature::Admission),
                Act::Hold { .. } => add(true, Feature::Gated),
                Act::Par { .. } => add(true, Feature::Free),
                _ => {}
            }
        });
        for (_, rule) in script.rules() {
            let (inside, failing) = match rule.on {
                Hook::Send => (Feature::InSend, Feature::FailingSend),
                Hook::Close => (Feature::InClose, Feature::FailingClose),
            };
            add(!rule.ops.is_empty(), inside);
            add(rule.then != Ending::Ok, failing);
        }
        if features.has(Feature::Gated) {
            features = features.without(Feature::Free);
        }
        features
    }
}

fn ordinary(name: &str) -> bool {
    (1..=3).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase())
}
