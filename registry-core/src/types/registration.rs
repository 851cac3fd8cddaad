//! The registration of a subscriber.

use super::channel::ChannelFilter;
use super::identity::Identity;

/// The channels that a new subscriber hears, and the identities that it holds.
///
/// # Examples
/// ```
/// use registry_core::{ChannelFilter, Identity, Registration};
///
/// let registration = Registration::new()
///     .with_filter(ChannelFilter::only(["runs", "jobs"]))
///     .with_scope(Identity::new("session", "s-17"))
///     .with_group(Identity::new("account", "ada"));
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
    pub fn with_filter(mut self, filter: ChannelFilter) -> Self {
        self.filter = filter;
        self
    }

    /// Sets the identity that a [`ScopeCap`](crate::ScopeCap) counts: usually the session.
    pub fn with_scope(mut self, scope: impl Into<Identity>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Adds an identity that is never capped: an account, a tenant, a role.
    pub fn with_group(mut self, group: impl Into<Identity>) -> Self {
        self.groups.push(group.into());
        self
    }

    /// Adds several groups.
    pub fn with_groups(mut self, groups: impl IntoIterator<Item = Identity>) -> Self {
        self.groups.extend(groups);
        self
    }

    /// Returns which channels it hears.
    #[must_use]
    pub fn filter(&self) -> &ChannelFilter {
        &self.filter
    }

    /// Returns the identity that a cap counts.
    #[must_use]
    pub fn scope(&self) -> Option<&Identity> {
        self.scope.as_ref()
    }

    /// Returns the identities that are never capped.
    #[must_use]
    pub fn groups(&self) -> &[Identity] {
        &self.groups
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
