//! The subprotocol `live.v1`: JSON messages that say more than a payload, either way. The protocol
//! is described in `docs/protocol.md`, and every message fits `live.v1.schema.json`.
//!
//! Invariant: a message of the client that has a `ref` gets an answer that bears it: its replies,
//! or one `ack`, or one `error`.

use crate::frame::{TEXT, frame};
use bytes::{BufMut, Bytes, BytesMut};
use registry_core::{Encoded, EventName, MessageHead, MessageId, WireFormat};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::Write;
use transport_core::{put_data, put_members};

/// The name of the subprotocol.
pub(crate) const LIVE_V1: &str = "live.v1";

/// How long a `ref` may be that is text, in characters.
const MAX_REF_LENGTH: usize = 64;

/// The frames of a WebSocket that speaks `live.v1`: each message is a JSON object with its id, its
/// channel, its event's name and its payload, and losses are told.
///
/// # Examples
/// ```
/// use registry_core::{Channel, Encoded, MessageHead, MessageId};
/// use transport_ws::LIVE;
///
/// let runs = Channel::from("runs");
/// let frame = LIVE.frame(MessageHead::new(MessageId::new(1, 7), &runs), &Encoded::json("{}"));
/// let json: serde_json::Value = serde_json::from_slice(&frame[2..]).unwrap();
/// assert_eq!((&json["type"], &json["channel"]), (&"event".into(), &"runs".into()));
/// assert!(frame.ends_with(br#""event":null,"data":{}}"#));
/// ```
pub static LIVE: WireFormat =
    WireFormat::new("ws", event).with_notice(lagged).with_snapshot(snapshot);

fn event(head: MessageHead<'_>, encoded: &Encoded, out: &mut BytesMut) {
    let name = encoded.name().map(EventName::as_str);
    put_event(Some(head.id()), Some(head.channel()), name, encoded, out);
}

/// A part of a snapshot. It is of no one channel.
fn snapshot(at: Option<MessageId>, encoded: &Encoded, out: &mut BytesMut) {
    put_event(at, None, Some("snapshot"), encoded, out);
}

fn put_event(
    id: Option<MessageId>,
    channel: Option<&str>,
    name: Option<&str>,
    encoded: &Encoded,
    out: &mut BytesMut,
) {
    let mut message = BytesMut::with_capacity(encoded.body().len() + 128);
    message.put_slice(br#"{"type":"event","id":"#);
    // Writing to a `BytesMut` does not fail.
    let _infallible = match id {
        Some(id) => write!(message, "\"{id}\","),
        None => write!(message, "null,"),
    };
    put_members(channel, name, encoded, &mut message);
    message.put_u8(b'}');
    frame(TEXT, &message, out);
}

fn lagged(lost: u64, out: &mut BytesMut) {
    frame(TEXT, format!(r#"{{"type":"lagged","lost":{lost}}}"#).as_bytes(), out);
}

/// The client's name of one of its messages: a text of 1 to 64 characters, or a whole number below
/// 2⁵³,
/// which every language reads alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Ref {
    Number(u64),
    Text(String),
}

impl Ref {
    fn is_good(&self) -> bool {
        match self {
            Self::Number(number) => *number < 1 << 53,
            Self::Text(text) => (1..=MAX_REF_LENGTH).contains(&text.chars().count()),
        }
    }
}

/// Why a message of the client is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    /// It is not a message of the protocol.
    Malformed,
    /// The server does not do that.
    Unsupported,
}

/// A message of the server's besides events, losses and replies.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Told<'a> {
    /// Channels that were asked for and are not granted.
    Refused { channels: Vec<&'a str> },
    /// The message was handled.
    Ack {
        #[serde(rename = "ref")]
        reference: &'a Ref,
    },
    /// The message was not accepted.
    Error {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
        code: Code,
        message: &'a str,
    },
}

impl Told<'_> {
    pub(crate) fn frame(&self) -> Bytes {
        // Strings and numbers can always be written as JSON.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let mut out = BytesMut::with_capacity(text.len() + 10);
        frame(TEXT, &text, &mut out);
        out.freeze()
    }
}

/// A reply to a message, which may have no `ref`.
pub(crate) fn reply(reference: Option<&Ref>, encoded: &Encoded) -> Bytes {
    let mut message = BytesMut::with_capacity(encoded.body().len() + 64);
    message.put_slice(br#"{"type":"reply","#);
    if let Some(reference) = reference {
        message.put_slice(br#""ref":"#);
        let _infallible = serde_json::to_writer((&mut message).writer(), reference);
        message.put_u8(b',');
    }
    message.put_slice(br#""data":"#);
    put_data(encoded, &mut message);
    message.put_u8(b'}');
    let mut out = BytesMut::with_capacity(message.len() + 10);
    frame(TEXT, &message, &mut out);
    out.freeze()
}

/// What the client says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A message for the application.
    Message { reference: Option<Ref>, data: String },
    /// Something that is not accepted, and the sentence that says why.
    Fault { reference: Option<Ref>, code: Code, message: String },
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(rename = "ref")]
    reference: Option<Ref>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

/// What is read of a message that cannot be read.
#[derive(Deserialize)]
struct OnlyRef {
    #[serde(rename = "ref")]
    reference: Option<Ref>,
}

/// Tells `null` from nothing.
fn present<'a, D: Deserializer<'a>>(data: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(data).map(Some)
}

/// Reads a message of the client. The data of a message is handed on as the application reads it
/// from a raw WebSocket: a string as its text, and anything else as JSON.
pub(crate) fn read(text: &str) -> Heard {
    let fault = |reference, code, message: &str| Heard::Fault {
        reference,
        code,
        message: message.to_owned(),
    };
    // A list of the members' values would be read as well.
    if !text.trim_start().starts_with('{') {
        return fault(None, Code::Malformed, "a message of `live.v1` is a JSON object");
    }
    let Raw { kind, reference, data } = match serde_json::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            // Not the error's own text, which quotes the message.
            let (line, column) = (error.line(), error.column());
            let message = format!("not a message of `live.v1` (line {line}, column {column})");
            let reference =
                serde_json::from_str(text).ok().and_then(|OnlyRef { reference }| reference);
            return fault(reference.filter(Ref::is_good), Code::Malformed, &message);
        }
    };
    if !reference.as_ref().is_none_or(Ref::is_good) {
        let message = "`ref` is a text of 1 to 64 characters, or a whole number below 2^53";
        return fault(None, Code::Malformed, message);
    }
    match (&*kind, data) {
        ("message", Some(data)) => {
            let text = serde_json::from_str(data.get());
            let data = text.unwrap_or_else(|_not_a_string| data.get().to_owned());
            Heard::Message { reference, data }
        }
        ("message", None) => fault(reference, Code::Malformed, "a `message` has `data`"),
        ("subscribe" | "unsubscribe" | "renew", _) => {
            let message = format!("this server has no `{kind}`");
            fault(reference, Code::Unsupported, &message)
        }
        _ => fault(reference, Code::Unsupported, "this server knows no such `type`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry_core::Channel;
    use serde_json::{Value, json};

    /// The JSON in a text frame.
    fn json_of(frame: &[u8]) -> Value {
        let head = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        serde_json::from_slice(&frame[head..]).unwrap()
    }

    #[test]
    fn nam_2_an_event_says_what_it_is_and_its_body_is_copied() {
        let runs = Channel::from("ru\"ns");
        let head = MessageHead::new(MessageId::new(1, 7), &runs);
        let created = Encoded::json("{\"run\":\n17}").with_name(EventName::from_static("created"));
        let frame = LIVE.frame(head, &created);
        let expected = json!({
            "type": "event", "id": "0000000000000001-7", "channel": "ru\"ns", "event": "created",
            "data": { "run": 17 },
        });
        assert_eq!(json_of(&frame), expected);
        assert!(frame.ends_with(b"\"data\":{\"run\":\n17}}"), "byte for byte");
        let at = Some(MessageId::new(1, 9));
        for (at, id) in [(at, json!("0000000000000001-9")), (None, Value::Null)] {
            let part = json_of(&LIVE.snapshot(at, &Encoded::json("[]")).unwrap());
            let expected = json!({
                "type": "event", "id": id, "channel": null, "event": "snapshot", "data": [],
            });
            assert_eq!(part, expected);
        }
        assert_eq!(json_of(&LIVE.notice(3).unwrap()), json!({ "type": "lagged", "lost": 3 }));
    }

    #[test]
    fn ws_6_what_the_server_says_bears_the_clients_ref() {
        let (number, text) = (Ref::Number(7), Ref::Text("a".into()));
        let refused = Told::Refused { channels: vec!["pay", "a,b"] };
        assert_eq!(
            json_of(&refused.frame()),
            json!({ "type": "refused", "channels": ["pay", "a,b"] })
        );
        let ack = Told::Ack { reference: &number };
        assert_eq!(json_of(&ack.frame()), json!({ "type": "ack", "ref": 7 }));
        let error =
            |reference| Told::Error { reference, code: Code::Unsupported, message: "no" }.frame();
        assert_eq!(
            json_of(&error(Some(&text))),
            json!({ "type": "error", "ref": "a", "code": "unsupported", "message": "no" })
        );
        assert_eq!(json_of(&error(None)).get("ref"), None);
        let replied = |reference| json_of(&reply(reference, &Encoded::text("hi")));
        assert_eq!(replied(Some(&text)), json!({ "type": "reply", "ref": "a", "data": "hi" }));
        assert_eq!(replied(None), json!({ "type": "reply", "data": "hi" }));
    }

    #[test]
    fn ws_6_a_message_of_the_client_is_read_or_told_what_is_wrong_with_it() {
        let message = |text: &str| match read(text) {
            Heard::Message { reference, data } => (reference, data),
            fault => panic!("{text}: {fault:?}"),
        };
        assert_eq!(message(r#"{"type":"message","data":"h\u0069"}"#), (None, "hi".into()));
        assert_eq!(
            message(r#"{"ref":9007199254740991,"data":{"a": [1]},"type":"message","more":0}"#),
            (Some(Ref::Number((1 << 53) - 1)), r#"{"a": [1]}"#.into())
        );
        assert_eq!(
            message(r#"{"type":"message","ref":"x","data":null}"#),
            (Some(Ref::Text("x".into())), "null".into()),
            "null is data"
        );
        let fault = |text: &str| match read(text) {
            Heard::Fault { reference, code, .. } => (reference, code),
            message => panic!("{text}: {message:?}"),
        };
        let with_ref = |letter: &str, n| {
            format!(r#"{{"type":"message","data":1,"ref":"{}"}}"#, letter.repeat(n))
        };
        assert_eq!(message(&with_ref("é", 64)).0, Some(Ref::Text("é".repeat(64))));
        let long = with_ref("x", 65);
        for malformed in [
            "",
            "hello",
            "[]",
            r#"["message",1,"data"]"#,
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"message","data":1,"ref":-1}"#,
            r#"{"type":"message","data":1,"ref":1.5}"#,
            r#"{"type":"message","data":1,"ref":9007199254740992}"#,
            r#"{"type":"message","data":1,"ref":""}"#,
            r#"{"type":"message","data":1,"ref":[]}"#,
            r#"{"type":"message","data":1}x"#,
            &long,
        ] {
            assert_eq!(fault(malformed), (None, Code::Malformed), "{malformed}");
        }
        assert_eq!(fault(r#"{"type":"message","ref":1}"#), (Some(Ref::Number(1)), Code::Malformed));
        for readable in [r#"{"ref":1}"#, r#"{"type":7,"ref":1}"#] {
            assert_eq!(fault(readable), (Some(Ref::Number(1)), Code::Malformed), "{readable}");
        }
        let echo = format!("\"{}\"", "\u{7f}".repeat(10_000));
        let Heard::Fault { message, .. } = read(&echo) else { panic!("it is no message") };
        assert!(message.len() < 100, "what is wrong is not sent back");
        for unsupported in ["subscribe", "unsubscribe", "renew", "event", "reset", ""] {
            let text = format!(r#"{{"type":"{unsupported}","ref":2,"channels":["a"]}}"#);
            assert_eq!(fault(&text), (Some(Ref::Number(2)), Code::Unsupported), "{unsupported}");
        }
    }
}
