//! Caps, admissions and lanes.

use super::*;

pub(super) fn caps() -> Vec<Case> {
    let s = || a().scope("s");
    vec![
        case("a cap of 0", vec![sub(0, s())]).cap(0),
        case(
            "the oldest goes",
            vec![
                sub(0, s()),
                sub(1, s()),
                sub(2, s()),
                cast("a", "m1"),
                settle(),
                count(),
                revoke("s"),
                sub(3, s()),
                cast("a", "m2"),
                settle(),
            ],
        )
        .cap(2),
        case("a cap of 1", vec![sub(0, s()), sub(1, s()), sub(2, s()), cast("a", "m1"), settle(), revoke("s")]).cap(1),
        case(
            "scopes apart",
            vec![sub(0, s()), sub(1, a().scope("t")), sub(2, a()), sub(3, a()), cast("a", "m1"), settle(), count()],
        )
        .cap(1),
        case(
            "groups are not capped",
            vec![sub(0, a().group("s")), sub(1, a().group("s")), sub(2, s()), cast("a", "m1"), settle(), revoke("s")],
        )
        .cap(1),
        case(
            "groups are not capped, once more",
            vec![sub(0, s()), sub(1, a().scope("t").group("s")), sub(2, s()), cast("a", "m1"), settle(), revoke("s")],
        )
        .cap(1),
        case(
            "who left makes room",
            vec![sub(0, s()), sub(1, s()), unsub(0), sub(2, s()), cast("a", "m1"), settle(), count()],
        )
        .cap(2),
        case("an evicted sink fails", vec![sub(0, s()), sub(1, s()), cast("a", "m1"), settle(), count(), revoke("s")])
            .cap(1)
            .throws(0, Hook::Close),
        case(
            "a victim subscribes again",
            vec![sub(0, s()), sub(1, s()), cast("a", "m1"), settle(), count(), revoke("s")],
        )
        .cap(1)
        .on_close(0, vec![sub(5, s())]),
        case(
            "victims subscribe again and again",
            vec![sub(0, s()), sub(1, s()), sub(2, s()), cast("a", "m1"), settle(), count(), revoke("s")],
        )
        .cap(2)
        .on_close(0, vec![sub(5, s())])
        .on_close(1, vec![sub(6, s())])
        .on_close(5, vec![sub(7, s())]),
        case("a victim is sent nothing more", vec![sub(0, s()), sub(1, s()), cast("a", "m1"), settle()])
            .cap(1)
            .on_close(0, vec![cast("a", "n1")]),
        case(
            "subscribe over the cap from inside a send",
            vec![sub(0, s()), sub(1, s()), cast("a", "m1"), settle(), cast("a", "m2"), settle(), count()],
        )
        .cap(2)
        .on_send(1, vec![sub(5, s())]),
        case(
            "an empty scope is a scope",
            vec![sub(0, a().scope("")), sub(1, a().scope("")), cast("a", "m1"), settle(), revoke("")],
        )
        .cap(1),
    ]
}

pub(super) fn admissions() -> Vec<Case> {
    let x = || a().group("x");
    let y = || a().group("y");
    vec![
        case(
            "begin, admit",
            vec![
                begin(0),
                count(),
                cast("a", "m1"),
                settle(),
                admit(0, 0, x()),
                count(),
                cast("a", "m2"),
                settle(),
                revoke("x"),
            ],
        ),
        case(
            "begin, revoke, admit",
            vec![begin(0), revoke("x"), admit(0, 0, x()), count(), cast("a", "m1"), settle(), revoke("x")],
        ),
        case(
            "revoke, begin, admit",
            vec![sub(1, x()), revoke("x"), begin(0), admit(0, 0, x()), cast("a", "m1"), settle(), revoke("x")],
        ),
        case(
            "begin, revoke another, admit",
            vec![begin(0), revoke("y"), admit(0, 0, x()), cast("a", "m1"), settle(), revoke("x")],
        ),
        case(
            "begin, revoke one of several, admit",
            vec![begin(0), revoke("y"), admit(0, 0, x().group("y")), cast("a", "m1"), settle(), count()],
        ),
        case(
            "begin twice, revoke between",
            vec![
                begin(0),
                revoke("x"),
                begin(1),
                admit(1, 1, x()),
                admit(0, 0, x()),
                cast("a", "m1"),
                settle(),
                revoke("x"),
            ],
        ),
        case(
            "a refused ticket, then another",
            vec![
                begin(0),
                revoke("x"),
                admit(0, 0, x()),
                begin(1),
                admit(1, 1, x()),
                cast("a", "m1"),
                settle(),
                revoke("x"),
            ],
        ),
        case(
            "a ticket admits once",
            vec![begin(0), admit(0, 0, x()), admit(0, 1, x()), cast("a", "m1"), settle(), count()],
        ),
        case(
            "a ticket that was given up",
            vec![begin(0), op(Act::Abandon { ticket: 0 }), admit(0, 0, x()), cast("a", "m1"), settle(), count()],
        ),
        case(
            "a ticket that was refused",
            vec![begin(0), revoke("x"), admit(0, 0, x()), admit(0, 1, y()), cast("a", "m1"), settle(), count()],
        ),
        case(
            "a refusal evicts nobody",
            vec![
                sub(1, a().scope("s")),
                begin(0),
                revoke("x"),
                admit(0, 0, a().scope("s").group("x")),
                cast("a", "m1"),
                settle(),
                count(),
            ],
        )
        .cap(1),
        case(
            "tickets take no place",
            vec![
                sub(1, a().scope("s")),
                begin(0),
                sub(2, a().scope("s")),
                begin(1),
                cast("a", "m1"),
                settle(),
                admit(0, 0, a().scope("s")),
                cast("a", "m2"),
                settle(),
                count(),
            ],
        )
        .cap(2),
        case(
            "admit from inside the close",
            vec![sub(1, x()), begin(0), revoke("x"), cast("a", "m1"), settle(), count(), revoke("x")],
        )
        .on_close(1, vec![admit(0, 0, x())]),
        case(
            "begin and admit from inside the close",
            vec![sub(1, x()), revoke("x"), cast("a", "m1"), settle(), count(), revoke("x")],
        )
        .on_close(1, vec![begin(0), admit(0, 0, x())]),
        case(
            "revoke from inside a send, between begin and admit",
            vec![sub(1, y()), begin(0), cast("a", "m1"), settle(), admit(0, 0, x()), cast("a", "m2"), settle()],
        )
        .on_send(1, vec![revoke("x")]),
    ]
}

/// Lanes, gated: each waits for the other by name.
pub(super) fn lanes() -> Vec<Case> {
    let release = |gate| op(Act::Release { gate });
    let hold = |gate| op(Act::Hold { gate });
    let par = |lanes: Vec<Vec<Op>>| op(Act::Par { lanes });
    let parked = || vec![release(0), hold(1)];
    let x = || a().group("x");
    // A close and a lane hand gates to and fro, so that the close takes its time; nobody waits for the registry meanwhile.
    let rounds = (0..20).map(|round| (10 + 2 * round, 11 + 2 * round));
    let (to, fro): (Vec<_>, Vec<_>) =
        rounds.map(|(there, back)| ([release(there), hold(back)], [hold(there), release(back)])).unzip();
    vec![
        case(
            "a broadcast in progress comes by while a close is going on",
            vec![
                sub(0, a()),
                sub(1, x()),
                par(vec![vec![cast("a", "m1")], vec![hold(0), revoke("x"), release(1)], fro.concat()]),
                settle(),
            ],
        )
        .on_send(0, parked())
        .on_close(1, [vec![release(1)], to.concat()].concat()),
        case(
            "revoke while another sink is stuck",
            vec![
                sub(0, a()),
                sub(1, x()),
                sub(2, x()),
                par(vec![vec![cast("a", "m1")], vec![hold(0), revoke("x"), release(1)]]),
                settle(),
                cast("a", "m2"),
                settle(),
            ],
        )
        .on_send(0, parked()),
        case(
            "revoke while the first and the last are stuck",
            vec![
                sub(0, a()),
                sub(1, x()),
                sub(2, a()),
                par(vec![vec![cast("a", "m1")], vec![hold(0), revoke("x"), release(1)]]),
                settle(),
                cast("a", "m2"),
                settle(),
            ],
        )
        .on_send(0, parked())
        .on_send(2, parked()),
        case(
            "revoke the sink that is stuck",
            vec![
                sub(0, x()),
                sub(1, a()),
                par(vec![vec![cast("a", "m1")], vec![hold(0), revoke("x"), release(1)]]),
                settle(),
                cast("a", "m2"),
                settle(),
                revoke("x"),
            ],
        )
        .on_send(0, parked()),
        case(
            "two revocations at once",
            vec![
                sub(0, x()),
                sub(1, x()),
                sub(2, x()),
                par(vec![vec![revoke("x")], vec![revoke("x")], vec![revoke("x")]]),
                count(),
                revoke("x"),
            ],
        ),
        case(
            "unsubscribe against revoke",
            vec![
                sub(0, x()),
                sub(1, x()),
                par(vec![vec![unsub(0), unsub(1)], vec![revoke("x")]]),
                count(),
                cast("a", "m1"),
                settle(),
            ],
        ),
        case(
            "admit against revoke",
            vec![
                begin(0),
                begin(1),
                par(vec![vec![admit(0, 0, x()), admit(1, 1, x())], vec![revoke("x")]]),
                cast("a", "m1"),
                settle(),
                count(),
                revoke("x"),
            ],
        ),
        case(
            "broadcasts from three lanes",
            vec![
                sub(0, a()),
                sub(1, Registration::all()),
                sub(2, on(&["a", "b"])),
                par(vec![
                    vec![cast("a", "m1"), cast("a", "m2")],
                    vec![cast("b", "m3"), cast("a", "m4")],
                    vec![cast("a", "m5")],
                ]),
                settle(),
            ],
        ),
        case(
            "subscribe over the cap from two lanes",
            vec![
                sub(0, a().scope("s")),
                par(vec![vec![sub(1, a().scope("s"))], vec![sub(2, a().scope("s"))]]),
                cast("a", "m1"),
                settle(),
                count(),
                revoke("s"),
            ],
        )
        .cap(1),
    ]
}
