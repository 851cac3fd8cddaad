//! The registry of an application's live connections.

use super::options::LiveOptions;
use super::refusal::Refusal;
use super::stats::AdmissionStats;
use crate::socket::kind::{ConnectionKind, KindCounts, KindGuard};
use registry_core::SubscriberRegistry;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

    fn refusals(&self) -> MutexGuard<'_, BTreeMap<u16, u64>> {
        self.inner.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, refusal: &Refusal) {
        *self.refusals().entry(refusal.status().as_u16()).or_default() += 1;
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
