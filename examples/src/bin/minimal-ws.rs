//! A chat over WebSocket: what one client sends, every client gets.
//!
//! ```text
//! cargo run -p examples --bin minimal-ws
//! websocat ws://127.0.0.1:3000/ws
//! ```

use axum::Router;
use axum::response::Response;
use axum::routing::any;
use std::env;
use transport_ws::{ChannelFilter, Entry, Grant, Live, Refusal, Server, ServerOptions, WsUpgrade};

async fn chat(entry: Entry<String>, upgrade: WsUpgrade) -> Result<Response, Refusal> {
    let live = entry.live().clone();
    let upgrade = upgrade.on_text(move |peer, text| {
        let live = live.clone();
        async move {
            if live.broadcast("chat", text).is_err() {
                let _gone = peer.reply("it cannot be sent").await;
            }
        }
    });
    Ok(upgrade.serve(entry.admit(Grant::new(ChannelFilter::All))?))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let live = Live::<String>::new();
    let app = Router::new().route("/ws", any(chat));
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let server = Server::bind(address, ServerOptions::new()).await?;
    println!("listening on http://{}", server.local_addr()?);
    server.run(app, &live, async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
