//! DRN: shutdowns. SUB-6: dropping the last handle.

use crate::kit::*;
use crate::wire::serve;
use registry_core::{
    CloseReason, LaneOptions, Next, OutboxOptions, Registration, Revocation, SubscribeError,
    WireFormat,
};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread;

fn is_complete(drained: Pin<&mut impl Future<Output = ()>>, waker: &Waker) -> bool {
    drained.poll(&mut Context::from_waker(waker)).is_ready()
}

#[test]
fn drn_1_shutdown_refuses_new_subscribers_and_closes_all() {
    let registry = encoding();
    let probe = Probe::new();
    let _sink = join(&registry, &probe, group("a"));
    let mut outbox = open(&registry, group("a"));
    assert_eq!(registry.begin_shutdown(), 2);
    assert_eq!(registry.begin_shutdown(), 0);

    assert_eq!(probe.events(), [Event::Closed(CloseReason::Shutdown)]);
    assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Shutdown)));
    assert_eq!((registry.len(), registry.stats().draining), (0, 1));
    let refused = registry.subscribe(Probe::new(), None, None).map(drop);
    assert_eq!(refused, Err(SubscribeError::ShuttingDown));
    let refused = registry.open_outbox(&RAW, OutboxOptions::new(), Registration::new()).map(drop);
    assert_eq!(refused, Err(SubscribeError::ShuttingDown));
    assert_eq!(registry.broadcast("c", 1).unwrap().matched, 0);
}

#[test]
fn drn_1_a_draining_outbox_keeps_its_queue_and_accepts_no_more() {
    let registry = encoding();
    let mut outbox = open(&registry, Registration::new());
    registry.broadcast("c", 1).unwrap();
    registry.begin_shutdown();
    registry.broadcast("c", 2).unwrap();
    assert_eq!(frames(&mut outbox), [1]);
    assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Shutdown)));
}

#[test]
fn drn_1_a_draining_outbox_accepts_nothing_from_a_broadcast_in_progress() {
    static PARK: Mutex<Option<Box<dyn Fn() + Send + Sync>>> = Mutex::new(None);
    static SLOW: WireFormat = WireFormat::new("slow", |_, encoded, out| {
        let park = PARK.lock().unwrap().take();
        if let Some(park) = park {
            park();
        }
        out.extend_from_slice(encoded.body());
    });
    // The second outbox asks for a flusher, and there is none. So no flusher has messages for it.
    for options in [OutboxOptions::new(), OutboxOptions::new().with_flusher()] {
        finishes(move || {
            let registry = encoding();
            let mut outbox = registry.open_outbox(&SLOW, options, Registration::new()).unwrap();
            let (stop, park) = Stop::new();
            *PARK.lock().unwrap() = Some(Box::new(park));
            thread::scope(|scope| {
                let publisher = scope.spawn(|| registry.broadcast("c", 1).unwrap());
                stop.arrived();
                outbox.close(CloseReason::Shutdown);
                assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Shutdown)));
                drop(stop);
                let report = publisher.join().unwrap();
                assert_eq!(
                    (report.matched, report.accepted, report.ended),
                    (1, 0, 1),
                    "{options:?}"
                );
                assert_eq!(
                    poll(&mut outbox),
                    Some(Next::Closed(CloseReason::Shutdown)),
                    "{options:?}"
                );
            });
        });
    }
}

#[test]
fn drn_1_and_clo_5_a_revocation_during_a_drain_discards_and_counts_no_subscriber_twice() {
    for revocation in Revocation::ALL {
        let registry = encoding();
        let mut outbox = open(&registry, group("a"));
        let (wakes, waker) = Wakes::new();
        registry.broadcast("c", 1).unwrap();
        assert_eq!(registry.begin_shutdown(), 1);
        assert!(outbox.poll_discarded(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(
            registry.close_by_identity_as(id("a"), revocation),
            0,
            "it was counted by the shutdown"
        );
        let closed = || Some(Next::Closed(revocation.into()));
        assert_eq!((wakes.count(), poll(&mut outbox)), (1, closed()));
        for again in Revocation::ALL {
            assert_eq!(registry.close_by_identity_as(id("a"), again), 0);
        }
        assert_eq!(poll(&mut outbox), closed(), "the first of those that discard");
        assert_eq!(registry.stats().ended, [(CloseReason::Shutdown, 1)].into());
    }
}

#[test]
fn clo_1_an_end_hook_is_called_once_for_each_reason() {
    let registry = encoding();
    let outbox = open(&registry, group("a"));
    let calls = Arc::new(Mutex::new(Vec::new()));
    let called = calls.clone();
    outbox.on_end(move |reason| called.lock().unwrap().push(reason));
    registry.begin_shutdown();
    for _ in 0..3 {
        registry.close_by_identity(id("a"));
    }
    outbox.close(CloseReason::Heartbeat);
    assert_eq!(*calls.lock().unwrap(), [CloseReason::Shutdown, CloseReason::Revoked]);
    let called = calls.clone();
    outbox.on_end(move |reason| called.lock().unwrap().push(reason));
    assert_eq!(calls.lock().unwrap().len(), 3, "a late hook is called at once");
    drop(outbox);
    assert_eq!(calls.lock().unwrap().len(), 3);
}

#[test]
fn clo_5_a_revocation_finds_an_outbox_that_its_owner_drains() {
    let registry = encoding();
    let mut outbox = open(&registry, group("a"));
    registry.broadcast("c", 1).unwrap();
    outbox.close(CloseReason::Shutdown);
    assert_eq!((registry.len(), registry.stats().draining), (0, 1));
    assert_eq!(registry.close_by_identity(id("a")), 0);
    assert_eq!(
        poll(&mut outbox),
        Some(Next::Closed(CloseReason::Revoked)),
        "the queue outlived the revocation"
    );
    drop(outbox);
    assert_eq!(registry.stats().draining, 0);
}

#[test]
fn drn_1_drained_completes_when_the_last_owner_drops_its_outbox() {
    for options in [OutboxOptions::new(), OutboxOptions::new().with_flusher()] {
        let registry = encoding();
        let mut flusher = registry.open_lane(LaneOptions::new());
        let open = || registry.open_outbox(&RAW, options, Registration::new()).unwrap();
        let (first, second) = (open(), open());
        let (wakes, waker) = Wakes::new();
        let mut drained = pin!(registry.drained());
        assert!(!is_complete(drained.as_mut(), &waker));
        registry.begin_shutdown();
        assert!(serve(&mut flusher));
        drop(first);
        assert!(!is_complete(drained.as_mut(), &waker), "{options:?}");
        assert_eq!(wakes.count(), 0, "{options:?}");
        drop(second);
        assert_eq!(
            (wakes.count(), is_complete(drained.as_mut(), &waker)),
            (1, true),
            "{options:?}"
        );
    }
}

#[test]
fn drn_1_drained_waits_for_owners_of_subscribers_that_ended_before() {
    let registry = encoding();
    let (revoked, ended) = (open(&registry, group("a")), open(&registry, Registration::new()));
    registry.close_by_identity(id("a"));
    ended.close(CloseReason::Heartbeat);
    registry.begin_shutdown();
    let (wakes, waker) = Wakes::new();
    let mut drained = pin!(registry.drained());
    assert!(!is_complete(drained.as_mut(), &waker), "two owners still hold an outbox");
    drop(revoked);
    assert!(!is_complete(drained.as_mut(), &waker), "one owner still holds its outbox");
    drop(ended);
    assert_eq!(wakes.count(), 1);
    assert!(is_complete(drained.as_mut(), &waker));
}

#[test]
fn drn_1_every_waiting_drained_future_is_woken_also_when_another_was_dropped() {
    let registry = encoding();
    let outbox = open(&registry, Registration::new());
    let waits = || {
        let (wakes, waker) = Wakes::new();
        let mut drained = Box::pin(registry.drained());
        assert!(!is_complete(drained.as_mut(), &waker));
        (wakes, waker, drained)
    };
    let (mut first, given_up, mut last) = (waits(), waits(), waits());
    drop(given_up.2);
    registry.begin_shutdown();
    drop(outbox);
    for (wakes, waker, drained) in [&mut first, &mut last] {
        assert_eq!((wakes.count(), is_complete(drained.as_mut(), waker)), (1, true));
    }
    assert_eq!(given_up.0.count(), 0);
}

#[test]
fn drn_1_drained_completes_when_nothing_drains_any_more() {
    let registry = encoding();
    let outbox = open(&registry, Registration::new());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (inner, noted) = (registry.clone(), seen.clone());
    let waker =
        Waker::from(Arc::new(OnWake(move || noted.lock().unwrap().push(inner.stats().draining))));
    let mut drained = pin!(registry.drained());
    assert!(!is_complete(drained.as_mut(), &waker));
    registry.begin_shutdown();
    assert_eq!(registry.stats().draining, 1);
    drop(outbox);
    assert_eq!(*seen.lock().unwrap(), [0]);
}

#[test]
fn drn_1_drained_completes_at_once_without_outboxes() {
    let registry = Registry::new();
    let _subscription = join(&registry, &Probe::new(), Registration::new());
    let (wakes, waker) = Wakes::new();
    let mut drained = pin!(registry.drained());
    assert!(!is_complete(drained.as_mut(), &waker));
    registry.begin_shutdown();
    assert_eq!(wakes.count(), 1);
    assert!(is_complete(drained.as_mut(), &waker));
}

#[test]
fn drn_1_a_dropped_drained_future_keeps_no_waker() {
    let registry = Registry::new();
    let (wakes, waker) = Wakes::new();
    {
        let mut drained = pin!(registry.drained());
        assert!(!is_complete(drained.as_mut(), &waker));
        assert!(!is_complete(drained.as_mut(), &waker));
    }
    drop(waker);
    assert_eq!(Arc::strong_count(&wakes), 1, "its waker is kept");
    registry.begin_shutdown();
    assert_eq!(wakes.count(), 0);
}

#[test]
fn drn_1_the_end_of_the_registry_completes_drained() {
    let registry = Registry::new();
    let (wakes, waker) = Wakes::new();
    let mut drained = pin!(registry.drained());
    assert!(!is_complete(drained.as_mut(), &waker));
    drop(registry);
    assert_eq!(wakes.count(), 1);
    assert!(is_complete(drained.as_mut(), &waker));
}

#[test]
fn sub_6_dropping_the_last_handle_ends_all_as_shutdown() {
    let registry = encoding();
    let probe = Probe::new();
    let subscription = join(&registry, &probe, Registration::new());
    let mut outbox = open(&registry, Registration::new());
    registry.broadcast("c", 1).unwrap();
    let clone = registry.clone();
    drop(registry);
    assert_eq!(probe.closed(), [], "a handle is left");
    drop(clone);
    assert_eq!(probe.events(), [Event::Sent(1), Event::Closed(CloseReason::Shutdown)]);
    assert_eq!(frames(&mut outbox), [1], "a shutdown flushes");
    assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Shutdown)));
    subscription.unsubscribe();
    drop(subscription);
    assert_eq!(probe.closed().len(), 1);
    assert_eq!(Arc::strong_count(&probe), 1);
}

#[test]
fn sub_6_an_outbox_may_outlive_its_registry() {
    let registry = encoding();
    let mut outbox = open(&registry, Registration::new());
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let heard = reasons.clone();
    outbox.on_end(move |reason| heard.lock().unwrap().push(reason));
    drop(registry);
    let (wakes, waker) = Wakes::new();
    assert!(outbox.poll_discarded(&mut Context::from_waker(&waker)).is_pending());
    outbox.close(CloseReason::Heartbeat);
    assert_eq!(ended(&mut outbox), Some(CloseReason::Heartbeat), "a discarding reason overrides");
    assert_eq!(
        (wakes.count(), &reasons.lock().unwrap()[..]),
        (1, &[CloseReason::Shutdown, CloseReason::Heartbeat][..])
    );
    drop(outbox);
}

#[test]
fn sub_6_the_last_handle_may_be_dropped_inside_a_callback() {
    let registry = Registry::new();
    let other = Probe::new();
    let _other = join(&registry, &other, Registration::new());
    let handle = Mutex::new(Some(registry.clone()));
    let probe = Probe::closing(move |_| drop(handle.lock().unwrap().take()));
    let subscription = join(&registry, &probe, group("a"));
    let ada = id("a");
    finishes(move || {
        assert_eq!(registry.close_by_identity(&ada), 1);
        drop(registry);
    });
    drop(subscription);
    assert_eq!(other.closed(), [CloseReason::Shutdown]);
}
