//! The channels that a request asks for, `?channels=a,b` and `?channel=…`, and those that it is not
//! granted.

use super::refusal::Refusal;
use axum::http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use registry_core::{Channel, ChannelFilter};
use std::collections::BTreeSet;

/// Proxies bound the head of a response, some of them to 4 KiB in all.
const LIST_BYTES: usize = 2048;

/// The characters that a header lists unencoded: the unreserved characters of a URI.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The bounds of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) names: usize,
    pub(crate) name_bytes: usize,
}

/// Reads a query string. Without either parameter it asks for everything that is granted.
/// `channels=` lists names with commas between them. `channel=` gives one name, which may hold
/// commas, and may be repeated; the two add up. The list is split before it is percent-decoded, so
/// `%2C` is a part of a name; `+` is a space, as browsers write it.
pub(crate) fn requested(query: Option<&str>, limits: Limits) -> Result<ChannelFilter, Refusal> {
    let mut asked = false;
    let mut names = BTreeSet::new();
    for (key, value) in
        query.unwrap_or_default().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    {
        match &*decode(key)? {
            "channels" => {
                asked = true;
                for item in value.split(',') {
                    if item.is_empty() {
                        return Err(Refusal::bad_request(
                            "`channels` has an empty name: leave the parameter out to hear all \
                             that is granted, or name the empty channel with `channel=`",
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

/// The channels that a request names and its credential is not granted. The subscriber was admitted
/// without them (ADM-8).
///
/// A browser repeats its URL for as long as the page lives, so a narrowed role must not end an
/// `EventSource`: what is still granted goes on, and the answer names the rest.
///
/// # Examples
/// ```
/// use axum::http::Request;
/// use registry_core::{ChannelFilter, WireFormat};
/// use transport_core::{Asked, Framing, Grant, Live, Refusal};
///
/// # struct Raw;
/// # impl Framing for Raw {
/// #     fn format(_: &Asked) -> &'static WireFormat {
/// #         static RAW: WireFormat =
/// #             WireFormat::new("raw", |_, encoded, out| out.extend_from_slice(encoded.body()));
/// #         &RAW
/// #     }
/// # }
/// let live = Live::<String>::new();
/// let mut request = Request::get("/events?channels=runs,pay").body(()).unwrap();
/// live.draw_ticket_for(request.extensions_mut());
/// let entry = live.entry(&request.into_parts().0)?;
/// let entered = entry.admit::<Raw>(Grant::new(ChannelFilter::only(["runs"])))?;
/// assert_eq!(entered.ungranted().names().collect::<Vec<_>>(), ["pay"]);
/// # Ok::<_, Refusal>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ungranted(Vec<Channel>);

impl Ungranted {
    /// Finds what is asked for and not granted.
    ///
    /// # Errors
    /// `403` when channels are named and none of them is granted.
    pub(crate) fn of(requested: &ChannelFilter, granted: &ChannelFilter) -> Result<Self, Refusal> {
        let ChannelFilter::Only(names) = requested else { return Ok(Self::default()) };
        let beyond: Vec<Channel> =
            names.iter().filter(|name| !granted.hears(name.as_str())).cloned().collect();
        match beyond.first() {
            Some(first) if beyond.len() == names.len() => {
                let which = format!("the channel {first:?} is not granted to this credential");
                Err(Refusal::forbidden(format!("{which}, nor is any other that the request names")))
            }
            _ => Ok(Self(beyond)),
        }
    }

    /// Returns the names, each once, in byte order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Channel::as_str)
    }

    /// Tells whether all that was asked for is granted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the headers that name them to a response; none if all is granted.
    ///
    /// `x-channels-refused-count` is their number. `x-channels-refused` lists the names,
    /// percent-encoded, with commas between them, so that
    /// `value.split(",").map(decodeURIComponent)` reads them. It has 2 KiB at most: a name that
    /// does not fit is left out, and the header is absent when no name fits.
    pub fn insert_headers(&self, headers: &mut HeaderMap) {
        if self.is_empty() {
            return;
        }
        headers.insert("x-channels-refused-count", self.0.len().into());
        let mut list: Option<String> = None;
        for name in self.names() {
            let name = utf8_percent_encode(name, ENCODED).to_string();
            match &mut list {
                None if name.len() <= LIST_BYTES => list = Some(name),
                Some(list) if list.len() + 1 + name.len() <= LIST_BYTES => {
                    list.push(',');
                    list.push_str(&name);
                }
                _ => {}
            }
        }
        if let Some(list) = list.and_then(|list| HeaderValue::try_from(list).ok()) {
            headers.insert("x-channels-refused", list);
        }
    }
}

fn add(names: &mut BTreeSet<Channel>, encoded: &str, limits: Limits) -> Result<(), Refusal> {
    let name = decode(encoded)?;
    if name.len() > limits.name_bytes {
        let most = limits.name_bytes;
        return Err(Refusal::bad_request(format!(
            "a channel's name has {} bytes: {most} at most",
            name.len()
        )));
    }
    names.insert(name.into());
    if names.len() > limits.names {
        return Err(Refusal::bad_request(format!(
            "too many channels in one request: {} at most",
            limits.names
        )));
    }
    Ok(())
}

fn decode(text: &str) -> Result<String, Refusal> {
    let bytes = text.as_bytes();
    let broken = |at: usize| {
        !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    };
    if bytes.iter().enumerate().any(|(at, byte)| *byte == b'%' && broken(at)) {
        return Err(Refusal::bad_request(
            "the query has a `%` without two hexadecimal digits: write `%25`",
        ));
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
    use axum::http::StatusCode;
    use proptest::collection::{btree_set, vec};
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    const LIMITS: Limits = Limits { names: 3, name_bytes: 8 };

    fn only<const N: usize>(names: [&str; N]) -> Result<ChannelFilter, Refusal> {
        Ok(ChannelFilter::only(names))
    }

    #[test]
    fn flt_2_absent_is_all_and_empty_is_an_error() {
        assert_eq!(requested(None, LIMITS), Ok(ChannelFilter::All));
        assert_eq!(requested(Some("token=x&other"), LIMITS), Ok(ChannelFilter::All));
        for query in [
            "channels",
            "channels=",
            "channels=a,",
            "channels=,a",
            "channels=a,,b",
            "channel=a&channels=",
        ] {
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
    fn flt_8_a_refusal_names_the_limit_of_a_query() {
        assert_eq!(requested(Some("channels=a,b,c"), LIMITS), only(["a", "b", "c"]));
        assert!(
            requested(Some("channels=a,b,c,d"), LIMITS).unwrap_err().reason().contains("3 at most")
        );
        assert_eq!(requested(Some("channel=12345678"), LIMITS), only(["12345678"]));
        assert!(
            requested(Some("channel=123456789"), LIMITS)
                .unwrap_err()
                .reason()
                .contains("8 at most")
        );
        assert_eq!(requested(Some("channel=%31%32%33%34%35%36%37%38"), LIMITS), only(["12345678"]));
    }

    #[test]
    fn flt_5_a_refusal_names_broken_escapes_and_bad_utf_8() {
        for query in ["channels=%", "channels=%2", "channels=%zz", "channel=a%", "%=1"] {
            assert!(
                requested(Some(query), LIMITS).unwrap_err().reason().contains("%25"),
                "{query}"
            );
        }
        assert!(requested(Some("channel=%ff"), LIMITS).unwrap_err().reason().contains("UTF-8"));
    }

    proptest! {
        #[test]
        fn flt_5_any_name_survives_the_query(name in "(?s).{0,20}") {
            let limits = Limits { names: 1, name_bytes: name.len() };
            let encoded = utf8_percent_encode(&name, NON_ALPHANUMERIC);
            let read = requested(Some(&format!("channel={encoded}")), limits).unwrap();
            prop_assert_eq!(read, ChannelFilter::only([name]));
        }

        #[test]
        fn flt_2_a_query_that_names_channels_never_asks_for_everything(
            pairs in vec(
                select(vec![
                    "channels=a", "channels=b,c", "channel=", "channel", "channe%6C=a",
                    "channelss=a", "x",
                ]),
                0..4,
            ),
        ) {
            let asks = pairs.iter().any(|pair| !matches!(*pair, "channelss=a" | "x"));
            let limits = Limits { names: 4, name_bytes: 8 };
            let filter = requested(Some(&pairs.join("&")), limits).unwrap();
            prop_assert_eq!(asks, filter != ChannelFilter::All);
        }

        #[test]
        fn adm_8_the_channels_heard_and_the_channels_listed_are_all_that_were_asked_for(
            asked in names(1),
            granted in option::of(names(0)),
        ) {
            let filter = granted.clone().map_or(ChannelFilter::All, ChannelFilter::Only);
            let requested = ChannelFilter::Only(asked.clone());
            let is_heard = |name: &&Channel| filter.hears(name.as_str());
            let heard: BTreeSet<Channel> = asked.iter().filter(is_heard).cloned().collect();
            prop_assert_eq!(requested.restrict(&filter), ChannelFilter::Only(heard.clone()));
            match Ungranted::of(&requested, &filter) {
                Err(refusal) => {
                    prop_assert_eq!((refusal.status(), heard.len()), (StatusCode::FORBIDDEN, 0));
                    let which = format!("the channel {:?} is not granted", asked.first().unwrap());
                    prop_assert!(refusal.reason().starts_with(&which));
                }
                Ok(ungranted) => {
                    prop_assert!(!heard.is_empty());
                    let names: Vec<Channel> = ungranted.names().map(Channel::from).collect();
                    prop_assert_eq!(names.len() + heard.len(), asked.len());
                    prop_assert_eq!(ungranted.is_empty(), names.is_empty());
                    let (listed, count) = listed(&ungranted);
                    prop_assert_eq!(&listed, &names, "these are short enough");
                    prop_assert_eq!(count, names.len());
                    let all: BTreeSet<_> = listed.into_iter().chain(heard).collect();
                    prop_assert_eq!(all, asked);
                }
            }
        }
    }

    fn names(least: usize) -> impl Strategy<Value = BTreeSet<Channel>> {
        let name = prop_oneof![
            select(vec![
                "", "a", "b", "a,b", "\"", "'", " ", "%2C", "\r\n", "\0", "ä", "\u{2028}",
                "A-z.0_9~"
            ])
            .prop_map(String::from),
            "(?s).{0,12}",
        ];
        btree_set(name.prop_map(Channel::from), least..8)
    }

    /// Reads a head as a client does: the names, and their number.
    fn listed(ungranted: &Ungranted) -> (Vec<Channel>, usize) {
        let mut headers = HeaderMap::new();
        ungranted.insert_headers(&mut headers);
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap());
        let list = text("x-channels-refused");
        assert!(list.is_none_or(|list| {
            list.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%,".contains(&byte))
                && list.len() <= 2048
        }));
        let decode =
            |name| Channel::from(percent_decode_str(name).decode_utf8().unwrap().into_owned());
        let names = list.into_iter().flat_map(|list| list.split(',')).map(decode).collect();
        (names, text("x-channels-refused-count").map_or(0, |count| count.parse().unwrap()))
    }

    #[test]
    fn adm_8_the_headers_list_whole_names_in_two_kibibytes_and_count_all() {
        let listed_of = |lengths: &[usize]| {
            let names = lengths
                .iter()
                .enumerate()
                .map(|(at, length)| Channel::from(format!("{at}{}", "x".repeat(length - 1))));
            let (listed, count) = listed(&Ungranted(names.collect()));
            assert_eq!(count, lengths.len());
            listed.iter().map(|name| name.as_str().len()).collect::<Vec<_>>()
        };
        assert_eq!(listed_of(&[]), [0_usize; 0]);
        assert_eq!(listed_of(&[2048]), [2048]);
        assert_eq!(listed_of(&[2049]), [0_usize; 0]);
        assert_eq!(listed_of(&[1023, 1024]), [1023, 1024]);
        assert_eq!(listed_of(&[1024, 1024]), [1024], "the comma counts");
        assert_eq!(listed_of(&[1024, 2049, 1024, 7]), [1024, 7], "the others are listed");
        // The encoded length counts, and no name is cut.
        let long = "ä".repeat(128);
        let names: Vec<Channel> = (0..5).map(|at| format!("{at}{long}").into()).collect();
        assert_eq!(listed(&Ungranted(names.clone())), (names[..2].to_vec(), 5));
    }
}
