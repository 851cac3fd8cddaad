//! How publishers hand the lane of outboxes over to each other.

use super::*;
use crate::lane::book::{Audience, Numbers};
use crate::subscriber::seat::Seat;
use crate::sync::model::{every_schedule, id, message, spawn};
use crate::types::bounds::OutboxOptions;
use crate::types::format::WireFormat;

static DOTS: WireFormat = WireFormat::new("dots", |head, _, out| {
    out.extend_from_slice(head.id().seq().to_string().as_bytes())
});

/// The lane of outboxes and the lock that orders its log.
struct Outboxes {
    seq: Mutex<u64>,
    lane: OutboxLane<u64>,
    outbox: Arc<Gate>,
}

impl Outboxes {
    /// With one subscriber, under key 0.
    fn new() -> Arc<Self> {
        let (lane, first) = (OutboxLane::new(), seat());
        let outbox = first.clone();
        lane.append(Entry::Join(id(0), Place::Outbox(first), Numbers::All));
        Arc::new(Self { seq: Mutex::new(0), lane, outbox })
    }

    fn broadcast(&self) {
        let message = {
            let mut seq = self.seq.lock();
            *seq += 1;
            let sent = message(*seq);
            let (audience, message) = (Audience::Hearing(None), sent.clone());
            self.lane.append(Entry::Broadcast(Broadcast { audience, message }));
            sent
        };
        self.lane.settle(true, |_| {});
        assert_eq!(message.tally.report(message.id, 1).accepted, 1, "DEL-1: not pushed by return");
    }
}

impl<T> OutboxLane<T> {
    /// How many unfiltered subscribers its book knows.
    pub(crate) fn members(&self) -> usize {
        let mut members = 0;
        let all = Audience::Hearing(None);
        self.consumer.lock().book.for_each(&all, |_, _| members += 1);
        members
    }
}

fn seat() -> Arc<Gate> {
    Arc::new(Gate::new(&DOTS, OutboxOptions::new(), None))
}

#[test]
fn del_1_each_of_two_publishers_finds_its_frame_pushed_by_return() {
    every_schedule(|| {
        let outboxes = Outboxes::new();
        let other = {
            let outboxes = outboxes.clone();
            spawn(move || outboxes.broadcast())
        };
        outboxes.broadcast();
        other.join().unwrap();
    });
}

#[test]
fn sub_7_a_subscriber_that_leaves_while_another_thread_consumes_is_removed_by_one_of_the_two() {
    every_schedule(|| {
        let outboxes = Outboxes::new();
        let leaver = {
            let outboxes = outboxes.clone();
            spawn(move || {
                {
                    let _order = outboxes.seq.lock();
                    outboxes.lane.append(Entry::Join(id(1), Place::Outbox(seat()), Numbers::All));
                    outboxes.lane.append(Entry::Leave(1));
                }
                // Loom sees no conflict in a `try_lock` that fails. This call conflicts with the
                // push of the draining thread. So loom also tries the order in which that thread
                // took the log before these two entries were appended.
                outboxes.outbox.notify();
                outboxes.lane.settle(false, |_| {});
            })
        };
        outboxes.broadcast();
        leaver.join().unwrap();
        assert!(outboxes.lane.log.lock().is_empty(), "SUB-7: the log still holds the leaver");
    });
}
