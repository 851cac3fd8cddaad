//! Upgraded connections whose socket can be taken from hyper, and others.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::future::{poll_fn, ready};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use transport_core::test_util::{Raw, TestServer, serve, soon, until_is};
use transport_core::{DirectSocket, Live, Server, ServerOptions, take_upgraded_socket};

type TakenSocket = Result<(DirectSocket, Bytes), Upgraded>;

fn app() -> (Router, mpsc::UnboundedReceiver<TakenSocket>) {
    let (taken, receiver) = mpsc::unbounded_channel();
    let upgrade = async move |mut request: Request| {
        let upgrade = request.extensions_mut().remove::<OnUpgrade>().unwrap();
        tokio::spawn(async move {
            taken.send(take_upgraded_socket(upgrade.await.unwrap())).unwrap_or_default()
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "echo")
            .body(Body::empty())
            .unwrap()
    };
    (Router::new().fallback(any(upgrade)), receiver)
}

/// Asks for an upgrade, and sends the first bytes without waiting for it.
async fn upgraded(address: std::net::SocketAddr) -> Raw {
    let mut raw = Raw::connect(address).await;
    let request =
        b"GET / HTTP/1.1\r\nhost: here\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly";
    raw.tcp.write_all(request).await.unwrap();
    assert!(raw.read_past("\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
    raw
}

/// Echoes the bytes that came with the request and those after it.
async fn echoes(mut raw: Raw, taken: TakenSocket) {
    let (socket, early) = taken.unwrap();
    raw.tcp.write_all(b", late.").await.unwrap();
    let mut read = early.to_vec();
    while !read.ends_with(b".") {
        soon("bytes", poll_fn(|cx| socket.poll_read_ready(cx))).await.unwrap();
        let mut more = [0; 16];
        match socket.try_read(&mut more) {
            Ok(bytes) => read.extend_from_slice(&more[..bytes]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    assert_eq!(socket.try_send(&read).unwrap(), read.len());
    drop(socket);
    assert_eq!(raw.read_to_end().await, "early, late.");
}

#[tokio::test]
async fn rev_12_an_upgraded_connection_gives_its_socket_back() {
    let (app, mut taken) = app();
    let server = TestServer::start(app, &Live::<String>::new(), ServerOptions::new()).await;
    let raw = upgraded(server.address).await;
    let socket = soon("the upgrade", taken.recv()).await.unwrap();
    assert_eq!(server.metrics.stats().open, 1);
    echoes(raw, socket).await;
    until_is("the end of the connection", 0, || server.metrics.stats().open).await;
    assert_eq!(server.stop().await.reset, 0);
}

#[tokio::test]
async fn rev_12_an_upgraded_connection_gives_its_socket_back_where_hyper_finds_out_the_protocol() {
    let (app, mut taken) = app();
    let server = Server::bind("127.0.0.1:0", ServerOptions::new()).await.unwrap();
    let (address, metrics) = (server.local_addr().unwrap(), server.metrics());
    let (_stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let live = Live::<String>::new();
        server.run_over(app, &live, async { stopped.await.unwrap_or(()) }, |io| ready(Ok(io))).await
    });
    let raw = upgraded(address).await;
    echoes(raw, soon("the upgrade", taken.recv()).await.unwrap()).await;
    until_is("the end of the connection", 0, || metrics.stats().open).await;
}

#[tokio::test]
async fn ws_2_a_connection_without_a_plain_socket_is_returned_unchanged() {
    let (app, mut taken) = app();
    let (wrapped, _) = TestServer::start_counted(app.clone(), &Live::<String>::new()).await;
    for address in [wrapped.address, serve(app).await] {
        let mut raw = upgraded(address).await;
        raw.tcp.write_all(b", late.").await.unwrap();
        let mut io = TokioIo::new(soon("the upgrade", taken.recv()).await.unwrap().unwrap_err());
        let mut read = [0; 12];
        soon("the bytes", io.read_exact(&mut read)).await.unwrap();
        assert_eq!(&read, b"early, late.");
        io.write_all(b"answer").await.unwrap();
        drop(io);
        assert_eq!(raw.read_to_end().await, "answer");
    }
}
