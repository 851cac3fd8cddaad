//! Names of events: the word by which a client tells apart what arrives on one connection.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest name, in bytes.
const MAX_BYTES: usize = 255;

/// Names that mean something else to a client: those of the events that the library sends, and
/// those that an `EventSource` fires by itself.
const RESERVED: [&str; 8] =
    ["open", "error", "message", "close", "lagged", "reset", "snapshot", "refused"];

/// The name of an event, by which a client tells apart what arrives: what
/// `addEventListener("created", …)` names.
///
/// A name has 1 to 255 bytes and none of CR, LF and NUL, which an event stream cannot carry in a
/// name; and it is none of `open`, `error`, `message`, `close`, `lagged`, `reset`, `snapshot` and
/// `refused`, which mean something else to a client. So a name that exists can be sent (NAM-1).
/// Names are compared byte for byte. Cloning copies a pointer.
///
/// # Examples
/// ```
/// use registry_core::EventName;
///
/// const CREATED: EventName = EventName::from_static("created"); // checked by the compiler
///
/// assert_eq!(EventName::new("created")?, CREATED);
/// assert_eq!(
///     EventName::new("close").unwrap_err().to_string(),
///     "the event name \"close\" is reserved"
/// );
/// # Ok::<_, registry_core::EventNameError>(())
/// ```
///
/// A constant that is no name does not compile:
/// ```compile_fail,E0080
/// const CLOSE: registry_core::EventName = registry_core::EventName::from_static("close");
/// ```
#[derive(Clone)]
pub struct EventName(Text);

#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl EventName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`EventNameError`] says which rule the text breaks.
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, EventNameError> {
        let name = name.into();
        match fault(&name) {
            None => Ok(Self(Text::Shared(name))),
            Some(fault) => Err(EventNameError { name, fault }),
        }
    }

    /// Makes a name of a constant.
    ///
    /// # Panics
    /// If the text is not a name. In a `const` or a `static` that is an error of the compiler.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        Self::check_static(name);
        Self(Text::Static(name))
    }

    /// Panics if the text is not a name.
    pub(crate) const fn check_static(name: &str) {
        match fault(name) {
            None => {}
            Some(Fault::Length) => panic!("an event name has 1 to 255 bytes"),
            Some(Fault::LineBreak) => panic!("an event name has no CR, LF or NUL"),
            Some(Fault::Reserved) => panic!("this event name is reserved"),
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Static(name) => name,
            Text::Shared(name) => name,
        }
    }
}

/// The rule that a text breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Length,
    LineBreak,
    Reserved,
}

/// Returns why a text is not a name.
const fn fault(name: &str) -> Option<Fault> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_BYTES {
        return Some(Fault::Length);
    }
    let mut at = 0;
    while at < bytes.len() {
        if matches!(bytes[at], b'\r' | b'\n' | 0) {
            return Some(Fault::LineBreak);
        }
        at += 1;
    }
    let mut word = 0;
    while word < RESERVED.len() {
        if equal(bytes, RESERVED[word].as_bytes()) {
            return Some(Fault::Reserved);
        }
        word += 1;
    }
    None
}

/// `==`, which a `const fn` cannot call.
const fn equal(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// A text that is not an [`EventName`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventNameError {
    name: Arc<str>,
    fault: Fault,
}

impl fmt::Display for EventNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, fault } = self;
        match fault {
            Fault::Length => {
                write!(f, "an event name has 1 to {MAX_BYTES} bytes, and this has {}", name.len())
            }
            Fault::LineBreak => write!(f, "the event name {name:?} has a CR, LF or NUL"),
            Fault::Reserved => write!(f, "the event name {name:?} is reserved"),
        }
    }
}

impl std::error::Error for EventNameError {}

impl TryFrom<&str> for EventName {
    type Error = EventNameError;

    fn try_from(name: &str) -> Result<Self, EventNameError> {
        Self::new(name)
    }
}

impl TryFrom<String> for EventName {
    type Error = EventNameError;

    fn try_from(name: String) -> Result<Self, EventNameError> {
        Self::new(name)
    }
}

impl PartialEq for EventName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for EventName {}

impl PartialOrd for EventName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EventName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl std::hash::Hash for EventName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for EventName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for EventName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for EventName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nam_1_a_name_that_a_client_would_misread_cannot_be_made() {
        let longest = "x".repeat(MAX_BYTES);
        for good in ["created", " ", "opened", "Open", "ünïcode", "a:b", "\u{7f}", &longest] {
            assert_eq!(EventName::new(good).unwrap().as_str(), good);
        }
        // Spelt out: the list is the promise.
        let reserved =
            ["open", "error", "message", "close", "lagged", "reset", "snapshot", "refused"];
        for reserved in reserved {
            let error = EventName::new(reserved).unwrap_err();
            assert_eq!(error.to_string(), format!("the event name {reserved:?} is reserved"));
        }
        for unframeable in ["\n", "a\nb", "a\r", "\0"] {
            assert!(EventName::new(unframeable).unwrap_err().to_string().contains("CR, LF or NUL"));
        }
        for length in [0, MAX_BYTES + 1] {
            let error = EventName::new("x".repeat(length)).unwrap_err().to_string();
            assert_eq!(error, format!("an event name has 1 to 255 bytes, and this has {length}"));
        }
    }

    #[test]
    fn nam_1_a_constant_is_checked_as_any_other_text() {
        let made = |name| std::panic::catch_unwind(|| EventName::from_static(name)).is_ok();
        assert!(made("created"));
        assert!(RESERVED.iter().chain(&["", "a\n"]).all(|name| !made(name)));
    }
}
