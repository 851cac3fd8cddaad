//! How publishers hand the delivery to sinks over to each other.

use super::*;
use crate::subscriber::sink::Sink;
use crate::sync::model::{every_schedule, id, message, spawn};

/// The messages that reached a sink. Invisible to loom: they are read when all threads have ended.
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
    lane: SinkLane<u64>,
    inbox: Arc<Inbox>,
}

impl Sinks {
    /// With one subscriber, under key 0.
    fn new() -> Arc<Self> {
        let inbox = Arc::new(Inbox::default());
        let lane = SinkLane::new(8);
        lane.join(id(0), Arc::new(SinkSeat::new(inbox.clone(), None)), Numbers::All);
        Arc::new(Self { seq: Mutex::new(0), lane, inbox })
    }

    fn broadcast(&self) {
        {
            let mut seq = self.seq.lock();
            *seq += 1;
            self.lane.broadcast(Audience::Hearing(None), &message(*seq), 1);
        }
        self.lane.settle(|_| {});
    }

    /// Everything was delivered and the book is back.
    fn is_at_rest(&self) -> bool {
        let state = self.lane.state.lock();
        state.log.is_empty() && state.broadcasts == 0 && state.book.is_some()
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
fn del_1_tidying_never_leaves_a_broadcast_undelivered() {
    every_schedule(|| {
        let sinks = Sinks::new();
        let leaver = {
            let sinks = sinks.clone();
            spawn(move || {
                {
                    let _order = sinks.seq.lock();
                    let seat = Arc::new(SinkSeat::new(Arc::new(Inbox::default()), None));
                    sinks.lane.join(id(1), seat, Numbers::All);
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
