//! The bounds of outboxes and of a lane's log, and how a loss is reported.

use super::*;
use crate::kit::*;
use crate::wire::*;
use registry_core::{CloseReason, LaneOptions, Next, Overflow, Registration, SocketOutbox};
use std::sync::Arc;

#[test]
fn que_1_a_lane_obeys_the_policy_of_each_outbox() {
    let (registry, mut flusher) = registry_and_flusher();
    let bounded = |overflow| with_flusher().with_max_messages(size(2)).with_overflow(overflow);
    let [close, oldest, newest, latest] =
        [Overflow::Close, Overflow::DropOldest, Overflow::DropNewest, Overflow::KeepLatest].map(
            |overflow| {
                let (outbox, socket) =
                    wired_with(&registry, &BARE, bounded(overflow), Registration::new());
                socket.set_room(0);
                (outbox, socket)
            },
        );
    for (channel, n) in [("a", 1), ("b", 2), ("a", 3), ("b", 4), ("b", 5)] {
        assert_eq!(registry.broadcast(channel, n).unwrap().accepted, 4);
    }
    serve(&mut flusher);
    assert_eq!((registry.len(), registry.stats().dropped), (3, 9));
    let received = |(outbox, socket): &(SocketOutbox, Arc<Socket>)| {
        socket.set_room(usize::MAX);
        assert_eq!(flush(outbox), None);
        (socket.read().first().copied(), socket.values())
    };
    assert_eq!(received(&oldest), (Some(Read::Lost(3)), vec![4, 5]));
    assert_eq!(received(&newest), (Some(Read::Lost(3)), vec![1, 2]));
    assert_eq!(received(&latest), (Some(Read::Lost(3)), vec![3, 5]));
    assert_eq!(flush(&close.0), Some(CloseReason::Lagged));
    assert_eq!((close.1.bytes(), ended_as(&registry, CloseReason::Lagged)), (vec![], 1));
}

#[test]
fn que_1_a_full_log_counts_its_losses_and_every_peer_is_notified() {
    let registry = encoding();
    // There is room for three broadcasts of 128 bytes and a digit each.
    let mut flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(3 * 129)));
    let (close, closed) = wired(&registry, hears(&["a"]));
    let (_open, open) = wired_with(&registry, &BARE, lossy(), Registration::new());
    let (_two, two) = wired_with(&registry, &BARE, lossy(), hears(&["a", "b"]));
    let (_other, other) = wired(&registry, hears(&["quiet"]));
    let mut unwired = registry.open_outbox(&RAW, lossy(), hears(&["b"])).unwrap();
    let reports: Vec<_> = [("a", 1), ("b", 2), ("a", 3), ("a", 4), ("b", 5), ("c", 6)]
        .map(|(channel, n)| registry.broadcast(channel, n).unwrap())
        .iter()
        .map(|report| (report.accepted, report.dropped, report.pending))
        .collect();
    assert_eq!(reports, [(3, 0, 0), (3, 0, 0), (3, 0, 0), (0, 3, 0), (0, 3, 0), (0, 1, 0)]);
    assert_eq!(registry.stats().dropped, 7);
    serve(&mut flusher);
    assert_eq!((flush(&close), closed.values()), (Some(CloseReason::Lagged), vec![1, 3]));
    assert_eq!(registry.stats().dropped, 7, "each loss is counted once");
    registry.broadcast("b", 7).unwrap();
    serve(&mut flusher);
    [&_open, &_two].iter().for_each(|outbox| assert_eq!(flush(outbox), None));
    let message = |seq, value| Read::Message(seq, value);
    assert_eq!(
        open.read(),
        [message(1, 1), message(2, 2), message(3, 3), Read::Lost(3), message(7, 7)]
    );
    assert_eq!(
        two.read(),
        [message(1, 1), message(2, 2), message(3, 3), Read::Lost(2), message(7, 7)]
    );
    assert_eq!(
        (other.bytes(), registry.len()),
        (vec![], 4),
        "a subscriber that lost nothing is not notified, and stays"
    );
    let Some(Next::Frames(batch)) = poll(&mut unwired) else { panic!("nothing there") };
    assert_eq!((batch.lost, batch.frames.len()), (1, 2));
    // The log has room again.
    registry.broadcast("a", 8).unwrap();
    serve(&mut flusher);
    assert_eq!((open.values().last(), two.values().last()), (Some(&8), Some(&8)));
}

#[test]
fn que_1_a_loss_is_reported_before_the_next_message_and_also_without_one() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::KeepLatest] {
        let registry = encoding();
        let mut flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(1)));
        let (outbox, socket) = wired_with(
            &registry,
            &ENVELOPED,
            with_flusher().with_overflow(overflow),
            hears(&["a"]),
        );
        let (silent, silent_socket) =
            wired_with(&registry, &SILENT, with_flusher().with_overflow(overflow), hears(&["a"]));
        let (wakes, waker) = Wakes::new();
        assert!(flush_with(&outbox, &waker).is_pending());
        registry.broadcast("a", 1).unwrap();
        registry.broadcast("a", 2).unwrap();
        serve(&mut flusher);
        assert_eq!(wakes.count(), 1);
        assert_eq!((flush(&outbox), flush(&silent)), (None, None));
        assert_eq!(read(&socket.bytes(), true).0, [Read::Message(1, 1), Read::Lost(1)]);
        assert_eq!(
            read(&silent_socket.bytes(), true).0,
            [Read::Message(1, 1)],
            "and no empty envelope"
        );
        let before = registry.stats().lane_writes;
        registry.broadcast("a", 3).unwrap();
        serve(&mut flusher);
        assert_eq!(registry.stats().lane_writes, before + 2, "both are open again");
        assert_eq!(read(&socket.bytes(), true).0.last(), Some(&Read::Message(3, 3)));
    }
}

#[test]
fn que_1_a_loss_before_the_wire_is_attached_is_reported_before_the_first_message() {
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(1)));
    let _other = wired(&registry, hears(&["a"]));
    let outbox = registry.open_outbox(&BARE, lossy(), hears(&["b"])).unwrap();
    registry.broadcast("a", 1).unwrap();
    registry.broadcast("b", 2).unwrap();
    serve(&mut flusher);
    let socket = Socket::new();
    let outbox = outbox.attach(socket.clone());
    registry.broadcast("b", 3).unwrap();
    serve(&mut flusher);
    assert_eq!((flush(&outbox), socket.read()), (None, vec![Read::Lost(1), Read::Message(3, 3)]));
}

#[test]
fn que_1_one_broadcast_larger_than_the_bound_is_taken_by_an_empty_log() {
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(1)));
    let (_outbox, socket) = wired(&registry, Registration::new());
    for n in 1..=3 {
        assert_eq!(registry.broadcast("c", n).unwrap().accepted, 1);
        serve(&mut flusher);
    }
    assert_eq!(socket.values(), [1, 2, 3]);
}

#[test]
fn que_1_every_loss_is_reported_while_other_subscribers_join_and_leave() {
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(1)));
    let (outbox, socket) = wired_with(&registry, &BARE, lossy(), hears(&["b", "c"]));
    for n in 0..=3_000 {
        drop(registry.open_outbox(&BARE, with_flusher(), hears(&["a"])).unwrap());
        registry.broadcast(["b", "c"][n % 2], 1).unwrap();
    }
    serve(&mut flusher);
    assert_eq!(
        (flush(&outbox), socket.read()),
        (None, vec![Read::Message(1, 1), Read::Lost(3_000)])
    );
}

#[test]
fn que_3_a_log_keeps_no_more_than_its_bound_and_later_subscribers_miss_nothing() {
    let loads = Loads::new();
    let (registry, mut flusher) = loaded(LaneOptions::new().with_max_bytes(size(10 * 129)));
    let (_outbox, socket) = wired_load(&registry, lossy());
    let mut joined = Vec::new();
    for n in 0..1_000 {
        registry.broadcast("c", loads.make(n % 10, false)).unwrap();
        if n % 100 == 50 {
            joined.push(wired_load(&registry, with_flusher()));
        }
    }
    assert_eq!(loads.alive(), 10, "the log kept more than its bound");
    serve(&mut flusher);
    assert_eq!(loads.alive(), 0);
    assert_eq!(flush(&_outbox), None);
    let reads = socket.read();
    assert_eq!(
        (reads.len(), reads.iter().filter(|read| matches!(read, Read::Message(..))).count()),
        (11, 10)
    );
    let lost = |reads: &[Read]| {
        reads.iter().map(|read| if let Read::Lost(n) = read { *n } else { 0 }).sum::<u64>()
    };
    assert_eq!(lost(&reads), 990);
    assert_eq!(
        registry.len(),
        1,
        "ten joined while the log was full, lost what followed, and lagged"
    );
    let late = wired_load(&registry, with_flusher());
    registry.broadcast("c", loads.make(7, false)).unwrap();
    serve(&mut flusher);
    assert_eq!(late.1.values(), [7]);
}

#[test]
fn del_7_the_report_counts_each_match_once_in_every_lane() {
    let registry = encoding();
    // The first lane has room for one broadcast, the others for all of them.
    let options =
        [LaneOptions::new().with_max_bytes(size(1)), LaneOptions::new(), LaneOptions::new()];
    let mut flushers = options.map(|options| registry.open_lane(options));
    // Each joins the lane with the fewest: three, two and two.
    let mut members: Vec<_> =
        (0..7).map(|_| wired_with(&registry, &BARE, lossy(), hears(&["c"]))).collect();
    let mut outbox = open(&registry, hears(&["c"]));
    let probe = Probe::new();
    let _probe = join(&registry, &probe, Registration::new());
    let counts = |channel: &str, n: u32| {
        let report = registry.broadcast(channel, n).unwrap();
        assert_eq!((report.lagged, report.failed, report.ended, report.pending), (0, 0, 0, 0));
        (report.matched, report.accepted, report.dropped)
    };
    assert_eq!([counts("c", 1), counts("c", 2), counts("d", 3)], [(9, 9, 0), (9, 6, 3), (1, 1, 0)]);
    assert_eq!(registry.stats().dropped, 3);
    flushers.iter_mut().for_each(|flusher| assert!(!serve(flusher)));
    members.iter_mut().for_each(|(outbox, _)| assert_eq!(flush(outbox), None));
    let heard: Vec<_> = members.iter().map(|(_, socket)| socket.values().len()).collect();
    assert_eq!(
        (heard.iter().sum::<usize>(), frames(&mut outbox), probe.sent()),
        (3 + 4 * 2, vec![1, 2], vec![1, 2, 3])
    );
    let stats = registry.stats();
    assert_eq!((stats.dropped, stats.lane_messages, stats.in_lanes), (3, 11, 7));
}
