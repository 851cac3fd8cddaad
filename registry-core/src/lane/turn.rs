//! One turn of a flusher: all entries of its log, served batch by batch.
//!
//! Within a *batch* the book of subscribers does not change: subscribers that join are served
//! separately, from the message after which they joined, and the joins and leaves are applied at
//! the end. The batch ends where that would not be exact (at a
//! [border](super::flusher_log::Border)), or where it would be expensive (many subscribers joined,
//! and much was broadcast since). A batch is cut into [segments](super::segment), each of which is
//! one write for each subscriber.
//!
//! Invariants: a subscriber's frames are handed over in the order of the log; nothing here waits,
//! and a turn can be interrupted and continued between any two writes.

use super::book::{Book, Listener};
use super::flusher_log::{Border, Entry, abandon};
use super::log::Broadcast;
use super::segment::{Joined, Segment, ServeCounts, Source};
use crate::contain::{discard, wake_all};
use crate::subscriber::gate::Gate;
use crate::subscriber::seat::Ended;
use crate::subscriber::state::Offered;
use crate::types::id::Key;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

/// Visits of planning that count as one write, because planning takes time too.
const VISITS_PER_WRITE: usize = 64;
/// Broadcasts after which a batch ends if a subscriber joined in it: each segment visits each
/// subscriber that joined.
const BROADCASTS_AFTER_JOIN: usize = 4096;

/// A log that is being served.
pub(crate) struct Turn<T> {
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
    pub(crate) fn new(log: Vec<Entry<T>>) -> Self {
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
    pub(crate) fn serve(
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
    pub(crate) fn writes(&self) -> usize {
        self.writes
    }

    pub(crate) fn take_counts(&mut self) -> ServeCounts {
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
                Entry::Join(key, seat, numbers) => {
                    self.updates.push(Update::Join);
                    let after = self.broadcasts.len();
                    self.joined.push(Joined { after, listener: Listener { key, seat }, numbers });
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
                    if let Some(Joined { listener, numbers, .. }) = joined.next() {
                        discard(book.join(listener.key, listener.seat, numbers));
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
            Border::Overflow(overflowed) => {
                let mut offers = Vec::new();
                for (channel, messages) in overflowed {
                    book.for_each_hearing(channel, |key, gate| {
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
