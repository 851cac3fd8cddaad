//! The event stream format.
//!
//! Ids come from the registry, and an event's name cannot hold a line break, so neither can end its
//! line (SSE-2, NAM-1).

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use registry_core::{
    BodyKind, CloseReason, Encoded, EventName, MessageHead, MessageId, WireFormat,
};
use std::fmt::Write;
use std::time::Duration;
use transport_core::put_members;

/// The frames of this transport: one event for each message, with its id, its name and its payload.
/// On a direct connection each write is a chunk of HTTP/1.1. A binary payload is written in base64.
///
/// # Examples
/// ```
/// use registry_core::{Channel, Encoded, EventName, MessageHead, MessageId};
/// use transport_sse::SSE;
///
/// let runs = Channel::from("runs");
/// let head = MessageHead::new(MessageId::new(1, 7), &runs);
/// let frame = SSE.frame(head, &Encoded::json("{}"));
/// assert_eq!(frame, "id: 0000000000000001-7\ndata: {}\n\n");
/// let created = Encoded::json("{}").with_name(EventName::from_static("created"));
/// let frame = SSE.frame(head, &created);
/// assert_eq!(frame, "id: 0000000000000001-7\nevent: created\ndata: {}\n\n");
/// ```
pub static SSE: WireFormat = WireFormat::new("sse", event)
    .with_envelope(chunk, CHUNK_END)
    .with_notice(lagged)
    .with_snapshot(snapshot);

/// The frames of a request with `envelope=1`: as [`SSE`], but the data is the JSON object
/// `{"channel","event","data"}`, for a client that hears several channels.
///
/// # Examples
/// ```
/// use registry_core::{Channel, Encoded, MessageHead, MessageId};
/// use transport_sse::SSE_ENVELOPE;
///
/// let runs = Channel::from("runs");
/// let head = MessageHead::new(MessageId::new(1, 7), &runs);
/// assert_eq!(
///     SSE_ENVELOPE.frame(head, &Encoded::json("{}")),
///     "id: 0000000000000001-7\ndata: {\"channel\":\"runs\",\"event\":null,\"data\":{}}\n\n",
/// );
/// ```
pub static SSE_ENVELOPE: WireFormat = WireFormat::new("sse", enveloped)
    .with_envelope(chunk, CHUNK_END)
    .with_notice(lagged)
    .with_snapshot(snapshot_enveloped);

/// The first bytes of a stream: a comment, so that the client's `onopen` fires before the first
/// message, and so that a stream never begins with a payload's byte order mark.
pub(crate) const HELLO: Bytes = Bytes::from_static(b": ok\n\n");

/// A comment that keeps an idle connection open.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");

/// The bytes that [`HELLO`] must become on a socket that is to be handed over: its chunk, right
/// after the head.
pub(crate) const HELLO_CHUNK: &[u8] = b"\r\n6\r\n: ok\n\n\r\n";

/// The end of a chunk.
const CHUNK_END: &[u8] = b"\r\n";

/// The chunk that ends a stream.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// So long that the client does not come back: the server cannot stop an `EventSource`.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn event(head: MessageHead<'_>, encoded: &Encoded, out: &mut BytesMut) {
    id_line(head.id(), out);
    event_line(encoded.name().map(EventName::as_str), out);
    payload(encoded, out);
}

/// The `data:` lines of a payload by itself.
fn payload(encoded: &Encoded, out: &mut BytesMut) {
    if encoded.kind() == BodyKind::Binary {
        data(BASE64_STANDARD.encode(encoded.body()).as_bytes(), out);
    } else {
        data(encoded.body(), out);
    }
}

fn enveloped(head: MessageHead<'_>, encoded: &Encoded, out: &mut BytesMut) {
    let name = encoded.name().map(EventName::as_str);
    id_line(head.id(), out);
    event_line(name, out);
    payload_enveloped(Some(head.channel()), name, encoded, out);
}

/// The `data:` lines of a payload in its envelope.
fn payload_enveloped(
    channel: Option<&str>,
    name: Option<&str>,
    encoded: &Encoded,
    out: &mut BytesMut,
) {
    let mut body = BytesMut::with_capacity(encoded.body().len() + 64);
    body.put_u8(b'{');
    put_members(channel, name, encoded, &mut body);
    body.put_u8(b'}');
    data(&body, out);
}

/// The name of the event that a part of a snapshot is.
const SNAPSHOT: Option<&str> = Some("snapshot");

/// A part of a snapshot. Only the last one has an id, from which a client resumes.
fn snapshot(at: Option<MessageId>, encoded: &Encoded, out: &mut BytesMut) {
    at.into_iter().for_each(|at| id_line(at, out));
    event_line(SNAPSHOT, out);
    payload(encoded, out);
}

fn snapshot_enveloped(at: Option<MessageId>, encoded: &Encoded, out: &mut BytesMut) {
    at.into_iter().for_each(|at| id_line(at, out));
    event_line(SNAPSHOT, out);
    payload_enveloped(None, SNAPSHOT, encoded, out);
}

/// `event: ` and the name, if the event has one.
fn event_line(name: Option<&str>, out: &mut BytesMut) {
    if let Some(name) = name {
        out.put_slice(b"event: ");
        out.put_slice(name.as_bytes());
        out.put_u8(b'\n');
    }
}

/// `id: `, the id as it is displayed, and the line's end. Without `Display`, which costs more than
/// the rest of an event.
fn id_line(id: MessageId, out: &mut BytesMut) {
    let digit = |at: usize| b"0123456789abcdef"[(id.epoch() >> (60 - 4 * at)) as usize & 0xf];
    out.put_slice(b"id: ");
    out.put_slice(&std::array::from_fn::<u8, 16, _>(digit));
    out.put_u8(b'-');
    out.put_slice(itoa::Buffer::new().format(id.seq()).as_bytes());
    out.put_u8(b'\n');
}

/// The `data:` lines of a payload, and the end of its event. A line ends at CR, LF or CRLF, as a
/// parser sees it.
fn data(body: &[u8], out: &mut BytesMut) {
    // JSON text is one line. Looking at every byte is quicker than stopping at the first break: the
    // loop takes many at a time.
    let breaks = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let many = body.iter().fold(false, |found, byte| found | breaks(byte));
    let mut rest = body;
    loop {
        let end = if many { rest.iter().position(breaks) } else { None };
        let line = &rest[..end.unwrap_or(rest.len())];
        out.reserve(line.len() + 8);
        out.put_slice(b"data: ");
        out.put_slice(line);
        out.put_u8(b'\n');
        let Some(end) = end else { break };
        let crlf = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + 1 + usize::from(crlf)..];
    }
    out.put_u8(b'\n');
}

/// Begins a chunk of so many bytes.
fn chunk(bytes: usize, out: &mut BytesMut) {
    // Writing to a `BytesMut` does not fail.
    let _ = write!(out, "{bytes:x}\r\n");
}

/// The end of a stream on a direct connection: the farewell, if there is one, and the last chunk.
pub(crate) fn last_chunks(farewell: Option<Bytes>) -> Bytes {
    let mut out = BytesMut::new();
    out.extend(farewell.map(|farewell| SSE.join(&[farewell])));
    out.extend_from_slice(LAST_CHUNK);
    out.freeze()
}

/// Reports that the policy of the outbox dropped messages before the next one.
fn lagged(lost: u64, out: &mut BytesMut) {
    let _ = write!(out, "event: lagged\ndata: {{\"lost\":{lost}}}\n\n");
}

/// The farewell of an end, if it has one (SSE-4). It has no `id:`, so that a client resumes after
/// the last message.
pub(crate) fn farewell(reason: CloseReason, subscriber: u64) -> Option<Bytes> {
    let retry = match reason {
        CloseReason::LoggedOut | CloseReason::Evicted => A_DAY,
        CloseReason::Revoked => Duration::from_millis(500 + spread(subscriber) % 2001),
        CloseReason::Shutdown => Duration::from_millis(1000 + spread(subscriber) % 4000),
        CloseReason::Expired | CloseReason::Lagged => {
            Duration::from_millis(500 + spread(subscriber) % 1000)
        }
        CloseReason::Heartbeat
        | CloseReason::Failed
        | CloseReason::Protocol
        | CloseReason::Unsubscribed => {
            return None;
        }
        _ => return None,
    };
    Some(
        format!(
            "event: close\ndata: {{\"reason\":\"{reason}\"}}\nretry: {}\n\n",
            retry.as_millis()
        )
        .into(),
    )
}

/// Spreads successive numbers, so that clients which are sent away together do not come back
/// together (DRN-2).
fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use registry_core::Channel;

    fn runs() -> Channel {
        Channel::from("runs")
    }

    /// A strict parser of the format: the data of each event, and its id.
    fn parse(stream: &str) -> Vec<(Option<String>, String)> {
        let text = stream
            .strip_prefix('\u{feff}')
            .unwrap_or(stream)
            .replace("\r\n", "\n")
            .replace('\r', "\n");
        let (mut events, mut data, mut id) = (Vec::new(), String::new(), None);
        for line in text.split_terminator('\n') {
            if line.is_empty() {
                if !data.is_empty() {
                    data.pop();
                    events.push((id.clone(), std::mem::take(&mut data)));
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => data.extend([value, "\n"]),
                "id" if !value.contains('\0') => id = Some(value.to_owned()),
                "" | "event" | "retry" => {}
                unknown => panic!("unknown field {unknown:?}"),
            }
        }
        events
    }

    fn stream(bodies: &[&str]) -> String {
        let mut out = BytesMut::from(&HELLO[..]);
        for body in bodies {
            data(body.as_bytes(), &mut out);
        }
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn sse_2_hostile_payloads_come_back() {
        let big = "x".repeat(1 << 20);
        let many = "line\n".repeat(1000);
        for body in [
            "",
            " ",
            "  two",
            "\0",
            "\u{feff}bom",
            "a\u{2028}b",
            "data: x",
            ":",
            "\n",
            "\n\n",
            "a\n",
            &big,
            &many,
        ] {
            let events = parse(&stream(&[body, "next"]));
            assert_eq!(events, [(None, body.to_owned()), (None, "next".to_owned())], "{body:.20?}");
        }
    }

    proptest! {
        #[test]
        fn sse_2_a_parser_reads_any_text_with_its_line_ends_as_lf(
            bodies in proptest::collection::vec("([\\r\\n: \\x00]|\\PC){0,30}", 1..4),
        ) {
            let texts: Vec<&str> = bodies.iter().map(String::as_str).collect();
            let read: Vec<String> =
                parse(&stream(&texts)).into_iter().map(|(_, data)| data).collect();
            let expected: Vec<String> = bodies
                .iter()
                .map(|body| body.replace("\r\n", "\n").replace('\r', "\n"))
                .collect();
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn sse_2_an_event_has_the_id_as_it_is_displayed() {
        assert_eq!(
            SSE.frame(
                MessageHead::new(MessageId::new(0xa_0000_0000, 7), &runs()),
                &Encoded::json("1")
            ),
            "id: 0000000a00000000-7\ndata: 1\n\n"
        );
        // An epoch for each number of leading zeros.
        for epoch in (0..=64).map(|bits| u64::MAX.checked_shr(bits).unwrap_or(0)) {
            for seq in [1, 10, u64::MAX] {
                let id = MessageId::new(epoch, seq);
                let frame = SSE.frame(MessageHead::new(id, &runs()), &Encoded::text("1"));
                assert_eq!(frame, format!("id: {id}\ndata: 1\n\n"));
            }
        }
    }

    #[test]
    fn sse_2_bytes_that_are_no_text_come_back_from_base64() {
        let bytes: Vec<u8> = (0..=255).collect();
        let frame = SSE.frame(
            MessageHead::new(MessageId::new(1, 1), &runs()),
            &Encoded::binary(bytes.clone()),
        );
        let events = parse(std::str::from_utf8(&frame).unwrap());
        assert_eq!(BASE64_STANDARD.decode(&events[0].1).unwrap(), bytes);
    }

    #[test]
    fn snp_2_only_the_last_part_of_a_snapshot_has_an_id() {
        let (at, state) = (MessageId::new(1, 7), Encoded::json("[1]"));
        let part = "event: snapshot\ndata: [1]\n\n";
        assert_eq!(SSE.snapshot(None, &state).unwrap(), part);
        assert_eq!(SSE.snapshot(Some(at), &state).unwrap(), format!("id: {at}\n{part}"));
        let part = "event: snapshot\n\
            data: {\"channel\":null,\"event\":\"snapshot\",\"data\":[1]}\n\n";
        assert_eq!(SSE_ENVELOPE.snapshot(None, &state).unwrap(), part);
        assert_eq!(SSE_ENVELOPE.snapshot(Some(at), &state).unwrap(), format!("id: {at}\n{part}"));
    }

    #[test]
    fn sse_4_a_farewell_names_the_reason_and_the_time_to_come_back() {
        let text =
            |reason| farewell(reason, 7).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        let logged_out = text(CloseReason::LoggedOut).unwrap();
        assert_eq!(
            logged_out,
            "event: close\ndata: {\"reason\":\"logged_out\"}\nretry: 86400000\n\n"
        );
        for reason in CloseReason::ALL {
            if let Some(text) = text(reason) {
                assert!(!text.contains("id:"), "a farewell is not a message to resume from");
                assert_eq!(parse(&text), [(None, format!("{{\"reason\":\"{reason}\"}}"))]);
            }
        }
        let silent = [
            CloseReason::Heartbeat,
            CloseReason::Failed,
            CloseReason::Protocol,
            CloseReason::Unsubscribed,
        ];
        assert_eq!(
            CloseReason::ALL
                .into_iter()
                .filter(|reason| text(*reason).is_none())
                .collect::<Vec<_>>(),
            silent
        );
    }

    /// The times to come back, in milliseconds, of a hundred subscribers that one call ends.
    fn retries(reason: CloseReason) -> std::collections::BTreeSet<u64> {
        let retry = |subscriber| {
            let text = String::from_utf8(farewell(reason, subscriber).unwrap().to_vec()).unwrap();
            let retry = text.lines().find_map(|line| line.strip_prefix("retry: "));
            retry.unwrap().parse().unwrap()
        };
        (1..=100).map(retry).collect()
    }

    #[test]
    fn sse_4_revoked_clients_come_back_soon_and_not_together_and_logged_out_ones_stay_away() {
        let revoked = retries(CloseReason::Revoked);
        assert!(revoked.len() >= 50, "{} different times", revoked.len());
        assert!(revoked.iter().all(|retry| (500..=2500).contains(retry)), "{revoked:?}");
        assert!(
            revoked.last().unwrap() - revoked.first().unwrap() > 1000,
            "they are spread: {revoked:?}"
        );
        for away in [CloseReason::LoggedOut, CloseReason::Evicted] {
            assert_eq!(retries(away), [86_400_000].into(), "{away}");
        }
    }

    #[test]
    fn drn_2_clients_that_should_come_back_get_different_times() {
        let times = [
            (CloseReason::Shutdown, 1000..5000),
            (CloseReason::Expired, 500..1500),
            (CloseReason::Lagged, 500..1500),
        ];
        for (reason, range) in times {
            let retries = retries(reason);
            assert!(retries.len() > 80, "{reason}: {} different times", retries.len());
            let span = retries.last().unwrap() - retries.first().unwrap();
            assert!(span > (range.end - range.start) / 2, "{reason}: all within {span} ms");
            assert!(retries.iter().all(|retry| range.contains(retry)), "{reason}: {retries:?}");
        }
    }
}
