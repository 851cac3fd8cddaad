//! Why a subscriber ended, and the ends of an authority among these reasons.

use crate::contain::contain;
use std::fmt;
use std::sync::Arc;

/// Why a subscriber ended.
///
/// All reasons but [`Shutdown`](CloseReason::Shutdown) discard what is still queued. A discarding
/// reason overrides a draining one: a revocation during a shutdown discards the queue (CLO-5).
///
/// # Examples
/// ```
/// use registry_core::CloseReason;
///
/// assert_eq!(CloseReason::LoggedOut.to_string(), "logged_out");
/// assert!(CloseReason::ALL.contains(&CloseReason::Lagged));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CloseReason {
    /// A permission of one of its identities changed: the client should come back and authenticate
    /// again.
    Revoked,
    /// Its session was ended on purpose: the client should not come back by itself.
    LoggedOut,
    /// Its authority ran out.
    Expired,
    /// The peer did not answer in time.
    Heartbeat,
    /// A newer subscriber took its place under the cap of its scope.
    Evicted,
    /// It read too slowly and its queue was full.
    Lagged,
    /// Its sink failed or panicked.
    Failed,
    /// The peer broke the protocol or a limit.
    Protocol,
    /// The registry shuts down: what is queued is still delivered.
    Shutdown,
    /// It ended from its own side.
    Unsubscribed,
}

impl CloseReason {
    /// Every reason, in the order of its declaration.
    pub const ALL: [Self; 10] = [
        Self::Revoked,
        Self::LoggedOut,
        Self::Expired,
        Self::Heartbeat,
        Self::Evicted,
        Self::Lagged,
        Self::Failed,
        Self::Protocol,
        Self::Shutdown,
        Self::Unsubscribed,
    ];

    /// Tells whether the queue is discarded.
    ///
    /// # Examples
    /// ```
    /// use registry_core::CloseReason;
    ///
    /// let flushing = CloseReason::ALL.into_iter().filter(|reason| !reason.discards());
    /// assert!(flushing.eq([CloseReason::Shutdown]));
    /// ```
    #[must_use]
    pub fn discards(self) -> bool {
        self != Self::Shutdown
    }

    /// Returns the reason's name as it stands on the wire and in statistics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::LoggedOut => "logged_out",
            Self::Expired => "expired",
            Self::Heartbeat => "heartbeat",
            Self::Evicted => "evicted",
            Self::Lagged => "lagged",
            Self::Failed => "failed",
            Self::Protocol => "protocol",
            Self::Shutdown => "shutdown",
            Self::Unsubscribed => "unsubscribed",
        }
    }
}

/// As its name, so that it can be the key of a JSON object.
#[cfg(feature = "serde")]
impl serde::Serialize for CloseReason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an authority ended: the reason that
/// [`close_by_identity_as`](crate::SubscriberRegistry::close_by_identity_as) gives to clients.
///
/// Each of these discards what is queued, and the transports reset a peer that does not leave. No
/// other [`CloseReason`] ends an authority, so the call does not accept one:
///
/// ```compile_fail
/// # use registry_core::{CloseReason, Identity, SubscriberRegistry};
/// let registry = SubscriberRegistry::<String>::new();
/// registry.close_by_identity_as(Identity::new("session", "17"), CloseReason::Shutdown);
/// ```
///
/// # Examples
/// ```
/// use registry_core::{CloseReason, Revocation};
///
/// assert_eq!(CloseReason::from(Revocation::LoggedOut), CloseReason::LoggedOut);
/// assert_eq!(Revocation::LoggedOut.to_string(), "logged_out");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Revocation {
    /// A permission changed: the client comes back and authenticates again.
    #[default]
    Revoked,
    /// The session was ended on purpose: the client does not come back by itself.
    LoggedOut,
    /// The authority ran out: the client renews it, then comes back.
    Expired,
}

impl Revocation {
    /// Every revocation, in the order of its declaration.
    pub const ALL: [Self; 3] = [Self::Revoked, Self::LoggedOut, Self::Expired];

    /// Returns the name of its [reason](CloseReason), as it stands on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        CloseReason::from(self).as_str()
    }
}

impl From<Revocation> for CloseReason {
    fn from(revocation: Revocation) -> Self {
        match revocation {
            Revocation::Revoked => Self::Revoked,
            Revocation::LoggedOut => Self::LoggedOut,
            Revocation::Expired => Self::Expired,
        }
    }
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is called with the reason when a subscriber ends.
pub(crate) type EndHook = dyn Fn(CloseReason) + Send + Sync;

/// Makes one hook of two; a panic in the first does not keep the second from being called.
pub(crate) fn both(first: Arc<EndHook>, then: Arc<EndHook>) -> Arc<EndHook> {
    Arc::new(move |reason| {
        contain(|| first(reason));
        contain(|| then(reason));
    })
}
