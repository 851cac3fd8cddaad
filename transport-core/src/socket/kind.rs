//! Which way a subscriber's bytes go, and how many subscribers go each way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which way a subscriber's bytes go, and so what a revocation does to a peer that does not read.
///
/// # Examples
/// ```
/// use transport_core::ConnectionKind;
///
/// let names = ConnectionKind::ALL.map(ConnectionKind::name);
/// assert_eq!(names, ["direct", "http1", "http2_stream", "portable"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ConnectionKind {
    /// HTTP has given up the socket: the registry writes to it, and a revocation stops between two
    /// writes.
    Direct,
    /// The HTTP server of [`Server`](crate::Server) writes, over HTTP/1 or TLS. The socket is reset
    /// at the close deadline, whatever is queued.
    Http1,
    /// A stream of an HTTP/2 connection on [`Server`](crate::Server). The stream is reset at the
    /// close deadline, and the connection goes on.
    Http2Stream,
    /// Another server's connection: the body or the task ends, and no more can be done. A peer that
    /// sent something after its request and then leaves is noticed when the second keep-alive is
    /// written to it, after 30 s at most by default: hyper looks for a peer's end only as long as
    /// it holds nothing unread.
    Portable,
}

impl ConnectionKind {
    /// Every kind, in the order of this list.
    pub const ALL: [Self; 4] = [Self::Direct, Self::Http1, Self::Http2Stream, Self::Portable];

    /// Returns the name: `direct`, `http1`, `http2_stream` or `portable`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Http1 => "http1",
            Self::Http2Stream => "http2_stream",
            Self::Portable => "portable",
        }
    }
}

impl fmt::Display for ConnectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for ConnectionKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The subscribers of one [`Live`](crate::Live), by kind.
#[derive(Debug, Default)]
pub(crate) struct KindCounts([AtomicUsize; ConnectionKind::ALL.len()]);

impl KindCounts {
    /// Returns the number of each kind, zeros included.
    pub(crate) fn snapshot(&self) -> BTreeMap<ConnectionKind, usize> {
        ConnectionKind::ALL.map(|kind| (kind, self.of(kind).load(Ordering::Relaxed))).into()
    }

    fn of(&self, kind: ConnectionKind) -> &AtomicUsize {
        &self.0[kind as usize]
    }
}

/// Counts one subscriber among those of its kind until it is dropped. The task or body that serves
/// the subscriber holds it.
#[derive(Debug)]
#[must_use = "dropping it takes the subscriber out of the count"]
pub struct KindGuard {
    kind: ConnectionKind,
    counts: Arc<KindCounts>,
}

impl KindGuard {
    pub(crate) fn new(kind: ConnectionKind, counts: Arc<KindCounts>) -> Self {
        counts.of(kind).fetch_add(1, Ordering::Relaxed);
        Self { kind, counts }
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> ConnectionKind {
        self.kind
    }

    /// Moves the subscriber to another kind: its socket was taken over.
    pub(super) fn set_kind(&mut self, kind: ConnectionKind) {
        *self = Self::new(kind, self.counts.clone());
    }
}

impl Drop for KindGuard {
    fn drop(&mut self) {
        self.counts.of(self.kind).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cnt_1_each_subscriber_is_counted_once_among_those_of_its_present_kind() {
        let counts = Arc::new(KindCounts::default());
        let of = |counts: &KindCounts| counts.snapshot().into_values().collect::<Vec<_>>();
        assert_eq!(of(&counts), [0; 4], "all four are listed");
        let mut one = KindGuard::new(ConnectionKind::Http1, counts.clone());
        let other = KindGuard::new(ConnectionKind::Http1, counts.clone());
        assert_eq!(of(&counts), [0, 2, 0, 0]);
        one.set_kind(ConnectionKind::Direct);
        assert_eq!((one.kind(), of(&counts)), (ConnectionKind::Direct, vec![1, 1, 0, 0]));
        drop((one, other));
        assert_eq!(of(&counts), [0; 4]);
    }
}
