//! The statistics of a registry.

use super::channel::Channel;
use super::close::CloseReason;
use std::collections::BTreeMap;

/// The counts of a registry, read at one moment.
///
/// # Examples
/// ```
/// use registry_core::{Identity, Registration, SubscriberRegistry};
/// # use registry_core::{CloseReason, Message, SendOutcome, Sink};
/// # struct Screen;
/// # impl Sink<String> for Screen {
/// #     fn send(&self, _: &std::sync::Arc<Message<String>>) -> SendOutcome {
/// #         SendOutcome::Accepted
/// #     }
/// #     fn close(&self, _: CloseReason) {}
/// # }
///
/// let registry = SubscriberRegistry::<String>::new();
/// let ada = Identity::new("account", "ada");
/// let _hers = registry.subscribe_with(Screen, Registration::new().with_group(ada.clone()))?;
/// let _other = registry.subscribe_with(Screen, Registration::new())?;
/// registry.close_by_identity(&ada);
/// let stats = registry.stats();
/// assert_eq!((stats.subscribers, stats.formats["sink"]), (1, 1));
/// assert_eq!(stats.ended[&CloseReason::Revoked], 1);
/// # Ok::<_, registry_core::SubscribeError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// Active subscribers.
    pub subscribers: usize,
    /// Subscribers that the shutdown ended and whose owners still flush.
    pub draining: usize,
    /// Active subscribers by the name of their wire format; `"sink"` for sinks.
    pub formats: BTreeMap<&'static str, usize>,
    /// Channels that at least one active subscriber names.
    pub channels_named: usize,
    /// Active subscribers that hear every channel.
    pub unfiltered: usize,
    /// Active subscribers that a [flusher](crate::Flusher) serves.
    pub in_lanes: usize,
    /// Outboxes with a [wire attached](crate::Outbox::attach) whose owner has not dropped them.
    pub wired: usize,
    /// Writes that flushers made; those of owners are not among them.
    pub lane_writes: u64,
    /// Messages in the writes of flushers. One write has several when messages come faster than
    /// they are written.
    pub lane_messages: u64,
    /// Ended subscribers, by reason.
    pub ended: BTreeMap<CloseReason, u64>,
    /// Broadcasts and directed messages so far.
    pub broadcasts: u64,
    /// Messages that a policy or a bound dropped.
    pub dropped: u64,
    /// Open tickets.
    pub tickets: usize,
    /// Past revocations that the registry remembers because tickets are open.
    pub remembered_revocations: usize,
    /// Subscribers that the registry's indexes have visited. The increase during an operation is
    /// its cost, independent of the clock.
    pub visits: u64,
}

/// A channel that subscribers name, and how many do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ChannelCount {
    /// Its name.
    pub channel: Channel,
    /// Active subscribers that name it; those that hear every channel are not among them.
    pub subscribers: usize,
}
