//! A page of the subscribers, collected in short visits of the table.
//!
//! The order is that of the places in the table. A subscriber keeps its place for life, so one that
//! stays is neither repeated nor skipped while others come and go (WHO-2).

use super::{Record, Table};
use crate::lane::book::Numbers;
use crate::subscriber::seat::Seat;
use crate::types::channel::Channel;
use crate::types::id::{Key, MemberId, SubscriptionId};
use crate::types::identity::Identity;
use std::sync::Arc;
use std::time::Instant;

/// Places, identities and channels that one visit looks at: some ten microseconds of work, also
/// where nothing of it is in a cache.
const VISITED: usize = 128;

/// A page that is being collected.
pub(crate) struct Page {
    limit: usize,
    /// The place to look at next.
    next: Key,
    pub(crate) rows: Vec<Row>,
    /// Seats of subscribers that left between two visits. Dropping one may run application code, so
    /// they are kept until the caller holds no lock.
    pub(crate) left: Vec<Arc<dyn Seat>>,
}

/// What the table knows of a subscriber.
pub(crate) struct Row {
    pub(crate) id: SubscriptionId,
    pub(crate) since: Instant,
    pub(crate) format: &'static str,
    pub(crate) seat: Arc<dyn Seat>,
    pub(crate) identities: Vec<Identity>,
    /// The channels that it names; `None` if it hears every channel.
    pub(crate) channels: Option<Vec<Channel>>,
    complete: bool,
}

impl Page {
    pub(crate) fn new(next: Key, limit: usize) -> Self {
        Self { limit, next, rows: Vec::new(), left: Vec::new() }
    }
}

impl Table {
    /// Returns the place at which the page after a subscriber begins. After one of another
    /// registry, or of none, that is the first.
    pub(crate) fn place_after(&self, id: Option<SubscriptionId>) -> Key {
        let ours = id.filter(|id| id.is_of(self.epoch));
        ours.map_or(0, |id| id.member().key.saturating_add(1))
    }

    /// Collects more of a page; true when it is complete. Between two visits the caller releases
    /// the registry's lock.
    pub(crate) fn visit(&self, page: &mut Page) -> bool {
        let mut visits = VISITED;
        loop {
            if let Some(row) = page.rows.last_mut().filter(|row| !row.complete) {
                match self.find(row.id).filter(|record| !record.draining) {
                    Some(record) => self.fill(row, record, &mut visits),
                    // It left between two visits, and the numbers of its channels with it.
                    None => page.left.extend(page.rows.pop().map(|row| row.seat)),
                }
            }
            let over = page.rows.len() >= page.limit || page.next >= self.records.capacity();
            let filled = page.rows.last().is_none_or(|row| row.complete);
            if visits == 0 || (over && filled) {
                return over && filled;
            }
            if filled {
                visits -= 1;
                page.rows.extend(self.row(page.next));
                page.next += 1;
            }
        }
    }

    /// The beginning of the row of an active subscriber.
    fn row(&self, key: Key) -> Option<Row> {
        let record = self.records.get(key).filter(|record| !record.draining)?;
        let member = MemberId { key, serial: record.serial };
        Some(Row {
            id: SubscriptionId::new(self.epoch, member),
            since: record.since,
            format: record.format,
            seat: record.seat.clone(),
            identities: Vec::new(),
            channels: (!matches!(record.numbers, Numbers::All)).then(Vec::new),
            complete: false,
        })
    }

    /// Adds identities and channels to a row, as far as the visits go.
    fn fill(&self, row: &mut Row, record: &Record, visits: &mut usize) {
        let held = &record.held[row.identities.len()..];
        let held = &held[..held.len().min(*visits)];
        row.identities.extend(held.iter().map(|held| held.identity.clone()));
        *visits -= held.len();
        let named = row.channels.as_mut().map_or(0, |channels| {
            let rest = &record.numbers.named()[channels.len()..];
            let named = &rest[..rest.len().min(*visits)];
            channels.extend(named.iter().map(|&number| self.channels.name(number).clone()));
            *visits -= named.len();
            channels.len()
        });
        row.complete =
            row.identities.len() == record.held.len() && named == record.numbers.named().len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::channels::LaneId;
    use crate::subscriber::seat::Status;
    use crate::types::channel::ChannelFilter;
    use crate::types::close::CloseReason;
    use crate::types::options::RegistryOptions;
    use crate::types::registration::Registration;

    /// A seat that is never ended.
    struct Nobody;

    impl Seat for Nobody {
        fn end(&self, _: CloseReason) -> bool {
            false
        }

        fn notify(&self) {}

        fn describe(&self) -> Status {
            Status::default()
        }
    }

    fn table() -> (Table, RegistryOptions) {
        let options = RegistryOptions::new();
        (Table::new(&options, 7), options)
    }

    fn insert(
        (table, options): &mut (Table, RegistryOptions),
        registration: Registration,
    ) -> SubscriptionId {
        let now = options.clock.now();
        table.insert(Arc::new(Nobody), LaneId::Sinks, "sink", registration, now).id
    }

    fn named(channels: usize) -> Registration {
        let names = (0..channels).map(|n| n.to_string());
        Registration::new().with_filter(ChannelFilter::only(names))
    }

    #[test]
    fn who_2_one_visit_looks_at_a_bounded_number_of_places_channels_and_identities() {
        // Many that left, one of many channels, one of many identities, and many of two of each.
        let mut of = table();
        let all: Vec<_> = (0..1_000).map(|_| insert(&mut of, Registration::new())).collect();
        all[1..].iter().for_each(|id| drop(of.0.take(*id)));
        let groups = (0..1_000).map(|n| Identity::untyped(n.to_string()));
        insert(&mut of, Registration::new().with_groups(groups));
        insert(&mut of, named(1_000));
        for n in 0..200 {
            insert(&mut of, named(2).with_scope(("a", n.to_string())).with_group(("b", "c")));
        }
        let mut page = Page::new(0, usize::MAX);
        let (mut visits, mut seen) = (1, 0);
        while !of.0.visit(&mut page) {
            let count = |row: &Row| row.identities.len() + row.channels.iter().flatten().count();
            let now = page.next + page.rows.iter().map(count).sum::<usize>();
            assert!(now - seen <= VISITED, "{} at once", now - seen);
            (visits, seen) = (visits + 1, now);
        }
        assert_eq!((page.rows.len(), page.left.len()), (203, 0));
        // The places that were left are used again.
        let looked_at = 1_000 + 1_000 + 1_000 + 200 * 4;
        assert_eq!(visits, usize::div_ceil(looked_at, VISITED));
    }

    #[test]
    fn who_2_one_that_leaves_between_two_visits_is_left_out() {
        for heir in [false, true] {
            let mut of = table();
            let first = insert(&mut of, Registration::new());
            let leaves = insert(&mut of, named(1_000));
            let last = insert(&mut of, named(1));
            let mut page = Page::new(0, 2);
            assert!(!of.0.visit(&mut page), "it has too many channels for one visit");
            assert_eq!(page.rows.len(), 2);
            if heir {
                // Another has its place, and the numbers of its channels mean others.
                drop(of.0.take(leaves));
                assert_eq!(insert(&mut of, named(0)).member().key, leaves.member().key);
            } else {
                of.0.drain(leaves.member().key);
            }
            while !of.0.visit(&mut page) {}
            let ids: Vec<_> = page.rows.iter().map(|row| row.id).collect();
            assert_eq!((ids, page.left.len()), (vec![first, last], 1));
        }
    }
}
