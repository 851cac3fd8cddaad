//! What comes from the peer: the application's handler, the bound on its rate, and the reading half
//! of the socket.

use crate::options::WsOptions;
use crate::parser::Parser;
use bytes::Bytes;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{io, mem};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A token bucket: the options' rate in the long run, and their burst at once.
#[derive(Debug)]
pub(crate) struct Rate {
    tokens: f64,
    filled: Instant,
}

impl Rate {
    pub(crate) fn new(burst: NonZeroU32, now: Instant) -> Self {
        Self { tokens: f64::from(burst.get()), filled: now }
    }

    /// Takes one token, if there is one.
    pub(crate) fn allows(&mut self, options: &WsOptions, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.filled).as_secs_f64();
        let refilled = seconds * f64::from(options.messages_per_second.get());
        self.tokens = (self.tokens + refilled).min(f64::from(options.burst.get()));
        self.filled = now;
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

/// The peer's messages, from the reading half of the socket. What the parser would write (pongs,
/// the echo of a close) is collected for the connection's one writer, which writes it between two
/// frames.
pub(crate) struct Inbound<R> {
    reader: R,
    parser: Parser,
    replies: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Inbound<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, parser: Parser::default(), replies: Vec::new() }
    }

    /// Reads the next message. After an error there is none.
    pub(crate) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
        options: &WsOptions,
    ) -> Poll<Result<Message, Error>> {
        let Self { reader, parser, replies } = self;
        match parser.read(&mut Wire { reader, cx, replies }, options) {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            result => Poll::Ready(result),
        }
    }

    /// Takes everything that is to be written to the peer, in one buffer: a buffer for each reply
    /// would cost more than it holds.
    pub(crate) fn take_replies(&mut self) -> Bytes {
        mem::take(&mut self.replies).into()
    }

    /// Adds a frame of the connection's own to what is to be written to the peer.
    pub(crate) fn add_reply(&mut self, frame: &[u8]) {
        self.replies.extend_from_slice(frame);
    }

    pub(crate) fn reply_bytes(&self) -> usize {
        self.replies.len()
    }

    /// Bytes read since the last whole message.
    pub(crate) fn unfinished(&self) -> usize {
        self.parser.unfinished
    }

    pub(crate) fn into_reader(self) -> R {
        self.reader
    }
}

/// A socket that does not block, as `std::io` has it.
struct Wire<'a, 'cx, R> {
    reader: &'a mut R,
    cx: &'a mut Context<'cx>,
    replies: &'a mut Vec<u8>,
}

impl<R: AsyncRead + Unpin> io::Read for Wire<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut *self.reader).poll_read(self.cx, &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<R> io::Write for Wire<'_, '_, R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.replies.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
        let options = WsOptions::new().with_rate(number(20), number(40));
        let mut rate = Rate::new(options.burst, start);
        assert_eq!((0..100).filter(|_| rate.allows(&options, start)).count(), 40);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..100).filter(|_| rate.allows(&options, later)).count(), 10);
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| rate.allows(&options, much_later)).count(), 40);
    }
}
