//! The WebSocket transport on real sockets, by requirement.
#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped has failed the test")]

mod close;
mod direct;
mod handshake;
mod inbound;
mod kit;
mod live;
mod revoked;
mod snapshot;
mod ungranted;

use axum::Router;
use futures_util::StreamExt;
use registry_core::RegistryOptions;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use transport_core::test_util::{Host, Running, Tokens, soon};
use transport_core::{Live, LiveOptions};
use transport_ws::{WsOptions, ws_with};

struct Server {
    live: Live<String>,
    address: SocketAddr,
    tokens: Tokens,
    _running: Running,
}

impl Server {
    async fn start(host: Host, names: &[&str]) -> Self {
        Self::with(host, names, RegistryOptions::new(), LiveOptions::new(), WsOptions::new()).await
    }

    async fn with(
        host: Host,
        names: &[&str],
        registry: RegistryOptions,
        options: LiveOptions,
        ws: WsOptions,
    ) -> Self {
        let tokens = Tokens::of(names);
        let live = Live::builder().with_registry_options(registry).with_options(options).build();
        let app = Router::new().route("/ws", ws_with(&live, tokens.clone(), ws));
        let running = Running::start(host, app, &live).await;
        Self { live, address: running.address, tokens, _running: running }
    }

    async fn open(&self, query: &str) -> Client {
        open(self.address, query).await
    }

    fn broadcast(&self, text: &str) -> registry_core::Report {
        self.live.broadcast("runs", text.to_owned()).unwrap()
    }
}

/// A WebSocket client that answers pings and closes, as browsers do.
async fn open(address: SocketAddr, query: &str) -> Client {
    let tcp = TcpStream::connect(address).await.unwrap();
    let asked = client_async(format!("ws://{address}/ws?{query}"), tcp);
    let (stream, response) = soon("the answer", asked).await.unwrap();
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
