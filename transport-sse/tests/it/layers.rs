//! Event streams under the layers that applications put around a router.

use crate::Payload;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use flate2::write::GzDecoder;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::CorsLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use transport_core::test_util::{Host, Raw, Running, Tokens, account, soon, until_is};
use transport_sse::{Entry, Grant, Live, Refusal, Sse, sse};

struct Server {
    live: Live<Payload>,
    address: SocketAddr,
    _running: Running,
}

impl Server {
    async fn start(host: Host, layered: impl FnOnce(Router) -> Router) -> Self {
        let live = Live::new();
        let route = sse(&live, Tokens::of(&["ada"]));
        Self::serve(host, layered(Router::new().route("/events", route)), live).await
    }

    async fn serve(host: Host, app: Router, live: Live<Payload>) -> Self {
        let running = Running::start(host, app, &live).await;
        Self { live, address: running.address, _running: running }
    }

    fn broadcast(&self, json: &str) {
        self.live.broadcast("runs", RawValue::from_string(json.to_owned()).unwrap()).unwrap();
    }

    /// A client that takes gzip, and has read the greeting.
    async fn open(&self) -> Reader {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let (mut send, connection) = http1::handshake(TokioIo::new(tcp)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("/events?token=ada")
            .header("host", "here")
            .header("accept-encoding", "gzip");
        let answer = send.send_request(request.body(Empty::<Bytes>::new()).unwrap());
        let response = soon("an answer", answer).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let gzip = response.headers().get("content-encoding").map(|coding| {
            assert_eq!(coding, "gzip");
            GzDecoder::new(Vec::new())
        });
        let mut reader = Reader { body: response.into_body(), gzip, text: Vec::new() };
        assert_eq!(reader.read_past("\n\n").await, ": ok\n\n");
        reader
    }
}

struct Reader {
    body: Incoming,
    gzip: Option<GzDecoder<Vec<u8>>>,
    text: Vec<u8>,
}

impl Reader {
    /// Reads one frame; false at the end of the body, which must be a proper one.
    async fn read(&mut self) -> bool {
        let Some(frame) = soon("a frame", self.body.frame()).await else { return false };
        let bytes = frame.unwrap().into_data().unwrap();
        match &mut self.gzip {
            None => self.text.extend_from_slice(&bytes),
            Some(gzip) => {
                gzip.write_all(&bytes).unwrap();
                gzip.flush().unwrap();
                self.text.append(gzip.get_mut());
            }
        }
        true
    }

    /// Reads until `needle` was read, and returns all that there is by then.
    async fn read_past(&mut self, needle: &str) -> String {
        while !String::from_utf8_lossy(&self.text).contains(needle) {
            assert!(self.read().await, "the stream ended before {needle:?}");
        }
        String::from_utf8(std::mem::take(&mut self.text)).unwrap()
    }

    async fn read_to_end(mut self) -> String {
        while self.read().await {}
        if let Some(gzip) = self.gzip {
            self.text.extend(gzip.finish().expect("a whole gzip stream"));
        }
        String::from_utf8(self.text).unwrap()
    }
}

/// Each message arrives by itself, under any layers.
async fn works(server: &Server, reader: &mut Reader) {
    for number in 0..3 {
        server.broadcast(&format!("\"m{number}\""));
        let read = reader.read_past("\n\n").await;
        assert!(
            read.starts_with("id: ") && read.ends_with(&format!("data: \"m{number}\"\n\n")),
            "{read}"
        );
    }
}

/// A revocation writes a farewell, and nothing after it.
async fn revoked(server: &Server, reader: Reader) {
    assert_eq!(server.live.close_by_identity(account("ada")), 1);
    server.broadcast("\"afterwards\"");
    let rest = reader.read_to_end().await;
    let retry = rest
        .strip_prefix("event: close\ndata: {\"reason\":\"revoked\"}\nretry: ")
        .expect("a farewell at once");
    assert_eq!(retry.trim_end_matches("\n\n").parse::<u32>().err(), None, "{rest}");
    until_is("the end of the connection's task", 0, || server.live.stats().wired).await;
}

async fn sse_1_a_layer_that_compresses_leaves_event_streams_alone_by_default(host: Host) {
    let server = Server::start(host, |app| app.layer(CompressionLayer::new())).await;
    let mut ada = server.open().await;
    assert!(ada.gzip.is_none());
    works(&server, &mut ada).await;
    assert_eq!(
        server.live.stats().wired,
        usize::from(host.is_direct()),
        "the connection is direct all the same"
    );
    revoked(&server, ada).await;
}

async fn sse_1_a_compressed_stream_arrives_message_by_message(host: Host) {
    let all = CompressionLayer::new().compress_when(SizeAbove::new(0));
    let server = Server::start(host, |app| app.layer(all)).await;
    let mut ada = server.open().await;
    assert!(ada.gzip.is_some());
    works(&server, &mut ada).await;
    assert_eq!(server.live.stats().wired, 0, "the proof fails: a layer has other bytes");
    revoked(&server, ada).await;
}

async fn sse_5_a_client_that_leaves_a_compressed_stream_is_noticed(host: Host) {
    let all = CompressionLayer::new().compress_when(SizeAbove::new(0));
    let server = Server::start(host, |app| app.layer(all)).await;
    drop(server.open().await);
    until_is("the removal", 0, || server.live.len()).await;
}

#[tokio::test]
async fn sse_5_a_client_that_leaves_a_compressed_stream_is_noticed_although_it_had_sent_too_much() {
    let all = CompressionLayer::new().compress_when(SizeAbove::new(0));
    let server = Server::start(Host::Server, |app| app.layer(all)).await;
    let gzip = "accept-encoding: gzip\r\n";
    let (head, mut raw) = Raw::request(server.address, "GET", "/events?token=ada", gzip).await;
    assert_eq!((head.status, head.header("content-encoding")), (200, Some("gzip")));
    raw.tcp.write_all(b"x").await.unwrap();
    drop(raw);
    until_is("the removal", 0, || server.live.len()).await;
}

async fn sse_1_layers_that_trace_and_time_requests_do_not_end_a_stream(host: Host) {
    let timeout = Duration::from_millis(100);
    let server = Server::start(host, |app| {
        app.layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, timeout))
            .layer(TraceLayer::new_for_http())
    })
    .await;
    let mut ada = server.open().await;
    tokio::time::sleep(timeout * 2).await;
    works(&server, &mut ada).await;
    assert_eq!(server.live.stats().wired, usize::from(host.is_direct()));
    revoked(&server, ada).await;
}

/// A handler and a state of the application's own, within everything that is usually put around.
async fn sse_1_a_handlers_own_stream_is_direct_within_the_usual_layers(host: Host) {
    let live = Live::new();
    let events = async |State(who): State<&'static str>, entry: Entry<Payload>| {
        Ok::<_, Refusal>(Sse::new(entry.admit(Grant::only(["runs"]).with_group(account(who)))?))
    };
    let timeout =
        TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(9));
    let usual =
        (TraceLayer::new_for_http(), timeout, CompressionLayer::new(), CorsLayer::permissive());
    let passed = from_fn(async |request: Request<Body>, next: Next| next.run(request).await);
    let routes = Router::new().route("/events", get(events).layer(passed.clone()));
    let app = routes.route_layer(passed).layer(usual).with_state("ada");
    let server = Server::serve(host, Router::new().merge(app), live).await;
    let mut ada = server.open().await;
    works(&server, &mut ada).await;
    assert_eq!(server.live.stats().wired, usize::from(host.is_direct()));
    revoked(&server, ada).await;
}

transport_core::on_every_host!(
    sse_1_a_handlers_own_stream_is_direct_within_the_usual_layers,
    sse_1_a_layer_that_compresses_leaves_event_streams_alone_by_default,
    sse_1_a_compressed_stream_arrives_message_by_message,
    sse_5_a_client_that_leaves_a_compressed_stream_is_noticed,
    sse_1_layers_that_trace_and_time_requests_do_not_end_a_stream,
);
