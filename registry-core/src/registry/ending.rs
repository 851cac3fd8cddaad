//! How subscribers leave the registry.
//!
//! Every end has two halves. Under the registry's lock, the subscribers are removed from the table
//! and their seats are ended, so that no send begins any more. Without the lock, they are notified:
//! application code runs.

use super::channels::LaneId;
use super::table::Removed;
use super::{Inner, State, SubscriberRegistry};
use crate::contain::{discard, wake_all};
use crate::lane::log::Entry;
use crate::subscriber::gate::Gate;
use crate::subscriber::notify::{EVICTION_DEPTH, REVOCATION_DEPTH, notify_all};
use crate::subscriber::seat::{Ended, Registrar, Seat};
use crate::sync::Ordering;
use crate::types::close::{CloseReason, Revocation};
use crate::types::id::SubscriptionId;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

impl<T: Send + Sync + 'static> SubscriberRegistry<T> {
    /// Ends one subscriber at once; true if this call ended it (DIR-6).
    ///
    /// To it, this is a [revocation](Self::close_by_identity_as): when the call returns, it has
    /// ended and was notified, no send begins on it any more, and its queue is discarded, also if
    /// it drains. To everybody else it is none: others that hold its identities stay, and an
    /// admission that is under way is not refused. An id that names no subscriber, or no more, ends
    /// nothing.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{CloseReason, OutboxOptions, Registration, Revocation};
    /// use registry_core::SubscriberRegistry;
    ///
    /// let registry = SubscriberRegistry::<String>::new();
    /// let hers = || Registration::new().with_group(("account", "ada"));
    /// let tab = registry.stream(hers(), OutboxOptions::new())?;
    /// let _other_tab = registry.stream(hers(), OutboxOptions::new())?;
    /// let id = tab.subscription().id();
    /// assert!(registry.close(id, Revocation::LoggedOut));
    /// assert!(!registry.close(id, Revocation::LoggedOut), "it has ended");
    /// assert_eq!(registry.stats().ended, [(CloseReason::LoggedOut, 1)].into());
    /// assert_eq!(registry.len(), 1);
    /// # Ok::<_, registry_core::SubscribeError>(())
    /// ```
    pub fn close(&self, subscriber: SubscriptionId, revocation: Revocation) -> bool {
        let inner = &*self.inner;
        let ending = {
            let mut state = inner.state.lock();
            let removed = state.table.revoke_one(subscriber);
            inner.shut(&mut state, removed, revocation.into())
        };
        inner.finish(ending, REVOCATION_DEPTH) > 0
    }

    /// Refuses new subscribers from now on and ends all as [`Shutdown`](CloseReason::Shutdown);
    /// returns how many.
    ///
    /// Outboxes keep what they hold, for their owners to flush. Until an owner drops its outbox,
    /// the subscriber can still be revoked, which discards its queue but counts it no second time.
    /// This call sets no deadline: the owner of the sockets does, as `transport-core`'s `Server`
    /// when it is stopped.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     CloseReason, Next, OutboxOptions, Registration, RegistryOptions, SubscribeError,
    ///     SubscriberRegistry,
    /// };
    /// use std::task::{Context, Poll, Waker};
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let mut outbox = registry.open_outbox(&TEXT, OutboxOptions::new(), Registration::new())?;
    /// registry.broadcast("runs", 1)?;
    /// assert_eq!(registry.begin_shutdown(), 1);
    /// let refused = registry.open_outbox(&TEXT, OutboxOptions::new(), Registration::new());
    /// assert_eq!(refused.unwrap_err(), SubscribeError::ShuttingDown);
    ///
    /// let mut cx = Context::from_waker(Waker::noop());
    /// let next = outbox.poll_next(&mut cx, 65_536);
    /// assert!(matches!(next, Poll::Ready(Next::Frames(batch)) if batch.frames == ["1"]));
    /// let next = outbox.poll_next(&mut cx, 65_536);
    /// assert_eq!(next, Poll::Ready(Next::Closed(CloseReason::Shutdown)));
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn begin_shutdown(&self) -> usize {
        let inner = &*self.inner;
        let ending = {
            let mut state = inner.state.lock();
            let removed = state.table.shut_down();
            let mut ending = inner.shut(&mut state, removed, CloseReason::Shutdown);
            ending.wakers.extend(state.lanes.iter().flat_map(|log| log.close()));
            ending
        };
        let ended = inner.finish(ending, REVOCATION_DEPTH);
        inner.wake_if_drained();
        ended
    }
}

/// Subscribers whose seats are ended and which have yet to be notified.
#[derive(Default)]
pub(super) struct Ending {
    /// How many of them this call ended.
    pub(super) ended: usize,
    /// Outboxes first: the end of an outbox only wakes its owner and arms timers, while a sink's
    /// close may take long, and a socket's deadline must not wait for it (REV-11).
    pending: VecDeque<Arc<dyn Seat>>,
    /// Flushers that have something to do now, publishers that wait for a flusher that was dropped,
    /// and consumers of watches.
    pub(super) wakers: Vec<Waker>,
    /// Gates that a log removed when it was compacted.
    obsolete: Vec<Arc<Gate>>,
}

impl<T: Send + Sync + 'static> Inner<T> {
    /// Ends subscribers that were just removed from the table: appends their leaves to the lanes'
    /// logs, ends their seats, and takes the wakers of watches. The caller still holds the
    /// registry's lock, and must then pass the result to [`finish`](Self::finish).
    pub(super) fn shut(
        &self,
        state: &mut State<T>,
        removed: impl IntoIterator<Item = Removed>,
        reason: CloseReason,
    ) -> Ending {
        let mut ending = Ending::default();
        for removed in removed {
            match removed.lane {
                _ if removed.was_draining => {}
                LaneId::Outboxes => self.outboxes.append(Entry::Leave(removed.key)),
                LaneId::Sinks => self.sinks.leave(removed.key),
                LaneId::Flusher(lane) => ending.wakers.extend(if reason.discards() {
                    state.lanes[lane].leave(removed.key, &mut ending.obsolete)
                } else {
                    state.lanes[lane].drain(removed.key, removed.seat.clone())
                }),
            }
            ending.ended += usize::from(removed.seat.end(reason));
            // Also if another call has just ended it and has not notified it yet (REV-1).
            if removed.lane == LaneId::Sinks {
                ending.pending.push_back(removed.seat);
            } else {
                ending.pending.push_front(removed.seat);
            }
        }
        self.count_ended(reason, ending.ended);
        state.table.watchers.hand_over(&mut ending.wakers);
        ending
    }

    /// Notifies the subscribers of an ending, without locks. Returns how many it ended.
    pub(super) fn finish(&self, ending: Ending, depth: usize) -> usize {
        wake_all(ending.wakers);
        ending.obsolete.into_iter().for_each(discard);
        notify_all(self.address(), ending.pending, depth);
        self.tidy();
        ending.ended
    }

    fn count_ended(&self, reason: CloseReason, count: usize) {
        self.ended[reason as usize].fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Lets the lanes apply joins and leaves. Delivers nothing to sinks: a revocation never waits
    /// for one (PRG-1).
    fn tidy(&self) {
        self.sinks.tidy();
        self.outboxes.settle(false, |ended| self.remove(ended));
    }

    /// Identifies this registry among the calls on a thread's stack.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Ends every subscriber at the end of the registry's life.
    pub(super) fn end_all(&self) {
        let ending = {
            let mut state = self.state.lock();
            let removed = state.table.take_everyone();
            let mut ending = self.shut(&mut state, removed, CloseReason::Shutdown);
            ending.wakers.extend(state.lanes.iter().flat_map(|log| log.close()));
            state.table.watchers.close();
            state.table.watchers.hand_over(&mut ending.wakers);
            ending
        };
        self.finish(ending, REVOCATION_DEPTH);
        self.owners.wake_all();
    }
}

impl<T: Send + Sync + 'static> Registrar for Inner<T> {
    fn release(&self, id: SubscriptionId, reason: CloseReason) {
        let ending = {
            let mut state = self.state.lock();
            let removed =
                if reason.discards() { state.table.take(id) } else { state.table.let_drain(id) };
            self.shut(&mut state, removed, reason)
        };
        self.finish(ending, REVOCATION_DEPTH);
    }

    /// Does not tidy the log: the calling lane reads its log again. Tidying here would recurse once
    /// for each subscriber that lags.
    fn remove(&self, ended: Ended) {
        let ending = {
            let mut state = self.state.lock();
            let removed = state.table.take_seat(ended.key, &ended.seat);
            self.shut(&mut state, removed, ended.reason)
        };
        ending.pending.into_iter().for_each(discard); // it is `ended.seat`
        wake_all(ending.wakers);
        ending.obsolete.into_iter().for_each(discard);
        self.count_ended(ended.reason, usize::from(ended.first));
        notify_all(self.address(), [ended.seat].into(), EVICTION_DEPTH);
    }

    fn lane_closed(&self, lane: usize) {
        let ending = {
            let mut state = self.state.lock();
            let wakers = state.lanes[lane].close();
            let removed = state.table.close_lane(lane);
            let mut ending = self.shut(&mut state, removed, CloseReason::Failed);
            ending.wakers.extend(wakers);
            ending
        };
        self.finish(ending, REVOCATION_DEPTH);
    }

    fn wire_attached(&self) {
        self.owners.add_wire();
    }

    fn unwatch(&self, watch: u64) {
        self.state.lock().table.watchers.remove(watch);
    }

    fn outbox_dropped(&self, wired: bool) {
        if self.owners.remove(wired) {
            self.wake_if_drained();
        }
    }
}
