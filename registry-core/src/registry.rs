//! The registry: the only module that locks the table, and the one that every operation goes through.
//!
//! Lock order: table, then a lane's log; table, then a gate. Logs and gates are leaves. No foreign code runs under any of
//! them, but a gate's [`Wire`](crate::Wire).
//!
//! Invariant: whoever is not in the table has its gate shut. Both happen in one critical section, or the gate comes first;
//! else one of two revocations at once could find nobody and return while a send may still begin (REV-1, REV-2).

use crate::admission::{Refusal, TicketNo};
use crate::channel::{Channel, ChannelFilter};
use crate::close::{CloseReason, Revocation};
use crate::contain::{contain, discard, in_drop, wake_all};
use crate::error::{AdmitError, BroadcastError, SubscribeError};
use crate::flusher::{Flusher, LaneOptions, Log};
use crate::gate::Gate;
use crate::identity::Identity;
use crate::inline::{Ended, ForeignLane, OutboxLane};
use crate::lane::{Key, Numbers, Op};
use crate::message::{Encode, Message, MessageId, WireFormat};
use crate::options::RegistryOptions;
use crate::outbox::{Outbox, OutboxOptions};
use crate::report::{ChannelCount, Report, Stats, Tally};
use crate::sink::{Foreign, Seat, Sink};
use crate::subscription::{Registration, Release, Subscription, SubscriptionId};
use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::table::{LaneId, Removed, Table};
use crate::telling::{EVICTION_DEPTH, REVOCATION_DEPTH, tell_all};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
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
    table: Mutex<Locked<T>>,
    outboxes: OutboxLane<T>,
    foreign: ForeignLane<T>,
    encoder: OnceLock<Box<dyn Encode<T>>>,
    options: RegistryOptions,
    epoch: u64,
    ended: [AtomicU64; CloseReason::ALL.len()],
    /// Outboxes that are in somebody's hands, ended or not: what a drain waits for.
    owners: AtomicUsize,
    /// Those of them that have a wire.
    wired: AtomicUsize,
    /// Who waits for the end of a drain, by the number of the future.
    drained: Mutex<BTreeMap<u64, Waker>>,
    watchers: AtomicU64,
    /// What guards refer to.
    this: Weak<Inner<T>>,
}

/// The table, and the logs of the flushers by their numbers.
struct Locked<T> {
    table: Table,
    lanes: Vec<Arc<Log<T>>>,
}

impl<T> Deref for Locked<T> {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.table
    }
}

impl<T> DerefMut for Locked<T> {
    fn deref_mut(&mut self) -> &mut Table {
        &mut self.table
    }
}

/// Subscribers whose gates are shut and who have yet to be told.
#[derive(Default)]
struct Ending {
    /// How many of them this call ended.
    ended: usize,
    /// Outboxes first: what their ends call only wakes and arms timers, while a sink's close may take its time, and a socket's
    /// deadline must not wait for that (REV-11).
    untold: VecDeque<Arc<dyn Seat>>,
    /// Flushers that have something to do now, and publishers who wait for one that is gone.
    wakers: Vec<Waker>,
    /// What a log let go of.
    spent: Vec<Arc<Gate>>,
}

/// What a flusher asks of its registry, whatever the registry's payload is.
pub(crate) trait Lanes: Send + Sync {
    /// Takes a subscriber out of the table that a lane found at its end, and tells it.
    fn forget(&self, ended: Ended);

    /// The flusher of a lane is gone.
    fn lose(&self, lane: usize);
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
            table: Mutex::new(Locked { table: Table::new(&options), lanes: Vec::new() }),
            outboxes: OutboxLane::new(),
            foreign: ForeignLane::new(options.max_waiting_broadcasts.get()),
            encoder: OnceLock::new(),
            options,
            epoch,
            ended: Default::default(),
            owners: AtomicUsize::new(0),
            wired: AtomicUsize::new(0),
            drained: Mutex::default(),
            watchers: AtomicU64::new(0),
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

    /// Opens a lane for outboxes whose owners write to sockets of their own; the [`Flusher`] must be driven.
    ///
    /// Outboxes that ask for it ([`OutboxOptions::in_lane`]) go to the lane with the fewest subscribers. A broadcast only
    /// appends to the lane's log and returns.
    pub fn open_lane(&self, options: LaneOptions) -> Flusher<T> {
        let log = Arc::new(Log::new(options));
        let number = {
            let mut locked = self.inner.table.lock();
            if locked.shutting_down {
                let _nobody_waits = log.close();
            }
            locked.lanes.push(log.clone());
            locked.open_lane()
        };
        let registry: Weak<dyn Lanes> = self.inner.this.clone();
        Flusher::new(number, log, registry)
    }

    /// Completes when the flushers keep up: when none has more than 128 KiB of broadcasts waiting, besides what it is writing.
    ///
    /// [`broadcast`](Self::broadcast) never waits, so publishers who produce as fast as they can outrun the flushers, up to the
    /// bound of the log; messages are late then, and in the end lost. A publisher who awaits this before each broadcast
    /// is held to the pace of the writes. Without lanes it is complete at once.
    ///
    /// # Cancel safety
    /// Cancel safe: it only observes.
    pub fn caught_up(&self) -> impl Future<Output = ()> + Send + use<T> {
        let lanes = self.inner.table.lock().lanes.clone();
        std::future::poll_fn(move |cx| {
            lanes
                .iter()
                .try_for_each(|log| match log.poll_caught_up(cx) {
                    Poll::Ready(()) => Ok(()),
                    Poll::Pending => Err(()),
                })
                .map_or(Poll::Pending, Poll::Ready)
        })
    }

    /// Draws a ticket, **before** the credential is read: see [`Ticket`].
    pub fn begin(&self) -> Ticket<T> {
        let now = self.inner.options.clock.now();
        let number = self.inner.table.lock().admission.begin(now);
        Ticket { registry: self.inner.this.clone(), number }
    }

    /// Sends `data` to every subscriber whose filter lets `channel` pass.
    ///
    /// By return it stands in every matching outbox, or in the log of its lane, or the outbox's policy was applied. Foreign sinks have received it
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
        let (message, matched, outboxes, foreign, flushers) = loop {
            if let Some(encoder) = encoder.take() {
                match encode(&**encoder, &data) {
                    Ok(bytes) => body = Some(bytes),
                    Err(source) => return Err(BroadcastError { data, source }),
                }
            }
            let mut locked = inner.table.lock();
            let Locked { table, lanes } = &mut *locked;
            let hearing = table.hearing(channel);
            let (matched, outboxes) = (hearing.total(), hearing.of(LaneId::Outboxes));
            let foreign = hearing.of(LaneId::Foreign);
            if body.is_none() && matched > foreign {
                // The registry got its encoding, and an outbox, since we looked.
                encoder = inner.encoder.get();
                continue;
            }
            let id = MessageId::new(inner.epoch, table.seq + 1);
            if matched == 0 {
                table.seq += 1;
                drop(locked);
                discard(data);
                discard(body);
                return Ok(Tally::default().report(id, 0));
            }
            let (number, name) = hearing.known.map(|(number, name)| (number, name.clone())).unzip();
            let channel = name.unwrap_or_else(|| Channel::from(channel));
            let message = Arc::new(Message { id, channel, data, body, tally: Tally::default() });
            let mut flushers = Vec::new();
            if matched > outboxes + foreign {
                for (lane, log) in lanes.iter().enumerate() {
                    let matched = hearing.of(LaneId::Flusher(lane));
                    if matched > 0 {
                        flushers.extend(log.cast(number, &message, matched));
                    }
                }
            }
            if outboxes > 0 {
                inner.outboxes.append(Op::Cast(number, message.clone()));
            }
            if foreign > 0 {
                inner.foreign.cast(number, &message, foreign);
            }
            table.seq += 1;
            break (message, matched, outboxes, foreign, flushers);
        };
        wake_all(flushers);
        // Outboxes first: a sink may take its time.
        if outboxes > 0 {
            inner.outboxes.settle(true, |ended| inner.forget(ended));
        }
        if foreign > 0 {
            inner.foreign.settle(|ended| inner.forget(ended));
        }
        let report = message.tally.report(message.id, matched);
        discard(message);
        Ok(report)
    }

    /// Ends every subscriber that holds the identity, as scope or as group, and returns how many this call ended.
    ///
    /// They end as [revoked](CloseReason::Revoked): their clients come back and authenticate again. Where they should
    /// stay away, use [`close_by_identity_as`](Self::close_by_identity_as).
    ///
    /// When it returns, each of them is ended and was told to close (REV-1), and no send begins on them any more, also not
    /// from broadcasts that began earlier (REV-2); what their outboxes held is gone (REV-3). It does not wait for sinks
    /// that are stuck in `send` (PRG-1), nor for the closes of another call that ended one of them at the same moment; its
    /// own closes it runs one after the other, those of outboxes first. An admission whose ticket was drawn before is refused (ADM-1).
    ///
    /// It is an event and not a state: a subscribe begun afterwards is accepted (REV-9). So change what your login check
    /// reads first, and call this after that change is committed.
    ///
    /// Called from inside a send of one of them, that one's close waits for its send to end (RE-5). Called from inside closes
    /// that lie 32 deep in each other, it ends and counts at once, but the telling waits for the outermost (RE-6).
    pub fn close_by_identity(&self, identity: &Identity) -> usize {
        self.close_by_identity_as(identity, Revocation::Revoked)
    }

    /// As [`close_by_identity`](Self::close_by_identity), with a reason that tells the clients whether to come back.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{Identity, Revocation, SubscriberRegistry};
    /// # let registry = SubscriberRegistry::<String>::new();
    /// // The user pressed "log out": the tabs of this session are not to come back by themselves.
    /// let closed = registry.close_by_identity_as(&Identity::new("session", "17"), Revocation::LoggedOut);
    /// assert_eq!(closed, 0);
    /// ```
    pub fn close_by_identity_as(&self, identity: &Identity, revocation: Revocation) -> usize {
        let inner = &*self.inner;
        let now = inner.options.clock.now();
        let ending = {
            let mut table = inner.table.lock();
            table.admission.revoked(identity, now);
            let removed = table.take_holders(identity);
            inner.shut(&mut table, removed, revocation.into())
        };
        inner.finish(ending, REVOCATION_DEPTH)
    }

    /// Refuses new subscribers from now on and ends all as [`Shutdown`](CloseReason::Shutdown); returns how many.
    ///
    /// Outboxes keep what they hold, for their owners to flush. Until an owner lets go, its subscriber can still be
    /// revoked, which discards its queue but counts it no second time. There is no deadline in this call: whoever owns the
    /// sockets sets one, as `transport-core`'s `Server` does when it is stopped.
    pub fn begin_shutdown(&self) -> usize {
        let inner = &*self.inner;
        let ending = {
            let mut locked = inner.table.lock();
            let removed = locked.shut_down();
            let mut ending = inner.shut(&mut locked, removed, CloseReason::Shutdown);
            ending.wakers.extend(locked.lanes.iter().flat_map(|log| log.close()));
            ending
        };
        let ended = inner.finish(ending, REVOCATION_DEPTH);
        inner.wake_if_drained();
        ended
    }

    /// Completes when the registry [shuts down](Self::begin_shutdown) and every owner has dropped its outbox, also those whose
    /// subscriber had ended before: they may still be writing a farewell.
    ///
    /// It does not keep the registry alive; when the last handle is dropped, it completes too.
    ///
    /// # Cancel safety
    /// Cancel safe: it only observes.
    pub fn drained(&self) -> impl Future<Output = ()> + Send + use<T> {
        let number = self.inner.watchers.fetch_add(1, Ordering::Relaxed);
        Drained { registry: self.inner.this.clone(), number }
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

    /// Reads the counts of the registry. What it costs does not grow with subscribers or channels; it waits for outboxes
    /// that are just being filled.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let inner = &*self.inner;
        let (mut stats, lanes) = {
            let locked = inner.table.lock();
            (locked.stats(), locked.lanes.clone())
        };
        for reason in CloseReason::ALL {
            let count = inner.ended[reason as usize].load(Ordering::Relaxed);
            if count > 0 {
                stats.ended.insert(reason, count);
            }
        }
        stats.wired = inner.wired.load(Ordering::Relaxed);
        stats.dropped = inner.outboxes.dropped() + inner.foreign.dropped();
        stats.visits += inner.outboxes.visits() + inner.foreign.visits().unwrap_or(0);
        for log in lanes {
            stats.lane_writes += log.counts.writes.load(Ordering::Relaxed);
            stats.lane_messages += log.counts.written.load(Ordering::Relaxed);
            stats.dropped += log.counts.dropped.load(Ordering::Relaxed);
            stats.visits += log.counts.visits.load(Ordering::Relaxed);
        }
        stats
    }

    /// Counts the subscribers of the channels that subscribers name, in the byte order of the names: at most `limit`
    /// channels, from the first after `after` on, or from the first of all.
    ///
    /// The names are shared and not copied. The registry is locked for one page, so `limit` should be some hundreds; between
    /// two pages channels come and go.
    ///
    /// # Examples
    /// ```
    /// # use registry_core::{ChannelFilter, CloseReason, Message, Registration, SendOutcome, Sink, SubscriberRegistry};
    /// # struct Screen;
    /// # impl Sink<String> for Screen {
    /// #     fn send(&self, _: &std::sync::Arc<Message<String>>) -> SendOutcome { SendOutcome::Accepted }
    /// #     fn close(&self, _: CloseReason) {}
    /// # }
    /// let registry = SubscriberRegistry::<String>::new();
    /// let registration = Registration::new().filter(ChannelFilter::only(["jobs", "runs"]));
    /// let _subscription = registry.subscribe_with(Screen, registration)?;
    ///
    /// let first = registry.channels(None, 1);
    /// assert_eq!((first[0].channel.as_str(), first[0].subscribers), ("jobs", 1));
    /// let next = registry.channels(Some("jobs"), 100);
    /// assert_eq!((next.len(), next[0].channel.as_str()), (1, "runs"));
    /// # Ok::<_, registry_core::SubscribeError>(())
    /// ```
    #[must_use]
    pub fn channels(&self, after: Option<&str>, limit: usize) -> Vec<ChannelCount> {
        self.inner.table.lock().channels(after, limit)
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
        let enrolled = self.enrol(ticket, seat.clone(), None, "sink", registration, |_, _, key, numbers| {
            self.foreign.join(key, seat.clone(), numbers);
            None
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
        let gate = Arc::new(Gate::new(format, options));
        let join = |lanes: &[Arc<Log<T>>], lane, key, numbers| match lane {
            LaneId::Flusher(number) => lanes[number].join(key, gate.clone(), numbers),
            LaneId::Outboxes | LaneId::Foreign => {
                self.outboxes.append(Op::Join(key, gate.clone(), numbers));
                // No flusher will say that it brings nothing more, also if one was asked for.
                gate.complete()
            }
        };
        let subscription = self.enrol(ticket, gate.clone(), Some(options), format.name(), registration, join)?;
        Ok(Outbox::new(gate, subscription))
    }

    /// Checks the ticket and takes the subscriber, in one critical section: a revocation comes before or after.
    fn enrol(
        &self,
        ticket: Option<TicketNo>,
        seat: Arc<dyn Seat>,
        outbox: Option<OutboxOptions>,
        format: &'static str,
        registration: Registration,
        join: impl FnOnce(&[Arc<Log<T>>], LaneId, Key, Numbers) -> Option<Waker>,
    ) -> Result<Subscription, AdmitError> {
        let now = ticket.map(|_| self.options.clock.now());
        let (id, evicted) = {
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
            let lane = match outbox {
                None => LaneId::Foreign,
                Some(options) => table.lane().filter(|_| options.in_lane).unwrap_or(LaneId::Outboxes),
            };
            let seated = table.insert(seat.clone(), lane, format, registration);
            let mut evicted = self.shut(&mut table, seated.evicted, CloseReason::Evicted);
            evicted.wakers.extend(join(&table.lanes, lane, seated.id.key, seated.numbers));
            if outbox.is_some() {
                self.owners.fetch_add(1, Ordering::SeqCst);
            }
            (seated.id, evicted)
        };
        self.finish(evicted, EVICTION_DEPTH);
        let registry: Weak<dyn Release> = self.this.clone();
        Ok(Subscription::new(id, seat, registry))
    }

    /// Ends subscribers that just left the table: tells their lanes, shuts their gates. The caller still holds the table's
    /// lock, and then owes the result to [`finish`](Self::finish).
    fn shut(&self, locked: &mut Locked<T>, removed: impl IntoIterator<Item = Removed>, reason: CloseReason) -> Ending {
        let mut ending = Ending::default();
        for removed in removed {
            match removed.lane {
                _ if removed.was_draining => {}
                LaneId::Outboxes => self.outboxes.append(Op::Leave(removed.key)),
                LaneId::Foreign => self.foreign.leave(removed.key),
                LaneId::Flusher(lane) => ending.wakers.extend(if reason.discards() {
                    locked.lanes[lane].leave(removed.key, &mut ending.spent)
                } else {
                    locked.lanes[lane].drain(removed.key, removed.seat.clone())
                }),
            }
            ending.ended += usize::from(removed.seat.end(reason));
            // Also one that somebody else ended just now and has yet to tell (REV-1).
            if removed.lane == LaneId::Foreign {
                ending.untold.push_back(removed.seat);
            } else {
                ending.untold.push_front(removed.seat);
            }
        }
        self.count_ended(reason, ending.ended);
        ending
    }

    /// Runs the closes of an ending, without locks. Returns how many it ended.
    fn finish(&self, ending: Ending, depth: usize) -> usize {
        wake_all(ending.wakers);
        ending.spent.into_iter().for_each(discard);
        tell_all(self.address(), ending.untold, depth);
        self.tidy();
        ending.ended
    }

    fn count_ended(&self, reason: CloseReason, count: usize) {
        self.ended[reason as usize].fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Lets the lanes forget who left. Delivers nothing to foreign sinks: a revocation never waits for one (PRG-1).
    fn tidy(&self) {
        self.foreign.tidy();
        self.outboxes.settle(false, |ended| self.forget(ended));
    }

    fn is_drained(&self) -> bool {
        // Owners are taken under the table's lock, and none once it shuts down: the order of the two looks matters.
        self.table.lock().shutting_down && self.owners.load(Ordering::SeqCst) == 0
    }

    fn wake_if_drained(&self) {
        if self.is_drained() {
            let waiting = std::mem::take(&mut *self.drained.lock());
            wake_all(waiting.into_values());
        }
    }

    /// Names this registry on its thread's stack.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl<T: Send + Sync + 'static> Lanes for Inner<T> {
    /// The lane, which is being drained, reads its log again afterwards; to tidy here would go down the stack with every
    /// subscriber that lags.
    fn forget(&self, ended: Ended) {
        let ending = {
            let mut locked = self.table.lock();
            let removed = locked.take_seat(ended.key, &ended.seat);
            self.shut(&mut locked, removed, ended.reason)
        };
        ending.untold.into_iter().for_each(discard); // it is `ended.seat`
        wake_all(ending.wakers);
        ending.spent.into_iter().for_each(discard);
        self.count_ended(ended.reason, usize::from(ended.first));
        tell_all(self.address(), [ended.seat].into(), EVICTION_DEPTH);
    }

    fn lose(&self, lane: usize) {
        let ending = {
            let mut locked = self.table.lock();
            let wakers = locked.lanes[lane].close();
            let removed = locked.close_lane(lane);
            let mut ending = self.shut(&mut locked, removed, CloseReason::Failed);
            ending.wakers.extend(wakers);
            ending
        };
        self.finish(ending, REVOCATION_DEPTH);
    }
}

impl<T: Send + Sync + 'static> Release for Inner<T> {
    fn release(&self, id: SubscriptionId, reason: CloseReason) {
        let ending = {
            let mut table = self.table.lock();
            let removed = if reason.discards() { table.take(id) } else { table.let_drain(id) };
            self.shut(&mut table, removed, reason)
        };
        self.finish(ending, REVOCATION_DEPTH);
    }

    fn wired(&self) {
        self.wired.fetch_add(1, Ordering::Relaxed);
    }

    fn let_go(&self, wired: bool) {
        if wired {
            self.wired.fetch_sub(1, Ordering::Relaxed);
        }
        if self.owners.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.wake_if_drained();
        }
    }
}

impl<T: Send + Sync + 'static> Drop for Inner<T> {
    fn drop(&mut self) {
        in_drop(|| {
            let ending = {
                let mut locked = self.table.lock();
                let removed = locked.take_everyone();
                let mut ending = self.shut(&mut locked, removed, CloseReason::Shutdown);
                ending.wakers.extend(locked.lanes.iter().flat_map(|log| log.close()));
                ending
            };
            self.finish(ending, REVOCATION_DEPTH);
            let waiting = std::mem::take(&mut *self.drained.lock());
            wake_all(waiting.into_values());
        });
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
    number: TicketNo,
}

impl<T: Send + Sync + 'static> Ticket<T> {
    /// Admits a sink, if none of its identities was revoked since the ticket was drawn.
    ///
    /// # Errors
    /// See [`AdmitError`]. The sink is dropped; nothing was sent, and nobody was evicted (ADM-2).
    pub fn admit(self, sink: impl Sink<T>, registration: Registration) -> Result<Subscription, AdmitError> {
        match self.registry.upgrade() {
            Some(inner) => inner.enrol_sink(Some(self.number), sink, registration),
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
        self,
        format: &'static WireFormat,
        options: OutboxOptions,
        registration: Registration,
    ) -> Result<Outbox, AdmitError> {
        let inner = self.registry.upgrade().ok_or(SubscribeError::ShuttingDown)?;
        inner.enrol_outbox(Some(self.number), format, options, registration)
    }
}

impl<T: Send + Sync + 'static> Drop for Ticket<T> {
    fn drop(&mut self) {
        // Also after it admitted or was refused: whatever came of it, it is not open any more (ADM-2).
        if let Some(inner) = self.registry.upgrade() {
            in_drop(|| inner.table.lock().admission.close(self.number));
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
    number: u64,
}

impl<T: Send + Sync + 'static> Future for Drained<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(inner) = self.registry.upgrade() else { return Poll::Ready(()) };
        // Registered first, so that an end between the look and the registration is not missed.
        let waker = cx.waker().clone();
        let spare = inner.drained.lock().insert(self.number, waker);
        discard(spare);
        if inner.is_drained() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<T: Send + Sync + 'static> Drop for Drained<T> {
    fn drop(&mut self) {
        if let Some(inner) = self.registry.upgrade() {
            let spare = inner.drained.lock().remove(&self.number);
            discard(spare);
        }
    }
}

#[cfg(all(test, registry_loom))]
mod loom_tests;
