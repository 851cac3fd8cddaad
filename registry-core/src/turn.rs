//! One turn of a flusher: who hears what of a log, in as few writes as can be.
//!
//! A turn is cut into *batches*: within a batch the book of subscribers stays as it is, who joined is served apart, from the
//! place where it joined, and the changes are applied at the end. Where that would not be exact (a subscriber begins to
//! drain; the log had no room) or dear (many came, and much was broadcast since), the batch ends. A batch is cut into *segments* of at most 64 KiB, so that one write does
//! not fill a socket, and of at most 64 channels, so that what a subscriber of several channels hears is one mask.
//!
//! Invariants: a subscriber's frames are handed over in the order of the log, and each frame is built once for each
//! format; nothing here waits, and between two calls of [`Turn::serve`] everything stands where it stood.

use crate::contain::{contain, discard, wake_all};
use crate::flusher::{Cast, Entry};
use crate::gate::{Gate, Offered, Queued, TAKE_BYTES};
use crate::inline::Ended;
use crate::lane::{Book, ChannelNo, Key, List, Listener, Numbers};
use crate::message::{FRAMING, WireFormat};
use bytes::Bytes;
use std::collections::HashMap;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Bytes that count as one more write: a long write is not a short one.
const BYTES_PER_WRITE: usize = 16 * 1024;
/// Gates whose cache misses are made to overlap.
const GROUP: usize = 16;
/// Subscribers whose hearing is worked out one by one that count as one more write: to plan takes time too.
const VISITS_PER_WRITE: usize = 64;
/// Broadcasts after which a batch ends if somebody joined in it: each segment looks at each of those who did.
const CASTS_WITH_FRESH: usize = 4096;
/// Bits of a mask.
const MASKED_CHANNELS: usize = u64::BITS as usize;

/// What was done since it was last asked for.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) writes: u64,
    /// Messages in them.
    pub(crate) written: u64,
    pub(crate) dropped: u64,
    /// Subscribers that were looked at.
    pub(crate) visits: u64,
}

/// A log that is being served.
pub(crate) struct Turn<T> {
    log: std::vec::IntoIter<Entry<T>>,
    /// The broadcasts of the batch; those before `planned` are served or stand in the segment.
    casts: Vec<Cast<T>>,
    planned: usize,
    fresh: Vec<Fresh>,
    changes: Vec<Change>,
    border: Option<Entry<T>>,
    segment: Segment,
    writes: usize,
    tally: Tally,
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        self.fresh.drain(..).for_each(discard);
        let casts = self.casts.drain(..).map(Entry::Cast);
        abandon(casts.chain(self.border.take()).chain(self.log.by_ref()));
    }
}

/// Lets go of entries that nobody will serve: who waits for the last of them waits no more, and payloads' destructors are
/// foreign code.
pub(crate) fn abandon<T>(entries: impl Iterator<Item = Entry<T>>) {
    for entry in entries {
        if let Entry::Drain(_, seat) = &entry {
            wake_all(seat.complete());
        }
        discard(entry);
    }
}

/// A subscriber that joined in the batch, after some of its broadcasts.
struct Fresh {
    after: usize,
    listener: Listener<Arc<Gate>>,
    numbers: Numbers,
}

/// What is to be applied after the batch.
enum Change {
    /// The next of the fresh ones.
    Join,
    Leave(Key),
}

impl<T> Turn<T> {
    pub(crate) fn new(log: Vec<Entry<T>>) -> Self {
        Self {
            log: log.into_iter(),
            casts: Vec::new(),
            planned: 0,
            fresh: Vec::new(),
            changes: Vec::new(),
            border: None,
            segment: Segment::default(),
            writes: 0,
            tally: Tally::default(),
        }
    }

    /// Serves until the turn is over (true) or the budget of writes is used up. Calls `ended` for every subscriber whose
    /// end the registry has yet to learn.
    pub(crate) fn serve(
        &mut self,
        book: &mut Book<Arc<Gate>>,
        budget: &mut usize,
        now: Instant,
        mut ended: impl FnMut(Ended),
    ) -> bool {
        loop {
            let told = Told { book, casts: &self.casts, fresh: &self.fresh };
            if let Some((key, gate, offered)) = self.segment.serve(told, budget, now, &mut self.tally) {
                self.note(key, gate, offered, &mut ended);
                continue;
            }
            if !self.segment.is_served() {
                return false;
            }
            self.writes += mem::take(&mut self.segment.writes);
            let before = book.visits;
            let over = if self.planned < self.casts.len() {
                self.plan(book);
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

    pub(crate) fn take_tally(&mut self) -> Tally {
        mem::take(&mut self.tally)
    }

    /// Does what follows from an offer; foreign code runs here, without any lock.
    fn note(&mut self, key: Key, gate: Arc<Gate>, offered: Offered, ended: &mut impl FnMut(Ended)) {
        self.tally.dropped += offered.dropped;
        wake_all(offered.waker);
        if let Some((reason, first)) = offered.ended {
            ended(Ended { key, seat: gate, reason, first });
        }
    }

    /// Applies the changes of the batch that was served, and collects the next; false when there is none.
    fn next_batch(&mut self, book: &mut Book<Arc<Gate>>, ended: &mut impl FnMut(Ended)) -> bool {
        let mut fresh = self.fresh.drain(..);
        for change in self.changes.drain(..) {
            match change {
                Change::Join => {
                    if let Some(Fresh { listener, numbers, .. }) = fresh.next() {
                        discard(book.join(listener.key, listener.seat, numbers));
                    }
                }
                Change::Leave(key) => discard(book.leave(key)),
            }
        }
        drop(fresh);
        self.planned = 0;
        for cast in self.casts.drain(..) {
            discard(cast.message);
        }
        match self.border.take() {
            Some(Entry::Drain(key, seat)) => {
                discard(book.leave(key));
                wake_all(seat.complete());
            }
            Some(Entry::Gap(missed)) => {
                let mut missing = Vec::new();
                for (channel, messages) in missed {
                    book.for_each_hearing(channel, |key, gate| {
                        missing.push((key, gate.clone(), gate.miss(messages)));
                    });
                }
                for (key, gate, offered) in missing {
                    self.note(key, gate, offered, ended);
                }
            }
            _ => {}
        }
        while self.fresh.is_empty() || self.casts.len() < CASTS_WITH_FRESH {
            let Some(entry) = self.log.next() else { break };
            match entry {
                Entry::Cast(cast) => self.casts.push(cast),
                Entry::Join(key, seat, numbers) => {
                    self.changes.push(Change::Join);
                    self.fresh.push(Fresh { after: self.casts.len(), listener: Listener { key, seat }, numbers });
                }
                Entry::Leave(key) => self.changes.push(Change::Leave(key)),
                Entry::Drain(..) | Entry::Gap(_) => {
                    self.border = Some(entry);
                    return true;
                }
            }
        }
        !self.casts.is_empty() || !self.changes.is_empty()
    }

    /// Cuts the next segment, and works out who hears what of it.
    fn plan(&mut self, book: &mut Book<Arc<Gate>>) {
        let from = self.planned;
        let mut channels = Channels::default();
        let mut bytes = 0;
        for cast in &self.casts[from..] {
            // With what a format usually adds, or many short messages would make one long write.
            let more = FRAMING + cast.message.body.as_ref().map_or(0, Bytes::len);
            let at = self.planned - from;
            if (at > 0 && bytes + more > TAKE_BYTES) || !channels.add(cast.channel, at) {
                break;
            }
            bytes += more;
            self.planned += 1;
        }
        let casts = &self.casts[from..self.planned];
        let mut groups = Vec::new();
        for (channel, picks) in &channels.picks {
            let list = List::Alone(*channel);
            if !book.list(list).is_empty() {
                groups.push(Group::new(Targets::List(list), picks.clone()));
            }
        }
        for (mask, places) in channels.masks(book) {
            groups.push(Group::new(Targets::Places(places), channels.picks_of(|bit, _| mask & (1 << bit) != 0, 0)));
        }
        if !book.list(List::Unfiltered).is_empty() {
            groups.push(Group::new(Targets::List(List::Unfiltered), (0..casts.len()).collect()));
        }
        book.visits += self.fresh.len() as u64;
        for (at, Fresh { after, numbers, .. }) in self.fresh.iter().enumerate() {
            let after = after.saturating_sub(from);
            let picks = match numbers {
                Numbers::All => (after..casts.len()).collect(),
                _ => channels.picks_of(|_, channel| numbers.names(channel), after),
            };
            if !picks.is_empty() {
                groups.push(Group::new(Targets::Fresh(at), picks));
            }
        }
        self.segment = Segment { casts: from..self.planned, groups, ..Segment::default() };
    }
}

/// The channels of a segment, and which of its broadcasts each has.
#[derive(Default)]
struct Channels {
    /// Few, so that looking through them is quicker than hashing.
    picks: Vec<(ChannelNo, Vec<usize>)>,
}

/// Where a subscriber of several channels stands in the list of one.
type Place = (ChannelNo, usize);

impl Channels {
    /// Notes the channel of a broadcast; false when there is no bit left for it.
    fn add(&mut self, channel: Option<ChannelNo>, cast: usize) -> bool {
        let Some(channel) = channel else { return true };
        match self.place(channel) {
            Some(at) => self.picks[at].1.push(cast),
            None if self.picks.len() == MASKED_CHANNELS => return false,
            None => self.picks.push((channel, vec![cast])),
        }
        true
    }

    /// The broadcasts on those channels that are wanted, by their bit or number, from a place on.
    fn picks_of(&self, wanted: impl Fn(usize, ChannelNo) -> bool, from: usize) -> Vec<usize> {
        let mut all = Vec::new();
        for (bit, (channel, picks)) in self.picks.iter().enumerate() {
            if wanted(bit, *channel) {
                all.extend_from_slice(&picks[picks.partition_point(|&pick| pick < from)..]);
            }
        }
        all.sort_unstable(); // in the order of the log
        all
    }

    fn place(&self, channel: ChannelNo) -> Option<usize> {
        self.picks.iter().position(|(known, _)| *known == channel)
    }

    /// Who names several channels, by what of the segment they hear.
    fn masks(&self, book: &mut Book<Arc<Gate>>) -> HashMap<u64, Vec<Place>> {
        let mut heard: HashMap<Key, (u64, Place)> = HashMap::new();
        let mut visits = 0;
        for (bit, (channel, _)) in self.picks.iter().enumerate() {
            for (at, listener) in book.list(List::Among(*channel)).iter().enumerate() {
                heard.entry(listener.key).or_insert((0, (*channel, at))).0 |= 1 << bit;
                visits += 1;
            }
        }
        book.visits += visits;
        let mut by_mask: HashMap<u64, Vec<Place>> = HashMap::new();
        for (mask, place) in heard.into_values() {
            by_mask.entry(mask).or_default().push(place);
        }
        by_mask
    }
}

/// What a segment is served from. It holds none of it: to let go of a message or a gate is foreign code.
struct Told<'a, T> {
    book: &'a Book<Arc<Gate>>,
    casts: &'a [Cast<T>],
    fresh: &'a [Fresh],
}

/// A part of a batch, and how far it is served.
#[derive(Default)]
struct Segment {
    /// Which of the batch's broadcasts it is.
    casts: Range<usize>,
    groups: Vec<Group>,
    /// What is to be served next: a group, and a place in it.
    group: usize,
    place: usize,
    frames: Vec<(&'static WireFormat, Vec<Option<Queued>>)>,
    writes: usize,
}

/// Subscribers that hear the same broadcasts of a segment.
struct Group {
    targets: Targets,
    picks: Vec<usize>,
    runs: Vec<Run>,
}

enum Targets {
    List(List),
    Places(Vec<Place>),
    /// The one that joined in the batch as the so many-th.
    Fresh(usize),
}

/// What a group is sent in one format.
struct Run {
    format: &'static WireFormat,
    frames: Vec<Queued>,
    /// The frames as one write; absent if one of them could not be built.
    joined: Option<Bytes>,
    /// How many writes it counts as.
    cost: usize,
}

impl Segment {
    fn is_served(&self) -> bool {
        self.group == self.groups.len()
    }

    /// Serves until something other than a write came of it, which is returned, or the budget is used up, or all is served.
    fn serve<T>(
        &mut self,
        told: Told<'_, T>,
        budget: &mut usize,
        now: Instant,
        tally: &mut Tally,
    ) -> Option<(Key, Arc<Gate>, Offered)> {
        let Told { book, casts, fresh } = told;
        while let Some(Group { targets, picks, runs }) = self.groups.get_mut(self.group) {
            let members = targets.members(book, fresh);
            while let Some(Listener { key, seat }) = members.at(self.place) {
                if *budget == 0 {
                    return None;
                }
                if self.place.is_multiple_of(GROUP) {
                    members.warm(self.place..self.place + GROUP);
                }
                self.place += 1;
                tally.visits += 1;
                let built = runs.iter().position(|run| std::ptr::eq(run.format, seat.format));
                let at = built.unwrap_or_else(|| {
                    let frames = frames(&mut self.frames, &casts[self.casts.clone()], seat.format);
                    runs.push(Run::new(seat.format, frames, picks));
                    runs.len() - 1
                });
                let run = &runs[at];
                *budget = budget.saturating_sub(run.cost);
                let offered = match &run.joined {
                    Some(joined) => seat.offer(joined, &run.frames, now),
                    None => Some(seat.fail()),
                };
                if let Some(offered) = offered {
                    return Some((*key, seat.clone(), offered));
                }
                self.writes += 1;
                tally.writes += 1;
                tally.written += run.frames.len() as u64;
            }
            // There may be as many groups as subscribers, each with a write of its own.
            *runs = Vec::new();
            self.group += 1;
            self.place = 0;
        }
        None
    }
}

/// The frames of a segment in one format, built when they are first asked for. Each has a buffer of its own: what waits for a
/// slow reader must not keep the others.
fn frames<'a, T>(
    built: &'a mut Vec<(&'static WireFormat, Vec<Option<Queued>>)>,
    casts: &[Cast<T>],
    format: &'static WireFormat,
) -> &'a [Option<Queued>] {
    let at = built.iter().position(|(known, _)| std::ptr::eq(*known, format)).unwrap_or_else(|| {
        let frame = |cast: &Cast<T>| {
            let message = &cast.message;
            // The registry admits no outbox before it has an encoding, so there is a body.
            let body = message.body.as_deref().unwrap_or_default();
            let frame = contain(|| format.frame(message.id, body))?;
            Some(Queued { frame, channel: message.channel.clone() })
        };
        built.push((format, casts.iter().map(frame).collect()));
        built.len() - 1
    });
    &built[at].1
}

impl Group {
    fn new(targets: Targets, picks: Vec<usize>) -> Self {
        Self { targets, picks, runs: Vec::new() }
    }
}

impl Run {
    fn new(format: &'static WireFormat, frames: &[Option<Queued>], picks: &[usize]) -> Self {
        let picked: Vec<Queued> = picks.iter().filter_map(|&at| frames[at].clone()).collect();
        let joined = (picked.len() == picks.len())
            .then(|| contain(|| format.join(&picked.iter().map(|queued| queued.frame.clone()).collect::<Vec<_>>())))
            .flatten();
        let cost = 1 + joined.as_ref().map_or(0, Bytes::len) / BYTES_PER_WRITE;
        Self { format, frames: picked, joined, cost }
    }
}

impl Targets {
    fn members<'a>(&'a self, book: &'a Book<Arc<Gate>>, fresh: &'a [Fresh]) -> Members<'a> {
        match self {
            Self::List(list) => Members::List(book.list(*list)),
            Self::Places(places) => Members::Places(book, places),
            Self::Fresh(at) => Members::List(std::slice::from_ref(&fresh[*at].listener)),
        }
    }
}

/// The subscribers of a group.
#[derive(Clone, Copy)]
enum Members<'a> {
    List(&'a [Listener<Arc<Gate>>]),
    Places(&'a Book<Arc<Gate>>, &'a [Place]),
}

impl<'a> Members<'a> {
    fn at(self, at: usize) -> Option<&'a Listener<Arc<Gate>>> {
        match self {
            Self::List(listeners) => listeners.get(at),
            Self::Places(book, places) => {
                let (channel, place) = *places.get(at)?;
                book.list(List::Among(channel)).get(place)
            }
        }
    }

    /// Starts the cache misses of some together: each write evicts what came before, so that they would else be paid one
    /// after the other.
    fn warm(self, places: Range<usize>) {
        let warmed = places.map_while(|at| self.at(at)).fold(0, |seen, listener| seen | listener.seat.warm());
        std::hint::black_box(warmed);
    }
}
