//! An event stream on a socket of ours.

use crate::encode::{KEEP_ALIVE, farewell, last_chunks};
use registry_core::{CloseReason, Outbox};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};
use transport_core::{Deadlines, OwnedSocket, Owner, Wired};

/// What the peer sends after its request is thrown away; only its end matters.
const SCRAP_BYTES: usize = 512;
/// How much of it there may be: a listener has nothing to say, and to read it costs.
const MAX_SCRAP: usize = 64 * 1024;

/// The owner of one subscriber's outbox and socket. It writes when the socket was full, and comments when it is idle; what
/// is broadcast meanwhile, a flusher writes.
pub(crate) struct Stream {
    wired: Wired,
    period: Duration,
    keep_alive: Pin<Box<Sleep>>,
    expires: Option<Pin<Box<Sleep>>>,
    /// When the first comment was written, which HTTP did.
    began: Instant,
    /// What the peer sent after its request.
    scrap: usize,
    deadlines: Deadlines,
}

impl Owner for Stream {
    /// The subscriber's end; `None` when its peer is gone.
    type End = Option<CloseReason>;

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<CloseReason>> {
        if self.expires.as_mut().is_some_and(|at| at.as_mut().poll(cx).is_ready()) {
            self.expires = None;
            self.wired.outbox().close(CloseReason::Expired);
        }
        if self.poll_gone(cx).is_ready() {
            return Poll::Ready(None);
        }
        while self.keep_alive.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let due = self.wired.last_write().unwrap_or(self.began) + self.period;
            if now >= due && !self.wired.is_waiting() {
                self.wired.send_control(&KEEP_ALIVE);
            }
            self.keep_alive.as_mut().reset(if now >= due { now + self.period } else { due });
        }
        self.wired.poll_flush(cx).map(Result::ok)
    }

    async fn part(self, end: Self::End) {
        let Some(reason) = end.filter(|reason| *reason != CloseReason::Unsubscribed) else { return };
        let farewell = farewell(reason, self.wired.outbox().subscription().id().serial());
        self.wired.part(last_chunks(farewell), self.deadlines.after(reason)).await;
    }
}

impl Stream {
    pub(crate) fn new(
        outbox: Outbox,
        socket: OwnedSocket,
        period: Duration,
        expires: Option<Pin<Box<Sleep>>>,
        deadlines: Deadlines,
    ) -> Self {
        let wired = Wired::new(outbox, socket);
        Self { wired, period, keep_alive: Box::pin(sleep(period)), expires, began: Instant::now(), scrap: 0, deadlines }
    }

    /// Waits for the peer to go (SSE-5).
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [0; SCRAP_BYTES];
        while self.scrap <= MAX_SCRAP {
            let socket = self.wired.socket();
            match ready!(socket.poll_read_ready(cx)).and_then(|()| socket.try_read(&mut scrap)) {
                Ok(0) => return Poll::Ready(()),
                Ok(read) => self.scrap += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_gone) => return Poll::Ready(()),
            }
        }
        self.wired.outbox().close(CloseReason::Protocol);
        Poll::Pending // and not read any more: the end comes next
    }
}
