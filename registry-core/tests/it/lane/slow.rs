//! Sockets that take a part or nothing, or break; and outboxes without a flusher.

use super::*;
use crate::kit::*;
use crate::wire::*;
use registry_core::{CloseReason, OutboxOptions, Overflow, Registration, Wire};
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

#[test]
fn que_1_bytes_that_do_not_fit_wait_and_the_owner_writes_them() {
    let (registry, mut flusher) = registry_and_flusher();
    let (outbox, socket) = wired_with(&registry, &ENVELOPED, with_flusher(), Registration::new());
    let (wakes, waker) = Wakes::new();
    assert!(flush_with(&outbox, &waker).is_pending());
    socket.set_room(5);
    let now = crate::wire::now();
    registry.broadcast("c", 1).unwrap();
    registry.broadcast("c", 2).unwrap();
    assert!(flusher.poll_serve(&mut noop(), now).is_pending());
    assert_eq!((wakes.count(), outbox.is_mid_frame(), outbox.last_write()), (1, true, Some(now)));
    registry.broadcast("c", 3).unwrap();
    serve(&mut flusher);
    assert_eq!(wakes.count(), 1, "an owner that waits for room is not woken for more");
    outbox.send_control(&control(0), now);
    assert!(outbox.pending_control() > 0);
    for _ in 0..30 {
        socket.set_room(4);
        assert_eq!(flush(&outbox), None);
    }
    let (reads, partial) = read(&socket.bytes(), true);
    assert_eq!(
        reads,
        [Read::Message(1, 1), Read::Message(2, 2), Read::Control(0), Read::Message(3, 3)]
    );
    assert_eq!((partial.len(), outbox.is_mid_frame(), outbox.pending_control()), (0, false, 0));
    // The gate is open again: the flusher writes.
    socket.set_room(usize::MAX);
    let before = registry.stats().lane_writes;
    registry.broadcast("c", 4).unwrap();
    serve(&mut flusher);
    assert_eq!(registry.stats().lane_writes, before + 1);
    assert_eq!(read(&socket.bytes(), true).0.len(), 5);
}

#[test]
fn que_2_the_owner_of_a_wire_that_takes_nothing_is_woken_once() {
    let (registry, mut flusher) = registry_and_flusher();
    let (outbox, socket) = wired(&registry, Registration::new());
    let (wakes, waker) = Wakes::new();
    assert!(flush_with(&outbox, &waker).is_pending());
    socket.set_room(0);
    for n in 1..=3 {
        registry.broadcast("c", n).unwrap();
        serve(&mut flusher);
        assert_eq!((wakes.count(), outbox.is_waiting()), (1, true));
        assert!(flush_with(&outbox, &waker).is_pending());
    }
    socket.set_room(usize::MAX);
    assert_eq!((flush(&outbox), socket.values()), (None, vec![1, 2, 3]));
    assert!(!outbox.is_waiting());
}

#[test]
fn rev_3_an_owner_that_waits_for_room_is_woken_by_a_discarding_end() {
    let (registry, mut flusher) = registry_and_flusher();
    let (outbox, socket) = wired(&registry, group("a"));
    socket.set_room(0);
    registry.broadcast("c", 1).unwrap();
    serve(&mut flusher);
    let (wakes, waker) = Wakes::new();
    assert!(flush_with(&outbox, &waker).is_pending());
    assert_eq!(registry.close_by_identity(id("a")), 1);
    assert_eq!((wakes.count(), flush(&outbox)), (1, Some(CloseReason::Revoked)));
    assert_eq!(socket.bytes(), b"");
}

#[test]
fn ord_1_a_wire_that_is_attached_late_gets_the_queued_frames_first() {
    for with_flusher in [true, false] {
        let (registry, mut flusher) = registry_and_flusher();
        let options =
            if with_flusher { OutboxOptions::new().with_flusher() } else { OutboxOptions::new() };
        let outbox = registry.open_outbox(&BARE, options, Registration::new()).unwrap();
        let socket = Socket::new();
        let (wakes, waker) = Wakes::new();
        registry.broadcast("c", 1).unwrap();
        serve(&mut flusher);
        assert!(outbox.poll_discarded(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!((wakes.count(), registry.stats().wired), (0, 0));
        let outbox = outbox.attach(socket.clone());
        assert_eq!(registry.stats().wired, 1);
        assert_eq!(wakes.count(), 1, "there is something to write now");
        assert!(outbox.is_waiting());
        outbox.send_control(&control(0), now());
        registry.broadcast("c", 2).unwrap();
        serve(&mut flusher);
        assert_eq!(flush(&outbox), None);
        registry.broadcast("c", 3).unwrap();
        serve(&mut flusher);
        assert_eq!(flush(&outbox), None);
        let expected =
            [Read::Control(0), Read::Message(1, 1), Read::Message(2, 2), Read::Message(3, 3)];
        assert_eq!(socket.read(), expected, "with a flusher: {with_flusher}");
    }
}

#[test]
fn rev_3_a_wire_that_is_attached_after_the_end_finds_nothing_waiting() {
    let registry = encoding();
    let options =
        OutboxOptions::new().with_overflow(Overflow::DropOldest).with_max_messages(size(1));
    let outbox = registry.open_outbox(&BARE, options, group("a")).unwrap();
    (1..=2).for_each(|n| assert_eq!(registry.broadcast("c", n).unwrap().accepted, 1));
    registry.close_by_identity(id("a"));
    let socket = Socket::new();
    let outbox = outbox.attach(socket.clone());
    assert!(!outbox.is_waiting(), "the notice of a loss was discarded with the rest");
    assert_eq!((flush(&outbox), socket.bytes()), (Some(CloseReason::Revoked), vec![]));
}

#[test]
fn del_1_an_outbox_without_a_flusher_is_written_by_its_owner() {
    let registry = encoding();
    // The outbox asks for a flusher, and there is none.
    let (outbox, socket) = wired(&registry, Registration::new());
    let (wakes, waker) = Wakes::new();
    assert!(flush_with(&outbox, &waker).is_pending());
    assert_eq!(registry.broadcast("c", 1).unwrap().accepted, 1);
    assert_eq!(wakes.count(), 1);
    assert_eq!(flush(&outbox), None);
    assert_eq!(socket.values(), [1]);
}

#[test]
fn clo_4_a_wire_that_breaks_ends_its_subscriber_and_no_other() {
    let (registry, mut flusher) = registry_and_flusher();
    let (outbox, socket) = wired(&registry, group("a"));
    let (_other, other) = wired(&registry, Registration::new());
    let (wakes, waker) = Wakes::new();
    assert!(flush_with(&outbox, &waker).is_pending());
    socket.break_down();
    registry.broadcast("c", 1).unwrap();
    serve(&mut flusher);
    assert_eq!(
        (registry.len(), ended_as(&registry, CloseReason::Unsubscribed), wakes.count()),
        (1, 1, 1)
    );
    assert_eq!(flush(&outbox), Some(CloseReason::Unsubscribed));
    assert_eq!((other.values(), registry.close_by_identity(id("a"))), (vec![1], 0));
}

/// A socket whose first writes have the given results; it has room all the time.
struct Odd(Mutex<Vec<io::Result<usize>>>, Arc<Socket>);

impl Wire for Odd {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().pop().unwrap_or_else(|| self.1.try_write(bytes))
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.1.poll_ready(cx)
    }
}

#[test]
fn ord_1_a_write_that_is_interrupted_or_takes_nothing_loses_nothing() {
    for odd in
        [Ok(0), Err(io::ErrorKind::Interrupted.into()), Err(io::ErrorKind::WouldBlock.into())]
    {
        let (registry, mut flusher) = registry_and_flusher();
        let outbox = registry.open_outbox(&BARE, with_flusher(), Registration::new()).unwrap();
        let socket = Socket::new();
        let again = io::Error::from(io::ErrorKind::Interrupted);
        let outbox =
            outbox.attach(Arc::new(Odd(Mutex::new(vec![Err(again), odd]), socket.clone())));
        registry.broadcast("c", 1).unwrap();
        serve(&mut flusher);
        assert_eq!(
            (outbox.is_mid_frame(), outbox.last_write()),
            (false, None),
            "nothing was taken"
        );
        registry.broadcast("c", 2).unwrap();
        serve(&mut flusher);
        let polled = outbox.poll_flush(&mut noop(), now());
        assert!(polled.is_pending(), "{polled:?}");
        assert_eq!(socket.values(), [1, 2]);
    }
}

/// A wire that answers each question once: an owner must not ask again after it learned that its
/// peer has left.
struct Once {
    room: Mutex<Option<io::Result<()>>>,
    written: Mutex<Option<io::Result<usize>>>,
}

impl Wire for Once {
    fn try_write(&self, _: &[u8]) -> io::Result<usize> {
        self.written.lock().unwrap().take().expect("it writes again")
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.room.lock().unwrap().take().expect("it asks again"))
    }
}

#[test]
fn clo_4_an_owner_learns_that_its_peer_has_left() {
    for (room, written, kind) in [
        (Ok(()), Ok(0), io::ErrorKind::WriteZero),
        (Ok(()), Err(io::ErrorKind::ConnectionReset), io::ErrorKind::ConnectionReset),
        (Err(io::ErrorKind::BrokenPipe), Ok(1), io::ErrorKind::BrokenPipe),
    ] {
        // There is no flusher, so its owner is the first to write.
        let registry = encoding();
        let wire = Once {
            room: Mutex::new(Some(room.map_err(io::Error::from))),
            written: Mutex::new(Some(written.map_err(io::Error::from))),
        };
        let outbox = registry.open_outbox(&BARE, with_flusher(), Registration::new()).unwrap();
        let outbox = outbox.attach(Arc::new(wire));
        registry.broadcast("c", 1).unwrap();
        let flushed = outbox.poll_flush(&mut noop(), now());
        let Poll::Ready(Err(error)) = flushed else { panic!("{flushed:?}") };
        assert_eq!(error.kind(), kind);
        drop(outbox);
        assert!(registry.is_empty());
    }
}
