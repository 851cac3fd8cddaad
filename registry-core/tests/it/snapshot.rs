//! SNP: what is written before everything that waits.

use crate::kit::*;
use crate::wire::{BARE, ENVELOPED, Read, Socket, control, flush, now, read, serve, with_flusher};
use bytes::Bytes;
use proptest::prelude::*;
use registry_core::{
    CloseReason, LaneOptions, Next, Outbox, OutboxOptions, Overflow, Registration, SocketOutbox,
    WireFormat,
};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A frame of `BARE` whose value is its length's padding.
fn large(value: u32) -> Bytes {
    format!("m0 {value} {}\n", "x".repeat(value as usize)).into()
}

fn take_parts(outbox: &mut Outbox, max_bytes: usize) -> Vec<(Vec<Bytes>, bool)> {
    let mut parts = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Next::Frames(batch)) = outbox.poll_next(&mut cx, max_bytes) {
        assert!(batch.frames.iter().map(Bytes::len).sum::<usize>() <= max_bytes);
        parts.push((batch.frames, batch.is_partial));
    }
    parts
}

/// Takes all that waits, in parts that are large enough.
fn taken(outbox: &mut Outbox) -> Vec<Bytes> {
    take_parts(outbox, 1_000).into_iter().flat_map(|(frames, _)| frames).collect()
}

/// An outbox with a flusher, which holds a snapshot when its socket is attached.
fn begins_with(
    registry: &Registry,
    format: &'static WireFormat,
    snapshot: Vec<Bytes>,
    socket: &Arc<Socket>,
) -> SocketOutbox {
    let outbox = registry.open_outbox(format, with_flusher(), group("a")).unwrap();
    outbox.put_first(snapshot);
    outbox.attach(socket.clone())
}

#[test]
fn snp_1_an_admission_says_after_which_broadcast_it_came() {
    let registry = encoding();
    for broadcasts in 0..3 {
        let ticket = registry.draw_ticket();
        let (options, all) = (OutboxOptions::new(), Registration::new());
        let (mut outbox, after) = ticket.admit_outbox_after(&RAW, options, all).unwrap();
        assert_eq!(after.seq(), broadcasts);
        let next = registry.broadcast("c", 7).unwrap().id;
        assert_eq!((after.epoch(), after.seq() + 1), (next.epoch(), next.seq()));
        assert_eq!(frames(&mut outbox), [7]);
    }
}

#[test]
fn snp_1_a_snapshot_comes_before_what_waits_and_takes_none_of_its_room() {
    let registry = encoding();
    let options = OutboxOptions::new().with_max_messages(size(2)).with_max_bytes(size(2));
    for overflow in [Overflow::Close, Overflow::DropOldest] {
        let options = options.with_overflow(overflow);
        let mut outbox = registry.open_outbox(&RAW, options, group("a")).unwrap();
        registry.broadcast("c", 1).unwrap();
        outbox.put_first(vec!["123".into(), Bytes::new(), "45".into()]);
        outbox.put_first(vec!["6".into()]);
        assert_eq!(registry.broadcast("c", 2).unwrap().accepted, 1);
        assert_eq!(taken(&mut outbox), ["123", "45", "6", "1", "2"]);
        outbox.put_first(Vec::new());
        assert_eq!(poll(&mut outbox), None, "nothing is nothing to take");
    }
}

#[test]
fn snp_2_a_large_frame_is_taken_in_parts_and_its_last_part_says_so() {
    let registry = encoding();
    let mut outbox = registry.open_outbox(&RAW, OutboxOptions::new(), group("a")).unwrap();
    registry.broadcast("c", 7).unwrap();
    outbox.put_first(vec!["abcdefg".into(), "hi".into()]);
    let parts = take_parts(&mut outbox, 4);
    let part = |frames: &[&'static str], is_partial| {
        (frames.iter().map(|text| Bytes::from(*text)).collect(), is_partial)
    };
    let expected = [
        part(&["abcd"], true),
        part(&["efg", "h"], true),
        part(&["i"], false),
        part(&["7"], false),
    ];
    assert_eq!(parts, expected);
}

#[test]
fn snp_2_a_revocation_in_the_middle_discards_the_rest() {
    let registry = encoding();
    let mut outbox = registry.open_outbox(&RAW, OutboxOptions::new(), group("a")).unwrap();
    outbox.put_first(vec!["abcdefg".into()]);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(outbox.poll_next(&mut cx, 3), Poll::Ready(Next::Frames(_))));
    assert_eq!(registry.close_by_identity(id("a")), 1);
    assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Revoked)));
    outbox.put_first(vec!["later".into()]);
    assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Revoked)));
}

#[test]
fn snp_2_a_shutdown_in_the_middle_flushes_the_rest() {
    let registry = encoding();
    let mut outbox = registry.open_outbox(&RAW, OutboxOptions::new(), group("a")).unwrap();
    outbox.put_first(vec!["12345".into()]);
    registry.broadcast("c", 6).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(outbox.poll_next(&mut cx, 3), Poll::Ready(Next::Frames(_))));
    registry.begin_shutdown();
    assert_eq!(taken(&mut outbox), ["45", "6"]);
    assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Shutdown)));
}

#[test]
fn snp_2_a_socket_gets_it_in_writes_of_64_kib_and_nothing_in_between() {
    const BYTES: u32 = 200_000;
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new());
    let socket = Socket::with_room(0);
    let outbox = begins_with(&registry, &BARE, vec![large(BYTES), large(1)], &socket);
    let mut seen = 0;
    for number in 0.. {
        outbox.send_control(&control(number), now());
        registry.broadcast("c", 5).unwrap();
        serve(&mut flusher);
        socket.set_room(10_000);
        assert_eq!(flush(&outbox), None);
        let written = socket.bytes().len() - seen;
        seen += written;
        assert!(written <= 10_000 && outbox.is_mid_frame());
        if seen > 150_000 {
            break;
        }
    }
    socket.set_room(usize::MAX);
    flush(&outbox);
    let (reads, partial) = read(&socket.bytes(), false);
    assert!(partial.is_empty() && !outbox.is_mid_frame());
    let first = reads.iter().position(|read| *read == Read::Message(0, BYTES)).unwrap();
    assert!(first <= 1, "one control frame may come before it");
    assert_eq!(reads.iter().filter(|read| matches!(read, Read::Message(0, _))).count(), 2);
    let controls = reads.iter().filter(|read| matches!(read, Read::Control(_))).count();
    assert_eq!(controls + 2, reads.len() - controls, "as many messages as control frames");
}

#[test]
fn rev_12_nothing_of_a_snapshot_is_written_after_a_revocation() {
    let registry = encoding();
    let socket = Socket::with_room(100_000);
    let outbox = begins_with(&registry, &ENVELOPED, vec![large(300_000)], &socket);
    assert_eq!(flush(&outbox), None);
    assert!(outbox.is_mid_frame());
    assert_eq!(registry.close_by_identity(id("a")), 1);
    socket.seal();
    socket.set_room(usize::MAX);
    assert_eq!(flush(&outbox), Some(CloseReason::Revoked));
    assert!(outbox.is_mid_frame(), "no farewell can follow");
    assert_eq!((socket.late(), socket.bytes().len()), (0, 100_000));
}

/// A write that ends between two parts of a frame ends within the frame.
#[test]
fn snp_2_a_write_that_ends_with_a_part_is_within_a_frame() {
    let registry = encoding();
    let socket = Socket::with_room(64 * 1024);
    let outbox = begins_with(&registry, &BARE, vec![large(100_000)], &socket);
    assert_eq!(flush(&outbox), None);
    assert_eq!(socket.bytes().len(), 64 * 1024);
    assert!(outbox.is_mid_frame());
}

proptest! {
    #[test]
    fn snp_2_whatever_the_sizes_all_of_it_comes_once_and_in_order(
        sizes in proptest::collection::vec(0_usize..50, 0..6),
        max_bytes in 1_usize..60,
        broadcasts in 0_u32..4,
    ) {
        let registry = encoding();
        let mut outbox = registry.open_outbox(&RAW, OutboxOptions::new(), group("a")).unwrap();
        for n in 0..broadcasts {
            registry.broadcast("c", n).unwrap();
        }
        let snapshot: Vec<Bytes> = sizes.iter().map(|size| "s".repeat(*size).into()).collect();
        outbox.put_first(snapshot);
        let parts = take_parts(&mut outbox, max_bytes.max(1));
        let all: Vec<u8> = parts.iter().flat_map(|(frames, _)| frames.concat()).collect();
        let mut expected = "s".repeat(sizes.iter().sum());
        (0..broadcasts).for_each(|n| expected.push_str(&n.to_string()));
        prop_assert_eq!(String::from_utf8(all).unwrap(), expected);
        prop_assert!(parts.last().is_none_or(|(_, is_partial)| !is_partial));
    }
}
