//! Who a request is from, and what it may hear: the application's part.

use axum::http::StatusCode;
use axum::http::request::Parts;
use registry_core::{ChannelFilter, Identity, Registration};
use std::time::SystemTime;

use crate::Refusal;

/// The application's login check for live connections. There is no default one.
///
/// It is called after the ticket was drawn, so a revocation that falls anywhere between its first look at the credential
/// and the admission is caught; then it is called again with the same request (ADM-7). It must read the credential's
/// present state each time. It is given up on after the life of a ticket, 10 s by default.
///
/// # Cancel safety
/// The future is dropped when the client goes away or the time is up.
///
/// # Errors of the compiler
/// An `impl` without `#[async_trait]` on it is refused as E0195, "lifetime parameters do not match the trait definition":
/// the attribute makes the method return a boxed future. It is [`transport_core::async_trait`](crate::async_trait), or the
/// crate of that name.
///
/// ```compile_fail,E0195
/// # use axum::http::request::Parts;
/// # use transport_core::{Authorise, Denied, Grant};
/// # struct BearerTokens;
/// impl Authorise for BearerTokens {
///     async fn authorise(&self, request: &Parts) -> Result<Grant, Denied> {
///         Err(Denied::unauthenticated("sign in first"))
///     }
/// }
/// ```
///
/// # Examples
/// ```
/// use axum::http::request::Parts;
/// use registry_core::{ChannelFilter, Identity};
/// use transport_core::{Authorise, Denied, Grant, async_trait};
///
/// struct BearerTokens;
///
/// #[async_trait]
/// impl Authorise for BearerTokens {
///     async fn authorise(&self, request: &Parts) -> Result<Grant, Denied> {
///         match request.headers.get("authorization").map(|value| value.as_bytes()) {
///             Some(b"Bearer letmein") => Ok(Grant::new(ChannelFilter::only(["runs"]))
///                 .scope(Identity::new("session", "17"))
///                 .group(Identity::new("account", "ada"))),
///             _ => Err(Denied::unauthenticated("sign in first")),
///         }
///     }
/// }
/// ```
#[async_trait::async_trait]
pub trait Authorise: Send + Sync + 'static {
    /// Reads the request's credential and says what it entitles to.
    ///
    /// # Errors
    /// [`Denied`] becomes the HTTP answer.
    async fn authorise(&self, request: &Parts) -> Result<Grant, Denied>;
}

/// What a credential entitles to: the channels it may hear, the identities it can be revoked by, and until when.
#[derive(Debug, Clone)]
#[must_use]
pub struct Grant {
    pub(crate) channels: ChannelFilter,
    pub(crate) scope: Option<Identity>,
    pub(crate) groups: Vec<Identity>,
    pub(crate) expires_at: Option<SystemTime>,
}

impl Grant {
    /// Creates a grant of these channels, without identities and without an end.
    pub fn new(channels: ChannelFilter) -> Self {
        Self { channels, scope: None, groups: Vec::new(), expires_at: None }
    }

    /// Sets the identity that a cap counts: usually the session.
    pub fn scope(mut self, scope: Identity) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Adds an identity by which it can be revoked: an account, a tenant, a role.
    pub fn group(mut self, group: Identity) -> Self {
        self.groups.push(group);
        self
    }

    /// Sets when the authority ends; the connection is then closed as *expired*. Usually the token's own expiry.
    pub fn expires_at(mut self, at: SystemTime) -> Self {
        self.expires_at = Some(at);
        self
    }

    /// Returns the channels granted.
    #[must_use]
    pub fn channels(&self) -> &ChannelFilter {
        &self.channels
    }

    /// Returns every identity: the scope, then the groups.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.scope.iter().chain(&self.groups)
    }

    /// What the registry is asked to take: never more than was granted.
    pub(crate) fn registration(&self, requested: &ChannelFilter) -> Registration {
        let registration =
            Registration::new().with_filter(requested.restrict(&self.channels)).with_groups(self.groups.iter().cloned());
        match &self.scope {
            Some(scope) => registration.with_scope(scope.clone()),
            None => registration,
        }
    }
}

/// Why a request gets no grant, as an HTTP answer that a client can act on.
#[derive(Debug, Clone)]
pub struct Denied(pub(crate) Refusal);

impl Denied {
    /// `401`: no credential, or one that is no longer good. `EventSource` does not come back after it.
    pub fn unauthenticated(reason: impl Into<String>) -> Self {
        Self(Refusal::new(StatusCode::UNAUTHORIZED, reason))
    }

    /// `403`: a good credential that does not entitle to this.
    pub fn forbidden(reason: impl Into<String>) -> Self {
        Self(Refusal::new(StatusCode::FORBIDDEN, reason))
    }

    /// `204`: for an application that wants clients to stop without an error; `EventSource` does not come back after it.
    #[must_use]
    pub fn no_content() -> Self {
        Self(Refusal::new(StatusCode::NO_CONTENT, ""))
    }

    /// `503`: the check itself could not be made; the client should come back after `retry_after` seconds.
    pub fn unavailable(reason: impl Into<String>, retry_after: u32) -> Self {
        Self(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason).retry_after(retry_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header;
    use axum::response::IntoResponse;

    #[test]
    fn adm_7_each_denial_has_its_status_and_says_when_to_come_back_if_that_helps() {
        let answer = |denied: Denied| {
            let response = denied.0.into_response();
            let retry = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
            (response.status().as_u16(), retry)
        };
        assert_eq!(answer(Denied::unauthenticated("sign in")), (401, None));
        assert_eq!(answer(Denied::forbidden("not yours")), (403, None));
        assert_eq!(answer(Denied::no_content()), (204, None));
        assert_eq!(answer(Denied::unavailable("no database", 7)), (503, Some("7".into())));
    }
}
