//! The sink kit, on WebSockets: on sockets of ours, and where HTTP has them.

use crate::wire::{AsRegistered, Running, Site, run};
use crate::{Client, open};
use axum::Router;
use harness::kit::sink::{Peer, Rig};
use registry_core::{Registration, SubscriberRegistry};
use tokio_tungstenite::tungstenite::Message;
use transport_core::Live;
use transport_ws::ws;

struct WebSockets(Site);

impl Rig for WebSockets {
    type Peer = Reader;

    async fn connect(&self, registry: &SubscriberRegistry<String>, registration: Registration) -> Reader {
        let live = Live::new(registry.clone(), AsRegistered(registration));
        let app = Router::new().route("/ws", ws(&live));
        let server = Running::start(self.0, app, registry).await;
        Reader { client: open(server.address, "").await, over: false, _server: server }
    }
}

struct Reader {
    client: Client,
    over: bool,
    _server: Running,
}

impl Peer for Reader {
    async fn next(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        match self.client.next().await {
            Message::Text(text) => Some(serde_json::from_str(text.as_str()).unwrap()),
            Message::Close(_) => {
                self.over = true;
                None
            }
            other => panic!("{other:?}"),
        }
    }

    async fn leave(self) {}
}

harness::sink_suite!(ours, WebSockets(Site::Ours), run);
harness::sink_suite!(foreign, WebSockets(Site::Foreign), run);
