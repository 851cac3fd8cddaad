//! A message as the members of a JSON object, for wires that tell a client more than the payload.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, BytesMut};
use registry_core::{BodyKind, Encoded};

/// Appends the members `"channel":…,"event":…,"data":…` of a message, its payload as [`put_data`]
/// does. What is absent is `null`.
///
/// # Examples
/// ```
/// use bytes::BytesMut;
/// use registry_core::{Encoded, EventName};
/// use transport_core::put_members;
///
/// let mut out = BytesMut::new();
/// let created = Encoded::json(r#"{"run":17}"#).with_name(EventName::from_static("created"));
/// put_members(Some("runs"), created.name().map(EventName::as_str), &created, &mut out);
/// assert_eq!(out, r#""channel":"runs","event":"created","data":{"run":17}"#);
/// ```
pub fn put_members(
    channel: Option<&str>,
    event: Option<&str>,
    encoded: &Encoded,
    out: &mut BytesMut,
) {
    out.put_slice(b"\"channel\":");
    put_string(channel, out);
    out.put_slice(b",\"event\":");
    put_string(event, out);
    out.put_slice(b",\"data\":");
    put_data(encoded, out);
}

/// Appends a payload as JSON: JSON as it is, text as a string, and bytes as a string in base64.
///
/// # Examples
/// ```
/// use bytes::BytesMut;
/// use registry_core::Encoded;
/// use transport_core::put_data;
///
/// let mut out = BytesMut::new();
/// put_data(&Encoded::text("it is 20 °C"), &mut out);
/// assert_eq!(out, "\"it is 20 °C\"");
/// ```
pub fn put_data(encoded: &Encoded, out: &mut BytesMut) {
    let body = encoded.body();
    match (encoded.kind(), std::str::from_utf8(body)) {
        (BodyKind::Json, _) => out.put_slice(body),
        (BodyKind::Text, Ok(text)) => put_string(Some(text), out),
        _ => {
            out.put_u8(b'"');
            out.put_slice(BASE64_STANDARD.encode(body).as_bytes());
            out.put_u8(b'"');
        }
    }
}

/// Appends a JSON string, or `null`.
fn put_string(text: Option<&str>, out: &mut BytesMut) {
    // Writing to a `BytesMut` does not fail, and a string is always JSON.
    let _infallible = serde_json::to_writer(out.writer(), &text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(channel: Option<&str>, event: Option<&str>, encoded: &Encoded) -> Value {
        let mut out = BytesMut::from("{");
        put_members(channel, event, encoded, &mut out);
        out.put_u8(b'}');
        serde_json::from_slice(&out).unwrap()
    }

    proptest! {
        #[test]
        fn nam_2_any_text_is_read_back(channel in ".*", event in ".*", text in ".*") {
            let read = read(Some(&channel), Some(&event), &Encoded::text(text.as_str()));
            prop_assert_eq!(read, json!({ "channel": channel, "event": event, "data": text }));
        }
    }

    #[test]
    fn nam_2_each_kind_of_payload_is_data() {
        let data = |encoded| read(None, None, &encoded)["data"].clone();
        assert_eq!(data(Encoded::json("[1,\n {}]")), json!([1, {}]));
        assert_eq!(data(Encoded::text("\"\u{0}\n")), json!("\"\u{0}\n"));
        assert_eq!(data(Encoded::binary(vec![0, 0xff])), json!("AP8="));
        let nothing = read(None, None, &Encoded::json("1"));
        assert_eq!((&nothing["channel"], &nothing["event"]), (&Value::Null, &Value::Null));
    }
}
