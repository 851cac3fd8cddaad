//! Frames from the server: text, ping and close, never masked and never fragmented.

use bytes::{BufMut, Bytes, BytesMut};
use registry_core::{BodyKind, CloseReason, Encoded, MessageHead, WireFormat};

/// The frames of a raw WebSocket: one frame for each message, with its payload and nothing else. A
/// binary payload makes a binary frame, any other a text frame. The id, the channel and the event's
/// name are not sent, nor how many messages a slow reader lost: [`LIVE`](crate::LIVE) does.
///
/// # Examples
/// ```
/// use registry_core::{Channel, Encoded, MessageHead, MessageId};
/// use transport_ws::WS;
///
/// let runs = Channel::from("runs");
/// let frame = WS.frame(MessageHead::new(MessageId::new(1, 7), &runs), &Encoded::json("{}"));
/// assert_eq!(frame.as_ref(), b"\x81\x02{}");
/// ```
pub static WS: WireFormat = WireFormat::new("ws", message);

/// An empty ping.
pub(crate) const PING: Bytes = Bytes::from_static(&[FIN | 0x9, 0]);

const FIN: u8 = 0x80;
/// The opcode of a text frame.
pub(crate) const TEXT: u8 = 0x1;
/// The opcode of a binary frame.
const BINARY: u8 = 0x2;

fn message(_: MessageHead<'_>, encoded: &Encoded, out: &mut BytesMut) {
    payload(encoded, out);
}

/// A frame with a payload and nothing else.
pub(crate) fn bare(encoded: &Encoded) -> Bytes {
    let mut out = BytesMut::with_capacity(10 + encoded.body().len());
    payload(encoded, &mut out);
    out.freeze()
}

fn payload(encoded: &Encoded, out: &mut BytesMut) {
    let opcode = if encoded.kind() == BodyKind::Binary { BINARY } else { TEXT };
    frame(opcode, encoded.body(), out);
}

/// Appends a frame.
pub(crate) fn frame(opcode: u8, body: &[u8], out: &mut BytesMut) {
    out.put_u8(FIN | opcode);
    match body.len() {
        short @ 0..=125 => out.put_u8(short as u8),
        middle @ 126..=0xffff => {
            out.put_u8(126);
            out.put_u16(middle as u16);
        }
        long => {
            out.put_u8(127);
            out.put_u64(long as u64);
        }
    }
    out.put_slice(body);
}

/// Why the server closes: the registry's reason, or a violation by the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The registry's reason.
    Reason(CloseReason),
    /// A message over the limit.
    TooBig,
    /// Text that is not UTF-8.
    NotUtf8,
    /// Anything else that the protocol or the limits forbid, in words.
    Violation(&'static str),
}

impl Closing {
    /// The close frame, if there is anything to say. Never code 1000 (WS-1).
    pub(crate) fn frame(self) -> Option<Bytes> {
        let (code, text): (u16, &str) = match self {
            Self::Reason(reason) => match reason {
                CloseReason::Revoked => (4001, reason.as_str()),
                CloseReason::Expired => (4002, reason.as_str()),
                CloseReason::Heartbeat => (4003, reason.as_str()),
                CloseReason::Evicted => (4004, reason.as_str()),
                CloseReason::LoggedOut => (4005, reason.as_str()),
                CloseReason::Lagged => (1013, reason.as_str()),
                CloseReason::Failed => (1011, reason.as_str()),
                CloseReason::Protocol => (1008, reason.as_str()),
                CloseReason::Shutdown => (1001, reason.as_str()),
                CloseReason::Unsubscribed => return None,
                _ => return None,
            },
            Self::TooBig => (1009, "protocol: message too big"),
            Self::NotUtf8 => (1007, "protocol: text is not UTF-8"),
            Self::Violation(text) => (1008, text),
        };
        let mut out = BytesMut::with_capacity(4 + text.len());
        out.put_u8(FIN | 0x8);
        out.put_u8(2 + text.len() as u8);
        out.put_u16(code);
        out.put_slice(text.as_bytes());
        Some(out.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry_core::{Channel, MessageId};
    use std::io::Cursor;
    use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocket};

    /// Reads the bytes as an independent client does.
    fn read(bytes: &[u8]) -> Message {
        WebSocket::from_raw_socket(Cursor::new(bytes.to_vec()), Role::Client, None).read().unwrap()
    }

    #[test]
    fn ws_1_a_payload_of_every_length_class_and_kind_is_read_back() {
        let runs = Channel::from("runs");
        let head = MessageHead::new(MessageId::new(1, 1), &runs);
        for length in [0, 1, 125, 126, 127, 0xffff, 0x10000, 1 << 20] {
            let body = "x".repeat(length);
            let json = WS.frame(head, &Encoded::json(body.as_str()));
            assert_eq!(read(&json), Message::text(body.as_str()));
            assert_eq!(WS.frame(head, &Encoded::text(body.as_str())), json);
            let binary = WS.frame(head, &Encoded::binary(body.clone().into_bytes()));
            assert_eq!(read(&binary), Message::binary(body.into_bytes()));
        }
    }

    #[test]
    fn ws_1_close_codes_are_those_of_the_table() {
        // All but the last, which is checked below.
        let expected: [u16; CloseReason::ALL.len() - 1] =
            [4001, 4005, 4002, 4003, 4004, 1013, 1011, 1008, 1001];
        for (reason, code) in CloseReason::ALL.into_iter().zip(expected) {
            let Message::Close(Some(close)) = read(&Closing::Reason(reason).frame().unwrap())
            else {
                panic!("{reason}")
            };
            assert_eq!((u16::from(close.code), close.reason.as_str()), (code, reason.as_str()));
        }
        assert_eq!(Closing::Reason(CloseReason::Unsubscribed).frame(), None);
        for (closing, code) in [
            (Closing::TooBig, 1009),
            (Closing::NotUtf8, 1007),
            (Closing::Violation("protocol: x"), 1008),
        ] {
            let Message::Close(Some(close)) = read(&closing.frame().unwrap()) else {
                panic!("{closing:?}")
            };
            assert_eq!(u16::from(close.code), code);
            assert!(close.reason.starts_with("protocol: "), "the text names the reason");
        }
        assert!(matches!(read(&PING), Message::Ping(payload) if payload.is_empty()));
    }
}
