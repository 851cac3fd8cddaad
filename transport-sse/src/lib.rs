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
//! An `EventSource` repeats its URL for as long as its page lives, so a request that names channels hears those that it is
//! granted; the head tells the others in `x-channels-refused` and `x-channels-refused-count` (ADM-8, see
//! [`Ungranted::tell`]). A page cannot read the heads of its event streams and WebSockets: it asks with `HEAD`, which answers
//! the same head and admits nobody.
//!
//! # Examples
//! ```
//! # use axum::http::request::Parts;
//! # use transport_core::{Authorise, Denied, Grant, async_trait};
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

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use body::{NoBody, SseBody};
use std::time::Duration;
use transport_core::{Handover, Live, Path, Refusal, Ungranted, bounded};

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
/// [`Live::admit`]. `HEAD` answers as [`Live::check`] does.
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
    let checked = live.clone();
    get(async move |request: Request| serve(&live, &options, request).await.unwrap_or_else(Refusal::into_response))
        .head(async move |request: Request| check(&checked, request).await.unwrap_or_else(Refusal::into_response))
}

async fn serve<T: Send + Sync + 'static>(
    live: &Live<T>,
    options: &SseOptions,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let admitted = live.admit(&parts, &SSE).await?;
    let mut response = head(&admitted.ungranted);
    if admitted.path == Path::Owned {
        // The socket ends with the stream, by a reset if need be: it must not carry another request then.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    *response.body_mut() = Body::new(SseBody::new(admitted, Handover::of(&parts), options.keep_alive));
    Ok(response)
}

async fn check<T: Send + Sync + 'static>(live: &Live<T>, request: Request) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let mut response = head(&live.check(&parts).await?);
    // axum would take the length of an empty body for that of the stream.
    *response.body_mut() = Body::new(NoBody);
    Ok(response)
}

fn head(ungranted: &Ungranted) -> Response {
    let mut response = Response::default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx buffers otherwise, and the first message arrives with the thousandth.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    ungranted.tell(headers);
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
        assert_eq!([Duration::ZERO, least, most, Duration::MAX].map(kept), [least, least, most, most]);
    }
}
