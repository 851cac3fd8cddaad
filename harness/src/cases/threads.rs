//! What takes threads, or tasks.

use super::*;

/// Threads, gated: each waits for the other by name.
pub(super) fn threads() -> Vec<Case> {
    let release = |gate| op(Act::Release { gate });
    let hold = |gate| op(Act::Hold { gate });
    let par = |threads: Vec<Vec<Op>>| op(Act::Par { threads });
    let parked = || vec![release(0), hold(1)];
    let x = || a().group("x");
    // A close and a thread release gates for each other, so that the close takes long; no thread
    // waits for the registry meanwhile.
    let rounds = (0..100).map(|round| (10 + 2 * round, 11 + 2 * round));
    let (to, fro): (Vec<_>, Vec<_>) = rounds
        .map(|(there, back)| ([release(there), hold(back)], [hold(there), release(back)]))
        .unzip();
    cases! {
        "revoke while another sink is stuck" {
            sub(0, a()); sub(1, x()); sub(2, x());
            par(vec![vec![cast("a", "m1")], vec![hold(0), revoke("x"), release(1)]]); settle();
            cast("a", "m2"); settle();
        } .on_send(0, parked());
        "revoke while the first and the last are stuck" {
            sub(0, a()); sub(1, x()); sub(2, a());
            par(vec![vec![cast("a", "m1")], vec![hold(0), revoke("x"), release(1)]]); settle();
            cast("a", "m2"); settle();
        } .on_send(0, parked()).on_send(2, parked());
        "revoke the sink that is stuck" {
            sub(0, x()); sub(1, a());
            par(vec![vec![cast("a", "m1")], vec![hold(0), revoke("x"), release(1)]]); settle();
            cast("a", "m2"); settle(); revoke("x");
        } .on_send(0, parked());
        "subscribe while a sink is stuck" {
            sub(0, a());
            par(vec![vec![cast("a", "m1")], vec![hold(0), sub(1, a()), release(1)]]); settle();
            cast("a", "m2"); settle();
        } .on_send(0, parked());
        "two revocations at once" {
            sub(0, x()); sub(1, x()); sub(2, x());
            par(vec![vec![revoke("x")], vec![revoke("x")], vec![revoke("x")]]); count();
            revoke("x");
        };
        "two revocations at once, each with its reason" {
            sub(0, x()); sub(1, x()); sub(2, x());
            par(vec![
                vec![revoke_as("x", Reason::LoggedOut)],
                vec![revoke_as("x", Reason::Expired)],
            ]);
            count();
        };
        "unsubscribe against revoke" {
            sub(0, x()); sub(1, x()); par(vec![vec![unsub(0), unsub(1)], vec![revoke("x")]]);
            count(); cast("a", "m1"); settle();
        };
        "admit against revoke" {
            begin(0); begin(1);
            par(vec![vec![admit(0, 0, x()), admit(1, 1, x())], vec![revoke("x")]]); cast("a", "m1");
            settle(); count(); revoke("x");
        };
        "revoke against admit" {
            begin(0); begin(1); begin(2);
            par(vec![
                vec![revoke("x")],
                vec![admit(0, 0, x())],
                vec![admit(1, 1, x()), admit(2, 2, x())],
            ]);
            cast("a", "m1"); settle(); count(); revoke("x");
        };
        "two admissions of one ticket" {
            begin(0); begin(1);
            par(vec![
                vec![admit(0, 0, x()), admit(1, 2, x())],
                vec![admit(0, 1, x()), admit(1, 3, x())],
            ]);
            count(); revoke("x");
        };
        "a broadcast while another is stuck" {
            sub(0, a()); sub(1, a());
            par(vec![vec![cast("a", "m1")], vec![hold(0), cast("a", "m2"), release(1)]]); settle();
        } .on_send(0, parked());
        "broadcasts from three threads" {
            sub(0, a()); sub(1, Registration::all()); sub(2, on(&["a", "b"]));
            par(vec![
                vec![cast("a", "m1"), cast("a", "m2")],
                vec![cast("b", "m3"), cast("a", "m4")],
                vec![cast("a", "m5")],
            ]);
            settle();
        };
        "subscribe over the cap from two threads" {
            sub(0, a().scope("s"));
            par(vec![vec![sub(1, a().scope("s"))], vec![sub(2, a().scope("s"))]]); cast("a", "m1");
            settle(); count(); revoke("s");
        } .cap(1);
        "revoke from inside a send while a close broadcasts" {
            sub(0, a()); sub(1, on(&["b"]).group("x")); sub(2, on(&["b"]).group("y"));
            par(vec![vec![cast("a", "m1")], vec![revoke("x")]]); settle(); count();
        } .on_send(0, vec![release(0), hold(1), revoke("y")])
            .on_close(1, vec![release(1), hold(0), cast("b", "n1")]);
        "a broadcast in progress comes by while a close is going on" {
            sub(0, a()); sub(1, x());
            par(vec![vec![cast("a", "m1")], vec![hold(0), revoke("x"), release(1)], fro.concat()]);
            settle();
        } .on_send(0, parked()).on_close(1, [vec![release(1)], to.concat()].concat());
    }
}
