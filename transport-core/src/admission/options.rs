//! The options of both transports.

use super::origin::Origins;
use registry_core::{OutboxOptions, RegistryOptions};
use std::num::NonZeroUsize;
use std::time::Duration;

/// The bounds of a snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) struct SnapshotLimits {
    pub(super) max_bytes: usize,
    pub(super) timeout: Duration,
}

/// The options of both transports.
///
/// # Examples
/// ```
/// use std::num::NonZeroUsize;
/// use transport_core::{LiveOptions, Origins};
///
/// let options = LiveOptions::new()
///     .with_max_channels(NonZeroUsize::new(10).unwrap())
///     .with_origins(Origins::SameOr(vec!["https://app.example".into()]));
/// assert_eq!(options.max_channels(), 10);
/// assert_eq!(options.max_channel_bytes(), 256, "the default");
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct LiveOptions {
    outbox: OutboxOptions,
    max_channels: usize,
    max_channel_bytes: usize,
    authorise_timeout: Duration,
    snapshot: SnapshotLimits,
    origins: Origins,
}

impl LiveOptions {
    /// Creates the defaults: outboxes of 1,024 messages and 1 MiB, 100 channels of 256 bytes in a
    /// request, 10 s for the login check, snapshots of 1 MiB within 10 s, WebSocket upgrades from
    /// pages of the same host.
    pub fn new() -> Self {
        Self {
            outbox: OutboxOptions::new(),
            max_channels: 100,
            max_channel_bytes: 256,
            authorise_timeout: RegistryOptions::DEFAULT_TICKET_LIFETIME,
            snapshot: SnapshotLimits { max_bytes: 1024 * 1024, timeout: Duration::from_secs(10) },
            origins: Origins::default(),
        }
    }

    /// Sets the bounds of each subscriber's outbox.
    pub fn with_outbox(self, outbox: OutboxOptions) -> Self {
        Self { outbox, ..self }
    }

    /// Sets how many channels one request may name; 100 by default, which keeps a request line
    /// within common limits.
    pub fn with_max_channels(self, channels: NonZeroUsize) -> Self {
        Self { max_channels: channels.get(), ..self }
    }

    /// Sets how many bytes a channel's name may have in a request; 256 by default.
    pub fn with_max_channel_bytes(self, bytes: usize) -> Self {
        Self { max_channel_bytes: bytes, ..self }
    }

    /// Sets how long the login check may take; 10 s by default. More than the registry's ticket
    /// lifetime is of no use.
    pub fn with_authorise_timeout(self, timeout: Duration) -> Self {
        Self { authorise_timeout: timeout, ..self }
    }

    /// Sets how many bytes a [snapshot](crate::Entered::first) may have; 1 MiB by default.
    pub fn with_max_snapshot_bytes(self, bytes: usize) -> Self {
        Self { snapshot: SnapshotLimits { max_bytes: bytes, ..self.snapshot }, ..self }
    }

    /// Sets how long the application may take for a [snapshot](crate::Entered::first); 10 s by
    /// default.
    pub fn with_snapshot_timeout(self, timeout: Duration) -> Self {
        Self { snapshot: SnapshotLimits { timeout, ..self.snapshot }, ..self }
    }

    /// Sets which pages may open a WebSocket.
    pub fn with_origins(self, origins: Origins) -> Self {
        Self { origins, ..self }
    }

    /// Returns the bounds of each subscriber's outbox.
    #[must_use]
    pub fn outbox(&self) -> OutboxOptions {
        self.outbox
    }

    /// Returns how many channels one request may name.
    #[must_use]
    pub fn max_channels(&self) -> usize {
        self.max_channels
    }

    /// Returns how many bytes a channel's name may have in a request.
    #[must_use]
    pub fn max_channel_bytes(&self) -> usize {
        self.max_channel_bytes
    }

    /// Returns how long the login check may take.
    #[must_use]
    pub fn authorise_timeout(&self) -> Duration {
        self.authorise_timeout
    }

    /// Returns how many bytes a snapshot may have.
    #[must_use]
    pub fn max_snapshot_bytes(&self) -> usize {
        self.snapshot.max_bytes
    }

    /// Returns how long the application may take for a snapshot.
    #[must_use]
    pub fn snapshot_timeout(&self) -> Duration {
        self.snapshot.timeout
    }

    pub(super) fn snapshot(&self) -> SnapshotLimits {
        self.snapshot
    }

    /// Returns which pages may open a WebSocket.
    #[must_use]
    pub fn origins(&self) -> &Origins {
        &self.origins
    }
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_the_defaults_are_those_that_are_documented() {
        let LiveOptions {
            outbox: _,
            max_channels,
            max_channel_bytes,
            authorise_timeout,
            snapshot: SnapshotLimits { max_bytes, timeout },
            origins,
        } = LiveOptions::default();
        assert_eq!((max_channels, max_channel_bytes), (100, 256));
        assert_eq!((max_bytes, timeout), (1 << 20, Duration::from_secs(10)));
        assert_eq!((authorise_timeout, origins), (Duration::from_secs(10), Origins::Same));
    }
}
