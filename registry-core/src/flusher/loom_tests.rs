//! A log that is appended to while its flusher takes it, and publishers who wait for it.

use super::*;
use crate::sync::model::{every_schedule, message, spawn, wait};

fn log(max_bytes: usize) -> Arc<Log<u64>> {
    Arc::new(Log::new(LaneOptions::new().with_max_bytes(NonZeroUsize::new(max_bytes).expect("not zero"))))
}

fn casts(entries: &[Entry<u64>]) -> Vec<u64> {
    let cast = |entry: &Entry<u64>| if let Entry::Cast(cast) = entry { Some(cast.message.id.seq()) } else { None };
    entries.iter().filter_map(cast).collect()
}

#[test]
fn del_1_the_flusher_is_woken_for_every_broadcast_and_for_the_end() {
    every_schedule(|| {
        let log = log(1 << 20);
        let publisher = {
            let log = log.clone();
            spawn(move || {
                wake_all(log.cast(None, &message(1), 1));
                wake_all(log.cast(None, &message(2), 1));
                wake_all(log.close());
            })
        };
        let mut taken = Vec::new();
        loop {
            let entries = wait(|cx| log.poll_entries(cx));
            if entries.is_empty() {
                break;
            }
            taken.extend(casts(&entries));
        }
        publisher.join().unwrap();
        assert_eq!(taken, [1, 2], "ORD-1, DEL-1");
    });
}

#[test]
fn prg_3_a_publisher_who_waits_for_the_flusher_is_woken_when_it_has_caught_up() {
    every_schedule(|| {
        let log = log(usize::MAX);
        // More than a flusher that keeps up has before it.
        log.state.lock().bytes = CAUGHT_UP + 1;
        assert!(log.cast(None, &message(1), 1).is_none(), "nobody waits yet");
        let flusher = {
            let log = log.clone();
            spawn(move || casts(&wait(|cx| log.poll_entries(cx))))
        };
        wait(|cx| log.poll_caught_up(cx));
        assert_eq!(flusher.join().unwrap(), [1]);
    });
}
