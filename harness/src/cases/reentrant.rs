//! Calls from inside a send or a close.

use super::*;

pub(super) fn reentrant() -> Vec<Case> {
    let two = || vec![sub(0, a().group("x")), sub(1, a().group("y"))];
    let then = |mut steps: Vec<Op>, more: Vec<Op>| {
        steps.extend(more);
        steps
    };
    let trio = || vec![sub(0, a().group("x")), sub(1, a().group("y")), sub(2, a().group("z"))];
    let tail = || vec![cast("a", "m1"), settle(), cast("a", "m2"), settle(), count()];
    cases! {
        "broadcast from inside a send" (then(trio(), tail())) .on_send(1, vec![cast("a", "n1")]);
        "two broadcasts from inside a send" (then(trio(), tail()))
            .on_send(1, vec![cast("a", "n1"), cast("a", "n2")]);
        "equal broadcasts from inside a send" (then(trio(), tail()))
            .on_send(1, vec![cast("a", "n"), cast("a", "n"), cast("a", "m1"), cast("a", "m1")]);
        "a broadcast from inside each send" (then(trio(), tail()))
            .on_send(0, vec![cast("a", "n0")]).on_send(1, vec![cast("a", "n1")])
            .on_send(2, vec![cast("a", "n2")]);
        "subscribe from inside a send" (then(two(), tail())) .on_send(0, vec![sub(5, a())])
            .on_send(1, vec![sub(6, a())]);
        "subscribe and broadcast from inside a send" (then(two(), tail()))
            .on_send(0, vec![sub(5, a()), cast("a", "n1")]);
        "unsubscribe oneself from inside a send" (then(trio(), tail())) .on_send(0, vec![unsub(0)])
            .on_send(1, vec![unsub(1)]);
        "unsubscribe the others from inside a send" (then(trio(), tail()))
            .on_send(0, vec![unsub(1), unsub(2)]).on_send(2, vec![unsub(0), unsub(1)]);
        "unsubscribe the next from inside a send" (then(trio(), tail()))
            .on_send(0, vec![unsub(1)]);
        "unsubscribe the one before from inside a send" (then(trio(), tail()))
            .on_send(1, vec![unsub(0)]);
        "revoke the others from inside a send" (then(trio(), tail()))
            .on_send(0, vec![revoke("y"), revoke("z")]).on_send(2, vec![revoke("x"), revoke("y")]);
        "revoke oneself from inside a send" (then(trio(), tail()))
            .on_send(1, vec![revoke("y"), count()]);
        "log oneself out from inside a send, and revoke" (then(trio(), tail()))
            .on_send(1, vec![revoke_as("y", Reason::LoggedOut), revoke_as("y", Reason::Expired)]);
        "expire the next from inside the close of one that is logged out" (
            then(two(), vec![revoke_as("x", Reason::LoggedOut), count(), revoke("y")])
        ) .on_close(0, vec![revoke_as("y", Reason::Expired)]);
        "revoke oneself and fail" (then(trio(), tail()))
            .rule(1, Hook::Send, vec![revoke("y")], Ending::Throw);
        "revoke oneself and unsubscribe from inside a send" (then(trio(), tail()))
            .on_send(1, vec![revoke("y"), unsub(1)]);
        "unsubscribe oneself and fail" (then(trio(), tail()))
            .rule(1, Hook::Send, vec![unsub(1)], Ending::Throw);
        "subscribe again and fail" (then(trio(), tail()))
            .rule(1, Hook::Send, vec![unsub(1), sub_on(5, 1, a().group("y"))], Ending::Throw);
        "revoke the other on one's sink from inside a send" {
            sub_on(0, 0, a().group("x")); sub_on(1, 0, a().group("y")); cast("a", "m1"); settle();
            cast("a", "m2"); settle(); count(); revoke("x"); revoke("y");
        } .on_send(0, vec![revoke("y")]);
        "unsubscribe the other on one's sink from inside a send" {
            sub_on(0, 0, a().group("x")); sub_on(1, 0, a().group("y")); cast("a", "m1"); settle();
            cast("a", "m2"); settle(); count(); revoke("x");
        } .on_send(0, vec![unsub(1)]);
        "revoke all from inside a send" {
            sub(0, a().group("x")); sub(1, a().group("x")); sub(2, a().group("x")); cast("a", "m1");
            settle(); cast("a", "m2"); settle(); count();
        } .on_send(1, vec![revoke("x"), cast("a", "n1")]);
        "broadcast from inside a close" (then(trio(), vec![revoke("x"), cast("a", "m1"), settle()]))
            .on_close(0, vec![cast("a", "n1")]);
        "broadcast from inside each close" {
            sub(0, a().group("x")); sub(1, a().group("x")); sub(2, a()); revoke("x"); settle();
            count();
        } .on_close(0, vec![cast("a", "n1")]).on_close(1, vec![cast("a", "n2")]);
        "count from inside a close" {
            sub(0, a().group("x")); sub(1, a().group("x")); sub(2, a()); revoke("x");
        } .on_close(0, vec![count()]).on_close(1, vec![count()]);
        "revoke the same from inside a close" {
            sub(0, a().group("x")); sub(1, a().group("x")); revoke("x"); revoke("x");
        } .on_close(0, vec![revoke("x")]).on_close(1, vec![revoke("x")]);
        "revoke the next from inside each close" (
            then(trio(), vec![revoke("x"), count(), revoke("x")])
        ) .on_close(0, vec![revoke("y"), cast("a", "n1")])
            .on_close(1, vec![revoke("z"), cast("a", "n2")]);
        "revoke another from inside a close" (
            then(trio(), vec![revoke("x"), count(), revoke("y"), revoke("z")])
        ) .on_close(0, vec![revoke("y")]).on_close(1, vec![revoke("z")]);
        "unsubscribe from inside a close" {
            sub(0, a().group("x")); sub(1, a().group("x")); sub(2, a()); revoke("x");
            cast("a", "m1"); settle(); count();
        } .on_close(0, vec![unsub(0), unsub(1), unsub(2)]);
        "subscribe from inside a close" {
            sub(0, a().group("x")); revoke("x"); cast("a", "m1"); settle(); count(); revoke("x");
        } .on_close(0, vec![sub(5, a().group("x"))]);
        "unsubscribe from inside the close of another" (
            then(two(), vec![revoke("x"), cast("a", "m1"), settle()])
        ) .on_close(0, vec![unsub(1)]);
        "a close that fails after calling back" (
            then(two(), vec![revoke("x"), cast("a", "m1"), settle(), count()])
        ) .rule(0, Hook::Close, vec![cast("a", "n1"), sub(5, a())], Ending::Throw);
        "a failing send that calls back" (then(trio(), tail()))
            .rule(1, Hook::Send, vec![cast("a", "n1"), unsub(0)], Ending::Throw);
    }
}
