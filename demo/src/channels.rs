//! The channels that a session may hear, as the body of a call lists them.

use registry_core::{Channel, ChannelFilter};
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// How many channels a session may be restricted to: as many as one stream may name.
const MAX_CHANNELS: usize = 100;

/// The longest name, in bytes: a stream can name no longer one.
const MAX_NAME_BYTES: usize = 256;

/// A list of names, or `null` for everything.
#[derive(Debug)]
pub(crate) struct Channels(pub(crate) ChannelFilter);

/// A body that may leave the list out means everything.
impl Default for Channels {
    fn default() -> Self {
        Self(ChannelFilter::All)
    }
}

impl<'de> Deserialize<'de> for Channels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `deserialize_option`, for which a missing field is the same as `null`.
        deserializer.deserialize_any(Names)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Channels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of channels, or null for every channel")
    }

    fn visit_unit<E: Error>(self) -> Result<Channels, E> {
        Ok(Channels::default())
    }

    /// Stops at the first name too many, so that a long list is not kept.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Channels, A::Error> {
        let mut names = BTreeSet::new();
        let mut count = 0;
        while let Some(name) = list.next_element::<String>()? {
            count += 1;
            if count > MAX_CHANNELS {
                return Err(A::Error::custom(format_args!(
                    "too many channels: {MAX_CHANNELS} at most"
                )));
            }
            if name.len() > MAX_NAME_BYTES {
                let bytes = name.len();
                return Err(A::Error::custom(format_args!(
                    "a channel's name has {bytes} bytes: {MAX_NAME_BYTES} at most"
                )));
            }
            names.insert(Channel::from(name));
        }
        Ok(Channels(ChannelFilter::Only(names)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<ChannelFilter, String> {
        serde_json::from_str(json).map(|Channels(filter)| filter).map_err(|error| error.to_string())
    }

    #[test]
    fn flt_2_null_is_everything_and_an_empty_list_is_nothing() {
        assert_eq!(read("null"), Ok(ChannelFilter::All));
        assert_eq!(read("[]"), Ok(ChannelFilter::only::<&str>([])));
        assert_eq!(read(r#"["a","","a"]"#), Ok(ChannelFilter::only(["", "a"])));
        for json in ["true", "7", r#""a""#, "{}", "[1]", "[null]"] {
            assert!(read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn lists_and_names_have_an_end() {
        let list = |count: usize, bytes: usize| {
            serde_json::to_string(&(0..count).map(|n| format!("{n:0bytes$}")).collect::<Vec<_>>())
                .unwrap()
        };
        assert!(read(&list(100, 256)).is_ok());
        assert!(read(&list(101, 3)).unwrap_err().starts_with("too many channels: 100 at most"));
        assert!(
            read(&list(1, 257))
                .unwrap_err()
                .starts_with("a channel's name has 257 bytes: 256 at most")
        );
    }
}
