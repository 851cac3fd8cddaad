//! Why a subscriber ended.

use std::fmt;

/// Why a subscriber ended.
///
/// All reasons but [`Shutdown`](CloseReason::Shutdown) discard what is still queued. A discarding reason overrides a
/// draining one: a revocation during a shutdown discards the queue (CLO-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CloseReason {
    /// One of its identities was revoked.
    Revoked,
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
    /// It ended by itself.
    Unsubscribed,
}

impl CloseReason {
    /// Every reason, in the order of its declaration.
    pub const ALL: [Self; 9] = [
        Self::Revoked,
        Self::Expired,
        Self::Heartbeat,
        Self::Evicted,
        Self::Lagged,
        Self::Failed,
        Self::Protocol,
        Self::Shutdown,
        Self::Unsubscribed,
    ];

    /// Tells whether what is queued is thrown away.
    #[must_use]
    pub fn discards(self) -> bool {
        self != Self::Shutdown
    }

    /// Returns the reason's name as it stands on the wire and in statistics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
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

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
