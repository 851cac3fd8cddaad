//! The least: everybody hears everything, over server-sent events.
//!
//! ```text
//! cargo run -p examples --bin minimal-sse
//! curl -N http://127.0.0.1:3000/events
//! curl -d hello http://127.0.0.1:3000/say
//! ```

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use std::env;
use transport_sse::{ChannelFilter, Entry, Grant, Live, Refusal, Server, ServerOptions, Sse};

async fn events(entry: Entry<String>) -> Result<Sse, Refusal> {
    Ok(Sse::new(entry.admit(Grant::new(ChannelFilter::All))?))
}

/// Returns how many clients hear it.
async fn say(State(live): State<Live<String>>, text: String) -> Json<usize> {
    Json(live.broadcast("said", text).map_or(0, |report| report.matched))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let live = Live::<String>::new();
    let app = Router::new()
        .route("/events", get(events))
        .route("/say", post(say))
        .with_state(live.clone());
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let server = Server::bind(address, ServerOptions::new()).await?;
    println!("listening on http://{}", server.local_addr()?);
    server.run(app, &live, async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
