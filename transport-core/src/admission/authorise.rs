//! The application's login check.

use super::entry::{Entry, busy};
use super::grant::Grant;
use super::refusal::Refusal;
use axum::http::request::Parts;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::time::timeout;

/// The application's login check for live connections. There is no default one.
///
/// It is called after the request's ticket was drawn ([`Entry`](crate::Entry)). So the admission
/// notices a revocation that comes any time after the check, or a middleware before it, began to
/// read the credential. The request is then refused softly, and its client comes back and is
/// checked anew (ADM-7). The check is given up after
/// [`authorise_timeout`](crate::LiveOptions::with_authorise_timeout), 10 s by default.
///
/// # Cancel safety
/// The future is dropped when the client goes away or the time is up.
///
/// # Errors of the compiler
/// The attribute `#[async_trait]` makes the method return a boxed future. An `impl` without it is
/// refused as E0195, "lifetime parameters do not match the trait definition". The attribute is
/// [`transport_core::async_trait`](crate::async_trait), or the crate of that name.
///
/// ```compile_fail,E0195
/// # use axum::http::request::Parts;
/// # use transport_core::{Authorise, Grant, Refusal};
/// # struct BearerTokens;
/// impl Authorise for BearerTokens {
///     async fn authorise(&self, request: &Parts) -> Result<Grant, Refusal> {
///         Err(Refusal::unauthenticated("sign in first"))
///     }
/// }
/// ```
///
/// # Examples
/// ```
/// use axum::http::{Request, StatusCode, request::Parts};
/// use registry_core::{ChannelFilter, Identity};
/// use transport_core::{Authorise, Grant, Refusal, async_trait};
///
/// struct BearerTokens;
///
/// #[async_trait]
/// impl Authorise for BearerTokens {
///     async fn authorise(&self, request: &Parts) -> Result<Grant, Refusal> {
///         match request.headers.get("authorization").map(|value| value.as_bytes()) {
///             Some(b"Bearer letmein") => Ok(Grant::new(ChannelFilter::only(["runs"]))
///                 .with_scope(Identity::new("session", "17"))
///                 .with_group(Identity::new("account", "ada"))),
///             _ => Err(Refusal::unauthenticated("sign in first")),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let (request, ()) = Request::get("/events").body(()).unwrap().into_parts();
/// let refusal = BearerTokens.authorise(&request).await.unwrap_err();
/// assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED);
/// # }
/// ```
#[async_trait::async_trait]
pub trait Authorise: Send + Sync + 'static {
    /// Reads the request's credential, and returns what it entitles to.
    ///
    /// # Errors
    /// The [`Refusal`] is the HTTP answer.
    async fn authorise(&self, request: &Parts) -> Result<Grant, Refusal>;
}

/// So that several routes can share one check.
#[async_trait::async_trait]
impl<A: Authorise + ?Sized> Authorise for Arc<A> {
    async fn authorise(&self, request: &Parts) -> Result<Grant, Refusal> {
        (**self).authorise(request).await
    }
}

impl<T: Send + Sync + 'static> Entry<T> {
    /// Has the application's login check look at the request.
    ///
    /// # Errors
    /// What the authoriser returns; `500` when it panics, `503` when it takes too long. Each is
    /// counted.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn authorise(
        &self,
        authoriser: &impl Authorise,
        request: &Parts,
    ) -> Result<Grant, Refusal> {
        let check = AssertUnwindSafe(authoriser.authorise(request)).catch_unwind();
        let grant = match timeout(self.live().options().authorise_timeout(), check).await {
            Ok(Ok(grant)) => grant,
            Ok(Err(_panic)) => Err(Refusal::failed("the login check failed")),
            Err(_elapsed) => Err(busy("the login check took too long")),
        };
        grant.inspect_err(|refusal| self.count(refusal))
    }
}
