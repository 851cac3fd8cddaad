//! The result of a broadcast, or of a directed message.

use super::id::MessageId;
use crate::sync::{AtomicUsize, Ordering};

/// A sink's answer to one message.
///
/// # Examples
/// ```
/// use registry_core::{CloseReason, Message, SendOutcome, Sink, SubscriberRegistry};
/// use std::sync::Arc;
///
/// /// Takes even numbers only.
/// struct Even;
///
/// impl Sink<u32> for Even {
///     fn send(&self, message: &Arc<Message<u32>>) -> SendOutcome {
///         if message.data() % 2 == 0 { SendOutcome::Accepted } else { SendOutcome::Dropped }
///     }
///     fn close(&self, _: CloseReason) {}
/// }
///
/// let registry = SubscriberRegistry::new();
/// let _subscription = registry.subscribe(Even, None, None)?;
/// assert_eq!(registry.broadcast("numbers", 2)?.accepted, 1);
/// assert_eq!(registry.broadcast("numbers", 3)?.dropped, 1);
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendOutcome {
    /// The sink accepted it.
    Accepted,
    /// The sink refused this one message; the subscriber stays.
    Dropped,
    /// The sink cannot keep up: the subscriber ends as [`Lagged`](crate::CloseReason::Lagged).
    Lagged,
    /// The peer has left: the subscriber is removed, and the sink's `close` is not called.
    Closed,
    /// The sink is broken: the subscriber ends as [`Failed`](crate::CloseReason::Failed) (ISO-5). A
    /// panic counts the same.
    Failed,
}

/// The result of one broadcast at the moment when the call returned (DEL-7).
///
/// `matched` is the sum of the other counts. A broadcast is `pending` for sinks when another
/// thread, or an outer call on this thread, was delivering to sinks: that delivery hands it over
/// after its own.
///
/// # Examples
/// ```
/// use registry_core::{ChannelFilter, Registration, SubscriberRegistry};
/// # use registry_core::{CloseReason, Message, SendOutcome, Sink};
/// # struct Screen;
/// # impl Sink<String> for Screen {
/// #     fn send(&self, _: &std::sync::Arc<Message<String>>) -> SendOutcome {
/// #         SendOutcome::Accepted
/// #     }
/// #     fn close(&self, _: CloseReason) {}
/// # }
///
/// let registry = SubscriberRegistry::<String>::new();
/// let runs = Registration::new().with_filter(ChannelFilter::only(["runs"]));
/// let _runs = registry.subscribe_with(Screen, runs)?;
/// let _all = registry.subscribe_with(Screen, Registration::new())?;
/// let report = registry.broadcast("jobs", "queued".into())?;
/// assert_eq!((report.matched, report.accepted), (1, 1));
/// let sum = report.accepted + report.dropped + report.lagged + report.failed + report.ended;
/// assert_eq!(report.matched, sum + report.pending);
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The message's id.
    pub id: MessageId,
    /// Subscribers that it was for: whose filter let a broadcast pass, or to whom a directed
    /// message was addressed.
    pub matched: usize,
    /// Handed over to a sink, to an outbox, or to the log of the [flusher](crate::Flusher) that
    /// serves it.
    pub accepted: usize,
    /// Not handed over: dropped by the subscriber's policy, or at the bound of a log of sinks or of
    /// a flusher.
    pub dropped: usize,
    /// Ended as lagged by this broadcast.
    pub lagged: usize,
    /// Ended as failed by this broadcast: the sink failed or panicked.
    pub failed: usize,
    /// Subscribers that ended for another reason before the broadcast was handed to them.
    pub ended: usize,
    /// Left to the thread that is delivering at the moment.
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
        // A delivering thread may still be counting; each count is read once, so that the sum below
        // holds.
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let (accepted, dropped, lagged) =
            (read(&self.accepted), read(&self.dropped), read(&self.lagged));
        let (failed, ended) = (read(&self.failed), read(&self.ended));
        let pending = matched - (accepted + dropped + lagged + failed + ended).min(matched);
        Report { id, matched, accepted, dropped, lagged, failed, ended, pending }
    }
}
