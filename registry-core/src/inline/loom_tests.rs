//! The hand-over of the inline lanes from publisher to publisher.

use super::*;
use crate::lane::Numbers;
use crate::outbox::OutboxOptions;
use crate::sink::Sink;
use crate::sync::model::{every_schedule, message, spawn};

static DOTS: WireFormat = WireFormat::new("dots", |id, _, out| out.extend_from_slice(id.seq().to_string().as_bytes()));

/// What reached a sink. Kept outside of the facade: it is read when all threads are done.
#[derive(Default)]
struct Inbox(std::sync::Mutex<Vec<u64>>);

impl Sink<u64> for Inbox {
    fn send(&self, message: &Arc<Message<u64>>) -> SendOutcome {
        self.0.lock().expect("nothing panics under it").push(message.id.seq());
        SendOutcome::Accepted
    }

    fn close(&self, _: CloseReason) {}
}

/// The lane of sinks and the lock that orders its log, as the registry has them.
struct Sinks {
    seq: Mutex<u64>,
    lane: ForeignLane<u64>,
    inbox: Arc<Inbox>,
}

impl Sinks {
    /// With one subscriber, under key 0.
    fn new() -> Arc<Self> {
        let inbox = Arc::new(Inbox::default());
        let lane = ForeignLane::new(8);
        lane.join(0, Arc::new(Foreign::new(inbox.clone())), Numbers::All);
        Arc::new(Self { seq: Mutex::new(0), lane, inbox })
    }

    fn broadcast(&self) {
        {
            let mut seq = self.seq.lock();
            *seq += 1;
            self.lane.cast(None, &message(*seq), 1);
        }
        self.lane.settle(|_| {});
    }

    /// Everything was delivered and the book is back.
    fn is_at_rest(&self) -> bool {
        let state = self.lane.state.lock();
        state.log.is_empty() && state.casts == 0 && state.book.is_some()
    }
}

#[test]
fn del_1_two_publishers_leave_nothing_undelivered() {
    every_schedule(|| {
        let sinks = Sinks::new();
        let other = {
            let sinks = sinks.clone();
            spawn(move || sinks.broadcast())
        };
        sinks.broadcast();
        other.join().unwrap();
        assert!(sinks.is_at_rest(), "DEL-1: left in the log");
        assert_eq!(*sinks.inbox.0.lock().unwrap(), [1, 2], "DEL-2, ORD-3");
    });
}

#[test]
fn del_1_tidying_never_makes_a_publisher_leave_its_broadcast_to_nobody() {
    every_schedule(|| {
        let sinks = Sinks::new();
        let leaver = {
            let sinks = sinks.clone();
            spawn(move || {
                {
                    let _order = sinks.seq.lock();
                    let seat = Arc::new(Foreign::new(Arc::new(Inbox::default())));
                    sinks.lane.join(1, seat, Numbers::All);
                    sinks.lane.leave(1);
                }
                sinks.lane.tidy();
            })
        };
        sinks.broadcast();
        leaver.join().unwrap();
        sinks.lane.tidy();
        assert!(sinks.is_at_rest(), "DEL-1: left in the log");
        assert_eq!(*sinks.inbox.0.lock().unwrap(), [1], "DEL-1");
    });
}

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
        lane.append(Op::Join(0, first, Numbers::All));
        Arc::new(Self { seq: Mutex::new(0), lane, outbox })
    }

    fn broadcast(&self) {
        let message = {
            let mut seq = self.seq.lock();
            *seq += 1;
            let message = message(*seq);
            self.lane.append(Op::Cast(None, message.clone()));
            message
        };
        self.lane.settle(true, |_| {});
        assert_eq!(message.tally.report(message.id, 1).accepted, 1, "DEL-1: not pushed by return");
    }
}

impl<T> OutboxLane<T> {
    /// How many unfiltered subscribers its book knows.
    pub(crate) fn members(&self) -> usize {
        let mut members = 0;
        self.drain.lock().book.for_each_hearing(None, |_, _| members += 1);
        members
    }
}

fn seat() -> Arc<Gate> {
    Arc::new(Gate::new(&DOTS, OutboxOptions::new()))
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
fn sub_7_who_leaves_while_another_drains_is_forgotten_by_one_of_the_two() {
    every_schedule(|| {
        let outboxes = Outboxes::new();
        let leaver = {
            let outboxes = outboxes.clone();
            spawn(move || {
                {
                    let _order = outboxes.seq.lock();
                    outboxes.lane.append(Op::Join(1, seat(), Numbers::All));
                    outboxes.lane.append(Op::Leave(1));
                }
                // Loom sees no conflict in a `try_lock` that fails. This one, with the push of the draining thread, makes it
                // try the order in which that thread has the log's entries and not yet these.
                outboxes.outbox.tell();
                outboxes.lane.settle(false, |_| {});
            })
        };
        outboxes.broadcast();
        leaver.join().unwrap();
        assert!(outboxes.lane.log.lock().is_empty(), "SUB-7: the log still holds who left");
    });
}
