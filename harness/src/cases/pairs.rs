//! Each operation inside each callback, and each two of them in a row.
//!
//! A callback is a send, or a close for each kind of end. What a registry keeps while it makes the
//! call (an index, a copy, a lock, a flag) is what the operation changes, and what the next one
//! finds.

use super::*;

/// What a callback may do: to itself, to others, to the registry.
fn operations() -> Vec<Op> {
    steps! {
        sub(5, a().group("x")); sub(6, a().scope("s")); unsub(0); unsub(1); cast("a", "n1");
        revoke("x"); revoke("y"); count(); admit(0, 7, a().group("x")); op(Act::Shutdown);
        send_to("x", "b", "n2");
    }
}

/// What brings it about that sink 0 is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trigger {
    Send,
    Revoke,
    Evict,
    Fail,
    Shutdown,
}

impl Trigger {
    fn case(self, inside: Vec<Op>, name: String) -> Case {
        let act = match self {
            Trigger::Send | Trigger::Fail => cast("a", "m1"),
            Trigger::Revoke => revoke("x"),
            Trigger::Evict => sub(3, a().scope("s")),
            Trigger::Shutdown => op(Act::Shutdown),
        };
        let steps = steps! {
            sub(0, a().group("x").scope("s")); sub(1, a().group("y")); sub(2, a().group("x"));
            begin(0); act; settle(); cast("a", "m2"); settle(); count(); revoke("x"); revoke("y");
            count();
        };
        let on = if self == Trigger::Send { Hook::Send } else { Hook::Close };
        let case = case(name, steps).cap(1).rule(0, on, inside, Ending::Ok);
        if self == Trigger::Fail { case.throws(0, Hook::Send) } else { case }
    }
}

pub(super) fn pairs() -> Vec<Case> {
    let mut all = Vec::new();
    let every = [Trigger::Send, Trigger::Revoke, Trigger::Evict, Trigger::Fail, Trigger::Shutdown];
    for trigger in every {
        for (at, one) in operations().into_iter().enumerate() {
            let alone = format!("inside {trigger:?}: operation {at}");
            all.push(trigger.case(vec![one.clone()], alone));
            if !matches!(trigger, Trigger::Send | Trigger::Revoke) {
                continue;
            }
            for (next, two) in operations().into_iter().enumerate().filter(|(next, _)| *next != at)
            {
                let both = format!("inside {trigger:?}: operations {at} and {next}");
                all.push(trigger.case(vec![one.clone(), two], both));
            }
        }
    }
    all
}
