//! The listeners of a server, and the limit on its connections.

use super::options::ServerOptions;
use super::stats::ServerMetrics;
use crate::admission::soft::{self, head_reads_event_streams};
use crate::socket::accepted::Socket;
use axum::http::StatusCode;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs, lookup_host};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections that the kernel may hold before they are accepted: enough for clients that come back
/// all at once.
const BACKLOG: u32 = 4096;
/// How long to wait when the process is out of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// How long a refused connection may take to read its answer.
const REFUSAL: Duration = Duration::from_secs(1);
/// How much of its request is read, to find out how to answer it.
const REFUSED_HEAD_BYTES: usize = 8 * 1024;

/// Accepts the connections of one server.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) listeners: Vec<Listener>,
    /// The listener that is asked first, so that a busy one does not keep the others waiting.
    next: usize,
    pub(super) options: ServerOptions,
    pub(super) metrics: ServerMetrics,
    /// Has a permit for each refused connection that reads its answer. These do not count as open:
    /// a peer that holds some must not cause the refusal of others.
    pub(super) refusals: Arc<Semaphore>,
    /// Whether a request can be read from an accepted socket: nothing is between it and HTTP.
    pub(super) plain: bool,
}

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

/// A connection of the application's.
pub(super) enum Accepted {
    Tcp(Arc<Socket>, SocketAddr),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A connection as its listener returns it.
enum Incoming {
    Tcp(TcpStream, SocketAddr),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, options: ServerOptions) -> Self {
        let metrics = ServerMetrics::new(options.max_connections);
        let refusals = Arc::new(Semaphore::new(ServerOptions::MAX_REFUSALS));
        let listeners = vec![Listener::Tcp(listener)];
        Self { listeners, next: 0, options, metrics, refusals, plain: true }
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        let mut addresses = self.listeners.iter().filter_map(|listener| match listener {
            Listener::Tcp(listener) => Some(listener.local_addr()),
            #[cfg(unix)]
            Listener::Unix(_) => None,
        });
        addresses.next().unwrap_or_else(|| Err(io::ErrorKind::AddrNotAvailable.into()))
    }

    /// Accepts the next connection, and refuses those beyond the limit.
    ///
    /// # Cancel safety
    /// Cancel safe: a connection that was accepted is returned or refused.
    pub(super) async fn accept(&mut self) -> Accepted {
        loop {
            let incoming = match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(incoming) => incoming,
                Err(error) if is_gone(&error) => continue,
                Err(_full) => {
                    self.metrics.counts.out_of_descriptors.fetch_add(1, Ordering::Relaxed);
                    sleep(OUT_OF_DESCRIPTORS).await;
                    continue;
                }
            };
            let ServerMetrics { sockets, counts, limit } = &self.metrics;
            counts.accepted.fetch_add(1, Ordering::Relaxed);
            if limit.is_some_and(|limit| self.metrics.open() >= limit.get()) {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                self.refuse(incoming);
                continue;
            }
            return match incoming {
                Incoming::Tcp(tcp, peer) => {
                    let socket = sockets.open(tcp);
                    socket.tune(self.options.user_timeout);
                    Accepted::Tcp(socket, peer)
                }
                #[cfg(unix)]
                Incoming::Unix(stream) => Accepted::Unix(stream),
            };
        }
    }

    /// Answers a connection beyond the limit, unless too many read their answers already: then it
    /// is closed.
    fn refuse(&self, incoming: Incoming) {
        let Ok(permit) = self.refusals.clone().try_acquire_owned() else { return };
        let plain = self.plain;
        tokio::spawn(async move {
            match incoming {
                Incoming::Tcp(tcp, _) => refuse(tcp, plain).await,
                #[cfg(unix)]
                Incoming::Unix(stream) => refuse(stream, true).await,
            }
            drop(permit);
        });
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Incoming>> {
        let count = self.listeners.len();
        for at in (self.next..self.next + count).map(|at| at % count) {
            let polled = match &self.listeners[at] {
                Listener::Tcp(listener) => {
                    listener.poll_accept(cx).map_ok(|(tcp, peer)| Incoming::Tcp(tcp, peer))
                }
                #[cfg(unix)]
                Listener::Unix(listener) => {
                    listener.poll_accept(cx).map_ok(|(stream, _)| Incoming::Unix(stream))
                }
            };
            if polled.is_ready() {
                self.next = at + 1;
                return polled;
            }
        }
        Poll::Pending
    }
}

/// Tells whether an accept failed because its connection was gone already; there may be another.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Binds a listener to the first address that can be bound.
pub(super) async fn bind(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut error = io::Error::new(io::ErrorKind::InvalidInput, "the address resolves to nothing");
    for address in lookup_host(address).await? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // So that a restarted server gets its port back at once, as with std's and tokio's listeners.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers a connection beyond the limit that it should come back later: with a status, or with an
/// event stream if it reads those. `head` says whether a request can be read from the socket.
async fn refuse(mut socket: impl AsyncRead + AsyncWrite + Unpin, head: bool) {
    let mut request = Vec::new();
    if head {
        // Without a whole head in time, what has come of it decides.
        let _elapsed = timeout(REFUSAL, read_head(&mut socket, &mut request)).await;
    }
    let (status, kind, body) = if head_reads_event_streams(&request) {
        let body = soft::stream(StatusCode::SERVICE_UNAVAILABLE, Some(1));
        ("200 OK", "text/event-stream", body)
    } else {
        let body = r#"{"error":"too many connections: come back in a second"}"#.to_owned();
        ("503 Service Unavailable", "application/json", body)
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncache-control: no-store\r\n\
         content-length: {length}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{}",
        if request.starts_with(b"HEAD ") { "" } else { &body },
    );
    let answered = async {
        socket.write_all(answer.as_bytes()).await?;
        socket.shutdown().await?;
        // Closing the socket while it has unread bytes would reset it, and the answer would be
        // lost.
        copy(&mut socket, &mut sink()).await
    };
    let _gone = timeout(REFUSAL, answered).await;
}

/// Reads to the end of a request's head, or as much of it as is looked at.
async fn read_head(socket: &mut (impl AsyncRead + Unpin), head: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 1024];
    // Some clients end lines without the carriage return.
    let is_whole = |head: &[u8]| {
        head.windows(4).any(|end| end == b"\r\n\r\n") || head.windows(2).any(|end| end == b"\n\n")
    };
    while head.len() < REFUSED_HEAD_BYTES && !is_whole(head) {
        match socket.read(&mut chunk).await? {
            0 => break,
            read => head.extend_from_slice(&chunk[..read]),
        }
    }
    Ok(())
}
