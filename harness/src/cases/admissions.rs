//! Caps on a scope, and tickets.

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
        case(
            "a cap of 1",
            vec![sub(0, s()), sub(1, s()), sub(2, s()), cast("a", "m1"), settle(), revoke("s")],
        )
        .cap(1),
        case(
            "scopes apart",
            vec![
                sub(0, s()),
                sub(1, a().scope("t")),
                sub(2, a()),
                sub(3, a()),
                cast("a", "m1"),
                settle(),
                count(),
            ],
        )
        .cap(1),
        case(
            "scopes of other kinds",
            vec![
                sub(0, a().scope(Identity::kinded("user", "s"))),
                sub(1, a().scope(Identity::kinded("account", "s"))),
                sub(2, s()),
                cast("a", "m1"),
                settle(),
                count(),
            ],
        )
        .cap(1),
        case(
            "groups are not capped",
            vec![
                sub(0, a().group("s")),
                sub(1, a().group("s")),
                sub(2, s()),
                cast("a", "m1"),
                settle(),
                revoke("s"),
            ],
        )
        .cap(1),
        case(
            "groups are not capped, once more",
            vec![
                sub(0, s()),
                sub(1, a().scope("t").group("s")),
                sub(2, s()),
                cast("a", "m1"),
                settle(),
                revoke("s"),
            ],
        )
        .cap(1),
        case(
            "who left makes room",
            vec![
                sub(0, s()),
                sub(1, s()),
                unsub(0),
                sub(2, s()),
                cast("a", "m1"),
                settle(),
                count(),
            ],
        )
        .cap(2),
        case(
            "the newest leaves, and makes room",
            vec![
                sub(0, s()),
                sub(1, s()),
                unsub(1),
                sub(2, s()),
                cast("a", "m1"),
                settle(),
                count(),
            ],
        )
        .cap(2),
        case(
            "the newest is revoked, and makes room",
            vec![
                sub(0, s()),
                sub(1, s().group("x")),
                revoke("x"),
                sub(2, s()),
                cast("a", "m1"),
                settle(),
                count(),
            ],
        )
        .cap(2),
        case(
            "the newest fails, and makes room",
            vec![
                sub(0, s()),
                sub(1, s()),
                cast("a", "m1"),
                settle(),
                sub(2, s()),
                cast("a", "m2"),
                settle(),
                count(),
            ],
        )
        .cap(2)
        .throws(1, Hook::Send),
        case(
            "who hears last was not the first to come",
            vec![
                sub(0, s()),
                sub(1, on(&["b"]).scope("s")),
                cast("b", "m1"),
                cast("a", "m2"),
                settle(),
                sub(2, s()),
                cast("a", "m3"),
                settle(),
                count(),
            ],
        )
        .cap(2),
        case(
            "an evicted sink fails",
            vec![sub(0, s()), sub(1, s()), cast("a", "m1"), settle(), count(), revoke("s")],
        )
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
            vec![
                sub(0, s()),
                sub(1, s()),
                sub(2, s()),
                cast("a", "m1"),
                settle(),
                count(),
                revoke("s"),
            ],
        )
        .cap(2)
        .on_close(0, vec![sub(5, s())])
        .on_close(1, vec![sub(6, s())])
        .on_close(5, vec![sub(7, s())]),
        case(
            "a victim is sent nothing more",
            vec![sub(0, s()), sub(1, s()), cast("a", "m1"), settle()],
        )
        .cap(1)
        .on_close(0, vec![cast("a", "n1")]),
        case(
            "subscribe over the cap from inside a send",
            vec![
                sub(0, s()),
                sub(1, s()),
                cast("a", "m1"),
                settle(),
                cast("a", "m2"),
                settle(),
                count(),
            ],
        )
        .cap(2)
        .on_send(1, vec![sub(5, s())]),
        case(
            "a victim hears nothing of the broadcast in progress",
            // One of the victims has its turn after the one that evicts it, whatever the order.
            vec![
                sub(0, s()),
                sub(1, a()),
                sub(2, a().scope("t")),
                cast("a", "m1"),
                settle(),
                cast("a", "m2"),
                settle(),
            ],
        )
        .cap(1)
        .on_send(1, vec![sub(5, on(&["b"]).scope("s")), sub(6, on(&["b"]).scope("t"))]),
        case(
            "an empty scope is a scope",
            vec![
                sub(0, a().scope("")),
                sub(1, a().scope("")),
                cast("a", "m1"),
                settle(),
                revoke(""),
            ],
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
            vec![
                begin(0),
                revoke("x"),
                admit(0, 0, x()),
                count(),
                cast("a", "m1"),
                settle(),
                revoke("x"),
            ],
        ),
        case(
            "begin, log out, admit",
            vec![
                begin(0),
                revoke_as("x", Reason::LoggedOut),
                admit(0, 0, x()),
                count(),
                cast("a", "m1"),
                settle(),
                revoke("x"),
            ],
        ),
        case(
            "revoke, begin, admit",
            vec![
                sub(1, x()),
                revoke("x"),
                begin(0),
                admit(0, 0, x()),
                cast("a", "m1"),
                settle(),
                revoke("x"),
            ],
        ),
        case(
            "begin, revoke another, admit",
            vec![begin(0), revoke("y"), admit(0, 0, x()), cast("a", "m1"), settle(), revoke("x")],
        ),
        case(
            "begin, revoke one of several, admit",
            vec![
                begin(0),
                revoke("y"),
                admit(0, 0, x().group("y")),
                cast("a", "m1"),
                settle(),
                count(),
            ],
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
            "several tickets, several revocations",
            vec![
                begin(0),
                begin(1),
                begin(2),
                begin(3),
                revoke("x"),
                revoke("y"),
                revoke("z"),
                admit(0, 0, x()),
                admit(2, 2, a().group("z")),
                admit(1, 1, y()),
                admit(3, 3, a().group("w")),
                cast("a", "m1"),
                settle(),
                count(),
            ],
        ),
        case(
            "begin, revoke the scope, admit",
            vec![
                begin(0),
                revoke("s"),
                admit(0, 0, a().scope("s").group("x")),
                cast("a", "m1"),
                settle(),
                revoke("x"),
            ],
        )
        .cap(2),
        case(
            "begin, revoke another kind, admit",
            vec![
                begin(0),
                revoke(Identity::kinded("user", "x")),
                revoke("x"),
                admit(0, 0, a().group(Identity::kinded("account", "x"))),
                cast("a", "m1"),
                settle(),
            ],
        ),
        case(
            "revocations in another registry",
            vec![
                begin(0),
                elsewhere(sub(1, x())),
                elsewhere(revoke("x")),
                admit(0, 0, x()),
                cast("a", "m1"),
                settle(),
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
            vec![
                begin(0),
                op(Act::Abandon { ticket: 0 }),
                admit(0, 0, x()),
                cast("a", "m1"),
                settle(),
                count(),
            ],
        ),
        case(
            "a ticket that was refused",
            vec![
                begin(0),
                revoke("x"),
                admit(0, 0, x()),
                admit(0, 1, y()),
                cast("a", "m1"),
                settle(),
                count(),
            ],
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
            vec![
                sub(1, x()),
                begin(0),
                revoke("x"),
                cast("a", "m1"),
                settle(),
                count(),
                revoke("x"),
            ],
        )
        .on_close(1, vec![admit(0, 0, x())]),
        case(
            "revoke from inside the close of whom an admission evicts",
            vec![
                begin(0),
                sub(1, a().scope("s")),
                admit(0, 0, a().scope("s").group("x")),
                cast("a", "m1"),
                settle(),
                count(),
                revoke("x"),
            ],
        )
        .cap(1)
        .on_close(1, vec![revoke("x")]),
        case(
            "begin and admit from inside the close",
            vec![sub(1, x()), revoke("x"), cast("a", "m1"), settle(), count(), revoke("x")],
        )
        .on_close(1, vec![begin(0), admit(0, 0, x())]),
        case(
            "revoke from inside a send, between begin and admit",
            vec![
                sub(1, y()),
                begin(0),
                cast("a", "m1"),
                settle(),
                admit(0, 0, x()),
                cast("a", "m2"),
                settle(),
            ],
        )
        .on_send(1, vec![revoke("x")]),
    ]
}
