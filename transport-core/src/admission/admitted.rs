//! A subscriber that was admitted, as its transport gets it.

use super::channels::Ungranted;
use super::grant::Grant;
use crate::socket::cut::Deadlines;
use crate::socket::kind::{ConnectionKind, KindCounts, KindGuard};
use registry_core::Outbox;
use std::sync::Arc;
use tokio::time::Instant;

/// A subscriber that was admitted: active already, before its peer sees `200` or `101`.
///
/// The transport adds [what is not granted](Ungranted::insert_headers) to its answer.
///
/// # Examples
/// ```
/// use registry_core::{ChannelFilter, OutboxOptions, WireFormat};
/// use transport_core::{Admitted, ConnectionKind, Grant, Live};
///
/// static LINES: WireFormat = WireFormat::new("lines", |_, encoded, out| {
///     out.extend_from_slice(encoded.body());
///     out.extend_from_slice(b"\n");
/// });
///
/// let live = Live::<String>::new();
/// let grant = Grant::new(ChannelFilter::All);
/// let outbox = live.open_outbox(&LINES, OutboxOptions::new(), grant.registration().clone())?;
/// let admitted = Admitted::new(outbox, grant.into());
/// assert_eq!(admitted.kind.kind(), ConnectionKind::Portable);
/// # Ok::<_, registry_core::SubscribeError>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it unsubscribes"]
#[non_exhaustive]
pub struct Admitted {
    /// Its queue; dropping it unsubscribes.
    pub outbox: Outbox,
    /// Its grant.
    pub grant: Arc<Grant>,
    /// The channels that it asked for and is not granted.
    pub ungranted: Ungranted,
    /// When its authority ends.
    pub expires: Option<Instant>,
    /// Which way its bytes go. The task or body that serves the subscriber holds this, because it
    /// counts the subscriber.
    pub kind: KindGuard,
    /// How long its peer may take to leave after the end.
    pub deadlines: Deadlines,
}

impl Admitted {
    /// Wraps a subscriber that [`Live::admit`](crate::Live::admit) did not admit: all that it asked
    /// for is granted, its authority has no end, and its connection is
    /// [portable](ConnectionKind::Portable).
    pub fn new(outbox: Outbox, grant: Arc<Grant>) -> Self {
        Self {
            outbox,
            grant,
            ungranted: Ungranted::default(),
            expires: None,
            kind: KindGuard::new(ConnectionKind::Portable, Arc::new(KindCounts::default())),
            deadlines: Deadlines::default(),
        }
    }
}
