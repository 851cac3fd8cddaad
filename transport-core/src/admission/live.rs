//! The admission of a request: ticket, login check, registry.

use super::admitted::Admitted;
use super::authorise::Authorise;
use super::channels::{Limits, Ungranted, requested};
use super::grant::Grant;
use super::options::LiveOptions;
use super::refusal::Refusal;
use super::stats::AdmissionStats;
use crate::socket::cut::Cut;
use crate::socket::kind::{ConnectionKind, KindCounts, KindGuard};
use axum::http::StatusCode;
use axum::http::request::Parts;
use futures_util::FutureExt;
use registry_core::{AdmitError, ChannelFilter, SubscribeError, SubscriberRegistry, WireFormat};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout};

/// How many times an admission is tried in all, when revocations cross it (ADM-7).
const ATTEMPTS: usize = 3;
/// Seconds after which a refused client may come back.
const RETRY_AFTER: u32 = 1;

/// A registry for live connections, with what its transports have in common. Cloning it is cheap.
///
/// It dereferences to its [`SubscriberRegistry`], so [`broadcast`](SubscriberRegistry::broadcast)
/// and [`close_by_identity`](SubscriberRegistry::close_by_identity) are called on it. The routes of
/// the transports, such as `transport_sse::sse(&live, authoriser)`, admit subscribers to it.
///
/// # Examples
/// ```
/// use registry_core::Identity;
/// use transport_core::Live;
///
/// let live = Live::<String>::new();
/// live.broadcast("runs", "a run has started".into()).unwrap();
/// assert_eq!(live.close_by_identity(&Identity::new("account", "ada")), 0);
/// ```
pub struct Live<T: Send + Sync + 'static> {
    inner: Arc<Inner<T>>,
}

struct Inner<T: Send + Sync + 'static> {
    registry: SubscriberRegistry<T>,
    options: LiveOptions,
    refusals: Mutex<BTreeMap<u16, u64>>,
    kinds: Arc<KindCounts>,
}

/// The rights of one request.
struct Granted {
    grant: Grant,
    ungranted: Ungranted,
    expires: Option<Instant>,
}

impl<T: Send + Sync + 'static> Live<T> {
    pub(super) fn of(registry: SubscriberRegistry<T>, options: LiveOptions) -> Self {
        let (refusals, kinds) = Default::default();
        Self { inner: Arc::new(Inner { registry, options, refusals, kinds }) }
    }

    /// Returns the registry.
    #[must_use]
    pub fn registry(&self) -> &SubscriberRegistry<T> {
        &self.inner.registry
    }

    /// Returns the options.
    pub fn options(&self) -> &LiveOptions {
        &self.inner.options
    }

    /// Returns how many requests were refused, and which way the bytes of its subscribers go.
    #[must_use]
    pub fn admission_stats(&self) -> AdmissionStats {
        AdmissionStats { refusals: self.refusals().clone(), kinds: self.inner.kinds.snapshot() }
    }

    /// Checks that the page that sent the request may connect. Only a transport that browsers let
    /// any page open needs it.
    ///
    /// # Errors
    /// `403`, as [`Origins::check`](crate::Origins::check) says.
    pub fn check_origin(&self, request: &Parts) -> Result<(), Refusal> {
        self.inner
            .options
            .origins()
            .check(&request.headers)
            .inspect_err(|refusal| self.count(refusal))
    }

    fn refusals(&self) -> MutexGuard<'_, BTreeMap<u16, u64>> {
        self.inner.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, refusal: &Refusal) {
        *self.refusals().entry(refusal.status().as_u16()).or_default() += 1;
    }

    /// Admits a request, or returns why not and counts that.
    ///
    /// The ticket is drawn first, then the login check reads the credential, then the registry
    /// admits. So a revocation that comes in between refuses the admission, and the check is made
    /// again, three times in all (ADM-7).
    ///
    /// A request that names channels hears those that it is granted; the others are in
    /// [`Admitted::ungranted`] (ADM-8).
    ///
    /// # Errors
    /// - `400`: the query cannot be read.
    /// - What the authoriser returned.
    /// - `401`: the grant has expired.
    /// - `403`: the request names channels, and none of them is granted.
    /// - `429`: the scope is full and refuses newcomers.
    /// - `500`: the authoriser panicked.
    /// - `503`: the authoriser took too long, revocations crossed every attempt, or the registry
    ///   shuts down.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn admit(
        &self,
        authoriser: &impl Authorise,
        request: &Parts,
        format: &'static WireFormat,
    ) -> Result<Admitted, Refusal> {
        self.try_admit(authoriser, request, format).await.inspect_err(|refusal| self.count(refusal))
    }

    /// Answers as [`admit`](Self::admit) does, from the credential and the query alone, and admits
    /// no subscriber. `HEAD` uses it.
    ///
    /// No ticket is drawn, no scope is looked at, and a registry that shuts down does not refuse.
    ///
    /// # Errors
    /// Those of `admit` without `429`, and `503` only when the authoriser took too long. They are
    /// counted like those of `admit`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn check(
        &self,
        authoriser: &impl Authorise,
        request: &Parts,
    ) -> Result<Ungranted, Refusal> {
        let granted =
            async { self.authorise(authoriser, request, &self.requested(request)?).await };
        granted.await.map(|granted| granted.ungranted).inspect_err(|refusal| self.count(refusal))
    }

    fn requested(&self, request: &Parts) -> Result<ChannelFilter, Refusal> {
        let options = self.options();
        let limits =
            Limits { names: options.max_channels(), name_bytes: options.max_channel_bytes() };
        requested(request.uri.query(), limits)
    }

    async fn authorise(
        &self,
        authoriser: &impl Authorise,
        request: &Parts,
        requested: &ChannelFilter,
    ) -> Result<Granted, Refusal> {
        let check = AssertUnwindSafe(authoriser.authorise(request)).catch_unwind();
        let grant = match timeout(self.options().authorise_timeout(), check).await {
            Ok(Ok(grant)) => grant?,
            Ok(Err(_panic)) => {
                return Err(Refusal::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the login check failed",
                ));
            }
            Err(_elapsed) => return Err(busy("the login check took too long")),
        };
        let ungranted = Ungranted::of(requested, grant.registration().filter())?;
        let expires = match grant.expires_at().map(remaining) {
            None => None,
            Some(Some(left)) => Instant::now().checked_add(left),
            Some(None) => return Err(Refusal::unauthenticated("the credential has expired")),
        };
        Ok(Granted { grant, ungranted, expires })
    }

    async fn try_admit(
        &self,
        authoriser: &impl Authorise,
        request: &Parts,
        format: &'static WireFormat,
    ) -> Result<Admitted, Refusal> {
        let Inner { registry, options, kinds, .. } = &*self.inner;
        let requested = self.requested(request)?;
        let cut = request.extensions.get::<Cut>();
        // A flusher serves the subscriber once its socket is direct. Until then, and if it never
        // is, its task takes frames.
        let may_be_direct = cut.is_some_and(|cut| cut.plain_socket().is_some());
        let outbox = if may_be_direct { options.outbox().with_flusher() } else { options.outbox() };
        for _ in 0..ATTEMPTS {
            let ticket = registry.draw_ticket();
            let Granted { grant, ungranted, expires } =
                self.authorise(authoriser, request, &requested).await?;
            match ticket.admit_outbox(format, outbox, grant.restricted_to(&requested)) {
                Ok(outbox) => {
                    let kind = KindGuard::new(
                        cut.map_or(ConnectionKind::Portable, Cut::kind),
                        kinds.clone(),
                    );
                    let deadlines = cut.map(Cut::deadlines).unwrap_or_default();
                    if let Some(cut) = cut {
                        cut.clone().watch(&outbox);
                    }
                    return Ok(Admitted {
                        outbox,
                        grant: Arc::new(grant),
                        ungranted,
                        expires,
                        kind,
                        deadlines,
                    });
                }
                Err(AdmitError::Subscribe(SubscribeError::ScopeFull)) => {
                    let reason = "too many connections of this session: close one first";
                    return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason)
                        .with_retry_after(RETRY_AFTER));
                }
                Err(AdmitError::Subscribe(error)) => return Err(busy(&error.to_string())),
                Err(_crossed) => {}
            }
        }
        Err(busy("permissions are being changed: try again"))
    }
}

fn busy(reason: &str) -> Refusal {
    Refusal::unavailable(reason, RETRY_AFTER)
}

/// Returns how long it is until a moment of wall-clock time; `None` when that is past.
fn remaining(at: SystemTime) -> Option<Duration> {
    at.duration_since(SystemTime::now()).ok().filter(|left| !left.is_zero())
}

impl<T: Send + Sync + 'static> Deref for Live<T> {
    type Target = SubscriberRegistry<T>;

    fn deref(&self) -> &SubscriberRegistry<T> {
        self.registry()
    }
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
    use crate::admission::builder::LiveBuilder;
    use registry_core::{Identity, Json};
    use std::sync::OnceLock;

    static RAW: WireFormat =
        WireFormat::new("raw", |_, encoded, out| out.extend_from_slice(encoded.body()));

    /// Grants this after so long.
    struct After(Duration, Grant);

    #[async_trait::async_trait]
    impl Authorise for After {
        async fn authorise(&self, _: &Parts) -> Result<Grant, Refusal> {
            tokio::time::sleep(self.0).await;
            Ok(self.1.clone())
        }
    }

    fn get(target: &str) -> Parts {
        axum::http::Request::get(target).body(()).unwrap().into_parts().0
    }

    fn live(options: LiveOptions) -> Live<u8> {
        LiveBuilder::new(Json).with_options(options).build()
    }

    #[tokio::test(start_paused = true)]
    async fn adm_6_a_login_check_is_dropped_when_its_time_is_over() {
        let (patience, start) = (Duration::from_secs(3), Instant::now());
        let endless = After(Duration::from_secs(3600), Grant::new(ChannelFilter::All));
        let live = live(LiveOptions::new().with_authorise_timeout(patience));
        let refused = live.admit(&endless, &get("/"), &RAW).await.unwrap_err();
        assert_eq!(
            (refused.status(), start.elapsed()),
            (StatusCode::SERVICE_UNAVAILABLE, patience)
        );
        assert_eq!(
            live.check(&endless, &get("/")).await.unwrap_err().status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(
            (start.elapsed(), live.admission_stats().refusals),
            (2 * patience, [(503, 2)].into())
        );
        assert_eq!(live.stats().tickets, 0);
    }

    #[tokio::test]
    async fn rev_7_a_subscriber_holds_every_identity_of_its_grant() {
        let names = ["scope", "first", "second", "third"].map(|name| Identity::new("name", name));
        let [scope, groups @ ..] = names.clone();
        let grant = groups
            .into_iter()
            .fold(Grant::new(ChannelFilter::All).with_scope(scope), Grant::with_group);
        for name in names {
            let live = live(LiveOptions::new());
            let _admitted =
                live.admit(&After(Duration::ZERO, grant.clone()), &get("/"), &RAW).await.unwrap();
            assert_eq!(live.close_by_identity(&name), 1, "{name:?}");
        }
    }

    #[tokio::test]
    async fn adm_8_a_subscriber_hears_what_it_asked_for_and_is_granted() {
        let live = live(LiveOptions::new());
        let some = After(Duration::ZERO, Grant::new(ChannelFilter::only(["a", "b"])));
        let admitted = live.admit(&some, &get("/?channels=b,c"), &RAW).await.unwrap();
        assert_eq!(admitted.ungranted.names().collect::<Vec<_>>(), ["c"]);
        let heard = live.channels(None, 9);
        assert_eq!(heard.iter().map(|heard| heard.channel.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(
            live.admit(&some, &get("/?channel=c"), &RAW).await.unwrap_err().status(),
            StatusCode::FORBIDDEN
        );
    }

    /// Revokes the account that it checks, so many times, while it checks.
    struct Crossed(OnceLock<SubscriberRegistry<u8>>, Mutex<usize>);

    #[async_trait::async_trait]
    impl Authorise for Arc<Crossed> {
        async fn authorise(&self, _: &Parts) -> Result<Grant, Refusal> {
            let ada = Identity::new("account", "ada");
            let mut left = self.1.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                self.0.get().unwrap().close_by_identity(&ada);
            }
            Ok(Grant::new(ChannelFilter::All).with_group(ada))
        }
    }

    #[tokio::test]
    async fn adm_7_a_crossed_admission_begins_again_and_no_more_than_three_times_in_all() {
        for (crossings, admitted) in [(0, true), (1, true), (2, true), (3, false)] {
            let crossed = Arc::new(Crossed(OnceLock::new(), Mutex::new(crossings)));
            let live = live(LiveOptions::new());
            assert!(crossed.0.set(live.registry().clone()).is_ok());
            let outcome = live.admit(&crossed, &get("/"), &RAW).await;
            assert_eq!(outcome.is_ok(), admitted, "{crossings} revocations crossed it");
            assert!(admitted || outcome.unwrap_err().status() == StatusCode::SERVICE_UNAVAILABLE);
        }
    }

    #[test]
    fn ws_3_pages_that_may_not_connect_are_counted() {
        let live = live(LiveOptions::new());
        let mut request = get("/");
        live.check_origin(&request).unwrap();
        request.headers.insert("origin", "https://evil.example".parse().unwrap());
        request.headers.insert("host", "live.example".parse().unwrap());
        assert_eq!(live.check_origin(&request).unwrap_err().status(), StatusCode::FORBIDDEN);
        assert_eq!(live.admission_stats().refusals, [(403, 1)].into());
    }
}
