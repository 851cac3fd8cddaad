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
use crate::report::Stats;
use crate::sink::Seat;
use crate::subscription::{Registration, SubscriptionId};
use slab::Slab;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Which lane serves a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneId {
    Outboxes,
    Foreign,
}

const LANES: usize = 2;

/// How many subscribers in each lane, by [`LaneId`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PerLane([usize; LANES]);

impl PerLane {
    pub(crate) fn of(&self, lane: LaneId) -> usize {
        self.0[lane as usize]
    }

    pub(crate) fn total(&self) -> usize {
        self.0.iter().sum()
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
    channels: Slab<Listeners>,
    unfiltered: PerLane,
    holders: HashMap<Identity, Vec<Key>>,
    /// Kept only under a cap: the members of each scope, oldest first.
    scopes: HashMap<Identity, BTreeMap<u64, Key>>,
    formats: BTreeMap<&'static str, usize>,
    visits: u64,
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
            channels: Slab::new(),
            unfiltered: PerLane::default(),
            holders: HashMap::new(),
            scopes: HashMap::new(),
            formats: BTreeMap::new(),
            visits: 0,
        }
    }

    /// Tells who hears a channel: its number, if somebody names it, its interned name, and how many in each lane.
    pub(crate) fn hearing(&self, channel: &str) -> (Option<(ChannelNo, &Channel)>, PerLane) {
        let mut count = self.unfiltered;
        let Some(&number) = self.numbers.get(channel) else { return (None, count) };
        let listeners = &self.channels[number];
        for (sum, named) in count.0.iter_mut().zip(listeners.count.0) {
            *sum += named;
        }
        (Some((number, &listeners.channel)), count)
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
        self.count(&numbers, lane, |count| *count += 1);
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
            if self.records[key].lane == LaneId::Outboxes {
                left.push(self.drain(key));
            } else {
                left.extend(self.remove(key));
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
        self.count(numbers, lane, |count| *count -= 1);
        for &number in numbers.named() {
            if self.channels[number].count.total() == 0 {
                let channel = self.channels.remove(number).channel;
                self.numbers.remove(&channel);
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
                    self.channels.insert(Listeners { channel: channel.clone(), count: PerLane::default() })
                })
            })
            .collect();
        numbers.sort_unstable();
        match numbers[..] {
            [number] => Numbers::One(number),
            _ => Numbers::Many(numbers.into()),
        }
    }

    fn count(&mut self, numbers: &Numbers, lane: LaneId, mut change: impl FnMut(&mut usize)) {
        match numbers {
            Numbers::All => change(&mut self.unfiltered.0[lane as usize]),
            named => {
                for &number in named.named() {
                    self.visits += 1;
                    change(&mut self.channels[number].count.0[lane as usize]);
                }
            }
        }
    }

    /// Gives the memory of an empty table back (SUB-7).
    fn shrink(&mut self) {
        self.records = Slab::new();
        self.numbers = HashMap::new();
        self.channels = Slab::new();
        self.holders = HashMap::new();
        self.scopes = HashMap::new();
    }

    /// Fills in what the table knows.
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            subscribers: self.active,
            draining: self.draining,
            formats: self.formats.clone(),
            channels: self.channels.iter().map(|(_, l)| (l.channel.as_str().to_owned(), l.count.total())).collect(),
            unfiltered: self.unfiltered.total(),
            broadcasts: self.seq,
            tickets: self.admission.open_tickets(),
            remembered_revocations: self.admission.remembered(),
            visits: self.visits,
            ..Stats::default()
        }
    }
}
