//! Serves a subscriber registry as server-sent events (`text/event-stream`) from an axum router.
//!
//! Mount [`sse`] on a route. A message arrives as an event with an `id:` and the encoded payload as `data:`; the end is
//! announced by an event named `close` whose data is `{"reason":"…"}`, with a `retry:` that suits the reason, and then the
//! stream ends (SSE-4):
//!
//! | reason | `retry:` | so that an `EventSource` |
//! |---|---|---|
//! | `revoked` | 500 to 2,500 ms, different for each stream | comes back and authenticates again |
//! | `logged_out`, `evicted` | a day | does not come back by itself |
//! | `expired`, `lagged` | 500 to 1,500 ms, different for each stream | comes back |
//! | `shutdown` | 1 to 5 s, different for each stream | comes back to the next server |
//!
//! A stream that ends for another reason has no farewell, and the client comes back by its own rules.
//!
//! # Examples
//! ```
//! # use async_trait::async_trait;
//! # use axum::http::request::Parts;
//! # use transport_core::{Authorise, Denied, Grant};
//! # struct MyAuth;
//! # #[async_trait]
//! # impl Authorise for MyAuth {
//! #     async fn authorise(&self, _: &Parts) -> Result<Grant, Denied> { Err(Denied::unauthenticated("")) }
//! # }
//! use axum::Router;
//! use registry_core::SubscriberRegistry;
//! use transport_core::Live;
//! use transport_sse::sse;
//!
//! let registry = SubscriberRegistry::<String>::new();
//! let live = Live::new(registry.clone(), MyAuth);
//! let app: Router = Router::new().route("/events", sse(&live));
//! ```

mod body;
mod encode;
mod owned;

pub use encode::SSE;

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use body::SseBody;
use std::time::Duration;
use transport_core::{Handover, Live, Path, bounded};

/// What the SSE transport can be told.
#[derive(Debug, Clone)]
pub struct SseOptions {
    keep_alive: Duration,
}

impl SseOptions {
    /// Creates the defaults: a keep-alive comment after 15 s without a message, since load balancers cut idle connections
    /// after 60 s or less.
    #[must_use]
    pub fn new() -> Self {
        Self { keep_alive: Duration::from_secs(15) }
    }

    /// Sets after how long without a message a comment is sent; at least a millisecond, at most a day.
    #[must_use]
    pub fn with_keep_alive(mut self, period: Duration) -> Self {
        self.keep_alive = bounded(period);
        self
    }
}

impl Default for SseOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A route that serves the registry's broadcasts as server-sent events, with the default options.
///
/// `GET …?channels=a,b` hears a part of what is granted; without the parameter, all of it. Refusals are those of
/// [`Live::admit`].
pub fn sse<T, S>(live: &Live<T>) -> MethodRouter<S>
where
    T: Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
{
    sse_with(live, SseOptions::new())
}

/// A route that serves the registry's broadcasts as server-sent events.
pub fn sse_with<T, S>(live: &Live<T>, options: SseOptions) -> MethodRouter<S>
where
    T: Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
{
    let live = live.clone();
    get(move |request: Request| {
        let (live, options) = (live.clone(), options.clone());
        async move { serve(&live, &options, request).await }
    })
}

async fn serve<T: Send + Sync + 'static>(live: &Live<T>, options: &SseOptions, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let admitted = match live.admit(&parts, &SSE).await {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal.into_response(),
    };
    let path = admitted.path;
    let body = SseBody::new(admitted, Handover::of(&parts), options.keep_alive);
    let mut response = Response::new(axum::body::Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx buffers otherwise, and the first message arrives with the thousandth.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if path == Path::Owned {
        // The socket ends with the stream, by a reset if need be: it must not carry another request then.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
