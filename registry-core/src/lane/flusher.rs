//! The flusher: consumes the log of its lane and writes to the sockets of the lane's subscribers.
//!
//! A broadcast appends to the log and returns. The flusher takes the whole log at once (a *turn*),
//! joins the frames that each subscriber hears, and hands them over in one write. So one message
//! costs one write, and the more messages arrive at a time, the less each costs. The flusher never
//! waits: when a socket is full, the [owner](crate::subscriber::socket) of that outbox writes the
//! rest.
//!
//! A turn is served batch by batch. Within a *batch* the book of subscribers does not change:
//! subscribers that join are served separately, from the message after which they joined, and the
//! joins and leaves are applied at the end. The batch ends where that would not be exact (at a
//! [border](super::flusher_log::Border)), or where it would be expensive (many subscribers joined,
//! and much was broadcast since). A batch is cut into [segments](super::segment), each of which is
//! one write for each subscriber.
//!
//! Invariants: only the flusher touches its book of subscribers; a subscriber's frames are handed
//! over in the order of the log; a turn can be interrupted and continued between any two writes.

use super::book::{Audience, Book, Listener};
use super::flusher_log::{Border, Entry, FlusherLog, Lost, abandon};
use super::log::Broadcast;
use super::segment::{Joined, Segment, ServeCounts, Source};
use crate::clock::{Clock, SystemClock};
use crate::contain::{discard, in_drop, wake_all};
use crate::subscriber::gate::Gate;
use crate::subscriber::seat::{Ended, Registrar};
use crate::subscriber::state::Offered;
use crate::sync::Ordering;
use crate::types::id::Key;
use std::fmt;
use std::mem;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

/// Writes after which a flusher pauses. By then, tasks that want to read, revoke or publish have
/// waited a third of a millisecond.
const WRITES_AT_ONCE: usize = 128;
/// Writes in a turn after which the flusher pauses once more, so that publishers fill the next
/// turn.
const BUSY_TURN: usize = 64;

/// Visits of planning that count as one write, because planning takes time too.
const VISITS_PER_WRITE: usize = 64;
/// Broadcasts after which a batch ends if a subscriber joined in it: each segment visits each
/// subscriber that joined.
const BROADCASTS_AFTER_JOIN: usize = 4096;

/// How far a flusher got.
///
/// # Examples
/// ```
/// use registry_core::{Flusher, LaneOptions, Progress, SubscriberRegistry};
/// use std::future::poll_fn;
/// use std::task::Poll;
/// use std::time::Instant;
///
/// /// The task that drives a flusher, on any runtime.
/// async fn drive(mut flusher: Flusher<u32>) {
///     let mut progress = Progress::More;
///     while progress == Progress::More {
///         progress = poll_fn(|cx| flusher.poll_serve(cx, Instant::now())).await;
///         // A pause for other tasks, as `tokio::task::yield_now().await`.
///     }
/// }
///
/// let registry = SubscriberRegistry::new();
/// let flusher = registry.open_lane(LaneOptions::new());
/// drop(registry);
/// # use std::future::Future;
/// let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// assert_eq!(std::pin::pin!(drive(flusher)).poll(&mut cx), Poll::Ready(()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// It did a part of its work: let other tasks run, then call again.
    More,
    /// No work will follow: the registry was dropped or shut down, and everything was handed over.
    Done,
}

/// Serves one lane of a registry: hands broadcasts to the lane's outboxes, and writes to those that
/// [have a wire](crate::Outbox::attach).
///
/// A task must call [`poll_serve`](Self::poll_serve) whenever its waker asks for it; one such task
/// per core is best. A flusher is made by
/// [`SubscriberRegistry::open_lane`](crate::SubscriberRegistry::open_lane). Dropping it ends the
/// lane's subscribers as [`Failed`](crate::CloseReason::Failed), since nothing serves them any
/// more; new ones go to other lanes, or to none.
///
/// # Examples
/// ```
/// use registry_core::{
///     Encoded, LaneOptions, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
///     Wire, WireFormat,
/// };
/// use std::io;
/// use std::sync::{Arc, Mutex};
/// use std::task::{Context, Poll, Waker};
/// use std::time::Instant;
///
/// static LINES: WireFormat = WireFormat::new("lines", |_, encoded, out| {
///     out.extend_from_slice(encoded.body());
///     out.extend_from_slice(b"\n");
/// });
///
/// #[derive(Default)]
/// struct Socket(Mutex<Vec<u8>>);
///
/// impl Wire for Socket {
///     fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
///         self.0.lock().unwrap().extend_from_slice(bytes);
///         Ok(bytes.len())
///     }
///
///     fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
///         Poll::Ready(Ok(()))
///     }
/// }
///
/// let encoder = |number: &u32| Ok(Encoded::json(number.to_string()));
/// let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
/// let mut flusher = registry.open_lane(LaneOptions::new());
/// let options = OutboxOptions::new().with_flusher();
/// let outbox = registry.open_outbox(&LINES, options, Registration::new())?;
/// let socket = Arc::new(Socket::default());
/// let _outbox = outbox.attach(socket.clone());
/// registry.broadcast("runs", 42)?;
/// registry.broadcast("runs", 43)?;
/// let mut cx = Context::from_waker(Waker::noop());
/// assert!(flusher.poll_serve(&mut cx, Instant::now()).is_pending()); // all is written
/// assert_eq!(*socket.0.lock().unwrap(), b"42\n43\n"); // in one write
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[must_use = "dropping a flusher ends its subscribers"]
pub struct Flusher<T: Send + Sync + 'static> {
    lane: usize,
    log: Arc<FlusherLog<T>>,
    registry: Weak<dyn Registrar>,
    book: Book<Arc<Gate>>,
    turn: Option<Turn<T>>,
}

impl<T: Send + Sync + 'static> Flusher<T> {
    pub(crate) fn new(lane: usize, log: Arc<FlusherLog<T>>, registry: Weak<dyn Registrar>) -> Self {
        Self { lane, log, registry, book: Book::default(), turn: None }
    }

    /// Hands over what was broadcast, for some hundred microseconds at most; pending when nothing
    /// is left.
    ///
    /// While it is pending, the waker of the latest call is woken by the next broadcast that one of
    /// the lane's subscribers hears. `now` is what [`last_write`](crate::SocketOutbox::last_write)
    /// returns for an outbox that was written to.
    pub fn poll_serve(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Progress> {
        let mut budget = WRITES_AT_ONCE;
        loop {
            let turn = match self.turn.take() {
                Some(turn) => turn,
                None => match self.log.poll_entries(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(entries) if entries.is_empty() => {
                        return Poll::Ready(Progress::Done);
                    }
                    Poll::Ready(entries) => Turn::new(entries),
                },
            };
            if self.serve(turn, &mut budget, now) {
                return Poll::Ready(Progress::More);
            }
        }
    }

    /// Serves a turn as far as the budget of writes goes; true when it is time for a pause.
    fn serve(&mut self, mut turn: Turn<T>, budget: &mut usize, now: Instant) -> bool {
        let over = turn.serve(&mut self.book, budget, now, |ended| match self.registry.upgrade() {
            Some(registry) => registry.remove(ended),
            None => ended.seat.notify(),
        });
        self.count(turn.take_counts());
        let busy = turn.writes() > BUSY_TURN;
        if !over {
            self.turn = Some(turn);
        }
        !over || busy
    }

    fn count(&mut self, turn: ServeCounts) {
        let lane = &self.log.counts;
        let visits = turn.visits + mem::take(&mut self.book.visits);
        lane.writes.fetch_add(turn.writes, Ordering::Relaxed);
        lane.messages.fetch_add(turn.messages, Ordering::Relaxed);
        lane.dropped.fetch_add(turn.dropped, Ordering::Relaxed);
        lane.visits.fetch_add(visits, Ordering::Relaxed);
    }
}

impl<T: Send + Sync + 'static> Drop for Flusher<T> {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            in_drop(|| registry.lane_closed(self.lane));
        }
        // A draining subscriber still gets the earlier broadcasts. But if the thread is unwinding,
        // serving them may be what panicked.
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

/// A log that is being served.
struct Turn<T> {
    log: std::vec::IntoIter<Entry<T>>,
    /// The broadcasts of the batch; those before `planned` are served or in the segment.
    broadcasts: Vec<Broadcast<T>>,
    planned: usize,
    joined: Vec<Joined>,
    updates: Vec<Update>,
    border: Option<Border>,
    segment: Segment,
    writes: usize,
    counts: ServeCounts,
}

/// A change that is applied to the book after the batch.
enum Update {
    /// The next of the subscribers that joined.
    Join,
    Leave(Key),
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        self.joined.drain(..).for_each(discard);
        let broadcasts = self.broadcasts.drain(..).map(Entry::Broadcast);
        let border = self.border.take().map(Entry::Border);
        abandon(broadcasts.chain(border).chain(self.log.by_ref()));
    }
}

impl<T> Turn<T> {
    fn new(log: Vec<Entry<T>>) -> Self {
        Self {
            log: log.into_iter(),
            broadcasts: Vec::new(),
            planned: 0,
            joined: Vec::new(),
            updates: Vec::new(),
            border: None,
            segment: Segment::default(),
            writes: 0,
            counts: ServeCounts::default(),
        }
    }

    /// Serves until the turn is over (true) or the budget of writes is used up. Calls `ended` for
    /// every subscriber whose end the registry has yet to handle.
    fn serve(
        &mut self,
        book: &mut Book<Arc<Gate>>,
        budget: &mut usize,
        now: Instant,
        mut ended: impl FnMut(Ended),
    ) -> bool {
        loop {
            let source = Source { book, broadcasts: &self.broadcasts, joined: &self.joined };
            if let Some((key, gate, offered)) =
                self.segment.serve(source, budget, now, &mut self.counts)
            {
                self.note(key, gate, offered, &mut ended);
                continue;
            }
            if !self.segment.is_served() {
                return false;
            }
            self.writes += mem::take(&mut self.segment.writes);
            let before = book.visits;
            let over = if self.planned < self.broadcasts.len() {
                let from = self.planned;
                let segment = Segment::plan(&self.broadcasts, from, &self.joined, book);
                self.planned = segment.end();
                self.segment = segment;
                false
            } else {
                !self.next_batch(book, &mut ended)
            };
            *budget = budget.saturating_sub((book.visits - before) as usize / VISITS_PER_WRITE);
            if over {
                return true;
            }
        }
    }

    /// How many writes its segments took.
    fn writes(&self) -> usize {
        self.writes
    }

    fn take_counts(&mut self) -> ServeCounts {
        mem::take(&mut self.counts)
    }

    /// Counts losses, wakes the owner, and reports the end of the subscriber. Application code runs
    /// here, without any lock.
    fn note(&mut self, key: Key, gate: Arc<Gate>, offered: Offered, ended: &mut impl FnMut(Ended)) {
        self.counts.dropped += offered.dropped;
        wake_all(offered.waker);
        if let Some((reason, first)) = offered.ended {
            ended(Ended { key, seat: gate, reason, first });
        }
    }

    /// Applies the updates of the batch that was served, and collects the next; false when there is
    /// none.
    fn next_batch(&mut self, book: &mut Book<Arc<Gate>>, ended: &mut impl FnMut(Ended)) -> bool {
        self.apply_updates(book);
        self.planned = 0;
        for broadcast in self.broadcasts.drain(..) {
            discard(broadcast.message);
        }
        if let Some(border) = self.border.take() {
            self.cross(border, book, ended);
        }
        while self.joined.is_empty() || self.broadcasts.len() < BROADCASTS_AFTER_JOIN {
            let Some(entry) = self.log.next() else { break };
            match entry {
                Entry::Broadcast(broadcast) => self.broadcasts.push(broadcast),
                Entry::Join(id, seat, numbers) => {
                    self.updates.push(Update::Join);
                    let after = self.broadcasts.len();
                    let listener = Listener { key: id.key, seat };
                    self.joined.push(Joined { after, id, listener, numbers });
                }
                Entry::Leave(key) => self.updates.push(Update::Leave(key)),
                Entry::Border(border) => {
                    self.border = Some(border);
                    return true;
                }
            }
        }
        !self.broadcasts.is_empty() || !self.updates.is_empty()
    }

    fn apply_updates(&mut self, book: &mut Book<Arc<Gate>>) {
        let mut joined = self.joined.drain(..);
        for update in self.updates.drain(..) {
            match update {
                Update::Join => {
                    if let Some(Joined { id, listener, numbers, .. }) = joined.next() {
                        book.join(id, listener.seat, numbers);
                    }
                }
                Update::Leave(key) => discard(book.leave(key)),
            }
        }
    }

    fn cross(&mut self, border: Border, book: &mut Book<Arc<Gate>>, ended: &mut impl FnMut(Ended)) {
        match border {
            Border::Drain(key, seat) => {
                discard(book.leave(key));
                wake_all(seat.complete());
            }
            Border::Overflow(Lost { heard, addressed }) => {
                let heard = heard.into_iter().map(|(no, n)| (Audience::Hearing(no), n));
                let addressed =
                    addressed.into_iter().map(|(id, n)| (Audience::Only([id].into()), n));
                let mut offers = Vec::new();
                for (audience, messages) in heard.chain(addressed) {
                    book.for_each(&audience, |key, gate| {
                        offers.push((key, gate.clone(), gate.overflowed(messages)));
                    });
                }
                for (key, gate, offered) in offers {
                    self.note(key, gate, offered, ended);
                }
            }
        }
    }
}
