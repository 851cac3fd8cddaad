//! The registry's table: who is subscribed, what they hear, what they hold. Pure state without locks or foreign code.
//!
//! Invariants: a subscriber stands in the list of every identity it holds and nowhere else; `active` counts those that
//! are not draining; a channel has a number exactly while somebody names it. Every change costs the names and identities
//! it concerns, never the number of subscribers (`visits` counts the steps).

use crate::admission::Admission;
use crate::channel::{Channel, ChannelFilter};
use crate::identity::Identity;
use crate::lane::{ChannelNo, Key, Numbers};
use crate::options::{RegistryOptions, ScopeCap, WhenFull};
use crate::report::{ChannelCount, Stats};
use crate::sink::Seat;
use crate::subscription::{Registration, SubscriptionId};
use slab::Slab;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// Which lane serves a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneId {
    Outboxes,
    Foreign,
    /// The lane of a flusher, by its number.
    Flusher(usize),
}

impl LaneId {
    fn index(self) -> usize {
        match self {
            Self::Outboxes => 0,
            Self::Foreign => 1,
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

pub(crate) struct Table {
    pub(crate) admission: Admission,
    pub(crate) seq: u64,
    pub(crate) shutting_down: bool,
    pub(crate) active: usize,
    pub(crate) draining: usize,
    scope_cap: Option<ScopeCap>,
    serial: u64,
    records: Slab<Record>,
    numbers: HashMap<Channel, ChannelNo>,
    /// The same, in the order of the names: what is paged.
    ordered: BTreeMap<Channel, ChannelNo>,
    channels: Slab<Listeners>,
    unfiltered: PerLane,
    holders: HashMap<Identity, Vec<Key>>,
    /// Kept only under a cap: the members of each scope, oldest first.
    scopes: HashMap<Identity, BTreeMap<u64, Key>>,
    formats: BTreeMap<&'static str, usize>,
    /// How many subscribers each flusher has; `None` for a flusher that is gone.
    flushers: Vec<Option<usize>>,
    visits: u64,
}

/// Who hears a channel.
pub(crate) struct Hearing<'a> {
    /// The channel's number, if somebody names it, and its interned name.
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

struct Listeners {
    channel: Channel,
    count: PerLane,
}

struct Record {
    serial: u64,
    seat: Arc<dyn Seat>,
    lane: LaneId,
    format: &'static str,
    numbers: Numbers,
    held: Box<[Held]>,
    scope: Option<Identity>,
    draining: bool,
}

/// An identity of a subscriber, and its place in the list of holders.
struct Held {
    identity: Identity,
    place: usize,
}

/// A subscriber that left the active ones.
pub(crate) struct Removed {
    pub(crate) key: Key,
    pub(crate) seat: Arc<dyn Seat>,
    pub(crate) lane: LaneId,
    /// It had been told to drain before: it left its lane and was counted then.
    pub(crate) was_draining: bool,
}

/// A new subscriber's place, and whom it displaced.
pub(crate) struct Seated {
    pub(crate) id: SubscriptionId,
    pub(crate) numbers: Numbers,
    pub(crate) evicted: Vec<Removed>,
}

impl Table {
    pub(crate) fn new(options: &RegistryOptions) -> Self {
        Self {
            admission: Admission::new(options.ticket_lifetime, options.max_remembered_revocations),
            seq: 0,
            shutting_down: false,
            active: 0,
            draining: 0,
            scope_cap: options.scope_cap,
            serial: 0,
            records: Slab::new(),
            numbers: HashMap::new(),
            ordered: BTreeMap::new(),
            channels: Slab::new(),
            unfiltered: PerLane::default(),
            holders: HashMap::new(),
            scopes: HashMap::new(),
            formats: BTreeMap::new(),
            flushers: Vec::new(),
            visits: 0,
        }
    }

    /// Takes a new flusher; returns its number.
    pub(crate) fn open_lane(&mut self) -> usize {
        self.flushers.push(Some(0));
        self.flushers.len() - 1
    }

    /// The flusher with the fewest subscribers, if there is any.
    pub(crate) fn lane(&self) -> Option<LaneId> {
        let open = self.flushers.iter().enumerate().filter_map(|(number, count)| Some((count.as_ref()?, number)));
        open.min().map(|(_, number)| LaneId::Flusher(number))
    }

    /// Removes a flusher and everybody it serves.
    pub(crate) fn close_lane(&mut self, number: usize) -> Vec<Removed> {
        let served = |record: &Record| record.lane == LaneId::Flusher(number) && !record.draining;
        let keys = self.records.iter().filter(|(_, record)| served(record)).map(|(key, _)| key).collect();
        let removed = self.take_all(keys);
        self.flushers[number] = None;
        removed
    }

    /// Tells who hears a channel.
    pub(crate) fn hearing(&self, channel: &str) -> Hearing<'_> {
        let number = self.numbers.get(channel).copied();
        let listeners = number.map(|number| &self.channels[number]);
        Hearing {
            known: number.zip(listeners.map(|listeners| &listeners.channel)),
            named: listeners.map(|listeners| &listeners.count),
            unfiltered: &self.unfiltered,
        }
    }

    /// Tells whether the scope of a new subscriber is full and must stay as it is.
    pub(crate) fn refuses(&self, scope: Option<&Identity>) -> bool {
        let Some(cap) = self.scope_cap.filter(|cap| cap.when_full == WhenFull::RefuseNew) else { return false };
        let members = scope.and_then(|scope| self.scopes.get(scope));
        members.is_some_and(|members| members.len() >= cap.limit.get())
    }

    /// Takes a new subscriber; under a cap, the oldest of its scope make room first (CAP-1, CAP-3).
    pub(crate) fn insert(
        &mut self,
        seat: Arc<dyn Seat>,
        lane: LaneId,
        format: &'static str,
        registration: Registration,
    ) -> Seated {
        let Registration { filter, scope, groups } = registration;
        let mut evicted = Vec::new();
        if let (Some(cap), Some(scope)) = (self.scope_cap, &scope) {
            while let Some(members) = self.scopes.get(scope).filter(|members| members.len() >= cap.limit.get()) {
                let Some((_, &oldest)) = members.first_key_value() else { break };
                evicted.extend(self.remove(oldest));
            }
        }
        self.serial += 1;
        let numbers = self.number(filter);
        self.count(&numbers, |count| count.add(lane));
        if let Some(served) = self.served_by(lane) {
            *served += 1;
        }
        *self.formats.entry(format).or_default() += 1;
        let entry = self.records.vacant_entry();
        let key = entry.key();
        let mut held: Vec<Held> = Vec::with_capacity(groups.len() + usize::from(scope.is_some()));
        for identity in scope.iter().cloned().chain(groups) {
            // An identity that is named twice is held once (REV-7).
            if held.iter().all(|known| known.identity != identity) {
                let holders = self.holders.entry(identity.clone()).or_default();
                held.push(Held { identity, place: holders.len() });
                holders.push(key);
                self.visits += 1;
            }
        }
        entry.insert(Record {
            serial: self.serial,
            seat,
            lane,
            format,
            numbers: numbers.clone(),
            held: held.into(),
            scope: scope.clone(),
            draining: false,
        });
        if let (Some(_), Some(scope)) = (self.scope_cap, scope) {
            self.scopes.entry(scope).or_default().insert(self.serial, key);
        }
        self.active += 1;
        Seated { id: SubscriptionId { key, serial: self.serial }, numbers, evicted }
    }

    /// Removes one subscriber, unless it left before.
    pub(crate) fn take(&mut self, id: SubscriptionId) -> Option<Removed> {
        self.find(id)?;
        self.remove(id.key)
    }

    /// Makes one outbox leave its lane and drain, unless it left before or drains already.
    pub(crate) fn let_drain(&mut self, id: SubscriptionId) -> Option<Removed> {
        let draining = self.find(id)?.draining;
        (!draining).then(|| self.drain(id.key))
    }

    fn find(&self, id: SubscriptionId) -> Option<&Record> {
        self.records.get(id.key).filter(|record| record.serial == id.serial)
    }

    /// Removes the subscriber at a key, if the seat there is still this one.
    pub(crate) fn take_seat(&mut self, key: Key, seat: &Arc<dyn Seat>) -> Option<Removed> {
        let there = &self.records.get(key)?.seat;
        std::ptr::addr_eq(Arc::as_ptr(there), Arc::as_ptr(seat)).then(|| self.remove(key))?
    }

    /// Removes every subscriber that holds the identity. Those that drain stay until their owners let go, but are
    /// returned, so that their queues can be discarded (DRN-1).
    pub(crate) fn take_holders(&mut self, identity: &Identity) -> Vec<Removed> {
        let keys = self.holders.get(identity).cloned().unwrap_or_default();
        self.take_all(keys)
    }

    /// Makes every subscriber leave its lane: outboxes stay findable while they drain, foreign sinks are gone.
    pub(crate) fn shut_down(&mut self) -> Vec<Removed> {
        self.shutting_down = true;
        let keys: Vec<Key> = self.records.iter().filter(|(_, record)| !record.draining).map(|(key, _)| key).collect();
        let mut left = Vec::with_capacity(keys.len());
        for key in keys {
            if self.records[key].lane == LaneId::Foreign {
                left.extend(self.remove(key));
            } else {
                left.push(self.drain(key));
            }
        }
        left
    }

    /// Removes everybody at the end of the registry's life.
    pub(crate) fn take_everyone(&mut self) -> Vec<Removed> {
        self.shutting_down = true;
        let keys = self.records.iter().map(|(key, _)| key).collect();
        self.take_all(keys)
    }

    fn take_all(&mut self, keys: Vec<Key>) -> Vec<Removed> {
        let mut taken = Vec::with_capacity(keys.len());
        for key in keys {
            let record = &self.records[key];
            if record.draining {
                let seat = record.seat.clone();
                taken.push(Removed { key, seat, lane: record.lane, was_draining: true });
            } else {
                taken.extend(self.remove(key));
            }
        }
        taken
    }

    fn drain(&mut self, key: Key) -> Removed {
        let record = &mut self.records[key];
        record.draining = true;
        let removed = Removed { key, seat: record.seat.clone(), lane: record.lane, was_draining: false };
        let (numbers, lane, format) =
            (std::mem::replace(&mut record.numbers, Numbers::All), record.lane, record.format);
        let (scope, serial) = (record.scope.take(), record.serial);
        self.retire(&numbers, lane, format, scope.as_ref(), serial);
        self.draining += 1;
        removed
    }

    fn remove(&mut self, key: Key) -> Option<Removed> {
        let record = self.records.try_remove(key)?;
        self.visits += 1;
        for held in &record.held {
            self.unhold(held);
        }
        if record.draining {
            self.draining -= 1;
        } else {
            self.retire(&record.numbers, record.lane, record.format, record.scope.as_ref(), record.serial);
        }
        if self.records.is_empty() {
            self.shrink();
        }
        Some(Removed { key, seat: record.seat, lane: record.lane, was_draining: record.draining })
    }

    /// Takes a subscriber out of everything that serves the active ones.
    fn retire(&mut self, numbers: &Numbers, lane: LaneId, format: &'static str, scope: Option<&Identity>, serial: u64) {
        self.active -= 1;
        self.count(numbers, |count| count.remove(lane));
        if let Some(served) = self.served_by(lane) {
            *served -= 1;
        }
        for &number in numbers.named() {
            if self.channels[number].count.total() == 0 {
                let channel = self.channels.remove(number).channel;
                self.numbers.remove(&channel);
                self.ordered.remove(&channel);
            }
        }
        if let Some(count) = self.formats.get_mut(format) {
            *count -= 1;
        }
        if let Some(scope) = scope
            && let Some(members) = self.scopes.get_mut(scope)
        {
            members.remove(&serial);
            if members.is_empty() {
                self.scopes.remove(scope);
            }
        }
    }

    fn unhold(&mut self, held: &Held) {
        let Some(holders) = self.holders.get_mut(&held.identity) else { return };
        self.visits += 1;
        holders.swap_remove(held.place);
        if let Some(&moved) = holders.get(held.place) {
            let mut theirs = self.records[moved].held.iter_mut();
            if let Some(theirs) = theirs.find(|theirs| theirs.identity == held.identity) {
                theirs.place = held.place;
            }
        } else if holders.is_empty() {
            self.holders.remove(&held.identity);
        }
    }

    /// Turns names into numbers, giving new names new numbers.
    fn number(&mut self, filter: ChannelFilter) -> Numbers {
        let ChannelFilter::Only(names) = filter else { return Numbers::All };
        let mut numbers: Vec<ChannelNo> = names
            .into_iter()
            .map(|channel| {
                *self.numbers.entry(channel).or_insert_with_key(|channel| {
                    let listeners = Listeners { channel: channel.clone(), count: PerLane::default() };
                    let number = self.channels.insert(listeners);
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

    /// How many subscribers a flusher serves.
    fn served_by(&mut self, lane: LaneId) -> Option<&mut usize> {
        let LaneId::Flusher(number) = lane else { return None };
        self.flushers[number].as_mut()
    }

    /// Gives the memory of an empty table back (SUB-7).
    fn shrink(&mut self) {
        self.records = Slab::new();
        self.numbers = HashMap::new();
        self.channels = Slab::new();
        self.holders = HashMap::new();
        self.scopes = HashMap::new();
    }

    /// Counts a page of the channels, in the order of their names.
    pub(crate) fn channels(&self, after: Option<&str>, limit: usize) -> Vec<ChannelCount> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = self.ordered.range::<str, _>((from, Bound::Unbounded)).take(limit);
        page.map(|(channel, &number)| {
            let subscribers = self.channels[number].count.total();
            ChannelCount { channel: channel.clone(), subscribers }
        })
        .collect()
    }

    /// Fills in what the table knows.
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            subscribers: self.active,
            draining: self.draining,
            formats: self.formats.clone(),
            channels_named: self.channels.len(),
            unfiltered: self.unfiltered.total(),
            in_lanes: self.flushers.iter().flatten().sum(),
            broadcasts: self.seq,
            tickets: self.admission.open_tickets(),
            remembered_revocations: self.admission.remembered(),
            visits: self.visits,
            ..Stats::default()
        }
    }
}
