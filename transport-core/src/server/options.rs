//! The options of a server.

use registry_core::LaneOptions;
use std::num::NonZeroUsize;
use std::time::Duration;

/// The options of a [`Server`](crate::Server). Durations are upper bounds.
///
/// # Examples
/// ```
/// use std::num::NonZeroUsize;
/// use std::time::Duration;
/// use transport_core::ServerOptions;
///
/// let options = ServerOptions::new()
///     .with_close_deadline(Duration::from_secs(1))
///     .with_max_connections(NonZeroUsize::new(10_000).unwrap());
/// assert_eq!(options.close_deadline(), Duration::from_secs(1));
/// assert_eq!(options.max_connections(), NonZeroUsize::new(10_000));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ServerOptions {
    pub(super) close_deadline: Duration,
    pub(super) drain_deadline: Duration,
    pub(super) head_timeout: Duration,
    pub(super) user_timeout: Duration,
    pub(super) max_connections: Option<NonZeroUsize>,
    pub(super) lane_count: Option<NonZeroUsize>,
    pub(super) lane_options: LaneOptions,
    pub(super) portable: bool,
}

impl ServerOptions {
    /// How many refused connections may be reading their answer at a time, each for two seconds at
    /// most. More are closed without an answer, so that a flood does not use up the descriptors.
    pub const MAX_REFUSALS: usize = 64;

    /// Creates the defaults: a close deadline of 2 s, a drain deadline of 10 s, request heads
    /// within 10 s, unacknowledged data for 30 s at most, no limit on connections, a lane for each
    /// worker of the runtime.
    pub fn new() -> Self {
        Self {
            close_deadline: Duration::from_secs(2),
            drain_deadline: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            user_timeout: Duration::from_secs(30),
            max_connections: None,
            lane_count: None,
            lane_options: LaneOptions::new(),
            portable: false,
        }
    }

    /// Sets when the connection of an ended subscriber is reset if its peer does not leave
    /// (REV-11); 2 s by default: a farewell crosses the slowest link in that time.
    pub fn with_close_deadline(mut self, deadline: Duration) -> Self {
        self.close_deadline = deadline;
        self
    }

    /// Sets how long a shutdown waits for streams to flush; 10 s by default, which orchestrators
    /// grant before they kill.
    pub fn with_drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline;
        self
    }

    /// Sets how long the head of a request may take, counted from the connection (a handshake
    /// included) or from the former response: a millisecond at least, a day at most; 10 s by
    /// default. An HTTP/2 connection may be without a stream for as long.
    pub fn with_head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout =
            timeout.clamp(Duration::from_millis(1), Duration::from_secs(24 * 60 * 60));
        self
    }

    /// Sets how long sent data may stay unacknowledged before the kernel gives up the peer
    /// (`TCP_USER_TIMEOUT`, on Linux); 30 s by default. A pulled cable is noticed within this time
    /// and the period of the transport's keep-alives.
    pub fn with_user_timeout(mut self, timeout: Duration) -> Self {
        self.user_timeout = timeout;
        self
    }

    /// Limits the connections; more are answered `503` with `Retry-After` and closed, or softly
    /// where the request reads event streams ([`Entry`](crate::Entry)): up to 8 KiB of its head are
    /// read for that, for a second at most, and nothing on
    /// [`run_over`](crate::Server::run_over). No limit by default.
    ///
    /// The process's limit on descriptors limits them too, but connections beyond that are not
    /// answered: they wait until another ends, which
    /// [`ServerStats::out_of_descriptors`](crate::ServerStats::out_of_descriptors) counts. So set
    /// this limit lower. Beside the connections there are up to
    /// [`MAX_REFUSALS`](Self::MAX_REFUSALS) refused ones, the listener, some descriptors of the
    /// runtime, and what the application opens.
    pub fn with_max_connections(mut self, connections: NonZeroUsize) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Sets how many lanes serve the direct connections; one for each worker thread of the runtime
    /// by default. Each lane is a task that writes to its share of the connections.
    pub fn with_lane_count(mut self, lanes: NonZeroUsize) -> Self {
        self.lane_count = Some(lanes);
        self
    }

    /// Leaves every socket to HTTP, as on any other server: a task for each stream writes it,
    /// through buffers that a revocation does not reach. This is for comparison, and for layers
    /// that must see every byte of a body: a layer that does not change the first comment of an
    /// event stream does not see what follows it.
    pub fn with_portable(mut self) -> Self {
        self.portable = true;
        self
    }

    /// Sets the bound of each lane's log.
    pub fn with_lane_options(mut self, options: LaneOptions) -> Self {
        self.lane_options = options;
        self
    }

    /// Returns when the connection of an ended subscriber is reset if its peer does not leave.
    #[must_use]
    pub fn close_deadline(&self) -> Duration {
        self.close_deadline
    }

    /// Returns how long a shutdown waits for streams to flush.
    #[must_use]
    pub fn drain_deadline(&self) -> Duration {
        self.drain_deadline
    }

    /// Returns how long the head of a request may take.
    #[must_use]
    pub fn head_timeout(&self) -> Duration {
        self.head_timeout
    }

    /// Returns how long sent data may stay unacknowledged.
    #[must_use]
    pub fn user_timeout(&self) -> Duration {
        self.user_timeout
    }

    /// Returns the limit on connections, if there is one.
    #[must_use]
    pub fn max_connections(&self) -> Option<NonZeroUsize> {
        self.max_connections
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self::new()
    }
}
