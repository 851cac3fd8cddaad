//! The options of both transports.

use super::origin::Origins;
use registry_core::{OutboxOptions, RegistryOptions};
use std::num::NonZeroUsize;
use std::time::Duration;

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
    origins: Origins,
}

impl LiveOptions {
    /// Creates the defaults: outboxes of 1,024 messages and 1 MiB, 100 channels of 256 bytes in a
    /// request, 10 s for the login check, WebSocket upgrades from pages of the same host.
    pub fn new() -> Self {
        Self {
            outbox: OutboxOptions::new(),
            max_channels: 100,
            max_channel_bytes: 256,
            authorise_timeout: RegistryOptions::DEFAULT_TICKET_LIFETIME,
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
        let LiveOptions { outbox: _, max_channels, max_channel_bytes, authorise_timeout, origins } =
            LiveOptions::default();
        assert_eq!((max_channels, max_channel_bytes), (100, 256));
        assert_eq!((authorise_timeout, origins), (Duration::from_secs(10), Origins::Same));
    }
}
