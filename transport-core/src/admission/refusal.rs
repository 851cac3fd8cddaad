//! An HTTP answer instead of a stream.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use std::fmt;

/// Marks a `500` of the library's own that may pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transient;

/// Why a request is refused: a status, a sentence that says what to do, and when to come back if
/// that may help.
///
/// On the wire the sentence is the JSON object `{"error":"…"}`.
///
/// # Examples
/// ```
/// use axum::http::{HeaderName, HeaderValue, header};
/// use axum::response::IntoResponse;
/// use transport_core::Refusal;
///
/// let refusal = Refusal::unavailable("the database is down", 7)
///     .with_header(HeaderName::from_static("x-incident"), HeaderValue::from_static("42"));
/// assert_eq!(refusal.to_string(), "503 Service Unavailable: the database is down");
/// let response = refusal.into_response();
/// assert_eq!(response.headers()[header::RETRY_AFTER], "7");
/// assert_eq!(response.headers()["x-incident"], "42");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Refusal {
    status: StatusCode,
    reason: String,
    retry_after: Option<u32>,
    /// Few, and most refusals have none: a map would make every `Result` large.
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether it is the library's own `500`, which may pass.
    transient: bool,
}

impl Refusal {
    /// Creates a refusal of this status.
    pub fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
            retry_after: None,
            headers: Vec::new(),
            transient: false,
        }
    }

    /// Creates a `400`: the request cannot be understood.
    pub fn bad_request(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    /// Creates a `401`: there is no credential, or it is no longer good. An `EventSource` does not
    /// come back after it.
    pub fn unauthenticated(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, reason)
    }

    /// Creates a `403`: the credential is good and does not entitle to this.
    pub fn forbidden(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, reason)
    }

    /// Creates a `204`: the client shall stop without an error. An `EventSource` does not come back
    /// after it.
    pub fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT, "")
    }

    /// Creates a `503`: the check itself could not be made. The client should come back after
    /// `retry_after` seconds.
    pub fn unavailable(reason: impl Into<String>, retry_after: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason).with_retry_after(retry_after)
    }

    /// Creates a `500` of the library's own that may pass.
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self { transient: true, ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, reason) }
    }

    /// Adds `Retry-After`, in seconds.
    pub fn with_retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Adds a header, in place of one of the same name that the answer would have.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value));
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

    /// Returns the seconds after which the client should come back.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        self.retry_after
    }

    /// Returns the headers that were [added](Self::with_header).
    pub fn headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.headers.iter().map(|(name, value)| (name, value))
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
        let mut response = if self.status == StatusCode::NO_CONTENT {
            self.status.into_response()
        } else {
            (self.status, axum::Json(BTreeMap::from([("error", self.reason)]))).into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        // The standards ask for these with the two answers: RFC 9110, 15.5.2 and 15.5.22, and RFC
        // 6455, 4.2.2.
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        } else if self.status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        if self.transient {
            response.extensions_mut().insert(Transient);
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
            OF_SOME.map(|name| {
                response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned()
            })
        };
        let new = |status| Refusal::new(status, "x");
        assert_eq!(of_this(new(StatusCode::UNAUTHORIZED)), ["Bearer", "", "", "", ""]);
        assert_eq!(
            of_this(new(StatusCode::UPGRADE_REQUIRED)),
            ["", "websocket", "upgrade", "13", ""]
        );
        assert_eq!(
            of_this(new(StatusCode::TOO_MANY_REQUESTS).with_retry_after(7)),
            ["", "", "", "", "7"]
        );
        assert_eq!(of_this(Refusal::bad_request("x")), ["", "", "", "", ""]);
        assert_eq!(of_this(new(StatusCode::NO_CONTENT)), ["", "", "", "", ""]);
    }

    #[test]
    fn adm_7_each_refusal_has_its_status_and_says_when_to_come_back_if_that_helps() {
        let answer = |refusal: Refusal| {
            let response = refusal.into_response();
            let retry = response
                .headers()
                .get(header::RETRY_AFTER)
                .map(|value| value.to_str().unwrap().to_owned());
            (response.status().as_u16(), retry)
        };
        assert_eq!(answer(Refusal::bad_request("what?")), (400, None));
        assert_eq!(answer(Refusal::unauthenticated("sign in")), (401, None));
        assert_eq!(answer(Refusal::forbidden("not yours")), (403, None));
        assert_eq!(answer(Refusal::no_content()), (204, None));
        assert_eq!(answer(Refusal::unavailable("no database", 7)), (503, Some("7".into())));
    }

    #[test]
    fn adm_7_the_headers_of_an_application_replace_those_of_the_crate() {
        let realm = HeaderValue::from_static("Basic realm=\"live\"");
        let refusal = Refusal::unauthenticated("sign in")
            .with_header(header::WWW_AUTHENTICATE, realm.clone());
        assert_eq!(refusal.headers().collect::<Vec<_>>(), [(&header::WWW_AUTHENTICATE, &realm)]);
        let response = refusal.into_response();
        assert_eq!(
            response.headers().get_all(header::WWW_AUTHENTICATE).iter().collect::<Vec<_>>(),
            [&realm]
        );
    }
}
