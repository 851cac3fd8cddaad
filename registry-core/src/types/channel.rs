//! Channels and the filters over them.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// The name of a channel: any string, compared byte for byte.
///
/// No name is special, none is normalised, and `""` is a name like any other (FLT-4, FLT-5, FLT-6).
/// Cloning copies a pointer.
///
/// # Examples
/// ```
/// use registry_core::Channel;
///
/// let runs = Channel::from("runs");
/// assert_eq!((runs.as_str(), runs.as_ref() as &str), ("runs", "runs"));
/// assert_ne!(runs, Channel::from("Runs"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

impl Channel {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Channel {
    fn from(name: &str) -> Self {
        Self(Arc::from(name))
    }
}

impl From<&String> for Channel {
    fn from(name: &String) -> Self {
        Self::from(name.as_str())
    }
}

impl From<String> for Channel {
    fn from(name: String) -> Self {
        Self(Arc::from(name))
    }
}

impl Borrow<str> for Channel {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Channel {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl AsRef<str> for Channel {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which channels a subscriber hears.
///
/// The type says which: [`All`](ChannelFilter::All) hears everything, and
/// [`Only`](ChannelFilter::Only) with an empty set hears nothing (FLT-2). Only the compatible call
/// [`subscribe`](crate::SubscriberRegistry::subscribe) reads an empty list as *every channel*.
///
/// # Examples
/// ```
/// use registry_core::ChannelFilter;
///
/// let granted = ChannelFilter::only(["runs", "jobs"]);
/// assert_eq!(ChannelFilter::All.restrict(&granted), granted);
/// let nothing = ChannelFilter::only(["secrets"]).restrict(&granted);
/// assert!(!nothing.hears("secrets") && !nothing.hears("runs"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a filter is everything or a set; there is no third")]
pub enum ChannelFilter {
    /// Every channel, also those that do not exist yet.
    All,
    /// Exactly these channels; the empty set hears nothing.
    Only(BTreeSet<Channel>),
}

impl ChannelFilter {
    /// Creates a filter of exactly these names; a name listed twice counts once (FLT-3).
    pub fn only<C: Into<Channel>>(names: impl IntoIterator<Item = C>) -> Self {
        Self::Only(names.into_iter().map(Into::into).collect())
    }

    /// Tells whether a broadcast on `channel` passes.
    #[must_use]
    pub fn hears(&self, channel: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(channel),
        }
    }

    /// Returns what both allow; the result is never wider than either (FLT-2).
    #[must_use]
    pub fn restrict(&self, granted: &Self) -> Self {
        match (self, granted) {
            (Self::All, other) | (other, Self::All) => other.clone(),
            (Self::Only(a), Self::Only(b)) => Self::Only(a.intersection(b).cloned().collect()),
        }
    }
}
