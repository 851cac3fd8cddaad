//! The rights of a credential.

use registry_core::{Channel, ChannelFilter, Identity, Registration};
use std::time::SystemTime;

/// The rights of a credential: the channels that it may hear, the identities by which it can be
/// revoked, and until when.
///
/// # Examples
/// ```
/// use registry_core::{ChannelFilter, Identity};
/// use std::time::{Duration, SystemTime};
/// use transport_core::Grant;
///
/// let in_an_hour = SystemTime::now() + Duration::from_secs(60 * 60);
/// let grant = Grant::new(ChannelFilter::only(["runs"]))
///     .with_scope(Identity::new("session", "17"))
///     .with_group(Identity::new("account", "ada"))
///     .with_expires_at(in_an_hour);
/// assert_eq!(grant.registration().identities().count(), 2);
/// assert_eq!(grant.expires_at(), Some(in_an_hour));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Grant {
    registration: Registration,
    expires_at: Option<SystemTime>,
}

impl Grant {
    /// Creates a grant of these channels, without identities and without an end.
    pub fn new(channels: ChannelFilter) -> Self {
        Registration::new().with_filter(channels).into()
    }

    /// Creates a grant of exactly these channels, without identities and without an end.
    ///
    /// # Examples
    /// ```
    /// use transport_core::Grant;
    ///
    /// let grant = Grant::only(["runs"]).with_group(("account", "ada"));
    /// assert!(grant.registration().filter().hears("runs"));
    /// assert!(!grant.registration().filter().hears("jobs"));
    /// ```
    pub fn only<C: Into<Channel>>(channels: impl IntoIterator<Item = C>) -> Self {
        Self::new(ChannelFilter::only(channels))
    }

    /// Sets the scope: the identity whose connections a [`ScopeCap`](registry_core::ScopeCap)
    /// counts, usually the session. It can be revoked as a group can.
    pub fn with_scope(self, scope: impl Into<Identity>) -> Self {
        Self { registration: self.registration.with_scope(scope), ..self }
    }

    /// Adds an identity by which the subscriber can be revoked: an account, a tenant, a role.
    pub fn with_group(self, group: impl Into<Identity>) -> Self {
        Self { registration: self.registration.with_group(group), ..self }
    }

    /// Sets when the authority ends: usually when the token expires. The connection is then closed
    /// as *expired*.
    pub fn with_expires_at(self, at: SystemTime) -> Self {
        Self { expires_at: Some(at), ..self }
    }

    /// Returns the channels granted, and the identities.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Returns when the authority ends, if it does.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// Returns the registration of a request that asks for these channels: never more than was
    /// granted.
    pub(crate) fn restricted_to(&self, requested: &ChannelFilter) -> Registration {
        let filter = requested.restrict(self.registration.filter());
        self.registration.clone().with_filter(filter)
    }
}

/// A grant of what is registered, without an end.
impl From<Registration> for Grant {
    fn from(registration: Registration) -> Self {
        Self { registration, expires_at: None }
    }
}
