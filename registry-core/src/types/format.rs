//! How an encoded payload is framed for one kind of wire.

use super::encode::Encoded;
use super::id::MessageId;
use bytes::{Bytes, BytesMut};
use std::fmt;

/// How an encoded payload is framed for one kind of wire.
///
/// A format is a `static`: outboxes of the same format share each frame, which is built once per
/// broadcast.
///
/// # Examples
/// ```
/// use registry_core::WireFormat;
///
/// static LINES: WireFormat = WireFormat::new("lines", |_id, encoded, out| {
///     out.extend_from_slice(encoded.body());
///     out.extend_from_slice(b"\n");
/// });
///
/// assert_eq!(LINES.name(), "lines");
/// ```
pub struct WireFormat {
    name: &'static str,
    frame: FrameFn,
    envelope: Option<Envelope>,
    notice: Option<fn(u64, &mut BytesMut)>,
}

/// Appends the frame of one broadcast to a buffer.
type FrameFn = fn(MessageId, &Encoded, &mut BytesMut);

/// What surrounds the frames of one write.
struct Envelope {
    head: fn(usize, &mut BytesMut),
    tail: &'static [u8],
}

impl WireFormat {
    /// Creates a format from its name (for statistics) and a pure function that appends one frame
    /// to a buffer.
    ///
    /// The function runs under a lock of the registry: it must do nothing but write the frame. If
    /// it panics, the outboxes of this format that the broadcast matches end as
    /// [`Failed`](crate::CloseReason::Failed) (ISO-8). The same holds for the functions given to
    /// the other two methods.
    #[must_use]
    pub const fn new(name: &'static str, frame: fn(MessageId, &Encoded, &mut BytesMut)) -> Self {
        Self { name, frame, envelope: None, notice: None }
    }

    /// Sets what surrounds each write to an [attached wire](crate::Outbox::attach), however many
    /// frames the write holds: `head` appends what precedes so many bytes of frames, and `tail`
    /// follows them. A chunk of HTTP/1.1 is such an envelope.
    ///
    /// # Examples
    /// ```
    /// use bytes::Bytes;
    /// use registry_core::WireFormat;
    ///
    /// static CHUNKS: WireFormat =
    ///     WireFormat::new("chunks", |_, encoded, out| out.extend_from_slice(encoded.body()))
    ///         .with_envelope(
    ///             |bytes, out| out.extend_from_slice(format!("{bytes:x}\r\n").as_bytes()),
    ///             b"\r\n",
    ///         );
    ///
    /// let frames = [Bytes::from("half of "), Bytes::from("it")];
    /// assert_eq!(CHUNKS.join(&frames), "a\r\nhalf of it\r\n");
    /// ```
    #[must_use]
    pub const fn with_envelope(
        mut self,
        head: fn(usize, &mut BytesMut),
        tail: &'static [u8],
    ) -> Self {
        self.envelope = Some(Envelope { head, tail });
        self
    }

    /// Sets the frame that tells a peer how many messages were dropped before the next one. Without
    /// it, the peer of an attached wire does not learn of them.
    ///
    /// # Examples
    /// ```
    /// use registry_core::WireFormat;
    ///
    /// static TEXT: WireFormat =
    ///     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()))
    ///         .with_notice(|lost, out| out.extend_from_slice(format!("{lost} lost").as_bytes()));
    ///
    /// assert_eq!(TEXT.notice(3).as_deref(), Some(&b"3 lost"[..]));
    /// ```
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
    ///
    /// # Examples
    /// ```
    /// use registry_core::{Encoded, MessageId, WireFormat};
    ///
    /// static NUMBERED: WireFormat = WireFormat::new("numbered", |id, encoded, out| {
    ///     out.extend_from_slice(format!("{}: ", id.seq()).as_bytes());
    ///     out.extend_from_slice(encoded.body());
    /// });
    ///
    /// assert_eq!(NUMBERED.frame(MessageId::new(0, 17), &Encoded::text("done")), "17: done");
    /// ```
    #[must_use]
    pub fn frame(&self, id: MessageId, encoded: &Encoded) -> Bytes {
        let mut out = BytesMut::with_capacity(encoded.body().len() + FRAMING);
        (self.frame)(id, encoded, &mut out);
        out.freeze()
    }

    /// Returns the frame that tells a peer of `lost` messages; `None` when nothing was lost, or
    /// when the format has no such frame.
    ///
    /// # Examples
    /// ```
    /// use registry_core::WireFormat;
    ///
    /// const TEXT: WireFormat =
    ///     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// static WITH_NOTICE: WireFormat = TEXT.with_notice(|_, out| out.extend_from_slice(b"lost"));
    ///
    /// assert!(WITH_NOTICE.notice(1).is_some());
    /// assert!(WITH_NOTICE.notice(0).is_none() && TEXT.notice(1).is_none());
    /// ```
    #[must_use]
    pub fn notice(&self, lost: u64) -> Option<Bytes> {
        let notice = self.notice.filter(|_| lost > 0)?;
        let mut out = BytesMut::new();
        notice(lost, &mut out);
        Some(out.freeze())
    }

    /// Joins frames into the bytes of one write, in the format's envelope. Without any frame the
    /// write is empty.
    ///
    /// # Examples
    /// ```
    /// use bytes::Bytes;
    /// use registry_core::WireFormat;
    ///
    /// static TEXT: WireFormat =
    ///     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    ///
    /// assert_eq!(TEXT.join(&[Bytes::from("half of "), Bytes::from("it")]), "half of it");
    /// assert!(TEXT.join(&[]).is_empty());
    /// ```
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

/// The bytes that a format usually adds to a payload; a buffer with that much room is allocated
/// once.
pub(crate) const FRAMING: usize = 64;

impl fmt::Debug for WireFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WireFormat").field(&self.name).finish()
    }
}
