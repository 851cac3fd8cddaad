//! The connections of Unix sockets.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, watch};

/// The open connections of one server's Unix sockets.
#[derive(Debug, Clone, Default)]
pub(super) struct UnixSockets {
    open: Arc<AtomicUsize>,
    cut: Arc<Notify>,
}

impl UnixSockets {
    /// Takes an accepted connection. The shutdown of a server waits for every holder of its
    /// `ending`.
    pub(super) fn open(&self, stream: UnixStream, ending: watch::Receiver<()>) -> UnixIo {
        self.open.fetch_add(1, Ordering::Relaxed);
        let cut = Box::pin(self.cut.clone().notified_owned());
        UnixIo { stream, cut, is_cut: false, open: self.open.clone(), _ending: ending }
    }

    pub(super) fn len(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Ends every connection that is still open; returns how many.
    pub(super) fn cut_all(&self) -> usize {
        self.cut.notify_waiters();
        self.len()
    }
}

/// A connection of a Unix socket. It is open until its last holder drops it, which may be a
/// WebSocket that has outlived HTTP.
#[derive(Debug)]
pub(super) struct UnixIo {
    stream: UnixStream,
    cut: Pin<Box<OwnedNotified>>,
    is_cut: bool,
    open: Arc<AtomicUsize>,
    _ending: watch::Receiver<()>,
}

impl UnixIo {
    /// Fails once the connection was cut; else the task is woken when it is.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.is_cut = self.is_cut || self.cut.as_mut().poll(cx).is_ready();
        if self.is_cut { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Drop for UnixIo {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for UnixIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for UnixIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
