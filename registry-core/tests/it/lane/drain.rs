//! Shutdowns and draining subscribers.

use super::*;
use crate::kit::*;
use crate::wire::*;
use registry_core::{CloseReason, LaneOptions, Next, Progress, Registration};
use std::task::{Context, Poll};

#[test]
fn drn_1_a_shutdown_delivers_earlier_broadcasts_and_then_the_flusher_is_done() {
    let (registry, mut flusher) = registry_and_flusher();
    let (outbox, socket) = wired(&registry, Registration::new());
    let (slow, full) = wired(&registry, group("slow"));
    full.set_room(0);
    let mut unwired = registry.open_outbox(&RAW, with_flusher(), Registration::new()).unwrap();
    let (owners, owner) = Wakes::new();
    assert!(flush_with(&outbox, &owner).is_pending());
    registry.broadcast("c", 1).unwrap();
    assert_eq!(registry.begin_shutdown(), 3);
    assert_eq!(owners.count(), 1, "it is notified of the end");
    assert_eq!(
        (flush(&outbox), poll(&mut unwired)),
        (None, None),
        "the flusher has yet to deliver the last message"
    );
    assert!(flush_with(&outbox, &owner).is_pending());
    assert!(serve(&mut flusher), "done");
    assert!(serve(&mut flusher), "and again");
    assert_eq!(owners.count(), 2, "the end is complete");
    assert_eq!((flush(&outbox), socket.values()), (Some(CloseReason::Shutdown), vec![1]));
    assert_eq!(frames(&mut unwired), [1]);
    assert_eq!(poll(&mut unwired), Some(Next::Closed(CloseReason::Shutdown)));
    assert_eq!(flush(&slow), None, "it still flushes");
    assert_eq!(registry.close_by_identity(id("slow")), 0);
    assert_eq!((flush(&slow), full.bytes()), (Some(CloseReason::Revoked), vec![]));
    assert!(
        serve(&mut registry.open_lane(LaneOptions::new())),
        "a lane that is opened after the shutdown is done at once"
    );
}

#[test]
fn drn_1_a_subscriber_that_drains_within_a_turn_hears_all_before_and_nothing_after() {
    let (registry, mut flusher) = registry_and_flusher();
    let (outbox, socket) = wired(&registry, hears(&["a"]));
    let (_other, other) = wired(&registry, hears(&["a"]));
    registry.broadcast("a", 1).unwrap();
    outbox.outbox().close(CloseReason::Shutdown);
    registry.broadcast("a", 2).unwrap();
    // A draining subscriber has released its channel, whose number another channel gets.
    let (_next, next) = wired(&registry, hears(&["b"]));
    registry.broadcast("b", 3).unwrap();
    assert_eq!(flush(&outbox), None, "its flusher has yet to deliver the first message");
    serve(&mut flusher);
    assert_eq!((socket.values(), other.values(), next.values()), (vec![1], vec![1, 2], vec![3]));
    assert_eq!(flush(&outbox), Some(CloseReason::Shutdown));
}

#[test]
fn drn_1_a_draining_subscriber_gets_earlier_broadcasts_when_its_flusher_is_dropped() {
    let (registry, mut flusher) = registry_and_flusher();
    let members: Vec<_> = (0..200).map(|_| wired(&registry, Registration::new())).collect();
    serve(&mut flusher);
    registry.broadcast("c", 1).unwrap();
    members.iter().for_each(|(outbox, _)| outbox.outbox().close(CloseReason::Shutdown));
    assert_eq!(flusher.poll_serve(&mut noop(), now()), Poll::Ready(Progress::More));
    let (late, late_socket) = wired(&registry, Registration::new());
    registry.broadcast("c", 2).unwrap();
    late.outbox().close(CloseReason::Shutdown);
    drop(flusher);
    for (outbox, socket) in &members {
        assert_eq!((flush(outbox), socket.values()), (Some(CloseReason::Shutdown), vec![1]));
    }
    assert_eq!((flush(&late), late_socket.values()), (Some(CloseReason::Shutdown), vec![2]));
}

#[test]
fn drn_1_a_flusher_that_a_panic_drops_writes_no_more_and_no_owner_waits_for_it() {
    let (registry, mut flusher) = registry_and_flusher();
    let members: Vec<_> = (0..200).map(|_| wired(&registry, Registration::new())).collect();
    serve(&mut flusher);
    registry.broadcast("c", 1).unwrap();
    members.iter().for_each(|(outbox, _)| outbox.outbox().close(CloseReason::Shutdown));
    assert_eq!(flusher.poll_serve(&mut noop(), now()), Poll::Ready(Progress::More));
    let (late, late_socket) = wired(&registry, Registration::new());
    registry.broadcast("c", 2).unwrap();
    late.outbox().close(CloseReason::Shutdown);
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _dropped = flusher;
        std::panic::resume_unwind(Box::new("on purpose"));
    }));
    assert!(unwound.is_err());
    for (outbox, _) in &members {
        assert_eq!(flush(outbox), Some(CloseReason::Shutdown));
    }
    assert_eq!(
        members.iter().map(|(_, socket)| socket.writes()).sum::<usize>(),
        128,
        "as many as before the panic"
    );
    assert_eq!((flush(&late), late_socket.values()), (Some(CloseReason::Shutdown), vec![]));
}

#[test]
fn drn_1_an_outbox_without_a_flusher_drains() {
    let registry = encoding();
    let mut unwired = registry.open_outbox(&RAW, with_flusher(), Registration::new()).unwrap();
    let (outbox, socket) = wired(&registry, Registration::new());
    registry.broadcast("c", 1).unwrap();
    registry.begin_shutdown();
    assert_eq!(frames(&mut unwired), [1]);
    assert_eq!(poll(&mut unwired), Some(Next::Closed(CloseReason::Shutdown)));
    assert_eq!(flush(&outbox), Some(CloseReason::Shutdown));
    assert_eq!(socket.values(), [1]);
}

#[test]
fn sub_6_and_drn_1_idle_flushers_are_woken_when_the_registry_ends() {
    for end in END_REGISTRY {
        let registry = encoding();
        let mut flushers: Vec<_> = (0..3).map(|_| registry.open_lane(LaneOptions::new())).collect();
        // It is in the first lane; the others have no subscribers.
        let (_outbox, _socket) = wired(&registry, Registration::new());
        let wakes: Vec<_> = flushers
            .iter_mut()
            .map(|flusher| {
                let (wakes, waker) = Wakes::new();
                assert!(flusher.poll_serve(&mut Context::from_waker(&waker), now()).is_pending());
                wakes
            })
            .collect();
        let _registry = end(registry);
        assert_eq!(wakes.iter().map(|wakes| wakes.count()).collect::<Vec<_>>(), [1; 3]);
        assert!(flushers.iter_mut().all(serve), "done");
    }
}
