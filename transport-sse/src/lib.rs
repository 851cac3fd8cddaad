//! Serves a subscriber registry as server-sent events (`text/event-stream`) from an axum router.
//!
//! A handler answers with an [`Sse`], or the route is [`sse`]. A message arrives as an event with
//! an `id:`, its name as `event:` if it has one, and the encoded payload as `data:`. With
//! `envelope=1` in the query the data is `{"channel":…,"event":…,"data":…}`. Messages that a slow
//! reader lost are told by an event named `lagged` whose data is `{"lost":…}`. The end of a stream
//! is announced by an event named `close` whose data is `{"reason":"…"}`, with a `retry:` that
//! suits the reason (SSE-4):
//!
//! | reason | `retry:` | so that an `EventSource` |
//! |---|---|---|
//! | `revoked` | 500 to 2,500 ms, different for each stream | comes back and authenticates again |
//! | `logged_out`, `evicted` | a day | does not come back by itself |
//! | `expired`, `lagged` | 500 to 1,500 ms, different for each stream | comes back |
//! | `shutdown` | 1 to 5 s, different for each stream | comes back to the next server |
//!
//! A stream that ends for another reason has no farewell, and the client comes back by its own
//! rules.
//!
//! An `EventSource` repeats its URL for as long as its page lives, so a request that names channels
//! hears those that it is granted. The response head lists the others in `x-channels-refused` and
//! `x-channels-refused-count` (ADM-8, see [`Ungranted::insert_headers`]). A page cannot read the
//! heads of its event streams and WebSockets; it can ask with `HEAD`, which answers the same head
//! and admits no subscriber.
//!
//! # Features
//! - `json` (default): `transport_core::Live::new`.
//! - `http2`: the server of transport-core speaks HTTP/2 too.
//! - `schemars`: the list of an application's topics with their JSON Schema.
//! - `serde`: the statistics can be serialised.
//!
//! # Examples
//! A handler of your own, with your own extractors, state and errors:
//! ```
//! use axum::Router;
//! use axum::routing::get;
//! use transport_sse::{Entry, Grant, Live, Refusal, Server, ServerOptions, Sse};
//!
//! async fn events(entry: Entry<String>) -> Result<Sse, Refusal> {
//!     let grant = Grant::only(["runs"]).with_group(("account", "ada")); // from your extractors
//!     Ok(Sse::new(entry.admit(grant)?))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! let live = Live::<String>::new();
//! let app = Router::new().route("/events", get(events));
//! let server = Server::bind("127.0.0.1:0", ServerOptions::new()).await?;
//! server.run(app, &live, async { /* ctrl_c().await */ }).await;
//! # Ok(()) }
//! ```
//! Without a handler of your own, mount [`sse`] with a login check:
//! ```
//! use axum::Router;
//! use axum::http::request::Parts;
//! use transport_sse::{Authorise, Grant, Live, Refusal, async_trait, sse};
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
//! let app: Router = Router::new().route("/events", sse(&live, Sessions));
//! assert!(app.has_routes());
//! ```

mod body;
mod direct;
mod encode;

pub use encode::{SSE, SSE_ENVELOPE};

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

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use body::{NoBody, SseBody};
use registry_core::WireFormat;
use std::sync::Arc;
use std::time::Duration;

/// The options of the SSE transport.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use transport_sse::SseOptions;
///
/// let options = SseOptions::new().with_keep_alive(Duration::ZERO);
/// assert_eq!(options.keep_alive(), Duration::from_millis(1), "the least");
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct SseOptions {
    keep_alive: Duration,
}

impl SseOptions {
    /// Creates the defaults: a keep-alive comment after 15 s without a message, since load
    /// balancers cut idle connections after 60 s or less.
    pub fn new() -> Self {
        Self { keep_alive: Duration::from_secs(15) }
    }

    /// Sets after how long without a message a comment is sent; at least a millisecond, at most a
    /// day.
    pub fn with_keep_alive(mut self, period: Duration) -> Self {
        self.keep_alive = period.clamp(Duration::from_millis(1), Duration::from_secs(24 * 60 * 60));
        self
    }

    /// Returns after how long without a message a comment is sent.
    #[must_use]
    pub fn keep_alive(&self) -> Duration {
        self.keep_alive
    }
}

impl Default for SseOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The frames of event streams, for [`Entry::admit`](transport_core::Entry::admit).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Events;

impl Framing for Events {
    fn format(asked: &Asked) -> &'static WireFormat {
        if asked.has_flag("envelope") { &SSE_ENVELOPE } else { &SSE }
    }
}

/// The answer of a handler of your own: the event stream of an admitted request.
///
/// # Examples
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use transport_sse::{ChannelFilter, Entry, Grant, Live, Refusal, Sse};
///
/// async fn events(entry: Entry<String>) -> Result<Sse, Refusal> {
///     let grant = Grant::new(ChannelFilter::All); // from your own extractors and state
///     Ok(Sse::new(entry.admit(grant)?))
/// }
///
/// let live = Live::<String>::new();
/// let app: Router = Router::new().route("/events", get(events)).layer(live.entry_layer());
/// ```
#[derive(Debug)]
#[must_use = "dropping it unsubscribes"]
pub struct Sse {
    entered: Entered<Events>,
    options: SseOptions,
}

impl Sse {
    /// Serves the admitted request, with the default options.
    pub fn new(entered: Entered<Events>) -> Self {
        Self { entered, options: SseOptions::new() }
    }

    /// Sets the options.
    pub fn with(self, options: SseOptions) -> Self {
        Self { options, ..self }
    }
}

impl IntoResponse for Sse {
    fn into_response(self) -> Response {
        let Self { entered, options } = self;
        let mut response = head(entered.ungranted());
        let Some(admitted) = entered.into_admitted() else {
            // axum would take the length of an empty body for that of the stream.
            *response.body_mut() = Body::new(NoBody);
            return response;
        };
        if admitted.kind.kind() == ConnectionKind::Http1 {
            // The socket ends with the stream, by a reset if need be, so it must not carry another
            // request.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        *response.body_mut() = Body::new(SseBody::new(admitted, options.keep_alive));
        response
    }
}

/// Makes a route that serves the registry's broadcasts as server-sent events, with the default
/// options.
///
/// `GET …?channels=a,b` hears a part of what is granted; without the parameter, all of it. Refusals
/// are those of [`Entry`], as an extractor and by
/// [`admit`](transport_core::Entry::admit), and those of the authoriser. `HEAD` answers the head.
pub fn sse<T, S>(live: &Live<T>, authoriser: impl Authorise) -> MethodRouter<S>
where
    T: Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
{
    sse_with(live, authoriser, SseOptions::new())
}

/// Makes a route like [`sse`], with options.
pub fn sse_with<T, S>(
    live: &Live<T>,
    authoriser: impl Authorise,
    options: SseOptions,
) -> MethodRouter<S>
where
    T: Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
{
    let (live, authoriser) = (live.clone(), Arc::new(authoriser));
    get(async move |request: Request| -> Result<Sse, Refusal> {
        let (parts, _) = request.into_parts();
        let entry = live.entry(&parts)?;
        let grant = entry.authorise(&authoriser, &parts).await?;
        Ok(Sse::new(entry.admit(grant)?).with(options))
    })
}

/// The head of an event stream.
fn head(ungranted: &Ungranted) -> Response {
    let mut response = Response::default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Without it nginx buffers, and the first message arrives together with the thousandth.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    ungranted.insert_headers(headers);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_the_defaults_are_those_that_are_documented() {
        assert_eq!(SseOptions::default().keep_alive, Duration::from_secs(15));
    }

    #[test]
    fn sse_3_a_period_is_one_that_a_timer_can_keep() {
        let kept = |period| SseOptions::new().with_keep_alive(period).keep_alive;
        let (least, most) = (Duration::from_millis(1), Duration::from_secs(24 * 60 * 60));
        assert_eq!(
            [Duration::ZERO, least, most, Duration::MAX].map(kept),
            [least, least, most, most]
        );
    }
}
