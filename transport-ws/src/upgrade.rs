//! The upgrade of a handler's request.

use crate::connection;
use crate::frame::WS;
use crate::options::WsOptions;
use crate::peer::Peer;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use registry_core::WireFormat;
use std::fmt;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use transport_core::{Entered, Framing, Refusal};

/// The frames of WebSockets, for [`Entry::admit`](transport_core::Entry::admit).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Frames;

impl Framing for Frames {
    fn format() -> &'static WireFormat {
        &WS
    }
}

/// A request that can be upgraded to a WebSocket: an extractor for handlers of your own.
///
/// The [`Entry`](transport_core::Entry) of the same request checks its `Origin`.
///
/// # Errors
/// As an extractor it is refused with `426` when the request is no upgrade, such as `HEAD`, or the
/// connection cannot be upgraded.
///
/// # Examples
/// ```
/// use axum::Router;
/// use axum::response::Response;
/// use axum::routing::get;
/// use transport_ws::{ChannelFilter, Entry, Grant, Live, Refusal};
/// use transport_ws::WsUpgrade;
///
/// async fn socket(entry: Entry<String>, upgrade: WsUpgrade) -> Result<Response, Refusal> {
///     let grant = Grant::new(ChannelFilter::All); // from your own extractors and state
///     let upgrade = upgrade.on_text(|peer, text| async move {
///         let _gone = peer.reply(text).await;
///     });
///     Ok(upgrade.serve(entry.admit(grant)?))
/// }
///
/// let live = Live::<String>::new();
/// let app: Router = Router::new().route("/ws", get(socket)).layer(live.entry_layer());
/// ```
#[must_use = "an upgrade that is dropped is not answered"]
pub struct WsUpgrade {
    response: Response<()>,
    upgrade: OnUpgrade,
    options: Arc<WsOptions>,
}

impl<S: Sync> FromRequestParts<S> for WsUpgrade {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Self::of(parts)
    }
}

impl WsUpgrade {
    pub(crate) fn of(parts: &mut Parts) -> Result<Self, Refusal> {
        // The handshake is made from a whole request, and this one has a body.
        let mut request = Request::new(());
        *request.method_mut() = parts.method.clone();
        *request.version_mut() = parts.version;
        request.headers_mut().clone_from(&parts.headers);
        let response = create_response(&request).map_err(|error| refused(&error.to_string()))?;
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let upgrade = upgrade.ok_or_else(|| refused("this connection cannot be upgraded"))?;
        Ok(Self { response, upgrade, options: Arc::default() })
    }

    /// Sets the options.
    pub fn with(self, options: WsOptions) -> Self {
        self.with_shared(Arc::new(options))
    }

    pub(crate) fn with_shared(self, options: Arc<WsOptions>) -> Self {
        Self { options, ..self }
    }

    /// Sets the handler of inbound text: see [`WsOptions::with_on_text`].
    pub fn on_text<F>(self, handler: impl Fn(Peer, String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let options = WsOptions::clone(&self.options).with_on_text(handler);
        self.with(options)
    }

    /// Answers the handshake, and serves the admitted request once it is upgraded.
    #[must_use = "the answer must be returned"]
    pub fn serve(self, entered: Entered<Frames>) -> Response {
        let Self { response, upgrade, options } = self;
        let mut response = response.map(|()| Body::empty());
        entered.ungranted().insert_headers(response.headers_mut());
        let Some(admitted) = entered.into_admitted() else {
            return refused("a `HEAD` cannot be upgraded").into_response();
        };
        tokio::spawn(async move {
            // When the peer leaves before the upgrade, dropping the subscriber unsubscribes it.
            if let Ok(upgraded) = upgrade.await {
                connection::serve(upgraded, admitted, options);
            }
        });
        response
    }
}

fn refused(why: &str) -> Refusal {
    let reason = format!("this address speaks WebSocket over HTTP/1.1 only: {why}");
    Refusal::new(StatusCode::UPGRADE_REQUIRED, reason)
}

impl fmt::Debug for WsUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsUpgrade").field("options", &self.options).finish_non_exhaustive()
    }
}
