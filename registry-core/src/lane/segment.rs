//! A segment of a batch: a few broadcasts that each subscriber gets in one write.
//!
//! A segment has at most 64 KiB, so that one write does not fill a socket, and at most 64 channels,
//! so that one bit mask has the channels that a subscriber of several channels hears. Subscribers
//! that get the same messages form a group. Each frame is built once for each format, and each
//! group's frames are joined once for each format.

use super::apart::{Apart, Place, Share};
use super::book::{Audience, Book, ChannelNo, List, Listener, Numbers};
use super::frames::SegmentFrames;
use super::log::Broadcast;
use crate::contain::contain;
use crate::subscriber::gate::Gate;
use crate::subscriber::queue::{Queued, WRITE_BYTES};
use crate::subscriber::state::Offered;
use crate::types::format::{FRAMING, WireFormat};
use crate::types::id::{Key, MemberId};
use bytes::Bytes;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Bytes that count as one more write: a long write takes longer than a short one.
const BYTES_PER_WRITE: usize = 16 * 1024;
/// Gates that are prefetched together, so that their cache misses overlap.
const PREFETCHED: usize = 16;
/// Bits of a mask.
const MASKED_CHANNELS: usize = u64::BITS as usize;

/// A subscriber that joined in the batch, after so many of its broadcasts.
pub(crate) struct Joined {
    pub(crate) after: usize,
    pub(crate) id: MemberId,
    pub(crate) listener: Listener<Arc<Gate>>,
    pub(crate) numbers: Numbers,
}

/// The data that a segment is served from. The segment owns none of it, because dropping a message
/// or a gate runs application code.
pub(crate) struct Source<'a, T> {
    pub(crate) book: &'a Book<Arc<Gate>>,
    pub(crate) broadcasts: &'a [Broadcast<T>],
    pub(crate) joined: &'a [Joined],
}

/// The work since the counts were last taken.
#[derive(Debug, Default)]
pub(crate) struct ServeCounts {
    pub(crate) writes: u64,
    /// Messages in them.
    pub(crate) messages: u64,
    pub(crate) dropped: u64,
    /// Subscribers that were visited.
    pub(crate) visits: u64,
}

/// A part of a batch, and how far it is served.
#[derive(Default)]
pub(crate) struct Segment {
    /// Which of the batch's broadcasts it has.
    broadcasts: Range<usize>,
    groups: Vec<Group>,
    /// The next subscriber to serve: a group, and a place in it.
    group: usize,
    place: usize,
    frames: SegmentFrames,
    pub(crate) writes: usize,
}

/// Subscribers that get the same messages of a segment.
struct Group {
    targets: Targets,
    /// Places of the list that it leaves out, the last one first.
    gaps: Vec<usize>,
    picks: Vec<usize>,
    runs: Vec<Run>,
}

enum Targets {
    List(List),
    Places(Vec<Place>),
    /// One that joined in the batch, by its number among them.
    Joined(usize),
}

/// The frames that a group is sent in one format.
struct Run {
    format: &'static WireFormat,
    frames: Vec<Queued>,
    /// The frames as one write; absent if one of them could not be built.
    joined: Option<Bytes>,
    /// How many writes it counts as.
    cost: usize,
}

impl Segment {
    /// Cuts the next segment of a batch, and groups the subscribers by the broadcasts that they
    /// hear.
    pub(crate) fn plan<T>(
        batch: &[Broadcast<T>],
        from: usize,
        joined: &[Joined],
        book: &mut Book<Arc<Gate>>,
    ) -> Self {
        let mut channels = Channels::default();
        let (mut to, mut bytes) = (from, 0);
        for broadcast in &batch[from..] {
            // Includes the bytes that a format usually adds. Otherwise many short messages would
            // make one long write.
            let body = broadcast.message.encoded.as_ref().map_or(0, |encoded| encoded.body().len());
            let more = FRAMING + body;
            let at = to - from;
            if (at > 0 && bytes + more > WRITE_BYTES) || !channels.add(&broadcast.audience, at) {
                break;
            }
            bytes += more;
            to += 1;
        }
        let count = to - from;
        // Mostly nobody is addressed, and nothing is set up for it.
        let mut apart = (!channels.directed.is_empty()).then(|| {
            let bits = |numbers: &Numbers| channels.mask_of(numbers);
            Apart::find(&batch[from..to], &channels.directed, book, bits)
        });
        let mut groups = Vec::new();
        for (channel, picks) in &channels.picks {
            let list = List::Alone(*channel);
            if !book.list(list).is_empty() {
                groups.push(Group::of_list(list, picks.clone(), apart.as_mut()));
            }
        }
        for (mask, places) in channels.masks(book, apart.as_ref().map_or(&[], Apart::keys)) {
            groups.push(Group::new(Targets::Places(places), channels.picks_of_mask(mask)));
        }
        if !book.list(List::Unfiltered).is_empty() && channels.directed.len() < count {
            let picks = channels.open(0..count);
            groups.push(Group::of_list(List::Unfiltered, picks, apart.as_mut()));
        }
        book.visits += joined.len() as u64;
        for (at, Joined { after, id, numbers, .. }) in joined.iter().enumerate() {
            let after = after.saturating_sub(from);
            let mut picks = match numbers {
                Numbers::All => channels.open(after..count),
                _ => channels.picks_of(|_, channel| numbers.names(channel), after),
            };
            if let Some(apart) = &apart {
                picks.extend(apart.directed_to(*id));
                picks.sort_unstable();
            }
            if !picks.is_empty() {
                groups.push(Group::new(Targets::Joined(at), picks));
            }
        }
        if let Some(apart) = apart {
            for (Share { hears, directed }, places) in apart.groups {
                let mut picks = match hears {
                    None => channels.open(0..count),
                    Some(mask) => channels.picks_of_mask(mask),
                };
                picks.extend(directed);
                picks.sort_unstable();
                groups.push(Group::new(Targets::Places(places), picks));
            }
        }
        Self { broadcasts: from..to, groups, ..Self::default() }
    }

    /// Where in the batch it ends.
    pub(crate) fn end(&self) -> usize {
        self.broadcasts.end
    }

    pub(crate) fn is_served(&self) -> bool {
        self.group == self.groups.len()
    }

    /// Serves until everything is served, the budget is used up, or an offer is not written in
    /// full, which is then returned.
    pub(crate) fn serve<T>(
        &mut self,
        source: Source<'_, T>,
        budget: &mut usize,
        now: Instant,
        counts: &mut ServeCounts,
    ) -> Option<(Key, Arc<Gate>, Offered)> {
        let Source { book, broadcasts, joined } = source;
        while let Some(Group { targets, gaps, picks, runs }) = self.groups.get_mut(self.group) {
            let members = targets.members(book, joined, gaps.last().copied());
            while let Some(Listener { key, seat }) = members.at(self.place) {
                if *budget == 0 {
                    return None;
                }
                if self.place.is_multiple_of(PREFETCHED) {
                    members.prefetch(self.place..self.place + PREFETCHED);
                }
                self.place += 1;
                counts.visits += 1;
                let built = runs.iter().position(|run| std::ptr::eq(run.format, seat.format));
                let at = built.unwrap_or_else(|| {
                    let broadcasts = &broadcasts[self.broadcasts.clone()];
                    let frames = self.frames.of(seat.format, broadcasts);
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
                counts.writes += 1;
                counts.messages += run.frames.len() as u64;
            }
            if let Some(gap) = gaps.pop() {
                self.place = gap + 1;
                continue;
            }
            // There may be as many groups as subscribers, each with a write of its own.
            *runs = Vec::new();
            self.group += 1;
            self.place = 0;
        }
        None
    }
}

/// The channels of a segment, and which of its messages each has.
#[derive(Default)]
struct Channels {
    /// There are few, so a linear search is quicker than hashing.
    picks: Vec<(ChannelNo, Vec<usize>)>,
    /// The messages that are addressed to subscribers, on whatever channel.
    directed: Vec<usize>,
}

impl Channels {
    /// Notes whom a message is for; false when there is no bit left for its channel.
    fn add(&mut self, audience: &Audience, message: usize) -> bool {
        match *audience {
            Audience::Hearing(None) => {}
            Audience::Hearing(Some(channel)) => match self.place(channel) {
                Some(at) => self.picks[at].1.push(message),
                None if self.picks.len() == MASKED_CHANNELS => return false,
                None => self.picks.push((channel, vec![message])),
            },
            Audience::Only(_) => self.directed.push(message),
        }
        true
    }

    /// The messages among these that are addressed to nobody.
    fn open(&self, mut all: Range<usize>) -> Vec<usize> {
        let mut open = Vec::with_capacity(all.len());
        for &directed in &self.directed[self.directed.partition_point(|&at| at < all.start)..] {
            open.extend(all.start..directed);
            all.start = directed + 1;
        }
        open.extend(all);
        open
    }

    /// The bits of the channels that a filter names.
    fn mask_of(&self, numbers: &Numbers) -> u64 {
        let named = self.picks.iter().enumerate().filter(|(_, (no, _))| numbers.names(*no));
        named.fold(0, |mask, (bit, _)| mask | 1 << bit)
    }

    /// The messages on the channels of these bits.
    fn picks_of_mask(&self, mask: u64) -> Vec<usize> {
        self.picks_of(|bit, _| mask & (1 << bit) != 0, 0)
    }

    /// The broadcasts from `from` on whose channel is wanted, by its bit and its number.
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

    /// Groups the subscribers that name several channels by the channels of the segment that they
    /// hear, except those that are served apart.
    fn masks(&self, book: &mut Book<Arc<Gate>>, apart: &[Key]) -> HashMap<u64, Vec<Place>> {
        let mut heard: HashMap<Key, (u64, Place)> = HashMap::new();
        let mut visits = 0;
        for (bit, (channel, _)) in self.picks.iter().enumerate() {
            let list = List::Among(*channel);
            for (at, listener) in book.list(list).iter().enumerate() {
                heard.entry(listener.key).or_insert((0, (list, at))).0 |= 1 << bit;
                visits += 1;
            }
        }
        book.visits += visits;
        for key in apart {
            heard.remove(key);
        }
        let mut by_mask: HashMap<u64, Vec<Place>> = HashMap::new();
        for (mask, place) in heard.into_values() {
            by_mask.entry(mask).or_default().push(place);
        }
        by_mask
    }
}

impl Group {
    /// Those in a list of the book that are not served apart.
    fn of_list(list: List, picks: Vec<usize>, apart: Option<&mut Apart>) -> Self {
        let gaps = apart.map_or_else(Vec::new, |apart| apart.take_gaps(list));
        Self { gaps, ..Self::new(Targets::List(list), picks) }
    }

    fn new(targets: Targets, picks: Vec<usize>) -> Self {
        Self { targets, gaps: Vec::new(), picks, runs: Vec::new() }
    }
}

impl Run {
    fn new(format: &'static WireFormat, frames: &[Option<Queued>], picks: &[usize]) -> Self {
        let picked: Vec<Queued> = picks.iter().filter_map(|&at| frames[at].clone()).collect();
        let join = || {
            let frames: Vec<Bytes> = picked.iter().map(|queued| queued.frame.clone()).collect();
            contain(|| format.join(&frames))
        };
        let joined = if picked.len() == picks.len() { join() } else { None };
        let cost = 1 + joined.as_ref().map_or(0, Bytes::len) / BYTES_PER_WRITE;
        Self { format, frames: picked, joined, cost }
    }
}

impl Targets {
    /// Its subscribers, of a list those before the gap.
    fn members<'a>(
        &'a self,
        book: &'a Book<Arc<Gate>>,
        joined: &'a [Joined],
        gap: Option<usize>,
    ) -> Members<'a> {
        match self {
            Self::List(list) => {
                let listeners = book.list(*list);
                Members::List(gap.map_or(listeners, |gap| &listeners[..gap]))
            }
            Self::Places(places) => Members::Places(book, places),
            Self::Joined(at) => Members::List(std::slice::from_ref(&joined[*at].listener)),
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
                let (list, place) = *places.get(at)?;
                book.list(list).get(place)
            }
        }
    }

    /// Loads several gates together, so that their cache misses overlap. Otherwise the misses would
    /// follow each other, since each write evicts other data from the cache.
    fn prefetch(self, places: Range<usize>) {
        let touched = places.map_while(|at| self.at(at));
        let read = touched.fold(0, |seen, listener| seen | listener.seat.prefetch());
        std::hint::black_box(read);
    }
}
