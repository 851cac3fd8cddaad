//! The options of the server.

use crate::secret::Secret;
use std::num::NonZeroUsize;
use std::time::Duration;

/// The options of the server.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) admin_token: Option<Secret>,
    pub(crate) open: bool,
    pub(crate) portable: bool,
    pub(crate) drain_deadline: Duration,
    pub(crate) max_connections: NonZeroUsize,
    pub(crate) max_sessions: NonZeroUsize,
    pub(crate) session_lifetime: Duration,
    pub(crate) authorise_delay: Duration,
}

impl Options {
    /// 8 s for open streams to take the farewells of a shutdown: with all that surrounds it, the
    /// process exits within 10 s.
    pub const DEFAULT_DRAIN_DEADLINE: Duration = Duration::from_secs(8);

    /// 20,000 connections: about 40 MiB, or 400 MiB where none is direct.
    pub const DEFAULT_MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(20_000).expect("not zero");

    /// 100,000 sessions: some 80 MiB at the most, 32 of which are the lists of what they may hear.
    pub const DEFAULT_MAX_SESSIONS: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");

    /// A day, from the sign-in on.
    pub const DEFAULT_SESSION_LIFETIME: Duration = Duration::from_secs(24 * 3600);

    /// Creates the defaults: no admin token, subscribers need a session, 8 s to drain, 20,000
    /// connections, 100,000 sessions for a day each.
    #[must_use]
    pub fn new() -> Self {
        Self {
            admin_token: None,
            open: false,
            portable: false,
            drain_deadline: Self::DEFAULT_DRAIN_DEADLINE,
            max_connections: Self::DEFAULT_MAX_CONNECTIONS,
            max_sessions: Self::DEFAULT_MAX_SESSIONS,
            session_lifetime: Self::DEFAULT_SESSION_LIFETIME,
            authorise_delay: Duration::ZERO,
        }
    }

    /// Sets the token that the calls of administrators must present. A server that has
    /// one asks for it on every address.
    #[must_use]
    pub fn with_admin_token(mut self, token: impl Into<String>) -> Self {
        self.admin_token = Some(Secret::new(token));
        self
    }

    /// Admits subscribers without a credential, under the identities that they name themselves. For
    /// load tests only.
    #[must_use]
    pub fn with_open(mut self, open: bool) -> Self {
        self.open = open;
        self
    }

    /// Leaves the sockets to HTTP, as they are on any other server: see
    /// [`ServerOptions::with_portable`](transport_core::ServerOptions::with_portable).
    #[must_use]
    pub fn with_portable(mut self, portable: bool) -> Self {
        self.portable = portable;
        self
    }

    /// Sets how many connections there may be; more are answered `503`.
    #[must_use]
    pub fn with_max_connections(mut self, connections: NonZeroUsize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Sets how many sessions there may be; one more is answered `503`.
    #[must_use]
    pub fn with_max_sessions(mut self, sessions: NonZeroUsize) -> Self {
        self.max_sessions = sessions;
        self
    }

    /// Sets how long a session lasts from its sign-in on, used or not; its streams end with it. A
    /// hundred years at most.
    #[must_use]
    pub fn with_session_lifetime(mut self, lifetime: Duration) -> Self {
        self.session_lifetime = lifetime;
        self
    }

    /// Sets how long the login check of a stream waits after it has read the session, as a slow
    /// database would: room for a revocation in between. No time by default.
    #[must_use]
    pub fn with_authorise_delay(mut self, delay: Duration) -> Self {
        self.authorise_delay = delay;
        self
    }

    /// Sets how long a shutdown waits for open streams to take their farewell.
    #[must_use]
    pub fn with_drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline;
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}
