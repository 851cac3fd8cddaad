//! The upgrade of a handler's request.

use crate::connection::{self, Protocol};
use crate::frame::WS;
use crate::live::{LIVE, LIVE_V1, Told};
use crate::options::WsOptions;
use crate::peer::Peer;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use registry_core::WireFormat;
use std::fmt;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use transport_core::{Asked, Entered, Framing, Refusal};

/// The frames of WebSockets, for [`Entry::admit`](transport_core::Entry::admit).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Frames;

impl Framing for Frames {
    fn format(asked: &Asked) -> &'static WireFormat {
        if asked.offers_live_v1() { &LIVE } else { &WS }
    }
}

/// A request that can be upgraded to a WebSocket: an extractor for handlers of your own.
///
/// The [`Entry`](transport_core::Entry) of the same request checks its `Origin`.
///
/// A request that offers the subprotocol `live.v1` speaks it; one that offers none gets payloads
/// and nothing else.
///
/// # Errors
/// As an extractor it is refused with
/// - `400`: the request offers subprotocols, and `live.v1` is not among them.
/// - `426`: the request is no upgrade, such as `HEAD`, or the connection cannot be upgraded.
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
    is_live: bool,
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
        let response = create_response(&request).map_err(|error| refused(&error.to_string()));
        let mut response = response?;
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let upgrade = upgrade.ok_or_else(|| refused("this connection cannot be upgraded"))?;
        let asked = Asked::of(parts);
        let is_live = asked.offers_live_v1();
        if !is_live && asked.protocols().next().is_some() {
            return Err(Refusal::bad_request(NO_PROTOCOL));
        }
        if is_live {
            let protocol = HeaderValue::from_static(LIVE_V1);
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        Ok(Self { response, upgrade, is_live, options: Arc::default() })
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
        let Self { response, upgrade, is_live, options } = self;
        let mut response = response.map(|()| Body::empty());
        let ungranted = entered.ungranted();
        let protocol = if is_live {
            let refused = || Told::Refused { channels: ungranted.names().collect() }.frame();
            Protocol::LiveV1((!ungranted.is_empty()).then(refused))
        } else {
            ungranted.insert_headers(response.headers_mut());
            Protocol::Raw
        };
        let Some(admitted) = entered.into_admitted() else {
            return refused("a `HEAD` cannot be upgraded").into_response();
        };
        tokio::spawn(async move {
            // When the peer leaves before the upgrade, dropping the subscriber unsubscribes it.
            if let Ok(upgraded) = upgrade.await {
                connection::serve(upgraded, admitted, options, protocol);
            }
        });
        response
    }
}

const NO_PROTOCOL: &str = "the request offers subprotocols, and this server speaks `live.v1`: \
    offer that, beside a `bearer.…` if need be, or none";

fn refused(why: &str) -> Refusal {
    let reason = format!("this address speaks WebSocket over HTTP/1.1 only: {why}");
    Refusal::new(StatusCode::UPGRADE_REQUIRED, reason)
}

impl fmt::Debug for WsUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WsUpgrade").field("options", &self.options).finish_non_exhaustive()
    }
}
