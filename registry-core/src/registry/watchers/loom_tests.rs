//! A queue of events that is filled and closed while its consumer waits.

use super::*;
use crate::contain::wake_all;
use crate::sync::model::{every_schedule, spawn, wait};

#[test]
fn who_3_the_consumer_of_a_watch_is_woken_for_every_event_and_for_the_end() {
    every_schedule(|| {
        let queue = Arc::new(EventQueue::new(NonZeroUsize::MIN));
        let ada = Identity::new("account", "ada");
        let registry = {
            let (queue, ada) = (queue.clone(), ada.clone());
            spawn(move || {
                wake_all(queue.push(Presence::Came(ada.clone())));
                wake_all(queue.push(Presence::Left(ada)));
                wake_all(queue.close());
            })
        };
        let mut seen = Vec::new();
        while let Some(event) = wait(|cx| queue.poll(cx)) {
            seen.push(event);
        }
        registry.join().unwrap();
        let last = [Presence::Left(ada.clone()), Presence::Missed(1)];
        assert_eq!((seen.len(), &seen[0]), (2, &Presence::Came(ada)), "WHO-3");
        assert!(last.contains(&seen[1]), "WHO-3: {seen:?}");
    });
}
