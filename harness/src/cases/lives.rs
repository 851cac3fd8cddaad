//! Filters, lives and ends.

use super::*;

pub(super) fn filters() -> Vec<Case> {
    let many: Vec<String> = (0..5_000).map(|n| format!("n{n}")).collect();
    let long = "long".repeat(16 * 1024);
    let exact = |channels: &[&str]| Registration { exact: true, ..on(channels) };
    vec![
        case(
            "one subscriber hears its channel and no other",
            vec![sub(0, a()), cast("a", "m1"), cast("b", "m2"), settle()],
        ),
        case(
            "absent and empty lists hear everything",
            vec![sub(0, Registration::all()), sub(1, on(&[])), cast("a", "m1"), cast("", "m2"), settle()],
        ),
        case(
            "a name twice in one list",
            vec![sub(0, on(&["a", "b", "a"])), cast("a", "m1"), cast("b", "m2"), settle()],
        ),
        case(
            "an exact empty list hears nothing",
            vec![sub(0, exact(&[])), sub(1, exact(&["a"])), cast("a", "m1"), settle()],
        ),
        case(
            "five thousand names",
            vec![
                sub(0, Registration { channels: Some(many), ..Registration::default() }),
                cast("n0", "m1"),
                cast("n4999", "m2"),
                cast("n5000", "m3"),
                settle(),
            ],
        ),
        case("a name of 64 KiB", vec![sub(0, on(&[&long])), cast(&long, "m1"), cast(&long[1..], "m2"), settle()]),
        case(
            "the caller changes its list afterwards",
            vec![
                sub(0, Registration { overwrite: Some("b".into()), ..a() }),
                cast("b", "m1"),
                cast("a", "m2"),
                settle(),
            ],
        ),
        case(
            "equal payloads are two messages",
            vec![sub(0, a()), cast("a", "same"), cast("a", "same"), cast("a", "same"), settle()],
        ),
        case(
            "one after the other, in order",
            vec![
                sub(0, a()),
                sub(1, Registration::all()),
                cast("a", "m1"),
                cast("a", "m2"),
                cast("b", "m3"),
                cast("a", "m4"),
                settle(),
            ],
        ),
        case(
            "odd payloads",
            vec![
                sub(0, a()),
                cast("a", ""),
                cast("a", " \u{0}\r\n\u{2028}\u{1F600}\""),
                cast("a", "{\"a\":null}"),
                settle(),
            ],
        ),
    ]
}

/// Each family of names that careless code confuses: as channels, and as identities.
pub(super) fn confusable() -> Vec<Case> {
    let label = |at: usize| at as u32;
    let each = |family: &'static [&'static str]| family.iter().copied().enumerate();
    let channels = |family| {
        let mut steps: Vec<Op> = each(family).map(|(at, name)| sub(label(at), on(&[name]))).collect();
        steps.push(sub(9, on(family)));
        steps.extend(each(family).map(|(at, name)| cast(name, &format!("m{at}"))));
        steps.push(settle());
        steps
    };
    let identities = |family| {
        let mut steps: Vec<Op> = each(family).map(|(at, name)| sub(label(at), a().group(name))).collect();
        for (at, name) in each(family) {
            steps.extend([revoke(name), cast("a", &format!("m{at}")), settle()]);
        }
        steps
    };
    let mut all = Vec::new();
    for family in CONFUSABLE {
        all.push(case(format!("channels that are not alike: {family:?}"), channels(family)));
        all.push(case(format!("identities that are not alike: {family:?}"), identities(family)));
    }
    all
}

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
    ]
}
