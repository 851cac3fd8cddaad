//! The options of registries, of outboxes and of lanes.

use crate::clock::{Clock, SystemClock};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// How many subscribers may share a scope, and what happens at the cap.
///
/// A cap below one cannot be constructed (CAP-5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScopeCap {
    pub(crate) limit: NonZeroUsize,
    pub(crate) when_full: WhenFull,
}

/// What happens when a scope is full (CAP-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenFull {
    /// The oldest subscriber of the scope is ended as [`Evicted`](crate::CloseReason::Evicted). The
    /// default.
    #[default]
    EvictOldest,
    /// The new subscriber is refused with
    /// [`SubscribeError::ScopeFull`](crate::SubscribeError::ScopeFull).
    RefuseNew,
}

impl ScopeCap {
    /// Creates a cap that evicts the oldest.
    #[must_use]
    pub fn new(limit: NonZeroUsize) -> Self {
        Self { limit, when_full: WhenFull::default() }
    }

    /// Sets what happens at the cap.
    #[must_use]
    pub fn with_when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }
}

/// Options of a registry. Every one has a default that is safe.
#[derive(Clone)]
pub struct RegistryOptions {
    pub(crate) scope_cap: Option<ScopeCap>,
    pub(crate) ticket_lifetime: Duration,
    pub(crate) max_remembered_revocations: usize,
    pub(crate) max_waiting_broadcasts: NonZeroUsize,
    pub(crate) clock: Arc<dyn Clock>,
}

impl RegistryOptions {
    /// 10 s: longer than any login check should take, short enough that an abandoned one is soon
    /// forgotten.
    pub const DEFAULT_TICKET_LIFETIME: Duration = Duration::from_secs(10);
    /// 4,096 revocations within the life of one ticket; about 400 KiB.
    pub const DEFAULT_REMEMBERED_REVOCATIONS: usize = 4096;
    /// 65,536 broadcasts may wait behind a sink that does not return.
    pub const DEFAULT_WAITING_BROADCASTS: NonZeroUsize =
        NonZeroUsize::new(65_536).expect("not zero");

    /// Creates the defaults: no cap, tickets of 10 s, 4,096 remembered revocations, 65,536 waiting
    /// broadcasts.
    #[must_use]
    pub fn new() -> Self {
        Self {
            scope_cap: None,
            ticket_lifetime: Self::DEFAULT_TICKET_LIFETIME,
            max_remembered_revocations: Self::DEFAULT_REMEMBERED_REVOCATIONS,
            max_waiting_broadcasts: Self::DEFAULT_WAITING_BROADCASTS,
            clock: Arc::new(SystemClock),
        }
    }

    /// Caps how many subscribers may be active in one scope.
    #[must_use]
    pub fn with_scope_cap(mut self, cap: ScopeCap) -> Self {
        self.scope_cap = Some(cap);
        self
    }

    /// Sets how long a ticket admits.
    #[must_use]
    pub fn with_ticket_lifetime(mut self, lifetime: Duration) -> Self {
        self.ticket_lifetime = lifetime;
        self
    }

    /// Sets how many revocations are remembered for open tickets. Beyond it, tickets older than
    /// what was forgotten are refused (ADM-6).
    #[must_use]
    pub fn with_max_remembered_revocations(mut self, revocations: usize) -> Self {
        self.max_remembered_revocations = revocations;
        self
    }

    /// Sets how many broadcasts may wait for sinks while one of these does not return.
    /// Beyond it, broadcasts are dropped for sinks, and counted; outboxes get them all the
    /// same.
    #[must_use]
    pub fn with_max_waiting_broadcasts(mut self, broadcasts: NonZeroUsize) -> Self {
        self.max_waiting_broadcasts = broadcasts;
        self
    }

    /// Sets the clock by which tickets age.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryOptions")
            .field("scope_cap", &self.scope_cap)
            .field("ticket_lifetime", &self.ticket_lifetime)
            .field("max_remembered_revocations", &self.max_remembered_revocations)
            .field("max_waiting_broadcasts", &self.max_waiting_broadcasts)
            .finish_non_exhaustive()
    }
}

/// What happens when a message does not fit into an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The subscriber is ended as [`Lagged`](crate::CloseReason::Lagged); a client that comes back
    /// starts anew. The default: no loss goes unnoticed.
    #[default]
    Close,
    /// The oldest messages make room; the loss is counted and shown to the owner.
    DropOldest,
    /// The new message is dropped; the loss is counted and shown to the owner.
    DropNewest,
    /// Of each channel only the latest matters: older queued messages of the same channel make
    /// room, and then, if that is not enough, the oldest of all. The new one is appended, so what
    /// remains is in order; the loss is counted and shown. For values that replace each other, with
    /// a channel for each.
    KeepLatest,
}

/// The bounds of an outbox and what happens at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxOptions {
    pub(crate) max_messages: NonZeroUsize,
    pub(crate) max_bytes: NonZeroUsize,
    pub(crate) overflow: Overflow,
    pub(crate) in_lane: bool,
}

impl OutboxOptions {
    /// 1,024 messages: a second of a busy channel, which a short stall must not cost.
    pub const DEFAULT_MESSAGES: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");
    /// 1 MiB: the bound that peers of this library use; 1,000 stalled readers cost 1 GiB at the
    /// very most.
    pub const DEFAULT_BYTES: NonZeroUsize = NonZeroUsize::new(1 << 20).expect("not zero");

    /// Creates the default bounds: 1,024 messages, 1 MiB, close on overflow.
    #[must_use]
    pub fn new() -> Self {
        Self {
            max_messages: Self::DEFAULT_MESSAGES,
            max_bytes: Self::DEFAULT_BYTES,
            overflow: Overflow::default(),
            in_lane: false,
        }
    }

    /// Sets the largest number of queued messages.
    #[must_use]
    pub fn with_max_messages(mut self, messages: NonZeroUsize) -> Self {
        self.max_messages = messages;
        self
    }

    /// Sets the largest number of queued bytes, counted in encoded frames. A single larger frame is
    /// still accepted by an empty outbox.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets what happens at a bound.
    #[must_use]
    pub fn with_overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Has a [flusher](crate::Flusher) serve the outbox, if the registry has one: a broadcast then
    /// leaves the message to the flusher and returns. For owners that are going to [attach a
    /// wire](crate::Outbox::attach).
    #[must_use]
    pub fn with_flusher(mut self) -> Self {
        self.in_lane = true;
        self
    }
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The options of a lane, which a [`Flusher`](crate::Flusher) serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneOptions {
    pub(crate) max_bytes: NonZeroUsize,
}

impl LaneOptions {
    /// 64 MiB: more than a burst between two turns of a flusher that has work, and what a server
    /// can spare when one has not run for too long.
    pub const DEFAULT_BYTES: NonZeroUsize = NonZeroUsize::new(64 << 20).expect("not zero");

    /// Creates the default bound: 64 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self { max_bytes: Self::DEFAULT_BYTES }
    }

    /// Sets how many bytes of broadcasts may wait for the flusher, counted as encoded payload and
    /// 128 bytes for each; what the flusher has taken and is writing, which is no more than that,
    /// comes on top. Beyond it they are dropped for the subscribers of this lane, by the policy of
    /// each one's outbox: with [`Overflow::Close`](crate::Overflow::Close) it ends as lagged, with
    /// any other the loss is counted and shown.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self::new()
    }
}
