//! Serves a subscriber registry over WebSocket, upgraded from an axum router.
//!
//! Mount [`ws`] on a route. A message arrives as one text frame that holds the encoded payload; the
//! end is a close frame whose code and text tell the reason (WS-1):
//!
//! | reason | code | the client should |
//! |---|---|---|
//! | revoked | 4001 | come back and authenticate again |
//! | expired | 4002 | renew, then come back |
//! | heartbeat | 4003 | come back |
//! | evicted | 4004 | not come back by itself |
//! | logged out | 4005 | not come back by itself |
//! | lagged | 1013 | come back |
//! | failed | 1011 | come back |
//! | protocol | 1009 too big, 1007 not UTF-8, 1008 anything else | be corrected |
//! | shutdown | 1001 | come back after a delay |
//!
//! A request that names channels hears those that it is granted. The head of the `101` lists the
//! others in `x-channels-refused` and `x-channels-refused-count` (ADM-8, see
//! [`Ungranted::insert_headers`](transport_core::Ungranted::insert_headers)).
//!
//! # Features
//! - `json` (default): `transport_core::Live::new`.
//! - `serde`: the statistics can be serialised.
//!
//! # Examples
//! ```
//! use axum::Router;
//! use axum::http::request::Parts;
//! use registry_core::{ChannelFilter, Identity};
//! use transport_core::{Authorise, Grant, Live, Refusal, async_trait};
//! use transport_ws::ws;
//!
//! struct Sessions;
//!
//! #[async_trait]
//! impl Authorise for Sessions {
//!     async fn authorise(&self, request: &Parts) -> Result<Grant, Refusal> {
//!         match request.headers.get("cookie").map(|value| value.as_bytes()) {
//!             Some(b"session=17") => Ok(Grant::new(ChannelFilter::All)
//!                 .with_group(Identity::new("account", "ada"))),
//!             _ => Err(Refusal::unauthenticated("sign in first")),
//!         }
//!     }
//! }
//!
//! let live = Live::<String>::new();
//! let app: Router = Router::new().route("/ws", ws(&live, Sessions));
//! assert!(app.has_routes());
//! ```

mod connection;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inbound;
mod on_text;
mod options;
mod outgoing;
mod parser;

pub use frame::WS;
pub use on_text::OnText;
pub use options::WsOptions;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use hyper::upgrade::OnUpgrade;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::handshake::server::create_response;
use transport_core::{Authorise, Handover, Live, Refusal};

/// Makes a route that serves the registry's broadcasts over WebSocket, with the default options.
///
/// `GET …?channels=a,b` hears a part of what is granted; without the parameter, all of it. Refusals
/// come before the upgrade: those of [`Live::admit`], `403` for another host's `Origin`, `426` for
/// a request that is no upgrade, such as `HEAD`.
pub fn ws<T, S>(live: &Live<T>, authoriser: impl Authorise) -> MethodRouter<S>
where
    T: Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
{
    ws_with(live, authoriser, WsOptions::new())
}

/// Makes a route like [`ws`], with options.
pub fn ws_with<T, S>(
    live: &Live<T>,
    authoriser: impl Authorise,
    options: WsOptions,
) -> MethodRouter<S>
where
    T: Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
{
    let (live, authoriser, options) = (live.clone(), Arc::new(authoriser), Arc::new(options));
    get(async move |request: Request| {
        serve(&live, &authoriser, options, request).await.unwrap_or_else(Refusal::into_response)
    })
}

async fn serve<T: Send + Sync + 'static>(
    live: &Live<T>,
    authoriser: &Arc<impl Authorise>,
    options: Arc<WsOptions>,
    request: Request,
) -> Result<Response, Refusal> {
    let request = request.map(drop);
    let mut response =
        create_response(&request).map_err(|error| not_an_upgrade(&error.to_string()))?;
    let (mut parts, ()) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let upgrade = upgrade.ok_or_else(|| not_an_upgrade("this connection cannot be upgraded"))?;
    live.check_origin(&parts)?;
    // The subscriber is active from here on: a message that is broadcast before the peer sees `101`
    // waits in the outbox.
    let admitted = live.admit(authoriser, &parts, &WS).await?;
    admitted.ungranted.insert_headers(response.headers_mut());
    let handover = Handover::of(&parts);
    drop(parts);
    tokio::spawn(async move {
        // When the peer goes away before the upgrade, dropping the subscriber unsubscribes it.
        if let Ok(upgraded) = upgrade.await {
            connection::serve(upgraded, handover.is_some(), admitted, options);
        }
    });
    Ok(response.map(|()| axum::body::Body::empty()))
}

fn not_an_upgrade(why: &str) -> Refusal {
    let reason = format!("this address speaks WebSocket over HTTP/1.1 only: {why}");
    Refusal::new(StatusCode::UPGRADE_REQUIRED, reason)
}
