//! Promises that need the server of transport-core: it resets peers that do not read, and it ends.

use axum::Router;
use futures_util::StreamExt;
use registry_core::OutboxOptions;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use transport_core::test_util::{Raw, TestServer, Tokens, account, serve, soon, until_is};
use transport_core::{Live, LiveOptions, ServerOptions};
use transport_ws::{WsOptions, ws, ws_with};

const DEADLINE: Duration = Duration::from_millis(50);

/// A client that is soon stalled when it does not read.
async fn open(address: SocketAddr, token: &str) -> Raw {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let raw = Raw::connect_narrow(address).await;
    let (head, raw) = raw.ask("GET", &format!("/ws?token={token}"), upgrade).await;
    assert_eq!(head.status, 101);
    raw
}

struct Site {
    live: Live<String>,
    server: TestServer,
}

impl Site {
    async fn start(options: ServerOptions, ws: WsOptions) -> Self {
        let roomy = OutboxOptions::new().with_max_bytes(NonZeroUsize::new(64 << 20).unwrap());
        let tokens = Tokens::of(&["ada", "grace"]);
        let live = Live::builder().with_options(LiveOptions::new().with_outbox(roomy)).build();
        let app = Router::new().route("/ws", ws_with(&live, tokens, ws));
        let server = TestServer::start(app, &live, options).await;
        Self { live, server }
    }

    async fn open(&self, token: &str) -> Raw {
        open(self.server.address, token).await
    }

    /// Sends more than the buffers between the registry and a stalled reader hold; see the SSE test
    /// of the same name.
    async fn fill(&self) {
        let mut witness = self.open("grace").await;
        for _ in 0..8 {
            self.live.broadcast("runs", "x".repeat(1 << 20)).unwrap();
        }
        self.live.broadcast("runs", "that was it".into()).unwrap();
        witness.read_past("that was it").await;
        drop(witness);
        until_is("the witness's end", 1, || self.live.len()).await;
    }
}

#[tokio::test]
async fn rev_11_a_peer_that_does_not_read_is_reset_at_the_deadline() {
    let site =
        Site::start(ServerOptions::new().with_close_deadline(DEADLINE), WsOptions::new()).await;
    let stalled = site.open("ada").await;
    site.fill().await;
    assert_eq!(site.live.close_by_identity(account("ada")), 1);
    until_is("the reset", 1, || site.server.metrics.stats().resets).await;
    let read = stalled.read_to_reset().await;
    assert!(read.len() < 1 << 20, "{} bytes: the kernel's buffer was flushed", read.len());
}

#[tokio::test]
async fn rev_11_a_peer_that_reads_but_never_answers_the_close_is_reset_too() {
    let options = WsOptions::new().with_close_timeout(Duration::from_secs(20));
    let site = Site::start(ServerOptions::new().with_close_deadline(DEADLINE), options).await;
    let mut ada = site.open("ada").await;
    assert_eq!(site.live.close_by_identity(account("ada")), 1);
    let mut farewell = [0; 11];
    soon("the farewell", ada.tcp.read_exact(&mut farewell)).await.unwrap();
    assert_eq!(&farewell, b"\x88\x09\x0f\xa1revoked");
    until_is("the end of the connection", 0, || site.server.metrics.stats().open).await;
    assert_eq!(site.server.metrics.stats().resets, 1);
}

#[tokio::test]
async fn ws_2_a_peer_that_pings_and_does_not_read_is_not_read_for_ever() {
    let all = NonZeroU32::MAX;
    let site = Site::start(ServerOptions::new(), WsOptions::new().with_rate(all, all)).await;
    let mut ada = site.open("ada").await;
    until_is("the socket", 1, || site.live.stats().wired).await;
    let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'x'; 125]].concat();
    let pings = ping.repeat(1000);
    // Much more than the buffers of both sides hold.
    let mut blocked = false;
    for _ in 0..1000 {
        blocked = timeout(Duration::from_secs(2), ada.tcp.write_all(&pings)).await.is_err();
        if blocked {
            break;
        }
    }
    assert!(blocked, "it was read without end, and its pongs wait in memory");
    assert_eq!(site.live.len(), 1);
}

#[tokio::test]
async fn drn_3_the_server_sends_farewells_and_ends_although_clients_stall() {
    let site = Site::start(
        ServerOptions::new().with_drain_deadline(Duration::from_secs(1)),
        WsOptions::new(),
    )
    .await;
    let stalled = site.open("ada").await;
    site.fill().await;
    let grace = site.open("grace").await;
    let ended = tokio::spawn(site.server.stop());
    assert!(grace.read_to_end().await.ends_with("shutdown"));
    let ended = ended.await.unwrap();
    assert_eq!((ended.notified, ended.reset), (2, 1));
    stalled.read_to_reset().await;
}

#[tokio::test]
async fn rev_12_a_flusher_makes_one_write_of_a_message_and_of_many() {
    let site = Site::start(ServerOptions::new(), WsOptions::new()).await;
    let mut readers = Vec::new();
    for _ in 0..20 {
        readers.push(site.open("ada").await);
    }
    until_is("the sockets", readers.len(), || site.live.stats().wired).await;
    for number in 0..20 {
        site.live.broadcast("runs", format!("m{number}.")).unwrap();
        for raw in &mut readers {
            raw.read_past(&format!("m{number}.")).await;
        }
    }
    let alone = site.live.stats();
    assert_eq!(
        (alone.lane_writes, alone.lane_messages),
        (400, 400),
        "P9: a write for each delivery"
    );
    for number in 0..100 {
        site.live.broadcast("runs", format!("burst {number}.")).unwrap();
    }
    for raw in &mut readers {
        raw.read_past("burst 99.").await;
    }
    let burst = site.live.stats();
    assert_eq!(burst.lane_messages - alone.lane_messages, 2000);
    assert_eq!(
        burst.lane_writes - alone.lane_writes,
        20,
        "P3: one write takes the messages of a burst"
    );
}

#[tokio::test]
async fn rev_12_a_stalled_peer_gets_no_byte_after_the_revocation() {
    let site = Site::start(ServerOptions::new(), WsOptions::new()).await;
    let stalled = site.open("ada").await;
    site.fill().await;
    until_is("the socket", 1, || site.live.stats().wired).await;
    assert_eq!(site.live.close_by_identity(account("ada")), 1);
    // The reset drops the bytes in the server's buffer of the kernel, so the peer reads only those
    // in its own, and not the rest of the frame that is partly written.
    let read = stalled.read_to_reset().await;
    assert!(
        read.len() < 128 << 10,
        "{} bytes: something was written after the call, or flushed",
        read.len()
    );
}

#[tokio::test]
async fn del_1_a_connection_that_cannot_be_direct_works_and_is_not_wired() {
    let live = Live::<String>::new();
    let app = Router::new().route("/ws", ws(&live, Tokens::of(&["ada"])));
    let server = TestServer::start(app.clone(), &live, ServerOptions::new()).await;
    // As under TLS.
    let (wrapped, _) = TestServer::start_counted(app.clone(), &live).await;
    let portable = serve(app.layer(live.entry_layer())).await;
    // The server comes first in the list, so that its lanes are open for the others.
    for (address, on_it) in
        [(server.address, (1, 1, 1)), (wrapped.address, (0, 0, 0)), (portable, (0, 0, 0))]
    {
        let before = live.stats().lane_writes;
        let mut ada = open(address, "ada").await;
        until_is("the socket", on_it.0, || live.stats().wired).await;
        live.broadcast("runs", "message".into()).unwrap();
        ada.read_past("\"message\"").await;
        let stats = live.stats();
        assert_eq!((stats.wired, stats.in_lanes, stats.lane_writes - before), on_it);
        assert_eq!(live.close_by_identity(account("ada")), 1);
        ada.read_past("revoked").await;
        drop(ada);
        until_is("the end of the connection", 0, || live.stats().wired).await;
    }
}

#[tokio::test]
async fn a_delivery_costs_one_write() {
    const READERS: usize = 20;
    const MESSAGES: usize = 20;
    let live = Live::<String>::new();
    let app = Router::new().route("/ws", ws(&live, Tokens::of(&["ada"])));
    let (server, writes) = TestServer::start_counted(app, &live).await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(open(server.address, "ada").await);
    }
    let before = writes.load(Ordering::SeqCst);
    for number in 0..MESSAGES {
        live.broadcast("runs", format!("m{number}.")).unwrap();
        for raw in &mut readers {
            raw.read_past(&format!("m{number}.")).await;
        }
    }
    let spent = writes.load(Ordering::SeqCst) - before;
    assert!(
        spent * 100 <= READERS * MESSAGES * 103,
        "{spent} writes for {} deliveries",
        READERS * MESSAGES
    );
}

#[tokio::test]
async fn sse_5_a_peer_whose_socket_fails_at_a_write_counts_as_having_left() {
    let site = Site::start(ServerOptions::new(), WsOptions::new()).await;
    let ada = site.open("ada").await;
    until_is("the socket", 1, || site.live.stats().wired).await;
    ada.tcp.set_zero_linger().unwrap();
    drop(ada);
    // On one thread, the flusher notices before the connection's task does.
    site.live.broadcast("runs", "1".into()).unwrap();
    until_is("the end of the connection", 0, || site.server.metrics.stats().open).await;
    assert_eq!(site.server.metrics.stats().resets, 0);
}

#[tokio::test]
async fn ws_2_pings_stand_between_messages_also_of_a_peer_that_stalls() {
    // None of the three answers a ping.
    let options = WsOptions::new()
        .with_ping_period(Duration::from_millis(10))
        .with_pong_timeout(Duration::MAX);
    let site = Site::start(ServerOptions::new(), options).await;
    let stalled = site.open("ada").await;
    site.fill().await;
    let mut idle = site.open("grace").await;
    let mut ping = [0; 2];
    soon("a ping", idle.tcp.read_exact(&mut ping)).await.unwrap();
    assert_eq!(&ping, b"\x89\x00");
    site.live.broadcast("runs", "that was it".into()).unwrap();
    let mut frames = WebSocketStream::from_raw_socket(stalled.tcp, Role::Client, None).await;
    let whole = format!("\"{}\"", "x".repeat(1 << 20));
    let (mut texts, mut pings) = (0, 0);
    loop {
        match soon("a frame", frames.next()).await.unwrap().unwrap() {
            Message::Text(text) if text.as_str().contains("that was it") => break,
            Message::Text(text) => {
                assert!(text.as_str() == whole, "a message is whole");
                texts += 1;
            }
            Message::Ping(_) => pings += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(texts >= 8 && pings >= 1, "{texts} texts, {pings} pings");
}
