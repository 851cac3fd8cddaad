//! What lanes keep in memory, and for how long.

use super::*;
use crate::kit::*;
use crate::wire::*;
use registry_core::{LaneOptions, Progress, Registration};
use std::sync::Arc;
use std::task::{Context, Poll};

#[test]
fn sub_7_a_flusher_that_does_not_run_keeps_few_of_the_subscribers_that_joined_and_left() {
    let (registry, mut flusher) = registry_and_flusher();
    let (_stays, stays) = wired(&registry, Registration::new());
    let socket = Socket::new();
    let before = Arc::strong_count(&socket);
    for n in 0..20_000 {
        let outbox = registry.open_outbox(&BARE, with_flusher(), hears(&["a"])).unwrap();
        drop(outbox.attach(socket.clone()));
        if n % 1_000 == 0 {
            registry.broadcast("b", n).unwrap();
        }
    }
    let kept = Arc::strong_count(&socket) - before;
    assert!(kept < 3_000, "{kept} of 20,000 are kept");
    serve(&mut flusher);
    assert_eq!(Arc::strong_count(&socket), before);
    assert_eq!(stays.values().len(), 20);
}

#[test]
fn sub_7_a_subscriber_that_leaves_an_idle_flusher_is_removed_however_many_join_and_leave() {
    let (registry, mut flusher) = registry_and_flusher();
    let (outbox, socket) = wired(&registry, hears(&["a"]));
    serve(&mut flusher);
    drop(outbox);
    for _ in 0..3_000 {
        drop(registry.open_outbox(&BARE, with_flusher(), hears(&["a"])).unwrap());
    }
    serve(&mut flusher);
    assert_eq!(Arc::strong_count(&socket), 1);
}

#[test]
fn sub_7_nothing_is_kept_of_served_messages_and_former_subscribers() {
    let loads = Loads::new();
    let (registry, mut flusher) = loaded(LaneOptions::new());
    let (outbox, socket) = wired_load(&registry, with_flusher());
    let (wakes, waker) = Wakes::new();
    assert!(flusher.poll_serve(&mut Context::from_waker(&waker), now()).is_pending());
    registry.broadcast("c", loads.make(1, false)).unwrap();
    serve(&mut flusher);
    assert_eq!(loads.alive(), 0, "a message that was served is kept");
    assert!(flusher.poll_serve(&mut Context::from_waker(&waker), now()).is_pending());
    let before = wakes.count();
    drop(outbox);
    assert_eq!(wakes.count(), before + 1, "its flusher is woken to remove it");
    serve(&mut flusher);
    assert_eq!(Arc::strong_count(&socket), 1, "the wire of a former subscriber is kept");
    let (outbox, socket) = wired_load(&registry, with_flusher());
    registry.close_by_identity(id("a"));
    serve(&mut flusher);
    drop(outbox);
    assert_eq!(Arc::strong_count(&socket), 1);
}

#[test]
fn sub_7_a_flusher_that_is_dropped_leaves_nothing_in_its_log() {
    let loads = Loads::new();
    let (registry, mut flusher) = loaded(LaneOptions::new());
    let members: Vec<_> = (0..300).map(|_| wired_load(&registry, with_flusher())).collect();
    registry.broadcast("c", loads.make(1, false)).unwrap();
    assert_eq!(flusher.poll_serve(&mut noop(), now()), Poll::Ready(Progress::More));
    registry.broadcast("c", loads.make(2, false)).unwrap();
    drop(flusher);
    assert_eq!(loads.alive(), 0, "broadcasts that nothing will serve are kept");
    let sockets: Vec<_> = members.into_iter().map(|(_, socket)| socket).collect();
    assert!(sockets.iter().all(|socket| Arc::strong_count(socket) == 1), "SUB-7: a wire is kept");
    drop(registry);
}

#[test]
fn que_3_the_frames_of_a_served_group_are_not_kept_while_the_others_are_served() {
    let (registry, mut flusher) = registry_and_flusher();
    let names: Vec<String> = (0..60).map(|n| format!("c{n}")).collect();
    let wire = Arc::new(Nothing);
    // Each hears all channels but two, and no two of them hear the same channels.
    let _members: Vec<_> = (0..names.len())
        .flat_map(|without| (0..5).map(move |more| (without, (without + 1 + more) % 60)))
        .map(|(one, other)| {
            let heard: Vec<&str> =
                (0..60).filter(|n| ![one, other].contains(n)).map(|n| names[n].as_str()).collect();
            let outbox = registry.open_outbox(&BARE, with_flusher(), hears(&heard)).unwrap();
            outbox.attach(wire.clone())
        })
        .collect();
    serve(&mut flusher);
    for name in &names {
        registry.broadcast(name, 1_000).unwrap(); // a kilobyte on the wire
    }
    let used = allocation_counter::measure(|| assert!(!serve(&mut flusher)));
    assert!(used.bytes_max < 2 << 20, "{} bytes at once for 300 subscribers", used.bytes_max);
}
