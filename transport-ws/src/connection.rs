//! The owner of one WebSocket connection: the one task that writes its socket.
//!
//! Invariants: every byte to the peer goes through `pending`, in whole frames; before each write the outbox is asked whether
//! the subscriber has ended, and a discarding end throws `pending` away; the parser is not polled while replies to the
//! peer pile up, so that a peer which sends and does not read stops being read.

use crate::WsOptions;
use crate::frame::{Closing, PING};
use crate::inbound::{Inbound, Rate};
use bytes::Buf;
use futures_util::FutureExt;
use registry_core::{CloseReason, Outbox, Taken};
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{self, Error, Message};
use transport_core::{Admitted, Grant, Pending, TAKE_BYTES};

/// Replies to the peer beyond which it is not read: some dozens of pongs. As much again may be with the writer.
const MAX_REPLY_BYTES: usize = 8 * 1024;

type Handling = Pin<Box<dyn Future<Output = Result<(), Box<dyn std::any::Any + Send>>> + Send>>;

pub(crate) struct Connection<IO> {
    outbox: Outbox,
    grant: Arc<Grant>,
    options: WsOptions,
    inbound: Inbound<ReadHalf<IO>>,
    writer: WriteHalf<IO>,
    pending: Pending,
    rate: Rate,
    handling: Option<Handling>,
    /// The next ping, or the moment at which the last one has gone unanswered for too long.
    heartbeat: Pin<Box<Sleep>>,
    awaiting_pong: bool,
    expires: Option<Pin<Box<Sleep>>>,
}

/// How a connection's life ended.
enum End {
    /// The peer closed properly; what it is still owed stands in `pending`.
    ByPeer,
    /// The socket broke, or the peer left without a word.
    Gone,
    /// The server closes.
    Closing(Closing),
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection<IO> {
    pub(crate) fn new(io: IO, admitted: Admitted, options: WsOptions) -> Self {
        let (reader, writer) = split(io);
        let now = Instant::now();
        Self {
            outbox: admitted.outbox,
            grant: admitted.grant,
            inbound: Inbound::new(reader),
            writer,
            pending: Pending::new(),
            rate: Rate::new(options.messages_per_second, options.burst, now),
            handling: None,
            heartbeat: Box::pin(sleep_until(now + options.ping_period)),
            awaiting_pong: false,
            expires: admitted.expires.map(|at| Box::pin(sleep_until(at))),
            options,
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn run(mut self) {
        let end = poll_fn(|cx| self.poll_end(cx)).await;
        match end {
            End::ByPeer => {
                self.pending.push(self.inbound.take_replies());
                self.outbox.end(CloseReason::Unsubscribed);
            }
            End::Gone => self.outbox.end(CloseReason::Unsubscribed),
            // It counts as draining until its farewell is written, so that a shutdown waits for that.
            End::Closing(Closing::Reason(CloseReason::Shutdown)) => {}
            End::Closing(Closing::Reason(reason)) => self.outbox.end(reason),
            End::Closing(_) => self.outbox.end(CloseReason::Protocol),
        }
        let Self { inbound, writer, pending, options, outbox, .. } = self;
        let farewell = say_farewell(end, pending, writer, inbound.into_reader());
        // The handshake is bounded; then both halves are dropped, and the socket with them (WS-4).
        let _elapsed = timeout(options.close_timeout, farewell).await;
        drop(outbox);
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.expires.as_mut().is_some_and(|at| at.as_mut().poll(cx).is_ready()) {
            self.expires = None;
            self.outbox.end(CloseReason::Expired);
        }
        if let Poll::Ready(end) = self.poll_heartbeat(cx) {
            return Poll::Ready(end);
        }
        loop {
            if let Poll::Ready(reason) = self.outbox.poll_discarded(cx) {
                return Poll::Ready(End::Closing(Closing::Reason(reason)));
            }
            if let Poll::Ready(end) = self.poll_inbound(cx) {
                return Poll::Ready(end);
            }
            if self.pending.is_empty() {
                self.pending.push(self.inbound.take_replies());
            }
            if self.pending.is_empty() {
                match self.outbox.poll_take(cx, TAKE_BYTES) {
                    Poll::Ready(Taken::Frames(batch)) => batch.frames.into_iter().for_each(|f| self.pending.push(f)),
                    Poll::Ready(Taken::Closed(reason)) => return Poll::Ready(End::Closing(Closing::Reason(reason))),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match poll_write(Pin::new(&mut self.writer), cx, &mut self.pending) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(End::Gone),
                // The end wakes us also while the socket is full: it was asked for at the top of the loop.
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        while self.heartbeat.as_mut().poll(cx).is_ready() {
            if self.awaiting_pong {
                return Poll::Ready(End::Closing(Closing::Reason(CloseReason::Heartbeat)));
            }
            self.pending.push(PING);
            self.awaiting_pong = true;
            self.heartbeat.as_mut().reset(Instant::now() + self.options.pong_timeout);
        }
        Poll::Pending
    }

    /// Reads what the peer says, as long as there is room for the replies and no handler at work.
    fn poll_inbound(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if let Some(handling) = &mut self.handling {
                match handling.as_mut().poll(cx) {
                    Poll::Ready(Ok(())) => self.handling = None,
                    Poll::Ready(Err(_panic)) => {
                        return Poll::Ready(End::Closing(Closing::Reason(CloseReason::Failed)));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            if self.inbound.reply_bytes() > MAX_REPLY_BYTES {
                return Poll::Pending; // until they go to the writer, after which we are polled again
            }
            let read = self.inbound.poll_message(cx, &self.options);
            // Headers of tiny fragments count too: a message that never ends is cut (twice the payload is generous).
            let limit = self.options.max_message_bytes.saturating_mul(2).saturating_add(self.options.read_buffer_bytes);
            match read {
                Poll::Pending if self.inbound.unfinished() > limit => {
                    return Poll::Ready(End::Closing(Closing::TooBig));
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(broken(&error)),
                Poll::Ready(Ok(message)) => {
                    if let Some(closing) = self.heard(message) {
                        return Poll::Ready(End::Closing(closing));
                    }
                }
            }
        }
    }

    /// Takes one message; `Some` when it is one too many, or of a kind that we do not take.
    fn heard(&mut self, message: Message) -> Option<Closing> {
        match message {
            Message::Pong(_) if self.awaiting_pong => {
                self.awaiting_pong = false;
                self.heartbeat.as_mut().reset(Instant::now() + self.options.ping_period);
                return None;
            }
            // The parser answers it and then ends.
            Message::Close(_) => return None,
            _ => {}
        }
        if !self.rate.allows(Instant::now()) {
            return Some(Closing::Violation("protocol: too many messages"));
        }
        match message {
            Message::Text(text) => {
                if let Some(handler) = self.options.on_text.clone() {
                    let (grant, text) = (self.grant.clone(), text.as_str().to_owned());
                    let handling = async move { handler.on_text(&grant, text).await };
                    self.handling = Some(Box::pin(AssertUnwindSafe(handling).catch_unwind()));
                }
                None
            }
            Message::Binary(_) => Some(Closing::Violation("protocol: text only")),
            _ => None,
        }
    }
}

fn broken(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Closing(Closing::TooBig),
        Error::Utf8(_) => End::Closing(Closing::NotUtf8),
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        Error::Protocol(_) => End::Closing(Closing::Violation("protocol: not a valid frame")),
        Error::ConnectionClosed => End::ByPeer,
        _ => End::Gone,
    }
}

/// Writes what is still due, says why, ends the writing side, and waits for the peer's end.
async fn say_farewell<IO>(end: End, mut pending: Pending, mut writer: WriteHalf<IO>, mut reader: ReadHalf<IO>)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    match end {
        End::Gone => return,
        End::ByPeer => {}
        End::Closing(closing) => {
            // In the middle of a frame a farewell would be read as its rest: no farewell then.
            if !pending.discard() {
                return;
            }
            pending.push(closing.frame().unwrap_or_default());
        }
    }
    while !pending.is_empty() {
        if writer.write_buf(&mut pending).await.is_err() {
            return;
        }
    }
    // Dropping a socket with unread bytes resets it, and the peer may lose the farewell: read to the end first.
    if writer.shutdown().await.is_ok() {
        let mut rest = [0; 512];
        while reader.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    }
}

/// Writes as much as the socket takes in one go; false when it is broken.
fn poll_write<W: AsyncWrite>(writer: Pin<&mut W>, cx: &mut Context<'_>, pending: &mut Pending) -> Poll<bool> {
    let polled = if writer.is_write_vectored() {
        let mut slices = [std::io::IoSlice::new(&[]); 64];
        let filled = pending.chunks_vectored(&mut slices);
        writer.poll_write_vectored(cx, &slices[..filled])
    } else {
        writer.poll_write(cx, pending.chunk())
    };
    polled.map(|written| match written {
        Ok(written) if written > 0 => {
            pending.advance(written);
            true
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry_core::{ChannelFilter, OutboxOptions, Registration, SubscriberRegistry};
    use std::num::NonZeroU32;
    use std::time::Duration;
    use tokio::io::duplex;
    use transport_core::Path;

    async fn flood(pings: usize) {
        let registry = SubscriberRegistry::<String>::new();
        registry.encode_with(registry_core::Json);
        let outbox = registry.open_outbox(&crate::WS, OutboxOptions::new(), Registration::new()).unwrap();
        let grant = Arc::new(Grant::new(ChannelFilter::All));
        let admitted = Admitted { outbox, grant, expires: None, path: Path::Portable };
        let options = WsOptions::new().with_rate(NonZeroU32::MAX, NonZeroU32::MAX);
        let (ours, mut peer) = duplex(512);
        let connection = tokio::spawn(async move { Connection::new(ours, admitted, options).run().await });
        let ping = [0x89, 0x80, 0, 0, 0, 0];
        let mut sent = 0;
        while sent < pings && timeout(Duration::from_secs(1), peer.write_all(&ping)).await.is_ok() {
            sent += 1;
        }
        assert!(sent < pings, "a peer that does not read is not read for ever");
        assert_eq!(registry.len(), 1);
        drop(peer);
        connection.await.unwrap();
    }

    #[test]
    fn ws_2_replies_to_a_flood_of_empty_pings_do_not_pile_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let used = allocation_counter::measure(|| runtime.block_on(flood(20_000)));
        assert!(used.bytes_max < 64 * 1024, "{} bytes at once", used.bytes_max);
    }

    #[test]
    fn que_3_an_idle_connection_holds_no_read_buffer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let options = WsOptions::new().with_read_buffer_bytes(1 << 20);
        let registry = SubscriberRegistry::<String>::new();
        registry.encode_with(registry_core::Json);
        let outbox = registry.open_outbox(&crate::WS, OutboxOptions::new(), Registration::new()).unwrap();
        let grant = Arc::new(Grant::new(ChannelFilter::All));
        let admitted = Admitted { outbox, grant, expires: None, path: Path::Portable };
        let (ours, mut peer) = duplex(512);
        let used = allocation_counter::measure(|| {
            runtime.block_on(async {
                tokio::spawn(Connection::new(ours, admitted, options).run());
                let mut pong = [0; 5];
                peer.write_all(&[0x89, 0x83, 0, 0, 0, 0, b'h', b'e', b'y']).await.unwrap();
                peer.read_exact(&mut pong).await.unwrap();
                assert_eq!(&pong, b"\x8a\x03hey");
            });
        });
        assert!(used.bytes_max >= 1 << 20, "a buffer to read the ping");
        assert!(used.bytes_current < 4096, "{} bytes are still held", used.bytes_current);
    }
}
