//! Servers with several listeners, Unix sockets among them, and several registries.

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use registry_core::{ChannelFilter, OutboxOptions, Registration, WireFormat};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::oneshot;
use transport_core::test_util::{Raw, soon, until_is};
use transport_core::{
    Asked, ConnectionKind, Entry, Framing, Grant, Live, Refusal, Server, ServerOptions,
};

static PLAIN: WireFormat =
    WireFormat::new("plain", |_, encoded, out| out.extend_from_slice(encoded.body()));

struct Plain;

impl Framing for Plain {
    fn format(_: &Asked) -> &'static WireFormat {
        &PLAIN
    }
}

/// A path for a socket, which is removed at the end.
struct Path(PathBuf);

impl Path {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("transport-core-{}-{number}.socket", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn listen(&self) -> UnixListener {
        UnixListener::bind(&self.0).unwrap()
    }

    /// Sends a request, and returns the connection once the head of the answer was read.
    async fn ask(&self, target: &str, headers: &str) -> (u16, UnixStream) {
        let mut stream = UnixStream::connect(&self.0).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nhost: here\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("a head", stream.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), stream)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_file(&self.0);
    }
}

/// Answers with the kind of the connection.
async fn kind(entry: Entry<String>) -> Result<String, Refusal> {
    let entered = entry.admit::<Plain>(Grant::new(ChannelFilter::All))?;
    Ok(entered.into_admitted().map(|admitted| admitted.kind.kind().to_string()).unwrap_or_default())
}

/// Upgrades the connection, and has a task of its own write more to it than anybody reads.
async fn upgrade(mut request: Request) -> Response {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().unwrap();
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.unwrap());
        while io.write_all(&[0; 1 << 16]).await.is_ok() {}
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "zeros")
        .body(Body::empty())
        .unwrap()
}

async fn endless() -> Body {
    Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>())
}

#[tokio::test]
async fn drn_3_every_listener_is_served_and_a_shutdown_ends_all_of_them() {
    let (path, live) = (Path::new(), Live::<String>::new());
    let second = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second_address = second.local_addr().unwrap();
    let options = ServerOptions::new().with_drain_deadline(Duration::from_millis(300));
    let server = Server::bind("127.0.0.1:0", options)
        .await
        .unwrap()
        .with_listener(second)
        .with_unix_listener(path.listen());
    let (first_address, metrics) = (server.local_addr().unwrap(), server.metrics());
    let (stop, stopped) = oneshot::channel::<()>();
    let peer = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string();
    let app = Router::new()
        .route("/kind", get(kind))
        .route("/peer", get(peer))
        .route("/endless", get(endless));
    let serving = live.clone();
    let served = tokio::spawn(async move {
        server.run(app, &serving, async { stopped.await.unwrap_or(()) }).await
    });

    for address in [first_address, second_address] {
        let (head, mut raw) = Raw::get(address, "/kind").await;
        assert_eq!(head.status, 200);
        raw.read_past(ConnectionKind::Http1.name()).await;
    }
    let (status, mut stream) = path.ask("/kind", "").await;
    assert_eq!(status, 200);
    let mut body = [0; 8];
    soon("the body", stream.read_exact(&mut body)).await.unwrap();
    assert_eq!(&body, b"portable");
    assert_eq!(path.ask("/peer", "").await.0, StatusCode::INTERNAL_SERVER_ERROR, "no address");
    drop(stream);

    let (_, mut stalled) = path.ask("/endless", "").await;
    let (_, stalled_too) = Raw::get(second_address, "/endless").await;
    until_is("the stalled alone", 2, || metrics.stats().open).await;
    stop.send(()).unwrap();
    let drained = soon("the end of the server", served).await.unwrap();
    assert_eq!(drained.reset, 2);
    soon("the end", stalled.read_to_end(&mut Vec::new())).await.unwrap_or_default();
    stalled_too.read_to_reset().await;
    until_is("no connection", 0, || metrics.stats().open).await;
    assert!(UnixStream::connect(&path.0).await.is_err());
}

#[tokio::test]
async fn drn_3_an_upgraded_connection_is_open_until_its_end_and_ends_with_the_server() {
    let (path, live) = (Path::new(), Live::<String>::new());
    let options = ServerOptions::new()
        .with_max_connections(NonZeroUsize::MIN)
        .with_drain_deadline(Duration::from_millis(300));
    let server =
        Server::bind("127.0.0.1:0", options).await.unwrap().with_unix_listener(path.listen());
    let metrics = server.metrics();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(async move {
        let app = Router::new().route("/", get(upgrade));
        server.run(app, &live, async { stopped.await.unwrap_or(()) }).await
    });
    let headers = "connection: upgrade\r\nupgrade: zeros\r\n";
    let (status, mut stalled) = path.ask("/", headers).await;
    assert_eq!((status, metrics.stats().open), (101, 1));
    assert_eq!(path.ask("/", headers).await.0, 503, "the limit holds for what was upgraded");
    stop.send(()).unwrap();
    assert_eq!(soon("the end of the server", served).await.unwrap().reset, 1);
    let mut read = Vec::new();
    soon("the end of the stalled", stalled.read_to_end(&mut read)).await.unwrap_or_default();
    until_is("no connection", 0, || metrics.stats().open).await;
}

#[tokio::test]
async fn limits_unix_sockets_count_towards_the_limit_and_heads_have_their_time() {
    let (path, live) = (Path::new(), Live::<String>::new());
    let options = ServerOptions::new()
        .with_max_connections(NonZeroUsize::MIN)
        .with_head_timeout(Duration::from_millis(300));
    let server =
        Server::bind("127.0.0.1:0", options).await.unwrap().with_unix_listener(path.listen());
    let metrics = server.metrics();
    tokio::spawn(async move { server.run(Router::new(), &live, std::future::pending()).await });
    let mut silent = UnixStream::connect(&path.0).await.unwrap();
    until_is("the first", 1, || metrics.stats().open).await;
    assert_eq!(path.ask("/", "").await.0, 503);
    assert_eq!(path.ask("/", "accept: text/event-stream\r\n").await.0, 200);
    assert_eq!(metrics.stats().refused, 2);
    let mut read = Vec::new();
    let _reset = soon("the end", silent.read_to_end(&mut read)).await;
    assert_eq!(read, b"");
    until_is("the slow head", 1, || metrics.stats().slow_heads).await;
}

#[tokio::test]
async fn drn_1_a_server_draws_tickets_of_all_its_registries_and_shuts_them_all_down() {
    let (words, numbers) = (Live::<String>::new(), Live::<u64>::new());
    let both = async |word: Entry<String>, number: Entry<u64>| {
        format!("{:?}{:?}", word.requested(), number.requested())
    };
    let server = Server::bind("127.0.0.1:0", ServerOptions::new()).await.unwrap();
    let address = server.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = (words.clone(), numbers.clone());
    let served = tokio::spawn(async move {
        let app = Router::new().route("/", get(both));
        let registries = (&serving.0, &serving.1);
        server.run(app, registries, async { stopped.await.unwrap_or(()) }).await
    });
    assert_eq!(Raw::get(address, "/").await.0.status, 200);
    let word = words.stream(Registration::new(), OutboxOptions::new()).unwrap();
    let number = numbers.stream(Registration::new(), OutboxOptions::new()).unwrap();
    stop.send(()).unwrap();
    drop((word, number));
    let drained = soon("the end of the server", served).await.unwrap();
    assert!(words.stream(Registration::new(), OutboxOptions::new()).is_err());
    assert!(numbers.stream(Registration::new(), OutboxOptions::new()).is_err());
    assert_eq!(drained.reset, 0);
}
