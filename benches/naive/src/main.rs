//! A server as the documentation of axum and tokio teaches it: one broadcast channel, and for each
//! subscriber a stream or a task that takes everything from it and keeps what is for its own
//! channel.
//!
//! `GET /sse/{channel}`, `GET /ws/{channel}`, `POST /pub/{channel}`.

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt};

/// As in the server that it stands beside.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A channel's name and a message.
type Publication = (String, String);
type Sender = broadcast::Sender<Publication>;

/// Messages that a subscriber may be behind before it loses some.
const CAPACITY: usize = 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sender = Sender::new(CAPACITY);
    let app = Router::new()
        .route("/sse/{channel}", get(sse))
        .route("/ws/{channel}", get(ws))
        .route("/pub/{channel}", post(publish))
        .with_state(sender);
    let listener = TcpListener::bind(listen_address()?).await?;
    Ok(axum::serve(listener, app).await?)
}

fn listen_address() -> Result<SocketAddr, lexopt::Error> {
    use lexopt::prelude::*;
    let mut listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("listen") => listen = parser.value()?.parse()?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(listen)
}

async fn publish(
    State(sender): State<Sender>,
    Path(channel): Path<String>,
    body: String,
) -> StatusCode {
    // It fails when there is no receiver, which is no failure.
    let _ = sender.send((channel, body));
    StatusCode::ACCEPTED
}

async fn sse(
    State(sender): State<Sender>,
    Path(channel): Path<String>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let stream =
        BroadcastStream::new(sender.subscribe()).filter_map(move |received| match received {
            Ok((published, message)) if published == channel => {
                Some(Ok(Event::default().data(message)))
            }
            _ => None,
        });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

async fn ws(
    upgrade: WebSocketUpgrade,
    State(sender): State<Sender>,
    Path(channel): Path<String>,
) -> impl IntoResponse {
    let receiver = sender.subscribe();
    upgrade.on_upgrade(move |socket| serve(socket, channel, receiver))
}

async fn serve(
    mut socket: WebSocket,
    channel: String,
    mut receiver: broadcast::Receiver<Publication>,
) {
    loop {
        tokio::select! {
            received = receiver.recv() => match received {
                Ok((published, message)) if published == channel => {
                    if socket.send(Message::Text(message.into())).await.is_err() {
                        return;
                    }
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            heard = socket.recv() => if !matches!(heard, Some(Ok(_))) { return },
        }
    }
}
