//! What a watch tells: who came and who left.

use super::identity::Identity;

/// An event of a [`Watch`](crate::Watch).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Presence {
    /// The identity has its first active holder.
    Came(Identity),
    /// The last active holder of the identity ended, or began to drain.
    Left(Identity),
    /// The watch was full, so that this many events were not kept: at this place, between the event
    /// before and the one after it. What the earlier events said of an identity may not be true any
    /// more; ask [`holders`](crate::SubscriberRegistry::holders).
    Missed(u64),
}
