//! What a request says of the form in which it wants its messages.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri, header};

/// The subprotocol of WebSockets whose messages say more than the payload.
pub(crate) const LIVE_V1: &str = "live.v1";

/// What a request says of the form in which it wants its messages: the flags of its query, and the
/// WebSocket subprotocols that it offers.
///
/// # Examples
/// ```
/// use axum::http::Request;
/// use transport_core::Asked;
///
/// let request = Request::get("/events?envelope=1")
///     .header("sec-websocket-protocol", "live.v1, bearer.c2VjcmV0")
///     .body(())
///     .unwrap();
/// let asked = Asked::of(&request.into_parts().0);
/// assert!(asked.has_flag("envelope") && !asked.has_flag("snapshot"));
/// assert!(asked.protocols().eq(["live.v1", "bearer.c2VjcmV0"]));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Asked {
    uri: Uri,
    protocols: Vec<HeaderValue>,
}

impl Asked {
    /// Reads a request.
    #[must_use]
    pub fn of(request: &Parts) -> Self {
        // They may be credentials, so `Debug` does not show them.
        let protocols = values(&request.headers).cloned().map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Self { uri: request.uri.clone(), protocols: protocols.collect() }
    }

    /// Tells whether the query has `name=1`.
    #[must_use]
    pub fn has_flag(&self, name: &str) -> bool {
        let pairs = self.uri.query().unwrap_or_default().split('&');
        pairs.filter_map(|pair| pair.split_once('=')).any(|pair| pair == (name, "1"))
    }

    /// Tells whether the request offers the subprotocol `live.v1`.
    #[must_use]
    pub fn offers_live_v1(&self) -> bool {
        self.protocols().any(|offered| offered == LIVE_V1)
    }

    /// Returns the subprotocols that the request offers, in its order. What is not ASCII is left
    /// out.
    pub fn protocols(&self) -> impl Iterator<Item = &str> {
        self.protocols.iter().flat_map(items)
    }
}

/// Returns the subprotocols that a request offers.
pub(crate) fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    values(headers).flat_map(items)
}

fn values(headers: &HeaderMap) -> impl Iterator<Item = &HeaderValue> {
    headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter()
}

fn items(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let items = value.to_str().unwrap_or_default().split(',');
    items.map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn asked(target: &str, protocols: &[&str]) -> Asked {
        let mut request = Request::get(target);
        for value in protocols {
            request = request.header(header::SEC_WEBSOCKET_PROTOCOL, *value);
        }
        Asked::of(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn nam_2_a_flag_is_set_by_one_and_by_nothing_else() {
        for set in ["/?envelope=1", "/?a=b&envelope=1", "/?envelope=0&envelope=1"] {
            assert!(asked(set, &[]).has_flag("envelope"), "{set}");
        }
        for unset in ["/", "/?", "/?envelope", "/?envelope=true", "/?envelopes=1", "/?x=envelope=1"]
        {
            assert!(!asked(unset, &[]).has_flag("envelope"), "{unset}");
        }
    }

    #[test]
    fn ws_3_protocols_are_read_from_every_header_and_item() {
        let offered = asked("/", &["a , b", "", "c,,d "]);
        assert!(offered.protocols().eq(["a", "b", "c", "d"]));
        assert_eq!(asked("/", &[]).protocols().count(), 0);
        let shown = format!("{:?}", asked("/", &["bearer.c2VjcmV0"]));
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
    }
}
