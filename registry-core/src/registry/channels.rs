//! The index of channels: which lanes have subscribers for a channel, and how many. Pure state.
//!
//! Invariant: a channel has a number exactly while an active subscriber names it.

use crate::lane::book::{ChannelNo, Numbers};
use crate::types::channel::{Channel, ChannelFilter};
use crate::types::stats::ChannelCount;
use slab::Slab;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

/// Which lane serves a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneId {
    Outboxes,
    Sinks,
    /// The lane of a flusher, by its number.
    Flusher(usize),
}

impl LaneId {
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Outboxes => 0,
            Self::Sinks => 1,
            Self::Flusher(number) => 2 + number,
        }
    }
}

/// How many subscribers in each lane, up to the last lane that has any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct PerLane(Vec<usize>);

impl PerLane {
    fn of(&self, lane: LaneId) -> usize {
        self.0.get(lane.index()).copied().unwrap_or(0)
    }

    fn total(&self) -> usize {
        self.0.iter().sum()
    }

    fn add(&mut self, lane: LaneId) {
        if self.0.len() <= lane.index() {
            self.0.resize(lane.index() + 1, 0);
        }
        self.0[lane.index()] += 1;
    }

    fn remove(&mut self, lane: LaneId) {
        self.0[lane.index()] -= 1;
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}

/// How many subscribers hear a channel.
pub(crate) struct Hearing<'a> {
    /// The channel's number, if a subscriber names it, and its interned name.
    pub(crate) known: Option<(ChannelNo, &'a Channel)>,
    named: Option<&'a PerLane>,
    unfiltered: &'a PerLane,
}

impl Hearing<'_> {
    pub(crate) fn of(&self, lane: LaneId) -> usize {
        self.unfiltered.of(lane) + self.named.map_or(0, |named| named.of(lane))
    }

    pub(crate) fn total(&self) -> usize {
        self.unfiltered.total() + self.named.map_or(0, PerLane::total)
    }
}

/// A channel, and how many subscribers name it.
struct Listeners {
    channel: Channel,
    count: PerLane,
}

#[derive(Default)]
pub(crate) struct ChannelIndex {
    numbers: HashMap<Channel, ChannelNo>,
    /// The same in the order of the names, for pages.
    ordered: BTreeMap<Channel, ChannelNo>,
    channels: Slab<Listeners>,
    unfiltered: PerLane,
    /// Channels visited so far.
    visits: u64,
}

impl ChannelIndex {
    /// Tells how many subscribers hear a channel.
    pub(crate) fn hearing(&self, channel: &str) -> Hearing<'_> {
        let number = self.numbers.get(channel).copied();
        let listeners = number.map(|number| &self.channels[number]);
        Hearing {
            known: number.zip(listeners.map(|listeners| &listeners.channel)),
            named: listeners.map(|listeners| &listeners.count),
            unfiltered: &self.unfiltered,
        }
    }

    /// Counts a new subscriber, and turns its names into numbers; new names get new numbers.
    pub(crate) fn add(&mut self, filter: ChannelFilter, lane: LaneId) -> Numbers {
        let numbers = self.number(filter);
        self.count(&numbers, |count| count.add(lane));
        numbers
    }

    /// Removes a subscriber from the counts, and the channels that no subscriber names any more.
    pub(crate) fn remove(&mut self, numbers: &Numbers, lane: LaneId) {
        self.count(numbers, |count| count.remove(lane));
        for &number in numbers.named() {
            if self.channels[number].count.total() == 0 {
                let channel = self.channels.remove(number).channel;
                self.numbers.remove(&channel);
                self.ordered.remove(&channel);
            }
        }
    }

    fn number(&mut self, filter: ChannelFilter) -> Numbers {
        let ChannelFilter::Only(names) = filter else { return Numbers::All };
        let mut numbers: Vec<ChannelNo> = names
            .into_iter()
            .map(|channel| {
                *self.numbers.entry(channel).or_insert_with_key(|channel| {
                    let count = PerLane::default();
                    let number =
                        self.channels.insert(Listeners { channel: channel.clone(), count });
                    self.ordered.insert(channel.clone(), number);
                    number
                })
            })
            .collect();
        numbers.sort_unstable();
        match numbers[..] {
            [number] => Numbers::One(number),
            _ => Numbers::Many(numbers.into()),
        }
    }

    fn count(&mut self, numbers: &Numbers, mut change: impl FnMut(&mut PerLane)) {
        match numbers {
            Numbers::All => change(&mut self.unfiltered),
            named => {
                for &number in named.named() {
                    self.visits += 1;
                    change(&mut self.channels[number].count);
                }
            }
        }
    }

    /// Counts a page of the channels, in the order of their names.
    pub(crate) fn page(&self, after: Option<&str>, limit: usize) -> Vec<ChannelCount> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = self.ordered.range::<str, _>((from, Bound::Unbounded)).take(limit);
        page.map(|(channel, &number)| {
            let subscribers = self.channels[number].count.total();
            ChannelCount { channel: channel.clone(), subscribers }
        })
        .collect()
    }

    /// Returns the name of a channel that a subscriber names.
    pub(crate) fn name(&self, number: ChannelNo) -> &Channel {
        &self.channels[number].channel
    }

    /// How many channels are named.
    pub(crate) fn named(&self) -> usize {
        self.channels.len()
    }

    /// How many subscribers hear every channel.
    pub(crate) fn unfiltered(&self) -> usize {
        self.unfiltered.total()
    }

    pub(crate) fn visits(&self) -> u64 {
        self.visits
    }

    /// Gives the memory of an empty index back (SUB-7).
    pub(crate) fn shrink(&mut self) {
        *self = Self { visits: self.visits, ..Self::default() };
    }
}
