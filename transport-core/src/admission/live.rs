//! The registry of an application's live connections.

use super::options::LiveOptions;
use super::stats::{AdmissionStats, Refusals};
use crate::socket::kind::{ConnectionKind, KindCounts, KindGuard};
use axum::http::{HeaderMap, StatusCode};
use registry_core::SubscriberRegistry;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use tokio::sync::watch;

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
/// assert_eq!(live.close_by_identity(Identity::new("account", "ada")), 0);
/// ```
pub struct Live<T: Send + Sync + 'static> {
    inner: Arc<Inner<T>>,
}

struct Inner<T: Send + Sync + 'static> {
    registry: SubscriberRegistry<T>,
    options: LiveOptions,
    refusals: Arc<Refusals>,
    kinds: Arc<KindCounts>,
    /// How many subscribers the shutdown ended, once it has begun.
    shutdown: watch::Sender<Option<usize>>,
}

impl<T: Send + Sync + 'static> Live<T> {
    pub(super) fn of(registry: SubscriberRegistry<T>, options: LiveOptions) -> Self {
        let (refusals, kinds, shutdown) = Default::default();
        Self { inner: Arc::new(Inner { registry, options, refusals, kinds, shutdown }) }
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
        AdmissionStats {
            refusals: self.inner.refusals.snapshot(),
            kinds: self.inner.kinds.snapshot(),
        }
    }

    /// Waits for the signal, and then begins the shutdown of the registry: for servers that are not
    /// a [`Server`](crate::Server).
    ///
    /// Streams flush and write their farewells. Give this to
    /// `axum::serve(…).with_graceful_shutdown(…)`, and await the [`Drain`](crate::Drain) of a
    /// [`ServerListener`](crate::ServerListener), or else
    /// [`drained`](SubscriberRegistry::drained), after it.
    ///
    /// # Cancel safety
    /// Dropping the future before the signal begins no shutdown.
    ///
    /// # Examples
    /// ```
    /// use transport_core::Live;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let live = Live::<String>::new();
    /// live.shutdown_on(async { /* ctrl_c().await */ }).await;
    /// live.drained().await; // there is no stream to wait for
    /// # }
    /// ```
    pub fn shutdown_on(
        &self,
        signal: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let live = self.clone();
        async move {
            signal.await;
            live.begin_shutdown();
        }
    }

    /// Begins the shutdown of the registry, as
    /// [`SubscriberRegistry::begin_shutdown`](SubscriberRegistry::begin_shutdown) does, and tells
    /// the servers that wait for it. Returns how many subscribers that ended, also when it is
    /// called again.
    ///
    /// # Examples
    /// ```
    /// use transport_core::Live;
    ///
    /// assert_eq!(Live::<String>::new().begin_shutdown(), 0);
    /// ```
    pub fn begin_shutdown(&self) -> usize {
        let notified = self.inner.registry.begin_shutdown();
        self.inner.shutdown.send_modify(|all| *all.get_or_insert(0) += notified);
        self.inner.shutdown.borrow().unwrap_or(notified)
    }

    /// Waits for the shutdown; returns how many subscribers it ended.
    pub(crate) fn shutdown_begun(&self) -> impl Future<Output = usize> + Send + 'static {
        let mut shutdown = self.inner.shutdown.subscribe();
        async move {
            match shutdown.wait_for(Option::is_some).await {
                Ok(notified) => notified.unwrap_or(0),
                // The registry is gone, and its subscribers with it.
                Err(_dropped) => 0,
            }
        }
    }

    pub(crate) fn count(&self, refused: StatusCode) {
        self.inner.refusals.count(refused);
    }

    /// Tells whether a page of the origin that the headers name may open a WebSocket.
    pub(crate) fn may_connect(&self, headers: &HeaderMap) -> bool {
        self.inner.options.origins().check(headers).is_ok()
    }

    pub(super) fn refusals(&self) -> Arc<Refusals> {
        self.inner.refusals.clone()
    }

    /// Counts a subscriber among those of its kind.
    pub(super) fn guard(&self, kind: ConnectionKind) -> KindGuard {
        KindGuard::new(kind, self.inner.kinds.clone())
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
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
