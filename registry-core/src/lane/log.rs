//! The entries of a lane's log, and how a long log is compacted.

use super::book::{Audience, Numbers};
use crate::types::id::{Key, MemberId};
use crate::types::message::Message;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

/// Logs shorter than this are not worth compacting, and an empty log keeps this much room.
pub(crate) const COMPACT_FROM: usize = 1024;

/// One entry of a lane's log, in the registry's order. `S` is what the lane keeps of a subscriber,
/// and `B` what else can stand in its log.
pub(crate) enum Entry<T, S, B = Infallible> {
    Broadcast(Broadcast<T>),
    Join(MemberId, S, Numbers),
    Leave(Key),
    /// An entry before which everything earlier must have been applied.
    Border(B),
}

/// A message and whom it is for: all that hear its channel, or some to whom it is addressed.
pub(crate) struct Broadcast<T> {
    pub(crate) audience: Audience,
    pub(crate) message: Arc<Message<T>>,
}

/// Which entries of a log concern subscribers that joined and left within it, so that nothing needs
/// them.
pub(crate) fn obsolete<'a, T: 'a, S: 'a, B: 'a>(
    log: impl DoubleEndedIterator<Item = &'a Entry<T, S, B>> + ExactSizeIterator,
) -> Vec<bool> {
    let mut left: HashMap<Key, usize> = HashMap::new();
    let mut obsolete = vec![false; log.len()];
    // Backwards, because a key is reused: a leave belongs to the nearest join of its key before it.
    for (at, entry) in log.enumerate().rev() {
        match entry {
            Entry::Leave(key) => {
                left.insert(*key, at);
            }
            Entry::Join(id, ..) => {
                if let Some(leave) = left.remove(&id.key) {
                    obsolete[at] = true;
                    obsolete[leave] = true;
                }
            }
            Entry::Broadcast(_) | Entry::Border(_) => {}
        }
    }
    obsolete
}
