//! Serves a subscriber registry over WebSocket, upgraded from an axum router.
//!
//! A handler takes a [`WsUpgrade`] and answers with it, or the route is [`ws`].
//!
//! A client that offers the subprotocol `live.v1` gets JSON messages that say more than the payload
//! ([`LIVE`]), and is told of losses. Its own messages reach the handler of
//! [`on_text`](WsUpgrade::on_text), and each that has a `ref` is answered. To any other client a
//! message is one frame that holds the encoded payload ([`WS`]), and losses are only counted.
//! `docs/protocol.md` describes both. The end is a close frame whose code and text tell the reason
//! (WS-1):
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
//! [`Ungranted::insert_headers`]); over `live.v1` a message `refused` does.
//!
//! A page sees no status of a failed upgrade. So the refusal of a request that offers `live.v1` is
//! spoken after the upgrade (WS-3): 4401 for `401`, 4403 for `403`, and an `error` with the time to
//! come back and 1013 for one that may pass.
//!
//! # Features
//! - `json` (default): `transport_core::Live::new`.
//! - `schemars`: the list of an application's topics with their JSON Schema.
//! - `serde`: the statistics can be serialised.
//!
//! # Examples
//! A handler of your own, with your own extractors, state and errors:
//! ```
//! use axum::Router;
//! use axum::response::Response;
//! use axum::routing::any;
//! use transport_ws::{Entry, Grant, Live, Refusal, Server, ServerOptions, WsUpgrade};
//!
//! async fn socket(entry: Entry<String>, upgrade: WsUpgrade) -> Result<Response, Refusal> {
//!     let grant = Grant::only(["runs"]).with_group(("account", "ada")); // from your extractors
//!     let upgrade = upgrade.on_text(|peer, text| async move {
//!         let _gone = peer.reply(format!("you said {text}")).await;
//!     });
//!     Ok(upgrade.serve(entry.admit(grant)?))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! let live = Live::<String>::new();
//! let app = Router::new().route("/ws", any(socket));
//! let server = Server::bind("127.0.0.1:0", ServerOptions::new()).await?;
//! server.run(app, &live, async { /* ctrl_c().await */ }).await;
//! # Ok(()) }
//! ```
//! Without a handler of your own, mount [`ws`] with a login check:
//! ```
//! use axum::Router;
//! use axum::http::request::Parts;
//! use transport_ws::{Authorise, Grant, Live, Refusal, async_trait, ws};
//!
//! struct Sessions;
//!
//! #[async_trait]
//! impl Authorise for Sessions {
//!     async fn authorise(&self, request: &Parts) -> Result<Grant, Refusal> {
//!         match request.headers.get("cookie").map(|value| value.as_bytes()) {
//!             Some(b"session=17") => Ok(Grant::only(["runs"]).with_group(("account", "ada"))),
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
mod live;
mod options;
mod outgoing;
mod parser;
mod peer;
mod upgrade;

pub use frame::WS;
pub use live::LIVE;
pub use options::WsOptions;
pub use peer::{Gone, Peer};
pub use upgrade::{Frames, WsUpgrade};

// What an application needs beside the transport, so that it depends on one crate.
#[cfg(feature = "json")]
pub use registry_core::Json;
#[cfg(feature = "schemars")]
pub use registry_core::Topics;
pub use registry_core::{
    AdmitError, BroadcastError, Channel, ChannelCount, ChannelFilter, CloseReason, Encode,
    EncodeError, Encoded, Event, EventName, Identity, LaneOptions, Message, MessageId,
    OutboxOptions, Overflow, Registration, RegistryOptions, Report, Revocation, ScopeCap, Stats,
    SubscribeError, SubscriberRegistry, SubscriberStream, Topic, TopicFamily, WhenFull,
};
/// The attribute that an `impl` of [`Authorise`] needs.
pub use transport_core::async_trait;
pub use transport_core::{
    AdmissionStats, Asked, Authorise, ConnectionKind, Credential, Drain, Drained, Entered, Entry,
    EntryLayer, Framing, Grant, LIVE_JS, Live, LiveBuilder, LiveOptions, Origins, Refusal,
    Registries, Server, ServerListener, ServerMetrics, ServerOptions, ServerStats, Token,
    Ungranted,
};

use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use std::sync::Arc;

/// Makes a route that serves the registry's broadcasts over WebSocket, with the default options.
///
/// `GET …?channels=a,b` hears a part of what is granted; without the parameter, all of it. Refusals
/// come before the upgrade: those of [`Entry`], as an extractor and by
/// [`admit`](transport_core::Entry::admit), those of the authoriser, and `426` for a request that
/// is no upgrade, such as `HEAD`.
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
    get(async move |request: Request| -> Result<Response, Refusal> {
        let (mut parts, _) = request.into_parts();
        let upgrade = WsUpgrade::of(&mut parts)?.with_shared(options);
        let entry = live.entry(&parts)?;
        let grant = entry.authorise(&authoriser, &parts).await?;
        Ok(upgrade.serve(entry.admit(grant)?))
    })
}
