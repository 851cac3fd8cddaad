//! The lane of sockets that we own: a log that one flusher drains.
//!
//! A broadcast appends to the log and returns; the flusher takes the whole log at once (a *turn*), joins what each
//! subscriber hears, and hands it over in one write. So one message costs one write, and the more come at a time, the less
//! each costs. It waits for nothing: a socket that is full is its owner's business from then on (see [`crate::gate`]).
//!
//! Invariants: only the flusher touches the book of subscribers; a log holds at most its bound in bytes of broadcasts, and
//! beyond it counts what it had no room for.

use crate::clock::{Clock, SystemClock};
use crate::contain::{discard, in_drop, wake_all};
use crate::gate::{Gate, TAKE_BYTES};
use crate::lane::{Book, Change, ChannelNo, Key, Numbers, spent};
use crate::message::Message;
use crate::registry::Lanes;
use crate::sink::Seat;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::turn::{Tally, Turn, abandon};
use bytes::Bytes;
use std::collections::BTreeMap;
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
/// Bytes in a log up to which its flusher keeps up: two segments, since more would not make its writes any longer.
const CAUGHT_UP: usize = 2 * TAKE_BYTES;
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
    /// 64 MiB: more than a burst between two turns of a flusher that has work, and what a server can spare when one has not
    /// run for too long.
    pub const DEFAULT_BYTES: NonZeroUsize = NonZeroUsize::new(64 << 20).expect("not zero");

    /// Creates the default bound: 64 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self { max_bytes: Self::DEFAULT_BYTES }
    }

    /// Sets how many bytes of broadcasts may wait for the flusher, counted as encoded payload and 128 bytes for each; what the
    /// flusher has taken and is writing, which is no more than that, comes on top.
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
        self.visits.fetch_add(tally.visits + visits, Ordering::Relaxed);
    }
}

struct State<T> {
    entries: Vec<Entry<T>>,
    bytes: usize,
    /// The bound was reached since the flusher last took the log.
    full: bool,
    closed: bool,
    /// The length at which subscribers who left again are next taken out of the log.
    compact_at: usize,
    waker: Option<Waker>,
    /// Publishers who wait for the flusher to catch up.
    publishers: Vec<Waker>,
}

impl<T> State<T> {
    /// Takes out subscribers that came and left while the flusher stood still, so that the log stays bounded.
    /// Returns their gates: a wire's destructor is foreign code, so the last of a gate goes without locks.
    fn compact(&mut self) -> Vec<Arc<Gate>> {
        let spent = spent(self.entries.iter().map(|entry| match entry {
            Entry::Join(key, ..) => Some((*key, Change::Join)),
            Entry::Leave(key) => Some((*key, Change::Leave)),
            _ => None,
        }))
        .into_iter();
        let mut gates = Vec::new();
        for (entry, spent) in mem::take(&mut self.entries).into_iter().zip(spent) {
            match (entry, self.entries.last_mut()) {
                (Entry::Join(_, gate, _), _) if spent => gates.push(gate),
                (Entry::Leave(_), _) if spent => {}
                // A number means the same channel in both to whoever names it: nobody came or left in between.
                (Entry::Gap(more), Some(Entry::Gap(missed))) => {
                    more.into_iter().for_each(|(channel, messages)| *missed.entry(channel).or_default() += messages);
                }
                (entry, _) => self.entries.push(entry),
            }
        }
        self.compact_at = (self.entries.len() * 2).max(COMPACT_FROM);
        gates
    }
}

impl<T> Drop for Log<T> {
    fn drop(&mut self) {
        abandon(self.take().into_iter());
    }
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
        let state = State {
            entries: Vec::new(),
            bytes: 0,
            full: false,
            closed: false,
            compact_at: COMPACT_FROM,
            waker: None,
            publishers: Vec::new(),
        };
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

    /// Who joined and left since the flusher last came goes to `spent`, for the caller to drop without locks.
    pub(crate) fn leave(&self, key: Key, spent: &mut Vec<Arc<Gate>>) -> Option<Waker> {
        let waker = self.append(Entry::Leave(key));
        let mut state = self.state.lock();
        if state.entries.len() >= state.compact_at {
            spent.extend(state.compact());
        }
        waker
    }

    pub(crate) fn drain(&self, key: Key, seat: Arc<dyn Seat>) -> Option<Waker> {
        self.append(Entry::Drain(key, seat))
    }

    fn append(&self, entry: Entry<T>) -> Option<Waker> {
        let mut state = self.state.lock();
        if !state.closed {
            state.entries.push(entry);
        }
        state.waker.take()
    }

    /// Takes what is left.
    fn take(&self) -> Vec<Entry<T>> {
        mem::take(&mut self.state.lock().entries)
    }

    /// Nothing more will be appended; the caller wakes.
    pub(crate) fn close(&self) -> Vec<Waker> {
        let mut state = self.state.lock();
        state.closed = true;
        let mut wakers = mem::take(&mut state.publishers);
        wakers.extend(state.waker.take());
        wakers
    }

    /// Waits until little enough waits for the flusher.
    pub(crate) fn poll_caught_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut state = self.state.lock();
        let caught_up = state.bytes <= CAUGHT_UP || state.closed;
        // Who is polled again and again meanwhile stands there once.
        if caught_up || state.publishers.iter().any(|known| known.will_wake(&waker)) {
            drop(state);
            discard(waker); // foreign code, so not under the lock
        } else {
            state.publishers.push(waker);
        }
        if caught_up { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Takes the whole log; ready without entries when it is closed and nothing is left.
    fn poll_entries(&self, cx: &mut Context<'_>) -> Poll<Vec<Entry<T>>> {
        // Cloning and dropping a waker runs foreign code, so both happen outside the lock.
        let mut spare = Some(cx.waker().clone());
        let (polled, publishers) = {
            let mut state = self.state.lock();
            if state.entries.is_empty() && !state.closed {
                spare = mem::replace(&mut state.waker, spare);
                (Poll::Pending, Vec::new())
            } else {
                state.bytes = 0;
                state.full = false;
                state.compact_at = COMPACT_FROM;
                (Poll::Ready(mem::take(&mut state.entries)), mem::take(&mut state.publishers))
            }
        };
        discard(spare);
        wake_all(publishers);
        polled
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
            let turn = match self.turn.take() {
                Some(turn) => turn,
                None => match self.log.poll_entries(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(entries) if entries.is_empty() => return Poll::Ready(Served::Over),
                    Poll::Ready(entries) => Turn::new(entries),
                },
            };
            if self.serve(turn, &mut budget, now) {
                return Poll::Ready(Served::More);
            }
        }
    }

    /// Serves a turn as far as the budget goes; true when it is time for a pause.
    fn serve(&mut self, mut turn: Turn<T>, budget: &mut usize, now: Instant) -> bool {
        let over = turn.serve(&mut self.book, budget, now, |ended| match self.registry.upgrade() {
            Some(registry) => registry.forget(ended),
            None => ended.seat.tell(),
        });
        self.log.counts.add(turn.take_tally(), mem::take(&mut self.book.visits));
        let busy = turn.writes() > BUSY_TURN;
        if !over {
            self.turn = Some(turn);
        }
        !over || busy
    }
}

impl<T: Send + Sync + 'static> Drop for Flusher<T> {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            in_drop(|| registry.lose(self.lane));
        }
        // Who drains still gets what was broadcast before. A thread that is unwinding may have come from there.
        if !std::thread::panicking() {
            let now = SystemClock.now();
            let turns = [self.turn.take(), Some(Turn::new(self.log.take()))];
            for turn in turns.into_iter().flatten() {
                let mut no_pause = usize::MAX;
                self.serve(turn, &mut no_pause, now);
            }
        }
        abandon(self.log.take().into_iter());
        mem::take(&mut self.book).into_seats().for_each(discard);
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

#[cfg(all(test, registry_loom))]
mod loom_tests;

#[cfg(all(test, not(any(registry_loom, registry_shuttle))))]
mod tests {
    use super::*;
    use crate::close::CloseReason;
    use crate::message::WireFormat;
    use crate::outbox::{OutboxOptions, Taken};

    static RAW: WireFormat = WireFormat::new("raw", |_, body, out| out.extend_from_slice(body));

    /// As when the registry goes while its flusher goes: what is logged then is taken by nobody.
    #[test]
    fn drn_1_who_drains_waits_for_no_log_that_is_gone() {
        let log = Log::<u32>::new(LaneOptions::new());
        let gate = Arc::new(Gate::new(&RAW, OutboxOptions::new().in_lane()));
        assert!(gate.end(CloseReason::Shutdown));
        assert!(log.drain(0, gate.clone()).is_none());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(gate.poll_take(&mut cx, 1).is_pending());
        drop(log);
        assert_eq!(gate.poll_take(&mut cx, 1), Poll::Ready(Taken::Closed(CloseReason::Shutdown)));
    }
}
