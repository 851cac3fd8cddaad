//! The session of a request: its token is in `Authorization: Bearer`, in a WebSocket's subprotocol
//! `bearer.…`, or in the cookie `session`.

use crate::sessions::{Session, Sessions};
use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use registry_core::{ChannelFilter, Identity};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};
use transport_core::{Authorise, Credential, Grant, Refusal};

/// The name of the cookie.
pub(crate) const COOKIE: &str = "session";

/// The answer to a credential that is no longer good.
pub(crate) const ENDED: &str = "this session has ended: sign in again";

/// The identity of `?scope=` in open mode.
pub(crate) fn scope_identity(value: &str) -> Identity {
    Identity::new("scope", value)
}

/// The identity of `?group=` in open mode.
pub(crate) fn group_identity(value: &str) -> Identity {
    Identity::new("group", value)
}

/// Returns the bearer token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Returns the credential that a request presents. A token counts before the cookie: it was sent on
/// purpose. An `Authorization` of another scheme, such as a proxy's, is none.
///
/// # Errors
/// Those of [`Credential::of`].
pub(crate) fn credential(request: &Parts) -> Result<Option<String>, Refusal> {
    let mut own = request.clone();
    own.headers.remove(header::AUTHORIZATION);
    for value in request.headers.get_all(header::AUTHORIZATION) {
        let scheme = value.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            own.headers.append(header::AUTHORIZATION, value.clone());
        }
    }
    Ok(match Credential::of(&own)? {
        Credential::Token(token) => Some(token.as_str().trim().to_owned()),
        _ => cookie(&request.headers),
    })
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';'));
    let token = cookies.find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    token.map(str::to_owned)
}

/// The login check of the streams.
pub(crate) struct SessionAuthoriser {
    sessions: Arc<Sessions>,
    open: bool,
    /// How long the check takes after it has read the session.
    delay: Duration,
}

impl SessionAuthoriser {
    pub(crate) fn new(sessions: Arc<Sessions>, open: bool, delay: Duration) -> Self {
        Self { sessions, open, delay }
    }
}

#[async_trait::async_trait]
impl Authorise for SessionAuthoriser {
    async fn authorise(&self, request: &Parts) -> Result<Grant, Refusal> {
        match credential(request)? {
            Some(token) => {
                let now = Instant::now();
                let session = self.sessions.find(now, &token);
                if !self.delay.is_zero() {
                    sleep(self.delay).await;
                }
                session
                    .map(|session| grant_of(&session, now))
                    .ok_or_else(|| Refusal::unauthenticated(ENDED))
            }
            None if self.open => grant_of_query(request),
            None => Err(Refusal::unauthenticated(
                "sign in with `POST /api/sessions`, then send the cookie, \
                 `Authorization: Bearer <token>` or a WebSocket's subprotocol \
                 `bearer.<token in base64url>`",
            )),
        }
    }
}

/// The grant of a session, which ends with it.
fn grant_of(session: &Session, now: Instant) -> Grant {
    let left = session.expires.saturating_duration_since(now);
    let grant = Grant::new(session.channels())
        .with_scope(session.identity())
        .with_group(session.account_identity());
    grant.with_expires_at(SystemTime::now() + left)
}

/// Tells whether clients can write a name as one segment of an address, as the calls that revoke it
/// need. Browsers and others resolve `.` and `..` as folders, also where they are percent-encoded.
pub(crate) fn is_addressable(name: &str) -> bool {
    !matches!(name.to_ascii_lowercase().replace("%2e", ".").as_str(), "" | "." | "..")
}

/// Open mode: everything, under the identities of the query.
fn grant_of_query(request: &Parts) -> Result<Grant, Refusal> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&request.uri)
        .map_err(|error| Refusal::forbidden(format!("the query cannot be read: {error}")))?;
    let mut grant = Grant::new(ChannelFilter::All);
    let mut scoped = false;
    for (key, value) in &pairs {
        if matches!(key.as_str(), "scope" | "group") && !is_addressable(value) {
            return Err(Refusal::forbidden(format!(
                "a `{key}` cannot be called {value:?}: no address could name it"
            )));
        }
        match key.as_str() {
            "scope" if scoped => {
                return Err(Refusal::forbidden("a subscriber has one `scope` at most"));
            }
            "scope" => {
                scoped = true;
                grant = grant.with_scope(scope_identity(value));
            }
            "group" => grant = grant.with_group(group_identity(value)),
            _ => {}
        }
    }
    Ok(grant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(pairs: &[(&str, &str)]) -> Parts {
        let mut request = axum::http::Request::get("/");
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn read(pairs: &[(&str, &str)]) -> Option<String> {
        credential(&parts(pairs)).unwrap()
    }

    #[test]
    fn a_name_that_clients_resolve_as_a_folder_is_refused() {
        for name in ["", ".", "..", "%2e", "%2E.", ".%2e", "%2e%2E"] {
            assert!(!is_addressable(name), "{name}");
        }
        for name in
            ["...", "a", ".a", "..a", "a.", " ", "/", "./", "%2f", "%252e", "%2", "\u{2024}"]
        {
            assert!(is_addressable(name), "{name}");
        }
    }

    #[test]
    fn a_credential_comes_from_the_header_or_the_cookie() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("authorization", "Bearer x.y")]).as_deref(), Some("x.y"));
        assert_eq!(read(&[("authorization", "bearer  x.y ")]).as_deref(), Some("x.y"));
        assert_eq!(read(&[("authorization", "Basic x.y")]), None);
        assert_eq!(read(&[("cookie", "a=b; session=x.y;c=d")]).as_deref(), Some("x.y"));
        assert_eq!(read(&[("cookie", "a=b"), ("cookie", "session=x.y")]).as_deref(), Some("x.y"));
        assert_eq!(read(&[("cookie", "sessions=x.y; my-session=z")]), None);
        assert_eq!(
            read(&[("cookie", "session=c"), ("authorization", "Bearer h")]).as_deref(),
            Some("h")
        );
        assert_eq!(
            read(&[("authorization", "Basic x.y"), ("cookie", "session=c")]).as_deref(),
            Some("c")
        );
    }

    #[test]
    fn adm_9_a_websocket_may_offer_its_token_as_a_subprotocol() {
        let offered = ("sec-websocket-protocol", "live.v1, bearer.eC55"); // x.y
        assert_eq!(read(&[offered, ("cookie", "session=c")]).as_deref(), Some("x.y"));
        for two in [[offered, ("authorization", "Bearer h")], [offered, offered]] {
            let refusal = credential(&parts(&two)).unwrap_err();
            assert_eq!(refusal.status(), axum::http::StatusCode::BAD_REQUEST, "{refusal}");
        }
    }
}
