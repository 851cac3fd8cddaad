//! Send, close and unsubscribe of one sink, against each other.

use super::*;
use crate::sync::model::{every_schedule, message, spawn};
use crate::sync::{AtomicUsize, Ordering};
use std::sync::OnceLock;

/// Counts its calls. The counts are loom's, so that every order of them is tried.
#[derive(Default)]
struct Probe {
    closes: AtomicUsize,
    /// Sends that began when a close had begun.
    late: AtomicUsize,
    /// A send ends this seat from inside, as a nested revocation does.
    ends: OnceLock<Arc<SinkSeat<u64>>>,
    /// Closes that ran inside the send that caused them.
    nested: AtomicUsize,
    /// Ends from inside a send that were the subscriber's first.
    ended: AtomicUsize,
}

impl Sink<u64> for Probe {
    fn send(&self, _: &Arc<Message<u64>>) -> SendOutcome {
        self.late.fetch_add(self.closes.load(Ordering::SeqCst), Ordering::SeqCst);
        if let Some(seat) = self.ends.get() {
            let first = seat.end(CloseReason::Revoked);
            seat.notify();
            self.ended.fetch_add(usize::from(first), Ordering::SeqCst);
            self.nested.fetch_add(
                usize::from(first) * self.closes.load(Ordering::SeqCst),
                Ordering::SeqCst,
            );
        }
        SendOutcome::Accepted
    }

    fn close(&self, _: CloseReason) {
        self.closes.fetch_add(1, Ordering::SeqCst);
    }
}

fn seat() -> (Arc<Probe>, Arc<SinkSeat<u64>>) {
    let probe = Arc::new(Probe::default());
    (probe.clone(), Arc::new(SinkSeat::new(probe, None)))
}

fn close(seat: &SinkSeat<u64>, reason: CloseReason) -> bool {
    let first = seat.end(reason);
    seat.notify();
    first
}

#[test]
fn rev_2_no_send_begins_after_an_end_returned_and_the_sink_is_released() {
    every_schedule(|| {
        let (probe, seat) = seat();
        let returned = Arc::new(AtomicUsize::new(0));
        let sender = {
            let (seat, returned) = (seat.clone(), returned.clone());
            spawn(move || {
                for seq in 1..=2 {
                    let ended = returned.load(Ordering::SeqCst) == 1;
                    let outcome = seat.send(&message(seq));
                    assert!(
                        !ended || outcome == SendOutcome::Closed,
                        "REV-2: a send began after the end returned"
                    );
                }
            })
        };
        assert!(seat.end(CloseReason::Revoked));
        returned.store(1, Ordering::SeqCst);
        seat.notify();
        sender.join().unwrap();
        assert_eq!(probe.closes.load(Ordering::SeqCst), 1, "CLO-1");
        assert!(
            probe.late.load(Ordering::SeqCst) <= 1,
            "CLO-4: only a send that had its turn may still be running"
        );
        assert_eq!(Arc::strong_count(&probe), 1, "SUB-7: the sink is still held");
    });
}

#[test]
fn clo_1_two_revocations_and_a_sender_close_once() {
    every_schedule(|| {
        let (probe, seat) = seat();
        let closers = [0, 1].map(|_| {
            let (probe, seat) = (probe.clone(), seat.clone());
            spawn(move || {
                let first = close(&seat, CloseReason::Revoked);
                (first, probe.closes.load(Ordering::SeqCst))
            })
        });
        let _ = seat.send(&message(1));
        let ends = closers.map(|closer| closer.join().unwrap().0);
        assert!(ends[0] != ends[1], "CNT-1: {ends:?} ended it");
        assert_eq!(probe.closes.load(Ordering::SeqCst), 1, "CLO-1");
        assert_eq!(Arc::strong_count(&probe), 1, "SUB-7: the sink is still held");
    });
}

#[test]
fn con_2_an_unsubscribe_racing_a_revocation_is_closed_and_counted_or_neither() {
    every_schedule(|| {
        let (probe, seat) = seat();
        let revoker = {
            let seat = seat.clone();
            spawn(move || close(&seat, CloseReason::Revoked))
        };
        let sender = {
            let seat = seat.clone();
            spawn(move || seat.send(&message(1)))
        };
        let unsubscribed = close(&seat, CloseReason::Unsubscribed);
        let revoked = revoker.join().unwrap();
        let _ = sender.join().unwrap();
        assert!(revoked != unsubscribed, "CON-2");
        assert_eq!(probe.closes.load(Ordering::SeqCst), usize::from(revoked), "CLO-2, CLO-3");
        assert_eq!(Arc::strong_count(&probe), 1, "SUB-7: the sink is still held");
    });
}

#[test]
fn re_5_a_revocation_inside_a_send_notifies_once_after_it_also_when_another_thread_notifies() {
    every_schedule(|| {
        let (probe, seat) = seat();
        assert!(probe.ends.set(seat.clone()).is_ok());
        let revoker = {
            let seat = seat.clone();
            spawn(move || close(&seat, CloseReason::Revoked))
        };
        let _ = seat.send(&message(1));
        let other = revoker.join().unwrap();
        assert_eq!(
            usize::from(other) + probe.ended.load(Ordering::SeqCst),
            1,
            "CNT-1: exactly one of the two ended it"
        );
        assert_eq!(probe.closes.load(Ordering::SeqCst), 1, "CLO-1");
        assert_eq!(seat.send(&message(2)), SendOutcome::Closed);
    });
}

#[test]
fn clo_4_a_revocation_inside_a_send_waits_for_that_send() {
    every_schedule(|| {
        let (probe, seat) = seat();
        assert!(probe.ends.set(seat.clone()).is_ok());
        let sender = {
            let seat = seat.clone();
            spawn(move || seat.send(&message(2)))
        };
        let _ = sender.join().unwrap();
        let _ = seat.send(&message(1));
        assert_eq!(probe.nested.load(Ordering::SeqCst), 0, "CLO-4: closed inside the send");
        assert_eq!(probe.closes.load(Ordering::SeqCst), 1, "CLO-1");
    });
}
