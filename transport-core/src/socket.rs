//! A socket that two can hold: the HTTP server reads and writes it, and a revocation can reset it.

use crate::handover::Proof;
use registry_core::Wire;
use slab::Slab;
use socket2::SockRef;

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::consume_budget;

/// An accepted socket. It is closed when the last holder lets go.
#[derive(Debug)]
#[repr(C)] // what every write reads stands first, beside the count of the holders
pub(crate) struct Socket {
    tcp: TcpStream,
    /// Whether a whole request head came.
    asked: AtomicBool,
    /// Whether HTTP has read something since it last wrote.
    begun: AtomicBool,
    proof: Proof,
    key: usize,
    all: Arc<Sockets>,
}

/// The open sockets of one server.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    open: Mutex<Slab<Weak<Socket>>>,
    gone: Notify,
    cut: AtomicU64,
}

impl Sockets {
    /// Takes an accepted connection.
    pub(crate) fn open(self: &Arc<Self>, tcp: TcpStream) -> Arc<Socket> {
        let mut open = self.lock();
        let entry = open.vacant_entry();
        let (asked, begun) = <(AtomicBool, AtomicBool)>::default();
        let (proof, key, all) = (Proof::default(), entry.key(), self.clone());
        let socket = Arc::new(Socket { tcp, asked, begun, proof, key, all });
        entry.insert(Arc::downgrade(&socket));
        socket
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// How many were reset because their peer did not go by itself.
    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// Resets every connection that is still open; returns how many.
    pub(crate) fn reset_all(&self) -> usize {
        let all: Vec<Arc<Socket>> = self.lock().iter().filter_map(|(_, socket)| socket.upgrade()).collect();
        all.iter().for_each(|socket| socket.reset());
        all.len()
    }

    /// Waits until every connection has gone.
    pub(crate) async fn all_gone(&self) {
        loop {
            let gone = self.gone.notified();
            if self.lock().is_empty() {
                return;
            }
            gone.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Weak<Socket>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut open = self.all.lock();
        open.remove(self.key);
        if open.is_empty() {
            drop(open);
            self.all.gone.notify_waiters();
        }
    }
}

impl Socket {
    /// Notes that a whole request head came.
    pub(crate) fn asks(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Tells whether the peer has sent something after what it was last answered: the beginning of another head.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    pub(crate) fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Sets what every connection gets: no delay for small writes, and a bound on unacknowledged data.
    pub(crate) fn tune(&self, user_timeout: Duration) {
        // A connection without them works too, so a failure is none.
        let _slower = self.tcp.set_nodelay(true);
        #[cfg(target_os = "linux")]
        let _longer = SockRef::from(&self.tcp).set_tcp_user_timeout(Some(user_timeout));
        #[cfg(not(target_os = "linux"))]
        let _ = user_timeout;
    }

    /// Resets the connection: what the kernel has not sent yet is dropped, and nothing more is.
    ///
    /// Whoever reads or writes the socket finds its end at once and lets go.
    pub(crate) fn reset(&self) {
        // Nothing here can fail in a way that we could mend: the connection is gone then.
        let _gone = self.tcp.set_zero_linger();
        // Dissolving the association resets the peer now. Elsewhere the reset leaves when the last holder lets go.
        #[cfg(target_os = "linux")]
        let _gone = rustix::net::connect_unspec(&self.tcp);
        #[cfg(not(target_os = "linux"))]
        let _gone = SockRef::from(&self.tcp).shutdown(Shutdown::Both);
    }

    /// Writes what the socket takes, past the runtime, which makes a difference of some per cent when each write goes to
    /// another socket. The runtime does not learn that the socket is full.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        {
            use rustix::net::{SendFlags, send};
            Ok(send(&self.tcp, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
        }
        #[cfg(not(target_os = "linux"))]
        self.tcp.try_write(bytes)
    }

    /// Ends the writing side.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        SockRef::from(&self.tcp).shutdown(Shutdown::Write)
    }

    /// Resets the connection of a peer that did not go by itself, which is counted.
    pub(crate) fn cut(&self) {
        self.all.cut.fetch_add(1, Ordering::Relaxed);
        self.reset();
    }

    /// Waits for the first bytes, and leaves them where they are.
    pub(crate) async fn peek(&self, first: &mut [u8]) -> io::Result<usize> {
        self.tcp.peek(first).await
    }

    /// Waits until the peer has ended its side, throwing away what it still sends.
    pub(crate) async fn peer_ended(&self) {
        // More than one may wait here at a time, which `poll_read_ready` would not bear.
        while self.tcp.readable().await.is_ok() {
            // Else a peer that sends without end would keep the thread, and no deadline over this would ever be looked at.
            consume_budget().await;
            // In here, so that a task that may come to wait does not carry it.
            let mut scrap = [0; 1024];
            match self.tcp.try_read(&mut scrap) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Waits until the peer has ended its side, or the connection is gone, whether or not there is something to read before that.
    /// Only Linux tells; elsewhere it waits for ever.
    pub(crate) async fn peer_gone(&self) {
        // The sockets of the runtime are registered for no urgent data, so that nothing else is waited for.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _gone = self.tcp.ready(Interest::PRIORITY).await;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        std::future::pending::<()>().await;
    }

    /// Writes a short answer without waiting, and ends the writing side.
    pub(crate) fn answer(&self, bytes: &[u8]) {
        let _unheard = self.tcp.try_io(Interest::WRITABLE, || SockRef::from(&self.tcp).send(bytes));
        let _gone = self.shutdown_write();
    }
}

impl Wire for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_send(bytes)
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A write past the runtime may have filled the socket without its knowledge, so the kernel is asked, once the
        // runtime takes the socket for writable. Within `try_io` the answer and the next edge cannot miss each other.
        loop {
            ready!(self.tcp.poll_write_ready(cx))?;
            match self.tcp.try_io(Interest::WRITABLE, || self.has_room()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                room => return Poll::Ready(room),
            }
        }
    }
}

impl Socket {
    /// Asks the kernel whether a write would be taken; `WouldBlock` when not.
    #[cfg(target_os = "linux")]
    fn has_room(&self) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut socket = [PollFd::new(&self.tcp, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut socket, Some(&now))? > 0 { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// Elsewhere every write goes through the runtime, which knows.
    #[cfg(not(target_os = "linux"))]
    fn has_room(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads what has come, into a buffer that need not be zeroed for that.
pub(crate) fn read_into(tcp: &TcpStream, buf: &mut ReadBuf<'_>) -> io::Result<()> {
    let room = buf.remaining();
    let mut read = 0;
    let outcome = tcp.try_io(Interest::READABLE, || {
        read = tcp.try_read_buf(buf)?;
        // What leaves room has emptied the socket. With epoll the next edge tells of more, so the runtime need not find
        // out by another read that there is nothing; an edge that came since this began is not forgotten.
        let emptied = cfg!(target_os = "linux") && (1..room).contains(&read);
        if emptied { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    if read > 0 { Ok(()) } else { outcome }
}

/// A connection that a [`Server`](crate::Server) accepted.
#[derive(Debug)]
pub struct Io {
    socket: Arc<Socket>,
    /// Whether a body took the socket out of it.
    detached: bool,
}

impl Io {
    pub(crate) fn new(socket: Arc<Socket>) -> Self {
        Self { socket, detached: false }
    }

    pub(crate) fn into_socket(self) -> Arc<Socket> {
        self.socket
    }

    /// Notes that HTTP wrote so many bytes of these.
    fn wrote(&self, slices: &[io::IoSlice<'_>], bytes: usize) {
        self.socket.begun.store(false, Ordering::Relaxed);
        self.socket.proof().wrote(slices, bytes);
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

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.detached {
            // Not before the body has the socket: at the end of the stream the server may drop the body.
            return self.socket.proof().poll_taken(cx).map(Ok);
        }
        let before = buf.filled().len();
        ready!(self.poll_io(cx, TcpStream::poll_read_ready, |tcp| read_into(tcp, buf)))?;
        if buf.filled().len() > before {
            self.socket.begun.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.detached {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = ready!(self.poll_io(cx, TcpStream::poll_write_ready, |tcp| tcp.try_write(bytes)))?;
        self.wrote(&[io::IoSlice::new(bytes)], written);
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
        let written = ready!(self.poll_io(cx, TcpStream::poll_write_ready, |tcp| tcp.try_write_vectored(slices)))?;
        self.wrote(slices, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(proven) = self.socket.proof().flushed() {
            self.detached = proven;
            // Whether the body waits with a waker of its own or was not polled since: it has to go on.
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Handover;
    use crate::handover::tests::Woken;
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    pub(crate) async fn pair() -> (Io, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let sockets = Arc::new(Sockets::default());
        (Io::new(sockets.open(listener.accept().await.unwrap().0)), client)
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
        while socket.tcp.ready(Interest::WRITABLE).now_or_never().is_some() {
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
    async fn rev_11_waiting_for_a_peer_that_sends_without_end_gives_way_to_the_deadline() {
        let (server, client) = pair().await;
        let flood = [b'x'; 64 * 1024];
        client.writable().await.unwrap();
        while client.try_write(&flood).is_ok() {}
        assert!(server.socket.peer_ended().now_or_never().is_none());
        assert!(
            server.socket.tcp.try_read(&mut [0; 1]).is_ok(),
            "it did not go on as long as there was something to read"
        );
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn sse_5_the_kernel_gives_up_on_a_peer_that_acknowledges_nothing() {
        let (server, _client) = pair().await;
        let timeout = Duration::from_secs(30);
        server.socket.tune(timeout);
        assert_eq!(SockRef::from(&server.socket.tcp).tcp_user_timeout().unwrap(), Some(timeout));
        assert!(server.socket.tcp.nodelay().unwrap(), "a message does not wait for the next");
    }

    #[tokio::test]
    async fn rev_12_a_detached_connection_writes_nothing_ends_nothing_and_is_over_once_the_socket_is_taken() {
        let (mut server, mut client) = pair().await;
        let woken = Arc::new(Woken::default());
        let waker = woken.clone().into();
        let mut cx = Context::from_waker(&waker);
        server.socket.proof().answers(true);
        let mut handover = Handover::new(Arc::downgrade(&server.socket));
        handover.arm(b"tail");
        assert_eq!(server.write(b"head, ta").await.unwrap(), 8);
        assert_eq!(server.write_vectored(&[io::IoSlice::new(b"i"), io::IoSlice::new(b"l")]).await.unwrap(), 2);
        client.write_all(b"for the new owner").await.unwrap();
        assert!(Pin::new(&mut server).poll_flush(&mut cx).is_ready());
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "who serves the body polls it again");
        let mut scrap = [0; 8];
        assert!(Pin::new(&mut server).poll_read(&mut cx, &mut ReadBuf::new(&mut scrap)).is_pending());
        let socket = handover.poll_socket(&mut cx);
        let Poll::Ready(Some(socket)) = socket else { panic!("{socket:?}") };
        assert_eq!(woken.0.load(Ordering::SeqCst), 2);
        assert_eq!(server.read(&mut scrap).await.unwrap(), 0);
        assert_eq!(server.write(b"lost").await.unwrap(), 4);
        assert_eq!(server.write_vectored(&[io::IoSlice::new(b"al"), io::IoSlice::new(b"so")]).await.unwrap(), 4);
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
    async fn sse_1_a_connection_that_is_not_detached_ends_as_ever() {
        let (mut server, mut client) = pair().await;
        server.socket.proof().answers(true);
        let mut handover = Handover::new(Arc::downgrade(&server.socket));
        handover.arm(b"tail");
        server.write_all(b"head").await.unwrap();
        let woken = Arc::new(Woken::default());
        let waker = woken.clone().into();
        assert!(Pin::new(&mut server).poll_flush(&mut Context::from_waker(&waker)).is_ready());
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(matches!(handover.poll_socket(&mut Context::from_waker(&waker)), Poll::Ready(None)));
        server.write_all(b", tail").await.unwrap();
        server.shutdown().await.unwrap();
        let mut all = String::new();
        let end = client.read_to_string(&mut all);
        tokio::time::timeout(Duration::from_secs(30), end).await.unwrap().unwrap();
        assert_eq!(all, "head, tail");
    }
}
