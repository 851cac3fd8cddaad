//! A log that is appended to while its flusher takes it, and publishers that wait for it.

use super::*;
use crate::sync::model::{every_schedule, message, spawn, wait};
use std::num::NonZeroUsize;

fn log(max_bytes: usize) -> Arc<FlusherLog<u64>> {
    Arc::new(FlusherLog::new(
        LaneOptions::new().with_max_bytes(NonZeroUsize::new(max_bytes).expect("not zero")),
    ))
}

fn broadcasts(entries: &[Entry<u64>]) -> Vec<u64> {
    let seq = |entry: &Entry<u64>| {
        if let Entry::Broadcast(broadcast) = entry {
            Some(broadcast.message.id.seq())
        } else {
            None
        }
    };
    entries.iter().filter_map(seq).collect()
}

#[test]
fn del_1_the_flusher_is_woken_for_every_broadcast_and_for_the_end() {
    every_schedule(|| {
        let log = log(1 << 20);
        let publisher = {
            let log = log.clone();
            spawn(move || {
                wake_all(log.broadcast(Audience::Hearing(None), &message(1), 1));
                wake_all(log.broadcast(Audience::Hearing(None), &message(2), 1));
                wake_all(log.close());
            })
        };
        let mut taken = Vec::new();
        loop {
            let entries = wait(|cx| log.poll_entries(cx));
            if entries.is_empty() {
                break;
            }
            taken.extend(broadcasts(&entries));
        }
        publisher.join().unwrap();
        assert_eq!(taken, [1, 2], "ORD-1, DEL-1");
    });
}

#[test]
fn prg_3_a_publisher_that_waits_for_the_flusher_is_woken_when_it_has_caught_up() {
    every_schedule(|| {
        let log = log(usize::MAX);
        // More bytes than a flusher that has caught up has before it.
        log.state.lock().bytes = CAUGHT_UP + 1;
        assert!(
            log.broadcast(Audience::Hearing(None), &message(1), 1).is_none(),
            "nobody waits yet"
        );
        let flusher = {
            let log = log.clone();
            spawn(move || broadcasts(&wait(|cx| log.poll_entries(cx))))
        };
        wait(|cx| log.poll_caught_up(cx));
        assert_eq!(flusher.join().unwrap(), [1]);
    });
}
