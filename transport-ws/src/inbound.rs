//! What comes from the peer: the application's handler, the bound on its rate, and the reading half of the socket.

use bytes::Bytes;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{io, mem};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf};
use tokio::time::Instant;
use transport_core::Grant;

/// The application's handler of inbound text.
///
/// Messages of one connection are handled one after the other; while one is handled, the next is not read, so a slow
/// handler slows down its own peer and nobody else. A panic ends the connection as *failed*.
///
/// # Cancel safety
/// The future is dropped when the connection ends: a revocation does not wait for it.
#[async_trait::async_trait]
pub trait OnText: Send + Sync + 'static {
    /// Handles one message from a peer with this grant.
    async fn on_text(&self, grant: &Grant, text: String);
}

/// A token bucket: `per_second` in the long run, `burst` at once.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Rate {
    pub(crate) fn new(per_second: NonZeroU32, burst: NonZeroU32, now: Instant) -> Self {
        let burst = f64::from(burst.get());
        Self { per_second: f64::from(per_second.get()), burst, tokens: burst, filled: now }
    }

    /// Takes one token, if there is one.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let fresh = now.saturating_duration_since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + fresh).min(self.burst);
        self.filled = now;
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

/// The socket as the frame parser sees it: it reads from the peer, and what it would write (pongs, the echo of a close)
/// is collected for the connection's one writer, which puts it between two frames.
pub(crate) struct Inbound<IO> {
    reader: ReadHalf<IO>,
    replies: Vec<u8>,
    /// Bytes read since the last whole message.
    unfinished: usize,
}

impl<IO> Inbound<IO> {
    pub(crate) fn new(reader: ReadHalf<IO>) -> Self {
        Self { reader, replies: Vec::new(), unfinished: 0 }
    }

    /// Everything that is to be written to the peer, as one frame of frames: one for each would cost more than it holds.
    pub(crate) fn take_replies(&mut self) -> Bytes {
        mem::take(&mut self.replies).into()
    }

    pub(crate) fn reply_bytes(&self) -> usize {
        self.replies.len()
    }

    /// Notes that a whole message came.
    pub(crate) fn finish(&mut self) {
        self.unfinished = 0;
    }

    pub(crate) fn into_reader(self) -> ReadHalf<IO> {
        self.reader
    }

    /// Bytes read since the last whole message.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished
    }
}

impl<IO: AsyncRead> AsyncRead for Inbound<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.reader).poll_read(cx, buf);
        self.unfinished += buf.filled().len() - before;
        polled
    }
}

impl<IO> AsyncWrite for Inbound<IO>
where
    ReadHalf<IO>: Unpin,
{
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.replies.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ws_2_the_rate_allows_a_burst_and_then_the_long_run() {
        let start = Instant::now();
        let number = |n| NonZeroU32::new(n).unwrap();
        let mut rate = Rate::new(number(20), number(40), start);
        assert_eq!((0..100).filter(|_| rate.allows(start)).count(), 40);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..100).filter(|_| rate.allows(later)).count(), 10);
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| rate.allows(much_later)).count(), 40);
    }
}
