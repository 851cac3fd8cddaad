//! Identities: the names by which subscribers are revoked.

use std::fmt;
use std::sync::Arc;

/// A name that subscribers hold and that [`close_by_identity`](crate::SubscriberRegistry::close_by_identity) ends them by.
///
/// An identity is a pair of a kind ("account", "session") and a value. Both are compared byte for byte (REV-5), never as a
/// concatenation: `("a", "bc")` and `("ab", "c")` differ. One [without a kind](Identity::unkinded) matches only another
/// without a kind (REV-6). Cloning copies a pointer.
///
/// An identity is a name and never a secret: do not put a bearer token into one. Lest somebody does, `Debug` shows the
/// kind and the value's length only.
///
/// # Examples
/// ```
/// use registry_core::Identity;
///
/// let ada = Identity::new("account", "ada");
/// assert_eq!(ada.kind(), Some("account"));
/// assert_ne!(ada, Identity::unkinded("ada"));
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

    /// Creates an identity without a kind, as the call [`subscribe`](crate::SubscriberRegistry::subscribe) takes it.
    #[must_use]
    pub fn unkinded(value: impl Into<String>) -> Self {
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

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {} bytes)", self.kind().unwrap_or("-"), self.value().len())
    }
}
