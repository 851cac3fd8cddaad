//! What a broadcast tells its caller, and what a registry tells about itself.

use crate::channel::Channel;
use crate::close::CloseReason;
use crate::message::MessageId;
use crate::sink::SendOutcome;
use crate::sync::{AtomicUsize, Ordering};
use std::collections::BTreeMap;

/// What became of one broadcast by the time the call returned (DEL-7).
///
/// `matched` is the sum of the other counts. Nothing is `pending` unless a foreign sink was busy: when another thread
/// (or an outer call of this one) is delivering to foreign sinks, it delivers this broadcast too, after its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The broadcast's id.
    pub id: MessageId,
    /// Subscribers whose filter let it pass.
    pub matched: usize,
    /// Handed over: to a sink, an outbox, or the log of the [flusher](crate::Flusher) that serves it.
    pub accepted: usize,
    /// Not handed over: the subscriber's policy, or the bound of the log of foreign sinks or of a flusher, dropped it.
    pub dropped: usize,
    /// Ended as lagged by this broadcast.
    pub lagged: usize,
    /// Failed or panicked, and ended.
    pub failed: usize,
    /// Ended for another reason before their turn came.
    pub ended: usize,
    /// Left for the thread that is delivering at the moment.
    pub pending: usize,
}

/// Counts the hand-overs of one broadcast while they happen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    accepted: AtomicUsize,
    dropped: AtomicUsize,
    lagged: AtomicUsize,
    failed: AtomicUsize,
    ended: AtomicUsize,
}

impl Tally {
    pub(crate) fn count(&self, outcome: SendOutcome) {
        match outcome {
            SendOutcome::Accepted => self.add_accepted(1),
            SendOutcome::Dropped => self.add_dropped(1),
            SendOutcome::Lagged => Self::add(&self.lagged, 1),
            SendOutcome::Failed => Self::add(&self.failed, 1),
            SendOutcome::Closed => Self::add(&self.ended, 1),
        }
    }

    pub(crate) fn add_accepted(&self, n: usize) {
        Self::add(&self.accepted, n);
    }

    pub(crate) fn add_dropped(&self, n: usize) {
        Self::add(&self.dropped, n);
    }

    fn add(count: &AtomicUsize, n: usize) {
        count.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn report(&self, id: MessageId, matched: usize) -> Report {
        // A delivering thread may still be counting; each count is read once, so that the sum below holds.
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let (accepted, dropped, lagged) = (read(&self.accepted), read(&self.dropped), read(&self.lagged));
        let (failed, ended) = (read(&self.failed), read(&self.ended));
        let pending = matched - (accepted + dropped + lagged + failed + ended).min(matched);
        Report { id, matched, accepted, dropped, lagged, failed, ended, pending }
    }
}

/// What a registry holds and has done, read at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Active subscribers.
    pub subscribers: usize,
    /// Subscribers that were told of a shutdown and still flush.
    pub draining: usize,
    /// Active subscribers by the name of their wire format; `"sink"` for foreign sinks.
    pub formats: BTreeMap<&'static str, usize>,
    /// Channels that at least one active subscriber names.
    pub channels_named: usize,
    /// Active subscribers that hear every channel.
    pub unfiltered: usize,
    /// Active subscribers that a [flusher](crate::Flusher) serves.
    pub in_lanes: usize,
    /// Outboxes whose owner has [attached a wire](crate::Outbox::attach) and not let go.
    pub wired: usize,
    /// Writes that flushers made, the owners' not among them.
    pub lane_writes: u64,
    /// Messages in these writes: more than one each when they come faster than they are written.
    pub lane_messages: u64,
    /// Ended subscribers, by reason.
    pub ended: BTreeMap<CloseReason, u64>,
    /// Broadcasts so far.
    pub broadcasts: u64,
    /// Messages that a policy or a bound dropped.
    pub dropped: u64,
    /// Open tickets.
    pub tickets: usize,
    /// Past revocations that open tickets still have to be compared with.
    pub remembered_revocations: usize,
    /// Steps that the registry's indexes took so far, in subscribers touched: what an operation costs, without a clock.
    pub visits: u64,
}

/// A channel that subscribers name, and how many do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelCount {
    /// Its name.
    pub channel: Channel,
    /// Active subscribers that name it; those that hear every channel are not among them.
    pub subscribers: usize,
}
