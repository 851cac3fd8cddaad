//! Who is there: the holders of an identity, pages of the subscribers, and watches.

use super::SubscriberRegistry;
use super::table::page::{Page, Row};
use super::watchers::{EventQueue, Watch};
use crate::contain::discard;
use crate::subscriber::seat::{Registrar, Status};
use crate::types::channel::ChannelFilter;
use crate::types::id::SubscriptionId;
use crate::types::identity::Identity;
use crate::types::info::SubscriberInfo;
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};
use std::time::Instant;

impl<T: Send + Sync + 'static> SubscriberRegistry<T> {
    /// Returns how many active subscribers hold the identity, as scope or as group (WHO-1). One
    /// that drains is not among them. The cost does not grow with their number.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{OutboxOptions, Registration, SubscriberRegistry};
    ///
    /// let registry = SubscriberRegistry::<u32>::new();
    /// let hers = Registration::new().with_scope(("session", "17")).with_group(("account", "ada"));
    /// let tab = registry.stream(hers, OutboxOptions::new())?;
    /// assert_eq!(registry.holders(("account", "ada")), 1);
    /// drop(tab);
    /// assert_eq!(registry.holders(("account", "ada")), 0);
    /// # Ok::<_, registry_core::SubscribeError>(())
    /// ```
    pub fn holders(&self, identity: impl Into<Identity>) -> usize {
        let identity = identity.into();
        self.inner.state.lock().table.active_holders(&identity)
    }

    /// Lists active subscribers: at most `limit`, from the first after `after` on, or from the
    /// first of all (WHO-2). A page with fewer is the last.
    ///
    /// A subscriber that stays is neither repeated nor skipped while others come and go. One that
    /// comes while the pages are read may be in them or not. `after` may have ended; after a
    /// subscriber of another registry, the first page is returned. The order has no meaning.
    ///
    /// The registry's lock is held for some ten microseconds at a time, whatever the limit is and
    /// however many subscribers have left; each queue is looked at under its own lock afterwards.
    /// So a page is not a picture of one moment.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{OutboxOptions, Registration, Revocation, SubscriberRegistry};
    ///
    /// let registry = SubscriberRegistry::<u32>::new();
    /// let options = OutboxOptions::new().with_label("tab");
    /// let hers = || Registration::new().with_group(("account", "ada"));
    /// let _tabs = [registry.stream(hers(), options)?, registry.stream(hers(), options)?];
    /// registry.broadcast("runs", 42)?;
    ///
    /// let mut after = None;
    /// loop {
    ///     let page = registry.page(after, 100);
    ///     for subscriber in &page {
    ///         assert_eq!((subscriber.label, subscriber.queued_messages), ("tab", 1));
    ///         registry.close(subscriber.id, Revocation::Revoked);
    ///     }
    ///     if page.len() < 100 {
    ///         break;
    ///     }
    ///     after = page.last().map(|last| last.id);
    /// }
    /// assert!(registry.is_empty());
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[must_use]
    pub fn page(&self, after: Option<SubscriptionId>, limit: usize) -> Vec<SubscriberInfo> {
        let read_at = self.inner.options.clock.now();
        let mut page = {
            let state = self.inner.state.lock();
            Page::new(state.table.place_after(after), limit)
        };
        loop {
            let complete = self.inner.state.lock().table.visit(&mut page);
            page.left.drain(..).for_each(discard);
            if complete {
                return page.rows.into_iter().map(|row| info(row, read_at)).collect();
            }
        }
    }

    /// Watches which identities of one kind come and leave from now on (WHO-3). See
    /// [`Watch`].
    ///
    /// At most `capacity` events wait, and one count of those that were missed. To know who is
    /// there, begin to watch first, and then read the [pages](Self::page): an event of that time
    /// may repeat what a page shows, but nothing is overlooked.
    ///
    /// # Examples
    /// See [`Watch`].
    pub fn watch(&self, kind: &str, capacity: NonZeroUsize) -> Watch {
        let queue = Arc::new(EventQueue::new(capacity));
        let number = self.inner.state.lock().table.watchers.add(kind, queue.clone());
        let registry: Weak<dyn Registrar> = self.inner.this.clone();
        Watch::new(queue, number, registry)
    }
}

/// Completes a row by what the subscriber's seat tells.
fn info(row: Row, read_at: Instant) -> SubscriberInfo {
    let Row { id, since, format, seat, identities, channels, .. } = row;
    let Status { label, queued_messages, queued_bytes, lost, last_write, wired } = seat.describe();
    // The subscriber may have ended meanwhile, and this may be the last reference to its seat.
    discard(seat);
    let filter = match channels {
        None => ChannelFilter::All,
        Some(names) => ChannelFilter::Only(names.into_iter().collect()),
    };
    SubscriberInfo {
        id,
        since,
        read_at,
        identities,
        filter,
        format,
        label,
        queued_messages,
        queued_bytes,
        lost,
        last_write,
        wired,
    }
}
