//! The WebSocket transport on real sockets, by requirement.
#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped has failed the test")]

#[path = "../../../transport-core/tests/wire/mod.rs"]
mod wire;

mod close;
mod handshake;
mod inbound;
mod kit;
mod owned;

use axum::Router;
use futures_util::StreamExt;
use registry_core::{RegistryOptions, SubscriberRegistry};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use transport_core::{Live, LiveOptions};
use transport_ws::{WsOptions, ws_with};
use wire::{Running, Site, Tokens, soon};

struct Server {
    registry: SubscriberRegistry<String>,
    live: Live<String>,
    address: SocketAddr,
    tokens: Tokens,
    _running: Running,
}

impl Server {
    async fn start(site: Site, names: &[&str]) -> Self {
        Self::with(site, names, RegistryOptions::new(), LiveOptions::new(), WsOptions::new()).await
    }

    async fn with(site: Site, names: &[&str], registry: RegistryOptions, live: LiveOptions, ws: WsOptions) -> Self {
        let registry = SubscriberRegistry::with_options(registry);
        let tokens = Tokens::of(names);
        let live = Live::with_options(registry.clone(), tokens.clone(), live);
        let running = Running::start(site, Router::new().route("/ws", ws_with(&live, ws)), &registry).await;
        Self { registry, live, address: running.address, tokens, _running: running }
    }

    async fn open(&self, query: &str) -> Client {
        open(self.address, query).await
    }

    fn broadcast(&self, text: &str) -> registry_core::Report {
        self.registry.broadcast("runs", text.to_owned()).unwrap()
    }
}

/// A WebSocket client that answers pings and closes, as browsers do.
async fn open(address: SocketAddr, query: &str) -> Client {
    let tcp = TcpStream::connect(address).await.unwrap();
    let handshake = client_async(format!("ws://{address}/ws?{query}"), tcp);
    let (stream, response) = soon("the handshake", handshake).await.unwrap();
    assert_eq!(response.status(), 101);
    Client(stream)
}

struct Client(WebSocketStream<TcpStream>);

impl Client {
    /// The next text or close.
    async fn next(&mut self) -> Message {
        soon("a message", async {
            loop {
                match self.0.next().await.unwrap().unwrap() {
                    Message::Ping(_) | Message::Pong(_) => {}
                    message => return message,
                }
            }
        })
        .await
    }

    /// The text of the next message, as JSON has it.
    async fn text(&mut self) -> String {
        serde_json::from_str(self.next().await.to_text().unwrap()).unwrap()
    }

    /// Reads to the close frame and to the end of the socket.
    async fn closed(mut self) -> (u16, String) {
        let mut message = self.next().await;
        while message.is_text() {
            message = self.next().await;
        }
        let Message::Close(Some(close)) = message else { panic!("{message:?}") };
        soon("the end of the socket", async { while self.0.next().await.is_some() {} }).await;
        (close.code.into(), close.reason.as_str().to_owned())
    }
}

const TICK: Duration = Duration::from_millis(20);
