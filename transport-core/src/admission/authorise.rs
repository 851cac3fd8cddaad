//! The application's login check.

use super::grant::Grant;
use super::refusal::Refusal;
use axum::http::request::Parts;
use std::sync::Arc;

/// The application's login check for live connections. There is no default one.
///
/// It is called after a ticket was drawn, so the admission notices a revocation that comes any time
/// after the check began to read the credential. Then the check is called again with the same
/// request, three times in all (ADM-7); it must read the present state of the credential each time.
/// It is given up after [`authorise_timeout`](crate::LiveOptions::with_authorise_timeout), 10 s by
/// default.
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
