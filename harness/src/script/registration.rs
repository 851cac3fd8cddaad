//! What a subscriber asks for: channels, identities, and perhaps an outbox.

use serde::{Deserialize, Serialize};

/// What a subscriber asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Registration {
    /// The channels; absent means every channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<String>>,
    /// Whether the list is meant exactly, so that an empty one hears nothing.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub exact: bool,
    /// The capped identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Identity>,
    /// Identities without a cap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Identity>,
    /// After the call has returned, the caller overwrites every element of the list it passed with
    /// this name, and appends it once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overwrite: Option<String>,
    /// Subscribes an outbox with these bounds in place of the sink, which is then never called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbox: Option<Outbox>,
}

impl Registration {
    /// Hears every channel.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Hears these channels.
    #[must_use]
    pub fn to(channels: &[&str]) -> Self {
        Self {
            channels: Some(channels.iter().map(|name| (*name).to_owned()).collect()),
            ..Self::default()
        }
    }

    /// Adds an identity without a cap.
    #[must_use]
    pub fn group(mut self, identity: impl Into<Identity>) -> Self {
        self.groups.push(identity.into());
        self
    }

    /// Sets the capped identity.
    #[must_use]
    pub fn scope(mut self, identity: impl Into<Identity>) -> Self {
        self.scope = Some(identity.into());
        self
    }

    /// Asks for an outbox.
    #[must_use]
    pub fn outbox(mut self, outbox: Outbox) -> Self {
        self.outbox = Some(outbox);
        self
    }

    /// Scope and groups, the scope first, with duplicates.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.scope.iter().chain(&self.groups)
    }
}

/// A name by which subscribers are closed: a value, alone or with a kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Identity {
    /// Without a kind, as in the compatible call.
    Plain(String),
    /// A (kind, value) pair.
    Kinded {
        /// What the value is a name of.
        kind: String,
        /// The name.
        value: String,
    },
}

impl Identity {
    /// A (kind, value) pair.
    #[must_use]
    pub fn kinded(kind: &str, value: &str) -> Self {
        Self::Kinded { kind: kind.to_owned(), value: value.to_owned() }
    }

    /// The value, without its kind.
    #[must_use]
    pub fn value(&self) -> &str {
        match self {
            Self::Plain(value) | Self::Kinded { value, .. } => value,
        }
    }

    /// The kind, if it has one.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        let Self::Kinded { kind, .. } = self else { return None };
        Some(kind)
    }
}

impl From<&str> for Identity {
    fn from(value: &str) -> Self {
        Self::Plain(value.to_owned())
    }
}

/// The bounds of an outbox, and what happens at them. A message has as many bytes as its payload
/// has in UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outbox {
    /// The most messages that wait, at least 1.
    pub messages: u32,
    /// The most bytes that wait, at least 1; a single larger message still fits into an empty
    /// outbox.
    pub bytes: u32,
    /// What happens when a message does not fit.
    pub overflow: Overflow,
}

impl Outbox {
    /// So many messages, of any size that scripts have.
    #[must_use]
    pub fn of(messages: u32, overflow: Overflow) -> Self {
        Self { messages, overflow, ..Self::default() }
    }

    /// So many bytes, in any number of messages that scripts have.
    #[must_use]
    pub fn of_bytes(bytes: u32, overflow: Overflow) -> Self {
        Self { bytes, overflow, ..Self::default() }
    }
}

impl Default for Outbox {
    /// 1,024 messages, 1 MiB, close.
    fn default() -> Self {
        Self { messages: 1_024, bytes: 1 << 20, overflow: Overflow::Close }
    }
}

/// What happens when a message does not fit into an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The subscriber is ended as *lagged*.
    #[default]
    Close,
    /// The oldest messages make room.
    DropOldest,
    /// The new message is lost.
    DropNewest,
    /// Older messages on the channel of the new one make room.
    KeepLatest,
}

impl Overflow {
    /// All of them.
    pub const ALL: [Overflow; 4] =
        [Overflow::Close, Overflow::DropOldest, Overflow::DropNewest, Overflow::KeepLatest];
}
