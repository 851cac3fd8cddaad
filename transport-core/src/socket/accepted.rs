//! An accepted socket, which the HTTP server reads and writes and a revocation can reset.
//!
//! Invariant: the set of a server's sockets holds each of them from its acceptance until its last
//! holder drops it, so a shutdown that waits for the set to be empty has waited for every
//! connection.

use super::proof::Proof;
use registry_core::Wire;
use slab::Slab;
use socket2::SockRef;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::consume_budget;

/// An accepted socket. It is closed when the last holder drops it.
#[derive(Debug)]
#[repr(C)] // the fields that every write reads come first, beside the reference count
pub(crate) struct Socket {
    tcp: TcpStream,
    /// How many whole request heads have been read.
    requests: AtomicU32,
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
        let (requests, begun) = <(AtomicU32, AtomicBool)>::default();
        let (proof, key, all) = (Proof::default(), entry.key(), self.clone());
        let socket = Arc::new(Socket { tcp, requests, begun, proof, key, all });
        entry.insert(Arc::downgrade(&socket));
        socket
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// How many were reset because their peer did not close by itself.
    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// Resets every connection that is still open; returns how many.
    pub(crate) fn reset_all(&self) -> usize {
        let all: Vec<Arc<Socket>> =
            self.lock().iter().filter_map(|(_, socket)| socket.upgrade()).collect();
        all.iter().for_each(|socket| socket.reset());
        all.len()
    }

    /// Waits until every connection is closed.
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
    /// Notes that a whole request head has been read; returns the request's number, from 1.
    pub(crate) fn note_request(&self) -> u32 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns the number of the last request.
    pub(super) fn last_request(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn has_asked(&self) -> bool {
        self.last_request() > 0
    }

    /// Tells whether the peer has sent something after the last answer: the beginning of another
    /// head.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Notes whether HTTP has read something since it last wrote.
    pub(super) fn set_begun(&self, begun: bool) {
        self.begun.store(begun, Ordering::Relaxed);
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    pub(crate) fn proof(&self) -> &Proof {
        &self.proof
    }

    /// Sets what every connection gets: no delay for small writes, and a bound on unacknowledged
    /// data.
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
    /// A task that reads or writes the socket meets its end at once, and drops it.
    pub(crate) fn reset(&self) {
        // A failure means that the connection is gone already.
        let _gone = self.tcp.set_zero_linger();
        // Dissolving the association resets the peer now. Elsewhere the reset is sent when the last
        // holder drops the socket.
        #[cfg(target_os = "linux")]
        let _gone = rustix::net::connect_unspec(&self.tcp);
        #[cfg(not(target_os = "linux"))]
        let _gone = SockRef::from(&self.tcp).shutdown(Shutdown::Both);
    }

    /// Writes what the socket has room for, without the runtime: some per cent cheaper when each
    /// write goes to another socket. The runtime does not learn that the socket is full.
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

    /// Resets the connection of a peer that did not close by itself, and counts that.
    pub(crate) fn cut(&self) {
        self.all.cut.fetch_add(1, Ordering::Relaxed);
        self.reset();
    }

    /// Waits for the first bytes, and leaves them where they are.
    pub(crate) async fn peek(&self, first: &mut [u8]) -> io::Result<usize> {
        self.tcp.peek(first).await
    }

    /// Waits until the peer has ended its side; discards what it still sends.
    pub(crate) async fn peer_ended(&self) {
        // Several tasks may wait here at a time; `poll_read_ready` would wake the last of them
        // only.
        while self.tcp.readable().await.is_ok() {
            // Without it a peer that sends endlessly would keep the thread, and a timeout around
            // this would never be polled.
            consume_budget().await;
            // Declared here, so that the future is not larger by it while it waits.
            let mut scrap = [0; 1024];
            match self.tcp.try_read(&mut scrap) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Waits until the peer has ended its side or the connection is gone, although there may be
    /// unread bytes before that. Only Linux reports this; elsewhere it never completes.
    pub(crate) async fn peer_gone(&self) {
        // The runtime registers no socket for urgent data, so only the peer's end makes it ready
        // for priority.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _gone = self.tcp.ready(Interest::PRIORITY).await;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        std::future::pending::<()>().await;
    }
}

impl Wire for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_send(bytes)
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A write without the runtime may have filled the socket unknown to it. So the kernel is
        // asked once the runtime takes the socket for writable. Within `try_io` no edge can be lost
        // between the answer and the wait.
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
        if poll(&mut socket, Some(&now))? > 0 {
            Ok(())
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    /// Elsewhere every write goes through the runtime, which knows whether there is room.
    #[cfg(not(target_os = "linux"))]
    fn has_room(&self) -> io::Result<()> {
        Ok(())
    }
}
