//! SUB: the life of a subscription, and the memory that remains after it.

use crate::kit::*;
use crate::wire::{BARE, flush, serve, wired_with, with_flusher};
use registry_core::{
    ChannelFilter, CloseReason, Flusher, LaneOptions, Outbox, OutboxOptions, Registration,
    RegistryOptions, Revocation, Subscription,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

#[test]
fn sub_1_and_cnt_2_a_valid_subscribe_succeeds_and_is_counted() {
    let registry = encoding();
    assert!(registry.is_empty());
    let first = registry.subscribe(Probe::new(), None, None).unwrap();
    let second = registry.subscribe(Probe::new(), Some(&["a"]), Some("ada")).unwrap();
    let outbox = open(&registry, group("a"));
    assert_eq!((registry.len(), registry.clone().len()), (3, 3));
    let ids = [first.id(), second.id(), outbox.subscription().id()];
    assert_eq!(ids.map(|id| id.serial()), [1, 2, 3], "in the order of their admission");
    drop((first, outbox));
    assert_eq!(registry.len(), 1);
    assert_eq!(
        open(&registry, group("a")).subscription().id().serial(),
        4,
        "the id of an earlier subscriber"
    );
}

#[test]
fn sub_2_unsubscribe_is_idempotent_and_ends_no_other_subscriber() {
    let registry = Registry::with_options(capped(1));
    let left_before = join(&registry, &Probe::new(), Registration::new());
    left_before.unsubscribe();
    let revoked = join(&registry, &Probe::new(), group("a"));
    registry.close_by_identity(id("a"));
    let evicted = join(&registry, &Probe::new(), scope("s"));
    // These get the keys of the three.
    let heirs: Vec<_> = (0..4).map(|_| Probe::new()).collect();
    let _scoped = join(&registry, &heirs[0], scope("s"));
    let _guards: Vec<_> =
        heirs[1..].iter().map(|heir| join(&registry, heir, Registration::new())).collect();
    for ended in [&left_before, &revoked, &evicted] {
        ended.unsubscribe();
        ended.unsubscribe();
    }
    drop((left_before, revoked, evicted));
    assert_eq!(registry.len(), 4);
    registry.broadcast("c", 1).unwrap();
    assert!(heirs.iter().all(|heir| heir.events() == [Event::Sent(1)]));
}

#[test]
fn sub_3_and_sub_4_after_unsubscribe_nothing_is_sent_and_nothing_closed() {
    let registry = Registry::new();
    let probe = Probe::new();
    let subscription = join(&registry, &probe, group("a"));
    registry.broadcast("c", 1).unwrap();
    subscription.unsubscribe();
    assert_eq!(registry.broadcast("c", 2).unwrap().matched, 0);
    assert_eq!(registry.close_by_identity(id("a")), 0);
    registry.begin_shutdown();
    drop(registry);
    assert_eq!(probe.events(), [Event::Sent(1)], "CLO-2 and CLO-3: no close");
}

#[test]
fn sub_3_after_unsubscribe_nothing_is_sent_by_a_broadcast_in_progress() {
    let registry = Registry::new();
    let (stop, park) = Stop::new();
    let stuck = Probe::sending(move |_| {
        park();
        registry_core::SendOutcome::Accepted
    });
    let _stuck = join(&registry, &stuck, hears(&["stuck"]));
    let probe = Probe::new();
    let subscription = join(&registry, &probe, hears(&["c"]));
    finishes(move || {
        std::thread::scope(|scope| {
            scope.spawn(|| registry.broadcast("stuck", 0).unwrap());
            stop.arrived();
            assert_eq!(
                registry.broadcast("c", 1).unwrap().pending,
                1,
                "it waits behind the stuck sink"
            );
            subscription.unsubscribe();
            drop(stop);
        });
    });
    assert_eq!(probe.events(), []);
}

#[test]
fn sub_5_one_sink_registered_twice_is_two_subscribers() {
    let registry = Registry::new();
    let probe = Probe::new();
    let first = join(&registry, &probe, group("a"));
    let _second = join(&registry, &probe, group("a"));
    registry.broadcast("c", 1).unwrap();
    first.unsubscribe();
    registry.broadcast("c", 2).unwrap();
    assert_eq!(registry.close_by_identity(id("a")), 1);
    assert_eq!(probe.sent(), [1, 1, 2]);
    assert_eq!(probe.closed(), [CloseReason::Revoked]);
}

#[test]
fn sub_6_dropping_the_guard_unsubscribes_and_leaking_it_is_safe() {
    let registry = encoding();
    let probe = Probe::new();
    drop(join(&registry, &probe, Registration::new()));
    drop(open(&registry, Registration::new()));
    assert_eq!((registry.len(), registry.broadcast("c", 1).unwrap().matched), (0, 0));
    Box::leak(Box::new(join(&registry, &probe, Registration::new())));
    registry.broadcast("c", 2).unwrap();
    drop(registry);
    assert_eq!(probe.events(), [Event::Sent(2), Event::Closed(CloseReason::Shutdown)]);
}

/// Ends one subscriber in each possible way. The handle is kept, the sink is not.
#[test]
fn sub_7_no_end_keeps_the_sink() {
    type End = fn(&Registry, &Subscription);
    let ends: [(&str, End); 5] = [
        ("unsubscribed", |_, guard| guard.unsubscribe()),
        ("revoked", |registry, _| assert_eq!(registry.close_by_identity(id("a")), 1)),
        ("evicted", |registry, _| drop(join(registry, &Probe::new(), scope("s")))),
        ("failed", |registry, _| assert_eq!(registry.broadcast("c", 1).unwrap().failed, 1)),
        ("shut down", |registry, _| assert_eq!(registry.begin_shutdown(), 1)),
    ];
    for (name, end) in ends {
        let registry = Registry::with_options(capped(1));
        let probe = Probe::sending(|_| registry_core::SendOutcome::Failed);
        let guard = join(
            &registry,
            &probe,
            scope("s").with_group(id("a")).with_filter(ChannelFilter::only(["c"])),
        );
        let weak = Arc::downgrade(&probe);
        drop(probe);
        end(&registry, &guard);
        assert!(weak.upgrade().is_none(), "{name}: the sink is kept");
        let stats = registry.stats();
        assert_eq!((stats.subscribers, stats.channels_named), (0, 0), "{name}");
    }
}

/// Ends one of two outboxes: the one that holds the scope "s" and the group "a" and has no room for
/// another message. Returns how many of the two remain.
type End = fn(&Registry, &Outbox, &mut Option<Flusher<u32>>) -> usize;

const ENDS: [(&str, CloseReason, End); 10] = [
    ("unsubscribed", CloseReason::Unsubscribed, |_, outbox, _| {
        outbox.subscription().unsubscribe();
        1
    }),
    ("revoked", CloseReason::Revoked, |registry, _, _| registry.close_by_identity(id("a"))),
    ("logged out", CloseReason::LoggedOut, |registry, _, _| {
        registry.close_by_identity_as(id("s"), Revocation::LoggedOut)
    }),
    ("evicted", CloseReason::Evicted, |registry, _, _| {
        drop(join(registry, &Probe::new(), scope("s").with_filter(none())));
        1
    }),
    ("ended by its owner", CloseReason::Heartbeat, |_, outbox, _| {
        outbox.close(CloseReason::Heartbeat);
        1
    }),
    ("ended from elsewhere", CloseReason::Expired, |_, outbox, _| {
        outbox.close_handle().close(CloseReason::Expired);
        1
    }),
    ("drained by its owner", CloseReason::Shutdown, |_, outbox, _| {
        outbox.close(CloseReason::Shutdown);
        1
    }),
    ("lagged", CloseReason::Lagged, |registry, _, flusher| {
        registry.broadcast("only it", 1).unwrap();
        flusher.as_mut().map(serve);
        1
    }),
    ("shut down", CloseReason::Shutdown, |registry, _, _| registry.begin_shutdown() - 2),
    ("ended with its flusher", CloseReason::Failed, |_, _, flusher| {
        *flusher = None;
        0
    }),
];

fn none() -> ChannelFilter {
    ChannelFilter::Only(BTreeSet::new())
}

#[test]
fn cnt_2_and_sub_7_an_outbox_that_ended_in_any_way_is_no_longer_counted_listed_served_or_kept() {
    for flushed in [false, true] {
        for (name, reason, end) in
            ENDS.into_iter().filter(|(_, reason, _)| flushed || *reason != CloseReason::Failed)
        {
            let case = format!("{name}, with a flusher: {flushed}");
            let registry = encoding_with(capped(1));
            let mut flusher = flushed.then(|| registry.open_lane(LaneOptions::new()));
            let options = if flushed { with_flusher() } else { OutboxOptions::new() };
            let ending = hears(&["c", "only it"]).with_scope(id("s")).with_group(id("a"));
            let (outbox, socket) =
                wired_with(&registry, &BARE, options.with_max_messages(size(1)), ending);
            let (stays, its_socket) = wired_with(&registry, &BARE, options, hears(&["c"]));
            socket.set_room(0);
            assert_eq!(registry.broadcast("only it", 1).unwrap().accepted, 1);
            flusher.as_mut().map(serve);
            let counts = || {
                let stats = registry.stats();
                assert_eq!((stats.unfiltered, stats.subscribers), (0, registry.len()));
                let channels = (stats.channels_named, listed(&registry));
                (stats.subscribers, stats.formats["bare"], stats.in_lanes, channels)
            };
            let both = [("c", 2), ("only it", 1)].map(owned).to_vec();
            assert_eq!(counts(), (2, 2, if flushed { 2 } else { 0 }, (2, both)));

            let left = end(&registry, outbox.outbox(), &mut flusher);
            let rest = [("c", left)].map(owned)[..left].to_vec();
            assert_eq!(
                counts(),
                (left, left, if flushed { left } else { 0 }, (left, rest)),
                "{case}"
            );
            assert_eq!(registry.stats().ended.get(&reason), Some(&(2 - left as u64)), "{case}");

            flusher.as_mut().map(serve);
            let before = registry.stats().visits;
            assert_eq!(registry.broadcast("c", 2).unwrap().accepted, left);
            flusher.as_mut().map(serve);
            assert_eq!(
                registry.stats().visits - before,
                left as u64,
                "{case}: its book still has it"
            );
            flush(&stays);
            assert_eq!((its_socket.values(), socket.bytes()), (vec![2; left], vec![]), "{case}");

            drop(outbox);
            flusher.as_mut().map(serve);
            assert_eq!(Arc::strong_count(&socket), 1, "{case}: its wire is kept");
            let drains = usize::from(name == "shut down");
            assert_eq!((registry.stats().draining, registry.stats().wired), (drains, 1), "{case}");
        }
    }
}

#[test]
fn cnt_2_and_sub_7_a_sink_that_ended_in_any_way_is_no_longer_counted_listed_or_served() {
    type EndOfSink = fn(&Registry, &Subscription);
    let ends: [(&str, CloseReason, EndOfSink); 6] = [
        ("unsubscribed", CloseReason::Unsubscribed, |_, guard| guard.unsubscribe()),
        ("revoked", CloseReason::Revoked, |registry, _| {
            assert_eq!(registry.close_by_identity(id("a")), 1)
        }),
        ("logged out", CloseReason::LoggedOut, |registry, _| {
            assert_eq!(registry.close_by_identity_as(id("s"), Revocation::LoggedOut), 1);
        }),
        ("evicted", CloseReason::Evicted, |registry, _| {
            drop(open(registry, scope("s").with_filter(none())))
        }),
        ("failed", CloseReason::Failed, |registry, _| {
            assert_eq!(registry.broadcast("only it", 1).unwrap().failed, 1)
        }),
        ("shut down", CloseReason::Shutdown, |registry, _| {
            assert_eq!(registry.begin_shutdown(), 2)
        }),
    ];
    for (name, reason, end) in ends {
        let registry = encoding_with(capped(1));
        let (ended, stays) = (Probe::sending(|_| registry_core::SendOutcome::Failed), Probe::new());
        let guard = join(
            &registry,
            &ended,
            hears(&["c", "only it"]).with_scope(id("s")).with_group(id("a")),
        );
        let _stays = join(&registry, &stays, hears(&["c"]));
        end(&registry, &guard);
        let left = usize::from(name != "shut down");
        let stats = registry.stats();
        let counts =
            (stats.subscribers, stats.formats["sink"], stats.channels_named, stats.draining);
        assert_eq!(counts, (left, left, left, 0), "{name}");
        assert_eq!(listed(&registry), [("c", left)].map(owned)[..left], "{name}");
        assert_eq!(stats.ended.get(&reason), Some(&(2 - left as u64)), "{name}: {stats:?}");
        let (before, report) = (registry.stats().visits, registry.broadcast("c", 2).unwrap());
        assert_eq!(
            (report.accepted, registry.stats().visits - before),
            (left, left as u64),
            "{name}: its book has it"
        );
        assert_eq!(stays.sent(), vec![2; left]);
    }
}

fn owned((name, count): (&str, usize)) -> (String, usize) {
    (name.to_owned(), count)
}

/// The channels that are listed, and how many subscribers name each.
fn listed(registry: &Registry) -> Vec<(String, usize)> {
    let page = registry.channels(None, usize::MAX);
    assert_eq!(registry.stats().channels_named, page.len());
    page.into_iter().map(|count| (count.channel.to_string(), count.subscribers)).collect()
}

#[test]
fn sub_7_a_sink_revoked_while_it_is_stuck_is_dropped_when_it_returns() {
    let registry = Registry::new();
    let (stop, park) = Stop::new();
    let stuck = Probe::sending(move |_| {
        park();
        registry_core::SendOutcome::Accepted
    });
    let weak = Arc::downgrade(&stuck);
    let _guard = join(&registry, &stuck, group("a"));
    drop(stuck);
    finishes(move || {
        std::thread::scope(|scope| {
            scope.spawn(|| registry.broadcast("c", 0).unwrap());
            stop.arrived();
            assert_eq!(registry.close_by_identity(id("a")), 1);
            drop(stop);
        });
    });
    assert!(weak.upgrade().is_none());
}

#[test]
fn sub_7_the_registry_frees_the_names_of_subscribers_that_left() {
    const CROWD: usize = 500;
    let registry = encoding_with(capped(4));
    let mut flusher = registry.open_lane(LaneOptions::new());
    let (_outbox, _sink) =
        (open(&registry, scope("stays")), join(&registry, &Probe::new(), scope("stays")));
    let mut round = |number: usize| {
        let crowd: Vec<_> = (0..CROWD)
            .map(|n| {
                let name = format!("{number} {n}");
                let registration = hears(&[&name, "all"])
                    .with_scope(id(&name))
                    .with_group(id(&format!("group {name}")));
                let outbox = open(&registry, registration.clone());
                let flushed =
                    registry.open_outbox(&BARE, with_flusher(), registration.clone()).unwrap();
                (outbox, flushed, join(&registry, &Probe::new(), registration))
            })
            .collect();
        assert_eq!(registry.broadcast("all", 1).unwrap().matched, 3 * CROWD + 2);
        serve(&mut flusher);
        // Half of them leave, and half are revoked.
        for n in 0..CROWD / 2 {
            assert_eq!(registry.close_by_identity(id(&format!("group {number} {n}"))), 3);
        }
        drop(crowd);
        serve(&mut flusher);
        assert_eq!(registry.broadcast("all", 1).unwrap().matched, 2);
    };
    round(0); // Here the registry allocates its buffers.
    let grown = allocation_counter::measure(|| round(1));
    assert!(grown.bytes_max > 200 * CROWD as u64, "the measure sees nothing: {grown:?}");
    assert!(grown.bytes_current < 16 << 10, "memory was kept: {grown:?}");
}

#[test]
fn sub_7_a_channel_that_a_crowd_has_left_keeps_no_room_for_it() {
    let registry = encoding();
    let names: Vec<String> = (0..50).map(|n| format!("c{n}")).collect();
    // This subscriber names all of the channels.
    let _stays = open(&registry, hears(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    let crowd = |name: &String| {
        let crowd: Vec<_> = (0..1_000).map(|_| open(&registry, hears(&[name]))).collect();
        assert_eq!(registry.broadcast(name, 1).unwrap().accepted, 1_001);
        drop(crowd);
    };
    crowd(&names[0]); // Here the registry allocates its buffers.
    let grown = allocation_counter::measure(|| names[1..].iter().for_each(crowd));
    assert!(grown.bytes_current < 64 << 10, "memory was kept: {grown:?}");
}

#[test]
fn sub_7_memory_returns_to_where_it_was() {
    const CROWD: usize = 10_000;
    let registry = encoding_with(capped(4));
    let come_and_go = |crowd: usize| {
        let outboxes = Mutex::new(Vec::new());
        let guards: Vec<_> = (0..crowd)
            .map(|n| {
                let names = ChannelFilter::only([format!("channel-{n}"), "all".to_owned()]);
                let registration = scope(&format!("s-{}", n / 2))
                    .with_group(id(&format!("g-{n}")))
                    .with_group(id("all"));
                let registration = registration.with_filter(names);
                outboxes.lock().unwrap().push(open(&registry, registration.clone()));
                join(&registry, &Probe::new(), registration)
            })
            .collect();
        assert_eq!(registry.broadcast("all", 1).unwrap().accepted, 2 * crowd);
        assert_eq!(registry.close_by_identity(id("g-0")), 2);
        drop((guards, outboxes));
        assert!(registry.is_empty());
    };
    come_and_go(1);
    let grown = allocation_counter::measure(|| come_and_go(CROWD));
    assert!(grown.bytes_max > 1_000 * CROWD as u64, "the measure sees nothing: {grown:?}");
    assert!(grown.bytes_current < 32 << 10, "memory was kept: {grown:?}");
}

#[test]
fn clo_1_every_hook_is_called_once_in_the_order_in_which_they_were_added() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let hook = |name: &'static str| {
        let ends = ends.clone();
        move |reason: CloseReason| ends.lock().unwrap().push((name, reason))
    };
    let made = hook("of the registry");
    let options = RegistryOptions::new().with_end_hooks(move || Some(made.clone()));
    let registry = encoding_with(options);
    let outbox = open(&registry, group("a"));
    outbox.on_end(|_| panic!("a bug of the application"));
    outbox.on_end(hook("of its owner"));
    let probe = Probe::new();
    let _sink = join(&registry, &probe, group("a"));
    registry.begin_shutdown();
    assert_eq!(registry.close_by_identity(id("a")), 0);
    use CloseReason::{Revoked, Shutdown};
    let of = |reason| [("of the registry", reason), ("of its owner", reason)];
    let sinks = [("of the registry", Shutdown)];
    let mut expected = [&of(Shutdown)[..], &sinks, &of(Revoked)].concat();
    assert_eq!(*ends.lock().unwrap(), expected);
    outbox.on_end(hook("too late"));
    expected.push(("too late", Revoked));
    assert_eq!(*ends.lock().unwrap(), expected, "at once, and alone");
}

#[test]
fn sub_4_no_hook_is_called_for_a_sink_that_left() {
    let called = Arc::new(Mutex::new(0));
    let count = called.clone();
    let options = RegistryOptions::new().with_end_hooks(move || {
        let count = count.clone();
        Some(move |_| *count.lock().unwrap() += 1)
    });
    let registry = encoding_with(options);
    let sink = join(&registry, &Probe::new(), group("a"));
    drop(sink);
    assert_eq!(*called.lock().unwrap(), 0);
}

#[test]
fn clo_1_hooks_of_two_makers_are_both_called_and_streams_have_none() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let maker = |name: &'static str| {
        let ends = ends.clone();
        move || {
            let ends = ends.clone();
            // The second maker has none for the first subscriber.
            let absent = name == "second" && ends.lock().unwrap().is_empty();
            (!absent).then_some(move |_| ends.lock().unwrap().push(name))
        }
    };
    let broken = || -> Option<fn(CloseReason)> { panic!("a bug of the application") };
    let options = RegistryOptions::new()
        .with_end_hooks(maker("first"))
        .with_end_hooks(broken)
        .with_end_hooks(maker("second"));
    let registry = encoding_with(options);
    for expected in [&["first"][..], &["first", "first", "second"]] {
        let _outbox = open(&registry, group("a"));
        let _stream = registry.stream(group("a"), OutboxOptions::new()).unwrap();
        assert_eq!(registry.close_by_identity(id("a")), 2);
        assert_eq!(*ends.lock().unwrap(), expected);
    }
}
