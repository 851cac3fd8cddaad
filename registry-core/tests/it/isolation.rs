//! ISO: one bad sink harms no other subscriber.

use crate::kit::*;
use registry_core::{
    AdmitError, CloseReason, Encoded, Message, Next, OutboxOptions, Registration, RegistryOptions,
    SendOutcome, Sink, SubscribeError, SubscriberRegistry, WireFormat,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

/// Three sinks, the middle one bad; and an outbox.
fn among_others(bad: &Arc<Probe>, test: impl FnOnce(&Registry)) {
    let registry = encoding();
    let (before, after) = (Probe::new(), Probe::new());
    let _before = join(&registry, &before, Registration::new());
    let _bad = join(&registry, bad, group("bad"));
    let _after = join(&registry, &after, Registration::new());
    let mut outbox = open(&registry, Registration::new());
    test(&registry);
    assert_eq!((before.closed(), after.closed()), (vec![], vec![]), "others were closed");
    assert_eq!(
        (before.sent(), after.sent(), frames(&mut outbox)),
        (vec![1, 2], vec![1, 2], vec![1, 2])
    );
    assert_eq!(registry.len(), 3, "only the bad one was removed");
}

#[test]
fn iso_1_and_iso_5_a_sink_whose_send_panics_is_removed_and_the_others_get_the_message() {
    let bad = Probe::sending(|_| panic!("on purpose"));
    among_others(&bad, |registry| {
        let report = registry.broadcast("c", 1).unwrap();
        assert_eq!((report.matched, report.accepted, report.failed, report.pending), (4, 3, 1, 0));
        assert_eq!(bad.events(), [Event::Sent(1), Event::Closed(CloseReason::Failed)]);
        assert_eq!(registry.broadcast("c", 2).unwrap().matched, 3);
        assert_eq!(registry.stats().ended[&CloseReason::Failed], 1);
        assert_eq!(registry.close_by_identity(id("bad")), 0);
    });
}

#[test]
fn iso_1_and_iso_2_a_failing_send_is_no_error_of_the_broadcast() {
    let bad = Probe::sending(|_| SendOutcome::Failed);
    among_others(&bad, |registry| {
        assert_eq!(registry.broadcast("c", 1).unwrap().failed, 1);
        assert_eq!(registry.broadcast("c", 2).unwrap().failed, 0);
        assert_eq!(bad.events(), [Event::Sent(1), Event::Closed(CloseReason::Failed)]);
    });
}

#[test]
fn iso_1_a_lagging_sink_is_ended_as_lagged() {
    let bad = Probe::sending(|_| SendOutcome::Lagged);
    among_others(&bad, |registry| {
        assert_eq!(registry.broadcast("c", 1).unwrap().lagged, 1);
        registry.broadcast("c", 2).unwrap();
        assert_eq!(bad.events(), [Event::Sent(1), Event::Closed(CloseReason::Lagged)]);
    });
}

#[test]
fn iso_5_a_sink_that_returns_closed_is_removed_without_a_close() {
    let bad = Probe::sending(|_| SendOutcome::Closed);
    among_others(&bad, |registry| {
        assert_eq!(registry.broadcast("c", 1).unwrap().ended, 1);
        registry.broadcast("c", 2).unwrap();
        assert_eq!(bad.events(), [Event::Sent(1)]);
    });
}

#[test]
fn iso_5_a_dropping_sink_stays() {
    let registry = Registry::new();
    let probe = Probe::sending(|_| SendOutcome::Dropped);
    let _subscription = join(&registry, &probe, Registration::new());
    assert_eq!(registry.broadcast("c", 1).unwrap().dropped, 1);
    assert_eq!(registry.broadcast("c", 2).unwrap().dropped, 1);
    assert_eq!((probe.sent(), registry.len(), registry.stats().dropped), (vec![1, 2], 1, 2));
}

#[test]
fn iso_3_a_panicking_close_stops_neither_the_others_nor_the_count() {
    let registry = Registry::new();
    let probes: Vec<_> =
        (0..9).map(|n| Probe::closing(move |_| assert!(n % 3 != 1, "on purpose"))).collect();
    let _subscriptions: Vec<_> =
        probes.iter().map(|probe| join(&registry, probe, group("a"))).collect();
    assert_eq!(registry.close_by_identity(id("a")), 9);
    assert!(probes.iter().all(|probe| probe.closed() == [CloseReason::Revoked]));
    assert_eq!(registry.len(), 0);
}

#[test]
fn iso_4_after_failures_everything_works() {
    let registry = encoding();
    let bad = Probe::sending(|_| panic!("on purpose"));
    bad.on_close(|_| panic!("on purpose"));
    for _ in 0..100 {
        let _bad = join(&registry, &bad, group("a"));
        let _worse = join(&registry, &bad, group("b"));
        registry.close_by_identity(id("a"));
        registry.broadcast("c", 1).unwrap();
    }
    let good = Probe::new();
    let subscription = join(&registry, &good, group("a"));
    assert_eq!(registry.broadcast("c", 7).unwrap().accepted, 1);
    subscription.unsubscribe();
    assert_eq!((good.sent(), registry.len(), bad.closed().len()), (vec![7], 0, 200));
}

#[test]
fn iso_6_two_registries_share_nothing() {
    let (one, two) = (Registry::new(), Registry::new());
    let probe = Probe::new();
    let first = join(&one, &probe, group("a"));
    let _second = join(&two, &probe, group("a"));
    assert_eq!(two.close_by_identity(id("a")), 1);
    assert_eq!((one.len(), two.len()), (1, 0));
    one.broadcast("c", 1).unwrap();
    two.broadcast("c", 2).unwrap();
    two.begin_shutdown();
    assert_eq!(probe.events(), [Event::Closed(CloseReason::Revoked), Event::Sent(1)]);
    let (one_id, two_id) = (one.broadcast("c", 3).unwrap().id, two.broadcast("c", 4).unwrap().id);
    assert_ne!(one_id.epoch(), two_id.epoch());
    drop(first);
}

#[test]
fn iso_7_a_failing_close_of_the_evicted_does_not_fail_the_subscribe() {
    let registry = Registry::with_options(capped(1));
    let old = Probe::closing(|_| panic!("on purpose"));
    let _old = join(&registry, &old, scope("s"));
    let new = Probe::new();
    let _new = join(&registry, &new, scope("s"));
    registry.broadcast("c", 1).unwrap();
    assert_eq!(
        (old.closed(), new.sent(), registry.len()),
        (vec![CloseReason::Evicted], vec![1], 1)
    );
}

/// Panics, as a destructor. It does not panic in a test that is failing: a second panic would end
/// the process before the failure is reported.
fn explode(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::SeqCst);
    if !std::thread::panicking() {
        panic!("on purpose");
    }
}

/// A sink whose destructor panics.
struct Grenade(Arc<AtomicUsize>);

impl Sink<u32> for Grenade {
    fn send(&self, _: &Arc<Message<u32>>) -> SendOutcome {
        SendOutcome::Accepted
    }

    fn close(&self, _: CloseReason) {}
}

impl Drop for Grenade {
    fn drop(&mut self) {
        explode(&self.0);
    }
}

#[test]
fn iso_8_a_panicking_sink_destructor_is_contained() {
    let registry = Registry::with_options(capped(1));
    let drops = Arc::new(AtomicUsize::new(0));
    let grenade = || Grenade(drops.clone());

    drop(registry.subscribe(grenade(), None, None).unwrap());
    let _first = registry.subscribe_with(grenade(), scope("s")).unwrap();
    let _second = registry.subscribe_with(grenade(), scope("s")).unwrap();
    assert_eq!(registry.close_by_identity(id("s")), 1);
    let ticket = registry.draw_ticket();
    registry.close_by_identity(id("a"));
    assert_eq!(ticket.admit(grenade(), group("a")).unwrap_err(), AdmitError::Revoked);
    registry.begin_shutdown();
    assert_eq!(
        registry.subscribe(grenade(), None, None).unwrap_err(),
        SubscribeError::ShuttingDown
    );
    let orphan = registry.draw_ticket();
    drop(registry);
    assert_eq!(
        orphan.admit(grenade(), group("a")).unwrap_err(),
        SubscribeError::ShuttingDown.into()
    );
    assert_eq!(drops.load(Ordering::SeqCst), 6);
}

/// A payload whose destructor panics and is counted.
struct Bomb(Arc<AtomicUsize>);

impl Drop for Bomb {
    fn drop(&mut self) {
        explode(&self.0);
    }
}

struct Accepting;

impl Sink<Bomb> for Accepting {
    fn send(&self, _: &Arc<Message<Bomb>>) -> SendOutcome {
        SendOutcome::Accepted
    }

    fn close(&self, _: CloseReason) {}
}

#[test]
fn iso_8_a_panicking_payload_destructor_is_contained() {
    let drops = Arc::new(AtomicUsize::new(0));
    let unencoded = SubscriberRegistry::<Bomb>::new();
    unencoded.broadcast("nobody", Bomb(drops.clone())).unwrap();
    let registry =
        SubscriberRegistry::with_encoder(RegistryOptions::new(), |_: &Bomb| Ok(Encoded::text("1")));
    let mut outbox = registry.open_outbox(&RAW, OutboxOptions::new(), Registration::new()).unwrap();
    let _sink = registry.subscribe(Accepting, None, None).unwrap();
    assert_eq!(registry.broadcast("c", Bomb(drops.clone())).unwrap().accepted, 2);
    assert_eq!(registry.broadcast("c", Bomb(drops.clone())).unwrap().accepted, 2);
    assert_eq!((drops.load(Ordering::SeqCst), frames(&mut outbox)), (3, vec![1, 1]));
}

#[test]
fn iso_8_a_panicking_waker_is_contained_and_the_others_are_woken() {
    let registry = encoding();
    let mut outboxes: Vec<_> = (0..9).map(|_| open(&registry, group("a"))).collect();
    let bad = Waker::from(Arc::new(OnWake(|| panic!("on purpose"))));
    let (wakes, good) = Wakes::new();
    let park = |outboxes: &mut Vec<registry_core::Outbox>| {
        for (n, outbox) in outboxes.iter_mut().enumerate() {
            let waker = if n % 3 == 1 { &bad } else { &good };
            assert!(outbox.poll_next(&mut Context::from_waker(waker), 1).is_pending());
        }
    };
    park(&mut outboxes);
    assert_eq!(registry.broadcast("c", 1).unwrap().accepted, 9);
    assert_eq!(wakes.count(), 6);
    outboxes.iter_mut().for_each(|outbox| assert_eq!(frames(outbox), [1]));
    park(&mut outboxes);
    assert_eq!(registry.close_by_identity(id("a")), 9);
    assert_eq!(wakes.count(), 12);
}

#[test]
fn iso_8_a_panicking_encoder_is_an_error_like_any_other() {
    let registry = Registry::with_encoder(RegistryOptions::new(), |data: &u32| match data {
        0 => panic!("on purpose"),
        _ => Ok(Encoded::text(data.to_string())),
    });
    let mut outbox = open(&registry, Registration::new());
    assert_eq!(registry.broadcast("c", 0).unwrap_err().data, 0);
    registry.broadcast("c", 2).unwrap();
    assert_eq!(frames(&mut outbox), [2]);
}

#[test]
fn iso_8_a_frame_that_panics_ends_the_outboxes_of_its_format_and_no_others() {
    static FRAGILE: WireFormat = WireFormat::new("fragile", |_, encoded, out| {
        assert_ne!(encoded.body(), "13", "on purpose");
        out.extend_from_slice(encoded.body());
    });
    let registry = encoding();
    let mut before = open(&registry, Registration::new());
    let mut fragile: Vec<_> = (0..2)
        .map(|_| registry.open_outbox(&FRAGILE, OutboxOptions::new(), Registration::new()).unwrap())
        .collect();
    let mut after = open(&registry, Registration::new());
    let (wakes, waker) = Wakes::new();
    assert!(fragile[0].poll_next(&mut Context::from_waker(&waker), 1).is_pending());

    let report = registry.broadcast("c", 13).unwrap();
    assert_eq!((report.matched, report.accepted, report.failed), (4, 2, 2));
    assert_eq!(wakes.count(), 1);
    for outbox in &mut fragile {
        assert_eq!(poll(outbox), Some(Next::Closed(CloseReason::Failed)));
    }
    registry.broadcast("c", 14).unwrap();
    assert_eq!((frames(&mut before), frames(&mut after)), (vec![13, 14], vec![13, 14]));
    assert_eq!((registry.len(), registry.stats().ended[&CloseReason::Failed]), (2, 2));
}

#[test]
fn iso_8_a_panicking_encoder_destructor_is_contained() {
    struct Fuse(Arc<AtomicUsize>);
    impl registry_core::Encode<u32> for Fuse {
        fn encode(&self, _: &u32) -> Result<Encoded, registry_core::EncodeError> {
            Ok(Encoded::text(""))
        }
    }
    impl Drop for Fuse {
        fn drop(&mut self) {
            explode(&self.0);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    drop(Registry::with_encoder(RegistryOptions::new(), Fuse(dropped.clone())));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}
