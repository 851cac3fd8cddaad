//! How a server ends.

use crate::client::{TestServer, head, within};
use demo::{Options, Reach};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

#[tokio::test]
async fn drn_1_open_streams_are_told_and_get_what_is_queued() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    let (mut sse, mut ws) = (ada.sse(&server, "/events").await, ada.ws(&server, "/ws").await);
    server.broadcast("runs", "1").await;
    let told = async {
        assert_eq!((sse.data().await, ws.data().await), ("1".into(), "1".into()));
        assert_eq!(sse.farewell().await, "shutdown");
        assert_eq!(ws.farewell().await, (1001, "shutdown".into()));
        drop((sse, ws));
    };
    let ((), ended) = tokio::join!(told, server.stop());
    assert_eq!((ended.told, ended.reset), (2, 0));
}

#[tokio::test]
async fn drn_1_a_server_with_nobody_ends_at_once() {
    let ended = TestServer::start().await.stop().await;
    assert_eq!((ended.told, ended.reset), (0, 0));
}

#[tokio::test]
async fn drn_3_a_client_that_does_not_read_cannot_hold_the_server() {
    let options = Options::new().with_drain_deadline(Duration::from_millis(50));
    let server = TestServer::with(Reach::Loopback, options).await;
    let ada = server.sign_in("ada").await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stalled = socket.connect(server.address).await.unwrap();
    let request = head(server.address, "GET", "/events", &[("authorization", &ada.bearer())]);
    stalled.write_all(request.as_bytes()).await.unwrap();
    // The first bytes of the response show that it is subscribed; then it reads no more.
    within(stalled.read_exact(&mut [0; 16])).await.unwrap();
    let payload = format!("\"{}\"", "x".repeat(500_000));
    let mut rounds = 0;
    while server.stats().await["closed"]["lagged"] == 0 {
        server.broadcast("runs", &payload).await;
        rounds += 1;
        assert!(rounds < 1000, "the buffers on the way have no end");
    }
    server.stop().await;
    drop(stalled);
}
