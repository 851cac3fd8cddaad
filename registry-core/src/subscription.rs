//! What a subscriber asks for, and the guard that it gets.

use crate::channel::ChannelFilter;
use crate::close::CloseReason;
use crate::contain::in_drop;
use crate::identity::Identity;
use crate::lane::Key;
use crate::sink::Seat;
use std::fmt;
use std::sync::{Arc, Weak};

/// What a new subscriber hears and holds.
///
/// # Examples
/// ```
/// use registry_core::{ChannelFilter, Identity, Registration};
///
/// let registration = Registration::new()
///     .filter(ChannelFilter::only(["runs", "jobs"]))
///     .scope(Identity::new("session", "s-17"))
///     .group(Identity::new("account", "ada"));
/// assert!(registration.identities().any(|identity| identity.value() == "ada"));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Registration {
    pub(crate) filter: ChannelFilter,
    pub(crate) scope: Option<Identity>,
    pub(crate) groups: Vec<Identity>,
}

impl Registration {
    /// Creates a registration that hears every channel and holds no identity.
    pub fn new() -> Self {
        Self { filter: ChannelFilter::All, scope: None, groups: Vec::new() }
    }

    /// Sets which channels it hears.
    pub fn filter(mut self, filter: ChannelFilter) -> Self {
        self.filter = filter;
        self
    }

    /// Sets the identity that a [`ScopeCap`](crate::ScopeCap) counts: usually the session.
    pub fn scope(mut self, scope: Identity) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Adds an identity that is never capped: an account, a tenant, a role.
    pub fn group(mut self, group: Identity) -> Self {
        self.groups.push(group);
        self
    }

    /// Adds several groups.
    pub fn groups(mut self, groups: impl IntoIterator<Item = Identity>) -> Self {
        self.groups.extend(groups);
        self
    }

    /// Returns which channels it hears.
    #[must_use]
    pub fn hears(&self) -> &ChannelFilter {
        &self.filter
    }

    /// Returns every identity it holds: the scope, then the groups.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.scope.iter().chain(&self.groups)
    }
}

impl Default for Registration {
    fn default() -> Self {
        Self::new()
    }
}

/// Names one subscriber of one registry, for ever: a later subscriber never has an earlier one's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscriptionId {
    pub(crate) key: Key,
    pub(crate) serial: u64,
}

impl SubscriptionId {
    /// Returns the subscriber's number: subscribers of one registry are numbered from 1 in the order they came.
    #[must_use]
    pub fn serial(self) -> u64 {
        self.serial
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubscriptionId({})", self.serial)
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serial.fmt(f)
    }
}

/// What a guard asks of its registry, whatever the registry's payload is.
pub(crate) trait Release: Send + Sync {
    /// Takes the subscriber out of the table and does what follows from its end.
    fn release(&self, id: SubscriptionId, reason: CloseReason);

    /// An owner attached a wire.
    fn wired(&self);

    /// An owner dropped its outbox, which had a wire or not.
    fn let_go(&self, wired: bool);
}

/// The guard of one subscriber: dropping it unsubscribes.
///
/// After [`unsubscribe`](Subscription::unsubscribe) or the drop returned, no send begins, also not from a broadcast in
/// progress (SUB-3), and the sink's `close` is not called (SUB-4). It may outlive the registry, and leaking it is safe: the
/// subscriber then lasts until it is ended or the registry goes.
#[must_use = "dropping a subscription unsubscribes it"]
pub struct Subscription {
    id: SubscriptionId,
    seat: Arc<dyn Seat>,
    registry: Weak<dyn Release>,
}

impl Subscription {
    pub(crate) fn new(id: SubscriptionId, seat: Arc<dyn Seat>, registry: Weak<dyn Release>) -> Self {
        Self { id, seat, registry }
    }

    /// Returns the subscriber's id.
    #[must_use]
    pub fn id(&self) -> SubscriptionId {
        self.id
    }

    /// Ends the subscriber without telling its sink. Calling it again, or after a forced end, does nothing (SUB-2).
    pub fn unsubscribe(&self) {
        self.end(CloseReason::Unsubscribed);
    }

    /// Ends the subscriber for `reason`, unless it has ended.
    pub(crate) fn end(&self, reason: CloseReason) {
        match self.registry.upgrade() {
            Some(registry) => registry.release(self.id, reason),
            None => {
                self.seat.end(reason);
                self.seat.tell();
            }
        }
    }

    /// Returns what ends it from elsewhere.
    pub(crate) fn ender(&self) -> Ender {
        Ender { id: self.id, registry: self.registry.clone() }
    }

    /// Says that the outbox has a wire.
    pub(crate) fn wired(&self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.wired();
        }
    }

    /// Says that the owner of the outbox is gone.
    pub(crate) fn let_go(&self, wired: bool) {
        if let Some(registry) = self.registry.upgrade() {
            registry.let_go(wired);
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

/// Ends the subscriber of an [`Outbox`](crate::Outbox) from elsewhere than its owner: a timer, for an owner that is not
/// polled while its peer reads nothing.
///
/// It keeps neither the subscriber nor the registry alive, and does nothing once either has gone.
#[derive(Clone)]
pub struct Ender {
    id: SubscriptionId,
    registry: Weak<dyn Release>,
}

impl Ender {
    /// Ends the subscriber as [`Outbox::end`](crate::Outbox::end) does.
    pub fn end(&self, reason: CloseReason) {
        if let Some(registry) = self.registry.upgrade() {
            registry.release(self.id, reason);
        }
    }
}

impl fmt::Debug for Ender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ender").field("id", &self.id).finish_non_exhaustive()
    }
}
