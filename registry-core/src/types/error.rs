//! Errors, one small enum per operation.

use super::encode::EncodeError;
use std::fmt;

/// Why a subscriber was not accepted.
///
/// # Examples
/// ```
/// use registry_core::{
///     OutboxOptions, Registration, SubscribeError, SubscriberRegistry, WireFormat,
/// };
/// # static TEXT: WireFormat =
/// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
///
/// let without_encoder = SubscriberRegistry::<u32>::new();
/// let refused = without_encoder.open_outbox(&TEXT, OutboxOptions::new(), Registration::new());
/// assert_eq!(refused.unwrap_err(), SubscribeError::NoEncoder);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The registry is shutting down, or its last handle was dropped.
    ShuttingDown,
    /// The scope is at its cap, and the policy is to refuse.
    ScopeFull,
    /// An outbox needs encoded payloads: make the registry with an
    /// [encoder](crate::SubscriberRegistry::with_encoder).
    NoEncoder,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShuttingDown => "the registry is shutting down and takes no subscribers",
            Self::ScopeFull => "the scope is full: end one of its subscribers first",
            Self::NoEncoder => {
                "the registry has no encoder: make it with `with_encoder` to open outboxes"
            }
        })
    }
}

impl std::error::Error for SubscribeError {}

/// Why a ticket did not admit. The ticket is used up; nothing was sent, and no subscriber was
/// evicted (ADM-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdmitError {
    /// One of the identities was revoked after the ticket was drawn (ADM-1). Check the credential
    /// again.
    Revoked,
    /// The ticket is older than its lifetime.
    Expired,
    /// The registry has forgotten revocations that came after the ticket was drawn. These
    /// identities may be among them (ADM-6).
    Forgotten,
    /// The ticket was valid, but the registry does not accept the subscriber.
    Subscribe(SubscribeError),
}

impl AdmitError {
    /// Tells whether a new ticket and a new look at the credential may help.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{AdmitError, SubscribeError};
    ///
    /// assert!(AdmitError::Revoked.is_retryable());
    /// assert!(!AdmitError::Subscribe(SubscribeError::ShuttingDown).is_retryable());
    /// ```
    #[must_use]
    pub fn is_retryable(self) -> bool {
        !matches!(self, Self::Subscribe(_))
    }
}

impl From<SubscribeError> for AdmitError {
    fn from(error: SubscribeError) -> Self {
        Self::Subscribe(error)
    }
}

impl fmt::Display for AdmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Revoked => {
                "an identity was revoked while it was being admitted: check the credential again"
            }
            Self::Expired => {
                "the ticket has expired: draw a new one and check the credential again"
            }
            Self::Forgotten => {
                "too many revocations since the ticket was drawn: draw a new one and check again"
            }
            Self::Subscribe(error) => return error.fmt(f),
        })
    }
}

impl std::error::Error for AdmitError {}

/// A payload that could not be encoded. No subscriber received it or was closed, and no id was used
/// (DEL-8).
///
/// # Examples
/// ```
/// use registry_core::{Encoded, RegistryOptions, SubscriberRegistry};
///
/// let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), |degrees: &f64| {
///     if degrees.is_nan() { Err("it is no number".into()) } else { Ok(Encoded::text("warm")) }
/// });
/// let error = registry.broadcast("hall", f64::NAN).unwrap_err();
/// assert!(error.data.is_nan());
/// assert_eq!(error.to_string(), "the payload cannot be encoded: it is no number");
/// ```
#[non_exhaustive]
pub struct BroadcastError<T> {
    /// The payload, given back.
    pub data: T,
    /// The error of its [`Encode`](crate::Encode).
    pub source: EncodeError,
}

impl<T> fmt::Debug for BroadcastError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BroadcastError").field("source", &self.source).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for BroadcastError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the payload cannot be encoded: {}", self.source)
    }
}

impl<T> std::error::Error for BroadcastError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}
