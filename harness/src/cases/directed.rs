//! Messages that are sent to all that hold an identity.

use super::*;
use crate::neighbours::families;
use crate::script::{Outbox, Overflow};

fn take(sub: u32) -> Op {
    op(Act::Take { sub, bytes: None })
}

pub(super) fn directed() -> Vec<Case> {
    [addresses(), orders(), ends(), outboxes(), confusable()].concat()
}

fn addresses() -> Vec<Case> {
    let b = || on(&["b"]);
    let kind = |kind: &str| Identity::kinded(kind, "x");
    cases! {
        "a message to an identity reaches its holders, whatever they hear" {
            sub(0, b().group("x")); sub(1, a().group("x")); sub(2, a().group("y"));
            sub(3, Registration::all()); send_to("x", "a", "m1"); settle();
            send_to("y", "c", "m2"); settle(); send_to("x", "", "m3"); settle();
        };
        "a message to three holders" {
            sub(0, a().group("x")); sub(1, a().group("x")); sub(2, a().group("x"));
            send_to("x", "a", "m1"); settle(); send_to("x", "a", "m2"); settle();
        };
        "a message to a scope" {
            sub(0, b().scope("s")); sub(1, b().group("s")); sub(2, b().scope("t"));
            send_to("s", "a", "m1"); settle();
        };
        "a message to one that holds the identity by scope and group" {
            sub(0, a().scope("x").group("x")); sub(1, a().group("x").group("x"));
            send_to("x", "a", "m1"); settle(); send_to("x", "b", "m2"); settle();
        };
        "a message to an identity that nobody holds" {
            sub(0, a()); sub(1, a().group("y")); send_to("x", "a", "m1"); settle();
            sub(2, a().group("x")); cast("a", "m2"); settle();
        };
        "a message to an identity of another kind" {
            sub(0, a().group(kind("user"))); sub(1, a().group(kind("team")));
            sub(2, a().group("x"));
            send_to(kind("user"), "a", "m1"); send_to("x", "a", "m2"); settle();
            send_to(kind("run"), "a", "m3"); settle();
        };
        "equal messages to an identity, and to all" {
            sub(0, a().group("x")); sub(1, a()); send_to("x", "a", "same"); cast("a", "same");
            send_to("x", "a", "same"); settle();
        };
        "one that comes later does not get what was sent before" {
            sub(0, a().group("x")); send_to("x", "a", "m1"); settle(); sub(1, a().group("x"));
            send_to("x", "a", "m2"); settle();
        };
        "an identity that changes hands" {
            sub(0, a().group("x")); unsub(0); sub(1, a().group("y")); send_to("x", "a", "m1");
            settle(); sub(2, a().group("x")); send_to("x", "a", "m2"); settle();
        };
        "a ticket is no holder" {
            begin(0); sub(0, a().group("x")); send_to("x", "a", "m1"); settle();
            admit(0, 1, a().group("x")); send_to("x", "a", "m2"); settle();
        };
        "a message to an identity, in one of two registries" {
            sub(0, a().group("x")); elsewhere(sub(1, a().group("x"))); send_to("x", "a", "m1");
            settle(); elsewhere(send_to("x", "a", "m2")); settle();
        };
        "a holder fails, the others do not" {
            sub(0, a().group("x")); sub(1, a().group("x")); sub(2, a().group("x"));
            send_to("x", "b", "m1"); settle(); send_to("x", "b", "m2"); settle(); count();
        } .throws(1, Hook::Send);
    }
}

fn orders() -> Vec<Case> {
    let holders = || steps! { sub(0, a().group("x")); sub(1, a().group("x")); sub(2, a()); };
    let tail = || steps! { cast("a", "m1"); settle(); send_to("x", "a", "m2"); settle(); };
    let threads = vec![
        vec![send_to("x", "a", "m1"), cast("a", "m2"), send_to("x", "b", "m3")],
        vec![cast("a", "m4"), send_to("x", "a", "m5"), cast("a", "m6")],
    ];
    let both = || [holders(), tail()].concat();
    let raced = steps! { op(Act::Par { threads }); settle(); };
    cases! {
        "messages to an identity between broadcasts" (
            [holders(), steps! {
                cast("a", "m1"); send_to("x", "b", "m2"); cast("a", "m3"); send_to("x", "a", "m4");
                settle();
            }].concat()
        );
        "a message to an identity from inside a send" (both())
            .on_send(0, vec![send_to("x", "b", "n1")]).on_send(1, vec![send_to("x", "a", "n2")]);
        "a message to an identity beside broadcasts from inside a send" (both())
            .on_send(0, vec![cast("a", "n1"), send_to("x", "b", "n2"), cast("a", "n3")]);
        "a broadcast from inside the send of a message to an identity" (
            [holders(), steps! { send_to("x", "b", "m1"); settle(); cast("a", "m2"); settle(); }]
                .concat()
        ) .on_send(0, vec![cast("a", "n1"), send_to("x", "a", "n2")]);
        "a new holder from inside a send" (both())
            .on_send(0, vec![send_to("x", "a", "n1"), sub(5, a().group("x"))]);
        "messages to an identity from inside a close" (
            [holders(), steps! { sub(3, a().group("y")); revoke("y"); settle(); }, tail()].concat()
        ) .on_close(3, vec![send_to("x", "b", "n1"), send_to("y", "b", "n2"), cast("a", "n3")]);
        "messages to an identity and broadcasts from two threads" ([holders(), raced].concat());
    }
}

fn ends() -> Vec<Case> {
    let two = || steps! { sub(0, a().group("x")); sub(1, a().group("x").group("y")); };
    let twice = || {
        steps! {
            send_to("x", "b", "m1"); settle(); send_to("x", "b", "m2"); settle();
        }
    };
    cases! {
        "a revoked holder gets no message" (
            [two(), steps! {
                revoke("y"); send_to("x", "a", "m1"); settle(); send_to("y", "a", "m2"); settle();
                revoke("x"); send_to("x", "a", "m3"); settle();
            }].concat()
        );
        "a holder that is revoked inside the delivery gets no message" (
            [two(), twice()].concat()
        ) .on_send(0, vec![revoke("y")]);
        "a holder that leaves inside the delivery gets no message" (
            [two(), twice()].concat()
        ) .on_send(0, vec![unsub(1)]);
        "a message to a holder that waits when it is revoked" (
            [two(), steps! { cast("a", "m1"); settle(); }].concat()
        ) .on_send(0, vec![send_to("y", "b", "n1"), revoke("y")]);
        "a message after a shutdown" (
            [two(), steps! { op(Act::Shutdown); send_to("x", "a", "m1"); settle(); }].concat()
        );
    }
}

fn outboxes() -> Vec<Case> {
    let roomy = || on(&["b"]).group("x").outbox(Outbox::default());
    let latest = a().group("x").outbox(Outbox::of(2, Overflow::KeepLatest));
    let mut all = cases! {
        "outboxes get what is sent to them" {
            sub(0, roomy()); sub(1, on(&["b"]).group("y").outbox(Outbox::default())); sub(2, a());
            send_to("x", "a", "m1"); cast("b", "m2"); send_to("x", "b", "m3"); settle(); take(0);
            take(1); take(0);
        };
        "revoke discards what was sent to the identity" {
            sub(0, roomy()); send_to("x", "a", "m1"); settle(); revoke("x");
            send_to("x", "a", "m2"); settle(); take(0); take(0);
        };
        "a message to the draining" {
            sub(0, roomy()); op(Act::Shutdown); send_to("x", "a", "m1"); settle(); take(0);
        };
        "the latest of a channel, sent to an identity" {
            sub(0, latest); send_to("x", "c", "m1"); cast("a", "m2"); send_to("x", "c", "m3");
            settle(); take(0); send_to("x", "a", "m4"); cast("a", "m5"); send_to("x", "a", "m6");
            settle(); take(0);
        };
    };
    for policy in Overflow::ALL {
        let bounded = |bounds| {
            steps! {
                sub(0, a().group("x").outbox(bounds)); send_to("x", "b", "m1"); cast("a", "m2");
                send_to("x", "b", "m3"); settle(); take(0); count(); send_to("x", "b", "m4");
                settle(); take(0); take(0);
            }
        };
        let messages = bounded(Outbox::of(2, policy));
        let bytes = bounded(Outbox::of_bytes(5, policy));
        all.push(case(format!("more messages to an identity than fit: {policy:?}"), messages));
        all.push(case(format!("more bytes to an identity than fit: {policy:?}"), bytes));
    }
    all
}

/// Each family of names that careless code confuses, as identities that messages are sent to.
fn confusable() -> Vec<Case> {
    let each = |family: &[String], what: &str, identity: fn(&str) -> Identity| {
        let label = |at: usize| at as u32;
        let names = || family.iter().map(String::as_str).enumerate();
        let mut steps: Vec<Op> =
            names().map(|(at, name)| sub(label(at), a().group(identity(name)))).collect();
        steps.extend(names().map(|(at, name)| send_to(identity(name), "b", &format!("m{at}"))));
        steps.push(settle());
        case(format!("{what} that are not alike: {family:?}"), steps)
    };
    let both = |family: Vec<String>| {
        [
            each(&family, "addresses", |name| name.into()),
            each(&family, "kinds of addresses", |name| Identity::kinded(name, "v")),
        ]
    };
    families().into_iter().flat_map(both).collect()
}
