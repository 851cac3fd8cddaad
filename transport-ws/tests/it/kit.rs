//! The sink suite on WebSockets, direct and portable.

use crate::{Client, open};
use axum::Router;
use harness::kit::sink::{Peer, Rig};
use registry_core::Registration;
use tokio_tungstenite::tungstenite::Message;
use transport_core::Live;
use transport_core::test_util::{AsRegistered, Host, Running, run};
use transport_ws::ws;

struct WebSockets(Host);

impl Rig for WebSockets {
    type Peer = Reader;
    type Registry = Live<String>;

    fn registry(&self) -> Live<String> {
        Live::new()
    }

    async fn connect(&self, live: &Live<String>, registration: Registration) -> Reader {
        let app = Router::new().route("/ws", ws(live, AsRegistered(registration)));
        let server = Running::start(self.0, app, live).await;
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

harness::sink_suite!(on_server, WebSockets(Host::Server), run);
harness::sink_suite!(on_listener, WebSockets(Host::Listener), run);
harness::sink_suite!(on_axum, WebSockets(Host::Axum), run);
