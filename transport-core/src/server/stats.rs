//! The counts of a server.

use crate::socket::accepted::Sockets;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads the counts of a server while it runs. Cloning it is cheap.
///
/// # Examples
/// ```
/// use transport_core::{Server, ServerOptions};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// let server = Server::bind("127.0.0.1:0", ServerOptions::new()).await?;
/// let metrics = server.metrics();
/// assert_eq!(metrics.stats().open, 0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct ServerMetrics {
    pub(super) sockets: Arc<Sockets>,
    pub(super) counts: Arc<Counts>,
    pub(super) limit: Option<NonZeroUsize>,
}

/// The counts of a server, read at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ServerStats {
    /// Open connections, those of Unix sockets included, without those that are being refused.
    pub open: usize,
    /// The [limit](crate::ServerOptions::with_max_connections) on open connections, if there is
    /// one.
    pub limit: Option<NonZeroUsize>,
    /// Connections that were accepted, those that were then refused included.
    pub accepted: u64,
    /// Connections that were refused because of the limit.
    pub refused: u64,
    /// How often no connection could be accepted for want of a descriptor, or of memory for one.
    /// The server tries again every 50 ms, so this grows as long as connections wait.
    pub out_of_descriptors: u64,
    /// Connections that were closed because the head of a request took too long: the first head, or
    /// a later one that had begun.
    pub slow_heads: u64,
    /// Connections that were closed because their peer asked for nothing more after a former
    /// request.
    pub idle_closed: u64,
    /// Handlers that panicked; each was answered `500`.
    pub panics: u64,
    /// Connections and streams that were reset because their peer did not leave by itself.
    pub resets: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) out_of_descriptors: AtomicU64,
    pub(super) slow_heads: Arc<AtomicU64>,
    pub(super) idle_closed: AtomicU64,
    pub(super) panics: AtomicU64,
    /// HTTP/2 streams that were reset.
    pub(super) resets: Arc<AtomicU64>,
    #[cfg(unix)]
    pub(super) unix: super::unix::UnixSockets,
}

impl ServerMetrics {
    pub(super) fn new(limit: Option<NonZeroUsize>) -> Self {
        Self { sockets: Arc::default(), counts: Arc::default(), limit }
    }

    /// Returns how many connections are open.
    pub(super) fn open(&self) -> usize {
        let open = self.sockets.len();
        #[cfg(unix)]
        let open = open + self.counts.unix.len();
        open
    }

    /// Resets every connection that is still open; returns how many.
    pub(super) fn reset_all(&self) -> usize {
        let reset = self.sockets.reset_all();
        #[cfg(unix)]
        let reset = reset + self.counts.unix.cut_all();
        reset
    }

    /// Reads the counts.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        let Counts {
            accepted,
            refused,
            out_of_descriptors,
            slow_heads,
            idle_closed,
            panics,
            resets,
            ..
        } = &*self.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ServerStats {
            open: self.open(),
            limit: self.limit,
            accepted: read(accepted),
            refused: read(refused),
            out_of_descriptors: read(out_of_descriptors),
            slow_heads: read(slow_heads),
            idle_closed: read(idle_closed),
            panics: read(panics),
            resets: self.sockets.cut() + read(resets),
        }
    }
}
