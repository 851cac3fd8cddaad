//! `axum::serve` in place of the library's own server, and a shutdown that ends in time.
//!
//! ```text
//! cargo run -p examples --bin axum-serve
//! curl -N http://127.0.0.1:3000/events      and then Ctrl-C
//! ```

use axum::Router;
use axum::routing::get;
use std::env;
use transport_sse::{
    ChannelFilter, Entry, Grant, Live, Refusal, ServerListener, ServerOptions, Sse,
};

async fn events(entry: Entry<String>) -> Result<Sse, Refusal> {
    Ok(Sse::new(entry.admit(Grant::new(ChannelFilter::All))?))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let live = Live::<String>::new();
    let app = Router::new().route("/events", get(events));
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = ServerListener::bind(address, ServerOptions::new()).await?;
    println!("listening on http://{}", listener.local_addr()?);
    // The service draws the tickets; the listener lets connections be direct.
    let (service, drain) = listener.make_service(app, &live);
    let stop = live.shutdown_on(async { drop(tokio::signal::ctrl_c().await) });
    axum::serve(listener, service).with_graceful_shutdown(stop).await?;
    // Streams that the library writes itself are still writing their farewells.
    let drained = drain.await;
    println!("stopped: {} streams were notified, {} reset", drained.notified, drained.reset);
    Ok(())
}
