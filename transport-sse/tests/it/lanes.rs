//! Direct streams, byte by byte, and under the threads of a real server.

use crate::Payload;
use axum::Router;
use axum::routing::get;
use registry_core::{ChannelFilter, CloseReason, LaneOptions, OutboxOptions, Revocation};
use serde_json::value::RawValue;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use transport_core::test_util::{Raw, TestServer, Tokens, account, grant, soon, until, until_is};
use transport_core::{Live, LiveOptions, Server, ServerOptions};
use transport_sse::{SseOptions, sse, sse_with};

const DEADLINE: Duration = Duration::from_millis(50);
const COMMENT: &str = ":\n\n";

struct Site {
    live: Live<Payload>,
    tokens: Tokens,
    server: TestServer,
}

impl Site {
    async fn start(options: ServerOptions, sse: SseOptions) -> Self {
        let live = roomy();
        let tokens = Tokens::of(&["ada", "grace"]);
        let app = router(&live, &tokens, sse);
        let server = TestServer::start(app, &live, options).await;
        Self { live, tokens, server }
    }

    fn broadcast(&self, json: &str) {
        self.live.broadcast("runs", RawValue::from_string(json.to_owned()).unwrap()).unwrap();
    }

    /// A client of a direct stream that has read the greeting; the bytes that follow are chunks.
    async fn open(&self, token: &str) -> Raw {
        self.greeted(Raw::connect(self.server.address).await, token).await
    }

    async fn greeted(&self, raw: Raw, token: &str) -> Raw {
        let wired = self.live.stats().wired;
        let (head, mut raw) = raw.ask("GET", &format!("/events?token={token}"), "").await;
        assert_eq!((head.status, head.header("transfer-encoding")), (200, Some("chunked")));
        assert_eq!(raw.read_past(": ok\n\n\r\n").await, "6\r\n: ok\n\n\r\n");
        until("the socket", || self.live.stats().wired > wired).await;
        raw
    }

    /// A client that does not read, for which more messages wait than its socket takes.
    async fn stalled(&self, token: &str) -> Raw {
        let raw = self.greeted(Raw::connect_narrow(self.server.address).await, token).await;
        let mut witness = self.open("grace").await;
        let filler = format!("\"{}\"", "x".repeat(1 << 20));
        for _ in 0..8 {
            self.broadcast(&filler);
        }
        self.broadcast("\"the witness has it\"");
        witness.read_past("the witness has it").await;
        drop(witness);
        until_is("the witness's end", 1, || self.live.len()).await;
        raw
    }
}

/// A registry whose outboxes hold all that these tests broadcast.
fn roomy() -> Live<Payload> {
    let outbox = OutboxOptions::new().with_max_bytes(NonZeroUsize::new(64 << 20).unwrap());
    Live::builder().with_options(LiveOptions::new().with_outbox(outbox)).build()
}

fn router(live: &Live<Payload>, tokens: &Tokens, options: SseOptions) -> Router {
    Router::new()
        .route("/events", sse_with(live, tokens.clone(), options))
        .route("/hello", get(async || "hello"))
}

/// Reads the chunks of HTTP/1.1 strictly; returns their bytes, and whether the last one was there.
fn dechunk(mut bytes: &str) -> (String, bool) {
    let mut text = String::new();
    while !bytes.is_empty() {
        let (size, rest) = bytes.split_once("\r\n").expect("the line of a size");
        assert!(
            !size.is_empty() && size.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
            "{size:?}"
        );
        let size = usize::from_str_radix(size, 16).unwrap();
        let (chunk, rest) = rest.split_at(size);
        text.push_str(chunk);
        bytes = rest.strip_prefix("\r\n").expect("the end of a chunk");
        if size == 0 {
            assert_eq!(bytes, "", "nothing follows the last chunk");
            return (text, true);
        }
    }
    (text, false)
}

#[tokio::test]
async fn sse_4_a_direct_stream_is_valid_http_to_its_last_chunk() {
    for shutdown in [false, true] {
        let site = Site::start(ServerOptions::new(), SseOptions::new()).await;
        let ada = site.open("ada").await;
        for number in 0..3 {
            site.broadcast(&format!("\"m{number}\""));
        }
        let (reason, retry) = if shutdown {
            assert_eq!(site.live.begin_shutdown(), 1);
            ("shutdown", "retry: ")
        } else {
            until_is("the messages", 3, || site.live.stats().lane_messages).await;
            assert_eq!(site.live.close_by_identity_as(account("ada"), Revocation::LoggedOut), 1);
            ("logged_out", "retry: 86400000\n\n")
        };
        let (text, over) = dechunk(&ada.read_to_end().await);
        assert!(over, "{text}");
        assert_eq!(text.matches("data: \"m").count(), 3, "{text}");
        let farewell = &text[text.find("event: close\n").expect("a farewell")..];
        assert!(
            farewell
                .starts_with(&format!("event: close\ndata: {{\"reason\":\"{reason}\"}}\n{retry}")),
            "{farewell}"
        );
        assert_eq!(farewell.matches("\n\n").count(), 1, "nothing follows it: {farewell}");
    }
}

#[tokio::test]
async fn sse_3_comments_keep_an_idle_direct_stream_open() {
    let period = Duration::from_millis(10);
    let site = Site::start(ServerOptions::new(), SseOptions::new().with_keep_alive(period)).await;
    let began = Instant::now();
    let mut ada = site.open("ada").await;
    for number in 1..=5 {
        assert_eq!(dechunk(&ada.read_past(":\n\n\r\n").await).0, COMMENT);
        assert!(began.elapsed() >= period * number, "not more often than the period");
    }
    site.broadcast("1");
    ada.read_past("data: 1\n\n\r\n").await;
    assert_eq!(
        dechunk(&ada.read_past(":\n\n\r\n").await).0,
        COMMENT,
        "comments continue after a message"
    );
}

/// Stops the clock until it is advanced: one that is only paused runs to the next timer when
/// nothing is to be done, though bytes are on their way. After ten seconds the clock runs again, so
/// that a bound which a test waits for is over at once.
fn stop_clock() -> mpsc::Sender<()> {
    tokio::time::pause();
    let (guard, held) = mpsc::channel();
    tokio::task::spawn_blocking(move || held.recv_timeout(Duration::from_secs(10)));
    guard
}

#[tokio::test]
async fn sse_3_a_busy_direct_stream_gets_no_comment() {
    let period = Duration::from_secs(60);
    let site = Site::start(ServerOptions::new(), SseOptions::new().with_keep_alive(period)).await;
    let mut ada = site.open("ada").await;
    let clock = stop_clock();
    for number in 0..20 {
        tokio::time::advance(Duration::from_secs(45)).await;
        site.broadcast(&format!("\"m{number}.\""));
        let read = ada.read_past(&format!("m{number}.\"\n\n\r\n")).await;
        assert!(!read.contains(COMMENT), "{read}");
    }
    // The witness: a comment arrives when the socket was idle for a period.
    tokio::time::advance(period).await;
    assert_eq!(dechunk(&ada.read_past(":\n\n\r\n").await).0, COMMENT);
    drop(clock);
}

#[tokio::test]
async fn sse_3_a_direct_stream_whose_socket_is_full_gets_no_comment() {
    let period = Duration::from_secs(60);
    let site = Site::start(ServerOptions::new(), SseOptions::new().with_keep_alive(period)).await;
    let mut stalled = site.stalled("ada").await;
    let mut idle = site.open("grace").await;
    let clock = stop_clock();
    // The witness: an idle stream gets a comment at the end of each period.
    for _ in 0..5 {
        // A timer rounds up to a millisecond.
        tokio::time::advance(period + Duration::from_millis(1)).await;
        idle.read_past(COMMENT).await;
    }
    site.broadcast("\"that was it\"");
    let (text, _) = dechunk(&stalled.read_past("that was it\"\n\n\r\n").await);
    assert!(!text.contains(COMMENT), "a comment stands between the messages that waited");
    assert_eq!(text.matches("data: ").count(), 10);
    drop(clock);
}

#[tokio::test]
async fn lse_1_a_stalled_peer_does_not_outlive_its_authority() {
    let options = ServerOptions::new().with_close_deadline(DEADLINE);
    let site = Site::start(options, SseOptions::new()).await;
    let until_then = SystemTime::now() + Duration::from_secs(5); // the peer stalls by then
    site.tokens.grant("brief", grant("brief", ChannelFilter::All).with_expires_at(until_then));
    let stalled = site.stalled("brief").await;
    until_is("the end", 0, || site.live.len()).await;
    assert!(SystemTime::now() >= until_then);
    assert_eq!(site.live.stats().ended[&CloseReason::Expired], 1);
    let text = stalled.read_to_reset().await;
    assert!(
        !String::from_utf8_lossy(&text).contains("expired"),
        "no farewell in the middle of a frame"
    );
    until_is("the end of the connection", 0, || site.server.metrics.stats().open).await;
}

#[tokio::test]
async fn sse_1_a_connection_that_served_another_request_before_becomes_direct() {
    let site = Site::start(ServerOptions::new(), SseOptions::new()).await;
    let (_, mut raw) = Raw::get(site.server.address, "/hello").await;
    raw.read_past("hello").await;
    let mut ada = site.greeted(raw, "ada").await;
    site.broadcast("1");
    ada.read_past("data: 1\n\n\r\n").await;
}

#[tokio::test]
async fn sse_5_a_peer_that_floods_the_server_is_disconnected() {
    let site = Site::start(ServerOptions::new(), SseOptions::new()).await;
    let mut ada = site.open("ada").await;
    let flood = vec![b'x'; 64 * 1024];
    soon("the end", async { while ada.tcp.write_all(&flood).await.is_ok() {} }).await;
    until_is("the removal", 0, || site.live.len()).await;
    assert_eq!(site.live.stats().ended[&CloseReason::Protocol], 1);
}

#[tokio::test]
async fn sse_4_a_stream_without_a_farewell_ends_in_its_last_chunk() {
    let site = Site::start(ServerOptions::new(), SseOptions::new()).await;
    let mut ada = site.open("ada").await;
    // Bytes after a request are discarded; so many of them violate the protocol.
    soon("room", ada.tcp.write_all(&[b'x'; 65 * 1024])).await.unwrap();
    assert_eq!(dechunk(&ada.read_to_end().await), (String::new(), true), "protocol");

    // A lane that is dropped ends the subscribers that it serves.
    let site =
        Site::start(ServerOptions::new().with_lane_count(NonZeroUsize::MIN), SseOptions::new())
            .await;
    let mut other = site.open("ada").await;
    let lane = site.live.open_lane(LaneOptions::new());
    let lost = site.open("ada").await;
    drop(lane);
    assert_eq!(dechunk(&lost.read_to_end().await), (String::new(), true), "failed");
    assert_eq!(site.live.stats().ended, [(CloseReason::Failed, 1)].into());
    site.broadcast("1");
    other.read_past("data: 1\n").await;
}

#[tokio::test]
async fn sub_7_a_thousand_connections_leave_nothing_behind() {
    let site = Site::start(ServerOptions::new(), SseOptions::new()).await;
    for round in 0..20 {
        let mut streams = Vec::new();
        for _ in 0..50 {
            streams.push(site.open("ada").await);
        }
        site.broadcast("1");
        match round % 3 {
            0 => drop(streams),
            1 => {
                assert_eq!(site.live.close_by_identity(account("ada")), 50);
                drop(streams);
            }
            _ => {
                for stream in streams {
                    stream.tcp.set_zero_linger().unwrap();
                }
            }
        }
        until("the end of all", || site.live.is_empty() && site.server.metrics.stats().open == 0)
            .await;
    }
    assert_eq!((site.live.stats().wired, site.server.metrics.stats().resets), (0, 0));
}

#[tokio::test]
async fn drn_1_a_registry_beside_the_servers_own_drains_too() {
    let (first, second) = (roomy(), Live::<u8>::new());
    let tokens = Tokens::of(&["ada"]);
    let beside = sse(&second, tokens.clone()).layer(second.entry_layer());
    let app = router(&first, &tokens, SseOptions::new()).route("/second", beside);
    let server = TestServer::start(app, &first, ServerOptions::new()).await;
    let (_, mut ada) = Raw::get(server.address, "/second?token=ada").await;
    until_is("the socket", 1, || second.stats().wired).await;
    second.broadcast("runs", 1).unwrap();
    ada.read_past("data: 1\n\n\r\n").await;
    assert_eq!(second.begin_shutdown(), 1);
    let (text, over) = dechunk(&ada.read_to_end().await);
    assert!(over && text.contains("{\"reason\":\"shutdown\"}"), "{text}");
    soon("the drain", second.drained()).await;
}

#[tokio::test]
async fn del_1_one_registry_serves_the_sockets_of_two_servers() {
    let live = roomy();
    let tokens = Tokens::of(&["ada"]);
    let app = router(&live, &tokens, SseOptions::new());
    let first = TestServer::start(app.clone(), &live, ServerOptions::new()).await;
    let second = TestServer::start(app, &live, ServerOptions::new()).await;
    let (_, one) = Raw::get(first.address, "/events?token=ada").await;
    let (_, two) = Raw::get(second.address, "/events?token=ada").await;
    until_is("the sockets", 2, || live.stats().wired).await;
    live.broadcast("runs", RawValue::from_string("1".into()).unwrap()).unwrap();
    // The first server waits until its own connections are closed.
    let stopped = tokio::spawn(first.stop());
    for stream in [one, two] {
        let text = stream.read_to_end().await;
        assert!(text.contains("data: 1\n") && text.contains("shutdown"), "{text}");
    }
    let stopped = stopped.await.unwrap();
    assert_eq!((stopped.notified, stopped.reset), (2, 0));
    assert_eq!(second.stop().await.reset, 0);
}

#[tokio::test]
async fn del_1_flushers_continue_when_the_server_is_dropped() {
    let live = roomy();
    let server = Server::bind("127.0.0.1:0", ServerOptions::new()).await.unwrap();
    let (address, app) =
        (server.local_addr().unwrap(), router(&live, &Tokens::of(&["ada"]), SseOptions::new()));
    let running = tokio::spawn({
        let live = live.clone();
        async move { server.run(app, &live, std::future::pending()).await }
    });
    let (_, mut ada) = Raw::get(address, "/events?token=ada").await;
    until_is("the socket", 1, || live.stats().wired).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    live.broadcast("runs", RawValue::from_string("1".into()).unwrap()).unwrap();
    ada.read_past("data: 1\n").await;
    assert_eq!(live.close_by_identity(account("ada")), 1);
    assert!(ada.read_to_end().await.contains("revoked"));
}

/// Direct streams under load from several threads, a part of which is revoked meanwhile: each
/// carries what was broadcast, gapless and in order, and a revoked stream carries nothing that was
/// broadcast after the call.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn del_2_under_load_streams_have_no_gap_and_none_goes_on_after_its_revocation() {
    const ACCOUNTS: usize = 8;
    const STREAMS: usize = 4;
    let names: Vec<String> = (0..ACCOUNTS).map(|number| format!("a{number}")).collect();
    let site = {
        let live = roomy();
        let tokens = Tokens::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let app = router(&live, &tokens, SseOptions::new());
        let lanes = ServerOptions::new().with_lane_count(NonZeroUsize::new(4).unwrap());
        let server = TestServer::start(app, &live, lanes).await;
        Site { live, tokens, server }
    };
    let mut readers = Vec::new();
    for name in &names {
        for _ in 0..STREAMS {
            let stream = site.open(name).await;
            readers.push((
                name.clone(),
                tokio::spawn(async move { dechunk(&stream.read_to_end().await) }),
            ));
        }
    }
    let (begun, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let publisher = std::thread::spawn({
        let (live, begun, stop) = (site.live.clone(), begun.clone(), stop.clone());
        move || {
            while !stop.load(Ordering::SeqCst) {
                let number = begun.fetch_add(1, Ordering::SeqCst);
                live.broadcast("runs", RawValue::from_string(number.to_string()).unwrap()).unwrap();
            }
        }
    });
    let mut last = std::collections::HashMap::new();
    for (at, name) in names.iter().enumerate().skip(ACCOUNTS / 2) {
        until("some load", || begun.load(Ordering::SeqCst) > at * 300).await;
        assert_eq!(site.live.close_by_identity(account(name)), STREAMS);
        last.insert(name.clone(), begun.load(Ordering::SeqCst));
    }
    stop.store(true, Ordering::SeqCst);
    publisher.join().unwrap();
    let all = begun.load(Ordering::SeqCst);
    site.server.stop().await;
    for (name, reader) in readers {
        let (text, _) = soon("the end of a stream", reader).await.unwrap();
        let numbers: Vec<usize> =
            text.lines().filter_map(|line| line.strip_prefix("data: ")?.parse().ok()).collect();
        let first = numbers.first().copied().unwrap_or(0);
        assert!(
            numbers.iter().enumerate().all(|(at, number)| *number == first + at),
            "gapless and in order"
        );
        match last.get(&name) {
            Some(last) => assert!(
                numbers.iter().all(|number| number < last),
                "{name}: {:?} of {last}",
                numbers.last()
            ),
            None => assert_eq!((first, numbers.len()), (0, all), "{name}"),
        }
    }
}
