//! An HTTP server for long streams: bounded in every way that a peer could exploit, and able to end.

use crate::Refusal;
use crate::cut::{Cut, Cutter, Deadlines, STREAM, Streams};
use crate::socket::{Io, Socket, Sockets};
use crate::wired::bounded;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use registry_core::{Flusher, LaneOptions, Served, SubscriberRegistry};
use std::convert::Infallible;
use std::future::{Future, poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use tower_service::Service;

/// Connections that the kernel may hold before they are accepted: a herd that comes back at once fits in.
const BACKLOG: u32 = 4096;
/// How long to wait when the process is out of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// How many refused connections may be reading their answer; beyond that they are closed without one, so that a flood
/// does not use the descriptors up.
const MAX_REFUSALS: usize = 1024;
/// How long a refused connection may take to read its answer.
const REFUSAL: Duration = Duration::from_secs(1);

/// What hyper may hold for one HTTP/1 connection on top of the outbox, and the longest request head (QUE-3).
const BUFFER_BYTES: usize = 64 * 1024;
/// What an HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often an HTTP/2 connection is asked whether it is alive, and how long the answer may take.
const HTTP2_PING: Duration = Duration::from_secs(20);

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

    /// Sets how long the head of a request may take, from the connection or from the former response: a millisecond at least,
    /// a day at most; 10 s by default.
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

    /// Limits the connections; more are answered `503` with `Retry-After` and closed. No limit by default: the process's
    /// limit on descriptors is one.
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
/// streams, over HTTP/2; it bounds request heads and connections; and it ends, whatever its clients do (DRN-3).
///
/// # Examples
/// ```no_run
/// use axum::Router;
/// use registry_core::{Flusher, LaneOptions, Served, SubscriberRegistry};
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
    limit: Option<usize>,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    out_of_descriptors: AtomicU64,
    refused: AtomicU64,
    slow_heads: AtomicU64,
    panics: AtomicU64,
    resets: Arc<AtomicU64>,
}

impl ServerMetrics {
    /// Returns the number of open connections.
    #[must_use]
    pub fn open(&self) -> usize {
        self.sockets.len()
    }

    /// Returns how many connections there may be, if there is a limit.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        self.limit
    }

    /// Returns how often a connection could not be accepted because no descriptor was left.
    #[must_use]
    pub fn out_of_descriptors(&self) -> u64 {
        self.counts.out_of_descriptors.load(Ordering::Relaxed)
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

    /// Returns how many connections were closed because the head of a request did not come in time.
    #[must_use]
    pub fn slow_heads(&self) -> u64 {
        self.counts.slow_heads.load(Ordering::Relaxed)
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
        let limit = options.max_connections.map(NonZeroUsize::get);
        let metrics = ServerMetrics { sockets: Arc::default(), counts: Arc::default(), limit };
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
        let ServerMetrics { sockets, counts, .. } = metrics;
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
            let Ok((tcp, peer)) = accepted else {
                shared.counts.out_of_descriptors.fetch_add(1, Ordering::Relaxed);
                sleep(OUT_OF_DESCRIPTORS).await;
                continue;
            };
            shared.counts.accepted.fetch_add(1, Ordering::Relaxed);
            let most = shared.options.max_connections.map_or(usize::MAX, NonZeroUsize::get);
            let open = sockets.len();
            if open >= most {
                shared.counts.refused.fetch_add(1, Ordering::Relaxed);
                if open - most < MAX_REFUSALS {
                    tokio::spawn(refuse(sockets.open(tcp)));
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
        let ended = async { tokio::join!(end.closed(), registry.drained(), sockets.all_gone()) };
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
    while serve().await == Served::More {
        yield_now().await;
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted server takes its port back at once, as std's and tokio's listeners do.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What speaks HTTP: version 1, and whichever of the two hyper finds.
struct Http {
    http1: http1::Builder,
    either: Builder<Streams>,
}

impl Http {
    fn new(head_timeout: Duration) -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(BUFFER_BYTES);
        let mut either = Builder::new(Streams);
        either.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(BUFFER_BYTES);
        either.http2().timer(TokioTimer::new()).keep_alive_interval(HTTP2_PING).keep_alive_timeout(HTTP2_PING);
        Self { http1, either }
    }

    /// Serves a connection whose first bytes are known, or not. The future tells whether a head came too slowly.
    ///
    /// Where they cannot begin HTTP/2, hyper need not find out, which would cost 8 KiB for as long as the connection lives:
    /// the bytes it looked at make its read buffer grow.
    fn serve<S, H, F>(&self, first: &[u8], io: S, service: H, ending: watch::Receiver<()>) -> Serving
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, Infallible>> + Send + 'static,
    {
        let (io, service) = (TokioIo::new(io), service_fn(service));
        if PREFACE.starts_with(first) {
            let connection = self.either.serve_connection_with_upgrades(io, service).into_owned();
            let served = wind_down(connection, ending, |connection| connection.graceful_shutdown());
            let slow = |error: &hyper::Error| error.is_timeout();
            Box::pin(served.map(move |served| served.is_err_and(|error| error.downcast_ref().is_some_and(slow))))
        } else {
            let connection = self.http1.serve_connection(io, service).with_upgrades();
            let served = wind_down(connection, ending, |connection| connection.graceful_shutdown());
            Box::pin(served.map(|served| served.is_err_and(|error| error.is_timeout())))
        }
    }
}

/// A connection being served; true when it ended because a head came too slowly.
type Serving = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Serves a connection, and has it finish what it is at when the server ends. Holds `ending` until it is over.
async fn wind_down<C: Future>(
    connection: C,
    mut ending: watch::Receiver<()>,
    finish: impl FnOnce(Pin<&mut C>),
) -> C::Output {
    let mut connection = pin!(connection);
    tokio::select! {
        biased; // no dice for each message
        served = connection.as_mut() => return served,
        // An error is the server's future that was dropped: connections go on.
        Ok(()) = ending.changed() => finish(connection.as_mut()),
    }
    connection.await
}

/// Serves one connection to its end.
async fn connect<S>(
    wrapped: impl Future<Output = io::Result<S>>,
    socket: Arc<Socket>,
    peer: SocketAddr,
    shared: Arc<Shared>,
    mut ending: watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let head_timeout = shared.options.head_timeout;
    let counts = shared.counts.clone();
    let slow_head = || {
        counts.slow_heads.fetch_add(1, Ordering::Relaxed);
    };
    let mut first = [0; PREFACE.len()];
    let begun = async {
        let peeked = if shared.plain { socket.peek(&mut first).await? } else { 0 };
        Ok::<_, io::Error>((wrapped.await?, peeked))
    };
    let begun = tokio::select! {
        biased;
        begun = timeout(head_timeout, begun) => begun,
        // It has asked for nothing yet: a shutdown need not wait for it.
        Ok(()) = ending.changed() => return,
    };
    let (io, peeked) = match begun {
        Ok(Ok(begun)) => begun,
        Ok(Err(_gone)) => return,
        Err(_elapsed) => return slow_head(),
    };
    let mut connection = {
        let (socket, service) = (Arc::downgrade(&socket), shared.clone());
        // Boxed, because hyper keeps the room of a request's future for as long as the connection lives.
        let service = move |request| answer(request, socket.upgrade(), peer, service.clone()).map(Ok).boxed();
        shared.http.serve(&first[..peeked], io, service, ending)
    };
    drop(shared);
    // Before it knows the protocol, hyper waits for the first bytes without a limit.
    let too_slow = match timeout(head_timeout, &mut connection).await {
        Ok(too_slow) => too_slow,
        Err(_elapsed) if !socket.has_asked() => return slow_head(),
        Err(_elapsed) => {
            drop(socket);
            connection.await
        }
    };
    if too_slow {
        slow_head();
    }
}

/// Answers one request: the application does, knowing the peer and how its stream can be cut.
async fn answer(
    mut request: Request<Incoming>,
    socket: Option<Arc<Socket>>,
    peer: SocketAddr,
    shared: Arc<Shared>,
) -> Response {
    if let Some(socket) = &socket {
        socket.asks();
    }
    let cut = if request.version() == Version::HTTP_2 {
        STREAM.try_with(|stream| Cut::stream(stream.clone(), shared.cutter.clone())).ok()
    } else {
        let plain = shared.plain && !shared.options.portable && request.version() == Version::HTTP_11;
        socket.as_ref().map(|socket| Cut::socket(socket, plain, shared.cutter.clone()))
    };
    let plain = cut.as_ref().and_then(Cut::plain_socket);
    drop(socket);
    // HTTP/2 says in the address what HTTP/1 says in a header. Whoever compares hosts should need to know one place only.
    let host = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().entry(header::HOST).or_insert(host);
    }
    request.extensions_mut().insert(ConnectInfo(peer));
    if let Some(cut) = cut {
        request.extensions_mut().insert(cut);
    }
    let answered = AssertUnwindSafe(shared.app.clone().call(request)).catch_unwind().await;
    let response = answered.map_or_else(
        |_panic| {
            shared.counts.panics.fetch_add(1, Ordering::Relaxed);
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the handler failed").into_response()
        },
        |Ok(response)| response,
    );
    if let Some(socket) = plain.and_then(|socket| socket.upgrade()) {
        socket.proof().answers(closes(&response));
    }
    response
}

/// Whether hyper ends the connection after this response.
fn closes(response: &Response) -> bool {
    let connection = response.headers().get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    connection.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
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
