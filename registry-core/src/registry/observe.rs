//! The statistics of a registry.

use super::SubscriberRegistry;
use crate::sync::Ordering;
use crate::types::close::CloseReason;
use crate::types::stats::{ChannelCount, Stats};

impl<T: Send + Sync + 'static> SubscriberRegistry<T> {
    /// Returns the number of active subscribers.
    ///
    /// # Examples
    /// ```
    /// use registry_core::SubscriberRegistry;
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
    /// let subscription = registry.subscribe(Screen, None, None)?;
    /// assert_eq!((registry.len(), registry.is_empty()), (1, false));
    /// drop(subscription);
    /// assert!(registry.is_empty());
    /// # Ok::<_, registry_core::SubscribeError>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.state.lock().table.active
    }

    /// Tells whether there is no active subscriber.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the counts of the registry. The cost does not grow with the number of subscribers or
    /// channels; the call waits for outboxes that are just being filled.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let inner = &*self.inner;
        let (mut stats, lanes) = {
            let state = inner.state.lock();
            (state.table.stats(), state.lanes.clone())
        };
        for reason in CloseReason::ALL {
            let count = inner.ended[reason as usize].load(Ordering::Relaxed);
            if count > 0 {
                stats.ended.insert(reason, count);
            }
        }
        stats.wired = inner.owners.wired();
        stats.dropped = inner.outboxes.dropped() + inner.sinks.dropped();
        stats.visits += inner.outboxes.visits() + inner.sinks.visits().unwrap_or(0);
        for log in lanes {
            stats.lane_writes += log.counts.writes.load(Ordering::Relaxed);
            stats.lane_messages += log.counts.messages.load(Ordering::Relaxed);
            stats.dropped += log.counts.dropped.load(Ordering::Relaxed);
            stats.visits += log.counts.visits.load(Ordering::Relaxed);
        }
        stats
    }

    /// Counts the subscribers of the channels that subscribers name, in the byte order of the
    /// names: at most `limit` channels, from the first after `after` on, or from the first of all.
    ///
    /// The names are shared and not copied. The registry is locked for one page, so `limit` should
    /// be some hundreds; between two pages channels may be added and removed.
    ///
    /// # Examples
    /// ```
    /// # use registry_core::{
    /// #     ChannelFilter, CloseReason, Message, Registration, SendOutcome, Sink,
    /// #     SubscriberRegistry,
    /// # };
    /// # struct Screen;
    /// # impl Sink<String> for Screen {
    /// #     fn send(&self, _: &std::sync::Arc<Message<String>>) -> SendOutcome {
    /// #         SendOutcome::Accepted
    /// #     }
    /// #     fn close(&self, _: CloseReason) {}
    /// # }
    /// let registry = SubscriberRegistry::<String>::new();
    /// let registration = Registration::new().with_filter(ChannelFilter::only(["jobs", "runs"]));
    /// let _subscription = registry.subscribe_with(Screen, registration)?;
    ///
    /// let first = registry.channels(None, 1);
    /// assert_eq!((first[0].channel.as_str(), first[0].subscribers), ("jobs", 1));
    /// let next = registry.channels(Some("jobs"), 100);
    /// assert_eq!((next.len(), next[0].channel.as_str()), (1, "runs"));
    /// # Ok::<_, registry_core::SubscribeError>(())
    /// ```
    #[must_use]
    pub fn channels(&self, after: Option<&str>, limit: usize) -> Vec<ChannelCount> {
        self.inner.state.lock().table.channels.page(after, limit)
    }
}
