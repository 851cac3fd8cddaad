//! The frames of broadcasts in the formats of the subscribers, each built once.

use super::log::Broadcast;
use crate::contain::contain;
use crate::subscriber::queue::Queued;
use crate::types::format::{MessageHead, WireFormat};
use crate::types::message::Message;
use bytes::Bytes;

/// Builds a broadcast's frame; `None` when the format's function panicked.
///
/// The panic is contained here; otherwise the lane would lose the wake-ups and the broadcasts
/// behind it.
fn build<T>(format: &WireFormat, message: &Message<T>) -> Option<Bytes> {
    // A registry without an encoder opens no outbox, so there is an encoded payload.
    let encoded = message.encoded.as_ref()?;
    contain(|| format.frame(MessageHead::new(message.id, &message.channel), encoded))
}

/// The frames of one broadcast, by format.
#[derive(Default)]
pub(crate) struct Frames(Vec<(&'static WireFormat, Option<Bytes>)>);

impl Frames {
    pub(crate) fn of<T>(
        &mut self,
        format: &'static WireFormat,
        message: &Message<T>,
    ) -> Option<&Bytes> {
        let known = self.0.iter().position(|(known, _)| std::ptr::eq(*known, format));
        let at = known.unwrap_or_else(|| {
            self.0.push((format, build(format, message)));
            self.0.len() - 1
        });
        self.0[at].1.as_ref()
    }
}

/// The frames of several broadcasts, by format. Each frame has a buffer of its own: a frame that
/// waits for a slow reader must not keep the memory of the others.
#[derive(Default)]
pub(crate) struct SegmentFrames(Vec<(&'static WireFormat, Vec<Option<Queued>>)>);

impl SegmentFrames {
    pub(crate) fn of<T>(
        &mut self,
        format: &'static WireFormat,
        broadcasts: &[Broadcast<T>],
    ) -> &[Option<Queued>] {
        let known = self.0.iter().position(|(known, _)| std::ptr::eq(*known, format));
        let at = known.unwrap_or_else(|| {
            let queued = |Broadcast { message, .. }: &Broadcast<T>| {
                let frame = build(format, message)?;
                Some(Queued { frame, channel: message.channel.clone() })
            };
            self.0.push((format, broadcasts.iter().map(queued).collect()));
            self.0.len() - 1
        });
        &self.0[at].1
    }
}
