//! An event stream on a direct connection.

use crate::encode::{KEEP_ALIVE, farewell, last_chunks};
use registry_core::CloseReason;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};
use transport_core::{ConnectionTask, Deadlines, DirectConnection};

/// The buffer for what the peer sends after its request. It is discarded: only the peer's end
/// matters.
const SCRAP_BYTES: usize = 512;
/// How much the peer may send: it has nothing to say, and reading it costs.
const MAX_SCRAP: usize = 64 * 1024;

/// The task of one direct event stream. It writes what the socket had no room for, and a comment
/// when the stream is idle. A flusher writes everything else.
pub(crate) struct DirectStream {
    connection: DirectConnection,
    period: Duration,
    keep_alive: Pin<Box<Sleep>>,
    expires: Option<Pin<Box<Sleep>>>,
    /// Bytes that the peer sent after its request.
    scrap: usize,
    deadlines: Deadlines,
}

impl ConnectionTask for DirectStream {
    /// The subscriber's end; `None` when its peer is gone.
    type End = Option<CloseReason>;

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<CloseReason>> {
        if self.expires.as_mut().is_some_and(|at| at.as_mut().poll(cx).is_ready()) {
            self.expires = None;
            self.connection.outbox().close(CloseReason::Expired);
        }
        if self.poll_gone(cx).is_ready() {
            return Poll::Ready(None);
        }
        while self.keep_alive.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            // HTTP wrote the first comment, when the timer was set.
            let due = self.connection.last_write().map_or(now, |written| written + self.period);
            if now >= due && !self.connection.is_waiting() {
                self.connection.send_control(&KEEP_ALIVE);
            }
            self.keep_alive.as_mut().reset(if now >= due { now + self.period } else { due });
        }
        self.connection.poll_flush(cx).map(Result::ok)
    }

    async fn close(self, end: Self::End) {
        let Some(reason) = end.filter(|reason| *reason != CloseReason::Unsubscribed) else {
            return;
        };
        let farewell = farewell(reason, self.connection.outbox().subscription().id().serial());
        self.connection.close(last_chunks(farewell), self.deadlines.after(reason)).await;
    }
}

impl DirectStream {
    pub(crate) fn new(
        connection: DirectConnection,
        period: Duration,
        expires: Option<Pin<Box<Sleep>>>,
        deadlines: Deadlines,
    ) -> Self {
        let keep_alive = Box::pin(sleep(period));
        Self { connection, period, keep_alive, expires, scrap: 0, deadlines }
    }

    /// Waits for the peer to leave (SSE-5).
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [0; SCRAP_BYTES];
        while self.scrap <= MAX_SCRAP {
            let socket = self.connection.socket();
            match ready!(socket.poll_read_ready(cx)).and_then(|()| socket.try_read(&mut scrap)) {
                Ok(0) => return Poll::Ready(()),
                Ok(read) => self.scrap += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_gone) => return Poll::Ready(()),
            }
        }
        self.connection.outbox().close(CloseReason::Protocol);
        Poll::Pending // and reads no more: the end comes next
    }
}

#[cfg(test)]
mod tests {
    use super::DirectStream;
    use transport_core::Run;

    /// tokio adds about 100 bytes to a task, and its allocation grows in steps of 128.
    #[test]
    fn que_3_the_task_of_an_idle_stream_fits_in_256_bytes() {
        assert!(size_of::<Run<DirectStream>>() <= 152);
    }
}
