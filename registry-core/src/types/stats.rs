//! What a registry tells about itself.

use super::channel::Channel;
use super::close::CloseReason;
use std::collections::BTreeMap;

/// What a registry holds and has done, read at one moment.
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
    /// Broadcasts so far.
    pub broadcasts: u64,
    /// Messages that a policy or a bound dropped.
    pub dropped: u64,
    /// Open tickets.
    pub tickets: usize,
    /// Past revocations that the registry remembers for the sake of open tickets.
    pub remembered_revocations: usize,
    /// Steps that the registry's indexes took so far, in subscribers touched: the cost of an
    /// operation, without a clock.
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
