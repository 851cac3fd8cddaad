//! A registry whose last handle goes while its streams are open.

use crate::Payload;
use crate::wire::{Owned, Raw, Running, Site, Tenant, Tokens, on_both_sites, soon, until_is};
use axum::Router;
use registry_core::{OutboxOptions, SubscriberRegistry};
use serde_json::value::RawValue;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;
use transport_core::{Live, LiveOptions, Server, ServerOptions};
use transport_sse::sse;

/// The registry is held by the route alone, once the test has let go.
fn tenant(registry: &SubscriberRegistry<Payload>) -> (Tenant, Router) {
    let roomy = OutboxOptions::new().with_max_bytes(NonZeroUsize::new(64 << 20).unwrap());
    let options = LiveOptions::new().with_outbox(roomy);
    Tenant::new("/events", sse(&Live::with_options(registry.clone(), Tokens::of(&["ada"]), options)))
}

async fn greeted(address: SocketAddr) -> Raw {
    let (head, mut raw) = Raw::get(address, "/events?token=ada").await;
    assert_eq!(head.status, 200);
    raw.read_past(": ok\n\n").await;
    raw
}

fn broadcast(registry: &SubscriberRegistry<Payload>, json: &str) {
    registry.broadcast("runs", RawValue::from_string(json.to_owned()).unwrap()).unwrap();
}

async fn all_said(streams: Vec<Raw>) {
    for stream in streams {
        let text = stream.read_to_end().await;
        let message = text.find("data: \"last\"\n").expect("what was broadcast is flushed");
        assert!(text.find("{\"reason\":\"shutdown\"}\nretry: ").unwrap() > message, "{text}");
        assert!(text.ends_with("\r\n0\r\n\r\n"), "{text}");
    }
}

async fn sub_6_a_registry_that_is_dropped_ends_its_streams_and_not_the_server(site: Site) {
    let registry = SubscriberRegistry::new();
    let host = SubscriberRegistry::<Payload>::new();
    let (tenant, app) = tenant(&registry);
    let running = Running::start(site, app, &host).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(greeted(running.address).await);
    }
    if site == Site::Ours {
        until_is("the sockets", 3, || registry.stats().wired).await;
    }
    broadcast(&registry, "\"last\"");
    let drained = registry.drained();
    tenant.leave();
    drop(registry);
    all_said(streams).await;
    soon("the drain", drained).await;
    assert_eq!(Raw::get(running.address, "/events?token=ada").await.0.status, 404, "the server goes on");
}

on_both_sites!(sub_6_a_registry_that_is_dropped_ends_its_streams_and_not_the_server);

#[tokio::test]
async fn drn_3_a_server_ends_whose_streams_lost_their_registry() {
    for lanes in [false, true] {
        let registry = SubscriberRegistry::new();
        let host = SubscriberRegistry::<Payload>::new();
        let (tenant, app) = tenant(&registry);
        let server = Owned::start(app, &host, ServerOptions::new()).await;
        if lanes {
            // Another server's flushers, which outlive it.
            let other = Server::bind("127.0.0.1:0", ServerOptions::new()).await.unwrap();
            let served = registry.clone();
            let running = tokio::spawn(async move { other.run(Router::new(), &served, std::future::pending()).await });
            tokio::task::yield_now().await;
            running.abort();
            assert!(running.await.unwrap_err().is_cancelled());
        }
        let streams = vec![greeted(server.address).await, greeted(server.address).await];
        until_is("the sockets", 2, || registry.stats().wired).await;
        assert_eq!(registry.stats().in_lanes, if lanes { 2 } else { 0 });
        // One that does not read, and so does not take its farewell.
        let stalled = {
            let raw = Raw::connect_narrow(server.address).await;
            raw.ask("GET", "/events?token=ada", "").await.1
        };
        until_is("the socket", 3, || registry.stats().wired).await;
        broadcast(&registry, "\"last\"");
        tenant.leave();
        drop(registry);
        all_said(streams).await;
        let metrics = server.metrics.clone();
        drop(stalled);
        until_is("the end of every connection", 0, || metrics.open()).await;
        let ended = server.stop().await;
        assert_eq!((ended.told, ended.reset, metrics.panics()), (0, 0, 0));
    }
}

/// Nobody is left to set a deadline, so the kernel's is the only one.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn sse_5_a_peer_that_does_not_read_outlives_its_registry_by_the_user_timeout() {
    let (registry, host) = (SubscriberRegistry::new(), SubscriberRegistry::<Payload>::new());
    let (tenant, app) = tenant(&registry);
    let options = ServerOptions::new().with_user_timeout(Duration::from_secs(1));
    let server = Owned::start(app, &host, options).await;
    let (_, stalled) = Raw::connect_narrow(server.address).await.ask("GET", "/events?token=ada", "").await;
    until_is("the socket", 1, || registry.stats().wired).await;
    for _ in 0..8 {
        broadcast(&registry, &format!("\"{}\"", "x".repeat(1 << 20)));
    }
    assert_eq!(registry.len(), 1, "it does not lag");
    tenant.leave();
    drop(registry);
    until_is("the end of the connection", 0, || server.metrics.open()).await;
    drop(stalled);
}
