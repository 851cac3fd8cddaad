//! An HTTP server for long streams. It bounds everything that a peer could exhaust, and it is able
//! to end.

mod connection;
mod http;
pub(crate) mod options;
pub(crate) mod stats;

use crate::admission::live::Live;
use crate::admission::soft::{self, head_reads_event_streams};
use crate::socket::accepted::{Socket, Sockets};
use crate::socket::cut::{Cutter, Deadlines};
use crate::socket::io::ServerIo;
use axum::Router;
use axum::http::{Extensions, StatusCode};
use connection::{Shared, connect};
use http::Http;
use options::ServerOptions;
use registry_core::{Flusher, Progress};
use stats::ServerMetrics;
use std::future::{Future, poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

/// Connections that the kernel may hold before they are accepted: enough for clients that come back
/// all at once.
const BACKLOG: u32 = 4096;
/// How long to wait when the process is out of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// How long a refused connection may take to read its answer.
const REFUSAL: Duration = Duration::from_secs(1);
/// How much of its request is read, to find out how to answer it.
const REFUSED_HEAD_BYTES: usize = 8 * 1024;

/// Serves an axum router on a TCP listener, for applications whose responses do not end by
/// themselves.
///
/// It adds to `axum::serve`: it can reset the connection of a peer that does not read (REV-11),
/// also under TLS, and single streams over HTTP/2. On Linux it notices a peer that leaves, whatever
/// the peer sent before (SSE-5). It bounds request heads, idle time and connections. And it ends,
/// also when clients stall (DRN-3).
///
/// # Examples
/// ```no_run
/// use axum::Router;
/// use transport_core::{Live, Server, ServerOptions};
///
/// # async fn example() -> std::io::Result<()> {
/// let live = Live::<String>::new();
/// let app = Router::new(); // .route("/events", sse(&live, authoriser))
/// let server = Server::bind("127.0.0.1:3000", ServerOptions::new()).await?;
/// println!("listening on http://{}", server.local_addr()?);
/// server.run(app, &live, async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    options: ServerOptions,
    metrics: ServerMetrics,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Subscribers that the shutdown ended.
    pub notified: usize,
    /// Connections that had to be reset at the deadline.
    pub reset: usize,
}

impl Server {
    /// Binds a listener.
    ///
    /// # Errors
    /// Those of the operating system: the address is in use, is not this machine's, or needs a
    /// privilege.
    pub async fn bind(address: impl ToSocketAddrs, options: ServerOptions) -> io::Result<Self> {
        let mut error =
            io::Error::new(io::ErrorKind::InvalidInput, "the address resolves to nothing");
        for address in lookup_host(address).await? {
            match listen(address) {
                Ok(listener) => return Ok(Self::from_listener(listener, options)),
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    /// Uses a listener that was bound elsewhere.
    #[must_use]
    pub fn from_listener(listener: TcpListener, options: ServerOptions) -> Self {
        let metrics = ServerMetrics::new(options.max_connections);
        Self { listener, options, metrics }
    }

    /// Returns the address that it listens on.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns what reads the counts while the server runs.
    #[must_use]
    pub fn metrics(&self) -> ServerMetrics {
        self.metrics.clone()
    }

    /// Serves until `shutdown` completes, then ends within the drain deadline.
    ///
    /// At the end the listener closes, the registry of `live` begins its shutdown, streams flush
    /// and write their farewells, and requests in progress are answered. Connections that are left
    /// at the deadline are reset. A revocation during that time still discards what is queued
    /// (DRN-1).
    ///
    /// # Cancel safety
    /// Dropping the future closes the listener; connections go on.
    ///
    /// # Examples
    /// ```
    /// use axum::Router;
    /// use transport_core::{Live, Server, ServerOptions};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
    /// let server = Server::bind("127.0.0.1:0", ServerOptions::new()).await?;
    /// let drained = server.run(Router::new(), &Live::<String>::new(), async {}).await;
    /// assert_eq!((drained.notified, drained.reset), (0, 0));
    /// # Ok(()) }
    /// ```
    pub async fn run<T: Send + Sync + 'static>(
        self,
        app: Router,
        live: &Live<T>,
        shutdown: impl Future<Output = ()>,
    ) -> Drained {
        self.serve(app, live, shutdown, |io| ready(Ok(io)), true).await
    }

    /// Serves as [`run`](Self::run) does, with something between the socket and HTTP, such as TLS:
    /// `wrap` makes it from each connection, and has as long as a request head. A revocation resets
    /// stalled peers there too.
    ///
    /// # Cancel safety
    /// As for `run`.
    pub async fn run_over<T, S, W, F>(
        self,
        app: Router,
        live: &Live<T>,
        shutdown: impl Future<Output = ()>,
        wrap: W,
    ) -> Drained
    where
        T: Send + Sync + 'static,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        W: Fn(ServerIo) -> F,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        self.serve(app, live, shutdown, wrap, false).await
    }

    async fn serve<T, S, W, F>(
        self,
        app: Router,
        live: &Live<T>,
        shutdown: impl Future<Output = ()>,
        wrap: W,
        plain: bool,
    ) -> Drained
    where
        T: Send + Sync + 'static,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        W: Fn(ServerIo) -> F,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        let Self { listener, options, metrics } = self;
        if plain && !options.portable {
            let workers = Handle::current().metrics().num_workers();
            for _ in 0..options.lane_count.map_or(workers, NonZeroUsize::get) {
                tokio::spawn(drive(live.open_lane(options.lane_options)));
            }
        }
        let ServerMetrics { sockets, counts, limit } = metrics;
        // Refused connections do not count as open: a peer that holds some must not cause the
        // refusal of others.
        let refused = Arc::<Sockets>::default();
        let deadlines = Deadlines::new(options.close_deadline, options.drain_deadline);
        let cutter =
            Cutter { deadlines, runtime: Handle::current(), resets: counts.resets.clone() };
        let http = Http::new(options.head_timeout);
        let drawing = live.clone();
        let draw = Box::new(move |request: &mut Extensions| drawing.draw_ticket_for(request));
        let shared =
            Arc::new(Shared { app, draw, plain, http, cutter: Arc::new(cutter), options, counts });
        let (end, ending) = watch::channel(());
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_gone(&error) => continue,
                Err(_full) => {
                    shared.counts.out_of_descriptors.fetch_add(1, Ordering::Relaxed);
                    sleep(OUT_OF_DESCRIPTORS).await;
                    continue;
                }
            };
            shared.counts.accepted.fetch_add(1, Ordering::Relaxed);
            if limit.is_some_and(|limit| sockets.len() >= limit.get()) {
                shared.counts.refused.fetch_add(1, Ordering::Relaxed);
                if refused.len() < ServerOptions::MAX_REFUSALS {
                    tokio::spawn(refuse(refused.open(tcp), plain));
                }
                continue;
            }
            let socket = sockets.open(tcp);
            socket.tune(shared.options.user_timeout);
            let wrapped = wrap(ServerIo::new(socket.clone()));
            tokio::spawn(connect(wrapped, socket, peer, shared.clone(), ending.clone()));
        }
        drop(listener);
        let notified = live.begin_shutdown();
        let deadline = shared.options.drain_deadline;
        drop((shared, ending));
        end.send_replace(());
        let gone = async { tokio::join!(sockets.all_gone(), refused.all_gone()) };
        let ended = async { tokio::join!(end.closed(), live.drained(), gone) };
        let reset = match timeout(deadline, ended).await {
            Ok(_) => 0,
            Err(_elapsed) => sockets.reset_all(),
        };
        Drained { notified, reset }
    }
}

/// Serves the connections of one lane until the registry is dropped or shut down.
async fn drive<T: Send + Sync + 'static>(mut flusher: Flusher<T>) {
    let mut serve = async || poll_fn(|cx| flusher.poll_serve(cx, Instant::now().into_std())).await;
    while serve().await == Progress::More {
        yield_now().await;
    }
}

/// Tells whether an accept failed because its connection was gone already; there may be another.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
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
async fn refuse(socket: Arc<Socket>, head: bool) {
    let mut request = Vec::new();
    if head {
        // Without a whole head in time, the answer is the status.
        let _elapsed = timeout(REFUSAL, socket.read_head(&mut request, REFUSED_HEAD_BYTES)).await;
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
         content-length: {length}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}"
    );
    socket.answer(answer.as_bytes());
    // Closing the socket while it has unread bytes would reset it, and the answer would be lost.
    let _elapsed = timeout(REFUSAL, socket.peer_ended()).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn rev_11_sockets_and_streams_that_were_reset_are_counted_together() {
        let server = Server::bind("127.0.0.1:0", ServerOptions::new()).await.unwrap();
        let metrics = server.metrics();
        assert_eq!(metrics.stats().resets, 0);
        metrics.counts.resets.fetch_add(2, Ordering::Relaxed);
        let client = tokio::net::TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
        metrics.sockets.open(server.listener.accept().await.unwrap().0).cut();
        assert_eq!((metrics.stats().resets, server.metrics().stats().resets), (3, 3));
        drop(client);
    }

    #[tokio::test]
    async fn drn_3_a_connection_that_has_asked_for_nothing_holds_up_no_shutdown() {
        let options = ServerOptions::new().with_drain_deadline(Duration::from_secs(2));
        let server = Server::bind("127.0.0.1:0", options).await.unwrap();
        let (address, metrics) = (server.local_addr().unwrap(), server.metrics());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let shutdown = async { stopped.await.unwrap() };
            server.run(Router::new(), &Live::<()>::new(), shutdown).await
        });
        let _silent = tokio::net::TcpStream::connect(address).await.unwrap();
        while metrics.stats().open == 0 {
            yield_now().await;
        }
        stop.send(()).unwrap();
        assert_eq!(
            served.await.unwrap(),
            Drained { notified: 0, reset: 0 },
            "it was waited for, and reset"
        );
    }

    #[tokio::test]
    async fn drn_3_a_request_in_progress_has_the_drain_and_not_the_close_deadline() {
        let options = ServerOptions::new().with_close_deadline(Duration::from_millis(1));
        let server = Server::bind("127.0.0.1:0", options).await.unwrap();
        let address = server.local_addr().unwrap();
        let (asked, began) = tokio::sync::oneshot::channel();
        let asked = Arc::new(std::sync::Mutex::new(Some(asked)));
        let app = Router::new().fallback(move || {
            let asked = asked.lock().unwrap().take();
            async move {
                asked.unwrap().send(()).unwrap();
                sleep(Duration::from_millis(200)).await;
                "done"
            }
        });
        let served = tokio::spawn(async move {
            server.run(app, &Live::<()>::new(), async { began.await.unwrap() }).await
        });
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("done"), "{answer}");
        assert_eq!(served.await.unwrap(), Drained { notified: 0, reset: 0 });
    }

    #[tokio::test]
    async fn limits_a_later_head_has_a_limit_too_where_hyper_finds_out_the_protocol() {
        let options = ServerOptions::new().with_head_timeout(Duration::from_millis(500));
        let server = Server::bind("127.0.0.1:0", options).await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(async move {
            server
                .run_over(Router::new(), &Live::<()>::new(), std::future::pending(), |io| {
                    ready(Ok(io))
                })
                .await
        });
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        // The first is answered, and the second never ends.
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\nGET / HTTP/1.1\r\nhos")
            .await
            .unwrap();
        let ended = timeout(Duration::from_secs(10), client.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "the second head may take for ever");
    }
}
