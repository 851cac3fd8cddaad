//! The connection as the HTTP server reads and writes it.

use super::accepted::Socket;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// A connection that a [`Server`](crate::Server) accepted, as HTTP reads and writes it.
///
/// [`Server::run_over`](crate::Server::run_over) gives it to a wrapper such as a TLS acceptor. Once
/// the body of a response has [taken the socket over](crate::Handover), writes and shutdowns of
/// this do nothing, and reads wait for the connection to end.
#[derive(Debug)]
pub struct ServerIo {
    socket: Arc<Socket>,
    /// Whether a body took the socket over.
    detached: bool,
    /// The time for the first head, where the HTTP server keeps none.
    head: Option<FirstHead>,
}

#[derive(Debug)]
struct FirstHead {
    deadline: Pin<Box<Sleep>>,
    /// Counts the heads that came too late.
    late: Arc<AtomicU64>,
    /// Whether the service of the connection notes when the head has come.
    started: AtomicBool,
}

impl ServerIo {
    pub(crate) fn new(socket: Arc<Socket>) -> Self {
        Self { socket, detached: false, head: None }
    }

    /// Makes reads fail if the head of the first request does not come in time, and counts that:
    /// once [started](Self::start_head_timeout).
    pub(crate) fn with_head_timeout(mut self, timeout: Duration, late: Arc<AtomicU64>) -> Self {
        let (deadline, started) = (Box::pin(sleep(timeout)), AtomicBool::new(false));
        self.head = Some(FirstHead { deadline, late, started });
        self
    }

    /// Starts the time for the first head: the service of this connection notes its requests.
    pub(crate) fn start_head_timeout(&self) {
        if let Some(head) = &self.head {
            head.started.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn socket(&self) -> Weak<Socket> {
        Arc::downgrade(&self.socket)
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(head) = &mut self.head else { return Ok(()) };
        if self.socket.has_asked() || !head.started.load(Ordering::Relaxed) {
            self.head = None;
        } else if head.deadline.as_mut().poll(cx).is_ready() {
            head.late.fetch_add(1, Ordering::Relaxed);
            self.head = None;
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    pub(crate) fn into_socket(self) -> Arc<Socket> {
        self.socket
    }

    /// Notes that HTTP has written so many bytes of these.
    fn note_written(&self, slices: &[io::IoSlice<'_>], bytes: usize) {
        self.socket.set_begun(false);
        self.socket.proof().note_written(slices, bytes);
    }

    /// Repeats an operation until it would not block.
    fn poll_io<R>(
        &self,
        cx: &mut Context<'_>,
        ready: impl Fn(&TcpStream, &mut Context<'_>) -> Poll<io::Result<()>>,
        mut operation: impl FnMut(&TcpStream) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let tcp = self.socket.tcp();
        loop {
            ready!(ready(tcp, cx))?;
            match operation(tcp) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl AsyncRead for ServerIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_late(cx)?;
        if self.detached {
            // At the end of the stream the server may drop the body, so the body must have the
            // socket before.
            return self.socket.proof().poll_taken(cx).map(Ok);
        }
        let before = buf.filled().len();
        ready!(self.poll_io(cx, TcpStream::poll_read_ready, |tcp| read_into(tcp, buf)))?;
        if buf.filled().len() > before {
            self.socket.set_begun(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServerIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.detached {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written =
            ready!(self.poll_io(cx, TcpStream::poll_write_ready, |tcp| tcp.try_write(bytes)))?;
        self.note_written(&[io::IoSlice::new(bytes)], written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.detached {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let written = ready!(
            self.poll_io(cx, TcpStream::poll_write_ready, |tcp| tcp.try_write_vectored(slices))
        )?;
        self.note_written(slices, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(proven) = self.socket.proof().flushed() {
            self.detached = proven;
            // The body has to be polled again, whether it waits with this task's waker or was not
            // polled since.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.detached {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.socket.shutdown_write())
    }
}

/// Reads what has come, into a buffer that need not be zeroed.
pub(super) fn read_into(tcp: &TcpStream, buf: &mut ReadBuf<'_>) -> io::Result<()> {
    let room = buf.remaining();
    let mut read = 0;
    let outcome = tcp.try_io(Interest::READABLE, || {
        read = tcp.try_read_buf(buf)?;
        // A read that leaves room has emptied the socket. With epoll the next edge tells of more,
        // so the runtime need not find out by another read that there is nothing; an edge that came
        // in the meantime is not lost.
        let emptied = cfg!(target_os = "linux") && (1..room).contains(&read);
        if emptied { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    if read > 0 { Ok(()) } else { outcome }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::socket::accepted::Sockets;
    use crate::socket::handover::Handover;
    use crate::socket::proof::tests::Woken;
    use futures_util::FutureExt;
    use socket2::SockRef;
    use std::sync::atomic::Ordering;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    pub(crate) async fn pair() -> (ServerIo, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let sockets = Arc::new(Sockets::default());
        (ServerIo::new(sockets.open(listener.accept().await.unwrap().0)), client)
    }

    #[tokio::test]
    async fn rev_11_a_reset_drops_what_the_kernel_holds_and_frees_a_blocked_writer() {
        let (mut server, mut client) = pair().await;
        let socket = server.socket.clone();
        let writer = tokio::spawn(async move {
            let chunk = [b'x'; 64 * 1024];
            let mut written = 0;
            while let Ok(more) = server.write(&chunk).await {
                written += more;
            }
            written
        });
        // The kernel holds all that it takes once the socket is no longer writable.
        while socket.tcp().ready(Interest::WRITABLE).now_or_never().is_some() {
            tokio::task::yield_now().await;
        }
        socket.reset();
        drop(socket);
        let written = writer.await.unwrap();
        let mut read = Vec::new();
        let error = client.read_to_end(&mut read).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(read.len() < written, "{} of {written} bytes arrived", read.len());
    }

    #[tokio::test]
    async fn rev_11_waiting_for_a_peer_that_sends_endlessly_yields_to_the_deadline() {
        let (server, client) = pair().await;
        let flood = [b'x'; 64 * 1024];
        client.writable().await.unwrap();
        while client.try_write(&flood).is_ok() {}
        assert!(server.socket.peer_ended().now_or_never().is_none());
        assert!(
            server.socket.tcp().try_read(&mut [0; 1]).is_ok(),
            "it stopped while there was something to read"
        );
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn sse_5_the_kernel_gives_up_on_a_peer_that_acknowledges_nothing() {
        let (server, _client) = pair().await;
        let timeout = Duration::from_secs(30);
        server.socket.tune(timeout);
        assert_eq!(SockRef::from(server.socket.tcp()).tcp_user_timeout().unwrap(), Some(timeout));
        assert!(server.socket.tcp().nodelay().unwrap(), "a message does not wait for the next");
    }

    #[tokio::test]
    async fn rev_12_a_detached_connection_writes_nothing_and_ends_once_the_socket_is_taken() {
        let (mut server, mut client) = pair().await;
        let woken = Arc::new(Woken::default());
        let waker = woken.clone().into();
        let mut cx = Context::from_waker(&waker);
        server.socket.proof().set_last(true);
        let mut handover = Handover::new(Arc::downgrade(&server.socket));
        handover.arm(b"tail");
        assert_eq!(server.write(b"head, ta").await.unwrap(), 8);
        assert_eq!(
            server.write_vectored(&[io::IoSlice::new(b"i"), io::IoSlice::new(b"l")]).await.unwrap(),
            2
        );
        client.write_all(b"for the body only").await.unwrap();
        assert!(Pin::new(&mut server).poll_flush(&mut cx).is_ready());
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "the body is polled again");
        let mut scrap = [0; 8];
        assert!(
            Pin::new(&mut server).poll_read(&mut cx, &mut ReadBuf::new(&mut scrap)).is_pending()
        );
        let socket = handover.poll_socket(&mut cx);
        let Poll::Ready(Some(socket)) = socket else { panic!("{socket:?}") };
        assert_eq!(woken.0.load(Ordering::SeqCst), 2);
        assert_eq!(server.read(&mut scrap).await.unwrap(), 0);
        assert_eq!(server.write(b"lost").await.unwrap(), 4);
        assert_eq!(
            server
                .write_vectored(&[io::IoSlice::new(b"al"), io::IoSlice::new(b"so")])
                .await
                .unwrap(),
            4
        );
        server.shutdown().await.unwrap();
        drop((server, handover));
        socket.try_send(b", and more").unwrap();
        let mut read = [0; 17];
        std::future::poll_fn(|cx| socket.poll_read_ready(cx)).await.unwrap();
        assert_eq!(socket.try_read(&mut read).unwrap(), 17);
        drop(socket);
        let mut all = String::new();
        client.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "head, tail, and more");
    }

    #[tokio::test]
    async fn sse_1_a_connection_that_is_not_detached_ends_as_usual() {
        let (mut server, mut client) = pair().await;
        server.socket.proof().set_last(true);
        let mut handover = Handover::new(Arc::downgrade(&server.socket));
        handover.arm(b"tail");
        server.write_all(b"head").await.unwrap();
        let woken = Arc::new(Woken::default());
        let waker = woken.clone().into();
        assert!(Pin::new(&mut server).poll_flush(&mut Context::from_waker(&waker)).is_ready());
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(matches!(
            handover.poll_socket(&mut Context::from_waker(&waker)),
            Poll::Ready(None)
        ));
        server.write_all(b", tail").await.unwrap();
        server.shutdown().await.unwrap();
        let mut all = String::new();
        let end = client.read_to_string(&mut all);
        tokio::time::timeout(Duration::from_secs(30), end).await.unwrap().unwrap();
        assert_eq!(all, "head, tail");
    }
}
