//! Who is there: the holders of an identity, pages of the subscribers, and watches.

use crate::kit::*;
use crate::lane::registry_and_flusher;
use crate::wire::*;
use futures_core::Stream;
use proptest::prelude::*;
use registry_core::{
    ChannelFilter, Clock, CloseReason, Identity, ManualClock, OutboxOptions, Overflow, Presence,
    Registration, RegistryOptions, Revocation, SendOutcome, SubscriberInfo, SubscriptionId, Watch,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[test]
fn who_1_holders_counts_each_active_holder_once() {
    let (registry, _flusher) = registry_and_flusher();
    assert_eq!(registry.holders(id("ada")), 0);
    let probe = Probe::new();
    let sink = join(&registry, &probe, group("ada").with_scope(id("ada")).with_group(id("ada")));
    let outbox = open(&registry, scope("ada"));
    let (wired, _socket) = wired(&registry, group("ada").with_group(id("bob")));
    let stream = registry.stream(group("ada"), OutboxOptions::new()).unwrap();
    let untyped = open(&registry, Registration::new().with_group(Identity::untyped("ada")));
    let counts = || [registry.holders(id("ada")), registry.holders(id("bob"))];
    assert_eq!(counts(), [4, 1]);
    assert_eq!(registry.holders(Identity::untyped("ada")), 1);
    drop(untyped);
    outbox.close(CloseReason::Shutdown);
    assert_eq!(counts(), [3, 1], "one that drains is not there");
    wired.outbox().close(CloseReason::Revoked);
    assert_eq!(counts(), [2, 0]);
    drop((sink, outbox));
    assert_eq!(counts(), [1, 0]);
    assert_eq!(registry.begin_shutdown(), 1);
    assert_eq!(counts(), [0, 0]);
    registry.close_by_identity(id("ada")); // the queue of one that drains
    assert_eq!(counts(), [0, 0]);
    drop(stream);
    assert_eq!(counts(), [0, 0]);
}

fn ids(page: &[SubscriberInfo]) -> Vec<SubscriptionId> {
    page.iter().map(|info| info.id).collect()
}

/// All pages of this size, one after the other.
fn pages(registry: &Registry, limit: usize) -> Vec<SubscriberInfo> {
    let mut all: Vec<SubscriberInfo> = Vec::new();
    loop {
        let page = registry.page(all.last().map(|last| last.id), limit);
        assert!(page.len() <= limit);
        let over = page.len() < limit;
        all.extend(page);
        if over {
            return all;
        }
    }
}

#[test]
fn who_2_a_page_tells_what_the_registry_knows_of_each_subscriber() {
    let clock = ManualClock::new();
    let registry = encoding_with(RegistryOptions::new().with_clock(clock.clone()));
    let mut flusher = registry.open_lane(registry_core::LaneOptions::new());
    let start = clock.now();
    let probe = Probe::sending(|_| SendOutcome::Dropped);
    let sink = join(&registry, &probe, scope("s").with_group(id("ada")).with_group(id("ada")));
    clock.advance(Duration::from_secs(5));
    let options = OutboxOptions::new()
        .with_label("queue")
        .with_max_messages(size(2))
        .with_overflow(Overflow::DropOldest);
    let outbox = registry.open_outbox(&RAW, options, hears(&["a", "b"])).unwrap();
    let stream = registry.stream(hears(&[]), OutboxOptions::new().with_label("cache")).unwrap();
    clock.advance(Duration::from_secs(5));
    let (wired, socket) =
        wired_with(&registry, &BARE, with_flusher().with_label("direct"), hears(&["a"]));
    for n in [10, 11, 12] {
        registry.broadcast("a", n).unwrap();
    }
    clock.advance(Duration::from_secs(5));
    serve(&mut flusher);
    let page = registry.page(None, 10);
    let expected = [sink.id(), outbox.subscription().id(), stream.subscription().id()];
    assert_eq!(ids(&page)[..3], expected);
    assert_eq!(page[3].id, wired.outbox().subscription().id());
    let labels: Vec<_> = page.iter().map(|info| (info.format, info.label)).collect();
    assert_eq!(labels, [("sink", ""), ("raw", "queue"), ("stream", "cache"), ("bare", "direct")]);
    let ages: Vec<_> = page.iter().map(|info| (info.since - start).as_secs()).collect();
    assert_eq!(ages, [0, 5, 5, 10]);
    assert!(page.iter().all(|info| (info.read_at - start).as_secs() == 15));
    assert_eq!(page[0].identities, [id("s"), id("ada")]);
    assert!(page[1..].iter().all(|info| info.identities.is_empty()));
    let only = |names: &[&str]| ChannelFilter::only(names.iter().copied());
    let filters: Vec<_> = page.iter().map(|info| info.filter.clone()).collect();
    assert_eq!(filters, [ChannelFilter::All, only(&["a", "b"]), only(&[]), only(&["a"])]);
    let queues: Vec<_> =
        page.iter().map(|info| (info.queued_messages, info.queued_bytes, info.lost)).collect();
    assert_eq!(queues, [(0, 0, 3), (2, 4, 1), (0, 0, 0), (0, 0, 0)]);
    assert!(page.iter().map(|info| info.wired).eq([false, false, false, true]));
    assert!(page[..3].iter().all(|info| info.last_write.is_none()));
    assert_eq!(page[3].last_write, wired.last_write());
    assert!(page[3].last_write.is_some());
    // A write that the socket takes in part waits too.
    socket.set_room(3);
    registry.broadcast("a", 13).unwrap();
    serve(&mut flusher);
    let all = socket.bytes().len();
    let info = registry.page(Some(stream.subscription().id()), 10).remove(0);
    socket.set_room(usize::MAX);
    assert_eq!(flush(&wired), None);
    assert_eq!((info.queued_messages, info.queued_bytes), (0, socket.bytes().len() - all));
}

#[test]
fn who_2_only_active_subscribers_are_listed() {
    let (registry, _flusher) = registry_and_flusher();
    let outboxes = [(); 4].map(|()| open(&registry, group("ada")));
    outboxes[1].close(CloseReason::Shutdown);
    outboxes[2].close(CloseReason::Revoked);
    let active = [&outboxes[0], &outboxes[3]].map(|outbox| outbox.subscription().id());
    assert_eq!(ids(&registry.page(None, 10)), active);
    assert_eq!(ids(&registry.page(None, 1)), active[..1]);
    // After one that ended, or that drains, the page goes on.
    for after in [0, 1, 2] {
        assert_eq!(ids(&registry.page(Some(outboxes[after].subscription().id()), 9)), active[1..]);
    }
    assert_eq!(registry.page(Some(active[1]), 10), []);
    assert_eq!(registry.page(None, 0), []);
    // The id of another registry says nothing about this one.
    let other = encoding();
    let theirs = [(); 3].map(|()| open(&other, group("ada")));
    assert_eq!(ids(&registry.page(Some(theirs[2].subscription().id()), 10)), active);
    registry.begin_shutdown();
    assert_eq!(registry.page(None, 10), []);
}

#[test]
fn who_2_the_last_of_many_that_left_is_found() {
    let registry = Registry::new();
    let probe = Probe::new();
    let mut all: Vec<_> =
        (0..20_000).map(|_| join(&registry, &probe, Registration::new())).collect();
    let last = all.pop().unwrap();
    let first = all.remove(0);
    drop(all);
    assert_eq!(ids(&registry.page(None, 10)), [first.id(), last.id()]);
    assert_eq!(ids(&pages(&registry, 1)), [first.id(), last.id()]);
    drop((first, last));
    assert_eq!(registry.page(None, 10), []);
}

#[test]
fn who_2_a_subscriber_with_many_channels_and_identities_is_listed_whole() {
    let registry = encoding();
    let names: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    let filter = ChannelFilter::only(&names);
    let groups: Vec<_> = (0..1_000).map(|n| id(&n.to_string())).collect();
    let registration =
        || Registration::new().with_filter(filter.clone()).with_groups(groups.clone());
    let _members = [(); 3].map(|()| open(&registry, registration()));
    let _small = open(&registry, hears(&["7"]));
    for limit in [1, 2, 3, 4, 5] {
        let page = pages(&registry, limit);
        assert_eq!(page.len(), 4);
        for info in &page[..3] {
            assert!(info.filter == filter && info.identities == groups);
        }
        assert_eq!(page[3].filter, ChannelFilter::only(["7"]));
    }
}

/// While one with many channels comes and leaves, its rows are whole or absent.
#[test]
fn who_2_a_page_is_right_while_subscribers_come_and_leave_on_other_threads() {
    works(|steps| {
        let registry = encoding();
        let names: Vec<String> = (0..2_000).map(|n| format!("many{n}")).collect();
        let filter = ChannelFilter::only(&names);
        let stays: Vec<_> = (0..50).map(|_| open(&registry, group("stays"))).collect();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut kept = Vec::new();
                for n in 0.. {
                    if over.load(Ordering::SeqCst) {
                        break;
                    }
                    kept.push(open(&registry, Registration::new().with_filter(filter.clone())));
                    kept.push(open(&registry, hears(&["few"])));
                    if n % 3 == 0 {
                        kept.clear();
                    }
                }
            });
            let _over = Raise(&over);
            for limit in [1, 7, 1_000].into_iter().cycle().take(60) {
                let page = pages(&registry, limit);
                let mut seen = HashSet::new();
                assert!(page.iter().all(|info| seen.insert(info.id)), "one is repeated");
                for outbox in &stays {
                    assert!(seen.contains(&outbox.subscription().id()), "one is skipped");
                }
                for info in page {
                    let ChannelFilter::Only(heard) = &info.filter else { continue };
                    assert!(info.filter == filter || heard.len() == 1, "{} channels", heard.len());
                }
                steps.step();
            }
        });
    });
}

#[cfg(feature = "serde")]
#[test]
fn who_2_what_is_told_of_a_subscriber_can_be_serialised() {
    let clock = ManualClock::new();
    let registry = encoding_with(RegistryOptions::new().with_clock(clock.clone()));
    let hers = hears(&["a", "b"]).with_scope(("session", "17")).with_group(Identity::untyped("x"));
    let options = OutboxOptions::new().with_label("queue");
    let outbox = registry.open_outbox(&RAW, options, hers).unwrap();
    let _all = open(&registry, Registration::new());
    clock.advance(Duration::from_millis(1500));
    let json = serde_json::to_value(registry.page(None, 2)).unwrap();
    let expected = serde_json::json!({
        "id": outbox.subscription().id().to_string(),
        "age_seconds": 1.5,
        "identities": [
            { "kind": "session", "value": "17" },
            { "kind": null, "value": "x" },
        ],
        "channels": ["a", "b"],
        "format": "raw",
        "label": "queue",
        "queued_messages": 0,
        "queued_bytes": 0,
        "lost": 0,
        "idle_seconds": null,
        "wired": false,
    });
    assert_eq!((&json[0], &json[1]["channels"]), (&expected, &serde_json::Value::Null));
}

fn next(watch: &mut Watch) -> Option<Presence> {
    match Pin::new(watch).poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(event) => Some(event.expect("the registry lives")),
        Poll::Pending => None,
    }
}

fn events(watch: &mut Watch) -> Vec<Presence> {
    std::iter::from_fn(|| next(watch)).collect()
}

fn came(value: &str) -> Presence {
    Presence::Came(id(value))
}

fn left(value: &str) -> Presence {
    Presence::Left(id(value))
}

#[test]
fn who_3_a_watch_tells_of_the_first_and_the_last_holder_in_order() {
    let (registry, _flusher) = registry_and_flusher();
    let _before = open(&registry, group("early"));
    let mut watch = registry.watch("test", size(100));
    let mut other = registry.watch("other", size(100));
    let first = open(&registry, group("ada").with_group(id("bob")));
    let second = open(&registry, scope("ada").with_group(("other", "ada")));
    let _untyped = open(&registry, Registration::new().with_group(Identity::untyped("ada")));
    assert_eq!(events(&mut watch), [came("ada"), came("bob")]);
    drop(first);
    assert_eq!(events(&mut watch), [left("bob")]);
    assert_eq!(registry.close_by_identity(id("ada")), 1);
    assert_eq!(events(&mut watch), [left("ada")]);
    drop(second);
    assert_eq!(events(&mut watch), []);
    let theirs = Identity::new("other", "ada");
    assert_eq!(events(&mut other), [Presence::Came(theirs.clone()), Presence::Left(theirs)]);
    // One that drains has left.
    let drains = open(&registry, group("ada"));
    drains.close(CloseReason::Shutdown);
    let probe = Probe::new();
    let sink = join(&registry, &probe, group("ada"));
    assert!(registry.close(sink.id(), Revocation::Revoked));
    drop(drains);
    let expected = [came("ada"), left("ada"), came("ada"), left("ada")];
    assert_eq!(events(&mut watch), expected);
    registry.begin_shutdown();
    assert_eq!(events(&mut watch), [left("early")]);
}

#[test]
fn who_3_an_end_by_a_lane_is_seen_too() {
    let (registry, mut flusher) = registry_and_flusher();
    let mut watch = registry.watch("test", size(100));
    let lagging = OutboxOptions::new().with_max_messages(size(1));
    let _lags = registry.open_outbox(&RAW, lagging, group("lags")).unwrap();
    let (_gone, socket) = wired(&registry, group("gone"));
    let fails = Probe::sending(|_| SendOutcome::Failed);
    let _fails = join(&registry, &fails, group("fails"));
    socket.break_down();
    for n in 0..2 {
        registry.broadcast("c", n).unwrap();
    }
    serve(&mut flusher);
    let (_dropped, _) = wired(&registry, group("dropped"));
    drop(flusher);
    let expected = [
        came("lags"),
        came("gone"),
        came("fails"),
        left("fails"),
        left("lags"),
        left("gone"),
        came("dropped"),
        left("dropped"),
    ];
    assert_eq!(events(&mut watch), expected);
}

#[test]
fn who_3_an_eviction_does_not_make_an_identity_leave_that_the_newcomer_holds() {
    let registry = encoding_with(capped(1));
    let mut watch = registry.watch("test", size(100));
    let both = |name: &str| scope("s").with_group(id(name));
    let outboxes = ["ada", "ada", "bob"].map(|name| open(&registry, both(name)));
    let expected = [came("s"), came("ada"), came("bob"), left("ada")];
    assert_eq!(events(&mut watch), expected);
    assert_eq!((registry.len(), registry.holders(id("s"))), (1, 1));
    drop(outboxes);
    assert_eq!(events(&mut watch), [left("s"), left("bob")]);
}

#[test]
fn who_3_a_full_watch_says_how_many_events_it_missed_and_where() {
    let registry = encoding();
    let mut watch = registry.watch("test", size(2));
    let pass = |name: &str| drop(open(&registry, group(name)));
    pass("a");
    assert_eq!(next(&mut watch), Some(came("a")));
    pass("b");
    pass("c"); // two events and those of `c` are more than two
    assert_eq!(next(&mut watch), Some(left("a")));
    pass("d"); // the count of what was missed stands before the place that is free
    assert_eq!(next(&mut watch), Some(came("b")));
    assert_eq!(next(&mut watch), Some(Presence::Missed(5)));
    pass("e");
    pass("f");
    assert_eq!(events(&mut watch), [came("e"), left("e"), Presence::Missed(2)]);
    pass("g");
    assert_eq!(events(&mut watch), [came("g"), left("g")]);
    // A full watch costs no memory.
    let before = format!("{watch:?}");
    (0..1_000).for_each(|_| pass("h"));
    assert_eq!(
        (before.as_str(), format!("{watch:?}")),
        ("Watch { waiting: 0, .. }", "Watch { waiting: 3, .. }".into())
    );
}

#[test]
fn who_3_a_watch_ends_with_its_registry_after_its_events() {
    let registry = encoding();
    let mut watch = registry.watch("test", size(8));
    let outbox = open(&registry, group("ada"));
    let (wakes, waker) = Wakes::new();
    let mut cx = Context::from_waker(&waker);
    assert_eq!(next(&mut watch), Some(came("ada")));
    assert!(Pin::new(&mut watch).poll_next(&mut cx).is_pending());
    drop(registry);
    assert_eq!(wakes.count(), 1);
    assert_eq!(Pin::new(&mut watch).poll_next(&mut cx), Poll::Ready(Some(left("ada"))));
    for _ in 0..2 {
        assert_eq!(Pin::new(&mut watch).poll_next(&mut cx), Poll::Ready(None));
    }
    drop(outbox);
    // One that nobody is in wakes its consumer too.
    let registry = encoding();
    let mut watch = registry.watch("test", size(8));
    assert!(Pin::new(&mut watch).poll_next(&mut cx).is_pending());
    drop(registry);
    assert_eq!(wakes.count(), 2);
    assert_eq!(Pin::new(&mut watch).poll_next(&mut cx), Poll::Ready(None));
}

#[test]
fn who_3_the_consumer_is_woken_without_a_lock_and_a_cancelled_wait_loses_nothing() {
    finishes(|| {
        let registry = encoding();
        let mut watch = registry.watch("test", size(8));
        let again = registry.clone();
        let held = Arc::new(Mutex::new(Vec::new()));
        let seen = held.clone();
        let waker = Waker::from(Arc::new(OnWake(move || {
            seen.lock().unwrap().push((again.holders(id("ada")), again.page(None, 9).len()));
        })));
        let mut cx = Context::from_waker(&waker);
        assert!(pin!(watch.next()).poll(&mut cx).is_pending());
        let outbox = open(&registry, group("ada"));
        assert_eq!(pin!(watch.next()).poll(&mut cx), Poll::Ready(Some(came("ada"))));
        assert!(pin!(watch.next()).poll(&mut cx).is_pending());
        drop(outbox);
        assert_eq!(*held.lock().unwrap(), [(1, 1), (0, 0)]);
        assert_eq!(next(&mut watch), Some(left("ada")));
    });
}

#[test]
fn who_3_a_watch_that_is_dropped_is_forgotten() {
    let registry = encoding();
    let (wakes, waker) = Wakes::new();
    let mut watches = [(); 3].map(|()| registry.watch("test", size(8)));
    for watch in &mut watches {
        assert!(Pin::new(watch).poll_next(&mut Context::from_waker(&waker)).is_pending());
    }
    let [first, mut second, third] = watches;
    drop((first, third));
    assert_eq!(Arc::strong_count(&wakes), 3, "the test's two, and that of the second");
    let _outbox = open(&registry, group("ada"));
    assert_eq!((wakes.count(), next(&mut second)), (1, Some(came("ada"))));
    drop(second);
    // Without a watch, nothing is allocated for one.
    let identity = id("bob");
    let registration = || Registration::new().with_group(identity.clone());
    drop(open(&registry, registration()));
    let unwatched = allocation_counter::measure(|| drop(open(&registry, registration())));
    let other = registry.watch("other", size(8));
    let watched = allocation_counter::measure(|| drop(open(&registry, registration())));
    assert_eq!(unwatched.count_total, watched.count_total, "of another kind");
    drop(other);
    drop(registry);
}

#[test]
fn who_3_a_watch_outlives_nothing_and_a_panicking_waker_harms_nobody() {
    let registry = encoding();
    let mut watches = [(); 2].map(|()| registry.watch("test", size(8)));
    let woken = Arc::new(AtomicUsize::new(0));
    for watch in &mut watches {
        let woken = woken.clone();
        let waker = Waker::from(Arc::new(OnWake(move || {
            woken.fetch_add(1, Ordering::SeqCst);
            panic!("on purpose");
        })));
        assert!(Pin::new(watch).poll_next(&mut Context::from_waker(&waker)).is_pending());
    }
    let _outbox = open(&registry, group("ada"));
    assert_eq!(woken.load(Ordering::SeqCst), 2);
    for watch in &mut watches {
        assert_eq!(next(watch), Some(came("ada")));
    }
}

/// One step of a program of joins and ends.
#[derive(Debug, Clone)]
enum Step {
    /// A set of identities as bits.
    Join(u8),
    Leave(usize),
    Drain(usize),
    Revoke(u8),
    Close(usize),
    /// Takes so many events.
    Take(usize),
    /// Reads the next page, of this size.
    Page(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0_usize..20;
    prop_oneof![
        5 => (0_u8..16).prop_map(Step::Join),
        3 => which.clone().prop_map(Step::Leave),
        1 => which.clone().prop_map(Step::Drain),
        1 => (0_u8..4).prop_map(Step::Revoke),
        1 => which.prop_map(Step::Close),
        3 => (0_usize..4).prop_map(Step::Take),
        4 => (1_usize..5).prop_map(Step::Page),
    ]
}

proptest! {
    #[test]
    fn who_1_who_2_who_3_what_is_told_agrees_with_a_plain_list(
        capacity in 1_usize..6,
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let registry = encoding();
        let mut watch = registry.watch("test", size(capacity));
        let mut lines = Vec::new(); // the outbox, what it holds, and whether it is active
        // What the watch has to tell: at most `capacity` events and a count.
        let mut told: Vec<Presence> = Vec::new();
        // The pages so far, and who was there all the time.
        let mut listed: Vec<SubscriptionId> = Vec::new();
        let mut stayed: Option<BTreeSet<u64>> = None;
        let name = |bit: u8| id(&bit.to_string());
        let holders = |lines: &[(Option<registry_core::Outbox>, u8, bool)]| {
            let holds = |bit: u8| lines.iter().filter(|l| l.2 && l.1 & (1 << bit) != 0).count();
            BTreeMap::from_iter((0..4).map(|bit| (bit, holds(bit))))
        };
        for step in steps {
            let before = holders(&lines);
            match step {
                Step::Join(holds) => {
                    let groups = (0..4).filter(|bit| holds & (1 << bit) != 0).map(name);
                    let outbox = open(&registry, Registration::new().with_groups(groups));
                    lines.push((Some(outbox), holds, true));
                }
                Step::Leave(which) => if let Some(line) = lines.get_mut(which) {
                    line.2 = false;
                    line.0 = None;
                },
                Step::Drain(which) => if let Some(line) = lines.get_mut(which) {
                    line.2 = false;
                    line.0.iter().for_each(|outbox| outbox.close(CloseReason::Shutdown));
                },
                Step::Close(which) => if let Some(line) = lines.get_mut(which) {
                    line.2 = false;
                    let id = line.0.as_ref().map(|outbox| outbox.subscription().id());
                    id.map(|id| registry.close(id, Revocation::Revoked));
                },
                Step::Revoke(bit) => {
                    registry.close_by_identity(name(bit));
                    let held = lines.iter_mut().filter(|line| line.1 & (1 << bit) != 0);
                    held.for_each(|line| line.2 = false);
                }
                Step::Take(events) => for _ in 0..events {
                    let expected = (!told.is_empty()).then(|| told.remove(0));
                    prop_assert_eq!(next(&mut watch), expected, "WHO-3");
                },
                Step::Page(limit) => {
                    let page = registry.page(listed.last().copied(), limit);
                    let active = |line: &&(Option<registry_core::Outbox>, u8, bool)| line.2;
                    let there: BTreeSet<u64> = lines.iter().filter(active)
                        .filter_map(|l| Some(l.0.as_ref()?.subscription().id().serial())).collect();
                    let known = stayed.get_or_insert_with(|| there.clone());
                    known.retain(|serial| there.contains(serial));
                    for info in &page {
                        prop_assert!(there.contains(&info.id.serial()), "WHO-2: it has left");
                        prop_assert!(!listed.contains(&info.id), "WHO-2: it is repeated");
                        listed.push(info.id);
                    }
                    if page.len() < limit {
                        let listed: BTreeSet<_> = listed.drain(..).map(|id| id.serial()).collect();
                        let stayed = stayed.take().unwrap_or_default();
                        prop_assert!(stayed.is_subset(&listed), "WHO-2: one was skipped");
                    }
                }
            }
            // Several events of one step are in the order of the ends, which the plain list does
            // not know.
            let after = holders(&lines);
            let mut now = Vec::new();
            for bit in 0..4 {
                prop_assert_eq!(registry.holders(name(bit)), after[&bit], "WHO-1");
                match (before[&bit], after[&bit]) {
                    (0, n) if n > 0 => now.push(Presence::Came(name(bit))),
                    (n, 0) if n > 0 => now.push(Presence::Left(name(bit))),
                    _ => {}
                }
            }
            for event in &now {
                if told.len() < capacity {
                    told.push(event.clone());
                } else if let Some(Presence::Missed(events)) = told.last_mut() {
                    *events += 1;
                } else {
                    told.push(Presence::Missed(1));
                }
            }
            if now.len() > 1 {
                // Reads them all, and begins anew.
                let seen = events(&mut watch);
                prop_assert_eq!(seen.len(), told.len(), "WHO-3");
                for (seen, told) in seen.iter().zip(told.drain(..)) {
                    let of_this_step = now.contains(seen) && now.contains(&told);
                    prop_assert!(*seen == told || of_this_step, "WHO-3: {:?}, {:?}", seen, told);
                }
            }
        }
    }
}
