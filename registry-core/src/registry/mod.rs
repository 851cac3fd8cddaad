//! The registry: the only module that locks the table, and the one through which every operation
//! goes.
//!
//! Lock order: the registry's state, then a lane's log; the registry's state, then a seat. Logs and
//! seats are leaves. No application code runs under any of them, except the non-blocking write of a
//! [`Wire`](crate::Wire), which runs under a gate.
//!
//! Invariant: the seat of a subscriber that is not in the table is ended. Both happen in one
//! critical section, or the seat ends first. Otherwise one of two simultaneous revocations could
//! find no subscriber, and return while a send may still begin (REV-1, REV-2).

mod admission;
mod channels;
mod drained;
mod ending;
mod enrol;
mod lanes;
mod observe;
mod publish;
mod recipients;
mod table;
mod ticket;
mod topics;
mod watchers;
mod who;

pub use ticket::Ticket;
pub use watchers::Watch;

use crate::contain::{discard, in_drop};
use crate::lane::flusher_log::FlusherLog;
use crate::lane::outboxes::OutboxLane;
use crate::lane::sinks::SinkLane;
use crate::subscriber::notify::REVOCATION_DEPTH;
use crate::subscriber::outbox::Outbox;
use crate::subscriber::sink::Sink;
use crate::subscriber::stream::SubscriberStream;
use crate::subscriber::subscription::Subscription;
use crate::sync::{AtomicU64, Mutex};
use crate::types::bounds::OutboxOptions;
use crate::types::channel::ChannelFilter;
use crate::types::close::{CloseReason, Revocation};
use crate::types::encode::Encode;
use crate::types::error::SubscribeError;
use crate::types::format::WireFormat;
use crate::types::identity::Identity;
use crate::types::options::RegistryOptions;
use crate::types::registration::Registration;
use drained::Owners;
use std::fmt;
use std::sync::{Arc, Weak};
use table::Table;

/// A registry of subscribers, the channels that they hear, and the identities by which they can be
/// ended.
///
/// It is a handle: cloning it is cheap, all clones are the same registry, and two registries share
/// nothing (ISO-6). Dropping the last handle ends all subscribers as
/// [`Shutdown`](CloseReason::Shutdown) (SUB-6).
///
/// Every method may be called from any thread, and from inside a sink's `send`, `close` or `Drop`
/// (RE-1). None blocks longer than another thread's short critical section, except that those that
/// send or end something run sinks.
///
/// # Ordering
/// All subscribers see all messages, broadcasts and [directed ones](Self::send_to), in the order of
/// their ids (ORD-3, DIR-2). A message that is sent while another is being delivered to sinks is
/// delivered after it (ORD-2), by the thread that is delivering.
///
/// # Examples
/// ```
/// use registry_core::{ChannelFilter, Identity, Registration, SubscriberRegistry};
/// # use registry_core::{CloseReason, Message, SendOutcome, Sink};
/// # struct Screen;
/// # impl Sink<String> for Screen {
/// #     fn send(&self, _: &std::sync::Arc<Message<String>>) -> SendOutcome {
/// #         SendOutcome::Accepted
/// #     }
/// #     fn close(&self, _: CloseReason) {}
/// # }
/// let registry = SubscriberRegistry::<String>::new();
/// let ada = Identity::new("account", "ada");
/// let registration =
///     Registration::new().with_filter(ChannelFilter::only(["runs"])).with_group(ada.clone());
/// let _subscription = registry.subscribe_with(Screen, registration)?;
///
/// assert_eq!(registry.broadcast("runs", "started".into())?.accepted, 1);
/// assert_eq!(registry.broadcast("jobs", "queued".into())?.matched, 0);
/// assert_eq!(registry.close_by_identity(&ada), 1);
/// assert!(registry.is_empty());
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub struct SubscriberRegistry<T: Send + Sync + 'static> {
    inner: Arc<Inner<T>>,
}

struct Inner<T: Send + Sync + 'static> {
    state: Mutex<State<T>>,
    outboxes: OutboxLane<T>,
    sinks: SinkLane<T>,
    encoder: Option<Box<dyn Encode<T>>>,
    options: RegistryOptions,
    epoch: u64,
    ended: [AtomicU64; CloseReason::ALL.len()],
    owners: Owners,
    /// The reference that tickets, handles and flushers get.
    this: Weak<Inner<T>>,
}

/// The table, and the logs of the flushers by the numbers of their lanes.
struct State<T> {
    table: Table,
    lanes: Vec<Arc<FlusherLog<T>>>,
}

impl<T: Send + Sync + 'static> SubscriberRegistry<T> {
    /// Creates a registry for [sinks](Sink), with the default options. It encodes nothing, so it
    /// opens no outboxes.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(RegistryOptions::new())
    }

    /// Creates a registry for [sinks](Sink). It encodes nothing, so it opens no outboxes.
    #[must_use]
    pub fn with_options(options: RegistryOptions) -> Self {
        Self::build(options, None)
    }

    /// Creates a registry that encodes every broadcast, once and before it takes its id, as
    /// outboxes need.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{Encoded, RegistryOptions, SubscriberRegistry};
    ///
    /// let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), |degrees: &f64| {
    ///     Ok(Encoded::text(format!("{degrees:.1} °C")))
    /// });
    /// registry.broadcast("hall", 20.5)?;
    /// # Ok::<_, registry_core::BroadcastError<f64>>(())
    /// ```
    #[must_use]
    pub fn with_encoder(options: RegistryOptions, encoder: impl Encode<T>) -> Self {
        Self::build(options, Some(Box::new(encoder)))
    }

    fn build(options: RegistryOptions, encoder: Option<Box<dyn Encode<T>>>) -> Self {
        // Without a random source the epoch is 0: ids stay unique within the registry, which is all
        // that is promised.
        let epoch = getrandom::u64().unwrap_or(0);
        let inner = Arc::new_cyclic(|this| Inner {
            state: Mutex::new(State { table: Table::new(&options, epoch), lanes: Vec::new() }),
            outboxes: OutboxLane::new(),
            sinks: SinkLane::new(options.max_waiting_broadcasts.get()),
            encoder,
            options,
            epoch,
            ended: Default::default(),
            owners: Owners::default(),
            this: this.clone(),
        });
        Self { inner }
    }

    /// Subscribes a sink: the compatible call, with optional channels and one optional identity.
    ///
    /// Absent and empty channel lists both mean *every channel* (FLT-2); the identity has no kind
    /// (REV-6). If the difference between "nothing" and "everything" matters, use
    /// [`subscribe_with`](Self::subscribe_with).
    ///
    /// # Errors
    /// [`SubscribeError::ShuttingDown`] after [`begin_shutdown`](Self::begin_shutdown).
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
    /// let _runs = registry.subscribe(Screen, Some(&["runs"]), Some("ada"))?;
    /// let _all = registry.subscribe(Screen, Some(&[]), None)?; // every channel, as with `None`
    /// assert_eq!(registry.broadcast("runs", "started".into())?.matched, 2);
    /// assert_eq!(registry.broadcast("jobs", "queued".into())?.matched, 1);
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn subscribe(
        &self,
        sink: impl Sink<T>,
        channels: Option<&[&str]>,
        identity: Option<&str>,
    ) -> Result<Subscription, SubscribeError> {
        let filter = match channels {
            None | Some([]) => ChannelFilter::All,
            Some(names) => ChannelFilter::only(names.iter().copied()),
        };
        let groups = identity.map(Identity::untyped);
        self.subscribe_with(sink, Registration::new().with_filter(filter).with_groups(groups))
    }

    /// Subscribes a sink with a filter and any number of identities.
    ///
    /// It receives every matching broadcast that begins after this returned, and none that began
    /// before it was called. Under a [`ScopeCap`](crate::ScopeCap) the oldest of its scope may be
    /// evicted.
    ///
    /// If the identities come from a credential, [draw a ticket](Self::draw_ticket) before you read
    /// the credential: a revocation between the reading and this call would find no subscriber to
    /// close.
    ///
    /// # Errors
    /// [`SubscribeError::ShuttingDown`], or [`SubscribeError::ScopeFull`] if that is the policy.
    /// The sink is dropped.
    pub fn subscribe_with(
        &self,
        sink: impl Sink<T>,
        registration: Registration,
    ) -> Result<Subscription, SubscribeError> {
        self.inner.open_sink(sink, registration)
    }

    /// Opens an outbox: a bounded queue of encoded frames, for an owner that writes them to a peer.
    ///
    /// # Errors
    /// Fails as [`subscribe_with`](Self::subscribe_with) does, and with
    /// [`SubscribeError::NoEncoder`] if the registry was made without an
    /// [encoder](Self::with_encoder).
    pub fn open_outbox(
        &self,
        format: &'static WireFormat,
        options: OutboxOptions,
        registration: Registration,
    ) -> Result<Outbox, SubscribeError> {
        self.inner.open_outbox(format, options, registration)
    }

    /// Subscribes a consumer in the process, which gets the messages themselves from a bounded
    /// queue.
    ///
    /// # Errors
    /// As for [`subscribe_with`](Self::subscribe_with).
    ///
    /// # Examples
    /// See [`SubscriberStream`].
    pub fn stream(
        &self,
        registration: Registration,
        options: OutboxOptions,
    ) -> Result<SubscriberStream<T>, SubscribeError> {
        self.inner.open_stream(options, registration)
    }

    /// Draws a ticket, **before** the credential is read: see [`Ticket`].
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
    /// let ticket = registry.draw_ticket();
    /// let account = Identity::new("account", "ada"); // as the login check found
    /// let _subscription = ticket.admit(Screen, Registration::new().with_group(account))?;
    /// assert_eq!((registry.len(), registry.stats().tickets), (1, 0));
    /// # Ok::<_, registry_core::AdmitError>(())
    /// ```
    pub fn draw_ticket(&self) -> Ticket<T> {
        let now = self.inner.options.clock.now();
        let number = self.inner.state.lock().table.admission.draw(now);
        Ticket::new(self.inner.this.clone(), number, self.inner.options.end_hook())
    }

    /// Ends every subscriber that holds the identity, as scope or as group, and returns how many
    /// this call ended.
    ///
    /// They end as [revoked](CloseReason::Revoked): their clients come back and authenticate again.
    /// To make them stay away, use [`close_by_identity_as`](Self::close_by_identity_as).
    ///
    /// When it returns, each of them has ended and was notified (REV-1), and no send begins on them
    /// any more, not even from a broadcast that began earlier (REV-2); what their outboxes held is
    /// discarded (REV-3). The call does not wait for sinks that are stuck in `send` (PRG-1), nor
    /// for the closes of another call that ended one of them at the same moment; it runs its own
    /// closes one after the other, those of outboxes first. An admission whose ticket was drawn
    /// before is refused (ADM-1).
    ///
    /// A revocation is an event and not a state: a subscribe that begins afterwards is accepted
    /// (REV-9). So change what your login check reads first, and call this after that change is
    /// committed.
    ///
    /// Called from inside a send of one of them, that subscriber's close waits for its send to end
    /// (RE-5). Called from inside 32 nested closes, it ends and counts at once, but the outermost
    /// call notifies (RE-6).
    ///
    /// # Examples
    /// ```
    /// use registry_core::SubscriberRegistry;
    /// # let registry = SubscriberRegistry::<String>::new();
    /// // The account's role changed, and the change is committed:
    /// let closed = registry.close_by_identity(("account", "ada"));
    /// assert_eq!(closed, 0); // no subscriber held it
    /// ```
    pub fn close_by_identity(&self, identity: impl Into<Identity>) -> usize {
        self.close_by_identity_as(identity, Revocation::Revoked)
    }

    /// As [`close_by_identity`](Self::close_by_identity), with a reason that tells the clients
    /// whether to come back.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{Identity, Revocation, SubscriberRegistry};
    /// # let registry = SubscriberRegistry::<String>::new();
    /// // The user pressed "log out": the tabs of this session are not to come back by themselves.
    /// let session = Identity::new("session", "17");
    /// let closed = registry.close_by_identity_as(&session, Revocation::LoggedOut);
    /// assert_eq!(closed, 0);
    /// ```
    pub fn close_by_identity_as(
        &self,
        identity: impl Into<Identity>,
        revocation: Revocation,
    ) -> usize {
        let (inner, identity) = (&*self.inner, identity.into());
        let now = inner.options.clock.now();
        let ending = {
            let mut state = inner.state.lock();
            let removed = state.table.revoke(&identity, now);
            inner.shut(&mut state, removed, revocation.into())
        };
        inner.finish(ending, REVOCATION_DEPTH)
    }
}

impl<T: Send + Sync + 'static> Drop for Inner<T> {
    fn drop(&mut self) {
        in_drop(|| self.end_all());
        discard(self.encoder.take());
    }
}

impl<T: Send + Sync + 'static> Clone for SubscriberRegistry<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Send + Sync + 'static> Default for SubscriberRegistry<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for SubscriberRegistry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriberRegistry").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, registry_loom))]
mod loom_tests;
