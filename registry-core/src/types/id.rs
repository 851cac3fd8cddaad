//! The names of broadcasts and subscribers.

use std::fmt;
use std::str::FromStr;

/// A subscriber's place in the registry's table and in its lane's book. It is reused after a
/// removal: within a log, the order of the entries tells the two subscribers apart.
pub(crate) type Key = usize;

/// Names one broadcast: `epoch-seq`.
///
/// The epoch is drawn at random for each registry; the sequence number counts the registry's
/// broadcasts from 1. Within one registry, every subscriber sees the broadcasts in the order of
/// their ids (ORD-3). Between registries the order means nothing.
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
    /// Creates an id. A registry draws the ids of its broadcasts by itself; a test of a
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

    /// Returns the number of the broadcast within its registry, from 1.
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

/// Names one subscriber of one registry. It is never given to a later subscriber of that registry.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscriptionId {
    pub(crate) key: Key,
    pub(crate) serial: u64,
}

impl SubscriptionId {
    /// Returns the subscriber's number: a registry numbers its subscribers from 1 in the order of
    /// their admission.
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
}
