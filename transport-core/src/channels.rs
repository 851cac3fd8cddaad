//! The channels that a request asks for: `?channels=a,b` and `?channel=…`.

use crate::Refusal;
use percent_encoding::percent_decode_str;
use registry_core::{Channel, ChannelFilter};
use std::collections::BTreeSet;

/// The bounds of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) names: usize,
    pub(crate) name_bytes: usize,
}

/// Reads a query string. Absent: everything that is granted. `channels=` lists names by commas; `channel=` gives one name,
/// commas and all, and may be repeated; the two add up. The list is split before it is percent-decoded, so `%2C` is a part of
/// a name; `+` is a space, as browsers write it.
pub(crate) fn requested(query: Option<&str>, limits: Limits) -> Result<ChannelFilter, Refusal> {
    let mut asked = false;
    let mut names = BTreeSet::new();
    for (key, value) in query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
        match &*decode(key)? {
            "channels" => {
                asked = true;
                for item in value.split(',') {
                    if item.is_empty() {
                        return Err(Refusal::bad_request(
                            "`channels` has an empty name: leave the parameter out to hear all that is granted, \
                             or name the empty channel with `channel=`",
                        ));
                    }
                    add(&mut names, item, limits)?;
                }
            }
            "channel" => {
                asked = true;
                add(&mut names, value, limits)?;
            }
            _ => {}
        }
    }
    Ok(if asked { ChannelFilter::Only(names) } else { ChannelFilter::All })
}

/// The first channel that was asked for and not granted.
pub(crate) fn first_beyond<'a>(requested: &'a ChannelFilter, granted: &ChannelFilter) -> Option<&'a str> {
    match requested {
        ChannelFilter::All => None,
        ChannelFilter::Only(names) => names.iter().map(Channel::as_str).find(|name| !granted.hears(name)),
    }
}

fn add(names: &mut BTreeSet<Channel>, encoded: &str, limits: Limits) -> Result<(), Refusal> {
    let name = decode(encoded)?;
    if name.len() > limits.name_bytes {
        let most = limits.name_bytes;
        return Err(Refusal::bad_request(format!("a channel's name has {} bytes: {most} at most", name.len())));
    }
    names.insert(name.into());
    if names.len() > limits.names {
        return Err(Refusal::bad_request(format!("too many channels in one request: {} at most", limits.names)));
    }
    Ok(())
}

fn decode(text: &str) -> Result<String, Refusal> {
    let bytes = text.as_bytes();
    let broken = |at: usize| !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    if bytes.iter().enumerate().any(|(at, byte)| *byte == b'%' && broken(at)) {
        return Err(Refusal::bad_request("the query has a `%` without two hexadecimal digits: write `%25`"));
    }
    let spaced = text.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(Refusal::bad_request("the query is not UTF-8 once it is percent-decoded")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { names: 3, name_bytes: 8 };

    fn only<const N: usize>(names: [&str; N]) -> Result<ChannelFilter, Refusal> {
        Ok(ChannelFilter::only(names))
    }

    #[test]
    fn flt_2_absent_is_all_and_empty_is_an_error() {
        assert_eq!(requested(None, LIMITS), Ok(ChannelFilter::All));
        assert_eq!(requested(Some("token=x&other"), LIMITS), Ok(ChannelFilter::All));
        for query in ["channels", "channels=", "channels=a,", "channels=,a", "channels=a,,b", "channel=a&channels="] {
            let refusal = requested(Some(query), LIMITS).unwrap_err();
            assert_eq!(refusal.status(), 400, "{query}");
            assert!(refusal.reason().contains("leave the parameter out"), "{refusal}");
        }
    }

    #[test]
    fn flt_5_names_are_decoded_after_the_list_is_split() {
        assert_eq!(requested(Some("channels=a%2Cb,c"), LIMITS), only(["a,b", "c"]));
        assert_eq!(requested(Some("channel=a,b&channel=c%26d"), LIMITS), only(["a,b", "c&d"]));
        assert_eq!(requested(Some("channel=&channels=a+b"), LIMITS), only(["", "a b"]));
        assert_eq!(requested(Some("channels=%C3%A4,%E2%80%A8"), LIMITS), only(["ä", "\u{2028}"]));
        assert_eq!(requested(Some("channels=a,a&channel=a"), LIMITS), only(["a"]));
    }

    #[test]
    fn flt_8_the_wire_has_limits_and_says_them() {
        assert_eq!(requested(Some("channels=a,b,c"), LIMITS), only(["a", "b", "c"]));
        assert!(requested(Some("channels=a,b,c,d"), LIMITS).unwrap_err().reason().contains("3 at most"));
        assert_eq!(requested(Some("channel=12345678"), LIMITS), only(["12345678"]));
        assert!(requested(Some("channel=123456789"), LIMITS).unwrap_err().reason().contains("8 at most"));
        assert_eq!(requested(Some("channel=%31%32%33%34%35%36%37%38"), LIMITS), only(["12345678"]));
    }

    #[test]
    fn flt_5_broken_escapes_and_bad_utf_8_are_said() {
        for query in ["channels=%", "channels=%2", "channels=%zz", "channel=a%", "%=1"] {
            assert!(requested(Some(query), LIMITS).unwrap_err().reason().contains("%25"), "{query}");
        }
        assert!(requested(Some("channel=%ff"), LIMITS).unwrap_err().reason().contains("UTF-8"));
    }

    proptest! {
        #[test]
        fn flt_5_any_name_survives_the_query(name in "\\PC{0,20}") {
            let limits = Limits { names: 1, name_bytes: 256 };
            let encoded = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
            let read = requested(Some(&format!("channel={encoded}")), limits).unwrap();
            prop_assert_eq!(read, ChannelFilter::only([name]));
        }

        #[test]
        fn flt_2_what_is_asked_for_is_never_everything(query in "[a-z=&,%+]{0,40}") {
            if let Ok(filter) = requested(Some(&query), LIMITS) {
                let asks = query.split('&').any(|pair| matches!(pair.split('=').next(), Some("channel" | "channels")));
                prop_assert_eq!(asks, filter != ChannelFilter::All);
            }
        }
    }
}
