//! HTTP/2 without and with TLS, and HTTP/1.1 with TLS: a stream is reset, and the shared socket
//! stays open.

use crate::Payload;
use axum::Router;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use registry_core::OutboxOptions;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use transport_core::test_util::{Raw, Tokens, account, soon, until_is};
use transport_core::{ConnectionKind, Live, LiveOptions, Server, ServerMetrics, ServerOptions};
use transport_sse::sse;

const DEADLINE: Duration = Duration::from_millis(50);

struct Site {
    live: Live<Payload>,
    address: SocketAddr,
    metrics: ServerMetrics,
    tls: Option<TlsConnector>,
}

/// A self-signed certificate, and a client that trusts it.
fn tls() -> (TlsAcceptor, TlsConnector) {
    let certified = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let certificate = certified.cert.der().clone();
    let mut server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)))
}

impl Site {
    async fn start(secure: bool) -> Self {
        let roomy = OutboxOptions::new().with_max_bytes(NonZeroUsize::new(64 << 20).unwrap());
        let tokens = Tokens::of(&["ada", "grace"]);
        let live = Live::builder().with_options(LiveOptions::new().with_outbox(roomy)).build();
        let app = Router::new().route("/events", sse(&live, tokens));
        let options = ServerOptions::new().with_close_deadline(DEADLINE);
        let server = Server::bind("127.0.0.1:0", options).await.unwrap();
        let (address, metrics) = (server.local_addr().unwrap(), server.metrics());
        let served = live.clone();
        let never = std::future::pending();
        let mut site = Self { live, address, metrics, tls: None };
        if secure {
            let (acceptor, connector) = tls();
            site.tls = Some(connector);
            tokio::spawn(async move {
                server.run_over(app, &served, never, move |io| acceptor.accept(io)).await
            });
        } else {
            tokio::spawn(async move { server.run(app, &served, never).await });
        }
        site
    }

    async fn connect(&self) -> Box<dyn Wire> {
        let tcp = Raw::connect_narrow(self.address).await.tcp;
        match &self.tls {
            None => Box::new(tcp),
            Some(tls) => Box::new(
                tls.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap(),
            ),
        }
    }

    fn broadcast(&self, channel: &str, json: &str) {
        self.live.broadcast(channel, RawValue::from_string(json.to_owned()).unwrap()).unwrap();
    }
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl Wire for TcpStream {}
impl Wire for tokio_rustls::client::TlsStream<TcpStream> {}

struct Client(http2::SendRequest<Empty<Bytes>>);

impl Client {
    async fn new(site: &Site) -> Self {
        let io = TokioIo::new(site.connect().await);
        let (send, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self(send)
    }

    async fn open(&mut self, query: &str) -> Response<Incoming> {
        let request =
            Request::get(format!("http://localhost/events?{query}")).body(Empty::new()).unwrap();
        let mut response = soon("an answer", self.0.send_request(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("connection"), "the socket is shared");
        assert_eq!(read(&mut response).await.unwrap(), ": ok\n\n");
        response
    }
}

async fn read(response: &mut Response<Incoming>) -> Result<String, hyper::Error> {
    let frame = soon("a frame", response.body_mut().frame()).await.expect("the stream goes on")?;
    Ok(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

async fn a_stalled_stream_is_reset_and_the_connection_goes_on(secure: bool) {
    let site = Site::start(secure).await;
    let mut client = Client::new(&site).await;
    let mut stalled = client.open("token=ada&channels=runs").await;
    let mut other = client.open("token=grace&channels=jobs").await;
    let filler = format!("\"{}\"", "x".repeat(1 << 20));
    for _ in 0..8 {
        site.broadcast("runs", &filler);
    }
    site.broadcast("jobs", "1");
    assert!(read(&mut other).await.unwrap().ends_with("data: 1\n\n"));
    assert_eq!(site.live.close_by_identity(account("ada")), 1);
    until_is("the reset", 1, || site.metrics.stats().resets).await;
    let error = loop {
        match read(&mut stalled).await {
            Ok(text) => assert!(!text.contains("event: close"), "the farewell came through"),
            Err(error) => break error,
        }
    };
    assert!(format!("{error:?}").contains("Reset"), "{error:?}");
    site.broadcast("jobs", "2");
    assert!(read(&mut other).await.unwrap().ends_with("data: 2\n\n"), "the other stream goes on");
    client.open("token=grace").await;
    assert_eq!(site.metrics.stats().open, 1, "over the same connection");
}

#[tokio::test]
async fn rev_11_h2c_a_stalled_stream_is_reset_and_the_connection_goes_on() {
    a_stalled_stream_is_reset_and_the_connection_goes_on(false).await;
}

#[tokio::test]
async fn rev_11_h2_under_tls_a_stalled_stream_is_reset_and_the_connection_goes_on() {
    a_stalled_stream_is_reset_and_the_connection_goes_on(true).await;
}

#[tokio::test]
async fn rev_1_h2_a_stream_that_reads_gets_its_farewell() {
    let site = Site::start(false).await;
    let mut client = Client::new(&site).await;
    let mut ada = client.open("token=ada").await;
    assert_eq!(site.live.close_by_identity(account("ada")), 1);
    assert!(read(&mut ada).await.unwrap().contains("{\"reason\":\"revoked\"}"));
    assert!(soon("the end", ada.body_mut().frame()).await.is_none());
    drop(ada);
    client.open("token=grace").await;
    assert_eq!(site.metrics.stats().resets, 0);
}

#[tokio::test]
async fn rev_3_h2_hyper_writes_every_stream() {
    for secure in [false, true] {
        let site = Site::start(secure).await;
        let mut client = Client::new(&site).await;
        let mut ada = client.open("token=ada").await;
        let mut grace = client.open("token=grace").await;
        for number in 0..3 {
            site.broadcast("runs", &number.to_string());
            for stream in [&mut ada, &mut grace] {
                assert!(read(stream).await.unwrap().ends_with(&format!("data: {number}\n\n")));
            }
        }
        let stats = site.live.stats();
        assert_eq!(
            (stats.subscribers, stats.in_lanes, stats.wired, stats.lane_writes),
            (2, 0, 0, 0)
        );
        assert_eq!(site.metrics.stats().open, 1, "both over one socket");
        assert_eq!(site.live.begin_shutdown(), 2);
        for stream in [&mut ada, &mut grace] {
            assert!(read(stream).await.unwrap().contains("{\"reason\":\"shutdown\"}"));
            assert!(soon("the end", stream.body_mut().frame()).await.is_none());
        }
        soon("the drain", site.live.drained()).await;
        assert_eq!(site.metrics.stats().resets, 0);
    }
}

#[tokio::test]
async fn sse_5_h2_a_stream_that_the_client_drops_is_noticed() {
    let site = Site::start(false).await;
    let mut client = Client::new(&site).await;
    let ada = client.open("token=ada").await;
    let mut grace = client.open("token=grace").await;
    drop(ada);
    until_is("the removal", 1, || site.live.len()).await;
    site.broadcast("runs", "1");
    read(&mut grace).await.unwrap();
}

/// Returns the counts of all kinds, of which only one is not zero.
fn only(kind: ConnectionKind, streams: usize) -> BTreeMap<ConnectionKind, usize> {
    ConnectionKind::ALL.map(|each| (each, if each == kind { streams } else { 0 })).into()
}

#[tokio::test]
async fn cnt_1_h2_a_stream_is_counted_as_such_until_its_client_leaves() {
    for secure in [false, true] {
        let site = Site::start(secure).await;
        let kinds = || site.live.admission_stats().kinds;
        let counts = |streams| only(ConnectionKind::Http2Stream, streams);
        let mut client = Client::new(&site).await;
        let (ada, grace) = (client.open("token=ada").await, client.open("token=grace").await);
        assert_eq!(kinds(), counts(2), "under TLS: {secure}");
        drop(ada);
        until_is("the end of one stream", counts(1), kinds).await;
        assert_eq!(site.metrics.stats().open, 1, "the connection stays open");
        drop((grace, client));
        until_is("the end of both", counts(0), kinds).await;
    }
}

#[tokio::test]
async fn cnt_1_http1_under_tls_a_stream_is_counted_as_such_until_its_client_leaves() {
    let site = Site::start(true).await;
    let kinds = || site.live.admission_stats().kinds;
    let mut ada = site.connect().await;
    greeted(&mut ada).await;
    assert_eq!(kinds(), only(ConnectionKind::Http1, 1));
    drop(ada);
    until_is("the end of the stream", only(ConnectionKind::Http1, 0), kinds).await;
}

/// Opens a stream over HTTP/1.1; returns all bytes up to the end of the greeting.
async fn greeted(wire: &mut Box<dyn Wire>) -> String {
    wire.write_all(b"GET /events?token=ada HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b": ok\n\n\r\n") {
        assert!(soon("the greeting", wire.read_buf(&mut read)).await.unwrap() > 0, "{read:?}");
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn sse_1_a_head_under_tls_is_the_same_as_without_tls() {
    let mut heads = Vec::new();
    for secure in [false, true] {
        let read = greeted(&mut Site::start(secure).await.connect().await).await;
        let lines = read.lines().filter(|line| !line.starts_with("date: "));
        heads.push(lines.map(str::to_owned).collect::<Vec<_>>());
    }
    assert_eq!(heads[0], heads[1]);
    assert_eq!(heads[1][0], "HTTP/1.1 200 OK");
    for field in ["content-type: text/event-stream", "cache-control: no-store", "connection: close"]
    {
        assert!(heads[1].contains(&field.to_owned()), "{field} is not in {:?}", heads[1]);
    }
}

#[tokio::test]
async fn sse_5_under_tls_a_client_that_leaves_is_noticed_although_it_had_sent_too_much() {
    let site = Site::start(true).await;
    for extra in ["", "x"] {
        let mut ada = site.connect().await;
        greeted(&mut ada).await;
        ada.write_all(extra.as_bytes()).await.unwrap();
        ada.flush().await.unwrap();
        drop(ada);
        until_is("the removal", 0, || site.live.len()).await;
        until_is("the end of the connection", 0, || site.metrics.stats().open).await;
    }
    assert_eq!(site.metrics.stats().resets, 0);
}

#[tokio::test]
async fn limits_h2_a_head_of_more_than_64_kib_is_refused() {
    let site = Site::start(false).await;
    let mut client = Client::new(&site).await;
    for (bytes, status) in [(60 << 10, 200), (65 << 10, 431), (100 << 10, 431)] {
        let request =
            Request::get("http://localhost/events?token=ada").header("x", "x".repeat(bytes));
        let answer = client.0.send_request(request.body(Empty::new()).unwrap());
        assert_eq!(soon("an answer", answer).await.unwrap().status(), status, "{bytes} bytes");
    }
}

#[tokio::test]
async fn rev_11_http1_under_tls_a_stalled_peer_is_reset() {
    let site = Site::start(true).await;
    let mut stalled = site.connect().await;
    greeted(&mut stalled).await;
    let mut client = Client::new(&site).await;
    let mut witness = client.open("token=grace&channels=jobs").await;
    for _ in 0..8 {
        site.broadcast("runs", &format!("\"{}\"", "x".repeat(1 << 20)));
    }
    site.broadcast("jobs", "1");
    read(&mut witness).await.unwrap();
    assert_eq!(site.live.close_by_identity(account("ada")), 1);
    until_is("the reset", 1, || site.metrics.stats().resets).await;
    let mut rest = Vec::new();
    let error = soon("the end", stalled.read_to_end(&mut rest)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(rest.len() < 4 << 20, "{} bytes", rest.len());
}
