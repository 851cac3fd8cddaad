//! The sink suite on event streams, direct and portable.

use axum::Router;
use harness::kit::sink::{Peer, Rig};
use registry_core::Registration;
use transport_core::Live;
use transport_core::test_util::{AsRegistered, Host, Raw, Running, run};
use transport_sse::sse;

struct EventStreams(Host);

impl Rig for EventStreams {
    type Peer = Reader;
    type Registry = Live<String>;

    fn registry(&self) -> Live<String> {
        Live::new()
    }

    async fn connect(&self, live: &Live<String>, registration: Registration) -> Reader {
        let app = Router::new().route("/events", sse(live, AsRegistered(registration)));
        let server = Running::start(self.0, app, live).await;
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
            let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) else {
                continue;
            };
            self.over = event.contains("event: close");
            if !self.over {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
        None
    }

    async fn leave(self) {}
}

harness::sink_suite!(on_server, EventStreams(Host::Server), run);
harness::sink_suite!(on_listener, EventStreams(Host::Listener), run);
harness::sink_suite!(on_axum, EventStreams(Host::Axum), run);
