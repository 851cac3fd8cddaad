//! The registry's table: the subscribers, the identities that they hold and the scopes that they
//! fill. Pure state, without application code, and without locks but those of watches.
//!
//! Invariants: a subscriber is in the list of every identity that it holds and in no other;
//! `active` counts the subscribers that are not draining, in all and for each identity. A change
//! costs as much as it names channels and identities, whatever the number of subscribers (`visits`
//! counts them).

use super::admission::Admission;
use super::channels::{ChannelIndex, LaneId};
use super::recipients::Addressed;
use super::watchers::Watchers;
use crate::lane::book::Numbers;
use crate::subscriber::seat::Seat;
use crate::types::id::{Key, MemberId, SubscriptionId};
use crate::types::identity::Identity;
use crate::types::options::{RegistryOptions, ScopeCap, WhenFull};
use crate::types::registration::Registration;
use crate::types::stats::Stats;
use slab::Slab;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

pub(crate) mod page;

pub(crate) struct Table {
    pub(crate) admission: Admission,
    pub(crate) channels: ChannelIndex,
    pub(crate) seq: u64,
    pub(crate) shutting_down: bool,
    pub(crate) active: usize,
    pub(crate) draining: usize,
    scope_cap: Option<ScopeCap>,
    /// The epoch of the registry, which its ids bear.
    epoch: u64,
    serial: u64,
    records: Slab<Record>,
    holders: HashMap<Identity, Holders>,
    pub(crate) watchers: Watchers,
    /// Kept only under a cap: the members of each scope, oldest first.
    scopes: HashMap<Identity, BTreeMap<u64, Key>>,
    formats: BTreeMap<&'static str, usize>,
    /// How many subscribers each flusher has; `None` for a flusher that was dropped.
    flushers: Vec<Option<usize>>,
    visits: u64,
}

/// The subscribers that hold an identity.
#[derive(Default)]
struct Holders {
    keys: Vec<Key>,
    /// How many of them do not drain.
    active: usize,
}

struct Record {
    serial: u64,
    /// When it was admitted.
    since: Instant,
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
    /// It was draining before: it left its lane and was counted then.
    pub(crate) was_draining: bool,
}

/// A new subscriber's place, and the subscribers that it displaced.
pub(crate) struct Seated {
    pub(crate) id: SubscriptionId,
    pub(crate) numbers: Numbers,
    pub(crate) evicted: Vec<Removed>,
}

impl Table {
    pub(crate) fn new(options: &RegistryOptions, epoch: u64) -> Self {
        Self {
            admission: Admission::new(options.ticket_lifetime, options.max_remembered_revocations),
            channels: ChannelIndex::default(),
            seq: 0,
            shutting_down: false,
            active: 0,
            draining: 0,
            scope_cap: options.scope_cap,
            epoch,
            serial: 0,
            records: Slab::new(),
            holders: HashMap::new(),
            watchers: Watchers::default(),
            scopes: HashMap::new(),
            formats: BTreeMap::new(),
            flushers: Vec::new(),
            visits: 0,
        }
    }

    /// Adds a flusher and returns its number.
    pub(crate) fn open_lane(&mut self) -> usize {
        self.flushers.push(Some(0));
        self.flushers.len() - 1
    }

    /// Returns the flusher with the fewest subscribers, if there is any.
    pub(crate) fn lane(&self) -> Option<LaneId> {
        let counts = self.flushers.iter().enumerate();
        let open = counts.filter_map(|(number, count)| Some((count.as_ref()?, number)));
        open.min().map(|(_, number)| LaneId::Flusher(number))
    }

    /// Removes a flusher and every subscriber that it serves.
    pub(crate) fn close_lane(&mut self, number: usize) -> Vec<Removed> {
        let served = |record: &Record| record.lane == LaneId::Flusher(number) && !record.draining;
        let removed = self.take_all(self.keys(served));
        self.flushers[number] = None;
        removed
    }

    /// Tells whether a new subscriber is refused because its scope is full.
    pub(crate) fn refuses(&self, scope: Option<&Identity>) -> bool {
        let refusing = self.scope_cap.filter(|cap| cap.when_full == WhenFull::RefuseNew);
        let Some(cap) = refusing else { return false };
        let members = scope.and_then(|scope| self.scopes.get(scope));
        members.is_some_and(|members| members.len() >= cap.limit.get())
    }

    /// Inserts a new subscriber; under a cap, the oldest of its scope make room (CAP-1, CAP-3).
    pub(crate) fn insert(
        &mut self,
        seat: Arc<dyn Seat>,
        lane: LaneId,
        format: &'static str,
        registration: Registration,
        now: Instant,
    ) -> Seated {
        let Registration { filter, scope, groups } = registration;
        self.serial += 1;
        let numbers = self.channels.add(filter, lane);
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
                holders.active += 1;
                if holders.active == 1 {
                    self.watchers.came(&identity);
                }
                held.push(Held { identity, place: holders.keys.len() });
                holders.keys.push(key);
                self.visits += 1;
            }
        }
        entry.insert(Record {
            serial: self.serial,
            since: now,
            seat,
            lane,
            format,
            numbers: numbers.clone(),
            held: held.into(),
            scope: scope.clone(),
            draining: false,
        });
        self.active += 1;
        // The oldest leave after the new one came: an identity that both hold has a holder all the
        // time (WHO-3).
        let evicted = match (self.scope_cap, scope) {
            (Some(cap), Some(scope)) => {
                self.scopes.entry(scope.clone()).or_default().insert(self.serial, key);
                self.make_room(cap, &scope)
            }
            _ => Vec::new(),
        };
        let member = MemberId { key, serial: self.serial };
        Seated { id: SubscriptionId::new(self.epoch, member), numbers, evicted }
    }

    fn make_room(&mut self, cap: ScopeCap, scope: &Identity) -> Vec<Removed> {
        let mut evicted = Vec::new();
        while let Some(members) = self.scopes.get(scope)
            && members.len() > cap.limit.get()
            && let Some((_, &oldest)) = members.first_key_value()
        {
            evicted.extend(self.remove(oldest));
        }
        evicted
    }

    /// Removes one subscriber, unless it left before.
    pub(crate) fn take(&mut self, id: SubscriptionId) -> Option<Removed> {
        self.find(id)?;
        self.remove(id.member().key)
    }

    /// Makes one outbox leave its lane and drain, unless it left before or drains already.
    pub(crate) fn let_drain(&mut self, id: SubscriptionId) -> Option<Removed> {
        let draining = self.find(id)?.draining;
        (!draining).then(|| self.drain(id.member().key))
    }

    /// Finds a subscriber of this registry that is active or drains.
    fn find(&self, id: SubscriptionId) -> Option<&Record> {
        let MemberId { key, serial } = id.member();
        let record = self.records.get(key).filter(|_| id.is_of(self.epoch));
        record.filter(|record| record.serial == serial)
    }

    /// Returns the active subscribers that hold the identity, lane by lane.
    pub(crate) fn addressed_by_identity(&self, identity: &Identity) -> Addressed {
        let mut addressed = Addressed::default();
        for &key in self.holders.get(identity).map_or(&[][..], |holders| &holders.keys) {
            let record = &self.records[key];
            if !record.draining {
                addressed.add(MemberId { key, serial: record.serial }, record.lane);
            }
        }
        addressed
    }

    /// Returns how many active subscribers hold the identity.
    pub(crate) fn active_holders(&self, identity: &Identity) -> usize {
        self.holders.get(identity).map_or(0, |holders| holders.active)
    }

    /// Returns the subscriber, if it is active.
    pub(crate) fn addressed(&self, id: SubscriptionId) -> Addressed {
        let mut addressed = Addressed::default();
        if let Some(record) = self.find(id).filter(|record| !record.draining) {
            addressed.add(id.member(), record.lane);
        }
        addressed
    }

    /// Removes the subscriber at a key, if the seat there is still this one.
    pub(crate) fn take_seat(&mut self, key: Key, seat: &Arc<dyn Seat>) -> Option<Removed> {
        let there = &self.records.get(key)?.seat;
        std::ptr::addr_eq(Arc::as_ptr(there), Arc::as_ptr(seat)).then(|| self.remove(key))?
    }

    /// Remembers the revocation for open tickets, and removes every subscriber that holds the
    /// identity.
    ///
    /// Subscribers that drain stay until their owners drop their outboxes, but are returned, so
    /// that their queues can be discarded (DRN-1).
    pub(crate) fn revoke(&mut self, identity: &Identity, now: Instant) -> Vec<Removed> {
        self.admission.revoked(identity, now);
        let keys = self.holders.get(identity).map(|holders| holders.keys.clone());
        self.take_all(keys.unwrap_or_default())
    }

    /// Removes one subscriber, as [`revoke`](Self::revoke) does those of an identity.
    pub(crate) fn revoke_one(&mut self, id: SubscriptionId) -> Vec<Removed> {
        let there = self.find(id).is_some();
        self.take_all(if there { vec![id.member().key] } else { Vec::new() })
    }

    /// Makes every subscriber leave its lane: outboxes stay findable while they drain, sinks are
    /// removed.
    pub(crate) fn shut_down(&mut self) -> Vec<Removed> {
        self.shutting_down = true;
        let keys = self.keys(|record| !record.draining);
        let mut left = Vec::with_capacity(keys.len());
        for key in keys {
            if self.records[key].lane == LaneId::Sinks {
                left.extend(self.remove(key));
            } else {
                left.push(self.drain(key));
            }
        }
        left
    }

    /// Removes every subscriber, at the end of the registry's life.
    pub(crate) fn take_everyone(&mut self) -> Vec<Removed> {
        self.shutting_down = true;
        self.take_all(self.keys(|_| true))
    }

    fn keys(&self, wanted: impl Fn(&Record) -> bool) -> Vec<Key> {
        self.records.iter().filter(|(_, record)| wanted(record)).map(|(key, _)| key).collect()
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
        let (seat, lane, format) = (record.seat.clone(), record.lane, record.format);
        let numbers = std::mem::replace(&mut record.numbers, Numbers::All);
        let (scope, serial) = (record.scope.take(), record.serial);
        for Held { identity, .. } in &record.held {
            if let Some(holders) = self.holders.get_mut(identity) {
                holders.active -= 1;
                if holders.active == 0 {
                    self.watchers.left(identity);
                }
            }
        }
        self.retire(&numbers, lane, format, scope.as_ref(), serial);
        self.draining += 1;
        Removed { key, seat, lane, was_draining: false }
    }

    fn remove(&mut self, key: Key) -> Option<Removed> {
        let record = self.records.try_remove(key)?;
        self.visits += 1;
        for held in &record.held {
            self.unhold(held, !record.draining);
        }
        if record.draining {
            self.draining -= 1;
        } else {
            let Record { numbers, lane, format, scope, serial, .. } = &record;
            self.retire(numbers, *lane, format, scope.as_ref(), *serial);
        }
        if self.records.is_empty() {
            self.shrink();
        }
        let Record { seat, lane, draining, .. } = record;
        Some(Removed { key, seat, lane, was_draining: draining })
    }

    /// Removes a subscriber from the indexes and counts of active subscribers.
    fn retire(
        &mut self,
        numbers: &Numbers,
        lane: LaneId,
        format: &'static str,
        scope: Option<&Identity>,
        serial: u64,
    ) {
        self.active -= 1;
        self.channels.remove(numbers, lane);
        if let Some(served) = self.served_by(lane) {
            *served -= 1;
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

    /// Removes a holder from the list of an identity; `active` if it was counted.
    fn unhold(&mut self, held: &Held, active: bool) {
        let Some(holders) = self.holders.get_mut(&held.identity) else { return };
        self.visits += 1;
        holders.keys.swap_remove(held.place);
        holders.active -= usize::from(active);
        if active && holders.active == 0 {
            self.watchers.left(&held.identity);
        }
        if let Some(&moved) = holders.keys.get(held.place) {
            let mut theirs = self.records[moved].held.iter_mut();
            if let Some(theirs) = theirs.find(|theirs| theirs.identity == held.identity) {
                theirs.place = held.place;
            }
        } else if holders.keys.is_empty() {
            self.holders.remove(&held.identity);
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
        self.channels.shrink();
        self.holders = HashMap::new();
        self.scopes = HashMap::new();
    }

    /// Returns the statistics that the table has; the others are zero.
    pub(crate) fn stats(&self) -> Stats {
        Stats {
            subscribers: self.active,
            draining: self.draining,
            formats: self.formats.clone(),
            channels_named: self.channels.named(),
            unfiltered: self.channels.unfiltered(),
            in_lanes: self.flushers.iter().flatten().sum(),
            broadcasts: self.seq,
            tickets: self.admission.open_tickets(),
            remembered_revocations: self.admission.remembered(),
            visits: self.visits + self.channels.visits(),
            ..Stats::default()
        }
    }
}
