//! The application's handler of inbound text.

use transport_core::Grant;

/// The application's handler of inbound text.
///
/// Messages of one connection are handled one after the other. While one is handled, the next is
/// not read, so a slow handler slows down its own peer and no other. The peer need not answer
/// pings meanwhile, so no ping notices that it is gone: bound what the handler waits for
/// (`tokio::time::timeout`). A panic ends the connection as *failed*.
///
/// # Cancel safety
/// The future is dropped when the connection ends: a revocation does not wait for it.
///
/// # Examples
/// ```
/// use transport_core::{Grant, async_trait};
/// use transport_ws::{OnText, WsOptions};
///
/// struct Print;
///
/// #[async_trait]
/// impl OnText for Print {
///     async fn on_text(&self, grant: &Grant, text: String) {
///         println!("{:?} says {text}", grant.registration().scope());
///     }
/// }
///
/// let options = WsOptions::new().with_on_text(Print);
/// assert!(format!("{options:?}").ends_with("on_text: true }"));
/// ```
#[async_trait::async_trait]
pub trait OnText: Send + Sync + 'static {
    /// Handles one message from a peer with this grant.
    async fn on_text(&self, grant: &Grant, text: String);
}
