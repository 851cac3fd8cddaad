//! The counts of the admissions to a `Live`.

use crate::socket::kind::ConnectionKind;
use axum::http::StatusCode;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The outcomes of the requests of one [`Live`](crate::Live), read at one moment.
///
/// # Examples
/// ```
/// use transport_core::{ConnectionKind, Live};
///
/// let stats = Live::<String>::new().admission_stats();
/// assert!(stats.refusals.is_empty());
/// assert_eq!(stats.kinds.len(), 4, "all kinds are listed");
/// assert_eq!(stats.kinds[&ConnectionKind::Direct], 0);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct AdmissionStats {
    /// Refused requests, by status: those that an [`Entry`](crate::Entry) refused, and those that
    /// were answered softly, the application's own among them, under the status that the event
    /// stream stands for.
    ///
    /// On a server of several registries a soft answer that no `Entry` gave counts at the first.
    pub refusals: BTreeMap<u16, u64>,
    /// Subscribers that are being served, by the way that their bytes go. All four kinds are
    /// listed.
    pub kinds: BTreeMap<ConnectionKind, usize>,
}

/// How many requests were refused, by status.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<u16, u64>>);

impl Refusals {
    pub(super) fn count(&self, refused: StatusCode) {
        *self.lock().entry(refused.as_u16()).or_default() += 1;
    }

    pub(super) fn snapshot(&self) -> BTreeMap<u16, u64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u16, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
