//! The names of messages and subscribers.

use std::fmt;
use std::str::FromStr;

/// A subscriber's place in the registry's table and in its lane's book. It is reused after a
/// removal: within a log, the order of the entries tells the two subscribers apart.
pub(crate) type Key = usize;

/// Names a subscriber within its registry, exactly: a key is reused, a serial never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MemberId {
    pub(crate) key: Key,
    pub(crate) serial: u64,
}

/// Names one message, a broadcast or a directed one: `epoch-seq`.
///
/// The epoch is drawn at random for each registry; the sequence number counts the registry's
/// messages from 1. Within one registry, every subscriber sees the messages in the order of their
/// ids (ORD-3, DIR-2). Between registries the order means nothing.
///
/// # Examples
/// ```
/// use registry_core::MessageId;
///
/// let id: MessageId = "00000000000000af-17".parse()?;
/// assert_eq!((id.epoch(), id.seq()), (0xaf, 17));
/// assert_eq!(id.to_string(), "00000000000000af-17");
/// assert!("af-17".parse::<MessageId>().is_err(), "an epoch has sixteen digits");
/// # Ok::<_, registry_core::ParseMessageIdError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    epoch: u64,
    seq: u64,
}

impl MessageId {
    /// Creates an id. A registry draws the ids of its messages by itself; a test of a
    /// [`WireFormat`](crate::WireFormat) chooses one.
    #[must_use]
    pub fn new(epoch: u64, seq: u64) -> Self {
        Self { epoch, seq }
    }

    /// Returns the registry's random epoch.
    #[must_use]
    pub fn epoch(self) -> u64 {
        self.epoch
    }

    /// Returns the number of the message within its registry, from 1.
    #[must_use]
    pub fn seq(self) -> u64 {
        self.seq
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch, self.seq)
    }
}

/// Reads what `Display` writes, and nothing else: no sign, no upper case, no space, no leading
/// zero.
impl FromStr for MessageId {
    type Err = ParseMessageIdError;

    fn from_str(text: &str) -> Result<Self, ParseMessageIdError> {
        let (epoch, seq) = text.split_once('-').ok_or(ParseMessageIdError)?;
        let id = Self {
            epoch: u64::from_str_radix(epoch, 16).map_err(|_| ParseMessageIdError)?,
            seq: seq.parse().map_err(|_| ParseMessageIdError)?,
        };
        // The two parsers accept several spellings of a number; an id has one.
        if id.to_string() == text { Ok(id) } else { Err(ParseMessageIdError) }
    }
}

/// A text that is not a [`MessageId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseMessageIdError;

impl fmt::Display for ParseMessageIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a message id, which is sixteen hexadecimal digits, `-` and a number")
    }
}

impl std::error::Error for ParseMessageIdError {}

/// Names one subscriber of one registry: `tag-serial-key`. It is never given to another subscriber
/// of that registry, nor, as far as the random tags differ, to one of another registry or of a
/// later run.
///
/// The tag is the second half of the epoch of the registry's [message ids](MessageId); the serial
/// numbers its subscribers from 1; the key is where the registry finds the subscriber.
///
/// # Examples
/// ```
/// use registry_core::{OutboxOptions, Registration, SubscriberRegistry, SubscriptionId};
///
/// let registry = SubscriberRegistry::<u32>::new();
/// let stream = registry.stream(Registration::new(), OutboxOptions::new())?;
/// let id = stream.subscription().id();
/// // As it comes back from an administrator's page:
/// let named: SubscriptionId = id.to_string().parse()?;
/// assert_eq!((named, named.serial()), (id, 1));
/// assert!("17".parse::<SubscriptionId>().is_err());
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscriptionId {
    // As small as can be, since each connection holds one.
    tag: u32,
    key: u32,
    serial: u64,
}

impl SubscriptionId {
    pub(crate) fn new(epoch: u64, member: MemberId) -> Self {
        let MemberId { key, serial } = member;
        Self { tag: epoch as u32, key: key as u32, serial }
    }

    /// Tells whether it is of the registry with this epoch.
    pub(crate) fn is_of(self, epoch: u64) -> bool {
        self.tag == epoch as u32
    }

    pub(crate) fn member(self) -> MemberId {
        MemberId { key: self.key as usize, serial: self.serial }
    }

    /// Returns the subscriber's number: a registry numbers its subscribers from 1 in the order of
    /// their admission.
    #[must_use]
    pub fn serial(self) -> u64 {
        self.serial
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubscriptionId({})", self.serial())
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tag, key, serial } = self;
        write!(f, "{tag:08x}-{serial}-{key}")
    }
}

/// Reads what `Display` writes, and nothing else: no sign, no upper case, no space, no leading
/// zero.
impl FromStr for SubscriptionId {
    type Err = ParseSubscriptionIdError;

    fn from_str(text: &str) -> Result<Self, ParseSubscriptionIdError> {
        let read = || {
            let (tag, member) = text.split_once('-')?;
            let (serial, key) = member.split_once('-')?;
            let tag = u32::from_str_radix(tag, 16).ok()?;
            Some(Self { tag, key: key.parse().ok()?, serial: serial.parse().ok()? })
        };
        // The parsers of numbers accept several spellings; an id has one.
        read().filter(|id| id.to_string() == text).ok_or(ParseSubscriptionIdError)
    }
}

/// As its text.
#[cfg(feature = "serde")]
impl serde::Serialize for SubscriptionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that is not a [`SubscriptionId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseSubscriptionIdError;

impl fmt::Display for ParseSubscriptionIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a subscription id, which is eight hexadecimal digits, `-`, a number, `-` and a \
             number",
        )
    }
}

impl std::error::Error for ParseSubscriptionIdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn del_7_an_id_is_sixteen_hexadecimal_digits_and_a_number() {
        for (epoch, seq, text) in [
            (0, 1, "0000000000000000-1"),
            (1, 0, "0000000000000001-0"),
            (0x00ab_cdef_0123_4567, 17, "00abcdef01234567-17"),
            (0xf, 10, "000000000000000f-10"),
            (u64::MAX, u64::MAX, "ffffffffffffffff-18446744073709551615"),
        ] {
            let id = MessageId::new(epoch, seq);
            assert_eq!((id.to_string().as_str(), id.epoch(), id.seq()), (text, epoch, seq));
            assert_eq!(text.parse(), Ok(id));
        }
    }

    #[test]
    fn del_7_an_id_has_one_spelling() {
        for text in [
            "",
            "-",
            "0-1",
            "0000000000000000",
            "0000000000000000-",
            "0000000000000000-01",
            "0000000000000000-+1",
            "+000000000000000-1",
            "000000000000000F-1",
            "0000000000000000-1 ",
            "0000000000000000-1-1",
            "00000000000000000-1",
            "0000000000000000-18446744073709551616",
        ] {
            assert_eq!(text.parse::<MessageId>(), Err(ParseMessageIdError), "{text:?}");
        }
    }

    #[test]
    fn dir_3_the_id_of_a_subscriber_has_one_spelling() {
        let id = |epoch, serial, key| SubscriptionId::new(epoch, MemberId { key, serial });
        for (id, text) in [
            (id(0, 1, 0), "00000000-1-0"),
            (id(0xaf, 17, 3), "000000af-17-3"),
            (id(u64::MAX, u64::MAX, 10), "ffffffff-18446744073709551615-10"),
        ] {
            assert_eq!((id.to_string().as_str(), text.parse()), (text, Ok(id)));
        }
        for text in [
            "",
            "--",
            "17",
            "0-1-0",
            "00000000-1",
            "00000000-1-",
            "00000000--1",
            "00000000-1-01",
            "00000000-+1-0",
            "00000000-1-0-0",
            "00000000-1-0 ",
            "0000000F-1-0",
            "00000000-18446744073709551616-0",
            "00000000-1-4294967296",
            "0000000000000000-1-0",
        ] {
            assert_eq!(text.parse::<SubscriptionId>(), Err(ParseSubscriptionIdError), "{text:?}");
        }
    }
}
