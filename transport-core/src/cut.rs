//! How a connection is cut whose peer does not read (REV-11).
//!
//! A stream that was ended gets its farewell from its owner. But an owner can only write as fast as the peer reads, and an
//! HTTP server does not even ask the owner while its buffers are full. So at the end of a stream, whoever ends it, a
//! deadline starts here, and it ends in a reset that needs nobody's cooperation.

use crate::socket::Socket;
use futures_util::future::{AbortHandle, Abortable};
use registry_core::{CloseReason, Outbox};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

tokio::task_local! {
    /// The HTTP/2 stream whose future is being polled.
    pub(crate) static STREAM: Stream;
}

/// One HTTP/2 stream.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    abort: AbortHandle,
    alive: Weak<Alive>,
}

/// Which way a connection's bytes go, and so what a revocation can do to a peer that does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Path {
    /// Our listener accepted the socket and nobody shares it: it is reset at the deadline, whatever is queued.
    Owned,
    /// A stream of an HTTP/2 connection on our listener: the stream is reset at the deadline, the connection goes on.
    Stream,
    /// Another server's connection: the owner is told to stop, and no more can be done. A peer that has sent something after its
    /// request and then leaves is noticed when the second keep-alive is written to it, after 30 s at most by default: hyper looks
    /// for a peer's end only as long as it holds nothing unread.
    Portable,
}

/// How long a peer may take to go after its subscriber's end; no time where that is not for us to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deadlines {
    pub(crate) close: Duration,
    pub(crate) drain: Duration,
}

impl Deadlines {
    /// Creates the times after a discarding end, and after one that drains.
    #[must_use]
    pub fn new(close: Duration, drain: Duration) -> Self {
        Self { close, drain }
    }

    /// Returns the time after an end for this reason. Whoever is to have what was queued has as long as the drain: to close the
    /// socket would take from it what it has yet to read, or has the kernel offer it when nobody can revoke it any more.
    #[must_use]
    pub fn after(self, reason: CloseReason) -> Duration {
        if reason.discards() { self.close } else { self.drain }
    }
}

/// The means to cut one request's connection. [`Server`](crate::Server) puts it into the extensions of each request.
#[derive(Clone)]
pub(crate) struct Cut {
    target: Target,
    shared: Arc<Cutter>,
}

#[derive(Clone)]
enum Target {
    Socket {
        socket: Weak<Socket>,
        /// Whether a body can take it over: HTTP/1.1, and nothing between it and the socket.
        plain: bool,
    },
    Stream(Stream),
}

/// What the cuts of one server have in common.
pub(crate) struct Cutter {
    pub(crate) deadlines: Deadlines,
    pub(crate) runtime: Handle,
    pub(crate) resets: Arc<AtomicU64>,
}

impl Cut {
    pub(crate) fn socket(socket: &Arc<Socket>, plain: bool, shared: Arc<Cutter>) -> Self {
        Self { target: Target::Socket { socket: Arc::downgrade(socket), plain }, shared }
    }

    pub(crate) fn stream(stream: Stream, shared: Arc<Cutter>) -> Self {
        Self { target: Target::Stream(stream), shared }
    }

    pub(crate) fn path(&self) -> Path {
        match self.target {
            Target::Socket { .. } => Path::Owned,
            Target::Stream(_) => Path::Stream,
        }
    }

    pub(crate) fn deadlines(&self) -> Deadlines {
        self.shared.deadlines
    }

    /// The socket that a response's body can take over.
    pub(crate) fn plain_socket(&self) -> Option<Weak<Socket>> {
        match &self.target {
            Target::Socket { socket, plain: true } => Some(socket.clone()),
            _ => None,
        }
    }

    /// Has the connection of this outbox cut when its subscriber was ended by force and is not gone at the deadline.
    pub(crate) fn watch(self, outbox: &Outbox) {
        outbox.on_end(move |reason| {
            // A draining end has the deadline of the drain; who ended by itself is going.
            if reason.discards() && reason != CloseReason::Unsubscribed {
                self.start();
            }
        });
    }

    fn start(&self) {
        let shared = self.shared.clone();
        match self.target.clone() {
            Target::Socket { socket, .. } => {
                let Some(socket) = socket.upgrade() else { return };
                // From here on the socket is held to the deadline, unless the peer is done before: else the kernel would
                // go on offering what it has to a peer that reads when it likes.
                self.shared.runtime.spawn(async move {
                    match timeout(shared.deadlines.close, socket.peer_ended()).await {
                        Ok(()) => socket.reset(),
                        Err(_elapsed) => socket.cut(),
                    }
                });
            }
            Target::Stream(stream) => {
                self.shared.runtime.spawn(async move {
                    sleep(shared.deadlines.close).await;
                    if stream.alive.strong_count() > 0 {
                        shared.resets.fetch_add(1, Ordering::Relaxed);
                        stream.abort.abort();
                    }
                });
            }
        }
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cut").field(&self.path()).finish()
    }
}

/// Runs the streams of one HTTP/2 connection, each so that it can be aborted, which resets it, and counts them.
#[derive(Debug, Clone)]
pub(crate) struct Streams(Arc<watch::Sender<usize>>);

impl Streams {
    /// Returns them with their number.
    pub(crate) fn new() -> (Self, watch::Receiver<usize>) {
        let (open, number) = watch::channel(0);
        (Self(Arc::new(open)), number)
    }
}

/// Lives as long as a stream does.
#[derive(Debug)]
struct Alive(Arc<watch::Sender<usize>>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let (abort, registration) = AbortHandle::new_pair();
        self.0.send_modify(|open| *open += 1);
        let alive = Arc::new(Alive(self.0.clone()));
        let this = Stream { abort, alive: Arc::downgrade(&alive) };
        tokio::spawn(STREAM.scope(this, async move {
            let _alive = alive;
            Abortable::new(stream, registration).await
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drn_1_a_peer_that_drains_has_as_long_as_the_drain_and_any_other_as_long_as_a_close() {
        let (close, drain) = (Duration::from_secs(2), Duration::from_secs(10));
        for reason in CloseReason::ALL {
            let expected = if reason == CloseReason::Shutdown { drain } else { close };
            assert_eq!(Deadlines::new(close, drain).after(reason), expected, "{reason}");
        }
    }
}
