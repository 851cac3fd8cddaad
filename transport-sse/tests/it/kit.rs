//! The sink kit, on event streams: on sockets of ours, and where HTTP has them.

use crate::wire::{AsRegistered, Raw, Running, Site, run};
use axum::Router;
use harness::kit::sink::{Peer, Rig};
use registry_core::{Registration, SubscriberRegistry};
use transport_core::Live;
use transport_sse::sse;

struct EventStreams(Site);

impl Rig for EventStreams {
    type Peer = Reader;

    async fn connect(&self, registry: &SubscriberRegistry<String>, registration: Registration) -> Reader {
        let live = Live::new(registry.clone(), AsRegistered(registration));
        let app = Router::new().route("/events", sse(&live));
        let server = Running::start(self.0, app, registry).await;
        let (head, mut raw) = Raw::get(server.address, "/events").await;
        assert_eq!(head.status, 200);
        raw.read_past(": ok\n\n").await;
        Reader { raw, over: false, _server: server }
    }
}

struct Reader {
    raw: Raw,
    over: bool,
    _server: Running,
}

impl Peer for Reader {
    async fn next(&mut self) -> Option<String> {
        while !self.over {
            let event = self.raw.read_past("\n\n").await;
            let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) else { continue };
            self.over = event.contains("event: close");
            if !self.over {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
        None
    }

    async fn leave(self) {}
}

harness::sink_suite!(ours, EventStreams(Site::Ours), run);
harness::sink_suite!(foreign, EventStreams(Site::Foreign), run);
