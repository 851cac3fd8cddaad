//! Promises that need the server of transport-core: it resets peers that do not read, and it ends.

use crate::Payload;
use axum::Router;
use axum::routing::get;
use registry_core::{ChannelFilter, CloseReason, OutboxOptions, Overflow};
use serde_json::value::RawValue;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;
use transport_core::test_util::{Raw, TestServer, Tokens, account, grant, soon, until_is};
use transport_core::{Live, LiveOptions, ServerListener, ServerOptions};
use transport_sse::{SseOptions, sse, sse_with};

/// Short, so that tests need not wait; the event is what is waited for.
const DEADLINE: Duration = Duration::from_millis(50);

struct Site {
    live: Live<Payload>,
    tokens: Tokens,
    server: TestServer,
}

impl Site {
    async fn start(options: ServerOptions) -> Self {
        Self::with(
            options,
            OutboxOptions::new().with_max_bytes(NonZeroUsize::new(64 << 20).unwrap()),
        )
        .await
    }

    async fn with(options: ServerOptions, roomy: OutboxOptions) -> Self {
        let tokens = Tokens::of(&["ada", "grace"]);
        let live = Live::builder().with_options(LiveOptions::new().with_outbox(roomy)).build();
        let app = Router::new()
            .route("/events", sse(&live, tokens.clone()))
            .route("/panic", get(async || -> &str { panic!("a bug in a handler") }))
            .route("/hello", get(async || "hello"));
        let server = TestServer::start(app, &live, options).await;
        Self { live, tokens, server }
    }

    fn broadcast(&self, json: String) {
        self.live.broadcast("runs", RawValue::from_string(json).unwrap()).unwrap();
    }

    /// Sends so many bytes that they fill the buffers between the registry and a stalled reader,
    /// and waits until another reader has got them all: by then the server has written all that
    /// the stalled reader's socket had room for.
    async fn fill(&self, bytes: usize) {
        let (_, mut witness) = Raw::get(self.server.address, "/events?token=grace").await;
        for _ in 0..bytes.div_ceil(1 << 20) {
            self.broadcast(format!("\"{}\"", "x".repeat(bytes.min(1 << 20))));
        }
        self.broadcast("\"that was it\"".into());
        witness.read_past("that was it").await;
        drop(witness);
        until_is("the witness's end", 1, || self.live.len()).await;
    }

    /// A client that reads the greeting and then stops reading.
    async fn stalled(&self, token: &str) -> Raw {
        let raw = Raw::connect_narrow(self.server.address).await;
        let (head, mut raw) = raw.ask("GET", &format!("/events?token={token}"), "").await;
        assert_eq!((head.status, head.header("connection")), (200, Some("close")));
        raw.read_past(": ok\n\n").await;
        raw
    }
}

#[tokio::test]
async fn rev_11_a_peer_that_does_not_read_is_reset_at_the_deadline() {
    let site = Site::start(ServerOptions::new().with_close_deadline(DEADLINE)).await;
    let stalled = site.stalled("ada").await;
    site.fill(8 << 20).await;
    assert_eq!(site.live.close_by_identity(account("ada")), 1);
    until_is("the reset", 1, || site.server.metrics.stats().resets).await;
    let read = stalled.read_to_reset().await;
    assert!(read.len() < 1 << 20, "{} bytes: the kernel's buffer was flushed", read.len());
}

#[tokio::test]
async fn limits_no_deadline_is_too_far_away_to_be_kept() {
    let options = ServerOptions::new()
        .with_head_timeout(Duration::MAX)
        .with_user_timeout(Duration::MAX)
        .with_close_deadline(Duration::MAX)
        .with_drain_deadline(Duration::MAX);
    let site = Site::start(options).await;
    let (head, hello) =
        Raw::request(site.server.address, "GET", "/hello", "connection: close\r\n").await;
    assert_eq!((head.status, hello.read_to_end().await.as_str()), (200, "hello"));
    let (_, ada) = Raw::get(site.server.address, "/events?token=ada").await;
    assert_eq!(site.live.close_by_identity(account("ada")), 1);
    assert!(ada.read_to_end().await.contains("{\"reason\":\"revoked\"}"));
    site.server.stop().await;
}

/// A peer that has its farewell and does not leave has as long as the whole drain, and is counted.
#[tokio::test]
async fn drn_3_every_peer_that_stays_to_the_end_of_a_drain_is_reset_and_counted() {
    let live = Live::<Payload>::new();
    let app = Router::new().route("/events", sse(&live, Tokens::of(&["ada"])));
    let options = ServerOptions::new().with_drain_deadline(Duration::from_millis(300));
    let listener = ServerListener::bind("127.0.0.1:0", options).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (service, drain) = listener.make_service(app, &live);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let signal = live.shutdown_on(async { stopped.await.unwrap_or(()) });
    let serving = axum::serve(listener, service).with_graceful_shutdown(signal);
    let served = tokio::spawn(async { serving.await });
    let mut staying = Vec::new();
    for streams in 1..=50 {
        let (_, raw) = Raw::get(address, "/events?token=ada").await;
        staying.push(raw);
        until_is("a direct connection", streams, || live.stats().wired).await;
    }
    stop.send(()).unwrap();
    let drained = soon("the drain", drain).await;
    assert_eq!((drained.notified, drained.reset), (50, 50));
    soon("the end of the server", served).await.unwrap().unwrap();
}

/// Comments keep an idle connection open, and one whose messages wait is not idle.
#[tokio::test]
async fn sse_3_a_peer_that_reads_slowly_gets_no_comments_between_the_messages_that_wait() {
    let period = Duration::from_millis(20);
    let roomy = OutboxOptions::new().with_max_bytes(NonZeroUsize::new(64 << 20).unwrap());
    let live =
        Live::<Payload>::builder().with_options(LiveOptions::new().with_outbox(roomy)).build();
    let route = sse_with(&live, Tokens::of(&["ada"]), SseOptions::new().with_keep_alive(period));
    let app = Router::new().route("/events", route);
    let server = TestServer::start(app, &live, ServerOptions::new()).await;
    let narrow = Raw::connect_narrow(server.address).await;
    let (_, mut ada) = narrow.ask("GET", "/events?token=ada", "").await;
    ada.read_past(": ok\n\n").await;
    until_is("a direct connection", 1, || live.stats().wired).await;
    let large = || RawValue::from_string(format!("\"{}\"", "x".repeat(8 << 20))).unwrap();
    live.broadcast("runs", large()).unwrap();
    tokio::time::sleep(period * 10).await;
    live.broadcast("runs", RawValue::from_string("\"next\"".into()).unwrap()).unwrap();
    ada.read_past("xx\"\n\n").await;
    let between = ada.read_past("\"next\"").await;
    assert!(!between.contains(":\n\n"), "{between:?}");
    ada.read_past(":\n\n").await; // now it is idle
}

#[tokio::test]
async fn lse_1_the_stream_of_a_stalled_peer_ends_with_its_authority_direct_or_not() {
    for portable in [false, true] {
        let options = ServerOptions::new().with_close_deadline(DEADLINE);
        let site = Site::start(if portable { options.with_portable() } else { options }).await;
        let soon = SystemTime::now() + Duration::from_secs(1);
        site.tokens.grant("ada", grant("ada", ChannelFilter::All).with_expires_at(soon));
        let stalled = site.stalled("ada").await;
        (0..8).for_each(|_| site.broadcast(format!("\"{}\"", "x".repeat(1 << 20))));
        until_is("the end", 0, || site.live.len()).await;
        assert_eq!(site.live.stats().ended[&CloseReason::Expired], 1);
        until_is("the reset", 1, || site.server.metrics.stats().resets).await;
        stalled.read_to_reset().await;
    }
}

#[tokio::test]
async fn rev_11_a_peer_that_has_room_only_for_the_farewell_is_reset_too() {
    // The socket has room for everything, and the reset drops the bytes in the kernel all the same.
    let site = Site::start(ServerOptions::new().with_close_deadline(DEADLINE)).await;
    let stalled = site.stalled("ada").await;
    site.fill(256 << 10).await;
    assert_eq!(site.live.close_by_identity(account("ada")), 1);
    until_is("the reset", 1, || site.server.metrics.stats().resets).await;
    assert!(stalled.read_to_reset().await.len() < 256 << 10);
}

#[tokio::test]
async fn rev_11_a_revoked_peer_that_ends_its_side_and_does_not_read_is_reset() {
    for portable in [false, true] {
        // The deadline is far away: the peer's end alone makes the server reset the connection.
        let options = ServerOptions::new().with_close_deadline(Duration::from_secs(3600));
        let site = Site::start(if portable { options.with_portable() } else { options }).await;
        let mut stalled = site.stalled("ada").await;
        site.fill(256 << 10).await;
        assert_eq!(site.live.close_by_identity(account("ada")), 1);
        stalled.tcp.shutdown().await.unwrap();
        until_is("the end of the connection", 0, || site.server.metrics.stats().open).await;
        assert!(stalled.read_to_reset().await.len() < 256 << 10);
    }
}

#[tokio::test]
async fn rev_11_a_peer_that_reads_gets_its_farewell_and_no_reset() {
    let site = Site::start(ServerOptions::new()).await;
    let (_, ada) = Raw::get(site.server.address, "/events?token=ada").await;
    assert_eq!(site.live.close_by_identity(account("ada")), 1);
    assert!(ada.read_to_end().await.contains("{\"reason\":\"revoked\"}"));
    until_is("the end of the connection", 0, || site.server.metrics.stats().open).await;
    assert_eq!(site.server.metrics.stats().resets, 0);
}

#[tokio::test]
async fn drn_3_the_server_ends_although_its_clients_stall() {
    let site = Site::start(ServerOptions::new().with_drain_deadline(Duration::from_secs(1))).await;
    let stalled = site.stalled("ada").await;
    site.fill(8 << 20).await;
    let (_, grace) = Raw::get(site.server.address, "/events?token=grace").await;
    let _silent = Raw::connect(site.server.address).await;
    let mut half = Raw::connect(site.server.address).await;
    half.tcp.write_all(b"GET /hello HT").await.unwrap();
    until_is("every connection", 4, || site.server.metrics.stats().open).await;
    let ended = tokio::spawn(site.server.stop());
    let farewell = grace.read_to_end().await;
    assert!(farewell.contains("{\"reason\":\"shutdown\"}"));
    let ended = ended.await.unwrap();
    assert_eq!(ended.notified, 2);
    assert!(ended.reset >= 1, "{ended:?}");
    stalled.read_to_reset().await;
}

#[tokio::test]
async fn drn_1_a_revocation_during_the_drain_discards() {
    // A peer whose socket is full is reset when its connection's task finds no place for the
    // farewell. A peer whose socket had room for all gets its farewell, and the revocation's
    // deadline alone resets it.
    for bytes in [8 << 20, 256 << 10] {
        let options = ServerOptions::new()
            .with_close_deadline(DEADLINE)
            .with_drain_deadline(Duration::from_secs(20));
        let site = Site::start(options).await;
        let stalled = site.stalled("ada").await;
        site.fill(bytes).await;
        let (live, metrics) = (site.live.clone(), site.server.metrics.clone());
        let ended = tokio::spawn(site.server.stop());
        until_is("the drain", 1, || live.stats().draining).await;
        assert_eq!(live.close_by_identity(account("ada")), 0, "it was counted by the shutdown");
        until_is("the reset", 1, || metrics.stats().resets).await;
        assert!(stalled.read_to_reset().await.len() < bytes, "the kernel's buffer was flushed");
        let ended = soon("the end of the server", ended).await.unwrap();
        assert_eq!((ended.notified, ended.reset), (1, 0), "the revocation's deadline came first");
    }
}

#[tokio::test]
async fn drn_1_a_peer_that_reads_late_has_as_long_as_the_drain() {
    let options = ServerOptions::new()
        .with_close_deadline(DEADLINE)
        .with_drain_deadline(Duration::from_secs(20));
    let site = Site::start(options).await;
    let (mut late, stalled) = (site.stalled("ada").await, site.stalled("grace").await);
    site.broadcast(format!("\"{}\"", "x".repeat(256 << 10)));
    let (live, metrics) = (site.live.clone(), site.server.metrics.clone());
    let ended = tokio::spawn(site.server.stop());
    until_is("the drain", 2, || live.stats().draining).await;
    // The kernel has all of it. Another peer's deadline is the witness that a close deadline has
    // passed.
    live.close_by_identity(account("grace"));
    until_is("the reset", 1, || metrics.stats().resets).await;
    stalled.read_to_reset().await;
    late.tcp.write_all(b"a closed socket would answer this with a reset").await.unwrap();
    let read = late.read_to_end().await;
    assert!(
        read.len() > 256 << 10 && read.contains("{\"reason\":\"shutdown\"}"),
        "only {} bytes",
        read.len()
    );
    assert_eq!(soon("the end of the server", ended).await.unwrap().reset, 0);
}

#[tokio::test]
async fn drn_3_connections_that_have_asked_for_nothing_hold_up_no_shutdown() {
    let options =
        ServerOptions::new().with_head_timeout(Duration::MAX).with_drain_deadline(Duration::MAX);
    let site = Site::start(options).await;
    let _silent = Raw::connect(site.server.address).await;
    until_is("the connection", 1, || site.server.metrics.stats().open).await;
    assert_eq!(site.server.stop().await.reset, 0);
}

#[tokio::test]
async fn drn_3_connections_go_on_when_the_servers_future_is_dropped() {
    let site = Site::start(ServerOptions::new()).await;
    let address = site.server.address;
    let (_, mut kept) = Raw::get(address, "/hello").await;
    kept.read_past("hello").await;
    let (_, mut stream) = Raw::get(address, "/events?token=ada").await;
    stream.read_past(": ok\n\n").await;
    let Site { live, server, .. } = site;
    server.abandon().await;
    let (head, mut kept) = kept.ask("GET", "/hello", "").await;
    assert_eq!((head.status, kept.read_past("hello").await.len()), (200, 5));
    live.broadcast("runs", RawValue::from_string("\"still here\"".into()).unwrap()).unwrap();
    stream.read_past("still here").await;
}

#[tokio::test]
async fn drn_1_without_stalled_clients_nothing_is_reset() {
    let site = Site::start(ServerOptions::new()).await;
    let (_, ada) = Raw::get(site.server.address, "/events?token=ada").await;
    site.broadcast("\"flushed\"".into());
    let ended = tokio::spawn(site.server.stop());
    let read = ada.read_to_end().await;
    assert!(read.contains("flushed") && read.contains("shutdown"), "{read}");
    let ended = ended.await.unwrap();
    assert_eq!((ended.notified, ended.reset), (1, 0));
}

#[tokio::test]
async fn limits_slow_heads_are_cut_and_counted() {
    let site =
        Site::start(ServerOptions::new().with_head_timeout(Duration::from_millis(500))).await;
    let (_, mut stream) = Raw::get(site.server.address, "/events?token=ada").await;
    stream.read_past(": ok\n\n").await;
    let mut slow = Vec::new();
    for beginning in ["", "GET", "GET /hello HTTP/1.1\r\nHost: x\r\n", "PRI * HTTP/2.0\r\n"] {
        let mut raw = Raw::connect(site.server.address).await;
        raw.tcp.write_all(beginning.as_bytes()).await.unwrap();
        slow.push(raw);
    }
    for raw in slow {
        raw.read_to_end().await;
    }
    until_is("the count", 4, || site.server.metrics.stats().slow_heads).await;
    site.broadcast("\"a stream is no slow head\"".into());
    stream.read_past("no slow head").await;
    assert_eq!(site.server.metrics.stats().idle_closed, 0);
}

#[tokio::test]
async fn limits_connections_over_the_limit_learn_when_to_come_back() {
    let site =
        Site::start(ServerOptions::new().with_max_connections(NonZeroUsize::new(2).unwrap())).await;
    let (_, mut first) = Raw::get(site.server.address, "/events?token=ada").await;
    let (_, second) = Raw::get(site.server.address, "/events?token=grace").await;
    let (head, refused) = Raw::get(site.server.address, "/hello").await;
    assert_eq!((head.status, head.header("retry-after")), (503, Some("1")));
    assert!(refused.read_to_end().await.contains("too many connections"));
    assert_eq!(site.server.metrics.stats().refused, 1);
    drop(second);
    until_is("room", 1, || site.server.metrics.stats().open).await;
    assert_eq!(Raw::get(site.server.address, "/hello").await.0.status, 200);
    site.broadcast("1".into());
    first.read_past("data: 1\n").await;
}

#[tokio::test]
async fn limits_a_panic_in_a_handler_is_answered_and_counted() {
    let site = Site::start(ServerOptions::new()).await;
    let (head, mut raw) = Raw::get(site.server.address, "/panic").await;
    assert_eq!(head.status, 500);
    raw.read_past("the handler failed").await;
    assert_eq!(site.server.metrics.stats().panics, 1);
    let (head, _raw) = raw.ask("GET", "/hello", "").await;
    assert_eq!(head.status, 200, "the connection goes on");
}

#[tokio::test]
async fn a_delivery_costs_one_write() {
    const READERS: usize = 20;
    const MESSAGES: usize = 20;
    let live = Live::<Payload>::new();
    let (server, writes) = TestServer::start_counted(
        Router::new().route("/events", sse(&live, Tokens::of(&["ada"]))),
        &live,
    )
    .await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let (_, mut raw) = Raw::get(server.address, "/events?token=ada").await;
        raw.read_past(": ok\n\n").await;
        readers.push(raw);
    }
    let before = writes.load(Ordering::SeqCst);
    for number in 0..MESSAGES {
        live.broadcast("runs", RawValue::from_string(format!("\"m{number}.\"")).unwrap()).unwrap();
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

/// Opens a direct stream for each reader.
async fn readers(site: &Site, readers: usize) -> Vec<Raw> {
    let mut streams = Vec::new();
    for _ in 0..readers {
        let (_, mut raw) = Raw::get(site.server.address, "/events?token=ada").await;
        raw.read_past(": ok\n\n").await;
        streams.push(raw);
    }
    until_is("the sockets", readers, || site.live.stats().wired).await;
    streams
}

#[tokio::test]
async fn rev_12_a_flusher_makes_one_write_of_a_message_and_of_many() {
    let site = Site::start(ServerOptions::new()).await;
    let mut streams = readers(&site, 20).await;
    for number in 0..20 {
        site.broadcast(format!("\"m{number}.\""));
        for raw in &mut streams {
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
        site.broadcast(format!("\"burst {number}.\""));
    }
    for raw in &mut streams {
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
async fn que_1_a_lagging_peer_on_a_direct_connection_is_reset() {
    let site = Site::with(ServerOptions::new(), OutboxOptions::new()).await;
    let stalled = site.stalled("ada").await;
    let filler = format!("\"{}\"", "x".repeat(1 << 18));
    while !site.live.is_empty() {
        site.broadcast(filler.clone());
        tokio::task::yield_now().await;
    }
    assert_eq!(site.live.stats().ended.get(&CloseReason::Lagged), Some(&1));
    until_is("the reset", 1, || site.server.metrics.stats().resets).await;
    stalled.read_to_reset().await;
}

#[tokio::test]
async fn que_1_a_direct_stream_announces_a_loss_that_the_policy_allows() {
    let outbox = OutboxOptions::new().with_overflow(Overflow::DropOldest);
    let site = Site::with(ServerOptions::new(), outbox).await;
    let mut stalled = site.stalled("ada").await;
    let mut sent = 0;
    while site.live.stats().dropped < 10 {
        site.broadcast(format!("\"message {sent} {}\"", "x".repeat(1 << 16)));
        sent += 1;
        tokio::task::yield_now().await;
    }
    let lost = site.live.stats().dropped;
    site.broadcast("\"that was it\"".into());
    let read = stalled.read_past("that was it").await;
    let read_lost: u64 = read
        .split("{\"lost\":")
        .skip(1)
        .map(|rest| rest[..rest.find('}').unwrap()].parse::<u64>().unwrap())
        .sum();
    assert_eq!(read_lost, site.live.stats().dropped, "every loss is announced once");
    assert!(lost >= 10);
    let received = read.matches("data: \"message ").count() as u64;
    assert_eq!(received + read_lost, sent, "each message arrived or was announced as lost");
}
