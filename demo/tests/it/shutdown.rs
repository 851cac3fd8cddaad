//! How a server ends.

use crate::client::{TestServer, head, within};
use demo::{Options, Reach};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

#[tokio::test]
async fn drn_1_open_streams_get_their_queue_and_a_farewell() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    let (mut sse, mut ws) = (ada.sse(&server, "/events").await, ada.ws(&server, "/ws").await);
    server.broadcast("runs", "1").await;
    let streams = async {
        assert_eq!((sse.data().await, ws.data().await), ("1".into(), "1".into()));
        assert_eq!(sse.farewell().await, "shutdown");
        assert_eq!(ws.farewell().await, (1001, "shutdown".into()));
        drop((sse, ws));
    };
    let ((), ended) = tokio::join!(streams, server.stop());
    assert_eq!((ended.notified, ended.reset), (2, 0));
}

#[tokio::test]
async fn drn_1_a_server_without_streams_ends_at_once() {
    let ended = TestServer::start().await.stop().await;
    assert_eq!((ended.notified, ended.reset), (0, 0));
}

/// The drain deadline of the tests below, and a bound below every default that could stand in for
/// it.
const DRAIN: Duration = Duration::from_millis(50);
const AT_ONCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn drn_3_a_client_that_does_not_read_cannot_hold_the_server() {
    let server = TestServer::with(Reach::Loopback, Options::new().with_drain_deadline(DRAIN)).await;
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
    let ended = timeout(AT_ONCE, server.stop())
        .await
        .expect("it does not wait for a client that does not read");
    assert_eq!(ended.notified, 0, "it lagged before");
    // The connection was reset, at the deadline of the lag or of the drain; it did not end as if
    // all had been sent.
    let error = within(stalled.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn drn_3_a_request_that_never_ends_is_reset_at_the_deadline_of_the_demo() {
    let server = TestServer::with(Reach::Loopback, Options::new().with_drain_deadline(DRAIN)).await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let headers = [
        ("content-type", "application/json"),
        ("content-length", "10"),
        ("expect", "100-continue"),
    ];
    slow.write_all(head(server.address, "POST", "/api/channels/runs", &headers).as_bytes())
        .await
        .unwrap();
    let mut continues = [0; 25];
    within(slow.read_exact(&mut continues)).await.unwrap();
    assert_eq!(&continues, b"HTTP/1.1 100 Continue\r\n\r\n", "the call waits for its body");
    let ended =
        timeout(AT_ONCE, server.stop()).await.expect("the body has 10 s, the server has not");
    assert_eq!((ended.notified, ended.reset), (0, 1));
    assert!(
        Options::DEFAULT_DRAIN_DEADLINE <= Duration::from_secs(8),
        "2 of the 10 s are for what surrounds it"
    );
}
