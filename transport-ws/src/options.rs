//! The options of the WebSocket transport.

use crate::peer::{OnText, Peer};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

const MIN_PERIOD: Duration = Duration::from_millis(1);
const MAX_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// The options of the WebSocket transport.
///
/// # Examples
/// ```
/// use std::num::NonZeroU32;
/// use std::time::Duration;
/// use transport_ws::WsOptions;
///
/// let per_second = NonZeroU32::new(5).unwrap();
/// let options = WsOptions::new()
///     .with_ping_period(Duration::from_secs(10))
///     .with_rate(per_second, per_second);
/// assert_eq!(options.ping_period(), Duration::from_secs(10));
/// ```
#[derive(Clone)]
#[must_use]
pub struct WsOptions {
    pub(crate) ping_period: Duration,
    pub(crate) pong_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) max_message_bytes: usize,
    pub(crate) messages_per_second: NonZeroU32,
    pub(crate) burst: NonZeroU32,
    pub(crate) read_buffer_bytes: usize,
    pub(crate) on_text: Option<Arc<OnText>>,
}

impl WsOptions {
    /// Creates the defaults: a ping every 20 s that must be answered within 20 s (load balancers
    /// cut idle connections after 60 s or less), 1 s for the close handshake, inbound messages of
    /// 64 KiB at most and 20 a second with bursts of 40, a read buffer of 4 KiB, and no handler for
    /// inbound text.
    pub fn new() -> Self {
        Self {
            ping_period: Duration::from_secs(20),
            pong_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(1),
            max_message_bytes: 64 * 1024,
            messages_per_second: NonZeroU32::new(20).unwrap_or(NonZeroU32::MIN),
            burst: NonZeroU32::new(40).unwrap_or(NonZeroU32::MIN),
            read_buffer_bytes: 4096,
            on_text: None,
        }
    }

    /// Sets how often a ping is sent: a millisecond at least, a day at most.
    pub fn with_ping_period(mut self, period: Duration) -> Self {
        self.ping_period = period.clamp(MIN_PERIOD, MAX_PERIOD);
        self
    }

    /// Sets how long a pong may take, between the same bounds; then the connection is closed as
    /// *heartbeat*.
    pub fn with_pong_timeout(mut self, timeout: Duration) -> Self {
        self.pong_timeout = timeout.clamp(MIN_PERIOD, MAX_PERIOD);
        self
    }

    /// Sets how long the close handshake may take; then the socket is dropped (WS-4). When the
    /// server shuts down, it may take as long as the [drain
    /// deadline](transport_core::ServerOptions::with_drain_deadline), for a peer that has yet to
    /// read earlier messages.
    pub fn with_close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// Sets the largest inbound message, in bytes; a larger one closes with 1009.
    pub fn with_max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Sets how many inbound messages and pings are accepted a second in the long run, and how many
    /// at once; more close with 1008.
    pub fn with_rate(mut self, messages_per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        self.messages_per_second = messages_per_second;
        self.burst = burst;
        self
    }

    /// Sets the size of the read buffer, in bytes. A connection has one while a message of its peer
    /// is on the way.
    pub fn with_read_buffer_bytes(mut self, bytes: usize) -> Self {
        self.read_buffer_bytes = bytes;
        self
    }

    /// Sets the handler of inbound text messages; without one they are read and ignored.
    ///
    /// Messages of one connection are handled one after the other. While one is handled, the next
    /// is not read, so a slow handler slows down its own peer and nobody else. The peer need not
    /// answer pings meanwhile, so no ping notices that it is gone: bound what the handler waits for
    /// (`tokio::time::timeout`). A panic ends the connection as *failed*. The handler's future is
    /// dropped when the connection ends: a revocation does not wait for it.
    ///
    /// # Examples
    /// ```
    /// use transport_ws::WsOptions;
    ///
    /// let options = WsOptions::new().with_on_text(|peer, text| async move {
    ///     println!("{:?} says {text}", peer.grant().registration().scope());
    /// });
    /// assert!(format!("{options:?}").ends_with("on_text: true }"));
    /// ```
    pub fn with_on_text<F>(
        mut self,
        handler: impl Fn(Peer, String) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.on_text = Some(Arc::new(move |peer, text| Box::pin(handler(peer, text))));
        self
    }

    /// Returns how often a ping is sent.
    #[must_use]
    pub fn ping_period(&self) -> Duration {
        self.ping_period
    }

    /// Returns how long a pong may take.
    #[must_use]
    pub fn pong_timeout(&self) -> Duration {
        self.pong_timeout
    }

    /// Returns how long the close handshake may take.
    #[must_use]
    pub fn close_timeout(&self) -> Duration {
        self.close_timeout
    }

    /// Returns the largest inbound message, in bytes.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }
}

impl Default for WsOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsOptions")
            .field("ping_period", &self.ping_period)
            .field("pong_timeout", &self.pong_timeout)
            .field("close_timeout", &self.close_timeout)
            .field("max_message_bytes", &self.max_message_bytes)
            .field("messages_per_second", &self.messages_per_second)
            .field("burst", &self.burst)
            .field("read_buffer_bytes", &self.read_buffer_bytes)
            .field("on_text", &self.on_text.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_the_defaults_are_those_that_are_documented() {
        let expected = "WsOptions { ping_period: 20s, pong_timeout: 20s, close_timeout: 1s, \
                        max_message_bytes: 65536, messages_per_second: 20, burst: 40, \
                        read_buffer_bytes: 4096, on_text: false }";
        assert_eq!(format!("{:?}", WsOptions::default()), expected);
    }
}
