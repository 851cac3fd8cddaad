//! Push, take, close and the owner's wait, against each other.

use super::*;
use crate::contain::wake_all;
use crate::sync::model::{every_schedule, spawn, wait};

static DOTS: WireFormat = WireFormat::new("dots", |_, _, out| out.extend_from_slice(b"."));

fn outbox() -> Arc<Gate> {
    Arc::new(Gate::new(&DOTS, OutboxOptions::new(), None))
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
    outbox.notify();
    first
}

/// Takes until the end. Returns the frames and the reason.
fn take_all(outbox: &Gate) -> (Vec<Bytes>, CloseReason) {
    let mut taken = Vec::new();
    loop {
        match wait(|cx| outbox.poll_next(cx, 1)) {
            Next::Frames(batch) => taken.extend(batch.frames),
            Next::Closed(reason) => return (taken, reason),
        }
    }
}

fn is_shut_and_empty(outbox: &Gate) -> bool {
    let state = outbox.state.lock();
    state.end.is_some() && state.queue.len() == (0, 0)
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
        // No thread closes the gate: only a push can end this wait.
        let mut taken = 0;
        while taken < publishers.len() {
            let Next::Frames(batch) = wait(|cx| outbox.poll_next(cx, 1)) else {
                unreachable!("nobody closes")
            };
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
        let accepted: Vec<_> = [&b"1"[..], b"2"]
            .into_iter()
            .zip(accepted)
            .filter(|(_, a)| *a)
            .map(|(f, _)| f)
            .collect();
        assert_eq!(taken, accepted, "a shutdown drains what was accepted, in order");
    });
}

#[test]
fn rev_3_a_discarding_end_wakes_the_owner_and_nothing_is_taken_after_it() {
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
                assert!(
                    is_shut_and_empty(&outbox),
                    "REV-3: something to take after the end returned"
                );
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
        // Only the discarding end answers this wait: the draining one must not use up its waker.
        assert_eq!(wait(|cx| outbox.poll_discarded(cx)), CloseReason::Revoked);
        push(&outbox, b"1");
        let ends = closers.map(|closer| closer.join().unwrap());
        assert!(ends[0] != ends[1], "CNT-1: {ends:?} ended it");
        assert!(is_shut_and_empty(&outbox), "CLO-5: a revocation during a drain discards");
    });
}

/// A socket that takes so many more bytes, and counts the writes after it was sealed.
///
/// Its lock is invisible to loom, because the gate must order the writes.
struct Socket(std::sync::Mutex<Written>);

struct Written {
    room: usize,
    written: Vec<u8>,
    sealed: bool,
    late: usize,
}

impl Socket {
    fn with_room(room: usize) -> Arc<Self> {
        Arc::new(Self(std::sync::Mutex::new(Written {
            room,
            written: Vec::new(),
            sealed: false,
            late: 0,
        })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Written> {
        self.0.lock().expect("nothing panics under it")
    }

    fn text(&self) -> String {
        String::from_utf8(self.state().written.clone()).expect("digits")
    }
}

impl Wire for Socket {
    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        unreachable!("these owners do not wait for room")
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        // A step of its own, so that other threads can run between the gate's check and the write.
        loom::thread::yield_now();
        let mut state = self.state();
        state.late += usize::from(state.sealed);
        if state.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = bytes.len().min(state.room);
        state.room -= written;
        state.written.extend_from_slice(&bytes[..written]);
        Ok(written)
    }
}

fn now() -> Instant {
    crate::clock::Clock::now(&crate::clock::SystemClock)
}

/// Offers as a flusher does, and returns whether it was accepted.
fn offer(gate: &Gate, frames: &[&'static [u8]]) -> bool {
    let channel = Channel::from("c");
    let queued: Vec<_> = frames
        .iter()
        .map(|frame| Queued { frame: Bytes::from_static(frame), channel: channel.clone() })
        .collect();
    let joined = DOTS.join(&queued.iter().map(|queued| queued.frame.clone()).collect::<Vec<_>>());
    gate.offer(&joined, &queued, now()).is_none_or(|offered| {
        wake_all(offered.waker);
        offered.outcome == SendOutcome::Accepted
    })
}

fn send_control(gate: &Gate, frame: &'static [u8]) {
    wake_all(gate.send_control(frame, now()).expect("the format does not panic"));
}

fn attach(gate: &Gate, socket: &Arc<Socket>) {
    wake_all(gate.attach(socket.clone()));
}

/// Writes as an owner does, until the end.
fn run(gate: &Gate) -> CloseReason {
    loop {
        match wait(|cx| gate.poll_work(cx)) {
            Work::Closed(reason) => return reason,
            Work::Write => gate.write(now()).expect("the peer is there"),
        }
    }
}

fn with_flusher() -> Arc<Gate> {
    Arc::new(Gate::new(&DOTS, OutboxOptions::new().with_flusher(), None))
}

#[test]
fn rev_12_nothing_is_written_after_an_end_returned_by_flusher_or_owner() {
    every_schedule(|| {
        let (gate, socket) = (with_flusher(), Socket::with_room(1));
        attach(&gate, &socket);
        let flusher = {
            let gate = gate.clone();
            spawn(move || (offer(&gate, &[b"1", b"2"]), offer(&gate, &[b"3"])))
        };
        let owner = {
            let (gate, socket) = (gate.clone(), socket.clone());
            spawn(move || {
                send_control(&gate, b"0");
                socket.state().room = 9;
                let _ = gate.write(now());
            })
        };
        close(&gate, CloseReason::Revoked);
        socket.state().sealed = true;
        flusher.join().unwrap();
        owner.join().unwrap();
        assert_eq!(socket.state().late, 0, "REV-12: a write after the end returned");
    });
}

#[test]
fn ord_1_a_wire_that_is_attached_while_a_flusher_offers_gets_everything_in_order() {
    every_schedule(|| {
        let (gate, socket) = (with_flusher(), Socket::with_room(usize::MAX));
        let flusher = {
            let gate = gate.clone();
            spawn(move || {
                assert!(offer(&gate, &[b"1"]) && offer(&gate, &[b"2"]));
                close(&gate, CloseReason::Shutdown);
                wake_all(gate.complete());
            })
        };
        attach(&gate, &socket);
        assert_eq!(run(&gate), CloseReason::Shutdown);
        flusher.join().unwrap();
        assert_eq!(socket.text(), "12", "ORD-1, DEL-1");
    });
}

#[test]
fn que_2_the_owner_of_a_slow_wire_is_woken_for_what_the_flusher_leaves() {
    every_schedule(|| {
        let (gate, socket) = (with_flusher(), Socket::with_room(1));
        attach(&gate, &socket);
        let flusher = {
            let gate = gate.clone();
            spawn(move || assert!(offer(&gate, &[b"1", b"2"])))
        };
        // No thread ends it, and no other thread writes: only the flusher's wake-up can end this
        // wait.
        while socket.text() != "12" {
            assert_eq!(wait(|cx| gate.poll_work(cx)), Work::Write);
            socket.state().room = 1;
            gate.write(now()).expect("the peer is there");
        }
        flusher.join().unwrap();
    });
}
