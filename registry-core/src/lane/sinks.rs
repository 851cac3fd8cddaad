//! The lane of sinks, which publishing threads consume themselves.
//!
//! Sinks may block, panic or call back, so publishers never wait for them: a publisher that finds
//! no delivery in progress delivers what the log holds; otherwise it appends its broadcast and
//! returns (PRG-3, RE-1).

use super::book::{Audience, Book, Numbers};
use super::log::{Broadcast, COMPACT_FROM, Entry, obsolete};
use crate::contain::discard;
use crate::subscriber::seat::{Ended, Seat};
use crate::subscriber::sink::SinkSeat;
use crate::sync::Mutex;
use crate::types::close::CloseReason;
use crate::types::id::{Key, MemberId};
use crate::types::message::Message;
use crate::types::report::SendOutcome;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

/// The lane of sinks.
pub(crate) struct SinkLane<T> {
    state: Mutex<State<T>>,
    max_broadcasts: usize,
}

struct State<T> {
    log: VecDeque<Entry<T, Arc<SinkSeat<T>>>>,
    /// How many of the log's entries are broadcasts.
    broadcasts: usize,
    /// Absent during a delivery: the delivering thread has it.
    book: Option<Book<Arc<SinkSeat<T>>>>,
    dropped: u64,
    /// The length at which the log is compacted next.
    compact_at: usize,
}

impl<T: 'static> SinkLane<T> {
    pub(crate) fn new(max_broadcasts: usize) -> Self {
        let state = State {
            log: VecDeque::new(),
            broadcasts: 0,
            book: Some(Book::default()),
            dropped: 0,
            compact_at: COMPACT_FROM,
        };
        Self { state: Mutex::new(state), max_broadcasts }
    }

    /// Appends a broadcast, unless the log is full because a sink is stuck. The caller holds the
    /// registry's lock.
    pub(crate) fn broadcast(&self, audience: Audience, message: &Arc<Message<T>>, matched: usize) {
        let mut state = self.state.lock();
        if state.broadcasts >= self.max_broadcasts {
            state.dropped += matched as u64;
            message.tally.add_dropped(matched);
            return;
        }
        state.broadcasts += 1;
        let message = message.clone();
        state.log.push_back(Entry::Broadcast(Broadcast { audience, message }));
    }

    /// Appends a new subscriber. The caller holds the registry's lock.
    pub(crate) fn join(&self, id: MemberId, seat: Arc<SinkSeat<T>>, numbers: Numbers) {
        self.state.lock().log.push_back(Entry::Join(id, seat, numbers));
    }

    /// Appends a removal. The caller holds the registry's lock.
    pub(crate) fn leave(&self, key: Key) {
        let mut state = self.state.lock();
        state.log.push_back(Entry::Leave(key));
        if state.log.len() >= state.compact_at {
            state.compact();
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Listeners of its book that were visited so far; `None` during a delivery.
    pub(crate) fn visits(&self) -> Option<u64> {
        self.state.lock().book.as_ref().map(|book| book.visits)
    }

    /// Applies joins and leaves up to the next broadcast, and delivers nothing. If a delivery is in
    /// progress, that delivery applies them.
    pub(crate) fn tidy(&self) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        // The lock is held to the end. Otherwise a publisher could find the book absent and leave
        // its broadcast to a delivery that does not exist.
        let Some(book) = &mut state.book else { return };
        while let Some(entry) = state.log.pop_front() {
            match entry {
                Entry::Join(id, seat, numbers) => book.join(id, seat, numbers),
                // After a seat was notified of its end, it holds no sink. Before, the notifying
                // thread holds a reference too. So this drop runs no application code.
                Entry::Leave(key) => drop(book.leave(key)),
                Entry::Border(never) => match never {},
                Entry::Broadcast(_) => {
                    state.log.push_front(entry);
                    return;
                }
            }
        }
    }

    /// Delivers what the log holds, unless a delivery (perhaps by this thread, further up) is in
    /// progress.
    pub(crate) fn settle(&self, mut ended: impl FnMut(Ended)) {
        let Some(mut delivery) = Delivery::begin(&self.state) else { return };
        while let Some(entry) = delivery.next() {
            match entry {
                Entry::Join(id, seat, numbers) => delivery.book.join(id, seat, numbers),
                Entry::Leave(key) => drop(delivery.book.leave(key)),
                Entry::Border(never) => match never {},
                Entry::Broadcast(Broadcast { audience, message }) => {
                    delivery.book.for_each(&audience, |key, seat| {
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

impl<T> State<T> {
    /// Removes the subscribers that joined and left while a sink was stuck, so that the log stays
    /// bounded.
    fn compact(&mut self) {
        let mut obsolete = obsolete(self.log.iter()).into_iter();
        self.log.retain(|_| !obsolete.next().unwrap_or(false));
        self.compact_at = (self.log.len() * 2).max(COMPACT_FROM);
    }
}

/// One thread's ownership of the book while it delivers. Gives the book back, also after a panic.
struct Delivery<'a, T> {
    state: &'a Mutex<State<T>>,
    book: Book<Arc<SinkSeat<T>>>,
    over: bool,
}

impl<'a, T> Delivery<'a, T> {
    fn begin(state: &'a Mutex<State<T>>) -> Option<Self> {
        let mut locked = state.lock();
        if locked.log.is_empty() {
            return None;
        }
        let book = locked.book.take()?;
        Some(Self { state, book, over: false })
    }

    /// The next entry. When there is none, gives the book back under the same lock, so that no
    /// entry is missed.
    fn next(&mut self) -> Option<Entry<T, Arc<SinkSeat<T>>>> {
        let mut state = self.state.lock();
        let entry = state.log.pop_front();
        match &entry {
            Some(Entry::Broadcast(_)) => state.broadcasts -= 1,
            Some(_) => {}
            None => {
                state.log.shrink_to(COMPACT_FROM);
                state.compact_at = COMPACT_FROM;
                state.book = Some(mem::take(&mut self.book));
                self.over = true;
            }
        }
        entry
    }
}

impl<T> Drop for Delivery<'_, T> {
    fn drop(&mut self) {
        if !self.over {
            self.state.lock().book = Some(mem::take(&mut self.book));
        }
    }
}

#[cfg(all(test, registry_loom))]
mod loom_tests;
