//! The SSE transport on real sockets, by requirement.
#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped has failed the test")]

#[path = "../../../transport-core/tests/wire/mod.rs"]
mod wire;

#[path = "../../../transport-core/tests/wire/beyond.rs"]
mod beyond;

mod admission;
mod dropped;
mod http2;
mod kit;
mod lanes;
mod layers;
mod owned;
mod stream;
mod ungranted;

use axum::Router;
use registry_core::{RegistryOptions, SubscriberRegistry};
use serde_json::value::RawValue;
use std::net::SocketAddr;
use transport_core::{Live, LiveOptions};
use transport_sse::sse;
use wire::{Raw, Running, Site, Tokens};

type Payload = Box<RawValue>;

struct Server {
    registry: SubscriberRegistry<Payload>,
    live: Live<Payload>,
    address: SocketAddr,
    tokens: Tokens,
    _running: Running,
}

impl Server {
    async fn start(site: Site, tokens: Tokens) -> Self {
        Self::with(site, tokens, RegistryOptions::new(), LiveOptions::new()).await
    }

    async fn with(site: Site, tokens: Tokens, registry: RegistryOptions, options: LiveOptions) -> Self {
        let registry = SubscriberRegistry::with_options(registry);
        let live = Live::with_options(registry.clone(), tokens.clone(), options);
        let running = Running::start(site, Router::new().route("/events", sse(&live)), &registry).await;
        Self { registry, live, address: running.address, tokens, _running: running }
    }

    /// Opens a stream and reads its greeting.
    async fn open(&self, query: &str) -> Raw {
        let (head, mut raw) = Raw::get(self.address, &format!("/events?{query}")).await;
        assert_eq!(head.status, 200);
        raw.read_past(": ok\n\n").await;
        raw
    }

    async fn refused(&self, query: &str) -> (u16, String) {
        let (head, mut raw) = Raw::get(self.address, &format!("/events?{query}")).await;
        assert_ne!(head.status, 200, "admitted");
        (head.status, raw.read_past("}").await)
    }

    fn broadcast(&self, channel: &str, json: &str) -> registry_core::Report {
        self.registry.broadcast(channel, RawValue::from_string(json.to_owned()).unwrap()).unwrap()
    }
}
