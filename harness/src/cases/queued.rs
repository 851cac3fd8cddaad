//! Outboxes: bounds, policies, readers that do not read, and ends that discard.

use super::*;
use crate::script::{Outbox, Overflow};

const LARGE: &str = "larger than the bound";

fn take(sub: u32) -> Op {
    op(Act::Take { sub, bytes: None })
}

fn take_few(sub: u32, bytes: u32) -> Op {
    op(Act::Take { sub, bytes: Some(bytes) })
}

fn shutdown() -> Op {
    op(Act::Shutdown)
}

fn roomy() -> Outbox {
    Outbox::default()
}

pub(super) fn queued() -> Vec<Case> {
    [nested(), stalled(), overflow(), taking(), discards(), overlaps()].concat()
}

/// Ends in the middle of a broadcast, where no threads race and nothing overflows: what shows here
/// has one explanation.
fn nested() -> Vec<Case> {
    let x = || a().group("x").outbox(roomy());
    cases! {
        "broadcast from inside a send, beside outboxes" {
            sub(0, a()); sub(1, a().outbox(roomy())); cast("a", "m1"); settle(); take(1); take(1);
        } .on_send(0, vec![cast("a", "n1"), take(1)]);
        "revoke from inside a send, beside outboxes" {
            sub(0, a()); sub(1, x()); cast("a", "m1"); settle(); take(1); take(1);
        } .on_send(0, vec![revoke("x"), take(1), cast("a", "n1")]);
        "an outbox from inside a send" {
            sub(0, a()); cast("a", "m1"); settle(); take(1); cast("a", "m2"); settle(); take(1);
        } .on_send(0, vec![sub(1, x()), take(1)]);
    }
}

/// A reader that takes nothing delays no other subscriber; if it does, every overflow costs time.
/// So these cases come early.
fn stalled() -> Vec<Case> {
    let each = |policy| {
        let full = || a().outbox(Outbox::of(1, policy));
        let threads = vec![vec![cast("a", "m1"), cast("a", "m2")], vec![cast("a", "m3")]];
        let threads = steps! {
            sub(0, full()); sub(1, a().outbox(roomy())); sub(2, a()); op(Act::Par { threads });
            settle(); take(1); take(0);
        };
        let one = steps! {
            sub(0, a()); sub(1, full()); sub(2, a().outbox(roomy())); sub(3, a());
            cast("a", "m1"); cast("a", "m2"); cast("a", "m3"); settle(); take(2); take(2);
        };
        [
            case(format!("broadcasts past a full outbox from two threads: {policy:?}"), threads),
            case(format!("others get what a full outbox does not: {policy:?}"), one),
        ]
    };
    Overflow::ALL.into_iter().flat_map(each).collect()
}

fn overflow() -> Vec<Case> {
    let mut all = Vec::new();
    for policy in Overflow::ALL {
        let past = |bounds| {
            steps! {
                sub(0, a().group("x").outbox(bounds)); cast("a", "m1"); cast("a", "m2");
                cast("a", "m3"); settle(); take(0); count(); cast("a", "m4"); settle(); take(0);
                take(0); revoke("x"); take(0);
            }
        };
        let large = steps! {
            sub(0, a().outbox(Outbox::of_bytes(4, policy))); cast("a", LARGE); settle(); take(0);
            cast("a", "m1"); cast("a", LARGE); settle(); take(0); take(0);
        };
        all.extend([
            case(format!("more messages than fit: {policy:?}"), past(Outbox::of(2, policy))),
            case(format!("more bytes than fit: {policy:?}"), past(Outbox::of_bytes(5, policy))),
            case(format!("a message larger than the bound: {policy:?}"), large),
        ]);
    }
    for policy in [Overflow::DropOldest, Overflow::DropNewest] {
        let letters = steps! {
            sub(0, a().outbox(Outbox::of_bytes(4, policy))); cast("a", "\u{e9}1");
            cast("a", "\u{e9}"); settle(); take(0); take(0);
        };
        all.push(case(format!("bytes are not letters: {policy:?}"), letters));
    }
    // The bounds of an outbox that names none, to the last message and to the last byte.
    let usual = || a().outbox(Outbox { overflow: Overflow::DropNewest, ..Outbox::default() });
    let casts = (1..=1_025).map(|n| cast("a", &format!("m{n}"))).collect();
    let quarter = |n: u32| cast("a", &format!("{n}{}", "x".repeat(256 * 1024 - 1)));
    let quarters = (1..=5).map(quarter).collect();
    let takes = (0..5).map(|_| take(0)).collect();
    let latest = on(&["a", "b"]).outbox(Outbox::of(3, Overflow::KeepLatest));
    all.extend(cases! {
        "as many messages as fit by default" (
            [vec![sub(0, usual())], casts, vec![settle(), take(0), take(0)]].concat()
        );
        "as many bytes as fit by default" (
            [vec![sub(0, usual())], quarters, vec![settle()], takes].concat()
        );
        "the latest of a channel displaces its older ones" {
            sub(0, latest); cast("b", "m1"); cast("a", "m2"); cast("b", "m3"); cast("a", "m4");
            settle(); take(0); cast("b", "m5"); settle(); take(0);
        };
        "the latest of a channel displaces its older ones, and then others" {
            sub(0, on(&["a", "b"]).outbox(Outbox::of_bytes(8, Overflow::KeepLatest)));
            cast("a", "m1"); cast("b", "m2...."); cast("a", "m3..."); settle(); take(0); take(0);
        };
    });
    all
}

fn taking() -> Vec<Case> {
    cases! {
        "no more at once than asked for" {
            sub(0, a().outbox(roomy())); cast("a", "m1"); cast("a", "m2"); cast("a", "m3");
            settle(); take_few(0, 4); take_few(0, 1); take(0); take(0);
        };
        "a message that half fits is not taken" {
            sub(0, a().outbox(roomy())); cast("a", "m1"); cast("a", "m2"); cast("a", "m3");
            settle(); take_few(0, 3); take_few(0, 5); take(0); take(0);
        };
        "64 KiB at once, if nothing is said" ({
            let large = |n: u32| cast("a", &format!("{n}{}", "x".repeat(40 * 1024)));
            steps! {
                sub(0, a().outbox(roomy())); large(1); large(2); settle(); take(0); take(0);
                take(0);
            }
        });
        "the end is said again" {
            sub(0, a().group("x").outbox(roomy())); cast("a", "m1"); settle(); revoke("x"); take(0);
            take(0); take(0);
        };
        "outboxes filter as sinks do" {
            sub(0, a().outbox(roomy())); sub(1, Registration::all().outbox(roomy()));
            sub(2, on(&["b"]).outbox(roomy())); cast("b", "m1"); cast("a", "m2"); cast("b", "m3");
            settle(); take(0); take(1); take(2);
        };
        "an outbox by ticket" {
            begin(0); begin(1); admit(0, 0, a().group("x").outbox(roomy())); revoke("y");
            admit(1, 1, a().group("y").outbox(roomy())); cast("a", "m1"); settle(); take(0);
            count();
        };
    }
}

fn discards() -> Vec<Case> {
    let x = || a().group("x").outbox(roomy());
    cases! {
        "revoke discards what waits" {
            sub(0, x()); sub(1, a().outbox(roomy())); cast("a", "m1"); cast("a", "m2"); settle();
            take_few(0, 1); revoke("x"); take(0); cast("a", "m3"); settle(); take(0); take(1);
        };
        "logging out discards what waits" {
            sub(0, x()); cast("a", "m1"); settle(); revoke_as("x", Reason::LoggedOut);
            cast("a", "m2"); settle(); take(0);
        };
        "the first of two reasons is reported" {
            sub(0, x()); revoke_as("x", Reason::LoggedOut); revoke_as("x", Reason::Expired);
            take(0); take(0);
        };
        "an evicted outbox loses what waits" {
            sub(0, a().scope("s").outbox(roomy())); cast("a", "m1"); settle();
            sub(1, a().scope("s").outbox(roomy())); cast("a", "m2"); settle(); take(0); take(1);
            count();
        } .cap(1);
        "a lagged subscriber is gone" {
            sub(0, a().group("x").outbox(Outbox::of(1, Overflow::Close))); cast("a", "m1");
            cast("a", "m2"); settle(); count(); revoke("x"); take(0); sub(1, x()); cast("a", "m3");
            settle(); take(1); revoke("x");
        };
        "revoke during a shutdown discards what waits" {
            sub(0, x()); cast("a", "m1"); settle(); shutdown(); revoke("x"); take(0); take(0);
            count();
        };
        "log out during a shutdown discards what waits" {
            sub(0, x()); cast("a", "m1"); settle(); shutdown(); revoke_as("x", Reason::LoggedOut);
            revoke_as("x", Reason::Expired); take(0); take(0);
        };
        "unsubscribe, then take" {
            sub(0, x()); cast("a", "m1"); settle(); unsub(0); cast("a", "m2"); settle(); take(0);
            revoke("x");
        };
    }
}

fn overlaps() -> Vec<Case> {
    let threads = vec![
        vec![cast("a", "m1"), cast("a", "m2")],
        vec![take(0), revoke("x"), take(0)],
        vec![take(1), take(1)],
    ];
    cases! {
        "take against broadcast and revoke" {
            sub(0, a().group("x").outbox(roomy()));
            sub(1, a().outbox(Outbox::of(1, Overflow::DropOldest))); op(Act::Par { threads });
            settle(); take(0); take(1); take(1); count();
        };
    }
}
