//! The two inline lanes: logs that publishing threads drain themselves.
//!
//! **Outboxes** never run foreign code and never block, so a publisher waits until its own entry is pushed (DEL-1); one
//! mutex around the book is all it takes. **Foreign sinks** may block, panic or call back, so nobody waits for them: who
//! finds nobody draining drains, and who finds somebody leaves its entry and goes (PRG-3, RE-1). The two are apart so
//! that a stuck sink never delays an outbox (QUE-2).

use crate::close::CloseReason;
use crate::contain::{contain, discard};
use crate::gate::Gate;
use crate::lane::{Book, Change, Key, Numbers, Op, spent};
use crate::message::{Message, WireFormat};
use crate::sink::{Foreign, Seat, SendOutcome};
use crate::sync::{AtomicU64, Mutex, Ordering};
use bytes::Bytes;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::task::Waker;

/// A subscriber that a lane found at its end. The registry still has to take it out of its table.
pub(crate) struct Ended {
    pub(crate) key: Key,
    pub(crate) seat: Arc<dyn Seat>,
    pub(crate) reason: CloseReason,
    /// It had not ended for another reason before.
    pub(crate) first: bool,
}

/// The lane of outboxes.
pub(crate) struct OutboxLane<T> {
    log: Mutex<Vec<Op<T, Arc<Gate>>>>,
    drain: Mutex<Drain<T>>,
    dropped: AtomicU64,
}

/// What only the draining thread touches.
struct Drain<T> {
    book: Book<Arc<Gate>>,
    /// The emptied log of the last drain, to be filled again.
    spare: Vec<Op<T, Arc<Gate>>>,
}

impl<T> OutboxLane<T> {
    pub(crate) fn new() -> Self {
        let drain = Drain { book: Book::default(), spare: Vec::new() };
        Self { log: Mutex::new(Vec::new()), drain: Mutex::new(drain), dropped: AtomicU64::new(0) }
    }

    /// Appends an entry. The caller holds the registry's lock, which is what gives the log its order.
    pub(crate) fn append(&self, op: Op<T, Arc<Gate>>) {
        self.log.lock().push(op);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Steps of its book so far; waits for a drain in progress.
    pub(crate) fn visits(&self) -> u64 {
        self.drain.lock().book.visits
    }

    /// Applies what the log holds. With `wait`, all that was appended before the call is applied on return; without, a
    /// thread that is draining does it.
    pub(crate) fn settle(&self, wait: bool, mut ended: impl FnMut(Ended)) {
        let mut wait = wait;
        // After each drain the log is read again: who appended meanwhile and found the book locked relies on it.
        while wait || !self.log.lock().is_empty() {
            let locked = if mem::take(&mut wait) { Some(self.drain.lock()) } else { self.drain.try_lock() };
            let Some(mut guard) = locked else { return };
            let drain = &mut *guard;
            mem::swap(&mut drain.spare, &mut *self.log.lock());
            let mut wakers = Vec::new();
            let mut over = Vec::new();
            let mut spent = Vec::new();
            let mut gone = Vec::new();
            for op in drain.spare.drain(..) {
                match op {
                    Op::Join(key, seat, numbers) => gone.extend(drain.book.join(key, seat, numbers)),
                    Op::Leave(key) => gone.extend(drain.book.leave(key)),
                    Op::Cast(channel, message) => {
                        let (mut frames, mut accepted) = (Frames::default(), 0);
                        drain.book.for_each_hearing(channel, |key, gate| {
                            let offered = match frames.of(gate.format, &message) {
                                Some(frame) => gate.push(frame, &message.channel),
                                None => gate.fail(),
                            };
                            // Nearly always that, and an atomic count for each would cost some per cent of the whole.
                            match offered.outcome {
                                SendOutcome::Accepted => accepted += 1,
                                other => message.tally.count(other),
                            }
                            if offered.dropped > 0 {
                                self.dropped.fetch_add(offered.dropped, Ordering::Relaxed);
                            }
                            let end = |(reason, first)| Ended { key, seat: gate.clone(), reason, first };
                            over.extend(offered.ended.map(end));
                            wakers.extend(offered.waker);
                        });
                        message.tally.add_accepted(accepted);
                        spent.push(message);
                    }
                }
            }
            drain.spare.shrink_to(COMPACT_FROM);
            drop(guard);
            // Wakers, and the destructors of payloads, wires and hooks, are foreign code: only now.
            gone.into_iter().for_each(discard);
            for waker in wakers {
                contain(|| Waker::wake(waker));
            }
            for message in spent {
                discard(message);
            }
            over.into_iter().for_each(&mut ended);
        }
    }
}

/// The frames of one broadcast, each built once; absent where the format's function panicked.
#[derive(Default)]
struct Frames(Vec<(&'static WireFormat, Option<Bytes>)>);

impl Frames {
    fn of<T>(&mut self, format: &'static WireFormat, message: &Message<T>) -> Option<&Bytes> {
        let at = self.0.iter().position(|(known, _)| std::ptr::eq(*known, format)).unwrap_or_else(|| {
            // The registry admits no outbox before it has an encoding, so there is a body.
            let body = message.body.as_deref().unwrap_or_default();
            // Contained here, because the drain would lose the wake-ups and the broadcasts behind this one.
            self.0.push((format, contain(|| format.frame(message.id, body))));
            self.0.len() - 1
        });
        self.0[at].1.as_ref()
    }
}

/// The lane of foreign sinks.
pub(crate) struct ForeignLane<T> {
    state: Mutex<ForeignState<T>>,
    max_casts: usize,
}

struct ForeignState<T> {
    log: VecDeque<Op<T, Arc<Foreign<T>>>>,
    /// How many of the log's entries are casts.
    casts: usize,
    /// Absent while a thread drains: that thread owns it.
    book: Option<Book<Arc<Foreign<T>>>>,
    dropped: u64,
    /// The length at which removed subscribers are next taken out of the log.
    compact_at: usize,
}

/// Logs shorter than this are not worth compacting.
const COMPACT_FROM: usize = 1024;

impl<T: 'static> ForeignLane<T> {
    pub(crate) fn new(max_casts: usize) -> Self {
        let state = ForeignState {
            log: VecDeque::new(),
            casts: 0,
            book: Some(Book::default()),
            dropped: 0,
            compact_at: COMPACT_FROM,
        };
        Self { state: Mutex::new(state), max_casts }
    }

    /// Appends a broadcast, unless the log is full because a sink is stuck. The caller holds the registry's lock.
    pub(crate) fn cast(&self, channel: Option<usize>, message: &Arc<Message<T>>, matched: usize) {
        let mut state = self.state.lock();
        if state.casts >= self.max_casts {
            state.dropped += matched as u64;
            message.tally.add_dropped(matched);
            return;
        }
        state.casts += 1;
        state.log.push_back(Op::Cast(channel, message.clone()));
    }

    /// Appends a new subscriber. The caller holds the registry's lock.
    pub(crate) fn join(&self, key: Key, seat: Arc<Foreign<T>>, numbers: Numbers) {
        self.state.lock().log.push_back(Op::Join(key, seat, numbers));
    }

    /// Appends a removal. The caller holds the registry's lock.
    pub(crate) fn leave(&self, key: Key) {
        let mut state = self.state.lock();
        state.log.push_back(Op::Leave(key));
        if state.log.len() >= state.compact_at {
            state.compact();
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Steps of its book so far; `None` while a thread drains.
    pub(crate) fn visits(&self) -> Option<u64> {
        self.state.lock().book.as_ref().map(|book| book.visits)
    }

    /// Lets the book forget who left, unless a thread is draining, which does it. Delivers nothing.
    pub(crate) fn tidy(&self) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        // Under the lock to its end: a publisher that found the book absent would leave its broadcast to nobody.
        let Some(book) = &mut state.book else { return };
        while let Some(op) = state.log.pop_front() {
            match op {
                // A seat whose end was told has let its sink go; before that, who tells it has another reference.
                Op::Join(key, seat, numbers) => drop(book.join(key, seat, numbers)),
                Op::Leave(key) => drop(book.leave(key)),
                Op::Cast(..) => {
                    state.log.push_front(op);
                    return;
                }
            }
        }
    }

    /// Delivers what the log holds, unless a thread (perhaps this one, further up) is doing so.
    pub(crate) fn settle(&self, mut ended: impl FnMut(Ended)) {
        let Some(mut turn) = Turn::begin(&self.state) else { return };
        while let Some(op) = turn.next() {
            match op {
                Op::Join(key, seat, numbers) => drop(turn.book.join(key, seat, numbers)),
                Op::Leave(key) => drop(turn.book.leave(key)),
                Op::Cast(channel, message) => {
                    turn.book.for_each_hearing(channel, |key, seat| {
                        let outcome = seat.send(&message);
                        let reason = match outcome {
                            SendOutcome::Accepted => None,
                            SendOutcome::Dropped => {
                                self.state.lock().dropped += 1;
                                None
                            }
                            SendOutcome::Lagged => Some(CloseReason::Lagged),
                            SendOutcome::Failed => Some(CloseReason::Failed),
                            SendOutcome::Closed => Some(CloseReason::Unsubscribed),
                        };
                        message.tally.count(outcome);
                        if let Some(reason) = reason {
                            // When it had ended before, this changes nothing.
                            if seat.end(reason) {
                                ended(Ended { key, seat: seat.clone(), reason, first: true });
                            }
                        }
                    });
                    discard(message);
                }
            }
        }
    }
}

impl<T> ForeignState<T> {
    /// Takes out subscribers that joined and left while a sink was stuck, so that the log stays bounded.
    fn compact(&mut self) {
        let spent = spent(self.log.iter().map(|op| match op {
            Op::Join(key, ..) => Some((*key, Change::Join)),
            Op::Leave(key) => Some((*key, Change::Leave)),
            Op::Cast(..) => None,
        }));
        let mut spent = spent.into_iter();
        self.log.retain(|_| !spent.next().unwrap_or(false));
        self.compact_at = (self.log.len() * 2).max(COMPACT_FROM);
    }
}

/// One thread's ownership of the book while it drains. Gives the book back, whatever happens.
struct Turn<'a, T> {
    state: &'a Mutex<ForeignState<T>>,
    book: Book<Arc<Foreign<T>>>,
    over: bool,
}

impl<'a, T> Turn<'a, T> {
    fn begin(state: &'a Mutex<ForeignState<T>>) -> Option<Self> {
        let mut locked = state.lock();
        if locked.log.is_empty() {
            return None;
        }
        let book = locked.book.take()?;
        Some(Self { state, book, over: false })
    }

    /// The next entry; with the last one taken, gives the book back under the same lock, so that no entry is missed.
    fn next(&mut self) -> Option<Op<T, Arc<Foreign<T>>>> {
        let mut state = self.state.lock();
        let op = state.log.pop_front();
        match &op {
            Some(Op::Cast(..)) => state.casts -= 1,
            Some(_) => {}
            None => {
                state.log.shrink_to(COMPACT_FROM);
                state.compact_at = COMPACT_FROM;
                state.book = Some(mem::take(&mut self.book));
                self.over = true;
            }
        }
        op
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        if !self.over {
            self.state.lock().book = Some(mem::take(&mut self.book));
        }
    }
}

#[cfg(all(test, registry_loom))]
mod loom_tests;
