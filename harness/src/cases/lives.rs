//! Coming, going, failing, being revoked.

use super::*;

pub(super) fn lives() -> Vec<Case> {
    vec![
        case(
            "unsubscribe ends one, again and again",
            vec![sub(0, a()), sub(1, a()), unsub(0), unsub(0), cast("a", "m1"), settle(), count()],
        ),
        case(
            "one sink twice",
            vec![
                sub_on(0, 0, a()),
                sub_on(1, 0, a()),
                cast("a", "m1"),
                settle(),
                count(),
                unsub(0),
                cast("a", "m2"),
                settle(),
                count(),
            ],
        ),
        case(
            "one sink twice, one of them revoked",
            vec![
                sub_on(0, 0, a().group("x")),
                sub_on(1, 0, a().group("y")),
                revoke("x"),
                cast("a", "m1"),
                settle(),
                revoke("y"),
                revoke("y"),
            ],
        ),
        case(
            "a sink comes back",
            vec![
                sub_on(0, 0, a().group("x")),
                revoke("x"),
                sub_on(1, 0, a().group("x")),
                unsub(0),
                cast("a", "m1"),
                settle(),
                revoke("x"),
            ],
        ),
        case(
            "two registries",
            vec![
                sub(0, a().group("x")),
                elsewhere(sub(1, a().group("x"))),
                cast("a", "m1"),
                elsewhere(cast("a", "m2")),
                settle(),
                revoke("x"),
                elsewhere(cast("a", "m3")),
                elsewhere(settle()),
                elsewhere(revoke("x")),
            ],
        ),
        case("three hundred subscribers", {
            let mut steps: Vec<Op> = (0..300).map(|label| sub(label, a().group("x"))).collect();
            steps.extend([
                sub(300, a()),
                count(),
                cast("a", "m1"),
                settle(),
                revoke("x"),
                count(),
                cast("a", "m2"),
                settle(),
            ]);
            steps
        }),
        case(
            "broadcast on another registry from inside a send",
            // One way only: where deliveries settle later, they settle registry by registry.
            vec![
                sub(0, a()),
                elsewhere(sub(1, a())),
                cast("a", "m1"),
                settle(),
                elsewhere(cast("a", "m2")),
                settle(),
            ],
        )
        .on_send(0, vec![elsewhere(cast("a", "n1"))]),
        case("two registries are counted apart", vec![sub(0, a()), elsewhere(count()), count()]),
        case(
            "a sink fails, the others do not",
            vec![
                sub(0, a()),
                sub(1, a().group("x")),
                sub(2, a()),
                cast("a", "m1"),
                settle(),
                cast("a", "m2"),
                settle(),
                count(),
                revoke("x"),
            ],
        )
        .throws(1, Hook::Send),
        case(
            "the only sink fails",
            vec![
                sub(0, a().group("x")),
                cast("a", "m1"),
                settle(),
                cast("a", "m2"),
                settle(),
                sub(1, a()),
                cast("a", "m3"),
                settle(),
            ],
        )
        .rule(0, Hook::Send, vec![], Ending::Fail),
        case(
            "a sink fails twice",
            vec![sub(0, a()), sub(1, a()), cast("a", "m1"), settle(), cast("a", "m2"), settle()],
        )
        .throws(0, Hook::Send)
        .nth(0, Hook::Send, 2, vec![], Ending::Throw)
        .throws(0, Hook::Close),
        case(
            "shutdown",
            vec![
                sub(0, a()),
                sub(1, a().group("x")),
                op(Act::Shutdown),
                cast("a", "m1"),
                settle(),
                revoke("x"),
                sub(2, a()),
                count(),
            ],
        ),
        case(
            "shutdown, again and again",
            vec![
                sub(0, a().group("x")),
                sub(1, a()),
                unsub(1),
                op(Act::Shutdown),
                op(Act::Shutdown),
                unsub(0),
                revoke("x"),
                op(Act::Shutdown),
                count(),
            ],
        ),
        case(
            "a close fails at shutdown",
            vec![sub(0, a()), sub(1, a()), op(Act::Shutdown), cast("a", "m1"), settle()],
        )
        .throws(0, Hook::Close),
        case(
            "subscribe from inside a close at shutdown",
            vec![
                sub(0, a().group("x")),
                sub(1, a()),
                op(Act::Shutdown),
                cast("a", "m1"),
                settle(),
                count(),
                revoke("x"),
            ],
        )
        .on_close(0, vec![sub(5, a().group("x")), cast("a", "n1")]),
        case(
            "a shutdown ends one registry",
            vec![
                sub(0, a()),
                elsewhere(op(Act::Shutdown)),
                elsewhere(sub(1, a())),
                cast("a", "m1"),
                settle(),
                sub(2, a()),
                cast("a", "m2"),
                settle(),
            ],
        ),
    ]
}

pub(super) fn revocations() -> Vec<Case> {
    let kinded = Identity::kinded;
    vec![
        case(
            "revoke ends who holds it",
            vec![
                sub(0, a().group("x")),
                sub(1, a().group("y")),
                sub(2, a()),
                sub(3, a().group("x")),
                count(),
                revoke("x"),
                count(),
                cast("a", "m1"),
                settle(),
                revoke("x"),
                unsub(0),
                unsub(3),
                count(),
            ],
        ),
        case(
            "an unknown identity",
            vec![revoke("x"), sub(0, a().group("y")), revoke("x"), revoke("a")],
        ),
        case(
            "an identity is not a channel",
            vec![
                sub(0, on(&["x"]).group("a")),
                revoke("x"),
                cast("a", "m1"),
                cast("x", "m2"),
                settle(),
                revoke("a"),
            ],
        ),
        case(
            "revoked and back",
            vec![
                sub(0, a().group("x")),
                revoke("x"),
                sub(1, a().group("x")),
                cast("a", "m1"),
                settle(),
                revoke("x"),
            ],
        ),
        case(
            "unsubscribed, then revoked",
            vec![sub(0, a().group("x")), unsub(0), revoke("x"), cast("a", "m1"), settle()],
        ),
        case(
            "any of several identities",
            vec![
                sub(0, a().group("x").group("y").group("x")),
                sub(1, a().group("y").group("y")),
                sub(2, a().group("x").group("z")),
                revoke("x"),
                revoke("y"),
                revoke("z"),
            ],
        ),
        case(
            "scope and group alike",
            vec![
                sub(0, a().scope("x").group("x")),
                sub(1, a().scope("y").group("x")),
                revoke("x"),
                revoke("y"),
            ],
        )
        .cap(5),
        case(
            "kinds are not concatenated",
            vec![
                sub(0, a().group(kinded("a", "b:c"))),
                sub(1, a().group(kinded("a:b", "c"))),
                sub(2, a().group("a:b:c")),
                revoke(kinded("a", "b:c")),
                revoke("a:b:c"),
                revoke("a:b:c"),
            ],
        ),
        case(
            "no kind matches no kind",
            vec![
                sub(0, a().group(kinded("user", "1"))),
                sub(1, a().group("1")),
                revoke("1"),
                cast("a", "m1"),
                settle(),
                revoke(kinded("account", "1")),
                revoke(kinded("user", "1")),
            ],
        ),
        case(
            "revocations that name their reason",
            vec![
                sub(0, a().group("x")),
                sub(1, a().group("y")),
                sub(2, a().group("z")),
                sub(3, a().group("w")),
                revoke_as("x", Reason::LoggedOut),
                revoke_as("y", Reason::Expired),
                revoke_as("z", Reason::Revoked),
                cast("a", "m1"),
                settle(),
                revoke("w"),
                revoke_as("x", Reason::Expired),
            ],
        ),
        case(
            "logged out and back",
            vec![
                sub(0, a().group("x")),
                revoke_as("x", Reason::LoggedOut),
                sub(1, a().group("x")),
                cast("a", "m1"),
                settle(),
                revoke("x"),
            ],
        ),
        case(
            "a close fails",
            vec![
                sub(0, a().group("x")),
                sub(1, a().group("x")),
                sub(2, a().group("x")),
                revoke("x"),
                count(),
                cast("a", "m1"),
                settle(),
                revoke("x"),
            ],
        )
        .throws(0, Hook::Close)
        .throws(1, Hook::Close),
    ]
}
