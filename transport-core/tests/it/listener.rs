//! Our listener under `axum::serve`.

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use bytes::Bytes;
use hyper::body::Frame;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use registry_core::{ChannelFilter, Outbox, OutboxOptions, Registration, WireFormat};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use transport_core::test_util::{Raw, account, soon, until_is};
use transport_core::{
    Asked, ConnectionKind, ConnectionTask, DirectConnection, Drained, Entry, Framing, Grant,
    Handover, KindGuard, Live, Refusal, ServerListener, ServerMetrics, ServerOptions,
};

static PLAIN: WireFormat =
    WireFormat::new("plain", |_, encoded, out| out.extend_from_slice(encoded.body()));

struct Plain;

impl Framing for Plain {
    fn format(_: &Asked) -> &'static WireFormat {
        &PLAIN
    }
}

/// Greets over HTTP and goes on with the socket, as an event stream does.
struct Greeting {
    handover: Handover,
    greeted: bool,
    subscriber: Option<(Outbox, KindGuard)>,
}

impl hyper::body::Body for Greeting {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.greeted, true) {
            this.handover.arm(b"\r\n6\r\nhello\n\r\n");
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"hello\n")))));
        }
        if let Some(socket) = ready!(this.handover.poll_socket(cx))
            && let Some((outbox, kind)) = this.subscriber.take()
        {
            tokio::spawn(Direct(DirectConnection::new(outbox, socket, kind)).run());
        }
        Poll::Ready(None)
    }
}

struct Direct(DirectConnection);

impl ConnectionTask for Direct {
    type End = ();

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_flush(cx).map(drop)
    }

    async fn close(self, (): ()) {
        self.0.close("goodbye".into(), Duration::from_secs(10)).await;
    }
}

async fn events(entry: Entry<String>) -> Result<Response, Refusal> {
    let grant = Grant::new(ChannelFilter::All).with_group(account("ada"));
    let Some(admitted) = entry.admit::<Plain>(grant)?.into_admitted() else {
        return Ok(Response::default());
    };
    let handover = admitted.handover.expect("a direct path");
    let subscriber = Some((admitted.outbox, admitted.kind));
    let body = Body::new(Greeting { handover, greeted: false, subscriber });
    Ok(([(header::CONNECTION, "close")], body).into_response())
}

/// A body without an end.
async fn zeros() -> Body {
    let zeros = Ok::<_, Infallible>(Bytes::from_static(&[0; 64 * 1024]));
    Body::from_stream(futures_util::stream::repeat(zeros))
}

/// Upgrades the connection, and has a task of its own write to it without an end.
async fn upgrade(mut request: Request) -> Response {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().unwrap();
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.unwrap());
        while io.write_all(&[0; 64 * 1024]).await.is_ok() {}
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "zeros")];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

struct Running {
    address: SocketAddr,
    live: Live<String>,
    metrics: ServerMetrics,
    stop: oneshot::Sender<()>,
    /// Completes when `serve` returned; then what the drain found.
    ended: JoinHandle<Drained>,
    served: Arc<Mutex<bool>>,
}

impl Running {
    async fn start(options: ServerOptions) -> Self {
        let live = Live::<String>::new();
        let peer = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string();
        let app = Router::new()
            .route("/events", get(events))
            .route("/peer", get(peer))
            .route("/zeros", get(zeros))
            .route("/upgrade", get(upgrade));
        let listener = ServerListener::bind("127.0.0.1:0", options).await.unwrap();
        let (address, metrics) = (listener.local_addr().unwrap(), listener.metrics());
        let (service, drain) = listener.make_service(app, &live);
        let (stop, stopped) = oneshot::channel::<()>();
        let signal = live.shutdown_on(async { stopped.await.unwrap_or(()) });
        let served = Arc::new(Mutex::new(false));
        let returned = served.clone();
        let ended = tokio::spawn(async move {
            axum::serve(listener, service).with_graceful_shutdown(signal).await.unwrap();
            *returned.lock().unwrap() = true;
            drain.await
        });
        Self { address, live, metrics, stop, ended, served }
    }

    /// Connects a stream that is direct.
    async fn connect(&self, raw: Raw, streams: usize) -> Raw {
        let (head, mut raw) = raw.ask("GET", "/events", "").await;
        assert_eq!(head.status, 200);
        raw.read_past("hello\n\r\n").await;
        until_is("a direct connection", streams, || self.live.stats().wired).await;
        raw
    }
}

#[tokio::test]
async fn rev_12_connections_are_direct_and_a_peer_that_does_not_read_is_reset() {
    let options = ServerOptions::new().with_close_deadline(Duration::from_millis(100));
    let running = Running::start(options).await;
    let mut reader = running.connect(Raw::connect(running.address).await, 1).await;
    running.live.broadcast("c", "first".into()).unwrap();
    reader.read_past("\"first\"").await;
    let stalled = running.connect(Raw::connect_narrow(running.address).await, 2).await;
    let text = "x".repeat(8 << 20);
    running.live.broadcast("c", text.clone()).unwrap();
    reader.read_past(&text).await;
    assert_eq!(running.live.close_by_identity(account("ada")), 2);
    assert!(reader.read_to_end().await.ends_with("goodbye"));
    stalled.read_to_reset().await;
    until_is("the resets", 1, || running.metrics.stats().resets).await;
}

#[tokio::test]
async fn drn_3_a_shutdown_writes_farewells_and_ends_in_time_although_a_peer_stalls() {
    let options = ServerOptions::new().with_drain_deadline(Duration::from_millis(500));
    let running = Running::start(options).await;
    let mut reader = running.connect(Raw::connect(running.address).await, 1).await;
    let stalled = running.connect(Raw::connect_narrow(running.address).await, 2).await;
    let text = "x".repeat(8 << 20);
    running.live.broadcast("c", text.clone()).unwrap();
    reader.read_past(&text).await;
    running.stop.send(()).unwrap();
    assert!(reader.read_to_end().await.ends_with("goodbye"));
    let drained = soon("the end of the server", running.ended).await.unwrap();
    assert_eq!((drained.notified, drained.reset), (2, 1));
    assert!(*running.served.lock().unwrap());
    stalled.read_to_reset().await;
}

#[tokio::test]
async fn drn_3_portable_and_upgraded_peers_that_stall_hold_up_no_shutdown() {
    let options = ServerOptions::new().with_drain_deadline(Duration::from_millis(500));
    let running = Running::start(options).await;
    let narrow = async || Raw::connect_narrow(running.address).await;
    let (head, portable) = narrow().await.ask("GET", "/zeros", "").await;
    let headers = "connection: upgrade\r\nupgrade: zeros\r\n";
    let (upgraded_head, upgraded) = narrow().await.ask("GET", "/upgrade", headers).await;
    assert_eq!((head.status, upgraded_head.status), (200, 101));
    running.stop.send(()).unwrap();
    let drained = soon("the end of the server", running.ended).await.unwrap();
    assert_eq!((drained.notified, drained.reset), (0, 2));
    portable.read_to_reset().await;
    upgraded.read_to_reset().await;
}

#[tokio::test]
async fn limits_a_first_head_has_its_time_and_connections_their_limit() {
    let options = ServerOptions::new()
        .with_head_timeout(Duration::from_millis(300))
        .with_max_connections(NonZeroUsize::MIN);
    let running = Running::start(options).await;
    let mut slow = Raw::connect(running.address).await;
    slow.tcp.write_all(b"GET / HT").await.unwrap();
    until_is("the slow one", 1, || running.metrics.stats().open).await;
    let (head, _refused) = Raw::get(running.address, "/peer").await;
    assert_eq!(head.status, 503);
    slow.read_to_end().await;
    until_is("the slow head", 1, || running.metrics.stats().slow_heads).await;
    until_is("room", 0, || running.metrics.stats().open).await;
    let (head, mut raw) = Raw::get(running.address, "/peer").await;
    assert_eq!(head.status, 200);
    raw.read_past("127.0.0.1").await;
}

#[tokio::test]
async fn adm_7_tickets_are_drawn_behind_a_tapped_listener_too() {
    let live = Live::<String>::new();
    let listener = ServerListener::bind("127.0.0.1:0", ServerOptions::new()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = async |_: Entry<String>, _: Request| "admitted";
    let (service, drain) = listener.make_service(Router::new().route("/", get(answer)), &live);
    let taps = Arc::new(Mutex::new(0));
    let count = taps.clone();
    let listener = listener.tap_io(move |_| *count.lock().unwrap() += 1);
    let stop = live.shutdown_on(async {});
    let serving = tokio::spawn(async move { axum::serve(listener, service).await });
    let (head, _raw) = Raw::get(address, "/").await;
    assert_eq!((head.status, *taps.lock().unwrap()), (200, 1));
    serving.abort();
    stop.await;
    assert_eq!(soon("the drain", drain).await.notified, 0);
}

/// Without `make_service` the listener serves as one of tokio's does; nobody notes request heads.
#[tokio::test]
async fn limits_without_the_service_of_the_listener_a_stream_lives_on_as_portable() {
    let live = Live::<String>::new();
    let late = Duration::from_millis(100);
    let options = ServerOptions::new().with_head_timeout(late);
    let listener = ServerListener::bind("127.0.0.1:0", options).await.unwrap();
    let (address, metrics) = (listener.local_addr().unwrap(), listener.metrics());
    let kinds = live.clone();
    let events = async move |entry: Entry<String>| {
        let entered = entry.admit::<Plain>(Grant::new(ChannelFilter::All))?;
        let kind = entered.into_admitted().map(|admitted| admitted.kind.kind());
        assert_eq!((kind, kinds.stats().wired), (Some(ConnectionKind::Portable), 0));
        let tick = move |()| async move {
            tokio::time::sleep(late * 4).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"tick")), ()))
        };
        Ok::<_, Refusal>(Body::from_stream(futures_util::stream::unfold((), tick)))
    };
    let app = Router::new().route("/", get(events)).layer(live.entry_layer());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let (head, mut raw) = Raw::get(address, "/").await;
    assert_eq!(head.status, 200);
    raw.read_past("tick").await;
    raw.read_past("tick").await;
    assert_eq!(metrics.stats().slow_heads, 0);
}

/// The shutdown is begun on the registry, and by two signals.
#[tokio::test]
async fn drn_1_the_drain_follows_every_way_to_begin_a_shutdown() {
    let (live, other) = (Live::<String>::new(), Live::<u64>::new());
    let listener = ServerListener::bind("127.0.0.1:0", ServerOptions::new()).await.unwrap();
    let (_service, drain) = listener.make_service(Router::new(), (&live, &other));
    let _stream = live.stream(Registration::new(), OutboxOptions::new()).unwrap();
    let number = other.stream(Registration::new(), OutboxOptions::new()).unwrap();
    assert_eq!(other.begin_shutdown(), 1);
    tokio::join!(live.shutdown_on(async {}), live.shutdown_on(async {}));
    assert_eq!(live.begin_shutdown(), 1, "and all that it ended is counted");
    drop((_stream, number));
    assert_eq!(soon("the drain", drain).await.notified, 2);
}
