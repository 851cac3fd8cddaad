//! PRG, QUE-2 and QUE-3: a sink that does not return delays no other call, and the broadcasts that
//! wait behind it are bounded.

use crate::kit::*;
use registry_core::{
    CloseReason, Encoded, Message, Next, OutboxOptions, Registration, RegistryOptions, SendOutcome,
    Sink, SubscriberRegistry, WireFormat,
};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Waker};
use std::thread;

/// Runs `meanwhile`, which does nothing but wait, while a sink is stuck in `send` on another
/// thread.
fn while_stuck(
    options: RegistryOptions,
    meanwhile: impl FnOnce(&Registry, &Probe) + Send + 'static,
) {
    works_while_stuck(options, |registry, stuck, _| meanwhile(registry, stuck));
}

/// Runs `meanwhile`, which may take long, while a sink is stuck in `send` on another thread.
fn works_while_stuck(
    options: RegistryOptions,
    meanwhile: impl FnOnce(&Registry, &Probe, &Steps) + Send + 'static,
) {
    works(move |steps| {
        let registry = encoding_with(options);
        let (stop, park) = Stop::new();
        let stuck = Probe::sending(move |n| {
            if n == 0 {
                park();
            }
            SendOutcome::Accepted
        });
        let _stuck = join(&registry, &stuck, group("stuck"));
        thread::scope(|scope| {
            scope.spawn(|| registry.broadcast("c", 0).unwrap());
            stop.arrived();
            meanwhile(&registry, &stuck, steps);
            drop(stop);
        });
    });
}

#[test]
fn prg_1_a_revocation_completes_while_another_sink_is_stuck() {
    while_stuck(RegistryOptions::new(), |registry, stuck| {
        let probe = Probe::new();
        let _probe = join(registry, &probe, group("a"));
        let mut outbox = open(registry, group("a"));
        registry.broadcast("c", 1).unwrap();
        assert_eq!(registry.close_by_identity(id("a")), 2);
        assert_eq!(
            probe.events(),
            [Event::Closed(CloseReason::Revoked)],
            "its message waited behind the stuck sink"
        );
        assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Revoked)));
        assert_eq!(stuck.closed(), []);
    });
}

#[test]
fn prg_2_a_revocation_completes_while_the_revoked_sink_is_stuck() {
    while_stuck(RegistryOptions::new(), |registry, stuck| {
        assert_eq!(registry.close_by_identity(id("stuck")), 1);
        assert_eq!(stuck.events(), [Event::Sent(0), Event::Closed(CloseReason::Revoked)]);
    });
}

#[test]
fn prg_3_and_que_2_a_broadcast_waits_for_no_stuck_sink_and_outboxes_get_it_at_once() {
    while_stuck(RegistryOptions::new(), |registry, stuck| {
        let probe = Probe::new();
        let guard = join(registry, &probe, Registration::new());
        let mut outbox = open(registry, Registration::new());
        let report = registry.broadcast("c", 1).unwrap();
        assert_eq!((report.matched, report.accepted, report.pending), (3, 1, 2));
        assert_eq!((frames(&mut outbox), probe.sent(), stuck.sent()), (vec![1], vec![], vec![0]));
        // Every other operation works too.
        guard.unsubscribe();
        assert_eq!(registry.stats().subscribers, 2);
        assert_eq!(registry.begin_shutdown(), 2);
    });
}

#[test]
fn del_1_broadcasts_behind_a_stuck_sink_are_delivered_when_it_returns() {
    let probe = Probe::new();
    let seen = probe.clone();
    while_stuck(RegistryOptions::new(), move |registry, _| {
        let guard = join(registry, &seen, Registration::new());
        (1..=3).for_each(|n| assert_eq!(registry.broadcast("c", n).unwrap().pending, 2));
        Box::leak(Box::new(guard)); // It must outlive the stop.
    });
    assert_eq!(probe.sent(), [1, 2, 3]);
}

#[test]
fn que_3_the_broadcasts_behind_a_stuck_sink_are_bounded_and_counted() {
    while_stuck(RegistryOptions::new().with_max_waiting_broadcasts(size(10)), |registry, _| {
        let mut outbox = open(registry, Registration::new());
        let _others = [(); 2].map(|()| join(registry, &Probe::new(), hears(&["c"])));
        for n in 1..=30 {
            let report = registry.broadcast("c", n).unwrap();
            let counts = (report.accepted, report.pending, report.dropped);
            assert_eq!(counts, if n <= 10 { (1, 3, 0) } else { (1, 0, 3) }, "{n}");
        }
        assert_eq!(registry.stats().dropped, 3 * 20);
        assert_eq!(frames(&mut outbox).len(), 30, "outboxes get them all the same");
    });
}

#[test]
fn que_3_a_lane_without_a_matching_subscriber_keeps_no_broadcast() {
    let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), |_: &Arc<()>| {
        Ok(Encoded::text("1"))
    });
    let payload = Arc::new(());
    let mut outbox = registry.open_outbox(&RAW, OutboxOptions::new(), hears(&["outbox"])).unwrap();
    let _sink = registry.subscribe(Accepting, Some(&["sink"]), None).unwrap();
    for (channel, accepted) in [("outbox", 1), ("sink", 1), ("no subscriber", 0)] {
        let report = registry.broadcast(channel, payload.clone()).unwrap();
        assert_eq!((report.accepted, Arc::strong_count(&payload)), (accepted, 1), "{channel}");
    }
    assert_eq!(frames(&mut outbox), [1]);
}

struct Accepting;

impl Sink<Arc<()>> for Accepting {
    fn send(&self, _: &Arc<Message<Arc<()>>>) -> SendOutcome {
        SendOutcome::Accepted
    }

    fn close(&self, _: CloseReason) {}
}

#[test]
fn que_3_subscribers_that_join_and_leave_behind_a_stuck_sink_leave_nothing() {
    works_while_stuck(RegistryOptions::new(), |registry, stuck, steps| {
        let stay = Probe::new();
        let stayer = join(registry, &stay, Registration::new());
        let churn = |rounds: usize| {
            for _ in 0..rounds {
                let guards: Vec<_> =
                    (0..3).map(|_| join(registry, &Probe::new(), hears(&["a", "b"]))).collect();
                drop(guards);
                steps.step();
            }
        };
        churn(1_000);
        // Six entries a round, and the log is compacted whenever it has grown by about a thousand.
        let grown = allocation_counter::measure(|| churn(4_000));
        assert!(grown.bytes_current < 256 << 10, "the log grows: {grown:?}");
        assert_eq!(registry.broadcast("c", 1).unwrap().pending, 2);
        stayer.unsubscribe();
        assert_eq!((stay.events(), stuck.sent()), (vec![], vec![0]));
    });
}

#[test]
fn que_3_subscribers_that_join_and_leave_behind_many_broadcasts_leave_nothing_and_stay_cheap() {
    works_while_stuck(RegistryOptions::new(), |registry, _, steps| {
        let one = || {
            drop(join(registry, &Probe::new(), hears(&["a"])));
            steps.step();
        };
        let churn = || (0..5_000).for_each(|_| one());
        let alone = allocation_counter::measure(churn);
        (1..=1_500).for_each(|n| assert_eq!(registry.broadcast("c", n).unwrap().pending, 1));
        churn();
        let behind = allocation_counter::measure(churn);
        assert!(behind.bytes_current < 128 << 10, "the log grows: {behind:?}");
        // Compacting allocates for every entry of the log.
        assert!(behind.bytes_total < 2 * alone.bytes_total, "{behind:?} against {alone:?}");
    });
}

#[test]
fn que_3_a_sink_that_is_stuck_again_keeps_no_more_than_the_first_time() {
    works(|steps| {
        let registry = Registry::new();
        let (stops, parks): (Vec<_>, Vec<_>) = [Stop::new(), Stop::new()].into_iter().unzip();
        let stuck = Probe::sending(move |n| {
            if let Some(park) = parks.get(n as usize) {
                park();
            }
            SendOutcome::Accepted
        });
        let _stuck = join(&registry, &stuck, Registration::new());
        let churn = || {
            (0..3_000).for_each(|_| {
                drop(join(&registry, &Probe::new(), hears(&["a"])));
                steps.step();
            });
        };
        // In the first round many broadcasts wait, so that the log is compacted only when it is
        // long.
        for ((first, waiting), stop) in (0..).zip([6_000, 0]).zip(stops) {
            thread::scope(|scope| {
                scope.spawn(|| registry.broadcast("c", first).unwrap());
                stop.arrived();
                for n in 0..waiting {
                    assert_eq!(registry.broadcast("c", 10 + n).unwrap().pending, 1);
                }
                let grown = allocation_counter::measure(churn);
                assert!(waiting > 0 || grown.bytes_current < 128 << 10, "it grows: {grown:?}");
                drop(stop);
            });
        }
        assert_eq!(stuck.sent().len(), 6_002);
    });
}

#[test]
fn que_3_subscribers_that_left_behind_a_stuck_sink_cost_nothing_afterwards() {
    finishes(|| {
        let registry = Registry::new();
        let (stop, park) = Stop::new();
        let stuck = Probe::sending(move |n| {
            if n == 0 {
                park();
            }
            SendOutcome::Accepted
        });
        let _stuck = join(&registry, &stuck, Registration::new());
        let crowd: Vec<_> =
            (0..50).map(|_| join(&registry, &Probe::new(), Registration::new())).collect();
        thread::scope(|scope| {
            scope.spawn(|| registry.broadcast("c", 0).unwrap());
            stop.arrived();
            drop(crowd);
            drop(stop);
        });
        let before = registry.stats().visits;
        assert_eq!(registry.broadcast("c", 1).unwrap().accepted, 1);
        assert_eq!(registry.stats().visits - before, 1, "it visited former subscribers");
        assert_eq!(stuck.sent(), [0, 1]);
    });
}

#[test]
fn que_3_compaction_keeps_the_order_of_the_remaining_entries() {
    let (stayed, left) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (note_stayed, note_left) = (stayed.clone(), left.clone());
    works_while_stuck(RegistryOptions::new(), move |registry, _, steps| {
        for n in 1..=1_500 {
            // Keys and channel numbers are reused, at times by a subscriber that stays.
            let leaves = Probe::new();
            let name = format!("{n}");
            let guard = join(registry, &leaves, hears(&[&name]));
            registry.broadcast(&name, n).unwrap();
            drop(guard);
            steps.step();
            assert_eq!(Arc::strong_count(&leaves), 1, "the log keeps the sink");
            note_left.lock().unwrap().push(leaves);
            if n % 100 == 0 {
                let stays = Probe::new();
                Box::leak(Box::new(join(registry, &stays, Registration::new())));
                note_stayed.lock().unwrap().push((stays, n + 1));
            }
        }
    });
    let left = left.lock().unwrap();
    assert!(left.len() == 1_500 && left.iter().all(|probe| probe.events().is_empty()));
    let stayed = stayed.lock().unwrap();
    assert_eq!(stayed.len(), 15);
    for (probe, from) in stayed.iter() {
        assert_eq!(probe.sent(), (*from..=1_500).collect::<Vec<_>>());
    }
}

#[test]
fn del_1_a_subscriber_that_joins_and_leaves_before_sinks_are_served_loses_no_message() {
    let registry = encoding();
    let probe = Probe::new();
    let _probe = join(&registry, &probe, Registration::new());
    let mut outbox = open(&registry, Registration::new());
    // Owners are woken before sinks are served.
    let inner = registry.clone();
    let waker = Waker::from(Arc::new(OnWake(move || {
        drop(join(&inner, &Probe::new(), Registration::new()))
    })));
    assert!(outbox.poll_next(&mut Context::from_waker(&waker), 1).is_pending());
    assert_eq!(registry.broadcast("c", 1).unwrap().accepted, 2);
    assert_eq!((probe.sent(), registry.len()), (vec![1], 2));
}

#[test]
fn que_2_a_broadcast_that_only_outboxes_hear_serves_no_sink() {
    let registry = encoding();
    let probe = Probe::new();
    let _probe = join(&registry, &probe, hears(&["both"]));
    let mut outbox = open(&registry, Registration::new());
    let seen = Arc::new(Mutex::new(None));
    let (inner, sink, sent) = (registry.clone(), probe.clone(), seen.clone());
    // Owners are woken before sinks are served.
    let waker = Waker::from(Arc::new(OnWake(move || {
        assert_eq!(inner.broadcast("outboxes", 2).unwrap().accepted, 1);
        *sent.lock().unwrap() = Some(sink.sent());
    })));
    assert!(outbox.poll_next(&mut Context::from_waker(&waker), 1).is_pending());
    assert_eq!(registry.broadcast("both", 1).unwrap().accepted, 2);
    assert_eq!(
        *seen.lock().unwrap(),
        Some(vec![]),
        "a publisher to outboxes ran the sinks of another"
    );
    assert_eq!((frames(&mut outbox), probe.sent()), (vec![1, 2], vec![1]));
}

#[test]
fn sub_7_a_log_that_grew_behind_a_publisher_frees_its_memory() {
    static PARKS: Mutex<Vec<Box<dyn Fn() + Send + Sync>>> = Mutex::new(Vec::new());
    static SLOW: WireFormat = WireFormat::new("slow", |_, encoded, out| {
        let park = PARKS.lock().unwrap().pop();
        if let Some(park) = park {
            park();
        }
        out.extend_from_slice(encoded.body());
    });
    works(|steps| {
        let registry = encoding();
        let _slow = registry.open_outbox(&SLOW, OutboxOptions::new(), hears(&["slow"])).unwrap();
        // While the publisher is stuck, many subscribers leave. Their entries make the log of
        // outboxes grow, and it must allocate that memory again in each round.
        let mut needed = Vec::new();
        for round in 0..4 {
            let crowd: Vec<_> = (0..5_000)
                .map(|_| {
                    steps.step();
                    open(&registry, Registration::new())
                })
                .collect();
            let (stop, park) = Stop::new();
            PARKS.lock().unwrap().push(Box::new(park));
            thread::scope(|scope| {
                let publisher = scope.spawn(|| registry.broadcast("slow", round).unwrap());
                stop.arrived();
                let leave = || crowd.iter().for_each(|one| one.subscription().unsubscribe());
                needed.push(allocation_counter::measure(leave).bytes_max);
                drop(stop);
                publisher.join().unwrap();
            });
        }
        let (least, most) = (needed.iter().min().unwrap(), needed.iter().max().unwrap());
        assert!(*least > 100_000 && *least > most / 2, "the memory was kept: {needed:?}");
    });
}

#[test]
fn que_2_a_broadcast_that_only_sinks_hear_waits_for_no_outbox() {
    static PARK: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();
    static SLOW: WireFormat = WireFormat::new("slow", |_, encoded, out| {
        PARK.get().unwrap()();
        out.extend_from_slice(encoded.body());
    });
    let (stop, park) = Stop::new();
    assert!(PARK.set(Box::new(park)).is_ok());
    let registry = encoding();
    let probe = Probe::new();
    let _probe = join(&registry, &probe, hears(&["sinks"]));
    let mut outbox =
        registry.open_outbox(&SLOW, OutboxOptions::new(), hears(&["outboxes"])).unwrap();
    let seen = probe.clone();
    finishes(move || {
        thread::scope(|scope| {
            let filling = scope.spawn(|| registry.broadcast("outboxes", 1).unwrap());
            stop.arrived();
            assert_eq!(registry.broadcast("sinks", 2).unwrap().accepted, 1);
            assert_eq!(poll(&mut outbox), None, "it waited until the outbox was filled");
            drop(stop);
            assert_eq!(filling.join().unwrap().accepted, 1);
        });
        assert_eq!((frames(&mut outbox), seen.sent()), (vec![1], vec![2]));
    });
}
