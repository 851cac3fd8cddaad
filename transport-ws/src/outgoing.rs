//! Where a connection writes: to its socket directly, or to a stream.

use bytes::{Buf, Bytes};
use registry_core::{CloseReason, Next, Outbox};
use std::io;
use std::mem::take;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use transport_core::{DirectConnection, KindGuard, WriteBuffer};

/// The one writer of a connection.
///
/// Before each write it checks whether the subscriber has ended; a discarding end discards the
/// frames that wait.
pub(crate) trait Outgoing: Send + Unpin + 'static {
    fn outbox(&self) -> &Outbox;

    /// Tells whether it takes control frames at present.
    fn has_room(&self) -> bool;

    /// Takes a frame that is not a message, and writes it between two messages.
    fn send_control(&mut self, frame: Bytes);

    /// Writes what waits, until the subscriber ends.
    ///
    /// # Errors
    /// Those of the socket: the peer is gone.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<CloseReason>>;

    /// Writes the farewell, if the last write ended between two frames, and ends the writing side.
    /// Waits up to `patience` for the peer to end its own, which on a stream is `peer_ended`. With
    /// `by_peer` the peer has closed first.
    fn close(
        self,
        farewell: Bytes,
        by_peer: bool,
        peer_ended: impl Future<Output = ()> + Send,
        patience: Duration,
    ) -> impl Future<Output = ()> + Send;
}

impl Outgoing for DirectConnection {
    fn outbox(&self) -> &Outbox {
        self.outbox()
    }

    fn has_room(&self) -> bool {
        self.pending_control() == 0
    }

    fn send_control(&mut self, frame: Bytes) {
        DirectConnection::send_control(self, &frame);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<CloseReason>> {
        DirectConnection::poll_flush(self, cx)
    }

    async fn close(
        self,
        farewell: Bytes,
        by_peer: bool,
        _: impl Future<Output = ()> + Send,
        patience: Duration,
    ) {
        // A peer that closed in the middle of a frame needs no farewell, and need not be reset.
        if !(by_peer && self.is_mid_frame()) {
            DirectConnection::close(self, farewell, patience).await;
        }
    }
}

/// A stream, with the frames that were taken from the outbox and are not yet written.
pub(crate) struct Piped<W> {
    outbox: Outbox,
    buffer: WriteBuffer,
    /// The last frame in the buffer is only a part of one, whose rest is in the outbox.
    is_partial: bool,
    /// Control frames that wait for its end.
    held: Vec<Bytes>,
    writer: W,
    /// Whether the stream may hold back what was written, as TLS does with a record while its
    /// socket is full.
    unflushed: bool,
    _kind: KindGuard,
}

impl<W> Piped<W> {
    pub(crate) fn new(outbox: Outbox, writer: W, kind: KindGuard) -> Self {
        Self {
            outbox,
            buffer: WriteBuffer::new(),
            is_partial: false,
            held: Vec::new(),
            writer,
            unflushed: false,
            _kind: kind,
        }
    }
}

impl<W: AsyncWrite + Send + Unpin + 'static> Outgoing for Piped<W> {
    fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    fn has_room(&self) -> bool {
        self.buffer.is_empty() && !self.is_partial
    }

    fn send_control(&mut self, frame: Bytes) {
        if self.is_partial {
            self.held.push(frame);
        } else {
            self.buffer.push(frame);
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<CloseReason>> {
        loop {
            if let Poll::Ready(reason) = self.outbox.poll_discarded(cx) {
                return Poll::Ready(Ok(reason));
            }
            if self.buffer.is_empty() {
                if self.unflushed {
                    ready!(Pin::new(&mut self.writer).poll_flush(cx))?;
                    self.unflushed = false;
                }
                match ready!(self.outbox.poll_next(cx, Outbox::WRITE_BYTES)) {
                    Next::Frames(batch) => {
                        let notice = self.outbox.format().notice(batch.lost);
                        self.is_partial = batch.is_partial;
                        let held = if self.is_partial { Vec::new() } else { take(&mut self.held) };
                        let frames = notice.into_iter().chain(batch.frames).chain(held);
                        frames.for_each(|frame| self.buffer.push(frame));
                    }
                    Next::Closed(reason) => return Poll::Ready(Ok(reason)),
                }
            }
            // The end wakes this task also while the stream is full, since the top of the loop
            // polled for it.
            let written = ready!(poll_write(Pin::new(&mut self.writer), cx, &self.buffer))?;
            self.unflushed = true;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffer.advance(written);
        }
    }

    async fn close(
        mut self,
        farewell: Bytes,
        by_peer: bool,
        peer_ended: impl Future<Output = ()> + Send,
        patience: Duration,
    ) {
        // In the middle of a frame the peer would read the farewell as the frame's rest.
        if self.is_partial || (!by_peer && !self.buffer.discard()) {
            return;
        }
        self.buffer.push(farewell);
        let closing = async {
            while !self.buffer.is_empty() {
                if self.writer.write_buf(&mut self.buffer).await.is_err() {
                    return;
                }
            }
            // Dropping a socket with unread bytes resets it, and the peer may lose the farewell.
            if self.writer.shutdown().await.is_ok() {
                peer_ended.await;
            }
        };
        // After this time both halves are dropped, and the socket with them (WS-4).
        let _elapsed = timeout(patience, closing).await;
    }
}

/// Writes once, as much as the stream takes.
fn poll_write<W: AsyncWrite>(
    writer: Pin<&mut W>,
    cx: &mut Context<'_>,
    buffer: &WriteBuffer,
) -> Poll<io::Result<usize>> {
    if writer.is_write_vectored() {
        let mut slices = [io::IoSlice::new(&[]); 64];
        let filled = buffer.chunks_vectored(&mut slices);
        writer.poll_write_vectored(cx, &slices[..filled])
    } else {
        writer.poll_write(cx, buffer.chunk())
    }
}
