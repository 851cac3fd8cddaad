//! An HTTP server for long streams. It bounds everything that a peer could exhaust, and it is able
//! to end.

mod acceptor;
mod connection;
mod http;
pub(crate) mod listener;
pub(crate) mod options;
pub(crate) mod registries;
pub(crate) mod stats;
#[cfg(unix)]
mod unix;

use crate::admission::refused_socket::RefusedSockets;
use crate::socket::cut::{Cutter, Deadlines};
use crate::socket::io::ServerIo;
use acceptor::{Accepted, Acceptor, Listener, bind};
use axum::Router;
#[cfg(unix)]
use connection::connect_unix;
use connection::{Shared, connect};
use http::Http;
use options::ServerOptions;
use registries::Registries;
use stats::ServerMetrics;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// How much longer than the whole drain the farewell of one connection may take.
const AFTER_DRAIN: Duration = Duration::from_secs(1);

/// Serves an axum router on its listeners, for applications whose responses do not end by
/// themselves.
///
/// It adds to `axum::serve`: it draws the tickets of requests before any middleware runs
/// ([`Entry`](crate::Entry)). It can reset the connection of a peer that does not read (REV-11),
/// also under TLS, and single streams over HTTP/2. On Linux it notices a peer that leaves, whatever
/// the peer sent before (SSE-5). It bounds request heads, idle time and connections. And it ends,
/// also when clients stall (DRN-3). For `axum::serve` itself there is a
/// [`ServerListener`](crate::ServerListener).
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
pub struct Server(Acceptor);

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
        Ok(Self::from_listener(bind(address).await?, options))
    }

    /// Uses a listener that was bound elsewhere, such as one that a service manager passes:
    /// `TcpListener::from_std` makes it of the standard library's.
    #[must_use]
    pub fn from_listener(listener: TcpListener, options: ServerOptions) -> Self {
        Self(Acceptor::new(listener, options))
    }

    /// Adds a listener. The limit on connections holds for all together.
    #[must_use]
    pub fn with_listener(mut self, listener: TcpListener) -> Self {
        self.0.listeners.push(Listener::Tcp(listener));
        self
    }

    /// Adds a listener on a Unix socket, for a proxy on the same machine. It speaks HTTP/1.1, its
    /// connections are [portable](crate::ConnectionKind::Portable), and its requests have no
    /// `ConnectInfo`.
    ///
    /// # Examples
    /// ```
    /// use axum::Router;
    /// use tokio::net::UnixListener;
    /// use transport_core::{Live, Server, ServerOptions};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
    /// let path = std::env::temp_dir().join(format!("live-{}.socket", std::process::id()));
    /// let server = Server::bind("127.0.0.1:0", ServerOptions::new())
    ///     .await?
    ///     .with_unix_listener(UnixListener::bind(&path)?);
    /// server.run(Router::new(), &Live::<String>::new(), async {}).await;
    /// std::fs::remove_file(path)
    /// # }
    /// ```
    #[cfg(unix)]
    #[must_use]
    pub fn with_unix_listener(mut self, listener: tokio::net::UnixListener) -> Self {
        self.0.listeners.push(Listener::Unix(listener));
        self
    }

    /// Returns the address of the first listener.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Returns what reads the counts while the server runs.
    #[must_use]
    pub fn metrics(&self) -> ServerMetrics {
        self.0.metrics.clone()
    }

    /// Serves until `shutdown` completes, then ends within the drain deadline.
    ///
    /// `registries` is a [`Live`](crate::Live), or a tuple of several. At the end the listeners
    /// close, the registries begin their shutdown, streams flush and write their farewells, and
    /// requests in progress are answered. Connections that are left at the deadline are reset. A
    /// revocation during that time still discards what is queued (DRN-1).
    ///
    /// # Cancel safety
    /// Dropping the future closes the listeners; connections go on.
    ///
    /// # Examples
    /// ```
    /// use axum::Router;
    /// use transport_core::{Live, Server, ServerOptions};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
    /// let (runs, prices) = (Live::<String>::new(), Live::<u64>::new());
    /// let server = Server::bind("127.0.0.1:0", ServerOptions::new()).await?;
    /// let drained = server.run(Router::new(), (&runs, &prices), async {}).await;
    /// assert_eq!((drained.notified, drained.reset), (0, 0));
    /// # Ok(()) }
    /// ```
    pub async fn run(
        self,
        app: Router,
        registries: impl Into<Registries>,
        shutdown: impl Future<Output = ()>,
    ) -> Drained {
        self.0.serve(app, registries.into(), shutdown, |io| ready(Ok(io))).await
    }

    /// Serves as [`run`](Self::run) does, with something between the socket and HTTP, such as TLS:
    /// `wrap` makes it from each connection, and has as long as a request head. A revocation resets
    /// stalled peers there too. Unix sockets are not wrapped.
    ///
    /// # Cancel safety
    /// As for `run`.
    pub async fn run_over<S, W, F>(
        mut self,
        app: Router,
        registries: impl Into<Registries>,
        shutdown: impl Future<Output = ()>,
        wrap: W,
    ) -> Drained
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        W: Fn(ServerIo) -> F,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        self.0.plain = false;
        self.0.serve(app, registries.into(), shutdown, wrap).await
    }
}

impl Acceptor {
    /// Opens the lanes of the registries, if connections can be direct, and returns what the
    /// connections share.
    fn share(&self, app: Router, registries: Registries) -> Shared {
        let (options, plain) = (self.options.clone(), self.plain && !self.options.portable);
        if plain {
            let workers = Handle::current().metrics().num_workers();
            let lanes = options.lane_count.map_or(workers, NonZeroUsize::get);
            registries.open_lanes(lanes, options.lane_options);
        }
        let counts = self.metrics.counts.clone();
        // The server's deadline ends and counts what is left, so it comes before that of each.
        let each = options.drain_deadline.saturating_add(AFTER_DRAIN);
        let deadlines = Deadlines::new(options.close_deadline, each);
        let cutter =
            Cutter { deadlines, runtime: Handle::current(), resets: counts.resets.clone() };
        let http = Http::new(options.head_timeout);
        let (cutter, refused_sockets) = (cutter.into(), RefusedSockets::default());
        let peeks = self.plain;
        Shared { app, registries, plain, peeks, http, cutter, counts, refused_sockets }
    }

    async fn serve<S, W, F>(
        mut self,
        app: Router,
        registries: Registries,
        shutdown: impl Future<Output = ()>,
        wrap: W,
    ) -> Drained
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        W: Fn(ServerIo) -> F,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        let shared = Arc::new(self.share(app, registries.clone()));
        let (end, ending) = watch::channel(());
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Accepted::Tcp(socket, peer) => {
                    let wrapped = wrap(ServerIo::new(socket.clone()));
                    tokio::spawn(connect(wrapped, socket, peer, shared.clone(), ending.clone()));
                }
                #[cfg(unix)]
                Accepted::Unix(stream) => {
                    let io = self.metrics.counts.unix.open(stream, ending.clone());
                    tokio::spawn(connect_unix(io, shared.clone(), ending.clone()));
                }
            }
        }
        let Self { listeners, options, metrics, refusals, .. } = self;
        drop((listeners, shared, ending));
        let notified = registries.shut_down();
        end.send_replace(());
        let gone = async { tokio::join!(metrics.sockets.all_gone(), all_answered(&refusals)) };
        let ended = async { tokio::join!(end.closed(), registries.drained(), gone) };
        let reset = match timeout(options.drain_deadline, ended).await {
            Ok(_) => 0,
            Err(_elapsed) => metrics.reset_all(),
        };
        Drained { notified, reset }
    }
}

/// Waits until no refused connection reads its answer.
async fn all_answered(refusals: &Semaphore) {
    let _closed = refusals.acquire_many(ServerOptions::MAX_REFUSALS as u32).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::live::Live;
    use std::sync::atomic::Ordering;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::yield_now;
    use tokio::time::sleep;

    #[tokio::test]
    async fn rev_11_sockets_and_streams_that_were_reset_are_counted_together() {
        let server = Server::bind("127.0.0.1:0", ServerOptions::new()).await.unwrap();
        let metrics = server.metrics();
        assert_eq!(metrics.stats().resets, 0);
        metrics.counts.resets.fetch_add(2, Ordering::Relaxed);
        let client = tokio::net::TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
        let Listener::Tcp(listener) = &server.0.listeners[0] else { panic!("it is TCP") };
        metrics.sockets.open(listener.accept().await.unwrap().0).cut();
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
