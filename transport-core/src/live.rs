//! The one way in: ticket, authoriser, admission.

use crate::channels::{Limits, Ungranted, requested};
use crate::cut::Cut;
use crate::{Authorise, Deadlines, Denied, Grant, Origins, Path, Refusal};
use axum::http::StatusCode;
use axum::http::request::Parts;
use futures_util::FutureExt;
use registry_core::{
    AdmitError, ChannelFilter, Outbox, OutboxOptions, RegistryOptions, SubscribeError,
    SubscriberRegistry, WireFormat,
};
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout};

/// How often an admission begins again after a revocation crossed it (ADM-7).
const ATTEMPTS: usize = 3;

/// A registry with its authoriser and options: what the transports' routes are made from. Cloning it is cheap.
///
/// # Examples
/// ```
/// # use axum::http::request::Parts;
/// # use transport_core::{Authorise, Denied, Grant, async_trait};
/// # struct MyAuth;
/// # #[async_trait]
/// # impl Authorise for MyAuth {
/// #     async fn authorise(&self, _: &Parts) -> Result<Grant, Denied> { Err(Denied::unauthenticated("")) }
/// # }
/// use registry_core::SubscriberRegistry;
/// use transport_core::Live;
///
/// let registry = SubscriberRegistry::<String>::new();
/// let live = Live::new(registry.clone(), MyAuth);
/// ```
pub struct Live<T: Send + Sync + 'static> {
    inner: Arc<Inner<T>>,
}

struct Inner<T: Send + Sync + 'static> {
    registry: SubscriberRegistry<T>,
    authoriser: Box<dyn Authorise>,
    options: LiveOptions,
    refusals: Mutex<BTreeMap<u16, u64>>,
}

/// What both transports can be told.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    outbox: OutboxOptions,
    max_channels: usize,
    max_channel_bytes: usize,
    authorise_timeout: Duration,
    origins: Origins,
}

impl LiveOptions {
    /// Creates the defaults: outboxes of 1,024 messages and 1 MiB, 100 channels of 256 bytes in a request, 10 s for the
    /// authoriser, WebSocket upgrades from pages of the same host.
    #[must_use]
    pub fn new() -> Self {
        Self {
            outbox: OutboxOptions::new(),
            max_channels: 100,
            max_channel_bytes: 256,
            authorise_timeout: RegistryOptions::DEFAULT_TICKET_LIFETIME,
            origins: Origins::default(),
        }
    }

    /// Sets the bounds of each subscriber's outbox.
    #[must_use]
    pub fn with_outbox(mut self, outbox: OutboxOptions) -> Self {
        self.outbox = outbox;
        self
    }

    /// Sets how many channels one request may name; 100 by default, which keeps a request line within common limits.
    #[must_use]
    pub fn with_max_channels(mut self, channels: NonZeroUsize) -> Self {
        self.max_channels = channels.get();
        self
    }

    /// Sets how many bytes a channel's name may have in a request; 256 by default.
    #[must_use]
    pub fn with_max_channel_bytes(mut self, bytes: usize) -> Self {
        self.max_channel_bytes = bytes;
        self
    }

    /// Sets how long the authoriser may take; 10 s by default. More than the registry's ticket lifetime is of no use.
    #[must_use]
    pub fn with_authorise_timeout(mut self, timeout: Duration) -> Self {
        self.authorise_timeout = timeout;
        self
    }

    /// Sets which pages may open a WebSocket.
    #[must_use]
    pub fn with_origins(mut self, origins: Origins) -> Self {
        self.origins = origins;
        self
    }

    /// Returns which pages may open a WebSocket.
    #[must_use]
    pub fn origins(&self) -> &Origins {
        &self.origins
    }
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A subscriber that was admitted: active already, before its peer sees `200` or `101`.
///
/// A transport's answer [tells](Ungranted::tell) what was asked for and is not granted.
#[derive(Debug)]
#[must_use = "dropping it unsubscribes"]
#[non_exhaustive]
pub struct Admitted {
    /// Its queue and guard.
    pub outbox: Outbox,
    /// What it was granted.
    pub grant: Arc<Grant>,
    /// What it asked for in vain.
    pub ungranted: Ungranted,
    /// When its authority ends.
    pub expires: Option<Instant>,
    /// Which way its bytes go.
    pub path: Path,
    /// How long its peer may take to go after the end.
    pub deadlines: Deadlines,
}

impl Admitted {
    /// Wraps a subscriber that came in another way than [`Live::admit`]: it got all that it asked for, its authority has no
    /// end, and its path is [portable](Path::Portable).
    pub fn new(outbox: Outbox, grant: Arc<Grant>) -> Self {
        let (ungranted, path, deadlines) = (Ungranted::default(), Path::Portable, Deadlines::default());
        Self { outbox, grant, ungranted, expires: None, path, deadlines }
    }
}

/// What a request gets by its credential.
struct Granted {
    grant: Grant,
    ungranted: Ungranted,
    expires: Option<Instant>,
}

impl<T: Send + Sync + 'static> Live<T> {
    /// Wraps a registry that was made with an [encoder](SubscriberRegistry::with_encoder), with the default options.
    pub fn new(registry: SubscriberRegistry<T>, authoriser: impl Authorise) -> Self {
        Self::with_options(registry, authoriser, LiveOptions::new())
    }

    /// Wraps a registry that was made with an [encoder](SubscriberRegistry::with_encoder). Without one, every request is
    /// answered `500`.
    pub fn with_options(registry: SubscriberRegistry<T>, authoriser: impl Authorise, options: LiveOptions) -> Self {
        let authoriser = Box::new(authoriser);
        Self { inner: Arc::new(Inner { registry, authoriser, options, refusals: Mutex::default() }) }
    }

    /// Returns the registry.
    #[must_use]
    pub fn registry(&self) -> &SubscriberRegistry<T> {
        &self.inner.registry
    }

    /// Returns the options.
    #[must_use]
    pub fn options(&self) -> &LiveOptions {
        &self.inner.options
    }

    /// Returns how many requests were refused, by status.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<u16, u64> {
        self.inner.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks that the page which asks may connect, for transports that browsers let any page open.
    ///
    /// # Errors
    /// `403`, as [`Origins::check`] says.
    pub fn check_origin(&self, request: &Parts) -> Result<(), Refusal> {
        self.inner.options.origins.check(&request.headers).inspect_err(|refusal| self.count(refusal))
    }

    fn count(&self, refusal: &Refusal) {
        let mut refusals = self.inner.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry(refusal.status().as_u16()).or_default() += 1;
    }

    /// Admits a request, or says why not, and counts that.
    ///
    /// The ticket is drawn first, then the authoriser reads the credential, then the registry admits, so a revocation that
    /// falls in between refuses the admission; it then begins again, three times in all (ADM-7).
    ///
    /// A request that names channels hears those that it is granted, and the others are in [`Admitted::ungranted`] (ADM-8).
    ///
    /// # Errors
    /// `400` for a query that cannot be read, what the authoriser [`Denied`], `403` when channels are named and none of them is
    /// granted, `401` for a grant that is over, `429` for a full scope that refuses, `503` when the authoriser did not answer
    /// in time, when revocations crossed every attempt, or when the registry shuts down; `500` when the authoriser panicked.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn admit(&self, request: &Parts, format: &'static WireFormat) -> Result<Admitted, Refusal> {
        self.try_admit(request, format).await.inspect_err(|refusal| self.count(refusal))
    }

    /// Says what [`admit`](Self::admit) would by the credential and the query alone, and takes nobody: for `HEAD`.
    ///
    /// No ticket is drawn, no scope is looked at, and a registry that shuts down does not refuse.
    ///
    /// # Errors
    /// Those of `admit` but `429`, and `503` only when the authoriser did not answer in time; they are counted as its are.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn check(&self, request: &Parts) -> Result<Ungranted, Refusal> {
        let granted = async { self.authorise(request, &self.requested(request)?).await };
        granted.await.map(|granted| granted.ungranted).inspect_err(|refusal| self.count(refusal))
    }

    fn requested(&self, request: &Parts) -> Result<ChannelFilter, Refusal> {
        let LiveOptions { max_channels, max_channel_bytes, .. } = self.inner.options;
        requested(request.uri.query(), Limits { names: max_channels, name_bytes: max_channel_bytes })
    }

    async fn authorise(&self, request: &Parts, requested: &ChannelFilter) -> Result<Granted, Refusal> {
        let Inner { authoriser, options, .. } = &*self.inner;
        let check = AssertUnwindSafe(authoriser.authorise(request)).catch_unwind();
        let grant = match timeout(options.authorise_timeout, check).await {
            Ok(Ok(Ok(grant))) => grant,
            Ok(Ok(Err(Denied(refusal)))) => return Err(refusal),
            Ok(Err(_panic)) => {
                return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the login check failed"));
            }
            Err(_elapsed) => return Err(busy("the login check took too long")),
        };
        let ungranted = Ungranted::of(requested, &grant.channels)?;
        let expires = match grant.expires_at.map(remaining) {
            None => None,
            Some(Some(left)) => Instant::now().checked_add(left),
            Some(None) => return Err(Refusal::new(StatusCode::UNAUTHORIZED, "the credential has expired")),
        };
        Ok(Granted { grant, ungranted, expires })
    }

    async fn try_admit(&self, request: &Parts, format: &'static WireFormat) -> Result<Admitted, Refusal> {
        let Inner { registry, options, .. } = &*self.inner;
        let requested = self.requested(request)?;
        let cut = request.extensions.get::<Cut>();
        // Where the socket may come to be ours, a flusher serves it; until then, and if it does not, the owner takes.
        let plain = cut.is_some_and(|cut| cut.plain_socket().is_some());
        let outbox_options = if plain { options.outbox.with_flusher() } else { options.outbox };
        for _ in 0..ATTEMPTS {
            let ticket = registry.draw_ticket();
            let Granted { grant, ungranted, expires } = self.authorise(request, &requested).await?;
            match ticket.admit_outbox(format, outbox_options, grant.registration(&requested)) {
                Ok(outbox) => {
                    let path = cut.map_or(Path::Portable, Cut::path);
                    let deadlines = cut.map(Cut::deadlines).unwrap_or_default();
                    if let Some(cut) = cut {
                        cut.clone().watch(&outbox);
                    }
                    return Ok(Admitted { outbox, grant: Arc::new(grant), ungranted, expires, path, deadlines });
                }
                Err(AdmitError::Subscribe(SubscribeError::ScopeFull)) => {
                    let reason = "too many connections of this session: close one first";
                    return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason).retry_after(RETRY_AFTER));
                }
                Err(AdmitError::Subscribe(error @ SubscribeError::NoEncoder)) => {
                    return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()));
                }
                Err(AdmitError::Subscribe(error)) => return Err(busy(&error.to_string())),
                Err(_crossed) => {}
            }
        }
        Err(busy("permissions are being changed: try again"))
    }
}

/// Seconds after which a refused client may come back.
const RETRY_AFTER: u32 = 1;

fn busy(reason: &str) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason).retry_after(RETRY_AFTER)
}

/// How long until a moment of wall-clock time; `None` when it is past.
fn remaining(at: SystemTime) -> Option<Duration> {
    at.duration_since(SystemTime::now()).ok().filter(|left| !left.is_zero())
}

impl<T: Send + Sync + 'static> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("registry", &self.inner.registry)
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_the_defaults_are_those_that_are_documented() {
        let LiveOptions { outbox: _, max_channels, max_channel_bytes, authorise_timeout, origins } =
            LiveOptions::default();
        assert_eq!((max_channels, max_channel_bytes), (100, 256));
        assert_eq!((authorise_timeout, origins), (Duration::from_secs(10), Origins::Same));
    }

    static RAW: WireFormat = WireFormat::new("raw", |_, body, out| out.extend_from_slice(body));

    /// Grants after so long, to those who ask for no end.
    struct After(Duration, Grant);

    #[async_trait::async_trait]
    impl Authorise for After {
        async fn authorise(&self, _: &Parts) -> Result<Grant, Denied> {
            tokio::time::sleep(self.0).await;
            Ok(self.1.clone())
        }
    }

    fn get(target: &str) -> Parts {
        axum::http::Request::get(target).body(()).unwrap().into_parts().0
    }

    fn live(authoriser: impl Authorise, options: LiveOptions) -> Live<u8> {
        Live::with_options(SubscriberRegistry::new(), authoriser, options)
    }

    #[tokio::test(start_paused = true)]
    async fn adm_6_a_login_check_is_given_up_on_when_its_time_is_over() {
        let (patience, start) = (Duration::from_secs(3), Instant::now());
        let endless = After(Duration::from_secs(3600), Grant::new(ChannelFilter::All));
        let live = live(endless, LiveOptions::new().with_authorise_timeout(patience));
        let refused = live.admit(&get("/"), &RAW).await.unwrap_err();
        assert_eq!((refused.status(), start.elapsed()), (StatusCode::SERVICE_UNAVAILABLE, patience));
        assert_eq!(live.check(&get("/")).await.unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((start.elapsed(), live.refusals()), (2 * patience, [(503, 2)].into()));
        assert_eq!(live.registry().stats().tickets, 0);
    }

    #[tokio::test]
    async fn rev_7_a_subscriber_holds_every_identity_of_its_grant() {
        use registry_core::Identity;
        let names = ["scope", "first", "second", "third"].map(|name| Identity::new("name", name));
        let [scope, groups @ ..] = names.clone();
        let grant = groups.into_iter().fold(Grant::new(ChannelFilter::All).scope(scope), Grant::group);
        for name in names {
            let live = live(After(Duration::ZERO, grant.clone()), LiveOptions::new());
            let _admitted = live.admit(&get("/"), &RAW).await.unwrap();
            assert_eq!(live.registry().close_by_identity(&name), 1, "{name:?}");
        }
    }

    #[tokio::test]
    async fn adm_8_what_is_registered_is_asked_for_and_granted() {
        let live = live(After(Duration::ZERO, Grant::new(ChannelFilter::only(["a", "b"]))), LiveOptions::new());
        let admitted = live.admit(&get("/?channels=b,c"), &RAW).await.unwrap();
        assert_eq!(admitted.ungranted.names().collect::<Vec<_>>(), ["c"]);
        let heard = live.registry().channels(None, 9);
        assert_eq!(heard.iter().map(|heard| heard.channel.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(live.admit(&get("/?channel=c"), &RAW).await.unwrap_err().status(), StatusCode::FORBIDDEN);
    }

    /// Its own registry, in which it revokes its user so many times while it looks.
    struct Crossed(std::sync::OnceLock<SubscriberRegistry<u8>>, Mutex<usize>);

    #[async_trait::async_trait]
    impl Authorise for Arc<Crossed> {
        async fn authorise(&self, _: &Parts) -> Result<Grant, Denied> {
            let ada = registry_core::Identity::new("account", "ada");
            let mut left = self.1.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                self.0.get().unwrap().close_by_identity(&ada);
            }
            Ok(Grant::new(ChannelFilter::All).group(ada))
        }
    }

    #[tokio::test]
    async fn adm_7_a_crossed_admission_begins_again_and_no_more_than_three_times_in_all() {
        for (crossings, admitted) in [(0, true), (1, true), (2, true), (3, false)] {
            let crossed = Arc::new(Crossed(std::sync::OnceLock::new(), Mutex::new(crossings)));
            let live = live(crossed.clone(), LiveOptions::new());
            assert!(crossed.0.set(live.registry().clone()).is_ok());
            let outcome = live.admit(&get("/"), &RAW).await;
            assert_eq!(outcome.is_ok(), admitted, "{crossings} revocations crossed it");
            assert!(admitted || outcome.unwrap_err().status() == StatusCode::SERVICE_UNAVAILABLE);
        }
    }

    #[test]
    fn ws_3_pages_that_may_not_connect_are_counted() {
        let live = live(After(Duration::ZERO, Grant::new(ChannelFilter::All)), LiveOptions::new());
        let mut request = get("/");
        live.check_origin(&request).unwrap();
        request.headers.insert("origin", "https://evil.example".parse().unwrap());
        request.headers.insert("host", "live.example".parse().unwrap());
        assert_eq!(live.check_origin(&request).unwrap_err().status(), StatusCode::FORBIDDEN);
        assert_eq!(live.refusals(), [(403, 1)].into());
    }
}
