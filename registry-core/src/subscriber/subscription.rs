//! The handle of one subscriber.

use super::seat::{Registrar, Seat};
use crate::contain::in_drop;
use crate::types::close::CloseReason;
use crate::types::id::SubscriptionId;
use std::fmt;
use std::sync::{Arc, Weak};

/// The handle of one subscriber: dropping it unsubscribes.
///
/// After [`unsubscribe`](Subscription::unsubscribe) or the drop returned, no send begins, not even
/// from a broadcast in progress (SUB-3), and the sink's `close` is not called (SUB-4). The handle
/// may outlive the registry, and leaking it is safe: the subscriber then lasts until it is ended or
/// the registry is dropped.
///
/// # Examples
/// ```
/// use registry_core::{Registration, SubscriberRegistry};
/// # use registry_core::{CloseReason, Message, SendOutcome, Sink};
/// # struct Screen;
/// # impl Sink<String> for Screen {
/// #     fn send(&self, _: &std::sync::Arc<Message<String>>) -> SendOutcome {
/// #         SendOutcome::Accepted
/// #     }
/// #     fn close(&self, _: CloseReason) {}
/// # }
/// let registry = SubscriberRegistry::<String>::new();
/// let subscription = registry.subscribe_with(Screen, Registration::new())?;
/// assert_eq!(registry.len(), 1);
/// subscription.unsubscribe();
/// assert_eq!(registry.len(), 0);
/// # Ok::<_, registry_core::SubscribeError>(())
/// ```
#[must_use = "dropping a subscription unsubscribes it"]
pub struct Subscription {
    id: SubscriptionId,
    seat: Arc<dyn Seat>,
    registry: Weak<dyn Registrar>,
}

impl Subscription {
    pub(crate) fn new(
        id: SubscriptionId,
        seat: Arc<dyn Seat>,
        registry: Weak<dyn Registrar>,
    ) -> Self {
        Self { id, seat, registry }
    }

    /// Returns the subscriber's id.
    #[must_use]
    pub fn id(&self) -> SubscriptionId {
        self.id
    }

    /// Ends the subscriber; its sink's `close` is not called. A second call, or a call after a
    /// forced end, does nothing (SUB-2).
    pub fn unsubscribe(&self) {
        self.end(CloseReason::Unsubscribed);
    }

    /// Ends the subscriber for `reason`, unless it has ended.
    pub(crate) fn end(&self, reason: CloseReason) {
        match self.registry.upgrade() {
            Some(registry) => registry.release(self.id, reason),
            None => {
                self.seat.end(reason);
                self.seat.notify();
            }
        }
    }

    /// Returns a handle that ends it and does not own it.
    pub(crate) fn close_handle(&self) -> CloseHandle {
        CloseHandle { id: self.id, registry: self.registry.clone() }
    }

    /// Notes that the outbox has a wire.
    pub(crate) fn wire_attached(&self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.wire_attached();
        }
    }

    /// Notes that the owner dropped the outbox.
    pub(crate) fn outbox_dropped(&self, wired: bool) {
        if let Some(registry) = self.registry.upgrade() {
            registry.outbox_dropped(wired);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        in_drop(|| self.unsubscribe());
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Ends the subscriber of an [`Outbox`](crate::Outbox) without owning it. A timer uses it, for
/// example, since an owner is not polled while its peer reads nothing.
///
/// It keeps neither the subscriber nor the registry alive, and does nothing after either has ended.
///
/// # Examples
/// ```
/// use registry_core::{
///     CloseReason, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
/// };
/// # use registry_core::{Encoded, WireFormat};
/// # static TEXT: WireFormat =
/// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
/// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
/// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
///
/// let outbox = registry.open_outbox(&TEXT, OutboxOptions::new(), Registration::new())?;
/// let handle = outbox.close_handle();
/// drop(outbox);
/// handle.close(CloseReason::Expired); // there is nothing to end
/// assert_eq!(registry.stats().ended.get(&CloseReason::Expired), None);
/// # Ok::<_, registry_core::SubscribeError>(())
/// ```
#[derive(Clone)]
pub struct CloseHandle {
    id: SubscriptionId,
    registry: Weak<dyn Registrar>,
}

impl CloseHandle {
    /// Ends the subscriber as [`Outbox::close`](crate::Outbox::close) does.
    pub fn close(&self, reason: CloseReason) {
        if let Some(registry) = self.registry.upgrade() {
            registry.release(self.id, reason);
        }
    }
}

impl fmt::Debug for CloseHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloseHandle").field("id", &self.id).finish_non_exhaustive()
    }
}
