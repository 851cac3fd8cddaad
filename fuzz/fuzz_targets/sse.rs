//! Any payloads, through the SSE route: a strict parser of the event stream format gives back the
//! same data under the same ids, and finds no field that a payload brought along (SSE-2). The input
//! is a list of payloads: 0xFF, which UTF-8 does not know, ends one; 0xFE lets the peer read before
//! the next. A payload that is no UTF-8 comes back in base64.

#![no_main]

use axum::body::Body;
use axum::http::Request;
use axum::http::request::Parts;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use registry_core::{ChannelFilter, EncodeError, Encoded, Identity};
use tokio::runtime::{Builder, Runtime};
use tower_service::Service;
use transport_core::{Authorise, Grant, LiveBuilder, Refusal};
use transport_sse::sse;

thread_local! {
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().build().expect("a runtime");
}

struct Everybody;

#[async_trait::async_trait]
impl Authorise for Everybody {
    async fn authorise(&self, _: &Parts) -> Result<Grant, Refusal> {
        Ok(Grant::new(ChannelFilter::All).with_group(Identity::new("account", "ada")))
    }
}

/// Text where it is text, else bytes.
fn encode(data: &Bytes) -> Result<Encoded, EncodeError> {
    Ok(match std::str::from_utf8(data) {
        Ok(text) => Encoded::text(text),
        Err(_) => Encoded::binary(data.clone()),
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Event {
    name: Vec<u8>,
    /// The last event id when it was dispatched.
    id: Vec<u8>,
    data: Vec<u8>,
}

/// The algorithm of the event stream format on bytes, which line ends and fields allow; and
/// stricter: lines end with LF, a field is known, written in one way and not repeated, and the
/// stream ends with its last event.
fn parse(stream: &[u8]) -> Vec<Event> {
    assert!(!stream.contains(&b'\r'), "a line end that is not LF");
    assert!(!stream.starts_with("\u{feff}".as_bytes()), "a parser drops this mark");
    assert!(stream.ends_with(b"\n\n"), "an event that does not end");
    let (mut events, mut last_id) = (Vec::new(), Vec::new());
    let (mut name, mut data, mut retry) = (Vec::new(), Vec::new(), false);
    let lines = stream.strip_suffix(b"\n").unwrap_or_default();
    for line in lines.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            if !data.is_empty() {
                data.pop();
                let name = std::mem::take(&mut name);
                events.push(Event { name, id: last_id.clone(), data: std::mem::take(&mut data) });
            }
            assert!(name.is_empty(), "a name without an event");
            retry = false;
        } else if let Some(value) = line.strip_prefix(b"data: ") {
            data.extend_from_slice(value);
            data.push(b'\n');
        } else if let Some(value) = line.strip_prefix(b"id: ") {
            assert!(
                data.is_empty() && name.is_empty() && !value.contains(&0),
                "an id out of place"
            );
            last_id = value.to_vec();
        } else if let Some(value) = line.strip_prefix(b"event: ") {
            assert!(data.is_empty() && name.is_empty(), "a name out of place");
            name = value.to_vec();
        } else if let Some(value) = line.strip_prefix(b"retry: ") {
            assert!(
                !retry && !value.is_empty() && value.iter().all(u8::is_ascii_digit),
                "a bad retry"
            );
            retry = true;
        } else {
            assert_eq!(line[0], b':', "an unknown field");
        }
    }
    assert!(data.is_empty() && name.is_empty(), "the stream ends in an event");
    events
}

/// How the format carries line ends.
fn with_line_feeds(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for (at, byte) in body.iter().enumerate() {
        match byte {
            b'\n' if at > 0 && body[at - 1] == b'\r' => {}
            b'\r' => out.push(b'\n'),
            other => out.push(*other),
        }
    }
    out
}

/// What the format makes of a payload: text with its line ends, bytes in base64.
fn carried(payload: &[u8]) -> Vec<u8> {
    if std::str::from_utf8(payload).is_ok() { with_line_feeds(payload) } else { base64(payload) }
}

fn base64(payload: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> =
        payload.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let digit = |six: &[u8]| {
        let value = (0..6).fold(0, |value, at| 2 * value + six.get(at).copied().unwrap_or(0));
        DIGITS[usize::from(value)]
    };
    let mut out: Vec<u8> = bits.chunks(6).map(digit).collect();
    out.resize(out.len().next_multiple_of(4), b'=');
    out
}

/// Reads what is there.
fn read(body: &mut Body, into: &mut Vec<u8>) {
    while let Some(Some(frame)) = body.frame().now_or_never() {
        into.extend(frame.expect("a frame").into_data().expect("data"));
    }
}

fn run(data: &[u8]) {
    let live = LiveBuilder::new(encode).build();
    let mut route = sse::<_, ()>(&live, Everybody);
    let asking = route.call(Request::get("/").body(Body::empty()).expect("a request"));
    let response =
        asking.now_or_never().expect("nothing to wait for").unwrap_or_else(|never| match never {});
    assert_eq!(response.status(), 200);
    let (mut body, mut stream, mut expected) = (response.into_body(), Vec::new(), Vec::new());

    let mut rest = data;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte >= 0xFE).unwrap_or(rest.len());
        let payload = &rest[..end];
        let report = live.broadcast("any", Bytes::copy_from_slice(payload)).expect("a broadcast");
        if report.lagged > 0 {
            // More than an outbox holds: what was queued is gone, and the farewell says why.
            read(&mut body, &mut stream);
            return assert_eq!(
                parse(&stream).last().map(|event| &event.name[..]),
                Some(&b"close"[..])
            );
        }
        let id = report.id.to_string().into_bytes();
        expected.push(Event { name: Vec::new(), id, data: carried(payload) });
        if rest.get(end) == Some(&0xFE) {
            read(&mut body, &mut stream);
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    read(&mut body, &mut stream);
    assert_eq!(parse(&stream), expected);

    assert_eq!(live.close_by_identity(Identity::new("account", "ada")), 1);
    read(&mut body, &mut stream);
    let id = expected.last().map(|event| event.id.clone()).unwrap_or_default();
    expected.push(Event { name: b"close".into(), id, data: br#"{"reason":"revoked"}"#.into() });
    assert_eq!(parse(&stream), expected);
    assert!(body.frame().now_or_never().is_some_and(|frame| frame.is_none()), "the stream ends");
}

fuzz_target!(|data: &[u8]| {
    RUNTIME.with(|runtime| {
        let _inside = runtime.enter();
        run(data);
    });
});
