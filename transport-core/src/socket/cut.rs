//! How the connection of a peer that does not read is cut (REV-11).
//!
//! The task that serves a subscriber writes its farewell at its end. But that task can only write
//! as fast as the peer reads, and an HTTP server does not even poll a body while its own buffers
//! are full. So at each forced end of a subscriber a deadline starts here, and it ends in a reset,
//! which needs no cooperation of the peer or of the HTTP server.
//!
//! A [`Live`](crate::Live) asks for the hook of each ticket that it draws, and of each subscriber
//! that has none, so it does not matter which code admits the subscriber of a request.

use super::accepted::Socket;
use super::kind::ConnectionKind;
#[cfg(feature = "http2")]
use super::streams::Stream;
use registry_core::CloseReason;
use std::fmt;
use std::future::Future;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long a peer may take to leave after its subscriber's end. Both are zero on another
/// server, which decides that itself.
///
/// # Examples
/// ```
/// use registry_core::CloseReason;
/// use std::time::Duration;
/// use transport_core::Deadlines;
///
/// let deadlines = Deadlines::new(Duration::from_secs(2), Duration::from_secs(10));
/// assert_eq!(deadlines.after(CloseReason::Revoked), Duration::from_secs(2));
/// assert_eq!(deadlines.after(CloseReason::Shutdown), Duration::from_secs(10));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deadlines {
    close: Duration,
    drain: Duration,
}

impl Deadlines {
    /// Creates the times after an end that discards what is queued, and after one that drains it.
    #[must_use]
    pub fn new(close: Duration, drain: Duration) -> Self {
        Self { close, drain }
    }

    /// Returns the time after an end for this reason. A peer that is to get its queued messages has
    /// the drain deadline: closing its socket earlier would take from it the bytes that it has yet
    /// to read.
    #[must_use]
    pub fn after(self, reason: CloseReason) -> Duration {
        if reason.discards() { self.close } else { self.drain }
    }
}

/// The means to cut one request's connection. [`Server`](crate::Server) puts it into the extensions
/// of each request.
#[derive(Clone)]
pub(crate) struct Cut {
    target: Target,
    shared: Arc<Cutter>,
}

#[derive(Clone)]
enum Target {
    Socket {
        socket: Weak<Socket>,
        /// The number of the request on its connection.
        request: u32,
        /// Whether a body can take it over: HTTP/1.1, and nothing between HTTP and the socket.
        plain: bool,
    },
    #[cfg(feature = "http2")]
    Stream(Stream),
}

tokio::task_local! {
    /// The cut of the request that the task answers.
    static CURRENT: Option<Cut>;
}

/// Makes the hook of a subscriber of the request that this task answers: it cuts the connection at
/// the deadline after an end by force. There is none outside of a request, or on another server.
pub(crate) fn hook_of_this_request() -> Option<impl Fn(CloseReason) + Send + Sync + 'static> {
    let cut = CURRENT.try_with(Option::clone).ok()??;
    Some(move |reason: CloseReason| {
        // The server's drain deadline bounds a draining end, and a peer that ended by itself is
        // leaving.
        if reason.discards() && reason != CloseReason::Unsubscribed {
            cut.start();
        }
    })
}

/// Answers a request whose connection can be cut in this way, if at all.
pub(crate) fn answering<F: Future>(cut: Option<Cut>, answer: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(cut, answer)
}

/// The state that the cuts of one server share.
pub(crate) struct Cutter {
    pub(crate) deadlines: Deadlines,
    pub(crate) runtime: Handle,
    /// HTTP/2 streams that were reset.
    #[cfg_attr(not(feature = "http2"), allow(dead_code, reason = "there are no streams"))]
    pub(crate) resets: Arc<AtomicU64>,
}

impl Cut {
    pub(crate) fn socket(
        socket: &Arc<Socket>,
        request: u32,
        plain: bool,
        shared: Arc<Cutter>,
    ) -> Self {
        let socket = Arc::downgrade(socket);
        Self { target: Target::Socket { socket, request, plain }, shared }
    }

    #[cfg(feature = "http2")]
    pub(crate) fn stream(stream: Stream, shared: Arc<Cutter>) -> Self {
        Self { target: Target::Stream(stream), shared }
    }

    pub(crate) fn kind(&self) -> ConnectionKind {
        match self.target {
            Target::Socket { .. } => ConnectionKind::Http1,
            #[cfg(feature = "http2")]
            Target::Stream(_) => ConnectionKind::Http2Stream,
        }
    }

    pub(crate) fn deadlines(&self) -> Deadlines {
        self.shared.deadlines
    }

    /// Returns the socket that the body of a response can take over.
    pub(crate) fn plain_socket(&self) -> Option<Weak<Socket>> {
        match &self.target {
            Target::Socket { socket, plain: true, .. } => Some(socket.clone()),
            _ => None,
        }
    }

    fn start(&self) {
        let shared = self.shared.clone();
        match self.target.clone() {
            Target::Socket { socket, request, .. } => {
                let Some(socket) = socket.upgrade() else { return };
                // The answer to its request is over, and the connection serves another.
                if socket.last_request() != request {
                    return;
                }
                // This task holds the socket until the deadline, or until the peer is done. Without
                // it the kernel would keep sending its buffered bytes to a peer that reads late.
                self.shared.runtime.spawn(async move {
                    match timeout(shared.deadlines.close, socket.peer_ended()).await {
                        Ok(()) => socket.reset(),
                        Err(_elapsed) => socket.cut(),
                    }
                });
            }
            #[cfg(feature = "http2")]
            Target::Stream(stream) => {
                self.shared.runtime.spawn(async move {
                    tokio::time::sleep(shared.deadlines.close).await;
                    if stream.reset() {
                        shared.resets.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        }
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cut").field(&self.kind()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drn_1_a_draining_peer_has_the_drain_deadline_and_any_other_the_close_deadline() {
        let (close, drain) = (Duration::from_secs(2), Duration::from_secs(10));
        for reason in CloseReason::ALL {
            let expected = if reason == CloseReason::Shutdown { drain } else { close };
            assert_eq!(Deadlines::new(close, drain).after(reason), expected, "{reason}");
        }
    }
}
