//! JSON request bodies: what they must be called, and how large one body and all bodies together
//! may be.

use crate::app::App;
use crate::budget::{Budget, Held};
use crate::problem::Problem;
use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use transport_core::Refusal;

/// The largest body.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// How many bytes the bodies of all calls may have together, each from its first byte until its
/// call is answered. A buffer that grows may take twice its bytes. Calls without a body, such as
/// `DELETE`, need none of it.
pub(crate) const MAX_BYTES_TOGETHER: usize = 64 << 20;

/// How long a body may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a refused body is read before the refusal is sent. A client that is still sending
/// does not read, and the reset of its connection would take the answer away; so most bodies are
/// read to their end.
const MAX_IGNORED_BYTES: usize = 16 << 20;

/// The body of a call that takes JSON.
pub(crate) struct JsonBody {
    bytes: Bytes,
    _held: Held,
}

impl JsonBody {
    /// Parses it.
    pub(crate) fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        Ok(serde_json::from_slice(&self.bytes)?)
    }
}

impl FromRequest<App> for JsonBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        if !is_json(request.headers()) {
            let reason = "the body must be JSON: send `Content-Type: application/json`";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
        }
        let slow = |_| {
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body took too long: send it within 10 s")
        };
        timeout(TIMEOUT, read(request.into_body(), &app.bodies)).await.map_err(slow)?
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn too_large() -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is too large: {MAX_BYTES} bytes at most"),
    )
}

fn too_many() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many bodies are being sent: try again")
        .with_retry_after(1)
}

async fn read(body: Body, budget: &Arc<Budget>) -> Result<JsonBody, Refusal> {
    if body.size_hint().lower() > MAX_IGNORED_BYTES as u64 {
        return Err(too_large());
    }
    let mut chunks = body.into_data_stream();
    let mut total = 0;
    // A body that is refused is read on, and not kept.
    let mut kept = Ok((BytesMut::new(), budget.hold()));
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::bad_request("the body ended before its time"))?;
        total += chunk.len();
        if total > MAX_IGNORED_BYTES {
            return Err(too_large());
        }
        if let Ok((bytes, held)) = &mut kept {
            if total > MAX_BYTES {
                kept = Err(too_large());
            } else if held.grow(chunk.len()) {
                bytes.extend_from_slice(&chunk);
            } else {
                kept = Err(too_many());
            }
        }
    }
    kept.map(|(bytes, held)| JsonBody { bytes: bytes.freeze(), _held: held })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use futures_util::stream;
    use std::convert::Infallible;

    fn body(chunks: usize) -> Body {
        Body::from_stream(stream::iter(
            (0..chunks).map(|_| Ok::<_, Infallible>(Bytes::from_static(&[b'1'; 10]))),
        ))
    }

    #[tokio::test]
    async fn que_3_bodies_have_a_bound_together_and_give_it_back() {
        let budget = Budget::new(30);
        let (one, two) =
            (read(body(1), &budget).await.unwrap(), read(body(2), &budget).await.unwrap());
        let refused = read(body(1), &budget).await.err().unwrap();
        assert_eq!((refused.status(), refused), (StatusCode::SERVICE_UNAVAILABLE, too_many()));
        assert_eq!(too_many().into_response().headers()[header::RETRY_AFTER], "1");
        drop(one);
        let again = read(body(1), &budget).await.unwrap();
        assert_eq!(again.bytes.len(), 10);
        assert_eq!(
            read(body(2), &budget).await.err().unwrap().status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        drop((two, again));
        assert!(budget.hold().grow(30), "those that were refused hold nothing");
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_read_to_its_end_and_not_held() {
        let budget = Budget::new(2 * MAX_BYTES);
        assert!(read(body(MAX_BYTES / 10), &budget).await.is_ok());
        let large = stream::iter(
            (0..8).map(|_| Ok::<_, Infallible>(Bytes::from(vec![b'1'; MAX_BYTES / 4]))),
        );
        let probe = budget.clone();
        let watched = large.chain(stream::once(async move {
            assert!(
                probe.hold().grow(2 * MAX_BYTES),
                "the budget is whole before its last byte came"
            );
            Ok(Bytes::new())
        }));
        let refused = read(Body::from_stream(watched), &budget).await.err().unwrap();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}
