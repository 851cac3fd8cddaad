//! The envelope of one broadcast, and how a payload becomes bytes.

use crate::channel::Channel;
use crate::report::Tally;
use bytes::{Bytes, BytesMut};
use std::fmt;

/// Names one broadcast: `epoch-seq`.
///
/// The epoch is drawn at random for each registry; the sequence number counts its broadcasts from 1. The order of the
/// numbers is the order in which every subscriber sees the broadcasts (ORD-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId {
    epoch: u64,
    seq: u64,
}

impl MessageId {
    /// Creates an id: a registry draws those of its broadcasts by itself, and a test of a [`WireFormat`] chooses.
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

/// One broadcast, as every subscriber receives it: shared and unalterable (DEL-6).
pub struct Message<T> {
    pub(crate) id: MessageId,
    pub(crate) channel: Channel,
    pub(crate) data: T,
    pub(crate) body: Option<Bytes>,
    pub(crate) tally: Tally,
}

impl<T> Message<T> {
    /// Returns the broadcast's id.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Returns the channel's name.
    #[must_use]
    pub fn channel(&self) -> &str {
        self.channel.as_str()
    }

    /// Returns the payload.
    #[must_use]
    pub fn data(&self) -> &T {
        &self.data
    }

    /// Returns the encoded payload; `None` while the registry has no [`Encode`].
    #[must_use]
    pub fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }
}

impl<T: fmt::Debug> fmt::Debug for Message<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("channel", &self.channel)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

/// The error of an [`Encode`].
pub type EncodeError = Box<dyn std::error::Error + Send + Sync>;

/// Turns a payload into bytes, once per broadcast and before the broadcast takes its id.
pub trait Encode<T>: Send + Sync + 'static {
    /// Encodes one payload.
    ///
    /// # Errors
    /// Whatever makes the payload impossible to encode; the broadcast fails with it, reaches nobody and uses no id (DEL-8).
    fn encode(&self, data: &T) -> Result<Bytes, EncodeError>;
}

impl<T, F> Encode<T> for F
where
    F: Fn(&T) -> Result<Bytes, EncodeError> + Send + Sync + 'static,
{
    fn encode(&self, data: &T) -> Result<Bytes, EncodeError> {
        self(data)
    }
}

/// Encodes payloads as JSON text.
///
/// A raw carriage return can stand in JSON only as white space (a `RawValue` may bring one along); it becomes a space, so
/// that line-based formats carry the text unchanged.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl<T: serde::Serialize> Encode<T> for Json {
    fn encode(&self, data: &T) -> Result<Bytes, EncodeError> {
        let mut text = serde_json::to_vec(data)?;
        for byte in &mut text {
            if *byte == b'\r' {
                *byte = b' ';
            }
        }
        Ok(text.into())
    }
}

/// How an encoded payload is framed for one kind of wire.
///
/// A format is a `static`: outboxes of the same format share each frame, which is built once per broadcast.
pub struct WireFormat {
    name: &'static str,
    frame: fn(MessageId, &[u8], &mut BytesMut),
    envelope: Option<Envelope>,
    notice: Option<fn(u64, &mut BytesMut)>,
}

/// What surrounds the frames of one write.
struct Envelope {
    head: fn(usize, &mut BytesMut),
    tail: &'static [u8],
}

impl WireFormat {
    /// Creates a format from its name (for statistics) and a pure function that appends one frame to a buffer.
    ///
    /// The function runs under a lock of the registry: it must do nothing but write the frame. If it panics, the outboxes of
    /// this format that the broadcast matches are ended as [`Failed`](crate::CloseReason::Failed) (ISO-8). So for the
    /// functions of the other two methods.
    #[must_use]
    pub const fn new(name: &'static str, frame: fn(MessageId, &[u8], &mut BytesMut)) -> Self {
        Self { name, frame, envelope: None, notice: None }
    }

    /// Sets what a write to an [attached wire](crate::Outbox::attach) is put into, however many frames it holds: `head` appends
    /// what precedes so many bytes of frames, and `tail` follows them. A chunk of HTTP/1.1 is such an envelope.
    #[must_use]
    pub const fn with_envelope(mut self, head: fn(usize, &mut BytesMut), tail: &'static [u8]) -> Self {
        self.envelope = Some(Envelope { head, tail });
        self
    }

    /// Sets the frame that tells a peer how many messages were dropped before the next one. Without it the peer of an
    /// attached wire is not told.
    #[must_use]
    pub const fn with_notice(mut self, notice: fn(u64, &mut BytesMut)) -> Self {
        self.notice = Some(notice);
        self
    }

    /// Returns the format's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Frames one encoded payload.
    #[must_use]
    pub fn frame(&self, id: MessageId, body: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(body.len() + FRAMING);
        (self.frame)(id, body, &mut out);
        out.freeze()
    }

    /// The frame that tells of `lost` messages, if there is anything to tell and a way to.
    #[must_use]
    pub fn notice(&self, lost: u64) -> Option<Bytes> {
        let notice = self.notice.filter(|_| lost > 0)?;
        let mut out = BytesMut::new();
        notice(lost, &mut out);
        Some(out.freeze())
    }

    /// Puts frames into the envelope of one write; nothing into none.
    #[must_use]
    pub fn join(&self, frames: &[Bytes]) -> Bytes {
        if let ([frame], None) = (frames, &self.envelope) {
            return frame.clone();
        }
        let bytes = frames.iter().map(Bytes::len).sum();
        if bytes == 0 {
            return Bytes::new(); // an empty chunk of HTTP/1.1 would end the stream
        }
        let mut out = BytesMut::with_capacity(bytes + FRAMING);
        if let Some(envelope) = &self.envelope {
            (envelope.head)(bytes, &mut out);
        }
        for frame in frames {
            out.extend_from_slice(frame);
        }
        if let Some(envelope) = &self.envelope {
            out.extend_from_slice(envelope.tail);
        }
        out.freeze()
    }
}

/// Room for what a format adds to a payload, so that its buffer is allocated once.
pub(crate) const FRAMING: usize = 64;

impl fmt::Debug for WireFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WireFormat").field(&self.name).finish()
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
        }
    }
}
