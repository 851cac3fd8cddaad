//! A subscriber whose frames go to its socket directly.

use super::direct::DirectSocket;
use super::kind::{ConnectionKind, KindGuard};
use bytes::Bytes;
use registry_core::{CloseReason, Outbox, SocketOutbox};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// An outbox and the socket that its frames are written to. A flusher of the registry writes while
/// the socket has room; the task that holds this writes when it had none.
///
/// The task calls [`poll_flush`](Self::poll_flush) until the end, reads what the peer sends, writes
/// frames that are not messages with [`send_control`](Self::send_control), and at last calls
/// [`close`](Self::close). Dropping it unsubscribes and closes the socket.
#[derive(Debug)]
pub struct DirectConnection {
    outbox: SocketOutbox,
    socket: DirectSocket,
    _kind: KindGuard,
}

impl DirectConnection {
    /// Attaches the socket to the outbox, and counts the subscriber as
    /// [direct](ConnectionKind::Direct).
    #[must_use]
    pub fn new(outbox: Outbox, socket: DirectSocket, mut kind: KindGuard) -> Self {
        kind.set_kind(ConnectionKind::Direct);
        Self { outbox: outbox.attach(socket.wire()), socket, _kind: kind }
    }

    /// Returns the outbox.
    pub fn outbox(&self) -> &Outbox {
        self.outbox.outbox()
    }

    /// Returns the socket, to read from. Only the outbox writes to it.
    #[must_use]
    pub fn socket(&self) -> &DirectSocket {
        &self.socket
    }

    /// Writes what the socket had no room for, whenever it has room, until the subscriber ends.
    ///
    /// # Errors
    /// Those of the socket: the peer is gone.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<CloseReason>> {
        self.outbox.poll_flush(cx, Instant::now().into_std())
    }

    /// Writes a frame that is not a message, between two messages: see
    /// [`SocketOutbox::send_control`].
    pub fn send_control(&self, frame: &[u8]) {
        self.outbox.send_control(frame, Instant::now().into_std());
    }

    /// Returns how many bytes of [control frames](Self::send_control) wait.
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

    /// Closes the connection of a subscriber that has ended: writes the farewell, ends the writing
    /// side, and waits up to `patience` for the peer to end its own.
    ///
    /// A peer that has read a part of a frame, or whose socket is full, is reset instead. While the
    /// subscriber drains, the farewell waits for room.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket, which resets a peer that has sent something unread.
    pub async fn close(self, farewell: Bytes, patience: Duration) {
        match self.write_last(&farewell).await {
            Ok(()) => {
                // Closing a socket with unread bytes resets it, and the peer may lose the farewell.
                let _elapsed = timeout(patience, self.socket.peer_ended()).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.socket.cut(),
            Err(_gone) => {}
        }
    }

    /// Writes the last bytes and the end; fails with `WouldBlock` where there is no room, or no
    /// place, for them.
    async fn write_last(&self, mut farewell: &[u8]) -> io::Result<()> {
        if self.outbox.is_mid_frame() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        while !farewell.is_empty() {
            match self.socket.try_write(farewell) {
                Ok(written) => farewell = &farewell[written..],
                // A reset would take from a draining peer what it has yet to read.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| self.poll_room(cx)).await?
                }
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
    use crate::socket::io::tests::pair;
    use crate::socket::kind::KindCounts;
    use registry_core::{
        Identity, Json, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
        WireFormat,
    };
    use std::sync::Arc;
    use tokio::io::AsyncReadExt;

    static PLAIN: WireFormat =
        WireFormat::new("plain", |_, encoded, out| out.extend_from_slice(encoded.body()));

    fn direct(outbox: Outbox, socket: DirectSocket) -> DirectConnection {
        let kind = KindGuard::new(ConnectionKind::Http1, Arc::new(KindCounts::default()));
        DirectConnection::new(outbox, socket, kind)
    }

    /// A subscriber whose socket is full, and its peer.
    async fn full(registry: &SubscriberRegistry<u8>) -> (DirectConnection, tokio::net::TcpStream) {
        let (server, client) = pair().await;
        let socket = DirectSocket::take_over(server.into_socket());
        let ada = Registration::new().with_group(Identity::new("account", "ada"));
        let connection =
            direct(registry.open_outbox(&PLAIN, OutboxOptions::new(), ada).unwrap(), socket);
        poll_fn(|cx| connection.socket.poll_write_ready(cx)).await.unwrap();
        while connection.socket.try_write(&[b'x'; 64 * 1024]).is_ok() {}
        (connection, client)
    }

    async fn ended(connection: &DirectConnection) -> CloseReason {
        poll_fn(|cx| connection.poll_flush(cx)).await.unwrap()
    }

    #[tokio::test]
    async fn drn_1_the_farewell_of_a_drain_waits_for_room() {
        let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), Json);
        let (connection, mut client) = full(&registry).await;
        registry.begin_shutdown();
        assert_eq!(ended(&connection).await, CloseReason::Shutdown);
        let closing =
            tokio::spawn(async move { connection.close("farewell".into(), Duration::ZERO).await });
        tokio::task::yield_now().await;
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert!(read.ends_with(b"xfarewell"));
        closing.await.unwrap();
    }

    #[tokio::test]
    async fn clo_5_a_revocation_ends_the_wait_for_room() {
        let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), Json);
        let (connection, mut client) = full(&registry).await;
        registry.begin_shutdown();
        ended(&connection).await;
        let closing =
            tokio::spawn(async move { connection.close("farewell".into(), Duration::ZERO).await });
        tokio::task::yield_now().await;
        registry.close_by_identity(Identity::new("account", "ada"));
        closing.await.unwrap();
        assert_eq!(
            client.read_to_end(&mut Vec::new()).await.unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
    }

    #[tokio::test]
    async fn rev_11_a_revoked_peer_whose_socket_is_full_is_reset_at_once() {
        let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), Json);
        let (connection, mut client) = full(&registry).await;
        registry.close_by_identity(Identity::new("account", "ada"));
        assert_eq!(ended(&connection).await, CloseReason::Revoked);
        connection.close("farewell".into(), Duration::from_secs(60)).await;
        assert_eq!(
            client.read_to_end(&mut Vec::new()).await.unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
    }

    #[tokio::test]
    async fn rev_12_no_farewell_is_written_within_a_frame_although_there_is_room() {
        let registry = SubscriberRegistry::<String>::with_encoder(RegistryOptions::new(), Json);
        let (server, mut client) = pair().await;
        let ada = Registration::new().with_group(Identity::new("account", "ada"));
        let outbox = registry.open_outbox(&PLAIN, OutboxOptions::new(), ada).unwrap();
        let connection = direct(outbox, DirectSocket::take_over(server.into_socket()));
        registry.broadcast("c", "x".repeat(32 << 20)).unwrap();
        assert!(poll_fn(|cx| Poll::Ready(connection.poll_flush(cx))).await.is_pending());
        assert!(connection.is_mid_frame());
        // The client reads until there is room for a farewell.
        let mut read = vec![0; 1 << 20];
        loop {
            tokio::select! {
                biased;
                ready = poll_fn(|cx| connection.socket.poll_write_ready(cx)) => {
                    break ready.unwrap();
                }
                read = client.read(&mut read) => assert!(read.unwrap() > 0),
            }
        }
        registry.close_by_identity(Identity::new("account", "ada"));
        assert_eq!(ended(&connection).await, CloseReason::Revoked);
        connection.close("farewell".into(), Duration::from_secs(60)).await;
        let mut rest = Vec::new();
        let end = client.read_to_end(&mut rest).await.unwrap_err();
        assert_eq!(
            (end.kind(), rest.ends_with(b"farewell")),
            (io::ErrorKind::ConnectionReset, false)
        );
    }
}
