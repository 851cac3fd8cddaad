//! The lane of outboxes and streams, which publishing threads consume themselves.
//!
//! Pushing into an outbox runs no application code and never blocks, so a publisher waits until its
//! own broadcast is pushed (DEL-1): a lock around the book is enough. Sinks have [a lane of their
//! own](super::sinks), so that a stuck sink never delays an outbox (QUE-2).

use super::book::Book;
use super::frames::Frames;
use super::log::{Broadcast, COMPACT_FROM, Entry};
use crate::contain::{discard, wake_all};
use crate::subscriber::gate::Gate;
use crate::subscriber::seat::{Ended, Seat};
use crate::subscriber::state::Offered;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::types::message::Message;
use crate::types::report::SendOutcome;
use std::mem;
use std::sync::Arc;

/// Where this lane puts a broadcast.
pub(crate) enum Place<T> {
    /// Its frame into an outbox.
    Outbox(Arc<Gate>),
    /// Itself into a stream.
    Stream(Arc<Gate<Arc<Message<T>>>>),
}

impl<T> Clone for Place<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Outbox(gate) => Self::Outbox(gate.clone()),
            Self::Stream(gate) => Self::Stream(gate.clone()),
        }
    }
}

impl<T: Send + Sync + 'static> Place<T> {
    fn push(
        &self,
        message: &Arc<Message<T>>,
        frames: &mut Frames,
        dropped: &mut Vec<Arc<Message<T>>>,
    ) -> Offered {
        match self {
            Self::Outbox(gate) => match frames.of(gate.format, message) {
                Some(frame) => gate.push(frame, &message.channel),
                None => gate.fail(),
            },
            Self::Stream(gate) => {
                let offered = gate.push(message, &message.channel);
                dropped.extend(gate.take_dropped());
                offered
            }
        }
    }

    fn seat(&self) -> Arc<dyn Seat> {
        match self {
            Self::Outbox(gate) => gate.clone(),
            Self::Stream(gate) => gate.clone(),
        }
    }
}

/// The lane of outboxes.
pub(crate) struct OutboxLane<T> {
    log: Mutex<Vec<Entry<T, Place<T>>>>,
    consumer: Mutex<Consumer<T>>,
    dropped: AtomicU64,
}

/// State that only the thread that consumes the log touches.
struct Consumer<T> {
    book: Book<Place<T>>,
    /// The emptied log of the previous pass, whose buffer is used again.
    spare: Vec<Entry<T, Place<T>>>,
}

impl<T: Send + Sync + 'static> OutboxLane<T> {
    pub(crate) fn new() -> Self {
        let consumer = Consumer { book: Book::default(), spare: Vec::new() };
        Self {
            log: Mutex::new(Vec::new()),
            consumer: Mutex::new(consumer),
            dropped: AtomicU64::new(0),
        }
    }

    /// Appends an entry. The caller holds the registry's lock, which gives the log its order.
    pub(crate) fn append(&self, entry: Entry<T, Place<T>>) {
        self.log.lock().push(entry);
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Listeners of its book that were visited so far. Waits for a thread that is consuming the
    /// log.
    pub(crate) fn visits(&self) -> u64 {
        self.consumer.lock().book.visits
    }

    /// Applies the log. With `wait`, everything that was appended before the call is applied on
    /// return; without it, a thread that is consuming the log applies it.
    pub(crate) fn settle(&self, wait: bool, mut ended: impl FnMut(Ended)) {
        let mut wait = wait;
        // The log is read again each time: a thread that appended meanwhile and found the consumer
        // locked relies on it.
        while wait || !self.log.lock().is_empty() {
            let locked = if mem::take(&mut wait) {
                Some(self.consumer.lock())
            } else {
                self.consumer.try_lock()
            };
            let Some(mut guard) = locked else { return };
            let consumer = &mut *guard;
            mem::swap(&mut consumer.spare, &mut *self.log.lock());
            let mut wakers = Vec::new();
            let mut over = Vec::new();
            let mut messages = Vec::new();
            let mut seats = Vec::new();
            for entry in consumer.spare.drain(..) {
                match entry {
                    Entry::Join(id, seat, numbers) => consumer.book.join(id, seat, numbers),
                    Entry::Leave(key) => seats.extend(consumer.book.leave(key)),
                    Entry::Border(never) => match never {},
                    Entry::Broadcast(Broadcast { audience, message }) => {
                        let (mut frames, mut accepted) = (Frames::default(), 0);
                        consumer.book.for_each(&audience, |key, place| {
                            let offered = place.push(&message, &mut frames, &mut messages);
                            // Accepted is by far the most frequent outcome. An atomic increment for
                            // each would take some per cent of the whole time.
                            match offered.outcome {
                                SendOutcome::Accepted => accepted += 1,
                                other => message.tally.count(other),
                            }
                            if offered.dropped > 0 {
                                self.dropped.fetch_add(offered.dropped, Ordering::Relaxed);
                            }
                            let end =
                                |(reason, first)| Ended { key, seat: place.seat(), reason, first };
                            over.extend(offered.ended.map(end));
                            wakers.extend(offered.waker);
                        });
                        message.tally.add_accepted(accepted);
                        messages.push(message);
                    }
                }
            }
            consumer.spare.shrink_to(COMPACT_FROM);
            drop(guard);
            // Wakers, and the destructors of payloads, wires and hooks, are application code, so
            // they run after the lock is released.
            seats.into_iter().for_each(discard);
            wake_all(wakers);
            messages.into_iter().for_each(discard);
            over.into_iter().for_each(&mut ended);
        }
    }
}

#[cfg(all(test, registry_loom))]
mod loom_tests;
