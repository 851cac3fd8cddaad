//! A socket that HTTP has given up.

use super::accepted::Socket;
use super::io::{ServerIo, read_into};
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;

/// The socket of a connection that [`Server`](crate::Server) accepted and HTTP has given up.
///
/// Clones share the socket; it is closed when the last of them is dropped. A flusher that writes to
/// it holds one, and drops it when it meets the subscriber's end. One task at a time may wait for
/// each direction with the `poll_` functions: the last one is woken.
///
/// Until it is closed, the server counts it, waits for it at a shutdown, and resets it at the
/// deadline.
#[derive(Debug, Clone)]
pub struct DirectSocket(Arc<Socket>);

impl DirectSocket {
    /// Takes a socket that no other task will wait for again.
    pub(crate) fn take_over(socket: Arc<Socket>) -> Self {
        // The wakers of the former task would keep its memory.
        let tcp = socket.tcp();
        let _ready = unconstrained(poll_fn(|cx| tcp.poll_read_ready(cx))).now_or_never();
        let _ready = unconstrained(poll_fn(|cx| tcp.poll_write_ready(cx))).now_or_never();
        Self(socket)
    }

    /// Shares a socket that was taken over.
    pub(crate) fn share(socket: Arc<Socket>) -> Self {
        Self(socket)
    }

    fn tcp(&self) -> &TcpStream {
        self.0.tcp()
    }

    /// The socket itself, as the wire that an outbox is written to.
    pub(super) fn wire(&self) -> Arc<Socket> {
        self.0.clone()
    }

    /// Waits until the peer has ended its side, and discards what it still sends.
    pub async fn peer_ended(&self) {
        self.0.peer_ended().await;
    }

    /// Writes what the socket has room for, without the runtime, which does not learn that the
    /// socket is full. To wait for room, call [`try_write`](Self::try_write) until it fails.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full, else those of the operating system.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_send(bytes)
    }

    /// Writes what the socket has room for. When it is full, the runtime knows, and
    /// [`poll_write_ready`](Self::poll_write_ready) waits for room.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full, else those of the operating system.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp().try_write(bytes)
    }

    /// As [`try_write`](Self::try_write), from several buffers.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is full, else those of the operating system.
    pub fn try_write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.tcp().try_write_vectored(slices)
    }

    /// Waits until the runtime takes the socket for writable.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_write_ready(cx)
    }

    /// Waits until there may be something to read: bytes, the peer's end, or an error.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_read_ready(cx)
    }

    /// Reads what has come; 0 is the peer's end.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has come, and [`poll_read_ready`](Self::poll_read_ready) waits for
    /// it; else those of the operating system.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp().try_read(buffer)
    }

    /// Resets the connection: what the kernel has not sent yet is dropped, and nothing more is
    /// sent.
    pub fn reset(&self) {
        self.0.reset();
    }

    /// Resets the connection of a peer that did not close by itself, which the server counts.
    pub(super) fn cut(&self) {
        self.0.cut();
    }

    /// Ends the writing side: the peer reads what was written, and then the end.
    ///
    /// # Errors
    /// Those of the operating system: the connection has gone.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.0.shutdown_write()
    }
}

impl AsyncRead for DirectSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            match read_into(self.tcp(), buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
        }
    }
}

/// Takes the socket out of an upgraded connection, with the bytes that the peer sent after its
/// request and HTTP has read.
///
/// # Errors
/// Gives the connection back when [`Server`](crate::Server) did not accept it, or when there is
/// more than a socket under it, such as TLS.
pub fn take_upgraded_socket(upgraded: Upgraded) -> Result<(DirectSocket, Bytes), Upgraded> {
    let (io, read) = match upgraded.downcast::<TokioIo<ServerIo>>() {
        Ok(parts) => (parts.io, parts.read_buf),
        Err(upgraded) => {
            // A connection whose protocol hyper had to find out is wrapped once more.
            use hyper_util::server::conn::auto::upgrade::downcast;
            let parts = downcast::<TokioIo<ServerIo>>(upgraded)?;
            (parts.io, parts.read_buf)
        }
    };
    // Copied, because a part of hyper's buffer would keep the whole.
    let read = Bytes::copy_from_slice(&read);
    Ok((DirectSocket::take_over(io.into_inner().into_socket()), read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::io::tests::pair;
    use std::pin::Pin;
    use std::task::{Wake, Waker};
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[tokio::test]
    async fn que_3_the_former_task_is_not_kept() {
        let (mut server, _client) = pair().await;
        let task = Arc::new(Task);
        let waker = Waker::from(task.clone());
        let mut cx = Context::from_waker(&waker);
        let mut scrap = [0; 1];
        let chunk = vec![0; 1 << 20];
        while Pin::new(&mut server).poll_write(&mut cx, &chunk).is_ready() {}
        assert!(
            Pin::new(&mut server).poll_read(&mut cx, &mut ReadBuf::new(&mut scrap)).is_pending()
        );
        drop(waker);
        assert!(Arc::strong_count(&task) > 1);
        let _socket = DirectSocket::take_over(server.into_socket());
        assert_eq!(Arc::strong_count(&task), 1);
    }

    #[tokio::test]
    async fn que_2_waiting_for_room_takes_a_failed_write_through_the_runtime() {
        let (server, mut client) = pair().await;
        let socket = DirectSocket::take_over(server.into_socket());
        let chunk = [b'x'; 64 * 1024];
        let mut sent = 0;
        let error = loop {
            match socket.try_send(&chunk) {
                Ok(more) => sent += more,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        // The runtime may not know yet that there was room at first. It does not learn that the
        // socket is full.
        poll_fn(|cx| socket.poll_write_ready(cx)).await.unwrap();
        #[cfg(target_os = "linux")]
        assert!(poll_fn(|cx| socket.poll_write_ready(cx)).now_or_never().is_some());
        assert_eq!(socket.try_write(b"x").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(poll_fn(|cx| socket.poll_write_ready(cx)).now_or_never().is_none());
        let waits = tokio::spawn({
            let socket = socket.clone();
            async move { poll_fn(|cx| socket.poll_write_ready(cx)).await }
        });
        let mut read = vec![0; sent];
        client.read_exact(&mut read).await.unwrap();
        waits.await.unwrap().unwrap();
        assert_eq!(
            socket.try_write_vectored(&[io::IoSlice::new(b"en"), io::IoSlice::new(b"d")]).unwrap(),
            3
        );
        socket.shutdown_write().unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "end");
    }

    #[tokio::test]
    async fn rev_11_a_direct_socket_can_be_reset() {
        let (server, mut client) = pair().await;
        let socket = DirectSocket::take_over(server.into_socket());
        socket.reset();
        let error = client.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(socket.try_send(b"x").is_err());
    }
}
