//! The registry: the only module that locks the table, and the one that every operation goes through.
//!
//! Lock order: table, then a lane's log. Gates and outboxes are leaves. No foreign code runs under any of them.

use crate::admission::{Refusal, TicketNo};
use crate::channel::{Channel, ChannelFilter};
use crate::close::CloseReason;
use crate::contain::{contain, discard};
use crate::error::{AdmitError, BroadcastError, SubscribeError};
use crate::identity::Identity;
use crate::inline::{Ended, ForeignLane, OutboxLane, OutboxSeat};
use crate::lane::Op;
use crate::message::{Encode, Message, MessageId, WireFormat};
use crate::options::RegistryOptions;
use crate::outbox::{self, Outbox, OutboxOptions};
use crate::report::{Report, Stats, Tally};
use crate::sink::{Foreign, Seat, Sink};
use crate::subscription::{Registration, Release, Subscription, SubscriptionId};
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::table::{LaneId, Removed, Table};
use crate::telling::{EVICTION_DEPTH, REVOCATION_DEPTH, tell_all};
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, Waker};

/// A registry of subscribers: who hears what, and who can be ended by which identity.
///
/// A handle: cloning it is cheap, all clones are the same registry, and two registries share nothing (ISO-6). Dropping the
/// last handle ends all subscribers as [`Shutdown`](CloseReason::Shutdown) (SUB-6).
///
/// Every method may be called from any thread, and from inside a sink's `send`, `close` or `Drop` (RE-1). None blocks
/// longer than another thread's short critical section, except that `broadcast` and `close_by_identity` run sinks.
///
/// # Ordering
/// All subscribers see all broadcasts in the order of their ids (ORD-3). A broadcast made while another is being delivered
/// to foreign sinks is delivered after it (ORD-2), by whichever thread is delivering.
///
/// # Examples
/// ```
/// use registry_core::{ChannelFilter, Identity, Registration, SubscriberRegistry};
/// # use registry_core::{CloseReason, Message, SendOutcome, Sink};
/// # struct Screen;
/// # impl Sink<String> for Screen {
/// #     fn send(&self, _: &std::sync::Arc<Message<String>>) -> SendOutcome { SendOutcome::Accepted }
/// #     fn close(&self, _: CloseReason) {}
/// # }
/// let registry = SubscriberRegistry::<String>::new();
/// let ada = Identity::new("account", "ada");
/// let registration = Registration::new().filter(ChannelFilter::only(["runs"])).group(ada.clone());
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
    table: Mutex<Table>,
    outboxes: OutboxLane<T>,
    foreign: ForeignLane<T>,
    encoder: OnceLock<Box<dyn Encode<T>>>,
    options: RegistryOptions,
    epoch: u64,
    ended: [AtomicU64; CloseReason::ALL.len()],
    drained: Mutex<Vec<Waker>>,
    /// What guards refer to.
    this: Weak<Inner<T>>,
}

impl<T: Send + Sync + 'static> SubscriberRegistry<T> {
    /// Creates a registry with the default options.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(RegistryOptions::new())
    }

    /// Creates a registry.
    #[must_use]
    pub fn with_options(options: RegistryOptions) -> Self {
        // Without a random source the epoch is 0: ids stay unique within the registry, which is all that is promised.
        let epoch = getrandom::u64().unwrap_or(0);
        let inner = Arc::new_cyclic(|this| Inner {
            table: Mutex::new(Table::new(&options)),
            outboxes: OutboxLane::new(),
            foreign: ForeignLane::new(options.max_waiting_broadcasts),
            encoder: OnceLock::new(),
            options,
            epoch,
            ended: Default::default(),
            drained: Mutex::default(),
            this: this.clone(),
        });
        Self { inner }
    }

    /// Sets how payloads become bytes, which outboxes need. The first call stands; true when it was this one.
    ///
    /// From then on every broadcast is encoded, once, before it takes its id.
    pub fn encode_with(&self, encoder: impl Encode<T>) -> bool {
        self.inner.encoder.set(Box::new(encoder)).is_ok()
    }

    /// Subscribes a sink: the compatible call, with optional channels and one optional identity.
    ///
    /// Absent and empty channel lists both mean *every channel* (FLT-2); the identity has no kind (REV-6). Where the
    /// difference between "nothing" and "everything" matters, use [`subscribe_with`](Self::subscribe_with).
    ///
    /// # Errors
    /// [`SubscribeError::ShuttingDown`] after [`begin_shutdown`](Self::begin_shutdown).
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
        self.subscribe_with(sink, Registration::new().filter(filter).groups(identity.map(Identity::unkinded)))
    }

    /// Subscribes a sink with a filter and any number of identities.
    ///
    /// It receives every matching broadcast that begins after this returned, and none that began before it was called.
    /// Under a [`ScopeCap`](crate::ScopeCap) the oldest of its scope may be evicted.
    ///
    /// If the identities come from a credential, use [`begin`](Self::begin) before you read it: a revocation between the
    /// reading and this call would find nobody to close.
    ///
    /// # Errors
    /// [`SubscribeError::ShuttingDown`], or [`SubscribeError::ScopeFull`] if that is the policy. The sink is dropped.
    pub fn subscribe_with(
        &self,
        sink: impl Sink<T>,
        registration: Registration,
    ) -> Result<Subscription, SubscribeError> {
        never_refused(self.inner.enrol_sink(None, sink, registration))
    }

    /// Opens an outbox: a bounded queue of encoded frames, for an owner who writes them to a peer.
    ///
    /// # Errors
    /// As [`subscribe_with`](Self::subscribe_with); [`SubscribeError::NoEncoding`] before [`encode_with`](Self::encode_with).
    pub fn open_outbox(
        &self,
        format: &'static WireFormat,
        options: OutboxOptions,
        registration: Registration,
    ) -> Result<Outbox, SubscribeError> {
        never_refused(self.inner.enrol_outbox(None, format, options, registration))
    }

    /// Draws a ticket, **before** the credential is read: see [`Ticket`].
    pub fn begin(&self) -> Ticket<T> {
        let now = self.inner.options.clock.now();
        let number = self.inner.table.lock().admission.begin(now);
        Ticket { registry: self.inner.this.clone(), number: Some(number) }
    }

    /// Sends `data` to every subscriber whose filter lets `channel` pass.
    ///
    /// By return it stands in every matching outbox, or the outbox's policy was applied. Foreign sinks have received it
    /// too, unless another thread or an outer call is delivering at the moment: that one then delivers it after its own
    /// ([`Report::pending`]). The cost is proportional to the matching subscribers.
    ///
    /// # Errors
    /// [`BroadcastError`] gives the payload back if it cannot be encoded (DEL-8). A failing sink is not an error (ISO-2):
    /// it is ended, and counted in the report.
    pub fn broadcast(&self, channel: &str, data: T) -> Result<Report, BroadcastError<T>> {
        let inner = &*self.inner;
        let mut body = None;
        let mut encoder = inner.encoder.get();
        let (message, hearing) = loop {
            if let Some(encoder) = encoder.take() {
                match encode(&**encoder, &data) {
                    Ok(bytes) => body = Some(bytes),
                    Err(source) => return Err(BroadcastError { data, source }),
                }
            }
            let mut table = inner.table.lock();
            let (known, hearing) = table.hearing(channel);
            if body.is_none() && hearing.of(LaneId::Outboxes) > 0 {
                // The registry got its encoding, and an outbox, since we looked.
                encoder = inner.encoder.get();
                continue;
            }
            let (number, name) = known.map(|(number, name)| (number, name.clone())).unzip();
            table.seq += 1;
            let id = MessageId::new(inner.epoch, table.seq);
            if hearing.total() == 0 {
                drop(table);
                discard(data);
                return Ok(Tally::default().report(id, 0));
            }
            let channel = name.unwrap_or_else(|| Channel::from(channel));
            let message = Arc::new(Message { id, channel, data, body, tally: Tally::default() });
            if hearing.of(LaneId::Outboxes) > 0 {
                inner.outboxes.append(Op::Cast(number, message.clone()));
            }
            if hearing.of(LaneId::Foreign) > 0 {
                inner.foreign.cast(number, &message, hearing.of(LaneId::Foreign));
            }
            break (message, hearing);
        };
        // Outboxes first: a sink may take its time.
        if hearing.of(LaneId::Outboxes) > 0 {
            inner.outboxes.settle(true, |ended| inner.forget(ended));
        }
        if hearing.of(LaneId::Foreign) > 0 {
            inner.foreign.settle(|ended| inner.forget(ended));
        }
        let report = message.tally.report(message.id, hearing.total());
        discard(message);
        Ok(report)
    }

    /// Ends every subscriber that holds the identity, as scope or as group, and returns how many this call ended.
    ///
    /// When it returns, each of them is ended and was told to close (REV-1), and no send begins on them any more, also not
    /// from broadcasts that began earlier (REV-2); what their outboxes held is gone (REV-3). It does not wait for sinks
    /// that are stuck in `send` (PRG-1). An admission whose ticket was drawn before is refused (ADM-1).
    ///
    /// It is an event and not a state: a subscribe begun afterwards is accepted (REV-9). So change what your login check
    /// reads first, and call this after that change is committed.
    ///
    /// Called from inside a send of one of them, that one's close waits for its send to end (RE-5).
    pub fn close_by_identity(&self, identity: &Identity) -> usize {
        let inner = &*self.inner;
        let now = inner.options.clock.now();
        let removed = {
            let mut table = inner.table.lock();
            table.admission.revoked(identity, now);
            let removed = table.take_holders(identity);
            inner.leave(&removed);
            removed
        };
        inner.end_all(removed, CloseReason::Revoked, REVOCATION_DEPTH)
    }

    /// Refuses new subscribers from now on and ends all as [`Shutdown`](CloseReason::Shutdown); returns how many.
    ///
    /// Outboxes keep what they hold, for their owners to flush. Until an owner lets go, its subscriber can still be
    /// revoked, which discards its queue but counts it no second time.
    pub fn begin_shutdown(&self) -> usize {
        let inner = &*self.inner;
        let removed = {
            let mut table = inner.table.lock();
            let removed = table.shut_down();
            inner.leave(&removed);
            removed
        };
        let ended = inner.end_all(removed, CloseReason::Shutdown, REVOCATION_DEPTH);
        inner.wake_drained();
        ended
    }

    /// Completes when the registry [shuts down](Self::begin_shutdown) and every owner has let go of its outbox.
    ///
    /// It does not keep the registry alive; when the last handle is dropped, it completes too.
    ///
    /// # Cancel safety
    /// Cancel safe: it only observes.
    pub fn drained(&self) -> impl Future<Output = ()> + Send + use<T> {
        Drained { registry: self.inner.this.clone() }
    }

    /// Returns the number of active subscribers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.table.lock().active
    }

    /// Tells whether nobody is subscribed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the counts of the registry. Costs as much as there are channels named, and waits for outboxes that are just
    /// being filled.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let inner = &*self.inner;
        let mut stats = inner.table.lock().stats();
        for reason in CloseReason::ALL {
            let count = inner.ended[reason as usize].load(Ordering::Relaxed);
            if count > 0 {
                stats.ended.insert(reason, count);
            }
        }
        stats.dropped = inner.outboxes.dropped() + inner.foreign.dropped();
        stats.visits += inner.outboxes.visits() + inner.foreign.visits().unwrap_or(0);
        stats
    }
}

/// Encodes a payload; a panic is an error like any other.
fn encode<T: 'static>(encoder: &dyn Encode<T>, data: &T) -> Result<Bytes, crate::EncodeError> {
    contain(|| encoder.encode(data)).unwrap_or_else(|| Err("the encoder panicked".into()))
}

/// Without a ticket, only the registry itself refuses.
fn never_refused<S>(result: Result<S, AdmitError>) -> Result<S, SubscribeError> {
    result.map_err(|error| match error {
        AdmitError::Subscribe(error) => error,
        AdmitError::Revoked | AdmitError::Expired | AdmitError::Forgotten => SubscribeError::ShuttingDown,
    })
}

impl<T: Send + Sync + 'static> Inner<T> {
    fn enrol_sink(
        &self,
        ticket: Option<TicketNo>,
        sink: impl Sink<T>,
        registration: Registration,
    ) -> Result<Subscription, AdmitError> {
        let seat = Arc::new(Foreign::new(sink));
        let lane = LaneId::Foreign;
        let enrolled = self.enrol(ticket, seat.clone(), lane, "sink", registration, |key, numbers| {
            self.foreign.join(key, seat.clone(), numbers);
        });
        if enrolled.is_err() {
            discard(seat);
        }
        enrolled
    }

    fn enrol_outbox(
        &self,
        ticket: Option<TicketNo>,
        format: &'static WireFormat,
        options: OutboxOptions,
        registration: Registration,
    ) -> Result<Outbox, AdmitError> {
        if self.encoder.get().is_none() {
            return Err(SubscribeError::NoEncoding.into());
        }
        let shared = Arc::new(outbox::Shared::new(options));
        let lane = LaneId::Outboxes;
        let subscription = self.enrol(ticket, shared.clone(), lane, format.name(), registration, |key, numbers| {
            let seat = OutboxSeat { shared: shared.clone(), format };
            self.outboxes.append(Op::Join(key, seat, numbers));
        })?;
        Ok(Outbox::new(shared, subscription))
    }

    /// Checks the ticket and takes the subscriber, in one critical section: a revocation comes before or after.
    fn enrol(
        &self,
        ticket: Option<TicketNo>,
        seat: Arc<dyn Seat>,
        lane: LaneId,
        format: &'static str,
        registration: Registration,
        join: impl FnOnce(usize, crate::lane::Numbers),
    ) -> Result<Subscription, AdmitError> {
        let now = ticket.map(|_| self.options.clock.now());
        let seated = {
            let mut table = self.table.lock();
            if let (Some(ticket), Some(now)) = (ticket, now) {
                let redeemed = table.admission.redeem(ticket, registration.identities(), now);
                redeemed.map_err(|refusal| match refusal {
                    Refusal::Revoked => AdmitError::Revoked,
                    Refusal::Expired => AdmitError::Expired,
                    Refusal::Forgotten => AdmitError::Forgotten,
                })?;
            }
            if table.shutting_down {
                return Err(SubscribeError::ShuttingDown.into());
            }
            if table.refuses(registration.scope.as_ref()) {
                return Err(SubscribeError::ScopeFull.into());
            }
            let seated = table.insert(seat.clone(), lane, format, registration);
            self.leave(&seated.evicted);
            join(seated.id.key, seated.numbers);
            (seated.id, seated.evicted)
        };
        let (id, evicted) = seated;
        self.end_all(evicted, CloseReason::Evicted, EVICTION_DEPTH);
        let registry: Weak<dyn Release> = self.this.clone();
        Ok(Subscription::new(id, seat, registry))
    }

    /// Tells the lanes who left. The caller holds the table's lock.
    fn leave(&self, removed: &[Removed]) {
        for removed in removed.iter().filter(|removed| !removed.was_draining) {
            match removed.lane {
                LaneId::Outboxes => self.outboxes.append(Op::Leave(removed.key)),
                LaneId::Foreign => self.foreign.leave(removed.key),
            }
        }
    }

    /// Ends subscribers that left the table: first every gate, then every close. Returns how many this call ended.
    fn end_all(&self, removed: Vec<Removed>, reason: CloseReason, depth: usize) -> usize {
        let mut ended = 0;
        let mut untold = Vec::with_capacity(removed.len());
        for removed in removed {
            let first = removed.seat.end(reason);
            ended += usize::from(first);
            // A seat that drains is told again: its reason changed.
            if first || removed.was_draining {
                untold.push(removed.seat);
            }
        }
        self.count_ended(reason, ended);
        tell_all(self.address(), untold, depth);
        self.tidy();
        ended
    }

    /// Takes a subscriber out of the table that a lane found at its end, and tells it.
    fn forget(&self, ended: Ended) {
        {
            let mut table = self.table.lock();
            let removed = table.take_seat(ended.key, &ended.seat);
            self.leave(removed.as_slice());
        }
        self.count_ended(ended.reason, 1);
        tell_all(self.address(), vec![ended.seat], EVICTION_DEPTH);
        self.tidy();
    }

    fn count_ended(&self, reason: CloseReason, count: usize) {
        self.ended[reason as usize].fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Lets the lanes forget who left. Delivers nothing to foreign sinks: a revocation never waits for one (PRG-1).
    fn tidy(&self) {
        self.foreign.tidy();
        self.outboxes.settle(false, |ended| self.forget(ended));
    }

    fn wake_drained(&self) {
        let over = {
            let table = self.table.lock();
            table.shutting_down && table.active + table.draining == 0
        };
        if over {
            let waiting = std::mem::take(&mut *self.drained.lock());
            for waker in waiting {
                contain(|| waker.wake());
            }
        }
    }

    /// Names this registry on its thread's stack.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl<T: Send + Sync + 'static> Release for Inner<T> {
    fn release(&self, id: SubscriptionId, seat: &dyn Seat, reason: CloseReason) -> bool {
        let removed = {
            let mut table = self.table.lock();
            let removed = table.take(id);
            self.leave(removed.as_slice());
            removed
        };
        let ended = seat.end(reason);
        if ended {
            self.count_ended(reason, 1);
            seat.tell();
        }
        if let Some(removed) = removed {
            if removed.was_draining {
                self.wake_drained();
            }
            self.tidy();
        }
        ended
    }
}

impl<T: Send + Sync + 'static> Drop for Inner<T> {
    fn drop(&mut self) {
        let removed = self.table.lock().take_everyone();
        self.leave(&removed);
        self.end_all(removed, CloseReason::Shutdown, REVOCATION_DEPTH);
        for waker in std::mem::take(&mut *self.drained.lock()) {
            contain(|| waker.wake());
        }
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

/// The right to admit one subscriber, drawn **before** its credential is read.
///
/// Any server reads a credential first and subscribes afterwards. A revocation that falls in between finds nobody to
/// close, and the connection would live on with a dead credential. A ticket closes that window: if one of the identities
/// that [`admit`](Ticket::admit) names was revoked since the ticket was drawn, the admission is refused.
///
/// A ticket admits once, expires ([`ticket_lifetime`](crate::RegistryOptions::with_ticket_lifetime), 10 s), receives
/// nothing, is counted nowhere, and is freed when it is dropped. It does not keep the registry alive.
///
/// # Examples
/// ```
/// use registry_core::{AdmitError, Identity, Json, OutboxOptions, Registration, SubscriberRegistry, WireFormat};
/// # static RAW: WireFormat = WireFormat::new("raw", |_, body, out| out.extend_from_slice(body));
/// let registry = SubscriberRegistry::<u32>::new();
/// registry.encode_with(Json);
///
/// let ticket = registry.begin();
/// let ada = Identity::new("account", "ada"); // … read from the credential, which takes its time …
/// registry.close_by_identity(&ada); // … and meanwhile it is revoked: nobody to close yet
/// let refused = ticket.admit_outbox(&RAW, OutboxOptions::new(), Registration::new().group(ada));
/// assert_eq!(refused.unwrap_err(), AdmitError::Revoked);
/// ```
#[must_use = "a ticket that is dropped admits nobody"]
pub struct Ticket<T: Send + Sync + 'static> {
    registry: Weak<Inner<T>>,
    number: Option<TicketNo>,
}

impl<T: Send + Sync + 'static> Ticket<T> {
    /// Admits a sink, if none of its identities was revoked since the ticket was drawn.
    ///
    /// # Errors
    /// See [`AdmitError`]. The sink is dropped; nothing was sent, and nobody was evicted (ADM-2).
    pub fn admit(mut self, sink: impl Sink<T>, registration: Registration) -> Result<Subscription, AdmitError> {
        match self.registry.upgrade() {
            Some(inner) => inner.enrol_sink(self.number.take(), sink, registration),
            None => {
                discard(sink);
                Err(SubscribeError::ShuttingDown.into())
            }
        }
    }

    /// Admits an outbox, if none of its identities was revoked since the ticket was drawn.
    ///
    /// # Errors
    /// See [`AdmitError`].
    pub fn admit_outbox(
        mut self,
        format: &'static WireFormat,
        options: OutboxOptions,
        registration: Registration,
    ) -> Result<Outbox, AdmitError> {
        let inner = self.registry.upgrade().ok_or(SubscribeError::ShuttingDown)?;
        let number = self.number.take();
        inner.enrol_outbox(number, format, options, registration)
    }
}

impl<T: Send + Sync + 'static> Drop for Ticket<T> {
    fn drop(&mut self) {
        if let (Some(number), Some(inner)) = (self.number.take(), self.registry.upgrade()) {
            inner.table.lock().admission.close(number);
        }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("number", &self.number).finish_non_exhaustive()
    }
}

struct Drained<T: Send + Sync + 'static> {
    registry: Weak<Inner<T>>,
}

impl<T: Send + Sync + 'static> Future for Drained<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(inner) = self.registry.upgrade() else { return Poll::Ready(()) };
        // Registered first, so that an end between the look and the registration is not missed.
        let waker = cx.waker().clone();
        let mut waiting = inner.drained.lock();
        let known = waiting.iter().any(|known| known.will_wake(&waker));
        let spare = if known {
            Some(waker)
        } else {
            waiting.push(waker);
            None
        };
        drop(waiting);
        discard(spare);
        let table = inner.table.lock();
        if table.shutting_down && table.active + table.draining == 0 { Poll::Ready(()) } else { Poll::Pending }
    }
}
