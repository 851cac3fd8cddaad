//! Publishers that wait until the flushers catch up.

use super::*;
use crate::kit::*;
use crate::wire::*;
use registry_core::{LaneOptions, Registration, RegistryOptions, SubscriberRegistry};
use std::future::Future;
use std::task::{Context, Poll};

#[test]
fn prg_3_a_publisher_waits_for_a_flusher_that_has_more_than_128_kib_before_it() {
    let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), ones);
    let mut flusher = registry.open_lane(LaneOptions::new());
    let (_outbox, socket) = {
        let outbox = registry.open_outbox(&DIGITS, with_flusher(), Registration::new()).unwrap();
        let socket = Socket::new();
        (outbox.attach(socket.clone()), socket)
    };
    let (wakes, waker) = Wakes::new();
    let mut caught_up = Box::pin(registry.caught_up());
    let mut poll = || caught_up.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
    // Each counts 128 bytes more than its payload.
    registry.broadcast("c", 128 * 1024 - 128).unwrap();
    assert!(poll());
    registry.broadcast("c", 0).unwrap();
    assert!(!poll() && !poll());
    assert_eq!(wakes.count(), 0);
    serve(&mut flusher);
    assert_eq!(
        (wakes.count(), socket.bytes().len()),
        (1, 128 * 1024 - 128),
        "a publisher that polls twice is registered once"
    );
    assert!(poll());
    (0..2).for_each(|_| assert_eq!(registry.broadcast("c", 128 * 1024).unwrap().accepted, 1));
    assert!(!poll());
    drop(flusher);
    assert_eq!(
        (wakes.count(), poll()),
        (2, true),
        "no publisher waits for a flusher that was dropped"
    );
}

#[test]
fn prg_3_a_publisher_that_polls_repeatedly_while_it_waits_is_registered_once() {
    let (registry, mut flusher) = registry_and_flusher();
    let (_outbox, _socket) = wired(&registry, Registration::new());
    (0..1_100).for_each(|n| assert_eq!(registry.broadcast("c", n % 10).unwrap().accepted, 1));
    let (wakes, wakers): (Vec<_>, Vec<_>) = (0..2).map(|_| Wakes::new()).unzip();
    let mut waits: Vec<_> = wakers.iter().map(|_| Box::pin(registry.caught_up())).collect();
    for _ in 0..5 {
        for (waiting, waker) in waits.iter_mut().zip(&wakers) {
            assert!(waiting.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        }
    }
    serve(&mut flusher);
    assert_eq!(wakes.iter().map(|wakes| wakes.count()).collect::<Vec<_>>(), [1, 1]);
}

/// Which of three lanes are behind, and in which order they catch up.
#[test]
fn prg_3_a_publisher_waits_for_every_flusher_that_is_behind() {
    for behind in [&[0][..], &[1], &[2], &[0, 2], &[2, 0], &[1, 2], &[2, 1], &[0, 1, 2], &[2, 1, 0]]
    {
        let registry = encoding();
        let mut flushers: Vec<_> = (0..3).map(|_| registry.open_lane(LaneOptions::new())).collect();
        let names = ["a", "b", "c"];
        let _members = names.map(|name| wired(&registry, hears(&[name])));
        for lane in behind {
            // Each counts 128 bytes and a digit.
            (0..1_100)
                .for_each(|_| assert_eq!(registry.broadcast(names[*lane], 1).unwrap().accepted, 1));
        }
        let (wakes, waker) = Wakes::new();
        let mut caught_up = Box::pin(registry.caught_up());
        let mut polled = caught_up.as_mut().poll(&mut Context::from_waker(&waker));
        let mut followed = 0;
        for lane in behind {
            assert!(polled.is_pending(), "{behind:?}: it does not wait for {lane}");
            serve(&mut flushers[*lane]);
            // A publisher that is not woken does not poll.
            if wakes.count() > followed {
                followed = wakes.count();
                polled = caught_up.as_mut().poll(&mut Context::from_waker(&waker));
            }
        }
        assert!(polled.is_ready(), "{behind:?}: it waits for ever");
    }
}

#[test]
fn sub_6_and_prg_3_waiting_publishers_are_woken_when_the_registry_ends() {
    for end in END_REGISTRY {
        let (registry, _flusher) = registry_and_flusher();
        let _member = wired(&registry, Registration::new());
        (0..1_100).for_each(|n| assert_eq!(registry.broadcast("c", n).unwrap().accepted, 1));
        let mut caught_up = Box::pin(registry.caught_up());
        let (wakes, waker) = Wakes::new();
        let mut cx = Context::from_waker(&waker);
        assert!(caught_up.as_mut().poll(&mut cx).is_pending());
        let _registry = end(registry);
        assert_eq!((wakes.count(), caught_up.as_mut().poll(&mut cx)), (1, Poll::Ready(())));
    }
}
