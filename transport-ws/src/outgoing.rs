//! Where a connection writes: to a stream that somebody else's code is under, or to a socket of ours.

use bytes::{Buf, Bytes};
use registry_core::{CloseReason, Outbox, Next};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use transport_core::{Pending, TAKE_BYTES, Wired};

/// The one writer of a connection.
///
/// Before each write it asks whether the subscriber has ended; a discarding end throws away what waits.
pub(crate) trait Outgoing: Send + Unpin + 'static {
    fn outbox(&self) -> &Outbox;

    /// Tells whether frames of the connection's own are taken at present.
    fn has_room(&self) -> bool;

    /// Takes a frame of the connection's own, which goes out between two messages.
    fn send_control(&mut self, frame: Bytes);

    /// Writes what there is to be written, until the subscriber ends.
    ///
    /// # Errors
    /// The peer is gone.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<CloseReason>>;

    /// Says the last frame, if the last write ended between two, and then the end; waits as long as `patience` for the
    /// peer's, which on a stream is `peer_ended`. With `by_peer`, the peer has said that it wants no more.
    fn part(
        self,
        farewell: Bytes,
        by_peer: bool,
        peer_ended: impl Future<Output = ()> + Send,
        patience: Duration,
    ) -> impl Future<Output = ()> + Send;
}

impl Outgoing for Wired {
    fn outbox(&self) -> &Outbox {
        self.outbox()
    }

    fn has_room(&self) -> bool {
        self.pending_control() == 0
    }

    fn send_control(&mut self, frame: Bytes) {
        Wired::send_control(self, &frame);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<CloseReason>> {
        Wired::poll_flush(self, cx)
    }

    async fn part(self, farewell: Bytes, by_peer: bool, _: impl Future<Output = ()> + Send, patience: Duration) {
        // Who left in the middle of a frame is not waited for, and did not have to be cut.
        if !(by_peer && self.is_mid_frame()) {
            Wired::part(self, farewell, patience).await;
        }
    }
}

/// A stream, with what was taken from the outbox and is not yet written.
pub(crate) struct Piped<W> {
    outbox: Outbox,
    pending: Pending,
    writer: W,
    /// What was written may be held back by the stream, as a record of TLS is while its socket is full.
    unflushed: bool,
}

impl<W> Piped<W> {
    pub(crate) fn new(outbox: Outbox, writer: W) -> Self {
        Self { outbox, pending: Pending::new(), writer, unflushed: false }
    }
}

impl<W: AsyncWrite + Send + Unpin + 'static> Outgoing for Piped<W> {
    fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    fn has_room(&self) -> bool {
        self.pending.is_empty()
    }

    fn send_control(&mut self, frame: Bytes) {
        self.pending.push(frame);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<CloseReason>> {
        loop {
            if let Poll::Ready(reason) = self.outbox.poll_discarded(cx) {
                return Poll::Ready(Ok(reason));
            }
            if self.pending.is_empty() {
                if self.unflushed {
                    ready!(Pin::new(&mut self.writer).poll_flush(cx))?;
                    self.unflushed = false;
                }
                match ready!(self.outbox.poll_next(cx, TAKE_BYTES)) {
                    Next::Frames(batch) => batch.frames.into_iter().for_each(|frame| self.pending.push(frame)),
                    Next::Closed(reason) => return Poll::Ready(Ok(reason)),
                }
            }
            // The end wakes us also while the stream is full: it was asked for at the top of the loop.
            let written = ready!(poll_write(Pin::new(&mut self.writer), cx, &self.pending))?;
            self.unflushed = true;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(written);
        }
    }

    async fn part(
        mut self,
        farewell: Bytes,
        by_peer: bool,
        peer_ended: impl Future<Output = ()> + Send,
        patience: Duration,
    ) {
        // In the middle of a frame a farewell would be read as its rest: no farewell then.
        if !by_peer && !self.pending.discard() {
            return;
        }
        self.pending.push(farewell);
        let parting = async {
            while !self.pending.is_empty() {
                if self.writer.write_buf(&mut self.pending).await.is_err() {
                    return;
                }
            }
            // Dropping a socket with unread bytes resets it, and the peer may lose the farewell: read to the end first.
            if self.writer.shutdown().await.is_ok() {
                peer_ended.await;
            }
        };
        // The handshake is bounded; then both halves are dropped, and the socket with them (WS-4).
        let _elapsed = timeout(patience, parting).await;
    }
}

/// Writes as much as the stream takes in one go.
fn poll_write<W: AsyncWrite>(writer: Pin<&mut W>, cx: &mut Context<'_>, pending: &Pending) -> Poll<io::Result<usize>> {
    if writer.is_write_vectored() {
        let mut slices = [io::IoSlice::new(&[]); 64];
        let filled = pending.chunks_vectored(&mut slices);
        writer.poll_write_vectored(cx, &slices[..filled])
    } else {
        writer.poll_write(cx, pending.chunk())
    }
}
