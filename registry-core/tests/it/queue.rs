//! QUE and REV-3: bounded queues, and the messages in them.

use crate::kit::*;
use proptest::prelude::*;
use registry_core::{
    Batch, CloseReason, Next, Outbox, OutboxOptions, Overflow, Registration, WireFormat,
};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// A frame whose length is its payload.
static SIZED: WireFormat = WireFormat::new("sized", |_, encoded, out| {
    let length = std::str::from_utf8(encoded.body()).unwrap().parse().unwrap();
    out.resize(length, b'x');
});

fn bounded(messages: usize, bytes: usize, overflow: Overflow) -> OutboxOptions {
    OutboxOptions::new()
        .with_max_messages(size(messages))
        .with_max_bytes(size(bytes))
        .with_overflow(overflow)
}

fn sized(registry: &Registry, options: OutboxOptions) -> Outbox {
    registry.open_outbox(&SIZED, options, group("a")).unwrap()
}

fn take(outbox: &mut Outbox, max_bytes: usize) -> Batch {
    match outbox.poll_next(&mut Context::from_waker(Waker::noop()), max_bytes) {
        Poll::Ready(Next::Frames(batch)) => batch,
        other => panic!("{other:?}"),
    }
}

fn lengths(batch: &Batch) -> Vec<usize> {
    batch.frames.iter().map(|frame| frame.len()).collect()
}

#[test]
fn que_1_more_messages_than_the_bound_end_it_as_lagged() {
    let registry = encoding();
    let mut outbox =
        registry.open_outbox(&RAW, bounded(3, 1_000, Overflow::Close), group("a")).unwrap();
    let mut other = open(&registry, Registration::new());
    (1..=3).for_each(|n| assert_eq!(registry.broadcast("c", n).unwrap().accepted, 2));
    let report = registry.broadcast("c", 4).unwrap();
    assert_eq!((report.accepted, report.lagged), (1, 1));
    assert_eq!(
        poll(&mut outbox),
        Some(Next::Closed(CloseReason::Lagged)),
        "what it held is discarded"
    );
    assert_eq!((registry.len(), registry.close_by_identity(id("a"))), (1, 0));
    assert_eq!(registry.stats().ended[&CloseReason::Lagged], 1, "the loss is counted");
    assert_eq!(frames(&mut other), [1, 2, 3, 4]);
}

#[test]
fn que_1_more_bytes_than_the_bound_end_it_as_lagged() {
    let registry = encoding();
    let mut outbox = sized(&registry, bounded(1_000, 100, Overflow::Close));
    registry.broadcast("c", 60).unwrap();
    registry.broadcast("c", 40).unwrap();
    assert_eq!(lengths(&take(&mut outbox, 1_000)), [60, 40], "a full queue is within its bound");
    registry.broadcast("c", 60).unwrap();
    assert_eq!(registry.broadcast("c", 41).unwrap().lagged, 1);
    assert_eq!(ended(&mut outbox), Some(CloseReason::Lagged));
}

#[test]
fn que_1_one_message_larger_than_the_bound_is_accepted_by_an_empty_outbox() {
    for overflow in [Overflow::Close, Overflow::DropOldest] {
        let registry = encoding();
        let mut outbox = sized(&registry, bounded(10, 100, overflow));
        assert_eq!(registry.broadcast("c", 5_000).unwrap().accepted, 1);
        assert_eq!(lengths(&take(&mut outbox, 1)), [5_000], "and taken whole");
        assert_eq!(registry.broadcast("c", 5_000).unwrap().accepted, 1);
        let next = registry.broadcast("c", 1).unwrap();
        match overflow {
            Overflow::DropOldest => assert_eq!((next.accepted, registry.stats().dropped), (1, 1)),
            _ => assert_eq!((next.lagged, ended(&mut outbox)), (1, Some(CloseReason::Lagged))),
        }
    }
}

#[test]
fn que_1_dropping_the_oldest_counts_every_loss() {
    let registry = encoding();
    let mut outbox =
        registry.open_outbox(&RAW, bounded(3, 1_000, Overflow::DropOldest), group("a")).unwrap();
    (1..=5).for_each(|n| assert_eq!(registry.broadcast("c", n).unwrap().accepted, 1));
    let Some(Next::Frames(batch)) = poll(&mut outbox) else { panic!("nothing there") };
    assert_eq!((batch.lost, batch.frames), (2, ["3", "4", "5"].map(Into::into).to_vec()));
    (6..=7).for_each(|n| assert_eq!(registry.broadcast("c", n).unwrap().accepted, 1));
    let Some(Next::Frames(batch)) = poll(&mut outbox) else { panic!("nothing there") };
    assert_eq!((batch.lost, batch.frames.len()), (0, 2), "a loss is reported once");
    assert_eq!((registry.stats().dropped, registry.len(), ended(&mut outbox)), (2, 1, None));
}

#[test]
fn que_1_dropping_the_oldest_makes_room_in_bytes() {
    let registry = encoding();
    let mut outbox = sized(&registry, bounded(1_000, 100, Overflow::DropOldest));
    [30, 30, 30, 65]
        .iter()
        .for_each(|n| assert_eq!(registry.broadcast("c", *n).unwrap().accepted, 1));
    let batch = take(&mut outbox, 1_000);
    assert_eq!((lengths(&batch), batch.lost), (vec![30, 65], 2), "no more are dropped than needed");
}

proptest! {
    #[test]
    fn que_3_no_outbox_exceeds_its_bound(
        steps in proptest::collection::vec(
            prop_oneof![3 => (0_u32..150).prop_map(Some), 1 => Just(None)],
            0..80,
        ),
        messages in 1_usize..6,
        bytes in 1_usize..120,
    ) {
        let registry = encoding();
        let mut outbox = sized(&registry, bounded(messages, bytes, Overflow::DropOldest));
        let (mut sent, mut seen, mut lost) = (0_u64, 0_u64, 0_u64);
        for step in steps.into_iter().chain([None]) {
            if let Some(length) = step {
                registry.broadcast("c", length).unwrap();
                sent += 1;
            } else if let Some(Next::Frames(batch)) = poll(&mut outbox) {
                let lengths = lengths(&batch);
                prop_assert!(lengths.len() <= messages);
                prop_assert!(lengths.len() == 1 || lengths.iter().sum::<usize>() <= bytes);
                seen += lengths.len() as u64;
                lost += batch.lost;
            }
        }
        let dropped = registry.stats().dropped;
        prop_assert_eq!((seen + lost, dropped), (sent, lost), "a loss was not counted");
    }
}

#[test]
fn que_1_frames_that_the_owner_took_make_room() {
    let registry = encoding();
    let mut outbox = sized(&registry, bounded(4, 100, Overflow::Close));
    for _ in 0..50 {
        [50, 25, 25]
            .iter()
            .for_each(|n| assert_eq!(registry.broadcast("c", *n).unwrap().accepted, 1));
        assert_eq!(lengths(&take(&mut outbox, 75)), [50, 25]);
        assert_eq!(lengths(&take(&mut outbox, 75)), [25]);
    }
}

#[test]
fn rev_3_close_discards_queued() {
    let registry = encoding();
    let mut outbox = sized(&registry, OutboxOptions::new());
    (0..5).for_each(|_| assert_eq!(registry.broadcast("c", 30 << 10).unwrap().accepted, 1));
    assert_eq!(
        lengths(&take(&mut outbox, 64 << 10)),
        [30 << 10; 2],
        "only what was taken cannot be recalled"
    );
    assert_eq!(registry.close_by_identity(id("a")), 1);
    assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Revoked)));
    assert!(format!("{outbox:?}").contains("messages: 0, bytes: 0, "), "{outbox:?}");
}

#[test]
fn que_3_an_emptied_outbox_keeps_a_small_buffer_and_no_large_one() {
    let registry = encoding();
    let burst = |outboxes: &mut [Outbox]| {
        (0..1_000)
            .for_each(|_| assert_eq!(registry.broadcast("c", 1).unwrap().accepted, outboxes.len()));
        outboxes.iter_mut().for_each(|outbox| assert_eq!(frames(outbox).len(), 1_000));
    };
    let mut outboxes = vec![open(&registry, Registration::new())];
    burst(&mut outboxes); // Here the registry allocates its buffers.
    outboxes.push(open(&registry, Registration::new()));
    let kept = allocation_counter::measure(|| burst(&mut outboxes));
    assert!(kept.bytes_current < 4_096, "{kept:?}");
    outboxes.pop();
    let outbox = &mut outboxes[0];
    let message_by_message = |outbox: &mut Outbox| {
        let mut one = || {
            assert_eq!(registry.broadcast("c", 1).unwrap().accepted, 1);
            assert_eq!(take(outbox, 1).frames.len(), 1);
        };
        one();
        allocation_counter::measure(|| (0..10).for_each(|_| one())).count_total
    };
    let emptied = message_by_message(outbox);
    registry.broadcast("c", 1).unwrap();
    assert_eq!(message_by_message(outbox), emptied, "a buffer for each message");
}

#[test]
fn rev_3_every_discarding_end_discards() {
    for reason in CloseReason::ALL {
        let registry = encoding();
        let mut outbox = open(&registry, Registration::new());
        registry.broadcast("c", 1).unwrap();
        outbox.close(reason);
        let expected = if reason == CloseReason::Shutdown { vec![1] } else { vec![] };
        assert_eq!(frames(&mut outbox), expected, "{reason}");
        assert_eq!(poll(&mut outbox), Some(Next::Closed(reason)));
        assert_eq!(registry.broadcast("c", 2).unwrap().accepted, 0);
    }
}

#[test]
fn que_2_an_owner_that_waits_is_woken_by_a_message_and_by_an_end() {
    let registry = encoding();
    let mut outbox = open(&registry, group("a"));
    let ((old, stale), (new, waker)) = (Wakes::new(), Wakes::new());
    assert!(outbox.poll_next(&mut Context::from_waker(&stale), 1).is_pending());
    assert!(outbox.poll_next(&mut Context::from_waker(&waker), 1).is_pending());
    registry.broadcast("c", 1).unwrap();
    registry.broadcast("c", 2).unwrap();
    assert_eq!((old.count(), new.count()), (0, 1), "the latest waker, once");
    assert_eq!(frames(&mut outbox), [1, 2]);
    {
        let mut taking = pin!(outbox.next(1));
        assert!(taking.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        registry.close_by_identity(id("a"));
        assert_eq!(new.count(), 2);
        let closed = Poll::Ready(Next::Closed(CloseReason::Revoked));
        assert_eq!(taking.poll(&mut Context::from_waker(&waker)), closed);
    }
    drop((stale, waker));
    assert_eq!((Arc::strong_count(&old), Arc::strong_count(&new)), (1, 1), "a waker is kept");
}

#[test]
fn que_2_a_lagging_end_wakes_the_owner() {
    let registry = encoding();
    let mut outbox =
        registry.open_outbox(&RAW, bounded(1, 1_000, Overflow::Close), group("a")).unwrap();
    let (wakes, waker) = Wakes::new();
    assert!(outbox.poll_next(&mut Context::from_waker(&waker), 1).is_pending());
    registry.broadcast("c", 1).unwrap();
    assert_eq!(wakes.count(), 1);
    // The owner is busy writing, and waits only for the end.
    assert!(outbox.poll_discarded(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(registry.broadcast("c", 2).unwrap().lagged, 1);
    assert_eq!((wakes.count(), poll(&mut outbox)), (2, Some(Next::Closed(CloseReason::Lagged))));
}

#[test]
fn que_2_a_full_outbox_delays_no_other_subscriber() {
    let registry = encoding();
    let mut slow =
        registry.open_outbox(&RAW, bounded(2, 1_000, Overflow::DropOldest), group("a")).unwrap();
    let probe = Probe::new();
    let _probe = join(&registry, &probe, Registration::new());
    let mut quick = open(&registry, Registration::new());
    for n in 0..1_000 {
        assert_eq!(registry.broadcast("c", n).unwrap().accepted, 3);
        assert_eq!(frames(&mut quick), [n]);
    }
    assert_eq!((frames(&mut slow), probe.sent().len()), (vec![998, 999], 1_000));
}

#[test]
fn rev_3_an_owner_learns_of_a_discarding_end_without_taking() {
    let registry = encoding();
    let (revoked, mut drained) = (open(&registry, group("a")), open(&registry, group("b")));
    let (wakes, waker) = Wakes::new();
    registry.broadcast("c", 1).unwrap();
    assert!(revoked.poll_discarded(&mut Context::from_waker(&waker)).is_pending());
    registry.close_by_identity(id("a"));
    assert_eq!(wakes.count(), 1);
    assert_eq!(
        revoked.poll_discarded(&mut Context::from_waker(&waker)),
        Poll::Ready(CloseReason::Revoked)
    );
    registry.begin_shutdown();
    assert!(
        drained.poll_discarded(&mut Context::from_waker(&waker)).is_pending(),
        "a drain discards nothing"
    );
    registry.close_by_identity(id("b"));
    assert_eq!(wakes.count(), 2, "a revocation during the drain wakes");
    assert_eq!(
        drained.poll_discarded(&mut Context::from_waker(&waker)),
        Poll::Ready(CloseReason::Revoked)
    );
    assert_eq!(poll(&mut drained), Some(Next::Closed(CloseReason::Revoked)));
}

#[test]
fn sub_2_a_close_handle_ends_its_own_subscriber_and_keeps_nothing() {
    let registry = encoding();
    let mut outbox = open(&registry, group("a"));
    let handle = outbox.close_handle();
    handle.close(CloseReason::Expired);
    assert_eq!((ended(&mut outbox), registry.len()), (Some(CloseReason::Expired), 0));
    drop(outbox);
    let _later = open(&registry, group("a")); // It gets the same key.
    handle.close(CloseReason::Expired);
    assert_eq!((registry.len(), registry.stats().ended[&CloseReason::Expired]), (1, 1));
    drop(registry);
    handle.close(CloseReason::Expired);
}
