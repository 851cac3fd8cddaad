//! An HTTP server for long streams: bounded in every way that a peer could exploit, and able to end.

mod connection;

use crate::cut::{Cutter, Deadlines};
use crate::socket::{Io, Socket, Sockets};
use crate::wired::bounded;
use axum::Router;
use connection::{Http, connect};
use registry_core::{Flusher, LaneOptions, Progress, SubscriberRegistry};
use std::future::{Future, poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

/// Connections that the kernel may hold before they are accepted: a herd that comes back at once fits in.
const BACKLOG: u32 = 4096;
/// How long to wait when the process is out of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// How long a refused connection may take to read its answer.
const REFUSAL: Duration = Duration::from_secs(1);

/// What a [`Server`] can be told. Durations are upper bounds.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    close_deadline: Duration,
    drain_deadline: Duration,
    head_timeout: Duration,
    user_timeout: Duration,
    max_connections: Option<NonZeroUsize>,
    lanes: Option<NonZeroUsize>,
    lane: LaneOptions,
    portable: bool,
}

impl ServerOptions {
    /// How many refused connections may be reading their answer at a time, each for a second at most; beyond that they are
    /// closed without one, so that a flood does not use the descriptors up.
    pub const MAX_REFUSALS: usize = 64;

    /// Creates the defaults: `close_deadline` 2 s, `drain_deadline` 10 s, request heads within 10 s, unacknowledged data for
    /// 30 s at most, no limit on connections, a lane for each worker of the runtime.
    #[must_use]
    pub fn new() -> Self {
        Self {
            close_deadline: Duration::from_secs(2),
            drain_deadline: Duration::from_secs(10),
            head_timeout: Duration::from_secs(10),
            user_timeout: Duration::from_secs(30),
            max_connections: None,
            lanes: None,
            lane: LaneOptions::new(),
            portable: false,
        }
    }

    /// Sets when the connection of an ended subscriber is reset whose peer did not go (REV-11); 2 s by default: a
    /// farewell crosses the slowest link in that time.
    #[must_use]
    pub fn with_close_deadline(mut self, deadline: Duration) -> Self {
        self.close_deadline = deadline;
        self
    }

    /// Sets how long a shutdown waits for streams to flush; 10 s by default, what orchestrators grant before they kill.
    #[must_use]
    pub fn with_drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain_deadline = deadline;
        self
    }

    /// Sets how long the head of a request may take, from the connection, a handshake included, or from the former response:
    /// a millisecond at least, a day at most; 10 s by default. An HTTP/2 connection may be as long without a stream.
    #[must_use]
    pub fn with_head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = bounded(timeout);
        self
    }

    /// Sets how long sent data may stay unacknowledged before the kernel gives the peer up (`TCP_USER_TIMEOUT`, on Linux);
    /// 30 s by default. With the keep-alives of the transports, a pulled cable is noticed within their period and this.
    #[must_use]
    pub fn with_user_timeout(mut self, timeout: Duration) -> Self {
        self.user_timeout = timeout;
        self
    }

    /// Limits the connections; more are answered `503` with `Retry-After` and closed. No limit by default.
    ///
    /// The process's limit on descriptors is one too, but connections beyond that are not answered: they wait until another
    /// ends, which [`ServerMetrics::out_of_descriptors`] counts. So set this one lower. Beside the connections there are up to
    /// [`MAX_REFUSALS`](Self::MAX_REFUSALS) refused ones, the listener, some of the runtime, and what the application opens.
    #[must_use]
    pub fn with_max_connections(mut self, connections: NonZeroUsize) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Sets how many lanes serve the connections whose sockets are ours, each a task that writes to its share of them; one
    /// for each worker thread of the runtime by default.
    #[must_use]
    pub fn with_lanes(mut self, lanes: NonZeroUsize) -> Self {
        self.lanes = Some(lanes);
        self
    }

    /// Leaves every socket to HTTP, as on any other server: each stream is written by a task of its own, through buffers that
    /// a revocation does not reach. To compare, and for layers that must see every byte of a body: one that leaves the first
    /// comment of an event stream as it is would not see what follows.
    #[must_use]
    pub fn portable(mut self) -> Self {
        self.portable = true;
        self
    }

    /// Sets the bound of each lane's log.
    #[must_use]
    pub fn with_lane(mut self, lane: LaneOptions) -> Self {
        self.lane = lane;
        self
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves an axum router on a TCP listener, for applications whose responses do not end by themselves.
///
/// What it adds to `axum::serve`: it can reset the connection of a peer that does not read (REV-11), also under TLS and, by
/// streams, over HTTP/2; it notices, on Linux, a peer that leaves, whatever that had sent before (SSE-5); it bounds request
/// heads, idleness and connections; and it ends, whatever its clients do (DRN-3).
///
/// # Examples
/// ```no_run
/// use axum::Router;
/// use registry_core::{Flusher, LaneOptions, Progress, SubscriberRegistry};
/// use transport_core::{Server, ServerOptions};
///
/// # async fn example() -> std::io::Result<()> {
/// let registry = SubscriberRegistry::<String>::new();
/// let app = Router::new(); // .route("/events", sse(&live))
/// let server = Server::bind("127.0.0.1:3000", ServerOptions::new()).await?;
/// println!("listening on http://{}", server.local_addr()?);
/// server.run(app, &registry, async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    options: ServerOptions,
    metrics: ServerMetrics,
}

/// The counts of a server; a cheap clone that reads the same counts while it runs.
#[derive(Debug, Clone)]
pub struct ServerMetrics {
    sockets: Arc<Sockets>,
    counts: Arc<Counts>,
    limit: Option<NonZeroUsize>,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    refused: AtomicU64,
    out_of_descriptors: AtomicU64,
    slow_heads: AtomicU64,
    idle_closed: AtomicU64,
    panics: AtomicU64,
    resets: Arc<AtomicU64>,
}

impl ServerMetrics {
    /// Returns the number of open connections, without those that are refused.
    #[must_use]
    pub fn open(&self) -> usize {
        self.sockets.len()
    }

    /// Returns the limit on open connections, if there is [one](ServerOptions::with_max_connections).
    #[must_use]
    pub fn limit(&self) -> Option<NonZeroUsize> {
        self.limit
    }

    /// Returns how many connections were accepted, those that were refused included.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// Returns how many connections were refused because of the limit.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }

    /// Returns how often no connection could be accepted for want of a descriptor, or of memory for one. It is tried again
    /// every 50 ms, so this grows as long as connections wait.
    #[must_use]
    pub fn out_of_descriptors(&self) -> u64 {
        self.counts.out_of_descriptors.load(Ordering::Relaxed)
    }

    /// Returns how many connections were closed because the head of a request did not come in time: the first one, or a
    /// later one that had begun.
    #[must_use]
    pub fn slow_heads(&self) -> u64 {
        self.counts.slow_heads.load(Ordering::Relaxed)
    }

    /// Returns how many connections were closed because nothing more was asked for after a former request.
    #[must_use]
    pub fn idle_closed(&self) -> u64 {
        self.counts.idle_closed.load(Ordering::Relaxed)
    }

    /// Returns how many handlers panicked; each was answered `500`.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.counts.panics.load(Ordering::Relaxed)
    }

    /// Returns how many connections and streams were reset because their peer did not go by itself.
    #[must_use]
    pub fn resets(&self) -> u64 {
        self.sockets.cut() + self.counts.resets.load(Ordering::Relaxed)
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Subscribers that were told of the shutdown.
    pub told: usize,
    /// Connections that had to be reset at the deadline.
    pub reset: usize,
}

/// What the connections of one server share.
struct Shared {
    app: Router,
    /// Whether the socket's bytes are HTTP's.
    plain: bool,
    http: Http,
    cutter: Arc<Cutter>,
    options: ServerOptions,
    counts: Arc<Counts>,
}

impl Server {
    /// Binds a listener.
    ///
    /// # Errors
    /// Those of the operating system: the address is in use, is not this machine's, or needs a privilege.
    pub async fn bind(address: impl ToSocketAddrs, options: ServerOptions) -> io::Result<Self> {
        let mut error = io::Error::new(io::ErrorKind::InvalidInput, "the address resolves to nothing");
        for address in lookup_host(address).await? {
            match listen(address) {
                Ok(listener) => return Ok(Self::from_listener(listener, options)),
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    /// Takes a listener that was bound elsewhere.
    #[must_use]
    pub fn from_listener(listener: TcpListener, options: ServerOptions) -> Self {
        let metrics = ServerMetrics { sockets: Arc::default(), counts: Arc::default(), limit: options.max_connections };
        Self { listener, options, metrics }
    }

    /// Returns the address that it listens on.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns the counts, to be read while the server runs.
    #[must_use]
    pub fn metrics(&self) -> ServerMetrics {
        self.metrics.clone()
    }

    /// Serves until `shutdown` completes, then ends within the drain deadline.
    ///
    /// The end: the listener closes, the registry [begins its shutdown](SubscriberRegistry::begin_shutdown), streams flush and
    /// say farewell, requests in progress are answered, and at the deadline what is left is reset. A revocation during that
    /// time still discards (DRN-1).
    ///
    /// # Cancel safety
    /// Dropping the future closes the listener; connections go on.
    pub async fn run<T: Send + Sync + 'static>(
        self,
        app: Router,
        registry: &SubscriberRegistry<T>,
        shutdown: impl Future<Output = ()>,
    ) -> Drained {
        self.serve(app, registry, shutdown, |io| ready(Ok(io)), true).await
    }

    /// As [`run`](Self::run), with something between the socket and HTTP: a TLS handshake. `wrap` has as long as a request
    /// head. The sockets stay owned, so a revocation resets stalled peers under TLS too.
    pub async fn run_over<T, S, W, F>(
        self,
        app: Router,
        registry: &SubscriberRegistry<T>,
        shutdown: impl Future<Output = ()>,
        wrap: W,
    ) -> Drained
    where
        T: Send + Sync + 'static,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        W: Fn(Io) -> F,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        self.serve(app, registry, shutdown, wrap, false).await
    }

    async fn serve<T, S, W, F>(
        self,
        app: Router,
        registry: &SubscriberRegistry<T>,
        shutdown: impl Future<Output = ()>,
        wrap: W,
        plain: bool,
    ) -> Drained
    where
        T: Send + Sync + 'static,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        W: Fn(Io) -> F,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        let Self { listener, options, metrics } = self;
        if plain && !options.portable {
            let workers = Handle::current().metrics().num_workers();
            for _ in 0..options.lanes.map_or(workers, NonZeroUsize::get) {
                tokio::spawn(drive(registry.open_lane(options.lane)));
            }
        }
        let ServerMetrics { sockets, counts, limit } = metrics;
        // They do not count: else a peer that holds them would have others refused.
        let refused = Arc::<Sockets>::default();
        let deadlines = Deadlines { close: options.close_deadline, drain: options.drain_deadline };
        let cutter = Cutter { deadlines, runtime: Handle::current(), resets: counts.resets.clone() };
        let http = Http::new(options.head_timeout);
        let shared = Arc::new(Shared { app, plain, http, cutter: Arc::new(cutter), options, counts });
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
                Err(error) if went(&error) => continue,
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
                    tokio::spawn(refuse(refused.open(tcp)));
                }
                continue;
            }
            let socket = sockets.open(tcp);
            socket.tune(shared.options.user_timeout);
            let wrapped = wrap(Io::new(socket.clone()));
            tokio::spawn(connect(wrapped, socket, peer, shared.clone(), ending.clone()));
        }
        drop(listener);
        let told = registry.begin_shutdown();
        let deadline = shared.options.drain_deadline;
        drop((shared, ending));
        end.send_replace(());
        let gone = async { tokio::join!(sockets.all_gone(), refused.all_gone()) };
        let ended = async { tokio::join!(end.closed(), registry.drained(), gone) };
        let reset = match timeout(deadline, ended).await {
            Ok(_) => 0,
            Err(_elapsed) => sockets.reset_all(),
        };
        Drained { told, reset }
    }
}

/// Serves the connections of one lane, until the registry is gone or shut down.
async fn drive<T: Send + Sync + 'static>(mut flusher: Flusher<T>) {
    let mut serve = async || poll_fn(|cx| flusher.poll_serve(cx, Instant::now().into_std())).await;
    while serve().await == Progress::More {
        yield_now().await;
    }
}

/// Whether an accept failed because its connection was gone already, and the next may be there.
fn went(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted server takes its port back at once, as std's and tokio's listeners do.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Tells a connection over the limit when to come back.
async fn refuse(socket: Arc<Socket>) {
    let body = r#"{"error":"too many connections: come back in a second"}"#;
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{body}"
    );
    socket.answer(answer.as_bytes());
    // Closing it with unread bytes would reset it, and the answer would be lost.
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
        assert_eq!(metrics.resets(), 0);
        metrics.counts.resets.fetch_add(2, Ordering::Relaxed);
        let client = tokio::net::TcpStream::connect(server.local_addr().unwrap()).await.unwrap();
        metrics.sockets.open(server.listener.accept().await.unwrap().0).cut();
        assert_eq!((metrics.resets(), server.metrics().resets()), (3, 3));
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
            server.run(Router::new(), &SubscriberRegistry::<()>::new(), shutdown).await
        });
        let _silent = tokio::net::TcpStream::connect(address).await.unwrap();
        while metrics.open() == 0 {
            yield_now().await;
        }
        stop.send(()).unwrap();
        assert_eq!(served.await.unwrap(), Drained { told: 0, reset: 0 }, "it was waited for, and reset");
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
            server.run(app, &SubscriberRegistry::<()>::new(), async { began.await.unwrap() }).await
        });
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("done"), "{answer}");
        assert_eq!(served.await.unwrap(), Drained { told: 0, reset: 0 });
    }

    #[tokio::test]
    async fn limits_a_later_head_has_its_time_too_where_the_protocol_was_looked_for() {
        let options = ServerOptions::new().with_head_timeout(Duration::from_millis(500));
        let server = Server::bind("127.0.0.1:0", options).await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(async move {
            let registry = SubscriberRegistry::<()>::new();
            server.run_over(Router::new(), &registry, std::future::pending(), |io| ready(Ok(io))).await
        });
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        // The first is answered, and the second never ends.
        client.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\nGET / HTTP/1.1\r\nhos").await.unwrap();
        let ended = timeout(Duration::from_secs(10), client.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "the second head may take for ever");
    }
}
