//! CON, and other requirements when several threads use a registry. No assertion depends on the
//! schedule; each round is another chance to see a wrong interleaving.

use crate::kit::*;
use registry_core::{
    AdmitError, CloseReason, Next, Outbox, Registration, SendOutcome, Subscription,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

#[test]
fn rev_1_of_two_revocations_at_once_none_returns_before_the_gates_are_shut() {
    for _ in 0..5 {
        let registry = encoding();
        let mut outboxes: Vec<_> =
            (0..500).map(|_| open(&registry, group("a").with_group(id("b")))).collect();
        // The queues are full, so that it takes longer to end the outboxes than to find that no
        // holder is left.
        (0..200).for_each(|n| assert_eq!(registry.broadcast("c", n).unwrap().accepted, 500));
        let start = Barrier::new(2);
        let revoke = |name: &str, outboxes: &mut [Outbox]| {
            start.wait();
            let counted = registry.close_by_identity(id(name));
            let open = outboxes.iter_mut().rev().map(ended).filter(Option::is_none).count();
            assert_eq!(open, 0, "it returned before all were ended");
            counted
        };
        let counted = thread::scope(|scope| {
            let (some, others) = outboxes.split_at_mut(250);
            let other = scope.spawn(|| revoke("b", others));
            revoke("a", some) + other.join().unwrap()
        });
        assert_eq!(counted, 500);
    }
}

#[test]
fn cnt_1_parallel_revocations_add_up_and_close_once() {
    const THREADS: usize = 4;
    for _ in 0..50 {
        let registry = Registry::new();
        let probes: Vec<_> = (0..200).map(|_| Probe::new()).collect();
        let guards: Vec<_> = probes
            .iter()
            .enumerate()
            .map(|(n, probe)| {
                let names = (0..THREADS).filter(|t| n % (t + 2) == 0).map(|t| id(&format!("{t}")));
                join(&registry, probe, group("all").with_groups(names))
            })
            .collect();
        let start = Barrier::new(THREADS);
        let counted: usize = thread::scope(|scope| {
            let revoke = |n: usize| {
                start.wait();
                registry.close_by_identity(id(&format!("{n}")))
                    + registry.close_by_identity(id("all"))
            };
            let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || revoke(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((counted, registry.len()), (probes.len(), 0));
        assert!(probes.iter().all(|probe| probe.closed() == [CloseReason::Revoked]));
        drop(guards);
    }
}

#[test]
fn con_2_an_unsubscribe_racing_a_revocation_is_closed_and_counted_or_neither() {
    for _ in 0..300 {
        let registry = Registry::new();
        let probes: Vec<_> = (0..40).map(|_| Probe::new()).collect();
        let guards: Vec<_> =
            probes.iter().map(|probe| join(&registry, probe, group("a"))).collect();
        let start = Barrier::new(2);
        let counted = thread::scope(|scope| {
            let revoking = scope.spawn(|| {
                start.wait();
                registry.close_by_identity(id("a"))
            });
            start.wait();
            guards.iter().rev().for_each(Subscription::unsubscribe);
            revoking.join().unwrap()
        });
        let closed: usize = probes.iter().map(|probe| probe.closed().len()).sum();
        assert_eq!(closed, counted);
        assert!(probes.iter().all(|probe| probe.closed().len() <= 1));
        assert_eq!(registry.len(), 0);
        let stats = registry.stats().ended;
        assert_eq!(stats.values().sum::<u64>(), 40);
        assert_eq!(stats.get(&CloseReason::Revoked).copied().unwrap_or(0), counted as u64);
    }
}

#[test]
fn con_2_an_unsubscribe_that_meets_a_revocation_takes_back_neither_its_close_nor_its_count() {
    let registry = Registry::new();
    let (stop, park) = Stop::new();
    let park = Arc::new(park);
    // The revocation waits in its first close: all subscribers have ended, and the others are not
    // notified yet.
    let probes: Vec<_> = (0..3)
        .map(|_| {
            let park = park.clone();
            Probe::closing(move |_| park())
        })
        .collect();
    let guards: Vec<_> = probes.iter().map(|probe| join(&registry, probe, group("a"))).collect();
    finishes(move || {
        let counted = thread::scope(|scope| {
            let revoking = scope.spawn(|| registry.close_by_identity(id("a")));
            stop.arrived();
            assert_eq!(probes.iter().map(|probe| probe.closed().len()).sum::<usize>(), 1);
            guards.iter().for_each(Subscription::unsubscribe);
            drop((guards, stop));
            revoking.join().unwrap()
        });
        assert_eq!((counted, registry.len()), (3, 0));
        assert!(probes.iter().all(|probe| probe.events() == [Event::Closed(CloseReason::Revoked)]));
        assert_eq!(registry.stats().ended, [(CloseReason::Revoked, 3)].into());
    });
}

#[test]
fn con_2_an_unsubscribe_inside_a_close_changes_nothing_for_the_others_of_the_same_revocation() {
    let registry = Registry::new();
    let guards: Arc<Mutex<Vec<Subscription>>> = Arc::default();
    let probes: Vec<_> = (0..3)
        .map(|_| {
            let guards = guards.clone();
            // The subscriber that is notified first unsubscribes the others: two of the same
            // revocation, and one other.
            Probe::closing(move |_| drop(std::mem::take(&mut *guards.lock().unwrap())))
        })
        .collect();
    let other = Probe::new();
    guards.lock().unwrap().extend(probes.iter().map(|probe| join(&registry, probe, group("a"))));
    guards.lock().unwrap().push(join(&registry, &other, group("b")));
    assert_eq!(registry.close_by_identity(id("a")), 3);
    assert_eq!(registry.close_by_identity(id("b")), 0);
    assert!(probes.iter().all(|probe| probe.events() == [Event::Closed(CloseReason::Revoked)]));
    assert_eq!(other.events(), [], "CLO-3");
    assert_eq!(
        registry.stats().ended,
        [(CloseReason::Revoked, 3), (CloseReason::Unsubscribed, 1)].into()
    );
}

#[test]
fn adm_1_an_admission_that_meets_a_revocation_is_refused_or_ended_and_counted() {
    for _ in 0..2_000 {
        let registry = Registry::new();
        let ticket = registry.draw_ticket();
        let start = Barrier::new(2);
        let (admitted, counted) = thread::scope(|scope| {
            let revoking = scope.spawn(|| {
                start.wait();
                registry.close_by_identity(id("ada"))
            });
            start.wait();
            (ticket.admit(Probe::new(), group("ada")), revoking.join().unwrap())
        });
        match admitted {
            Ok(_) => assert_eq!(counted, 1, "the subscriber lives on with a revoked credential"),
            Err(error) => assert_eq!((error, counted), (AdmitError::Revoked, 0)),
        }
        assert_eq!(registry.len(), 0);
    }
}

#[test]
fn cap_1_the_cap_holds_when_threads_subscribe_at_once() {
    let registry = encoding_with(capped(3));
    let probes: Vec<_> = (0..4).map(|_| Probe::new()).collect();
    let mut outboxes: Vec<Outbox> = thread::scope(|threads| {
        let come = |probe| {
            let come = |_| {
                let outbox = open(&registry, scope("s"));
                let _sink = join(&registry, probe, scope("s"));
                assert!(registry.len() <= 3);
                outbox
            };
            (0..200).map(come).collect::<Vec<_>>()
        };
        let threads: Vec<_> =
            probes.iter().map(|probe| threads.spawn(move || come(probe))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let evicted =
        outboxes.iter_mut().map(ended).filter(|why| *why == Some(CloseReason::Evicted)).count();
    let closed: usize = probes.iter().map(|probe| probe.closed().len()).sum();
    assert_eq!(registry.stats().ended[&CloseReason::Evicted], (evicted + closed) as u64);
    assert_eq!(registry.len(), outboxes.len() - evicted, "the sinks were dropped");
}

#[test]
fn ord_3_all_subscribers_see_the_broadcasts_of_many_threads_in_one_order() {
    const EACH: u32 = 300;
    let registry = encoding();
    let probes: Vec<_> = (0..3).map(|_| Probe::new()).collect();
    let _guards: Vec<_> =
        probes.iter().map(|probe| join(&registry, probe, Registration::new())).collect();
    let mut outboxes: Vec<_> = (0..3).map(|_| open(&registry, Registration::new())).collect();
    let seqs: Vec<(u64, u32)> = thread::scope(|scope| {
        let publish = |thread: u32| {
            let numbers = (0..EACH).map(move |n| thread * EACH + n);
            numbers.map(|n| (registry.broadcast("c", n).unwrap().id.seq(), n)).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..3).map(|thread| scope.spawn(move || publish(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut by_id = seqs;
    by_id.sort_unstable();
    let order: Vec<u32> = by_id.into_iter().map(|(_, n)| n).collect();
    for outbox in &mut outboxes {
        assert_eq!(frames(outbox), order);
    }
    for probe in &probes {
        assert_eq!(probe.sent(), order);
    }
}

#[test]
fn del_1_by_return_a_broadcast_stands_in_every_outbox_whichever_thread_filled_it() {
    let registry = encoding();
    thread::scope(|scope| {
        for thread in 0..3 {
            let registry = &registry;
            scope.spawn(move || {
                let name = format!("{thread}");
                let mut outbox = open(registry, hears(&[&name]));
                for n in 0..2_000 {
                    assert_eq!(registry.broadcast(&name, n).unwrap().accepted, 1);
                    assert_eq!(frames(&mut outbox), [n]);
                }
            });
        }
    });
}

#[test]
fn rev_2_nothing_is_accepted_after_a_revocation_returned_while_others_broadcast() {
    let registry = encoding();
    let (over, begun) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                registry.broadcast("c", 1).unwrap();
                begun.store(true, Ordering::SeqCst);
            }
        });
        let raise = Raise(&over);
        while !begun.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        for _ in 0..500 {
            let mut outboxes: Vec<Outbox> =
                (0..8).map(|_| open_wide(&registry, group("a"))).collect();
            assert_eq!(registry.close_by_identity(id("a")), 8);
            for outbox in &mut outboxes {
                assert_eq!(poll(outbox), Some(Next::Closed(CloseReason::Revoked)));
            }
        }
        drop(raise);
    });
}

#[test]
fn con_1_joins_broadcasts_and_removals_of_many_threads_agree() {
    let registry = encoding();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _raise = Raise(&over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    registry.broadcast("c", 0).unwrap();
                }
            });
        }
        let churn: Vec<_> = (1..3)
            .map(|thread| {
                let registry = &registry;
                scope.spawn(move || {
                    let name = format!("{thread}");
                    for round in 0..300 {
                        let probe = Probe::sending(|_| SendOutcome::Accepted);
                        let guard = join(registry, &probe, group(&name));
                        let mut outbox = open_wide(registry, group(&name));
                        // The outbox gets its thread's broadcast exactly once (DEL-2).
                        registry.broadcast("c", thread).unwrap();
                        assert_eq!(frames(&mut outbox).iter().filter(|n| **n == thread).count(), 1);
                        if round % 2 == 0 {
                            assert_eq!(registry.close_by_identity(id(&name)), 2);
                            assert_eq!(probe.closed(), [CloseReason::Revoked]);
                        } else {
                            drop((guard, outbox));
                            assert_eq!(registry.close_by_identity(id(&name)), 0);
                            assert_eq!(probe.closed(), []);
                        }
                        // One send may be recorded after the end: one that began before it.
                        let after = probe
                            .events()
                            .iter()
                            .rev()
                            .take_while(|e| matches!(e, Event::Sent(_)))
                            .count();
                        assert!(round % 2 == 1 || after <= 1, "{after} sends after the close");
                    }
                })
            })
            .collect();
        churn.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(registry.len(), 0, "CNT-2");
}

#[test]
fn con_0_the_last_handle_is_dropped_while_guards_are_dropped() {
    for _ in 0..300 {
        let registry = Registry::new();
        let probes: Vec<_> = (0..20).map(|_| Probe::new()).collect();
        let guards: Vec<_> =
            probes.iter().map(|probe| join(&registry, probe, Registration::new())).collect();
        let start = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                drop(registry);
            });
            start.wait();
            drop(guards);
        });
        assert!(
            probes.iter().all(|probe| probe.closed().len() <= 1 && Arc::strong_count(probe) == 1)
        );
    }
}
