//! The registry's hold on one subscriber, and the calls that a subscriber makes to its registry.
//!
//! Both are traits: a subscriber and its lane do not depend on the registry's payload type, and the
//! registry does not depend on the kind of a subscriber.

use crate::types::close::CloseReason;
use crate::types::id::{Key, SubscriptionId};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

/// Decides, atomically and per subscriber, whether the subscriber has ended.
pub(crate) trait Seat: Send + Sync {
    /// Ends the subscriber: no send begins afterwards. Runs no application code. Returns true if
    /// this call is the one that ended it; the caller must then [`notify`](Seat::notify) it.
    fn end(&self, reason: CloseReason) -> bool;

    /// Runs the application code that reacts to the end, at most once. The caller holds no lock.
    fn notify(&self);

    /// Notes that the lane appends no more frames to this seat, so a draining end can complete. The
    /// caller wakes the returned waker.
    fn complete(&self) -> Option<Waker> {
        None
    }

    /// Reads how the subscriber is doing.
    fn describe(&self) -> Status;
}

/// How a subscriber is doing.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) label: &'static str,
    pub(crate) queued_messages: usize,
    pub(crate) queued_bytes: usize,
    /// Messages that were lost to it so far.
    pub(crate) lost: u64,
    pub(crate) last_write: Option<Instant>,
    pub(crate) wired: bool,
}

/// A subscriber that its lane ended, or found ended. The registry still has to remove it from its
/// table.
pub(crate) struct Ended {
    pub(crate) key: Key,
    pub(crate) seat: Arc<dyn Seat>,
    pub(crate) reason: CloseReason,
    /// This is the subscriber's first end.
    pub(crate) first: bool,
}

/// The calls that a subscriber's handle, its outbox and its lane make to their registry.
pub(crate) trait Registrar: Send + Sync {
    /// Removes a subscriber from the table and notifies it, at the request of its handle.
    fn release(&self, id: SubscriptionId, reason: CloseReason);

    /// Removes a subscriber that its lane ended from the table, and notifies it.
    fn remove(&self, ended: Ended);

    /// Notes that the flusher of a lane was dropped.
    fn lane_closed(&self, lane: usize);

    /// Notes that an owner attached a wire.
    fn wire_attached(&self);

    /// Ends a watch, by its number.
    fn unwatch(&self, watch: u64);

    /// Notes that an owner dropped its outbox, with a wire attached or without.
    fn outbox_dropped(&self, wired: bool);
}
