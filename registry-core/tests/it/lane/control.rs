//! The owner's own frames, which `send_control` writes.

use super::*;
use crate::kit::*;
use crate::wire::*;
use registry_core::{CloseReason, Registration};
use std::time::Duration;

#[test]
fn ord_1_a_control_frame_stands_between_frames_and_wakes_the_task_that_writes_it() {
    let (registry, mut flusher) = registry_and_flusher();
    let (outbox, socket) = wired(&registry, Registration::new());
    let (wakes, waker) = Wakes::new();
    let first = now();
    outbox.send_control(&control(0), first);
    assert_eq!(socket.read(), [Read::Control(0)], "at once, when nothing waits");
    assert!(flush_with(&outbox, &waker).is_pending());
    socket.set_room(0);
    outbox.send_control(&control(1), first + Duration::from_secs(9));
    assert_eq!(outbox.last_write(), Some(first), "nothing was taken");
    assert_eq!(wakes.count(), 1, "something is left to write");
    registry.broadcast("c", 1).unwrap();
    serve(&mut flusher);
    socket.set_room(1);
    assert_eq!(flush(&outbox), None);
    assert!(outbox.is_mid_frame());
    outbox.send_control(&control(2), now());
    socket.set_room(usize::MAX);
    assert_eq!(flush(&outbox), None);
    assert_eq!(
        socket.read(),
        [Read::Control(0), Read::Control(1), Read::Control(2), Read::Message(1, 1)]
    );
    assert!(!outbox.is_mid_frame());
}

#[test]
fn ord_1_a_control_frame_behind_a_partial_one_is_written_although_nothing_follows_it() {
    let (registry, _flusher) = registry_and_flusher();
    let (outbox, socket) = wired(&registry, Registration::new());
    socket.set_room(1);
    outbox.send_control(&control(0), now());
    outbox.send_control(&control(1), now());
    assert_eq!((outbox.is_mid_frame(), outbox.pending_control()), (true, control(1).len()));
    socket.set_room(usize::MAX);
    assert_eq!(flush(&outbox), None);
    assert_eq!(socket.read(), [Read::Control(0), Read::Control(1)]);
    assert!(!outbox.is_waiting());
}

#[test]
fn rev_12_no_write_follows_a_revocation_and_the_owner_knows_whether_a_frame_was_cut() {
    for room in [0, 3, usize::MAX] {
        let (registry, mut flusher) = registry_and_flusher();
        let (outbox, socket) = wired(&registry, group("a"));
        socket.set_room(room);
        registry.broadcast("c", 1).unwrap();
        serve(&mut flusher);
        registry.broadcast("c", 2).unwrap();
        outbox.send_control(&control(0), now());
        let waiting = if room == usize::MAX { 0 } else { control(0).len() };
        assert_eq!(outbox.pending_control(), waiting);
        assert_eq!(registry.close_by_identity(id("a")), 1);
        assert_eq!(outbox.pending_control(), 0, "the owner's own frames are discarded too");
        socket.seal();
        socket.set_room(usize::MAX);
        outbox.send_control(&control(1), now());
        assert_eq!(flush(&outbox), Some(CloseReason::Revoked));
        serve(&mut flusher);
        assert_eq!(
            (socket.late(), outbox.is_mid_frame(), outbox.pending_control()),
            (0, room == 3, 0),
            "{room}"
        );
    }
}

#[test]
fn rev_3_an_end_frees_everything_that_waited_while_its_owner_holds_on() {
    let (registry, mut flusher) = registry_and_flusher();
    let (outbox, socket) = wired(&registry, group("a"));
    socket.set_room(10);
    // The first message is written in part; the second and the owner's own frame wait.
    for value in [60_000, 50_000] {
        registry.broadcast("c", value).unwrap();
        serve(&mut flusher);
    }
    outbox.send_control(&[b'#'; 40_000], now());
    assert!(outbox.is_mid_frame());
    let end = || assert_eq!(registry.close_by_identity(id("a")), 1);
    let used = allocation_counter::measure(end);
    assert!(used.bytes_current < -150_000, "something of it is kept: {used:?}");
    assert_eq!((flush(&outbox), outbox.is_mid_frame()), (Some(CloseReason::Revoked), true));
}
