//! How an encoded payload is framed for one kind of wire.

use super::channel::Channel;
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
/// static LINES: WireFormat = WireFormat::new("lines", |_head, encoded, out| {
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
    snapshot: Option<SnapshotFn>,
}

/// Appends the frame of one broadcast to a buffer.
type FrameFn = fn(MessageHead<'_>, &Encoded, &mut BytesMut);

/// What a frame may say of a message besides its payload.
///
/// # Examples
/// ```
/// use registry_core::{Channel, MessageHead, MessageId};
///
/// let runs = Channel::from("runs");
/// let head = MessageHead::new(MessageId::new(0xaf, 17), &runs);
/// assert_eq!((head.id().seq(), head.channel()), (17, "runs"));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MessageHead<'a> {
    id: MessageId,
    channel: &'a Channel,
}

impl<'a> MessageHead<'a> {
    /// Creates a head.
    #[must_use]
    pub fn new(id: MessageId, channel: &'a Channel) -> Self {
        Self { id, channel }
    }

    /// Returns the message's id.
    #[must_use]
    pub fn id(self) -> MessageId {
        self.id
    }

    /// Returns the channel's name.
    #[must_use]
    pub fn channel(self) -> &'a str {
        self.channel.as_str()
    }
}

/// Appends the frame of a part of a snapshot to a buffer.
type SnapshotFn = fn(Option<MessageId>, &Encoded, &mut BytesMut);

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
    pub const fn new(
        name: &'static str,
        frame: fn(MessageHead<'_>, &Encoded, &mut BytesMut),
    ) -> Self {
        Self { name, frame, envelope: None, notice: None, snapshot: None }
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

    /// Sets the frame of a part of a snapshot; the last part has the id of the last message that
    /// the snapshot holds. Without it, the format cannot carry snapshots.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{Encoded, MessageId, WireFormat};
    ///
    /// const TEXT: WireFormat =
    ///     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// static WITH_SNAPSHOT: WireFormat = TEXT.with_snapshot(|at, encoded, out| {
    ///     let seq = at.map_or(0, MessageId::seq);
    ///     out.extend_from_slice(format!("as of {seq}: ").as_bytes());
    ///     out.extend_from_slice(encoded.body());
    /// });
    ///
    /// let at = Some(MessageId::new(0, 17));
    /// let state = Encoded::text("idle");
    /// assert_eq!(WITH_SNAPSHOT.snapshot(at, &state).as_deref(), Some(&b"as of 17: idle"[..]));
    /// assert!(TEXT.snapshot(at, &state).is_none());
    /// ```
    #[must_use]
    pub const fn with_snapshot(
        mut self,
        snapshot: fn(Option<MessageId>, &Encoded, &mut BytesMut),
    ) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    /// Frames a part of a snapshot; `None` when the format carries none.
    #[must_use]
    pub fn snapshot(&self, at: Option<MessageId>, encoded: &Encoded) -> Option<Bytes> {
        let snapshot = self.snapshot?;
        let mut out = BytesMut::with_capacity(encoded.body().len() + FRAMING);
        snapshot(at, encoded, &mut out);
        Some(out.freeze())
    }

    /// Tells whether the format carries snapshots.
    #[must_use]
    pub fn has_snapshots(&self) -> bool {
        self.snapshot.is_some()
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
    /// use registry_core::{Channel, Encoded, MessageHead, MessageId, WireFormat};
    ///
    /// static NUMBERED: WireFormat = WireFormat::new("numbered", |head, encoded, out| {
    ///     out.extend_from_slice(format!("{} {}: ", head.channel(), head.id().seq()).as_bytes());
    ///     out.extend_from_slice(encoded.body());
    /// });
    ///
    /// let runs = Channel::from("runs");
    /// let head = MessageHead::new(MessageId::new(0, 17), &runs);
    /// assert_eq!(NUMBERED.frame(head, &Encoded::text("done")), "runs 17: done");
    /// ```
    #[must_use]
    pub fn frame(&self, head: MessageHead<'_>, encoded: &Encoded) -> Bytes {
        let mut out = BytesMut::with_capacity(encoded.body().len() + FRAMING);
        (self.frame)(head, encoded, &mut out);
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
