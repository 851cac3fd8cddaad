//! The log of a flusher's lane: bounded by bytes, with a waker for the flusher and for publishers
//! that wait.
//!
//! Invariant: a log holds at most its bound in bytes of messages. Beyond the bound it counts those
//! for which it had no room, by channel, or by the subscriber to whom they were addressed.

use super::book::{Audience, ChannelNo, Numbers};
use super::log::{Broadcast, COMPACT_FROM, Entry as LogEntry, obsolete};
use crate::contain::{discard, wake_all};
use crate::subscriber::gate::Gate;
use crate::subscriber::queue::WRITE_BYTES;
use crate::subscriber::seat::Seat;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::types::bounds::LaneOptions;
use crate::types::id::{Key, MemberId};
use crate::types::message::Message;
use std::collections::{BTreeMap, HashSet};
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A flusher has caught up while its log holds at most so many bytes: two segments, since more
/// would not make its writes any longer.
const CAUGHT_UP: usize = 2 * WRITE_BYTES;
/// Bytes that a waiting broadcast counts besides its payload.
const BROADCAST_BYTES: usize = 128;

pub(crate) type Entry<T> = LogEntry<T, Arc<Gate>, Border>;

/// An entry that a flusher handles only when everything before it is written.
pub(crate) enum Border {
    /// The subscriber leaves, and still gets what was broadcast before.
    Drain(Key, Arc<dyn Seat>),
    /// There was no room for some messages.
    Overflow(Lost),
}

/// How many messages a log had no room for.
#[derive(Default)]
pub(crate) struct Lost {
    /// Broadcasts, by channel.
    pub(crate) heard: BTreeMap<Option<ChannelNo>, u64>,
    /// Directed messages, by subscriber.
    pub(crate) addressed: BTreeMap<MemberId, u64>,
}

impl Lost {
    /// Counts a message.
    fn add(&mut self, audience: &Audience) {
        match audience {
            Audience::Hearing(channel) => *self.heard.entry(*channel).or_default() += 1,
            Audience::Only(members) => {
                members.iter().for_each(|id| *self.addressed.entry(*id).or_default() += 1);
            }
        }
    }

    /// Adds the losses of another border. A number must mean the same channel in both.
    fn merge(&mut self, more: Self) {
        for (channel, messages) in more.heard {
            *self.heard.entry(channel).or_default() += messages;
        }
        for (id, messages) in more.addressed {
            *self.addressed.entry(id).or_default() += messages;
        }
    }
}

/// The log of one lane, and what is counted about it.
pub(crate) struct FlusherLog<T> {
    state: Mutex<State<T>>,
    max_bytes: usize,
    pub(crate) counts: LaneCounts,
}

/// The counts of a lane; the flusher adds to them after every pause.
#[derive(Default)]
pub(crate) struct LaneCounts {
    /// Writes that the flusher made.
    pub(crate) writes: AtomicU64,
    /// Messages in them.
    pub(crate) messages: AtomicU64,
    /// Messages that a policy or the bound of the log dropped.
    pub(crate) dropped: AtomicU64,
    /// Listeners of the book that were visited.
    pub(crate) visits: AtomicU64,
}

struct State<T> {
    entries: Vec<Entry<T>>,
    bytes: usize,
    /// The bound was reached since the flusher last took the log.
    full: bool,
    closed: bool,
    /// The length at which the log is compacted next.
    compact_at: usize,
    waker: Option<Waker>,
    /// Publishers that wait for the flusher to catch up.
    publishers: Vec<Waker>,
}

impl<T> State<T> {
    /// Removes the subscribers that joined and left since the flusher last ran, so that the log
    /// stays bounded. Returns their gates: a wire's destructor is application code, so the caller
    /// drops them without locks.
    fn compact(&mut self) -> Vec<Arc<Gate>> {
        let obsolete = obsolete(self.entries.iter());
        let (mut gates, mut gone) = (Vec::new(), HashSet::new());
        for (entry, obsolete) in mem::take(&mut self.entries).into_iter().zip(obsolete) {
            match (entry, self.entries.last_mut()) {
                (Entry::Join(id, gate, _), _) if obsolete => {
                    gone.insert(id);
                    gates.push(gate);
                }
                (Entry::Leave(_), _) if obsolete => {}
                // No subscriber that stays in the log joined or left between the two borders, so a
                // number means the same channel in both.
                (
                    Entry::Border(Border::Overflow(more)),
                    Some(Entry::Border(Border::Overflow(lost))),
                ) => lost.merge(more),
                (entry, _) => self.entries.push(entry),
            }
        }
        // Otherwise each subscriber that came, lost a message and left would leave its count here.
        for entry in &mut self.entries {
            if let Entry::Border(Border::Overflow(lost)) = entry {
                lost.addressed.retain(|id, _| !gone.contains(id));
            }
        }
        self.compact_at = (self.entries.len() * 2).max(COMPACT_FROM);
        gates
    }
}

impl<T> Drop for FlusherLog<T> {
    fn drop(&mut self) {
        abandon(self.take().into_iter());
    }
}

/// Drops entries that nothing will serve, and wakes the owners that wait for them to drain. The
/// destructors of payloads are application code.
pub(crate) fn abandon<T>(entries: impl Iterator<Item = Entry<T>>) {
    for entry in entries {
        if let Entry::Border(Border::Drain(_, seat)) = &entry {
            wake_all(seat.complete());
        }
        discard(entry);
    }
}

/// Appending: the caller holds the registry's lock, which gives the log its order, and wakes after
/// it released the lock.
impl<T> FlusherLog<T> {
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
        let max_bytes = options.max_bytes.get();
        Self { state: Mutex::new(state), max_bytes, counts: LaneCounts::default() }
    }

    /// Appends a message that is for `matched` subscribers, or notes that there was no room for it.
    pub(crate) fn broadcast(
        &self,
        audience: Audience,
        message: &Arc<Message<T>>,
        matched: usize,
    ) -> Option<Waker> {
        let mut state = self.state.lock();
        let body = message.encoded.as_ref().map_or(0, |encoded| encoded.body().len());
        let bytes = BROADCAST_BYTES + body + audience.bytes();
        state.full |= state.bytes > 0 && state.bytes + bytes > self.max_bytes;
        if state.full {
            message.tally.add_dropped(matched);
            self.counts.dropped.fetch_add(matched as u64, Ordering::Relaxed);
            if !matches!(state.entries.last(), Some(Entry::Border(Border::Overflow(_)))) {
                state.entries.push(Entry::Border(Border::Overflow(Lost::default())));
            }
            if let Some(Entry::Border(Border::Overflow(lost))) = state.entries.last_mut() {
                lost.add(&audience);
            }
        } else {
            message.tally.add_accepted(matched);
            state.bytes += bytes;
            let message = message.clone();
            state.entries.push(Entry::Broadcast(Broadcast { audience, message }));
        }
        state.waker.take()
    }

    pub(crate) fn join(&self, id: MemberId, gate: Arc<Gate>, numbers: Numbers) -> Option<Waker> {
        self.append(Entry::Join(id, gate, numbers))
    }

    /// The gates of subscribers that joined and left since the flusher last took the log are moved
    /// to `obsolete`, which the caller drops without locks.
    pub(crate) fn leave(&self, key: Key, obsolete: &mut Vec<Arc<Gate>>) -> Option<Waker> {
        let waker = self.append(Entry::Leave(key));
        let mut state = self.state.lock();
        if state.entries.len() >= state.compact_at {
            obsolete.extend(state.compact());
        }
        waker
    }

    pub(crate) fn drain(&self, key: Key, seat: Arc<dyn Seat>) -> Option<Waker> {
        self.append(Entry::Border(Border::Drain(key, seat)))
    }

    fn append(&self, entry: Entry<T>) -> Option<Waker> {
        let mut state = self.state.lock();
        if !state.closed {
            state.entries.push(entry);
        }
        state.waker.take()
    }

    /// Takes the remaining entries.
    pub(crate) fn take(&self) -> Vec<Entry<T>> {
        mem::take(&mut self.state.lock().entries)
    }

    /// Notes that nothing more will be appended; the caller wakes.
    pub(crate) fn close(&self) -> Vec<Waker> {
        let mut state = self.state.lock();
        state.closed = true;
        let mut wakers = mem::take(&mut state.publishers);
        wakers.extend(state.waker.take());
        wakers
    }

    /// Waits until the flusher has caught up.
    pub(crate) fn poll_caught_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut state = self.state.lock();
        let caught_up = state.bytes <= CAUGHT_UP || state.closed;
        // A publisher that is polled repeatedly while it waits is registered once.
        if caught_up || state.publishers.iter().any(|known| known.will_wake(&waker)) {
            drop(state);
            discard(waker); // application code, so not under the lock
        } else {
            state.publishers.push(waker);
        }
        if caught_up { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Takes the whole log; ready without entries when it is closed and nothing is left.
    pub(crate) fn poll_entries(&self, cx: &mut Context<'_>) -> Poll<Vec<Entry<T>>> {
        // Cloning and dropping a waker runs application code, so both happen outside the lock.
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
                let entries = mem::take(&mut state.entries);
                (Poll::Ready(entries), mem::take(&mut state.publishers))
            }
        };
        discard(spare);
        wake_all(publishers);
        polled
    }
}

#[cfg(all(test, registry_loom))]
mod loom_tests;

#[cfg(all(test, not(any(registry_loom, registry_shuttle))))]
mod tests {
    use super::*;
    use crate::subscriber::queue::Next;
    use crate::types::bounds::OutboxOptions;
    use crate::types::close::CloseReason;
    use crate::types::format::WireFormat;

    static RAW: WireFormat =
        WireFormat::new("raw", |_, encoded, out| out.extend_from_slice(encoded.body()));

    /// The registry and its flusher are dropped at the same time, so nothing serves the log.
    #[test]
    fn drn_1_a_draining_owner_does_not_wait_for_a_log_that_nothing_serves() {
        let log = FlusherLog::<u32>::new(LaneOptions::new());
        let gate = Arc::new(Gate::new(&RAW, OutboxOptions::new().with_flusher(), None));
        assert!(gate.end(CloseReason::Shutdown));
        assert!(log.drain(0, gate.clone()).is_none());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(gate.poll_next(&mut cx, 1).is_pending());
        drop(log);
        assert_eq!(gate.poll_next(&mut cx, 1), Poll::Ready(Next::Closed(CloseReason::Shutdown)));
    }
}
