//! An HTTP answer instead of a stream.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::fmt;

/// Why a request was refused: a status, a sentence that says what to do, and when to come back if that may help.
///
/// On the wire the sentence is the JSON object `{"error":"…"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    reason: String,
    retry_after: Option<u32>,
}

impl Refusal {
    /// Creates a refusal.
    pub fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), retry_after: None }
    }

    /// Creates a `400`.
    pub fn bad_request(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    /// Adds `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the sentence.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.reason)
    }
}

impl std::error::Error for Refusal {}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(serde::Serialize)]
        struct Body<'a> {
            error: &'a str,
        }
        let mut response = if self.status == StatusCode::NO_CONTENT {
            self.status.into_response()
        } else {
            (self.status, axum::Json(Body { error: &self.reason })).into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        // What the standards ask of these two answers: RFC 9110, 15.5.2 and 15.5.22, and RFC 6455, 4.2.2.
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        } else if self.status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ws_3_a_refusal_has_the_headers_that_the_standards_ask_for() {
        const OF_SOME: [&str; 5] =
            ["www-authenticate", "upgrade", "connection", "sec-websocket-version", "retry-after"];
        let of_this = |refusal: Refusal| {
            let response = refusal.into_response();
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
            OF_SOME.map(|name| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned())
        };
        assert_eq!(of_this(Refusal::new(StatusCode::UNAUTHORIZED, "x")), ["Bearer", "", "", "", ""]);
        assert_eq!(of_this(Refusal::new(StatusCode::UPGRADE_REQUIRED, "x")), ["", "websocket", "upgrade", "13", ""]);
        assert_eq!(of_this(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "x").retry_after(7)), ["", "", "", "", "7"]);
        assert_eq!(of_this(Refusal::bad_request("x")), ["", "", "", "", ""]);
        assert_eq!(of_this(Refusal::new(StatusCode::NO_CONTENT, "")), ["", "", "", "", ""]);
    }
}
