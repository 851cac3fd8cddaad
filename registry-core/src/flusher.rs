//! The lane of sockets that we own: a log that one flusher drains.
//!
//! A broadcast appends to the log and returns; the flusher takes the whole log at once (a *turn*), joins what each
//! subscriber hears, and hands it over in one write. So one message costs one write, and the more come at a time, the less
//! each costs. It waits for nothing: a socket that is full is its owner's business from then on (see [`crate::gate`]).
//!
//! Invariants: only the flusher touches the book of subscribers; a log holds at most its bound in bytes of broadcasts, and
//! beyond it counts what it had no room for; who came and went while the flusher stood still is taken out of it.

use crate::contain::discard;
use crate::gate::Gate;
use crate::lane::{Book, ChannelNo, Key, Numbers};
use crate::message::Message;
use crate::registry::Lanes;
use crate::sink::Seat;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::turn::{Tally, Turn};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::mem;
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Writes after which a flusher pauses: who wants to read, to end or to publish has waited a third of a millisecond then.
const WRITES_AT_ONCE: usize = 128;
/// Writes in a turn after which the flusher pauses once more, so that publishers fill the next turn.
const BUSY_TURN: usize = 64;
/// Logs shorter than this are not worth compacting.
const COMPACT_FROM: usize = 1024;
/// What a waiting broadcast is counted as, besides its payload.
const CAST_BYTES: usize = 128;

/// What a [`Flusher`] can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneOptions {
    max_bytes: NonZeroUsize,
}

impl LaneOptions {
    /// 16 MiB: some hundred milliseconds of a busy server, which a flusher that stands still so long must not exceed.
    pub const DEFAULT_BYTES: NonZeroUsize = NonZeroUsize::new(16 << 20).expect("not zero");

    /// Creates the default bound: 16 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self { max_bytes: Self::DEFAULT_BYTES }
    }

    /// Sets how many bytes of broadcasts may wait for the flusher, counted as encoded payload and 128 bytes for each.
    /// Beyond it they are dropped for the subscribers of this lane, by the policy of each one's outbox: with
    /// [`Overflow::Close`](crate::Overflow::Close) it ends as lagged, with any other the loss is counted and shown.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The log of one lane, and what is counted about it.
pub(crate) struct Log<T> {
    state: Mutex<State<T>>,
    max_bytes: usize,
    pub(crate) counts: Counts,
}

/// What a lane counts; the flusher adds after every pause.
#[derive(Default)]
pub(crate) struct Counts {
    /// Writes that a flusher made.
    pub(crate) writes: AtomicU64,
    /// Messages in them.
    pub(crate) written: AtomicU64,
    /// Messages that a policy or the bound of the log dropped.
    pub(crate) dropped: AtomicU64,
    /// Steps of the book.
    pub(crate) visits: AtomicU64,
}

impl Counts {
    fn add(&self, tally: Tally, visits: u64) {
        self.writes.fetch_add(tally.writes, Ordering::Relaxed);
        self.written.fetch_add(tally.written, Ordering::Relaxed);
        self.dropped.fetch_add(tally.dropped, Ordering::Relaxed);
        self.visits.store(visits, Ordering::Relaxed);
    }
}

struct State<T> {
    entries: Vec<Entry<T>>,
    bytes: usize,
    /// The bound was reached since the flusher last took the log.
    full: bool,
    closed: bool,
    /// The length at which removed subscribers are next taken out.
    compact_at: usize,
    waker: Option<Waker>,
}

/// What happened to the lane's subscribers, in the registry's order.
pub(crate) enum Entry<T> {
    Cast(Cast<T>),
    Join(Key, Arc<Gate>, Numbers),
    Leave(Key),
    /// Leaves, and is to hear what was broadcast before.
    Drain(Key, Arc<dyn Seat>),
    /// Broadcasts that the log had no room for, by channel.
    Gap(BTreeMap<Option<ChannelNo>, u64>),
}

pub(crate) struct Cast<T> {
    pub(crate) channel: Option<ChannelNo>,
    pub(crate) message: Arc<Message<T>>,
}

/// Appending: the caller holds the registry's lock, which gives the log its order, and wakes after it let go.
impl<T> Log<T> {
    pub(crate) fn new(options: LaneOptions) -> Self {
        let state =
            State { entries: Vec::new(), bytes: 0, full: false, closed: false, compact_at: COMPACT_FROM, waker: None };
        Self { state: Mutex::new(state), max_bytes: options.max_bytes.get(), counts: Counts::default() }
    }

    /// Appends a broadcast that `matched` subscribers hear, or notes that there was no room for it.
    pub(crate) fn cast(&self, channel: Option<ChannelNo>, message: &Arc<Message<T>>, matched: usize) -> Option<Waker> {
        let mut state = self.state.lock();
        let bytes = CAST_BYTES + message.body.as_ref().map_or(0, Bytes::len);
        state.full |= state.bytes > 0 && state.bytes + bytes > self.max_bytes;
        if state.full {
            message.tally.add_dropped(matched);
            self.counts.dropped.fetch_add(matched as u64, Ordering::Relaxed);
            if !matches!(state.entries.last(), Some(Entry::Gap(_))) {
                state.entries.push(Entry::Gap(BTreeMap::new()));
            }
            if let Some(Entry::Gap(missed)) = state.entries.last_mut() {
                *missed.entry(channel).or_default() += 1;
            }
        } else {
            message.tally.add_accepted(matched);
            state.bytes += bytes;
            state.entries.push(Entry::Cast(Cast { channel, message: message.clone() }));
        }
        state.waker.take()
    }

    pub(crate) fn join(&self, key: Key, gate: Arc<Gate>, numbers: Numbers) -> Option<Waker> {
        self.append(Entry::Join(key, gate, numbers))
    }

    /// What the log needs no more goes to `spent`, to be dropped without locks.
    pub(crate) fn leave(&self, key: Key, spent: &mut Vec<Arc<dyn Seat>>) -> Option<Waker> {
        let waker = self.append(Entry::Leave(key));
        let mut state = self.state.lock();
        if state.entries.len() >= state.compact_at {
            state.compact(spent);
        }
        waker
    }

    pub(crate) fn drain(&self, key: Key, seat: Arc<dyn Seat>) -> Option<Waker> {
        {
            let mut state = self.state.lock();
            if !state.closed {
                state.entries.push(Entry::Drain(key, seat));
                return state.waker.take();
            }
        }
        // The flusher is gone while its registry goes.
        seat.complete()
    }

    fn append(&self, entry: Entry<T>) -> Option<Waker> {
        let mut state = self.state.lock();
        if !state.closed {
            state.entries.push(entry);
        }
        state.waker.take()
    }

    /// Nothing more will be appended.
    pub(crate) fn close(&self) -> Option<Waker> {
        let mut state = self.state.lock();
        state.closed = true;
        state.waker.take()
    }

    /// Takes the whole log; ready without entries when it is closed and nothing is left.
    fn poll_entries(&self, cx: &mut Context<'_>) -> Poll<Vec<Entry<T>>> {
        // Cloning and dropping a waker runs foreign code, so both happen outside the lock.
        let mut spare = Some(cx.waker().clone());
        let polled = {
            let mut state = self.state.lock();
            if state.entries.is_empty() && !state.closed {
                spare = mem::replace(&mut state.waker, spare);
                Poll::Pending
            } else {
                Poll::Ready(state.take())
            }
        };
        discard(spare);
        polled
    }
}

impl<T> State<T> {
    fn take(&mut self) -> Vec<Entry<T>> {
        self.bytes = 0;
        self.full = false;
        self.compact_at = COMPACT_FROM;
        mem::take(&mut self.entries)
    }

    /// Takes out subscribers that joined and left while the flusher stood still, so that the log stays bounded.
    fn compact(&mut self, spent: &mut Vec<Arc<dyn Seat>>) {
        let mut left: HashMap<Key, usize> = HashMap::new();
        let mut over = vec![false; self.entries.len()];
        // Backwards, because a key is reused: a `Leave` belongs to the nearest `Join` of its key before it.
        for (at, entry) in self.entries.iter().enumerate().rev() {
            match entry {
                Entry::Leave(key) => {
                    left.insert(*key, at);
                }
                Entry::Join(key, ..) => {
                    if let Some(leave) = left.remove(key) {
                        over[at] = true;
                        over[leave] = true;
                    }
                }
                Entry::Cast(_) | Entry::Drain(..) | Entry::Gap(_) => {}
            }
        }
        for (entry, over) in mem::take(&mut self.entries).into_iter().zip(over) {
            match (entry, self.entries.last_mut()) {
                (Entry::Join(_, gate, _), _) if over => spent.push(gate),
                (Entry::Leave(_), _) if over => {}
                // A channel's number means the same in both, to whoever names it: nobody came or left in between.
                (Entry::Gap(more), Some(Entry::Gap(missed))) => {
                    more.into_iter().for_each(|(channel, messages)| *missed.entry(channel).or_default() += messages);
                }
                (entry, _) => self.entries.push(entry),
            }
        }
        self.compact_at = (self.entries.len() * 2).max(COMPACT_FROM);
    }
}

/// What a flusher did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Served {
    /// A part of its work: let others run, then call again.
    More,
    /// All of it, for ever: the registry is gone, or shut down and everything was handed over.
    Over,
}

/// Drains one lane of a registry: hands what is broadcast to the lane's outboxes, and writes to those that
/// [have a wire](crate::Outbox::attach).
///
/// Somebody must call [`poll_serve`](Self::poll_serve) whenever its waker asks for it: a task, one per core at best. Made by
/// [`SubscriberRegistry::open_lane`](crate::SubscriberRegistry::open_lane). Dropping it ends the lane's subscribers as
/// [`Failed`](crate::CloseReason::Failed), since nobody serves them any more; new ones go to other lanes, or to none.
///
/// # Examples
/// ```
/// use registry_core::{Json, LaneOptions, OutboxOptions, Registration, SubscriberRegistry, Wire, WireFormat};
/// use std::sync::{Arc, Mutex};
/// use std::task::{Context, Waker};
/// use std::time::Instant;
///
/// static LINES: WireFormat = WireFormat::new("lines", |_, body, out| {
///     out.extend_from_slice(body);
///     out.extend_from_slice(b"\n");
/// });
///
/// #[derive(Default)]
/// struct Socket(Mutex<Vec<u8>>);
/// impl Wire for Socket {
///     fn try_write(&self, bytes: &[u8]) -> std::io::Result<usize> {
///         self.0.lock().unwrap().extend_from_slice(bytes);
///         Ok(bytes.len())
///     }
/// }
///
/// let registry = SubscriberRegistry::new();
/// registry.encode_with(Json);
/// let mut flusher = registry.open_lane(LaneOptions::new());
/// let outbox = registry.open_outbox(&LINES, OutboxOptions::new().in_lane(), Registration::new())?;
/// let socket = Arc::new(Socket::default());
/// outbox.attach(socket.clone());
/// registry.broadcast("runs", 42)?;
/// registry.broadcast("runs", 43)?;
/// let mut cx = Context::from_waker(Waker::noop());
/// assert!(flusher.poll_serve(&mut cx, Instant::now()).is_pending()); // all is served
/// assert_eq!(*socket.0.lock().unwrap(), b"42\n43\n"); // in one write
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[must_use = "dropping a flusher ends its subscribers"]
pub struct Flusher<T: Send + Sync + 'static> {
    lane: usize,
    log: Arc<Log<T>>,
    registry: Weak<dyn Lanes>,
    book: Book<Arc<Gate>>,
    turn: Option<Turn<T>>,
}

impl<T: Send + Sync + 'static> Flusher<T> {
    pub(crate) fn new(lane: usize, log: Arc<Log<T>>, registry: Weak<dyn Lanes>) -> Self {
        Self { lane, log, registry, book: Book::default(), turn: None }
    }

    /// Hands over what was broadcast, up to some hundred microseconds' worth of writes; pending when nothing is left.
    ///
    /// While it is pending, the latest waker is woken by the next broadcast that the lane's subscribers hear. `now` is what
    /// [`Outbox::wrote`](crate::Outbox::wrote) of those tells that were written to.
    pub fn poll_serve(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Served> {
        let mut budget = WRITES_AT_ONCE;
        loop {
            let mut turn = match self.turn.take() {
                Some(turn) => turn,
                None => match self.log.poll_entries(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(entries) if entries.is_empty() => return Poll::Ready(Served::Over),
                    Poll::Ready(entries) => Turn::new(entries),
                },
            };
            let over = turn.serve(&mut self.book, &mut budget, now, |ended| match self.registry.upgrade() {
                Some(registry) => registry.forget(ended),
                None => ended.seat.tell(),
            });
            self.log.counts.add(turn.take_tally(), self.book.visits);
            let busy = turn.writes() > BUSY_TURN;
            if !over {
                self.turn = Some(turn);
            }
            if !over || busy {
                return Poll::Ready(Served::More);
            }
        }
    }
}

impl<T: Send + Sync + 'static> Drop for Flusher<T> {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.lose(self.lane);
        }
        let rest = {
            let mut state = self.log.state.lock();
            state.closed = true;
            state.take()
        };
        self.turn.take().into_iter().chain([Turn::new(rest)]).for_each(Turn::abandon);
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Flusher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flusher")
            .field("lane", &self.lane)
            .field("subscribers", &self.book.len())
            .finish_non_exhaustive()
    }
}
