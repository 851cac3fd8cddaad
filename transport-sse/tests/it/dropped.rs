//! A `Live` whose last handle is dropped while its streams are open.

use crate::Payload;
use axum::Router;
use registry_core::OutboxOptions;
use serde_json::value::RawValue;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;
use transport_core::test_util::{Host, Raw, Running, Tenant, TestServer, Tokens, soon, until_is};
use transport_core::{Live, LiveOptions, Server, ServerOptions};
use transport_sse::sse;

/// The route alone holds the `Live` once the test has dropped its own handle.
fn tenant() -> (Live<Payload>, Tenant, Router) {
    let roomy = OutboxOptions::new().with_max_bytes(NonZeroUsize::new(64 << 20).unwrap());
    let live = Live::builder().with_options(LiveOptions::new().with_outbox(roomy)).build();
    // The server draws the tickets of another registry.
    let route = sse(&live, Tokens::of(&["ada"])).layer(live.entry_layer());
    let (tenant, app) = Tenant::new("/events", route);
    (live, tenant, app)
}

async fn greeted(address: SocketAddr) -> Raw {
    let (head, mut raw) = Raw::get(address, "/events?token=ada").await;
    assert_eq!(head.status, 200);
    raw.read_past(": ok\n\n").await;
    raw
}

fn broadcast(live: &Live<Payload>, json: &str) {
    live.broadcast("runs", RawValue::from_string(json.to_owned()).unwrap()).unwrap();
}

async fn expect_farewells(streams: Vec<Raw>) {
    for stream in streams {
        let text = stream.read_to_end().await;
        let message = text.find("data: \"last\"\n").expect("what was broadcast is flushed");
        assert!(text.find("{\"reason\":\"shutdown\"}\nretry: ").unwrap() > message, "{text}");
        assert!(text.ends_with("\r\n0\r\n\r\n"), "{text}");
    }
}

async fn sub_6_a_registry_that_is_dropped_ends_its_streams_and_not_the_server(host: Host) {
    let other = Live::<()>::new();
    let (live, tenant, app) = tenant();
    let running = Running::start(host, app, &other).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(greeted(running.address).await);
    }
    if host.is_direct() {
        until_is("the sockets", 3, || live.stats().wired).await;
    }
    broadcast(&live, "\"last\"");
    let drained = live.drained();
    tenant.leave();
    drop(live);
    expect_farewells(streams).await;
    soon("the drain", drained).await;
    assert_eq!(
        Raw::get(running.address, "/events?token=ada").await.0.status,
        404,
        "the server goes on"
    );
}

transport_core::on_every_host!(
    sub_6_a_registry_that_is_dropped_ends_its_streams_and_not_the_server
);

#[tokio::test]
async fn drn_3_a_server_whose_streams_lost_their_registry_ends() {
    for lanes in [false, true] {
        let other = Live::<()>::new();
        let (live, tenant, app) = tenant();
        let server = TestServer::start(app, &other, ServerOptions::new()).await;
        if lanes {
            // The flushers of another server, which outlive that server.
            let other = Server::bind("127.0.0.1:0", ServerOptions::new()).await.unwrap();
            let served = live.clone();
            let running = tokio::spawn(async move {
                other.run(Router::new(), &served, std::future::pending()).await
            });
            tokio::task::yield_now().await;
            running.abort();
            assert!(running.await.unwrap_err().is_cancelled());
        }
        let streams = vec![greeted(server.address).await, greeted(server.address).await];
        until_is("the sockets", 2, || live.stats().wired).await;
        assert_eq!(live.stats().in_lanes, if lanes { 2 } else { 0 });
        // A client that does not read, and so does not take its farewell.
        let stalled = {
            let raw = Raw::connect_narrow(server.address).await;
            raw.ask("GET", "/events?token=ada", "").await.1
        };
        until_is("the socket", 3, || live.stats().wired).await;
        broadcast(&live, "\"last\"");
        tenant.leave();
        drop(live);
        expect_farewells(streams).await;
        let metrics = server.metrics.clone();
        drop(stalled);
        until_is("the end of every connection", 0, || metrics.stats().open).await;
        let ended = server.stop().await;
        assert_eq!((ended.notified, ended.reset, metrics.stats().panics), (0, 0, 0));
    }
}

/// No registry is left to set a deadline, so the kernel's is the only one.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn sse_5_a_peer_that_does_not_read_outlives_its_registry_by_the_user_timeout() {
    let other = Live::<()>::new();
    let (live, tenant, app) = tenant();
    let options = ServerOptions::new().with_user_timeout(Duration::from_secs(1));
    let server = TestServer::start(app, &other, options).await;
    let (_, stalled) =
        Raw::connect_narrow(server.address).await.ask("GET", "/events?token=ada", "").await;
    until_is("the socket", 1, || live.stats().wired).await;
    for _ in 0..8 {
        broadcast(&live, &format!("\"{}\"", "x".repeat(1 << 20)));
    }
    assert_eq!(live.len(), 1, "the subscriber does not lag");
    tenant.leave();
    drop(live);
    until_is("the end of the connection", 0, || server.metrics.stats().open).await;
    drop(stalled);
}
