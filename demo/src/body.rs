//! JSON request bodies: what they must be called, and how large they may be.

use crate::problem::Problem;
use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::timeout;
use transport_core::Refusal;

/// The largest body.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// How long a body may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a body that is too large is read before it is refused. A client that is still sending does not read, and
/// the reset of its connection would take the answer away; so most are heard out.
const MAX_IGNORED_BYTES: usize = 16 << 20;

/// The body of a call that takes JSON.
pub(crate) struct JsonBody(Bytes);

impl JsonBody {
    /// Parses it.
    pub(crate) fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        Ok(serde_json::from_slice(&self.0)?)
    }
}

impl<S: Sync> FromRequest<S> for JsonBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        if !is_json(request.headers()) {
            let reason = "the body must be JSON: send `Content-Type: application/json`";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
        }
        let slow = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body took too long: send it within 10 s");
        timeout(TIMEOUT, read(request.into_body())).await.map_err(slow)?.map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    let too_large = || {
        let reason = format!("the body is too large: {MAX_BYTES} bytes at most");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
    };
    if body.size_hint().lower() > MAX_IGNORED_BYTES as u64 {
        return Err(too_large());
    }
    let mut chunks = body.into_data_stream();
    let mut bytes = BytesMut::new();
    let mut total = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::bad_request("the body ended before its time"))?;
        total += chunk.len();
        if total <= MAX_BYTES {
            bytes.extend_from_slice(&chunk);
        } else if total > MAX_IGNORED_BYTES {
            break;
        }
    }
    if total > MAX_BYTES { Err(too_large()) } else { Ok(bytes.freeze()) }
}
