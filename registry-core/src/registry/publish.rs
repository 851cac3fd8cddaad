//! How messages are published: to all that hear a channel, or to some to whom they are addressed.

use super::channels::{Hearing, LaneId};
use super::recipients::{Addressed, Recipients};
use super::table::Table;
use super::{Inner, State, SubscriberRegistry};
use crate::contain::{contain, discard, wake_all};
use crate::lane::log::{Broadcast, Entry};
use crate::subscriber::seat::Registrar;
use crate::types::channel::Channel;
use crate::types::encode::{Encode, EncodeError, Encoded};
use crate::types::error::BroadcastError;
use crate::types::id::{MessageId, SubscriptionId};
use crate::types::identity::Identity;
use crate::types::message::Message;
use crate::types::report::{Report, Tally};
use std::sync::Arc;

impl<T: Send + Sync + 'static> SubscriberRegistry<T> {
    /// Sends `data` to every subscriber whose filter lets `channel` pass.
    ///
    /// On return the message is in every matching outbox or in the log of the outbox's lane, or the
    /// outbox's policy was applied. Sinks have received it too, unless another thread or an outer
    /// call is delivering at the moment: that call then delivers it after its own
    /// ([`Report::pending`]). The cost is proportional to the matching subscribers.
    ///
    /// # Errors
    /// [`BroadcastError`] gives the payload back if it cannot be encoded (DEL-8). A failing sink is
    /// not an error (ISO-2): it is ended, and counted in the report.
    ///
    /// # Examples
    /// ```
    /// use registry_core::SubscriberRegistry;
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
    /// assert_eq!(registry.broadcast("runs", "nobody hears it".into())?.matched, 0);
    /// let _subscription = registry.subscribe(Screen, None, None)?;
    /// let report = registry.broadcast("runs", "started".into())?;
    /// assert_eq!((report.accepted, report.id.seq()), (1, 2));
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn broadcast(&self, channel: &str, data: T) -> Result<Report, BroadcastError<T>> {
        self.inner.publish(channel, data, &Listeners)
    }

    /// Sends `data` to every active subscriber that holds the identity, as scope or as group: to
    /// each once, whatever its filter (DIR-1). It is a *directed message*: the address is the
    /// identity, and the channel only names what the message is about.
    ///
    /// In every other way it is like a [broadcast](Self::broadcast): it takes an id of the same
    /// sequence and has one order with all broadcasts (DIR-2), it is subject to the same bounds and
    /// policies, and it may be sent from inside a sink. Who begins to hold the identity afterwards
    /// does not get it. The cost is proportional to the holders.
    ///
    /// # Errors
    /// As for [`broadcast`](Self::broadcast). An identity that nobody holds is not an error: the
    /// report says that the message matched no subscriber.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{ChannelFilter, OutboxOptions, Registration, SubscriberRegistry};
    ///
    /// let registry = SubscriberRegistry::<String>::new();
    /// let hers = |filter| Registration::new().with_filter(filter).with_group(("account", "ada"));
    /// let quiet = ChannelFilter::Only([].into());
    /// let _tab = registry.stream(hers(ChannelFilter::only(["runs"])), OutboxOptions::new())?;
    /// let _other_tab = registry.stream(hers(quiet), OutboxOptions::new())?;
    /// let _stranger = registry.stream(Registration::new(), OutboxOptions::new())?;
    ///
    /// let report = registry.send_to(("account", "ada"), "mail", "3 new letters".into())?;
    /// assert_eq!((report.matched, report.accepted), (2, 2));
    /// assert_eq!(registry.send_to(("account", "bob"), "mail", "none".into())?.matched, 0);
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn send_to(
        &self,
        identity: impl Into<Identity>,
        channel: &str,
        data: T,
    ) -> Result<Report, BroadcastError<T>> {
        self.inner.publish(channel, data, &identity.into())
    }

    /// Sends `data` to one subscriber, whatever its filter, as [`send_to`](Self::send_to) does to
    /// those of an identity (DIR-3). One that has ended, or that drains, gets nothing, and the
    /// report says that the message matched no subscriber.
    ///
    /// # Errors
    /// As for [`broadcast`](Self::broadcast).
    ///
    /// # Examples
    /// ```
    /// use registry_core::{OutboxOptions, Registration, SubscriberRegistry};
    ///
    /// let registry = SubscriberRegistry::<String>::new();
    /// let tab = registry.stream(Registration::new(), OutboxOptions::new())?;
    /// let _other_tab = registry.stream(Registration::new(), OutboxOptions::new())?;
    /// let id = tab.subscription().id();
    /// assert_eq!(registry.send(id, "hints", "press F1 for help".into())?.accepted, 1);
    /// drop(tab);
    /// assert_eq!(registry.send(id, "hints", "too late".into())?.matched, 0);
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn send(
        &self,
        subscriber: SubscriptionId,
        channel: &str,
        data: T,
    ) -> Result<Report, BroadcastError<T>> {
        self.inner.publish(channel, data, &subscriber)
    }
}

impl<T: Send + Sync + 'static> Inner<T> {
    /// Gives a message its id and appends it to the logs of the lanes that serve its recipients, in
    /// one critical section; then delivers what the lanes of outboxes and sinks have.
    #[inline(always)]
    fn publish<A: Address>(
        &self,
        channel: &str,
        data: T,
        address: &A,
    ) -> Result<Report, BroadcastError<T>> {
        let encoded =
            match self.encoder.as_deref().map(|encoder| encode(encoder, &data)).transpose() {
                Ok(encoded) => encoded,
                Err(source) => return Err(BroadcastError { data, source }),
            };
        let mut state = self.state.lock();
        let State { table, lanes } = &mut *state;
        table.seq += 1;
        let id = MessageId::new(self.epoch, table.seq);
        let recipients = address.find(table, channel);
        let matched = recipients.total();
        if matched == 0 {
            drop(recipients);
            drop(state);
            discard(data);
            discard(encoded);
            return Ok(Tally::default().report(id, 0));
        }
        let (outboxes, sinks) = (recipients.of(LaneId::Outboxes), recipients.of(LaneId::Sinks));
        let channel = recipients.channel().cloned().unwrap_or_else(|| Channel::from(channel));
        let message = Arc::new(Message { id, channel, data, encoded, tally: Tally::default() });
        let mut flushers = Vec::new();
        if matched > outboxes + sinks {
            for (lane, log) in lanes.iter().enumerate() {
                let lane = LaneId::Flusher(lane);
                let matched = recipients.of(lane);
                if matched > 0 {
                    flushers.extend(log.broadcast(recipients.audience(lane), &message, matched));
                }
            }
        }
        if outboxes > 0 {
            let (audience, message) = (recipients.audience(LaneId::Outboxes), message.clone());
            self.outboxes.append(Entry::Broadcast(Broadcast { audience, message }));
        }
        if sinks > 0 {
            self.sinks.broadcast(recipients.audience(LaneId::Sinks), &message, sinks);
        }
        drop(recipients);
        drop(state);
        wake_all(flushers);
        // Outboxes first, because a sink may take long.
        if outboxes > 0 {
            self.outboxes.settle(true, |ended| self.remove(ended));
        }
        if sinks > 0 {
            self.sinks.settle(|ended| self.remove(ended));
        }
        let report = message.tally.report(message.id, matched);
        discard(message);
        Ok(report)
    }
}

/// How a publisher names the subscribers that a message is for.
///
/// One function publishes for all of these, compiled for each, so that a broadcast does not pay for
/// the others.
trait Address {
    type Recipients<'a>: Recipients;

    fn find<'a>(&self, table: &'a Table, channel: &str) -> Self::Recipients<'a>;
}

/// All that hear the channel.
struct Listeners;

impl Address for Listeners {
    type Recipients<'a> = Hearing<'a>;

    #[inline(always)]
    fn find<'a>(&self, table: &'a Table, channel: &str) -> Hearing<'a> {
        table.channels.hearing(channel)
    }
}

/// All active ones that hold the identity, whatever they hear.
impl Address for Identity {
    type Recipients<'a> = Addressed;

    fn find(&self, table: &Table, _: &str) -> Addressed {
        table.addressed_by_identity(self)
    }
}

/// This one, if it is active, whatever it hears.
impl Address for SubscriptionId {
    type Recipients<'a> = Addressed;

    fn find(&self, table: &Table, _: &str) -> Addressed {
        table.addressed(*self)
    }
}

/// Encodes a payload; a panic is an error like any other.
fn encode<T: 'static>(encoder: &dyn Encode<T>, data: &T) -> Result<Encoded, EncodeError> {
    contain(|| encoder.encode(data)).unwrap_or_else(|| Err("the encoder panicked".into()))
}
