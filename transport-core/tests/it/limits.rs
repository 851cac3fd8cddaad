//! The limits on a peer: heads, idle time, connections over the limit, descriptors.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use std::convert::Infallible;
use std::fs::File;
use std::num::NonZeroUsize;
use std::process::Command;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use transport_core::test_util::{BOUND, Raw, TestServer, soon, until, until_is};
use transport_core::{Live, ServerOptions};

/// Short, so that tests need not wait, and long enough for a head that is sent at once.
const SHORT: Duration = Duration::from_millis(500);

fn app() -> Router {
    let endless =
        async || Body::from_stream(futures_util::stream::pending::<Result<&str, Infallible>>());
    Router::new().route("/hello", get(async || "hello")).route("/endless", get(endless))
}

async fn start(options: ServerOptions) -> TestServer {
    TestServer::start(app(), &Live::<()>::new(), options).await
}

fn at_most(connections: usize) -> ServerOptions {
    ServerOptions::new().with_max_connections(NonZeroUsize::new(connections).unwrap())
}

#[test]
fn limits_the_defaults_are_those_that_are_documented() {
    let defaults = format!("{:?}", ServerOptions::new());
    let documented = "close_deadline: 2s, drain_deadline: 10s, head_timeout: 10s, \
                      user_timeout: 30s, max_connections: None";
    assert!(defaults.contains(documented), "{defaults}");
}

/// Sends a head of so many bytes, and returns the status.
async fn head_of(bytes: usize, server: &TestServer) -> u16 {
    let head = |field: &str| format!("GET /hello HTTP/1.1\r\nhost: here\r\nx: {field}\r\n\r\n");
    let head = head(&"x".repeat(bytes - head("").len()));
    assert_eq!(head.len(), bytes);
    let mut raw = Raw::connect(server.address).await;
    raw.tcp.write_all(head.as_bytes()).await.unwrap();
    raw.read_past("\r\n").await.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn limits_a_head_of_more_than_64_kib_is_refused() {
    let (wrapped, _) = TestServer::start_counted(app(), &Live::<()>::new()).await;
    for server in [start(ServerOptions::new()).await, wrapped] {
        assert_eq!(head_of(64 << 10, &server).await, 200);
        for bytes in [(64 << 10) + 1, 80 << 10, 100 << 10, 120 << 10] {
            assert_eq!(head_of(bytes, &server).await, 431, "{bytes} bytes");
        }
    }
}

#[tokio::test]
async fn limits_idle_connections_are_closed_and_are_no_slow_heads() {
    let (options, live) = (ServerOptions::new().with_head_timeout(SHORT), Live::<()>::new());
    let server =
        TestServer::start(app().route("/body", get(async |_: String| "")), &live, options).await;
    let counts = || (server.metrics.stats().slow_heads, server.metrics.stats().idle_closed);
    let body = "content-length: 6\r\n\r\nbody";
    let mut idle = Vec::new();
    for (target, more) in [("/hello", ""), ("/body", body), ("/hello", body)] {
        let (head, raw) = Raw::request(server.address, "GET", target, more).await;
        assert_eq!(head.status, 200);
        idle.push(raw);
    }
    for raw in idle {
        raw.read_to_end().await;
    }
    until_is("the count of the idle", (0, 3), counts).await;
    let (_, mut begun) = Raw::get(server.address, "/hello").await;
    begun.read_past("hello").await;
    begun.tcp.write_all(b"GET /hel").await.unwrap();
    for raw in [begun, Raw::connect(server.address).await] {
        raw.read_to_end().await;
    }
    until_is("the count of slow heads", (2, 3), counts).await;
}

/// A connection that sent nothing and was refused: it has read its answer, and stays open.
async fn refused(server: &TestServer) -> Raw {
    let before = server.metrics.stats().refused;
    let mut raw = Raw::connect(server.address).await;
    raw.tcp.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    assert!(raw.read_past("come back in a second").await.starts_with("HTTP/1.1 503 "));
    assert_eq!(server.metrics.stats().refused, before + 1);
    raw
}

#[tokio::test]
async fn limits_refused_connections_do_not_count_as_open() {
    let server = start(at_most(1)).await;
    assert_eq!(server.metrics.stats().limit, NonZeroUsize::new(1));
    let (_, mut first) = Raw::get(server.address, "/hello").await;
    first.read_past("hello").await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(refused(&server).await);
    }
    assert_eq!(server.metrics.stats().open, 1);
    drop(first);
    until_is("room", 0, || server.metrics.stats().open).await;
    assert_eq!(Raw::get(server.address, "/hello").await.0.status, 200);
    assert_eq!((server.metrics.stats().refused, server.metrics.stats().accepted), (10, 12));
    assert_eq!(start(ServerOptions::new()).await.metrics.stats().limit, None);
}

#[tokio::test]
async fn adm_2_a_browser_beyond_the_limit_is_asked_to_come_back() {
    let server = start(at_most(1)).await;
    let _first = Raw::get(server.address, "/endless").await;
    let accept = "accept: text/event-stream\r\n";
    let (head, mut raw) = Raw::request(server.address, "GET", "/hello", accept).await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    let read = raw.read_past("\"status\":503}\n\n").await;
    assert!(read.starts_with("retry: 1") && read.contains("event: close\n"), "{read}");
    assert_eq!(server.metrics.stats().refused, 1);
    // A request that asks for something else, or nothing at all within a second, gets the status.
    let (head, _raw) = Raw::request(server.address, "POST", "/hello", accept).await;
    assert_eq!(head.status, 503);
    let mut head = Raw::connect(server.address).await;
    head.tcp.write_all(b"HEAD /hello HTTP/1.1\nhost: here\n\n").await.unwrap();
    let answer = head.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    // Large cookies may leave the end of the head beyond what is read of it.
    let large = format!("{accept}cookie: {}\r\n", "x".repeat(9000));
    assert_eq!(Raw::request(server.address, "GET", "/hello", &large).await.0.status, 200);
    let mut silent = Raw::connect(server.address).await;
    assert!(silent.read_past("come back in a second").await.starts_with("HTTP/1.1 503 "));
}

/// Writes until the server has closed the connection.
async fn write_until_closed(mut tcp: TcpStream) {
    soon("the end of the connection", async {
        while tcp.write_all(b"anybody there?").await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn limits_a_refused_peer_has_a_second_to_leave() {
    let server = start(at_most(1)).await;
    let _first = Raw::get(server.address, "/endless").await;
    write_until_closed(refused(&server).await.tcp).await;
}

#[tokio::test]
async fn limits_only_so_many_refusals_are_answered_at_a_time() {
    let server = start(at_most(1)).await;
    let _first = Raw::get(server.address, "/endless").await;
    // As long as a task has something to do, a clock that is paused stands still: the second of the
    // refused does not pass.
    tokio::time::pause();
    let end = SystemTime::now() + BOUND;
    let busy = tokio::spawn(async move {
        while SystemTime::now() < end {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(BOUND).await;
    });
    let mut held = Vec::new();
    for _ in 0..ServerOptions::MAX_REFUSALS {
        held.push(refused(&server).await);
    }
    let next = Raw::connect(server.address).await;
    assert_eq!(next.read_to_end().await, "", "one too many");
    assert_eq!(server.metrics.stats().open, 1);
    busy.abort();
}

#[tokio::test]
async fn sse_5_a_peer_that_left_is_noticed_although_it_had_sent_too_much() {
    let (wrapped, _) = TestServer::start_counted(app(), &Live::<()>::new()).await;
    for server in [start(ServerOptions::new()).await, wrapped] {
        for early in [true, false] {
            let mut raw = Raw::connect(server.address).await;
            let request = "GET /endless HTTP/1.1\r\nhost: here\r\n\r\n";
            raw.tcp
                .write_all(format!("{request}{}", if early { "x" } else { "" }).as_bytes())
                .await
                .unwrap();
            raw.read_past("\r\n\r\n").await;
            if !early {
                raw.tcp.write_all(b"x").await.unwrap();
            }
            // By the time of this answer the server has read that byte.
            Raw::get(server.address, "/hello").await.1.read_past("hello").await;
            assert!(server.metrics.stats().open >= 1);
            drop(raw);
            until_is("the end of the connection", 0, || server.metrics.stats().open).await;
        }
    }
}

const CHILD: &str = "REGISTRY_TEST_FEW_DESCRIPTORS";

/// In a process of its own, because others in this one need descriptors.
#[test]
#[cfg(unix)]
fn limits_a_shortage_of_descriptors_is_counted_and_passes() {
    if std::env::var_os(CHILD).is_some() {
        return tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(starved());
    }
    let name = "limits::limits_a_shortage_of_descriptors_is_counted_and_passes";
    let child = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(CHILD, "1")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}

async fn starved() {
    let server = start(ServerOptions::new()).await;
    // The kernel connects the client. The server runs on this thread, and has not accepted yet.
    let client = std::net::TcpStream::connect(server.address).unwrap();
    client.set_nonblocking(true).unwrap();
    let mut raw = Raw::of(TcpStream::from_std(client).unwrap());
    let all: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    until("the count", || server.metrics.stats().out_of_descriptors > 0).await;
    assert_eq!(server.metrics.stats().accepted, 0);
    drop(all);
    raw.tcp.write_all(b"GET /hello HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    raw.read_past("hello").await;
}
