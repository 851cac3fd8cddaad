//! The messages between the runner and an adapter: JSON, one object a line. `PROTOCOL.md` is the
//! text of it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::script::Script;
use crate::trace::Trace;

/// The version of the protocol that this suite speaks.
pub const PROTOCOL: u32 = 1;

/// Runner to adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// Asks for the implementation's name and what it offers.
    Hello {
        /// The version of the protocol that the runner speaks.
        protocol: u32,
    },
    /// Run a script on a fresh registry.
    Run {
        /// Given back with the answer.
        id: u64,
        /// How many calls of sinks are allowed before the adapter gives up with a `fuel` event.
        fuel: u32,
        /// How long a `hold` or a thread may wait before it is `stuck`.
        patience_ms: u64,
        /// The script.
        script: Script,
    },
    /// Exit.
    Bye,
}

/// Adapter to runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    /// The answer to `hello`.
    Hello(Hello),
    /// What was observed.
    Trace {
        /// The request's.
        id: u64,
        /// The observations.
        events: Trace,
    },
    /// The implementation lacks something that the script needs.
    Unsupported {
        /// The request's.
        id: u64,
        /// What it lacks.
        need: String,
    },
    /// The adapter itself failed; never a verdict on the registry.
    AdapterError {
        /// The request's, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        /// What happened.
        message: String,
    },
}

/// What an implementation says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The version of the protocol that the adapter speaks.
    pub protocol: u32,
    /// The implementation's name.
    pub name: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// The language it is written in.
    #[serde(default)]
    pub language: String,
    /// The profiles it claims; `core` is implied.
    #[serde(default)]
    pub profiles: BTreeSet<String>,
    /// Optional abilities: `count`, `groups`, `kinds`, `exact`, `reasons`, `report`, `revoke_as`,
    /// `shutdown`.
    #[serde(default)]
    pub features: BTreeSet<String>,
    /// Choices that the requirements leave open.
    #[serde(default)]
    pub policies: Policies,
}

impl Hello {
    /// An implementation with these profiles and features and the default policies.
    #[must_use]
    pub fn new(name: &str, profiles: &[&str], features: &[&str]) -> Self {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            protocol: PROTOCOL,
            name: name.to_owned(),
            version: String::new(),
            language: String::new(),
            profiles: set(profiles),
            features: set(features),
            policies: Policies::default(),
        }
    }

    /// Name, version and language, as far as it gives them.
    #[must_use]
    pub fn title(&self) -> String {
        let given =
            [&self.name, &self.version, &self.language].into_iter().filter(|word| !word.is_empty());
        given.map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Whether it claims a profile or offers a feature.
    #[must_use]
    pub fn offers(&self, name: &str) -> bool {
        name == "core" || self.profiles.contains(name) || self.features.contains(name)
    }

    /// The first thing that a script needs and this does not offer.
    #[must_use]
    pub fn lacks(&self, script: &Script) -> Option<&'static str> {
        script.needs().into_iter().find(|need| !self.offers(need))
    }
}

/// Choices that the requirements leave open, declared once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policies {
    /// When a broadcast is delivered.
    pub delivery: Delivery,
    /// What becomes of a call made from inside a sink.
    pub reentrancy: Reentrancy,
    /// What becomes of a sink whose send failed.
    pub send_failure: SendFailure,
    /// What an empty channel list means in the compatible call.
    pub empty_channels: EmptyChannels,
    /// What order is promised.
    pub order: Order,
    /// What happens when a scope is full.
    pub full_scope: FullScope,
    /// What a thread is.
    #[serde(rename = "lanes")]
    pub threads: Concurrency,
}

/// When a broadcast is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Before it returns, unless a delivery is in progress.
    #[default]
    Sync,
    /// Later; `settle` waits for it.
    Async,
}

/// What becomes of a call made from inside a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reentrancy {
    /// It takes effect at once, or its deliveries wait for those in progress: either is legal.
    #[default]
    Allowed,
    /// It throws. Declared, it fails RE-1 and is not tried further.
    Refused,
}

/// What becomes of a sink whose send failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendFailure {
    /// It stays subscribed.
    Keep,
    /// It is removed and closed once.
    #[default]
    Close,
    /// It is removed and not closed.
    Drop,
}

/// What an empty channel list means in the compatible call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyChannels {
    /// Every channel.
    #[default]
    All,
    /// No channel; such a port has no compatible call.
    None,
}

/// What order is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Broadcasts that do not overlap arrive in their order at each subscriber.
    #[default]
    PerSubscriber,
    /// All subscribers see all broadcasts in one order.
    Total,
}

/// What happens when a scope is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FullScope {
    /// The oldest is closed.
    #[default]
    EvictOldest,
    /// The new one is refused.
    RefuseNew,
}

/// What a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concurrency {
    /// A thread. What two of them log may be logged later than it happened.
    #[default]
    Threads,
    /// A task of an event loop. One runs at a time: what happened is logged then.
    Tasks,
}
