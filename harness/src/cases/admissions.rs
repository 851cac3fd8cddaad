//! Caps on a scope, and tickets.

use super::*;

pub(super) fn caps() -> Vec<Case> {
    let s = || a().scope("s");
    cases! {
        "a cap of 0" { sub(0, s()); } .cap(0);
        "no cap" {
            sub(0, s()); sub(1, s()); sub(2, s()); cast("a", "m1"); settle(); count(); revoke("s");
        };
        "the oldest goes" {
            sub(0, s()); sub(1, s()); sub(2, s()); cast("a", "m1"); settle(); count(); revoke("s");
            sub(3, s()); cast("a", "m2"); settle();
        } .cap(2);
        "a cap of 1" {
            sub(0, s()); sub(1, s()); sub(2, s()); cast("a", "m1"); settle(); revoke("s");
        } .cap(1);
        "scopes apart" {
            sub(0, s()); sub(1, a().scope("t")); sub(2, a()); sub(3, a()); cast("a", "m1");
            settle(); count();
        } .cap(1);
        "scopes of other kinds" {
            sub(0, a().scope(Identity::kinded("user", "s")));
            sub(1, a().scope(Identity::kinded("account", "s"))); sub(2, s()); cast("a", "m1");
            settle(); count();
        } .cap(1);
        "groups are not capped" {
            sub(0, a().group("s")); sub(1, a().group("s")); sub(2, s()); cast("a", "m1"); settle();
            revoke("s");
        } .cap(1);
        "groups are not capped, once more" {
            sub(0, s()); sub(1, a().scope("t").group("s")); sub(2, s()); cast("a", "m1"); settle();
            revoke("s");
        } .cap(1);
        "an unsubscribed one makes room" {
            sub(0, s()); sub(1, s()); unsub(0); sub(2, s()); cast("a", "m1"); settle(); count();
        } .cap(2);
        "the newest leaves, and makes room" {
            sub(0, s()); sub(1, s()); unsub(1); sub(2, s()); cast("a", "m1"); settle(); count();
        } .cap(2);
        "the newest is revoked, and makes room" {
            sub(0, s()); sub(1, s().group("x")); revoke("x"); sub(2, s()); cast("a", "m1");
            settle(); count();
        } .cap(2);
        "the newest fails, and makes room" {
            sub(0, s()); sub(1, s()); cast("a", "m1"); settle(); sub(2, s()); cast("a", "m2");
            settle(); count();
        } .cap(2).throws(1, Hook::Send);
        "the last in a delivery is not the first that came" {
            sub(0, s()); sub(1, on(&["b"]).scope("s")); cast("b", "m1"); cast("a", "m2"); settle();
            sub(2, s()); cast("a", "m3"); settle(); count();
        } .cap(2);
        "an evicted sink fails" {
            sub(0, s()); sub(1, s()); cast("a", "m1"); settle(); count(); revoke("s");
        } .cap(1).throws(0, Hook::Close);
        "a victim subscribes again" {
            sub(0, s()); sub(1, s()); cast("a", "m1"); settle(); count(); revoke("s");
        } .cap(1).on_close(0, vec![sub(5, s())]);
        "victims subscribe again and again" {
            sub(0, s()); sub(1, s()); sub(2, s()); cast("a", "m1"); settle(); count(); revoke("s");
        } .cap(2).on_close(0, vec![sub(5, s())]).on_close(1, vec![sub(6, s())])
            .on_close(5, vec![sub(7, s())]);
        "a victim is sent nothing more" {
            sub(0, s()); sub(1, s()); cast("a", "m1"); settle();
        } .cap(1).on_close(0, vec![cast("a", "n1")]);
        "subscribe over the cap from inside a send" {
            sub(0, s()); sub(1, s()); cast("a", "m1"); settle(); cast("a", "m2"); settle(); count();
        } .cap(2).on_send(1, vec![sub(5, s())]);
        // One of the victims has its turn after the one that evicts it, whatever the order.
        "a victim hears nothing of the broadcast in progress" {
            sub(0, s()); sub(1, a()); sub(2, a().scope("t")); cast("a", "m1"); settle();
            cast("a", "m2"); settle();
        } .cap(1).on_send(1, vec![sub(5, on(&["b"]).scope("s")), sub(6, on(&["b"]).scope("t"))]);
        "an empty scope is a scope" {
            sub(0, a().scope("")); sub(1, a().scope("")); cast("a", "m1"); settle(); revoke("");
        } .cap(1);
    }
}

pub(super) fn admissions() -> Vec<Case> {
    let x = || a().group("x");
    let y = || a().group("y");
    cases! {
        "begin, admit" {
            begin(0); count(); cast("a", "m1"); settle(); admit(0, 0, x()); count();
            cast("a", "m2"); settle(); revoke("x");
        };
        "begin, revoke, admit" {
            begin(0); revoke("x"); admit(0, 0, x()); count(); cast("a", "m1"); settle();
            revoke("x");
        };
        "begin, log out, admit" {
            begin(0); revoke_as("x", Reason::LoggedOut); admit(0, 0, x()); count(); cast("a", "m1");
            settle(); revoke("x");
        };
        "revoke, begin, admit" {
            sub(1, x()); revoke("x"); begin(0); admit(0, 0, x()); cast("a", "m1"); settle();
            revoke("x");
        };
        "begin, revoke another, admit" {
            begin(0); revoke("y"); admit(0, 0, x()); cast("a", "m1"); settle(); revoke("x");
        };
        "begin, revoke one of several, admit" {
            begin(0); revoke("y"); admit(0, 0, x().group("y")); cast("a", "m1"); settle(); count();
        };
        "begin twice, revoke between" {
            begin(0); revoke("x"); begin(1); admit(1, 1, x()); admit(0, 0, x()); cast("a", "m1");
            settle(); revoke("x");
        };
        "several tickets, several revocations" {
            begin(0); begin(1); begin(2); begin(3); revoke("x"); revoke("y"); revoke("z");
            admit(0, 0, x()); admit(2, 2, a().group("z")); admit(1, 1, y());
            admit(3, 3, a().group("w")); cast("a", "m1"); settle(); count();
        };
        "begin, revoke the scope, admit" {
            begin(0); revoke("s"); admit(0, 0, a().scope("s").group("x")); cast("a", "m1");
            settle(); revoke("x");
        } .cap(2);
        "begin, revoke another kind, admit" {
            begin(0); revoke(Identity::kinded("user", "x")); revoke("x");
            admit(0, 0, a().group(Identity::kinded("account", "x"))); cast("a", "m1"); settle();
        };
        "revocations in another registry" {
            begin(0); elsewhere(sub(1, x())); elsewhere(revoke("x")); admit(0, 0, x());
            cast("a", "m1"); settle();
        };
        "a refused ticket, then another" {
            begin(0); revoke("x"); admit(0, 0, x()); begin(1); admit(1, 1, x()); cast("a", "m1");
            settle(); revoke("x");
        };
        "a ticket admits once" {
            begin(0); admit(0, 0, x()); admit(0, 1, x()); cast("a", "m1"); settle(); count();
        };
        "a ticket that was given up" {
            begin(0); op(Act::Abandon { ticket: 0 }); admit(0, 0, x()); cast("a", "m1"); settle();
            count();
        };
        "a ticket that was refused" {
            begin(0); revoke("x"); admit(0, 0, x()); admit(0, 1, y()); cast("a", "m1"); settle();
            count();
        };
        "a refusal evicts no subscriber" {
            sub(1, a().scope("s")); begin(0); revoke("x"); admit(0, 0, a().scope("s").group("x"));
            cast("a", "m1"); settle(); count();
        } .cap(1);
        "tickets take no place" {
            sub(1, a().scope("s")); begin(0); sub(2, a().scope("s")); begin(1); cast("a", "m1");
            settle(); admit(0, 0, a().scope("s")); cast("a", "m2"); settle(); count();
        } .cap(2);
        "admit from inside the close" {
            sub(1, x()); begin(0); revoke("x"); cast("a", "m1"); settle(); count(); revoke("x");
        } .on_close(1, vec![admit(0, 0, x())]);
        "revoke from inside the close of one that an admission evicts" {
            begin(0); sub(1, a().scope("s")); admit(0, 0, a().scope("s").group("x"));
            cast("a", "m1"); settle(); count(); revoke("x");
        } .cap(1).on_close(1, vec![revoke("x")]);
        "begin and admit from inside the close" {
            sub(1, x()); revoke("x"); cast("a", "m1"); settle(); count(); revoke("x");
        } .on_close(1, vec![begin(0), admit(0, 0, x())]);
        "revoke from inside a send, between begin and admit" {
            sub(1, y()); begin(0); cast("a", "m1"); settle(); admit(0, 0, x()); cast("a", "m2");
            settle();
        } .on_send(1, vec![revoke("x")]);
    }
}
