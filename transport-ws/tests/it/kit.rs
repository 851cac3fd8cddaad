//! The sink kit, on WebSockets.

use crate::Client;
use crate::wire::{AsRegistered, Owned, run};
use axum::Router;
use harness::kit::sink::{Peer, Rig};
use registry_core::{Registration, SubscriberRegistry};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use transport_core::{Live, ServerOptions};
use transport_ws::ws;

struct WebSockets;

impl Rig for WebSockets {
    type Peer = Reader;

    async fn connect(&self, registry: &SubscriberRegistry<String>, registration: Registration) -> Reader {
        let live = Live::new(registry.clone(), AsRegistered(registration));
        let app = Router::new().route("/ws", ws(&live));
        let server = Owned::start(app, registry, ServerOptions::new()).await;
        let tcp = TcpStream::connect(server.address).await.unwrap();
        let (stream, _) = client_async(format!("ws://{}/ws", server.address), tcp).await.unwrap();
        Reader { client: Client(stream), over: false, _server: server }
    }
}

struct Reader {
    client: Client,
    over: bool,
    _server: Owned,
}

impl Peer for Reader {
    async fn next(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        match self.client.next().await {
            Message::Text(text) => Some(serde_json::from_str(text.as_str()).unwrap()),
            _ => {
                self.over = true;
                None
            }
        }
    }

    async fn leave(self) {}
}

harness::sink_suite!(web_sockets, WebSockets, run);
