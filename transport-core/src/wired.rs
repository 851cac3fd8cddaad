//! The owner of a subscriber whose socket is ours.

use crate::owned::OwnedSocket;
use bytes::Bytes;
use registry_core::{CloseReason, Outbox};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// An outbox, and the socket that it is written to: by a flusher of the registry while the socket has room, else by the
/// task that holds this.
///
/// What the task does: [`poll_flush`](Self::poll_flush) until the end, read what the peer says, [`say`](Self::say) what is
/// not a message, and [`part`](Self::part). Dropping it unsubscribes and closes the socket.
#[derive(Debug)]
pub struct Wired {
    outbox: Outbox,
    socket: OwnedSocket,
}

impl Wired {
    /// Has the outbox written to the socket from now on.
    #[must_use]
    pub fn new(outbox: Outbox, socket: OwnedSocket) -> Self {
        outbox.attach(socket.shared());
        Self { outbox, socket }
    }

    /// Returns the outbox.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Returns the socket, to read from. Only the outbox writes to it.
    #[must_use]
    pub fn socket(&self) -> &OwnedSocket {
        &self.socket
    }

    /// Writes what the socket had no room for, as there is room, until the subscriber ends.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<CloseReason>> {
        let now = Instant::now().into_std();
        let has_room = |cx: &mut Context<'_>| self.socket.poll_write_ready(cx);
        self.outbox.poll_flush(cx, now, has_room, |bytes| self.socket.try_write(bytes))
    }

    /// Writes a frame that is not a message, between two messages: see [`Outbox::say`].
    pub fn say(&self, frame: &[u8]) {
        self.outbox.say(frame, Instant::now().into_std());
    }

    /// Returns when something was last written, or `None` before the first time.
    #[must_use]
    pub fn wrote(&self) -> Option<Instant> {
        self.outbox.wrote().map(Instant::from_std)
    }

    /// Ends the connection of a subscriber that has ended: says the farewell and the end, and waits `patience` for the peer's.
    ///
    /// A peer that is in the middle of a frame, or whose socket is full, is reset instead.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket, which resets a peer that has sent something unread.
    pub async fn part(self, farewell: Bytes, patience: Duration) {
        let said = !self.outbox.is_mid_frame()
            && (farewell.is_empty() || self.socket.try_write(&farewell).is_ok_and(|written| written == farewell.len()))
            && self.socket.shutdown_write().is_ok();
        if said {
            // Closing a socket with unread bytes resets it, and the peer may lose the farewell.
            let _elapsed = timeout(patience, self.socket.peer_ended()).await;
        } else {
            self.socket.cut();
        }
    }
}
