//! The owner of a subscriber whose socket is ours.

use crate::owned::OwnedSocket;
use bytes::Bytes;
use registry_core::{CloseReason, Outbox, SocketOutbox};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A period that a timer can keep: none spins, and no moment is too far away to be named.
#[must_use]
pub fn bounded(period: Duration) -> Duration {
    period.clamp(Duration::from_millis(1), Duration::from_secs(24 * 60 * 60))
}

/// An outbox, and the socket that it is written to: by a flusher of the registry while the socket has room, else by the
/// task that holds this.
///
/// What the task does: [`poll_flush`](Self::poll_flush) until the end, read what the peer says, [`send_control`](Self::send_control) what is
/// not a message, and [`part`](Self::part). Dropping it unsubscribes and closes the socket.
#[derive(Debug)]
pub struct Wired {
    outbox: SocketOutbox,
    socket: OwnedSocket,
}

impl Wired {
    /// Has the outbox written to the socket from now on.
    #[must_use]
    pub fn new(outbox: Outbox, socket: OwnedSocket) -> Self {
        Self { outbox: outbox.attach(socket.shared()), socket }
    }

    /// Returns the outbox.
    pub fn outbox(&self) -> &Outbox {
        self.outbox.outbox()
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
        self.outbox.poll_flush(cx, Instant::now().into_std())
    }

    /// Writes a frame that is not a message, between two messages: see [`SocketOutbox::send_control`].
    pub fn send_control(&self, frame: &[u8]) {
        self.outbox.send_control(frame, Instant::now().into_std());
    }

    /// Returns how many bytes of such frames wait.
    #[must_use]
    pub fn pending_control(&self) -> usize {
        self.outbox.pending_control()
    }

    /// Tells whether something waits for the socket to have room.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.outbox.is_waiting()
    }

    /// Tells whether the last write ended within a frame: no farewell can follow then.
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        self.outbox.is_mid_frame()
    }

    /// Returns when something was last written, or `None` before the first time.
    #[must_use]
    pub fn last_write(&self) -> Option<Instant> {
        self.outbox.last_write().map(Instant::from_std)
    }

    /// Ends the connection of a subscriber that has ended: says the farewell and the end, and waits `patience` for the peer's.
    ///
    /// A peer that is in the middle of a frame, or whose socket is full, is reset instead; one that drains has its farewell
    /// as there is room.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket, which resets a peer that has sent something unread.
    pub async fn part(self, farewell: Bytes, patience: Duration) {
        match self.say_last(&farewell).await {
            Ok(()) => {
                // Closing a socket with unread bytes resets it, and the peer may lose the farewell.
                let _elapsed = timeout(patience, self.socket.peer_ended()).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.socket.cut(),
            Err(_gone) => {}
        }
    }

    /// Writes the last bytes and the end; fails with `WouldBlock` where there is no room, or no place, for them.
    async fn say_last(&self, mut farewell: &[u8]) -> io::Result<()> {
        if self.outbox.is_mid_frame() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        while !farewell.is_empty() {
            match self.socket.try_write(farewell) {
                Ok(written) => farewell = &farewell[written..],
                // To reset a peer that is to have its messages would take from it what it has yet to read.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => poll_fn(|cx| self.poll_room(cx)).await?,
                Err(error) => return Err(error),
            }
        }
        self.socket.shutdown_write()
    }

    /// Waits for room while the subscriber drains.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.outbox().poll_discarded(cx) {
            Poll::Ready(_) => Poll::Ready(Err(io::ErrorKind::WouldBlock.into())),
            Poll::Pending => self.socket.poll_write_ready(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::tests::pair;
    use registry_core::{Identity, Json, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry, WireFormat};
    use tokio::io::AsyncReadExt;

    static PLAIN: WireFormat = WireFormat::new("plain", |_, encoded, out| out.extend_from_slice(encoded.body()));

    /// A subscriber whose socket is full, and its peer.
    async fn full(registry: &SubscriberRegistry<u8>) -> (Wired, tokio::net::TcpStream) {
        let (server, client) = pair().await;
        let socket = OwnedSocket::take_over(server.into_socket());
        let ada = Registration::new().with_group(Identity::new("account", "ada"));
        let wired = Wired::new(registry.open_outbox(&PLAIN, OutboxOptions::new(), ada).unwrap(), socket);
        poll_fn(|cx| wired.socket.poll_write_ready(cx)).await.unwrap();
        while wired.socket.try_write(&[b'x'; 64 * 1024]).is_ok() {}
        (wired, client)
    }

    async fn ended(wired: &Wired) -> CloseReason {
        poll_fn(|cx| wired.poll_flush(cx)).await.unwrap()
    }

    #[test]
    fn sse_3_no_period_spins_or_is_beyond_all_time() {
        assert_eq!(bounded(Duration::ZERO), Duration::from_millis(1));
        assert_eq!(bounded(Duration::from_secs(15)), Duration::from_secs(15));
        let _far = Instant::now() + bounded(Duration::MAX);
    }

    #[tokio::test]
    async fn drn_1_the_farewell_of_a_drain_waits_for_room() {
        let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), Json);
        let (wired, mut client) = full(&registry).await;
        registry.begin_shutdown();
        assert_eq!(ended(&wired).await, CloseReason::Shutdown);
        let parting = tokio::spawn(async move { wired.part("farewell".into(), Duration::ZERO).await });
        tokio::task::yield_now().await;
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert!(read.ends_with(b"xfarewell"));
        parting.await.unwrap();
    }

    #[tokio::test]
    async fn clo_5_a_revocation_ends_the_wait_for_room() {
        let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), Json);
        let (wired, mut client) = full(&registry).await;
        registry.begin_shutdown();
        ended(&wired).await;
        let parting = tokio::spawn(async move { wired.part("farewell".into(), Duration::ZERO).await });
        tokio::task::yield_now().await;
        registry.close_by_identity(&Identity::new("account", "ada"));
        parting.await.unwrap();
        assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn rev_11_a_revoked_peer_whose_socket_is_full_is_reset_at_once() {
        let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), Json);
        let (wired, mut client) = full(&registry).await;
        registry.close_by_identity(&Identity::new("account", "ada"));
        assert_eq!(ended(&wired).await, CloseReason::Revoked);
        wired.part("farewell".into(), Duration::from_secs(60)).await;
        assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn rev_12_no_farewell_stands_within_a_frame_although_there_is_room() {
        let registry = SubscriberRegistry::<String>::new();
        registry.encode_with(Json);
        let (server, mut client) = pair().await;
        let ada = Registration::new().group(Identity::new("account", "ada"));
        let outbox = registry.open_outbox(&PLAIN, OutboxOptions::new(), ada).unwrap();
        let wired = Wired::new(outbox, OwnedSocket::take_over(server.into_socket()));
        registry.broadcast("c", "x".repeat(32 << 20)).unwrap();
        assert!(poll_fn(|cx| Poll::Ready(wired.poll_flush(cx))).await.is_pending());
        assert!(wired.outbox().is_mid_frame());
        // It reads until there is room for a farewell.
        let mut read = vec![0; 1 << 20];
        loop {
            tokio::select! {
                biased;
                ready = poll_fn(|cx| wired.socket.poll_write_ready(cx)) => break ready.unwrap(),
                read = client.read(&mut read) => assert!(read.unwrap() > 0),
            }
        }
        registry.close_by_identity(&Identity::new("account", "ada"));
        assert_eq!(ended(&wired).await, CloseReason::Revoked);
        wired.part("farewell".into(), Duration::from_secs(60)).await;
        let mut rest = Vec::new();
        let end = client.read_to_end(&mut rest).await.unwrap_err();
        assert_eq!((end.kind(), rest.ends_with(b"farewell")), (io::ErrorKind::ConnectionReset, false));
    }
}
