//! The registry's hold on one subscriber, and what the parts of a subscriber ask of their registry.
//!
//! Both are traits, so that a subscriber and its lane know nothing of the registry's payload type,
//! and the registry nothing of what stands behind a seat.

use crate::types::close::CloseReason;
use crate::types::id::{Key, SubscriptionId};
use std::sync::Arc;
use std::task::Waker;

/// Decides, atomically and per subscriber, whether the subscriber has ended.
pub(crate) trait Seat: Send + Sync {
    /// Ends the subscriber: no send begins afterwards. Runs no foreign code. True when this call is
    /// the one that ended it; the caller then owes it a [`notify`](Seat::notify).
    fn end(&self, reason: CloseReason) -> bool;

    /// Runs the foreign code that an end calls for, at most once. The caller holds no lock.
    fn notify(&self);

    /// Notes that its lane brings nothing more, so that a draining end can be complete; the caller
    /// wakes.
    fn complete(&self) -> Option<Waker> {
        None
    }
}

/// A subscriber that a lane found at its end. The registry still has to take it out of its table.
pub(crate) struct Ended {
    pub(crate) key: Key,
    pub(crate) seat: Arc<dyn Seat>,
    pub(crate) reason: CloseReason,
    /// It had not ended for another reason before.
    pub(crate) first: bool,
}

/// What a subscriber's handle, its outbox and its lane ask of their registry.
pub(crate) trait Registrar: Send + Sync {
    /// Takes a subscriber out of the table and notifies it, at the request of its handle.
    fn release(&self, id: SubscriptionId, reason: CloseReason);

    /// Takes a subscriber that a lane found at its end out of the table, and notifies it.
    fn remove(&self, ended: Ended);

    /// Notes that the flusher of a lane is gone.
    fn lane_closed(&self, lane: usize);

    /// Notes that an owner attached a wire.
    fn wire_attached(&self);

    /// Notes that an owner dropped its outbox, with a wire attached or without.
    fn outbox_dropped(&self, wired: bool);
}
