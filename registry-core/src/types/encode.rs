//! How a payload becomes bytes.

use super::event_name::EventName;
use bytes::Bytes;

/// The error of an [`Encode`].
pub type EncodeError = Box<dyn std::error::Error + Send + Sync>;

/// What the bytes of an encoded payload are, which decides how a wire carries them.
///
/// # Examples
/// ```
/// use registry_core::{BodyKind, Encoded};
///
/// /// Whether a raw WebSocket carries it as a text message.
/// fn is_text(encoded: &Encoded) -> bool {
///     matches!(encoded.kind(), BodyKind::Json | BodyKind::Text)
/// }
///
/// assert!(is_text(&Encoded::json("[1, 2]")) && is_text(&Encoded::text("one, two")));
/// assert!(!is_text(&Encoded::binary(vec![1, 2])));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyKind {
    /// JSON text.
    Json,
    /// Any other text.
    Text,
    /// Bytes: a binary frame on a raw WebSocket, base64 text on an event stream.
    Binary,
}

/// An encoded payload: its bytes, what they are, and the name of the event, if it has one.
///
/// # Examples
/// ```
/// use registry_core::{BodyKind, Encoded, EventName};
///
/// assert_eq!(Encoded::text("noon").body(), "noon");
/// assert_eq!(Encoded::binary(vec![0xff]).kind(), BodyKind::Binary);
/// let named = Encoded::json("17").with_name(EventName::from_static("created"));
/// assert_eq!(named.name().map(EventName::as_str), Some("created"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    body: Bytes,
    kind: BodyKind,
    name: Option<EventName>,
}

impl Encoded {
    /// Creates a payload that is JSON text. Whether it is valid JSON is not checked.
    ///
    /// A raw carriage return can stand in JSON only as white space. It becomes a space, so that
    /// line-based formats carry the text unchanged.
    ///
    /// # Examples
    /// ```
    /// use registry_core::Encoded;
    ///
    /// assert_eq!(Encoded::json("[1,\r\n 2]").body(), "[1, \n 2]");
    /// assert_eq!(Encoded::text("one,\r\n two").body(), "one,\r\n two");
    /// ```
    #[must_use]
    pub fn json(text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.as_bytes().contains(&b'\r') {
            text = text.replace('\r', " ");
        }
        Self::new(text, BodyKind::Json)
    }

    /// Creates a payload that is text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(text.into(), BodyKind::Text)
    }

    /// Creates a payload of any bytes.
    #[must_use]
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::new(bytes, BodyKind::Binary)
    }

    fn new(body: impl Into<Bytes>, kind: BodyKind) -> Self {
        Self { body: body.into(), kind, name: None }
    }

    /// Names the event. An event stream carries the name as `event:`, `live.v1` as `event`; a raw
    /// WebSocket does not carry it.
    #[must_use]
    pub fn with_name(self, name: EventName) -> Self {
        Self { name: Some(name), ..self }
    }

    /// Returns the bytes. Those of JSON and text are UTF-8.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Returns what the bytes are.
    #[must_use]
    pub fn kind(&self) -> BodyKind {
        self.kind
    }

    /// Returns the event's name.
    #[must_use]
    pub fn name(&self) -> Option<&EventName> {
        self.name.as_ref()
    }
}

/// Turns a payload into bytes, once per broadcast and before the broadcast takes its id.
///
/// The encoder is given to the registry when it is
/// [made](crate::SubscriberRegistry::with_encoder). A closure is an encoder too.
///
/// # Examples
/// ```
/// use registry_core::{Encode, EncodeError, Encoded};
///
/// struct Decimal;
///
/// impl Encode<f64> for Decimal {
///     fn encode(&self, data: &f64) -> Result<Encoded, EncodeError> {
///         if data.is_finite() {
///             Ok(Encoded::text(format!("{data:.3}")))
///         } else {
///             Err("a reading must be finite".into())
///         }
///     }
/// }
///
/// assert_eq!(Decimal.encode(&0.5)?.body(), "0.500");
/// assert!(Decimal.encode(&f64::NAN).is_err());
/// # Ok::<_, EncodeError>(())
/// ```
pub trait Encode<T>: Send + Sync + 'static {
    /// Encodes one payload.
    ///
    /// # Errors
    /// Returns an error if the payload cannot be encoded. The broadcast then fails, reaches no
    /// subscriber and uses no id (DEL-8). A panic counts as an error.
    fn encode(&self, data: &T) -> Result<Encoded, EncodeError>;
}

impl<T, F> Encode<T> for F
where
    F: Fn(&T) -> Result<Encoded, EncodeError> + Send + Sync + 'static,
{
    fn encode(&self, data: &T) -> Result<Encoded, EncodeError> {
        self(data)
    }
}

/// Encodes payloads as JSON text.
///
/// # Examples
/// ```
/// use registry_core::{Encode, EncodeError, Json};
/// use std::collections::HashMap;
///
/// assert_eq!(Json.encode(&["started", "done"])?.body(), r#"["started","done"]"#);
/// let keys_are_no_strings = HashMap::from([((1, 2), "one, two")]);
/// assert!(Json.encode(&keys_are_no_strings).is_err());
/// # Ok::<_, EncodeError>(())
/// ```
#[cfg(feature = "json")]
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::exhaustive_structs, reason = "it is its own only value")]
pub struct Json;

#[cfg(feature = "json")]
impl<T: serde::Serialize> Encode<T> for Json {
    fn encode(&self, data: &T) -> Result<Encoded, EncodeError> {
        Ok(Encoded::json(serde_json::to_string(data)?))
    }
}
