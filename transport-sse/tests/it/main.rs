//! The SSE transport on real sockets, by requirement.
#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped has failed the test")]

mod admission;
mod direct;
mod dropped;
mod http2;
mod kit;
mod lanes;
mod layers;
mod names;
mod snapshot;
mod stream;
mod ungranted;

use axum::Router;
use registry_core::RegistryOptions;
use serde_json::value::RawValue;
use std::net::SocketAddr;
use transport_core::test_util::{Host, Raw, Running, Tokens};
use transport_core::{Live, LiveOptions};
use transport_sse::sse;

type Payload = Box<RawValue>;

struct Server {
    live: Live<Payload>,
    address: SocketAddr,
    tokens: Tokens,
    _running: Running,
}

impl Server {
    async fn start(host: Host, tokens: Tokens) -> Self {
        Self::with(host, tokens, RegistryOptions::new(), LiveOptions::new()).await
    }

    async fn with(
        host: Host,
        tokens: Tokens,
        registry: RegistryOptions,
        options: LiveOptions,
    ) -> Self {
        let live = Live::builder().with_registry_options(registry).with_options(options).build();
        let app = Router::new().route("/events", sse(&live, tokens.clone()));
        let running = Running::start(host, app, &live).await;
        Self { live, address: running.address, tokens, _running: running }
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
        self.live.broadcast(channel, RawValue::from_string(json.to_owned()).unwrap()).unwrap()
    }
}
