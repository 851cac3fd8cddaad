//! Formats and payloads that panic.

use super::*;
use crate::kit::*;
use crate::wire::*;
use bytes::BytesMut;
use registry_core::{
    CloseReason, Encoded, LaneOptions, MessageHead, OutboxOptions, Progress, Registration,
    WireFormat,
};
use std::task::Poll;

/// Values that end in 13 cannot be framed.
fn superstitious(head: MessageHead<'_>, encoded: &Encoded, out: &mut BytesMut) {
    out.extend_from_slice(b"half of ");
    assert!(!encoded.body().ends_with(b"13"), "on purpose");
    out.truncate(out.len() - b"half of ".len());
    out.extend_from_slice(format!("m{} 0 \n", head.id().seq()).as_bytes());
}

static SUPERSTITIOUS: WireFormat = WireFormat::new("superstitious", superstitious);
static HEADLESS: WireFormat =
    WireFormat::new("headless", |_, encoded, out| out.extend_from_slice(encoded.body()))
        .with_envelope(|_, _| panic!("on purpose"), b"");
static SPEECHLESS: WireFormat =
    WireFormat::new("speechless", |_, encoded, out| out.extend_from_slice(encoded.body()))
        .with_notice(|_, _| panic!("on purpose"));

#[test]
fn iso_8_a_frame_that_cannot_be_built_fails_those_of_its_format_that_hear_it() {
    let (registry, mut flusher) = registry_and_flusher();
    let (hit, hit_socket) = wired_with(&registry, &SUPERSTITIOUS, with_flusher(), hears(&["a"]));
    let (missed, missed_socket) =
        wired_with(&registry, &SUPERSTITIOUS, with_flusher(), hears(&["b"]));
    let (_other, other) = wired(&registry, Registration::new());
    for (channel, n) in [("b", 1), ("a", 13), ("b", 2)] {
        registry.broadcast(channel, n).unwrap();
    }
    serve(&mut flusher);
    assert_eq!((flush(&hit), hit_socket.bytes()), (Some(CloseReason::Failed), vec![]));
    assert_eq!((flush(&missed), missed_socket.read().len()), (None, 2));
    assert_eq!(other.values(), [1, 13, 2]);
    assert_eq!((ended_as(&registry, CloseReason::Failed), registry.len()), (1, 2));
}

#[test]
fn iso_8_an_envelope_or_a_notice_that_panics_fails_its_subscriber_on_every_path() {
    // The flusher writes.
    let (registry, mut flusher) = registry_and_flusher();
    let (outbox, _socket) = wired_with(&registry, &HEADLESS, with_flusher(), Registration::new());
    let (_other, other) = wired(&registry, Registration::new());
    registry.broadcast("c", 1).unwrap();
    serve(&mut flusher);
    assert_eq!((flush(&outbox), other.values()), (Some(CloseReason::Failed), vec![1]));
    assert_eq!((ended_as(&registry, CloseReason::Failed), registry.len()), (1, 1));

    // The owner writes what was queued before the wire was attached.
    let (registry, _flusher) = registry_and_flusher();
    let (outbox, socket) =
        wired_with(&registry, &HEADLESS, OutboxOptions::new(), Registration::new());
    registry.broadcast("c", 1).unwrap();
    assert_eq!((flush(&outbox), socket.bytes()), (Some(CloseReason::Failed), vec![]));
    assert_eq!((ended_as(&registry, CloseReason::Failed), registry.len()), (1, 0));

    // The owner sends a control frame.
    let (outbox, socket) = wired_with(&registry, &HEADLESS, with_flusher(), Registration::new());
    outbox.send_control(b"x", now());
    assert_eq!((flush(&outbox), socket.bytes()), (Some(CloseReason::Failed), vec![]));
    assert_eq!((ended_as(&registry, CloseReason::Failed), registry.len()), (2, 0));

    // The notice of a loss.
    let (registry, mut flusher) = registry_and_flusher();
    let (outbox, socket) =
        wired_with(&registry, &SPEECHLESS, lossy().with_max_messages(size(1)), Registration::new());
    socket.set_room(0);
    (1..=2).for_each(|n| assert_eq!(registry.broadcast("c", n).unwrap().accepted, 1));
    serve(&mut flusher);
    socket.set_room(usize::MAX);
    assert_eq!((flush(&outbox), socket.bytes()), (Some(CloseReason::Failed), vec![]));
    assert_eq!((ended_as(&registry, CloseReason::Failed), registry.len()), (1, 0));
}

#[test]
fn iso_8_a_payload_whose_destructor_panics_is_contained_wherever_it_is_dropped() {
    let loads = Loads::new();
    // It is dropped after it was served.
    let (registry, mut flusher) = loaded(LaneOptions::new());
    let members: Vec<_> = (0..300).map(|_| wired_load(&registry, with_flusher())).collect();
    (1..=3).for_each(|n| {
        assert_eq!(registry.broadcast("c", loads.make(n, true)).unwrap().accepted, 300)
    });
    assert_eq!(loads.alive(), 3);
    serve(&mut flusher);
    assert!(members.iter().all(|(_, socket)| socket.values() == [1, 2, 3]));
    assert_eq!(loads.alive(), 0);
    // It is dropped in a turn that is not finished, and in a log that is not served.
    (4..=6).for_each(|n| {
        assert_eq!(registry.broadcast("c", loads.make(n, true)).unwrap().accepted, 300)
    });
    assert_eq!(flusher.poll_serve(&mut noop(), now()), Poll::Ready(Progress::More));
    (7..=9).for_each(|n| {
        assert_eq!(registry.broadcast("c", loads.make(n, true)).unwrap().accepted, 300)
    });
    assert_eq!(loads.alive(), 6);
    drop(flusher);
    assert!(registry.is_empty());
    drop(registry);
    assert_eq!(loads.alive(), 0);
    // It is dropped in a log that outlives its registry.
    let (registry, flusher) = loaded(LaneOptions::new());
    let _member = wired_load(&registry, with_flusher());
    (1..=3).for_each(|n| {
        assert_eq!(registry.broadcast("c", loads.make(n, true)).unwrap().accepted, 1)
    });
    drop(registry);
    assert_eq!(loads.alive(), 3);
    drop(flusher);
    assert_eq!(loads.alive(), 0);
}
