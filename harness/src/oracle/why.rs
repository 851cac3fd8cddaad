//! Why a subscriber ends.

use crate::script::Reason;

/// What can end a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    Unsub,
    /// With the reason that the call named.
    Revoke(Option<Reason>),
    Evict,
    Fail,
    Shutdown,
    /// Its outbox was full.
    Lag,
}

impl Why {
    pub(crate) fn revokes(self) -> bool {
        matches!(self, Why::Revoke(_))
    }

    /// The same end, whatever reason a revocation named.
    pub(crate) fn unnamed(self) -> Self {
        if self.revokes() { Why::Revoke(None) } else { self }
    }

    /// Whether it is a revocation that named this reason.
    pub(crate) fn names(self, reason: &str) -> bool {
        matches!(self, Why::Revoke(Some(named)) if named.word() == reason)
    }

    /// Whether the sink is notified.
    pub(crate) fn forced(self) -> bool {
        self != Why::Unsub
    }

    /// Whether it surely discards what is queued: after an end of one's own, and a shutdown, it may
    /// still be taken.
    pub(crate) fn discards(self) -> bool {
        !matches!(self, Why::Unsub | Why::Shutdown)
    }

    /// The reason that a close for it carries.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Why::Unsub => "unsubscribed",
            Why::Revoke(named) => named.unwrap_or_default().word(),
            Why::Evict => "evicted",
            Why::Fail => "failed",
            Why::Shutdown => "shutdown",
            Why::Lag => "lagged",
        }
    }
}
