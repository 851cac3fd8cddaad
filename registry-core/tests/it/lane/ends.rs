//! How subscribers of a lane, flushers and registries end.

use super::*;
use crate::kit::*;
use crate::wire::*;
use registry_core::{CloseReason, LaneOptions, Registration};
use std::sync::{Arc, Mutex};
use std::task::Context;

#[test]
fn cnt_1_a_draining_subscriber_that_ends_for_another_reason_is_counted_once() {
    let broken: fn(&Socket) = |socket| socket.break_down();
    let full: fn(&Socket) = |socket| socket.set_room(0);
    for (obstacle, reason) in [(broken, CloseReason::Unsubscribed), (full, CloseReason::Lagged)] {
        let (registry, mut flusher) = registry_and_flusher();
        let options = with_flusher().with_max_messages(size(1));
        let (outbox, socket) = wired_with(&registry, &BARE, options, group("a"));
        let reasons = Arc::new(Mutex::new(Vec::new()));
        let heard = reasons.clone();
        outbox.outbox().on_end(move |reason| heard.lock().unwrap().push(reason));
        obstacle(&socket);
        registry.broadcast("c", 1).unwrap();
        registry.broadcast("c", 2).unwrap();
        assert_eq!(registry.begin_shutdown(), 1);
        serve(&mut flusher);
        assert_eq!(flush(&outbox), Some(reason));
        assert_eq!(*reasons.lock().unwrap(), [CloseReason::Shutdown, reason]);
        let stats = registry.stats();
        assert_eq!(stats.ended, [(CloseReason::Shutdown, 1)].into(), "CNT-1");
        drop(outbox);
        assert_eq!(
            (registry.stats().ended.values().sum::<u64>(), registry.stats().draining),
            (1, 0)
        );
    }
}

#[test]
fn iso_5_a_flusher_that_is_dropped_ends_its_subscribers_and_no_others() {
    let registry = encoding();
    let dropped = registry.open_lane(LaneOptions::new());
    let mut other = registry.open_lane(LaneOptions::new());
    // Each joins the lane with the fewest; of two equal lanes, the first.
    let (first, first_socket) = wired(&registry, group("a"));
    let (_second, second_socket) = wired(&registry, group("a"));
    let (draining, _socket) = wired(&registry, Registration::new());
    let (wakes, waker) = Wakes::new();
    assert!(flush_with(&first, &waker).is_pending());
    draining.outbox().close(CloseReason::Shutdown);
    assert_eq!(flush(&draining), None);
    registry.broadcast("c", 1).unwrap();
    drop(dropped);
    assert_eq!((wakes.count(), flush(&first)), (1, Some(CloseReason::Failed)));
    assert_eq!(
        flush(&draining),
        Some(CloseReason::Shutdown),
        "its flusher is gone, so it waits no longer"
    );
    assert_eq!((registry.len(), ended_as(&registry, CloseReason::Failed)), (1, 1));
    let (_third, third_socket) = wired(&registry, Registration::new());
    registry.broadcast("c", 2).unwrap();
    serve(&mut other);
    assert_eq!((second_socket.values(), third_socket.values()), (vec![1, 2], vec![2]));
    assert_eq!((first_socket.bytes(), registry.close_by_identity(id("a"))), (vec![], 1));
    drop(other);
    assert!(registry.is_empty());
    // There is no flusher now: publishers push, and the owner writes.
    let (last, socket) = wired(&registry, Registration::new());
    registry.broadcast("c", 3).unwrap();
    assert_eq!((flush(&last), socket.values()), (None, vec![3]));
}

#[test]
fn sub_6_a_registry_that_is_dropped_first_leaves_the_rest_to_its_flushers() {
    let (registry, mut flusher) = registry_and_flusher();
    let (outbox, socket) = wired(&registry, group("a"));
    let (wakes, waker) = Wakes::new();
    assert!(flusher.poll_serve(&mut Context::from_waker(&waker), now()).is_pending());
    registry.broadcast("c", 1).unwrap();
    assert_eq!(wakes.count(), 1, "it is woken because there is something to do");
    drop(registry);
    assert_eq!(flush(&outbox), None);
    assert!(serve(&mut flusher));
    assert_eq!((flush(&outbox), socket.values()), (Some(CloseReason::Shutdown), vec![1]));
    drop(flusher);
    let (registry, flusher) = registry_and_flusher();
    let (outbox, _socket) = wired(&registry, group("a"));
    drop(registry);
    drop(flusher);
    assert_eq!(flush(&outbox), Some(CloseReason::Shutdown), "nothing more can be delivered to it");
}

#[test]
fn sub_6_an_end_that_a_flusher_finds_after_the_registry_was_dropped_is_notified() {
    let (registry, mut flusher) = registry_and_flusher();
    let outbox = registry.open_outbox(&BARE, with_flusher(), Registration::new()).unwrap();
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let heard = reasons.clone();
    outbox.on_end(move |reason| heard.lock().unwrap().push(reason));
    let socket = Socket::new();
    let outbox = outbox.attach(socket.clone());
    let (wakes, waker) = Wakes::new();
    registry.broadcast("c", 1).unwrap();
    drop(registry);
    assert!(flush_with(&outbox, &waker).is_pending());
    socket.break_down();
    assert!(serve(&mut flusher));
    assert_eq!(*reasons.lock().unwrap(), [CloseReason::Shutdown, CloseReason::Unsubscribed]);
    assert_eq!((wakes.count(), flush(&outbox)), (1, Some(CloseReason::Unsubscribed)));
}
