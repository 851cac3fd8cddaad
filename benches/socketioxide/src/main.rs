//! A server on socketioxide, one room for each channel.
//!
//! `GET /socket.io/?EIO=4&transport=websocket&channel={channel}`, answered by the event `joined`;
//! `POST /pub/{channel}`.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;

/// As in the server that it stands beside.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Longer than any run: the load generator answers no pings.
const PING_INTERVAL: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (layer, io) = SocketIo::builder().ping_interval(PING_INTERVAL).build_layer();
    io.ns("/", async |socket: SocketRef| {
        let query = socket.req_parts().uri.query().unwrap_or_default();
        if let Some(channel) = query.split('&').find_map(|pair| pair.strip_prefix("channel=")) {
            socket.join(channel.to_owned());
        }
        let _ = socket.emit("joined", "");
    });
    let app = Router::new().route("/pub/{channel}", post(publish)).layer(layer).with_state(io);
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
    State(io): State<SocketIo>,
    Path(channel): Path<String>,
    Json(message): Json<Value>,
) -> StatusCode {
    // An error says that some socket's queue was full: its message is lost, as the library has it.
    let _ = io.to(channel).emit("message", &message).await;
    StatusCode::ACCEPTED
}
