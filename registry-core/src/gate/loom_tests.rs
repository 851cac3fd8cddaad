//! Push, take, close and the owner's wait, against each other.

use super::*;
use crate::sync::model::{every_schedule, spawn, wait};

static DOTS: WireFormat = WireFormat::new("dots", |_, _, out| out.extend_from_slice(b"."));

fn outbox() -> Arc<Gate> {
    Arc::new(Gate::new(&DOTS, OutboxOptions::new()))
}

fn push(outbox: &Gate, frame: &'static [u8]) -> bool {
    let offered = outbox.push(&Bytes::from_static(frame), &Channel::from("c"));
    if let Some(waker) = offered.waker {
        waker.wake();
    }
    offered.outcome == SendOutcome::Accepted
}

fn close(outbox: &Gate, reason: CloseReason) -> bool {
    let first = outbox.end(reason);
    outbox.tell();
    first
}

/// Takes until the end. Returns what came, and the reason.
fn take_all(outbox: &Gate) -> (Vec<Bytes>, CloseReason) {
    let mut taken = Vec::new();
    loop {
        match wait(|cx| outbox.poll_take(cx, 1)) {
            Taken::Frames(batch) => taken.extend(batch.frames),
            Taken::Closed(reason) => return (taken, reason),
        }
    }
}

fn is_shut_and_empty(outbox: &Gate) -> bool {
    let queue = outbox.queue.lock();
    queue.ended.is_some() && queue.frames.is_empty() && queue.bytes == 0
}

#[test]
fn rev_2_cnt_1_one_of_two_closers_ends_it_and_nothing_is_accepted_after_either_returned() {
    every_schedule(|| {
        let outbox = outbox();
        let closers = [CloseReason::Revoked, CloseReason::Unsubscribed].map(|reason| {
            let outbox = outbox.clone();
            spawn(move || {
                let first = outbox.end(reason);
                assert!(is_shut_and_empty(&outbox), "REV-2: open after {reason} returned");
                first
            })
        });
        let _ = (push(&outbox, b"1"), push(&outbox, b"2"));
        let ends = closers.map(|closer| closer.join().unwrap());
        assert!(ends[0] != ends[1], "CNT-1: {ends:?} ended it");
        assert!(is_shut_and_empty(&outbox), "REV-2: accepted after the end");
    });
}

#[test]
fn que_2_the_owner_is_woken_for_every_frame() {
    every_schedule(|| {
        let outbox = outbox();
        let publishers = [b"1", b"2"].map(|frame| {
            let outbox = outbox.clone();
            spawn(move || assert!(push(&outbox, frame)))
        });
        // Nobody closes: only a push can end this wait.
        let mut taken = 0;
        while taken < publishers.len() {
            let Taken::Frames(batch) = wait(|cx| outbox.poll_take(cx, 1)) else { unreachable!("nobody closes") };
            taken += batch.frames.len();
        }
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    });
}

#[test]
fn drn_1_the_owner_is_woken_for_a_draining_end_and_finds_all_that_was_accepted() {
    every_schedule(|| {
        let outbox = outbox();
        let publisher = {
            let outbox = outbox.clone();
            spawn(move || [&b"1"[..], b"2"].map(|frame| push(&outbox, frame)))
        };
        let closer = {
            let outbox = outbox.clone();
            spawn(move || close(&outbox, CloseReason::Shutdown))
        };
        let (taken, reason) = take_all(&outbox);
        let accepted = publisher.join().unwrap();
        assert!(closer.join().unwrap());
        assert_eq!(reason, CloseReason::Shutdown);
        let accepted: Vec<_> =
            [&b"1"[..], b"2"].into_iter().zip(accepted).filter(|(_, a)| *a).map(|(f, _)| f).collect();
        assert_eq!(taken, accepted, "a shutdown drains what was accepted, in order");
    });
}

#[test]
fn rev_3_a_discarding_end_wakes_the_owner_who_takes_nothing_after_it() {
    every_schedule(|| {
        let outbox = outbox();
        let publisher = {
            let outbox = outbox.clone();
            spawn(move || (push(&outbox, b"1"), push(&outbox, b"2")))
        };
        let closer = {
            let outbox = outbox.clone();
            spawn(move || {
                close(&outbox, CloseReason::Revoked);
                assert!(is_shut_and_empty(&outbox), "REV-3: something to take after the end returned");
            })
        };
        let (taken, reason) = take_all(&outbox);
        publisher.join().unwrap();
        closer.join().unwrap();
        assert_eq!(reason, CloseReason::Revoked);
        assert!(["1", "2"].iter().zip(&taken).all(|(sent, took)| sent == took), "ORD-1: {taken:?}");
    });
}

#[test]
fn clo_5_a_discarding_end_overrides_a_draining_one_in_either_order() {
    every_schedule(|| {
        let outbox = outbox();
        push(&outbox, b"0");
        let closers = [CloseReason::Shutdown, CloseReason::Revoked].map(|reason| {
            let outbox = outbox.clone();
            spawn(move || close(&outbox, reason))
        });
        // Only the discarding end answers this wait: the draining one must not use its waker up for good.
        assert_eq!(wait(|cx| outbox.poll_discarded(cx)), CloseReason::Revoked);
        push(&outbox, b"1");
        let ends = closers.map(|closer| closer.join().unwrap());
        assert!(ends[0] != ends[1], "CNT-1: {ends:?} ended it");
        assert!(is_shut_and_empty(&outbox), "CLO-5: a revocation during a drain discards");
    });
}
