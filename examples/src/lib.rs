//! What the examples have in common, which has nothing to do with live events.

/// Returns the address to listen on: the first argument, or `127.0.0.1:3000`.
#[must_use]
pub fn address() -> String {
    std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned())
}

/// Waits for Ctrl-C.
pub async fn ctrl_c() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
