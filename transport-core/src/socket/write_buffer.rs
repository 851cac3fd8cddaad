//! Frames on their way to a stream, with the borders between them kept.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Frames that a connection's task has taken from its outbox and not yet written.
///
/// It is a [`Buf`] over all of them, so one vectored write takes as many as fit. It knows whether
/// the last write ended between two frames, because a farewell can follow only there.
///
/// # Examples
/// ```
/// use bytes::Buf;
/// use transport_core::WriteBuffer;
///
/// let mut buffer = WriteBuffer::new();
/// buffer.push("first".into());
/// buffer.push("second".into());
/// buffer.advance(3); // a write took so many bytes
/// assert!(buffer.is_mid_frame());
/// assert!(!buffer.discard(), "the rest of the first frame has to be written before a farewell");
/// assert_eq!(buffer.chunk(), b"st");
/// ```
#[derive(Debug, Default)]
pub struct WriteBuffer {
    frames: VecDeque<Bytes>,
    bytes: usize,
    mid_frame: bool,
}

impl WriteBuffer {
    /// Creates an empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a frame.
    pub fn push(&mut self, frame: Bytes) {
        if !frame.is_empty() {
            self.bytes += frame.len();
            self.frames.push_back(frame);
        }
    }

    /// Tells whether nothing is left to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Tells whether a frame is partly written.
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        self.mid_frame
    }

    /// Drops every frame that is not partly written. Returns true when none is left, so that a
    /// farewell can follow.
    pub fn discard(&mut self) -> bool {
        self.frames.truncate(usize::from(self.mid_frame));
        self.bytes = self.frames.iter().map(Bytes::len).sum();
        self.frames.is_empty()
    }
}

impl Buf for WriteBuffer {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.frames.front().map_or(&[], |frame| frame)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.len().min(self.frames.len());
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(frame);
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let Some(front) = self.frames.front_mut() else { return };
            if count < front.len() {
                front.advance(count);
                self.bytes -= count;
                self.mid_frame = true;
                return;
            }
            count -= front.len();
            self.bytes -= front.len();
            self.mid_frame = false;
            self.frames.pop_front();
        }
        if self.frames.is_empty() {
            self.frames = VecDeque::new(); // an idle connection keeps no buffer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rev_3_borders_survive_writes_of_any_size(
            sizes in proptest::collection::vec(0_usize..20, 0..8),
            writes in proptest::collection::vec(1_usize..30, 0..20),
        ) {
            let mut buffer = WriteBuffer::new();
            let mut borders = vec![0];
            let whole: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|i| i as u8).collect();
            for size in sizes {
                let start = *borders.last().unwrap();
                buffer.push(Bytes::copy_from_slice(&whole[start..start + size]));
                borders.push(start + size);
            }
            let mut written = 0;
            for write in writes {
                let chunk = buffer.chunk().len();
                prop_assert_eq!(buffer.chunk(), &whole[written..written + chunk]);
                let step = write.min(buffer.remaining());
                buffer.advance(step);
                written += step;
                prop_assert_eq!(buffer.remaining(), whole.len() - written);
                prop_assert_eq!(buffer.is_mid_frame(), !borders.contains(&written));
            }
            let rest = borders.iter().find(|border| **border >= written).unwrap() - written;
            prop_assert_eq!(buffer.discard(), rest == 0);
            prop_assert_eq!(buffer.remaining(), rest);
        }
    }
}
