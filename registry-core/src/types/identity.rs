//! Identities: the names by which subscribers are revoked.

use std::fmt;
use std::sync::Arc;

/// A name that subscribers hold and by which
/// [`close_by_identity`](crate::SubscriberRegistry::close_by_identity) ends them.
///
/// An identity is a pair of a kind ("account", "session") and a value. Both are compared byte for
/// byte (REV-5), never as a concatenation: `("a", "bc")` and `("ab", "c")` differ. An identity
/// [without a kind](Identity::untyped) matches only another one without a kind (REV-6). Cloning
/// copies a pointer.
///
/// An identity is a name and not a secret: do not put a bearer token into one. As a precaution,
/// `Debug` shows only the kind and the length of the value.
///
/// # Examples
/// ```
/// use registry_core::Identity;
///
/// let ada = Identity::new("account", "ada");
/// assert_eq!(ada.kind(), Some("account"));
/// assert_eq!(ada, Identity::from(("account", "ada")));
/// assert_ne!(ada, Identity::untyped("ada"));
/// assert_eq!(format!("{ada:?}"), "Identity(account, 3 bytes)");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(Arc<Name>);

#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Name {
    kind: Option<Box<str>>,
    value: Box<str>,
}

impl Identity {
    /// Creates an identity of a kind.
    #[must_use]
    pub fn new(kind: impl Into<String>, value: impl Into<String>) -> Self {
        Self(Arc::new(Name { kind: Some(kind.into().into()), value: value.into().into() }))
    }

    /// Creates an identity without a kind, as the call
    /// [`subscribe`](crate::SubscriberRegistry::subscribe) takes it.
    #[must_use]
    pub fn untyped(value: impl Into<String>) -> Self {
        Self(Arc::new(Name { kind: None, value: value.into().into() }))
    }

    /// Returns the kind, if it has one.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.0.kind.as_deref()
    }

    /// Returns the value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.0.value
    }
}

/// From a kind and a value.
impl<K: Into<String>, V: Into<String>> From<(K, V)> for Identity {
    fn from((kind, value): (K, V)) -> Self {
        Self::new(kind, value)
    }
}

/// A copy of the pointer.
impl From<&Identity> for Identity {
    fn from(identity: &Identity) -> Self {
        identity.clone()
    }
}

/// As an object with `kind`, `null` without one, and `value`. Unlike `Debug`, it shows the value.
#[cfg(feature = "serde")]
impl serde::Serialize for Identity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut identity = serializer.serialize_struct("Identity", 2)?;
        identity.serialize_field("kind", &self.kind())?;
        identity.serialize_field("value", self.value())?;
        identity.end()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {} bytes)", self.kind().unwrap_or("-"), self.value().len())
    }
}
