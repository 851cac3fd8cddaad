//! The writing side of a peer's socket, as the registry sees it.

use std::io;
use std::task::{Context, Poll};

/// The writing side of a peer's socket.
///
/// Attach it to an outbox by [`Outbox::attach`](crate::Outbox::attach).
///
/// # Examples
/// ```
/// use registry_core::Wire;
/// use std::io;
/// use std::sync::Mutex;
/// use std::task::{Context, Poll};
///
/// /// A socket that always has room.
/// #[derive(Default)]
/// struct Memory(Mutex<Vec<u8>>);
///
/// impl Wire for Memory {
///     fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
///         self.0.lock().map_err(|_| io::ErrorKind::Other)?.extend_from_slice(bytes);
///         Ok(bytes.len())
///     }
///
///     fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
///         Poll::Ready(Ok(()))
///     }
/// }
/// ```
pub trait Wire: Send + Sync + 'static {
    /// Hands bytes to the operating system, without waiting.
    ///
    /// It is called under a lock of the subscriber: it must not block, not panic, and not call the
    /// registry.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) when the socket is full; any other error means
    /// that the peer has left.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Waits until a [write](Self::try_write) may succeed. It is called without locks, by the
    /// owner's task.
    ///
    /// After a write that would have blocked it must be pending until the socket has room.
    /// Otherwise the owner's task spins.
    ///
    /// # Errors
    /// If it is not possible to wait any more, as when the runtime shuts down. The owner then
    /// treats the peer as one that has left.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}
