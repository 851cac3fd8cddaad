//! RE: sinks that call the registry from inside their callbacks.

use crate::kit::*;
use registry_core::{CloseReason, Message, Next, Registration, SendOutcome, Sink, Subscription};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// Subscriptions made inside callbacks.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Subscription>>>);

impl Kept {
    fn keep(&self, subscription: Subscription) {
        self.0.lock().unwrap().push(subscription);
    }
}

/// Calls every operation of the registry once.
fn everything(registry: &Registry) {
    let subscription = join(registry, &Probe::new(), group("inner"));
    let mut outbox = open(registry, group("inner"));
    let admitted = registry.draw_ticket().admit(Probe::new(), scope("inner")).unwrap();
    registry.broadcast("inner", 99).unwrap();
    assert_eq!(frames(&mut outbox), [99]);
    assert!(registry.len() >= 3 && registry.stats().subscribers >= 3 && !registry.is_empty());
    subscription.unsubscribe();
    assert_eq!(registry.close_by_identity(id("inner")), 2);
    admitted.unsubscribe();
    drop(registry.draw_ticket());
    drop(registry.drained());
}

/// A sink whose destructor calls the registry. The registry contains its panics, so a count shows
/// that the destructor ran to its end. It makes no call in a test that is failing: a second panic
/// would end the process before the failure is reported.
struct CallsInDrop(Registry, Arc<AtomicUsize>);

impl Sink<u32> for CallsInDrop {
    fn send(&self, _: &Arc<Message<u32>>) -> SendOutcome {
        SendOutcome::Accepted
    }

    fn close(&self, _: CloseReason) {}
}

impl Drop for CallsInDrop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            everything(&self.0);
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn re_1_every_operation_inside_send_close_and_drop() {
    finishes(|| {
        let registry = encoding_with(capped(1));
        let calls = Arc::new(AtomicUsize::new(0));
        let busy = Probe::new();
        let (inner, called) = (registry.clone(), calls.clone());
        busy.on_send(move |n| {
            if n < 99 {
                everything(&inner);
                called.fetch_add(1, Ordering::SeqCst);
            }
            SendOutcome::Accepted
        });
        let (inner, called) = (registry.clone(), calls.clone());
        busy.on_close(move |_| {
            everything(&inner);
            called.fetch_add(1, Ordering::SeqCst);
        });
        let calls_in_drop = || CallsInDrop(registry.clone(), calls.clone());
        let _busy = join(&registry, &busy, group("a"));
        let dropped = registry.subscribe(calls_in_drop(), None, None).unwrap();
        let _revoked = registry.subscribe_with(calls_in_drop(), group("a")).unwrap();
        let _evicted = registry.subscribe_with(calls_in_drop(), scope("s")).unwrap();

        registry.broadcast("c", 1).unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        drop(dropped);
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        let _evicting = join(&registry, &Probe::new(), scope("s"));
        assert_eq!(calls.load(Ordering::SeqCst), 3);
        assert_eq!(registry.close_by_identity(id("a")), 2);
        assert_eq!((calls.load(Ordering::SeqCst), registry.len()), (5, 1));
    });
}

#[test]
fn re_1_shutdown_inside_a_send() {
    finishes(|| {
        let registry = Registry::new();
        let inner = registry.clone();
        let probe = Probe::sending(move |_| {
            assert_eq!(inner.begin_shutdown(), 2);
            SendOutcome::Accepted
        });
        let other = Probe::new();
        let _probe = join(&registry, &probe, Registration::new());
        let _other = join(&registry, &other, Registration::new());
        registry.broadcast("c", 1).unwrap();
        assert_eq!(probe.events(), [Event::Sent(1), Event::Closed(CloseReason::Shutdown)]);
        assert_eq!(other.closed(), [CloseReason::Shutdown]);
    });
}

#[test]
fn re_1_and_sub_3_a_sink_unsubscribes_itself_and_another_inside_its_send() {
    let registry = Registry::new();
    let kept = Kept::default();
    let all: Vec<_> = (0..3).map(|_| Probe::new()).collect();
    for probe in &all {
        let guards = kept.0.clone();
        probe.on_send(move |_| {
            let guards = std::mem::take(&mut *guards.lock().unwrap());
            guards.iter().for_each(Subscription::unsubscribe);
            SendOutcome::Accepted
        });
        kept.keep(join(&registry, probe, Registration::new()));
    }
    let report = registry.broadcast("c", 1).unwrap();
    assert_eq!(
        (report.accepted, report.ended),
        (1, 2),
        "a send began after its unsubscribe returned"
    );
    assert_eq!(all.iter().map(|probe| probe.events().len()).sum::<usize>(), 1);
    assert_eq!(registry.len(), 0);
}

#[test]
fn re_3_a_subscriber_made_inside_a_delivery_misses_that_broadcast() {
    let registry = Registry::new();
    let (kept, newcomer) = (Kept::default(), Probe::new());
    let (inner, keep, new) = (registry.clone(), kept.clone(), newcomer.clone());
    let probe = Probe::sending(move |n| {
        if n == 1 {
            keep.keep(join(&inner, &new, Registration::new()));
        }
        SendOutcome::Accepted
    });
    let _probe = join(&registry, &probe, Registration::new());
    registry.broadcast("c", 1).unwrap();
    registry.broadcast("c", 2).unwrap();
    assert_eq!((probe.sent(), newcomer.sent()), (vec![1, 2], vec![2]));
}

#[test]
fn re_4_a_broadcast_makes_no_more_sends_than_there_were_subscribers() {
    let registry = Registry::new();
    let (kept, sends) = (Kept::default(), Arc::new(AtomicUsize::new(0)));
    fn breeder(registry: &Registry, kept: &Kept, sends: &Arc<AtomicUsize>) -> Subscription {
        let (inner, keep, count) = (registry.clone(), kept.clone(), sends.clone());
        let probe = Probe::sending(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            keep.keep(breeder(&inner, &keep, &count));
            SendOutcome::Accepted
        });
        join(registry, &probe, Registration::new())
    }
    for _ in 0..3 {
        kept.keep(breeder(&registry, &kept, &sends));
    }
    for (round, expected) in [3, 6, 12].into_iter().enumerate() {
        let before = sends.load(Ordering::SeqCst);
        assert_eq!(registry.broadcast("c", 1).unwrap().matched, expected);
        assert_eq!(sends.load(Ordering::SeqCst) - before, expected, "round {round}");
    }
}

#[test]
fn re_5_revoking_inside_a_send_holds_at_once_for_the_others_and_waits_for_this_send() {
    let registry = encoding();
    let others: Vec<_> = (0..4).map(|_| Probe::new()).collect();
    let probe = Probe::new();
    let sent = |others: &[Arc<Probe>]| others.iter().map(|other| other.sent().len()).sum::<usize>();
    let before = Arc::new(AtomicUsize::new(0));
    let (inner, seen, this, noted) =
        (registry.clone(), others.clone(), Arc::downgrade(&probe), before.clone());
    probe.on_send(move |_| {
        assert_eq!(inner.close_by_identity(id("a")), 6);
        noted.store(sent(&seen), Ordering::SeqCst);
        assert_eq!(inner.len(), 0);
        assert!(
            seen.iter().all(|other| other.closed() == [CloseReason::Revoked]),
            "REV-1 holds at once"
        );
        assert_eq!(this.upgrade().unwrap().closed(), [], "its own send has not ended");
        SendOutcome::Accepted
    });
    // Two subscribers before and two after the one that revokes, whatever the order of the
    // delivery.
    let mut guards: Vec<_> =
        others[..2].iter().map(|other| join(&registry, other, group("a"))).collect();
    guards.push(join(&registry, &probe, group("a")));
    guards.extend(others[2..].iter().map(|other| join(&registry, other, group("a"))));
    let mut outbox = open(&registry, group("a"));

    let report = registry.broadcast("c", 1).unwrap();
    assert_eq!(probe.events(), [Event::Sent(1), Event::Closed(CloseReason::Revoked)]);
    assert!(
        others
            .iter()
            .all(|other| other.events().last() == Some(&Event::Closed(CloseReason::Revoked)))
    );
    let before = before.load(Ordering::SeqCst);
    assert!((1..4).contains(&before), "the sending sink was not in the middle: {before}");
    assert_eq!(sent(&others), before, "REV-2: a send began after the revocation");
    assert_eq!(
        (report.accepted, report.ended),
        (1 + 1 + before, 4 - before),
        "with the outbox, which was filled before"
    );
    assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Revoked)), "REV-3");
}

#[test]
fn re_5_a_send_that_revokes_itself_and_fails_is_closed_once() {
    for outcome in
        [SendOutcome::Failed, SendOutcome::Lagged, SendOutcome::Closed, SendOutcome::Dropped]
    {
        let registry = Registry::new();
        let inner = registry.clone();
        let probe = Probe::sending(move |_| {
            assert_eq!(inner.close_by_identity(id("a")), 1);
            assert_eq!(inner.close_by_identity(id("a")), 0);
            outcome
        });
        let _probe = join(&registry, &probe, group("a"));
        registry.broadcast("c", 1).unwrap();
        assert_eq!(probe.closed(), [CloseReason::Revoked]);
        assert_eq!(registry.stats().ended.values().sum::<u64>(), 1);
    }
}

#[test]
fn re_6_revocations_inside_closes_add_up() {
    let registry = Registry::new();
    let nested = Arc::new(AtomicUsize::new(0));
    let probes: Vec<_> = (0..30)
        .map(|_| {
            let (inner, nested) = (registry.clone(), nested.clone());
            Probe::closing(move |_| {
                for name in ["a", "b", "c"] {
                    nested.fetch_add(inner.close_by_identity(id(name)), Ordering::SeqCst);
                }
            })
        })
        .collect();
    let names = ["a", "b", "c"];
    let _guards: Vec<_> = probes
        .iter()
        .enumerate()
        .map(|(n, probe)| join(&registry, probe, group(names[n % 3])))
        .collect();
    let counted = registry.close_by_identity(id("a"));
    assert_eq!((counted, counted + nested.load(Ordering::SeqCst)), (10, 30));
    assert!(probes.iter().all(|probe| probe.closed() == [CloseReason::Revoked]));
}

#[test]
fn re_6_and_rev_1_a_revocation_inside_a_close_notifies_before_it_returns() {
    let registry = Registry::new();
    let (inner, last) = (registry.clone(), Probe::new());
    let seen = last.clone();
    let middle = Probe::closing(move |_| {
        assert_eq!(inner.close_by_identity(id("last")), 1);
        assert_eq!(seen.closed(), [CloseReason::Revoked]);
    });
    let (inner, seen) = (registry.clone(), middle.clone());
    let first = Probe::closing(move |_| {
        assert_eq!(inner.close_by_identity(id("middle")), 1);
        assert_eq!(seen.closed(), [CloseReason::Revoked]);
    });
    let _guards = [(&first, "first"), (&middle, "middle"), (&last, "last")]
        .map(|(probe, name)| join(&registry, probe, group(name)));
    assert_eq!(registry.close_by_identity(id("first")), 1);
    assert_eq!([first.closed(), last.closed()], [[CloseReason::Revoked]; 2]);
}

/// The depth of nested calls. Beyond a hundred no further call is made, so that the test fails for
/// what is missing. An overflow of the stack would end the process without naming the test.
#[derive(Clone, Default)]
struct Depth(Arc<AtomicUsize>);

impl Depth {
    fn within(&self, call: impl FnOnce()) {
        if self.0.fetch_add(1, Ordering::SeqCst) < 100 {
            call();
        }
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn re_6_a_chain_of_revocations_10_000_long_ends() {
    const LENGTH: usize = 10_000;
    let (counted, probes) = works(|steps| {
        let registry = Registry::new();
        let nested = Arc::new(AtomicUsize::new(0));
        let depth = Depth::default();
        let probes: Vec<_> = (0..LENGTH)
            .map(|n| {
                let (inner, nested, steps, depth) =
                    (registry.clone(), nested.clone(), steps.clone(), depth.clone());
                Probe::closing(move |_| {
                    steps.step();
                    depth.within(|| {
                        nested.fetch_add(
                            inner.close_by_identity(id(&format!("{}", n + 1))),
                            Ordering::SeqCst,
                        );
                    });
                })
            })
            .collect();
        let guards: Vec<_> = probes
            .iter()
            .enumerate()
            .map(|(n, probe)| join(&registry, probe, group(&format!("{n}"))))
            .collect();
        let counted = registry.close_by_identity(id("0")) + nested.load(Ordering::SeqCst);
        drop(guards);
        (counted, probes)
    });
    assert_eq!(counted, LENGTH);
    assert!(probes.iter().all(|probe| probe.closed() == [CloseReason::Revoked]));
}

#[test]
fn re_1_a_chain_of_unsubscribes_in_destructors_10_000_long_ends() {
    struct Link {
        next: Option<Subscription>,
        dropped: Arc<AtomicUsize>,
        depth: Depth,
        steps: Steps,
    }
    impl Sink<u32> for Link {
        fn send(&self, _: &Arc<Message<u32>>) -> SendOutcome {
            SendOutcome::Accepted
        }
        fn close(&self, _: CloseReason) {}
    }
    impl Drop for Link {
        fn drop(&mut self) {
            self.dropped.fetch_add(1, Ordering::SeqCst);
            self.steps.step();
            let mut next = self.next.take();
            self.depth.within(|| drop(next.take()));
            if let Some(next) = next {
                Box::leak(Box::new(next));
            }
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = dropped.clone();
    works(move |steps| {
        let registry = Registry::new();
        let depth = Depth::default();
        let mut next = None;
        for _ in 0..10_000 {
            let link =
                Link { next, dropped: count.clone(), depth: depth.clone(), steps: steps.clone() };
            next = Some(registry.subscribe(link, None, None).unwrap());
        }
        drop(next);
        assert!(registry.is_empty());
    });
    assert_eq!(dropped.load(Ordering::SeqCst), 10_000);
}

#[test]
fn re_7_a_subscribe_inside_close_is_active_and_counted() {
    let registry = Registry::new();
    let (kept, newcomer) = (Kept::default(), Probe::new());
    let (inner, keep, new) = (registry.clone(), kept.clone(), newcomer.clone());
    let probe = Probe::closing(move |_| keep.keep(join(&inner, &new, group("a"))));
    let _probe = join(&registry, &probe, group("a"));
    assert_eq!(registry.close_by_identity(id("a")), 1);
    assert_eq!((registry.len(), newcomer.closed()), (1, vec![]), "REV-9: it was begun afterwards");
    registry.broadcast("c", 1).unwrap();
    assert_eq!(registry.close_by_identity(id("a")), 1);
    assert_eq!(newcomer.events(), [Event::Sent(1), Event::Closed(CloseReason::Revoked)]);
}

#[test]
fn re_8_the_cap_holds_when_the_evicted_come_back() {
    let registry = Registry::with_options(capped(2));
    let (kept, back) = (Kept::default(), Probe::new());
    let mut probes = Vec::new();
    for _ in 0..6 {
        let (inner, keep, new) = (registry.clone(), kept.clone(), back.clone());
        let probe = Probe::closing(move |_| {
            keep.keep(join(&inner, &new, scope("s")));
            assert!(inner.len() <= 2);
        });
        kept.keep(join(&registry, &probe, scope("s")));
        assert!(registry.len() <= 2);
        probes.push(probe);
    }
    assert_eq!(registry.len(), 2);
    assert!(
        probes
            .iter()
            .chain([&back])
            .flat_map(|probe| probe.closed())
            .all(|why| why == CloseReason::Evicted)
    );
    // Six were subscribed, and each of them once more at its first eviction; two remain.
    let returned = probes.iter().map(|probe| probe.closed().len()).sum::<usize>();
    assert_eq!(returned + back.closed().len(), 6 + returned - 2);
}

#[test]
fn re_8_two_sinks_evict_each_other_for_thousands_of_rounds_on_one_stack() {
    const ROUNDS: usize = 20_000;
    let closes = works(|steps| {
        let registry = Registry::with_options(capped(1));
        let (kept, rounds, depth) =
            (Kept::default(), Arc::new(AtomicUsize::new(0)), Depth::default());
        let pair = [Probe::new(), Probe::new()];
        for (probe, other) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
            let (inner, keep, count) = (registry.clone(), kept.clone(), rounds.clone());
            let (steps, depth, other): (_, _, Weak<Probe>) =
                (steps.clone(), depth.clone(), Arc::downgrade(other));
            probe.on_close(move |_| {
                steps.step();
                if count.fetch_add(1, Ordering::SeqCst) < ROUNDS {
                    depth.within(|| keep.keep(join(&inner, &other.upgrade().unwrap(), scope("s"))));
                    assert_eq!(inner.len(), 1);
                }
            });
        }
        kept.keep(join(&registry, &pair[0], scope("s")));
        kept.keep(join(&registry, &pair[1], scope("s")));
        assert_eq!(registry.len(), 1);
        pair[0].closed().len() + pair[1].closed().len()
    });
    assert_eq!(closes, ROUNDS + 1);
}

#[test]
fn cnt_3_len_inside_close_excludes_all_that_the_revocation_ended() {
    let registry = Registry::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (inner, lens) = (registry.clone(), seen.clone());
    let probe = Probe::closing(move |_| lens.lock().unwrap().push(inner.len()));
    let guards: Vec<_> = (0..5).map(|_| join(&registry, &probe, group("a"))).collect();
    let _other = join(&registry, &Probe::new(), group("b"));
    assert_eq!(registry.close_by_identity(id("a")), 5);
    assert_eq!(
        *seen.lock().unwrap(),
        [1; 5],
        "REV-8: all leave the table before the first close runs"
    );
    drop(guards);
}

#[test]
fn ord_2_a_broadcast_inside_a_delivery_arrives_after_the_outer_one_everywhere() {
    let registry = encoding();
    let inner = registry.clone();
    let nesting = Probe::sending(move |n| {
        if n < 4 {
            let report = inner.broadcast("c", n + 1).unwrap();
            assert_eq!(
                (report.matched, report.accepted, report.pending),
                (4, 1, 3),
                "the outer call delivers it"
            );
        }
        SendOutcome::Accepted
    });
    let plain = [Probe::new(), Probe::new()];
    let _first = join(&registry, &plain[0], Registration::new());
    let _nesting = join(&registry, &nesting, Registration::new());
    let _last = join(&registry, &plain[1], Registration::new());
    let mut outbox = open(&registry, Registration::new());
    registry.broadcast("c", 1).unwrap();
    for probe in plain.iter().chain([&nesting]) {
        assert_eq!(probe.sent(), [1, 2, 3, 4]);
    }
    assert_eq!(frames(&mut outbox), [1, 2, 3, 4]);
}

#[test]
fn re_6_and_rev_1_revocations_one_after_the_other_inside_a_close_are_not_deep() {
    const MANY: usize = 100;
    let registry = Registry::new();
    let probes: Vec<_> = (0..MANY).map(|_| Probe::new()).collect();
    let (inner, seen) = (registry.clone(), probes.clone());
    let first = Probe::closing(move |_| {
        for (n, probe) in seen.iter().enumerate() {
            assert_eq!(inner.close_by_identity(id(&n.to_string())), 1);
            assert_eq!(probe.closed(), [CloseReason::Revoked], "{n}");
        }
    });
    let _guards: Vec<_> =
        probes.iter().enumerate().map(|(n, p)| join(&registry, p, group(&n.to_string()))).collect();
    let _first = join(&registry, &first, group("first"));
    assert_eq!(registry.close_by_identity(id("first")), 1);
    assert_eq!(first.closed(), [CloseReason::Revoked]);
}

#[test]
fn iso_6_a_close_of_one_registry_does_not_hold_up_the_closes_of_another() {
    let (one, other) = (Registry::new(), Registry::with_options(capped(1)));
    let evicted = Probe::new();
    let _evicted = join(&other, &evicted, scope("s"));
    let (inner, seen) = (other.clone(), evicted.clone());
    let closing = Probe::closing(move |_| {
        let newer = join(&inner, &Probe::new(), scope("s"));
        assert_eq!(seen.closed(), [CloseReason::Evicted], "no close of its registry is running");
        drop(newer);
    });
    let _closing = join(&one, &closing, group("a"));
    assert_eq!(one.close_by_identity(id("a")), 1);
    assert_eq!(closing.closed(), [CloseReason::Revoked]);
}

#[test]
fn re_6_revocations_nest_32_deep_and_the_notice_of_a_deeper_one_waits_for_the_outermost() {
    const LENGTH: usize = 40;
    let registry = Registry::new();
    let notified = Arc::new(Mutex::new(Vec::new()));
    let probes: Vec<_> = (0..LENGTH).map(|_| Probe::new()).collect();
    for (n, pair) in probes.windows(2).enumerate() {
        let (inner, next, notified) = (registry.clone(), pair[1].clone(), notified.clone());
        pair[0].on_close(move |_| {
            assert_eq!(inner.close_by_identity(id(&(n + 1).to_string())), 1, "it counts at once");
            notified.lock().unwrap().push((n, !next.closed().is_empty()));
        });
    }
    let _guards: Vec<_> =
        probes.iter().enumerate().map(|(n, p)| join(&registry, p, group(&n.to_string()))).collect();
    assert_eq!(registry.close_by_identity(id("0")), 1);
    assert!(probes.iter().all(|probe| probe.closed() == [CloseReason::Revoked]));
    let mut notified = notified.lock().unwrap().clone();
    notified.sort_unstable();
    // The first close has depth one.
    assert_eq!(notified, (0..LENGTH - 1).map(|n| (n, n + 1 != 32)).collect::<Vec<_>>());
}

#[test]
fn re_8_a_sink_that_is_evicted_inside_a_close_is_notified_after_it_in_the_order_of_the_evictions() {
    let registry = Registry::with_options(capped(1));
    let (kept, seen) = (Kept::default(), Arc::new(Mutex::new(Vec::new())));
    let names = ["a", "b", "c"];
    let note = |name: &'static str| {
        let seen = seen.clone();
        move || seen.lock().unwrap().push(name)
    };
    for name in names {
        let notified = note(name);
        kept.keep(join(&registry, &Probe::closing(move |_| notified()), scope(name)));
    }
    let (inner, keep, over) = (registry.clone(), kept.clone(), note("the close is over"));
    let closing = Probe::closing(move |_| {
        names.iter().for_each(|name| keep.keep(join(&inner, &Probe::new(), scope(name))));
        assert_eq!(inner.len(), 3);
        over();
    });
    let _closing = join(&registry, &closing, group("closing"));
    assert_eq!(registry.close_by_identity(id("closing")), 1);
    assert_eq!(closing.closed(), [CloseReason::Revoked]);
    assert_eq!(*seen.lock().unwrap(), ["the close is over", "a", "b", "c"]);
}
