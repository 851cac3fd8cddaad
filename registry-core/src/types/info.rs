//! What a registry tells of one subscriber.

use super::channel::ChannelFilter;
use super::id::SubscriptionId;
use super::identity::Identity;
use std::time::Instant;

/// One active subscriber, as a [page](crate::SubscriberRegistry::page) shows it.
///
/// The feature `serde` writes `id` as its text, each identity as an object with `kind` and `value`,
/// the filter as the list `channels` (`null` for every channel), and moments in seconds: how long
/// ago it was admitted as `age_seconds`, and how long ago its wire took something as
/// `idle_seconds`.
///
/// # Examples
/// See [`page`](crate::SubscriberRegistry::page).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberInfo {
    /// Its id, which [`send`](crate::SubscriberRegistry::send) and
    /// [`close`](crate::SubscriberRegistry::close) take.
    pub id: SubscriptionId,
    /// When it was admitted, by the registry's [clock](crate::Clock).
    pub since: Instant,
    /// When this was read, by the registry's clock.
    pub read_at: Instant,
    /// The identities that it holds: its scope, if it has one, then its groups.
    pub identities: Vec<Identity>,
    /// Which channels it hears.
    pub filter: ChannelFilter,
    /// The name of its wire format; `"sink"` for a sink, `"stream"` for a stream.
    pub format: &'static str,
    /// What its transport [calls it](crate::OutboxOptions::with_label); empty for a sink.
    pub label: &'static str,
    /// Messages that wait in its queue. A sink has none.
    pub queued_messages: usize,
    /// Bytes that wait: those of the queue, and those that its wire has yet to take of a write that
    /// was begun. A sink has none.
    pub queued_bytes: usize,
    /// Messages that were lost to it so far, by its overflow policy or at the bound of its
    /// [flusher](crate::Flusher)'s log. Of a sink, those that it answered
    /// [`Dropped`](crate::SendOutcome::Dropped) to; what the log of all sinks had no room for is
    /// counted in [`Stats::dropped`](crate::Stats::dropped) only.
    pub lost: u64,
    /// When its wire last took bytes, as the owner or the flusher told the time; `None` before
    /// that, and without a wire.
    pub last_write: Option<Instant>,
    /// A [wire](crate::Outbox::attach) is attached.
    pub wired: bool,
}

#[cfg(feature = "serde")]
impl serde::Serialize for SubscriberInfo {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let ago = |moment: Instant| self.read_at.saturating_duration_since(moment).as_secs_f64();
        let channels = match &self.filter {
            ChannelFilter::All => None,
            ChannelFilter::Only(names) => Some(names),
        };
        let mut info = serializer.serialize_struct("SubscriberInfo", 11)?;
        info.serialize_field("id", &self.id)?;
        info.serialize_field("age_seconds", &ago(self.since))?;
        info.serialize_field("identities", &self.identities)?;
        info.serialize_field("channels", &channels)?;
        info.serialize_field("format", self.format)?;
        info.serialize_field("label", self.label)?;
        info.serialize_field("queued_messages", &self.queued_messages)?;
        info.serialize_field("queued_bytes", &self.queued_bytes)?;
        info.serialize_field("lost", &self.lost)?;
        info.serialize_field("idle_seconds", &self.last_write.map(ago))?;
        info.serialize_field("wired", &self.wired)?;
        info.end()
    }
}
