//! Every bound and number at its edges, and far beyond: a table that grows, a counter of one byte,
//! a stack, a ring.

use super::*;
use crate::script::{Outbox, Overflow};

/// Beyond a power of two and of ten.
const MANY: u32 = 260;

fn many<T>(make: impl FnMut(u32) -> T) -> impl Iterator<Item = T> {
    (1..=MANY).map(make)
}

/// As many subscribers, names, tickets, broadcasts and revocations as no table of a fixed size has.
fn crowds() -> Vec<Case> {
    let name = |n: u32| format!("n{n}");
    let with_groups = many(name).fold(a(), |with, name| with.group(name.as_str()));
    let listed = many(name).collect::<Vec<_>>();
    let chain = |on: Hook, depth: u32, act: fn(u32) -> Op, trigger: Op| {
        let own = |n: u32| Registration::to(&[name(n).as_str()]).group(name(n).as_str());
        let mut steps: Vec<Op> = (0..=depth).map(|n| sub(n, own(n))).collect();
        steps.extend(
            steps! { sub(depth + 1, a()); trigger; settle(); cast("a", "m1"); settle(); count(); },
        );
        let long =
            case(format!("{depth} calls, each from inside the {on:?} of the one before"), steps);
        (0..depth).fold(long, |case, n| case.rule(n as usize, on, vec![act(n + 1)], Ending::Ok))
    };
    let casts = |n| cast(&format!("n{n}"), &format!("m{n}"));
    let revokes = |n| revoke(format!("n{n}").as_str());
    let waiting = many(|n| cast("a", &format!("w{n}"))).collect();
    let comings = many(|n| {
        let end = if n % 2 == 0 { unsub(n) } else { revoke("x") };
        [sub(n, a().group("x")), end]
    });
    let mut all = cases! {
        "an identity that is one of many" {
            sub(0, with_groups); sub(1, a()); revoke("n0");
            revoke(name(MANY).as_str()); revoke("n1");
            cast("a", "m1"); settle();
        };
        "a channel that is one of many" {
            sub(0, Registration { channels: Some(listed), ..a() }); cast("n1", "m1");
            cast(&name(MANY), "m2"); cast("n0", "m3"); settle();
        };
        "many come and go" (
            comings.flatten().chain(steps! { count(); sub(0, a().group("x")); cast("a", "m1");
                settle(); revoke("x"); count(); }).collect()
        );
        "many tickets, many revocations" (
            many(begin).chain(many(|n| revoke(name(n).as_str())))
                .chain(many(|n| admit(n, n, a().group(name(n).as_str()))))
                .chain(steps! { cast("a", "m1"); settle(); count(); }).collect()
        );
        "many scopes, each full" (
            many(|n| sub(n, a().scope(name(n).as_str())))
                .chain(steps! { sub(0, a().scope("n1")); cast("a", "m1"); settle(); count(); })
                .collect()
        ) .cap(1);
        "a scope for many" (
            many(|n| sub(n, a().scope("s"))).chain(steps! { cast("a", "m1"); settle(); count(); })
                .collect()
        ) .cap(MANY - 1);
        "many broadcasts wait" {
            sub(0, a()); sub(1, a()); cast("a", "m1"); settle(); cast("a", "m2"); settle();
        } .on_send(0, waiting);
        "an outbox with many messages of many channels" (
            std::iter::once(sub(0, Registration::all().outbox(Outbox::default())))
                .chain(many(casts)).chain(steps! { settle();
                    op(Act::Take { sub: 0, bytes: None }); op(Act::Take { sub: 0, bytes: None }); })
                .collect()
        );
    };
    for depth in [4, 12] {
        all.push(chain(Hook::Send, depth, casts, cast("n0", "m0")));
    }
    all.push(chain(Hook::Close, 4, revokes, revoke("n0")));
    all
}

/// A bound, by messages and by bytes: one less, as many, one more, ten times as many.
fn bounds() -> Vec<Case> {
    let mut all = Vec::new();
    let take = || op(Act::Take { sub: 0, bytes: None });
    for policy in Overflow::ALL {
        for bound in [1, 2, 3, 10] {
            for casts in [bound - 1, bound, bound + 1, 10 * bound] {
                for outbox in [Outbox::of(bound, policy), Outbox::of_bytes(2 * bound, policy)] {
                    // Two bytes each, on two channels in turn.
                    let messages = (0..casts).map(|n| {
                        cast(
                            ["a", "b"][n as usize % 2],
                            &char::from(b'0' + (n % 75) as u8).to_string().repeat(2),
                        )
                    });
                    let with = on(&["a", "b"]).outbox(outbox).group("x");
                    let mut steps = vec![sub(0, with)];
                    steps.extend(messages);
                    steps
                        .extend(steps! { settle(); count(); take(); take(); revoke("x"); take(); });
                    let unit = if outbox.messages == bound { "messages" } else { "pairs of bytes" };
                    all.push(case(
                        format!("{casts} in an outbox of {bound} {unit}: {policy:?}"),
                        steps,
                    ));
                }
            }
        }
    }
    for size in [0, 1, 255, 256, 4_095, 4_096, 65_535, 65_536, 1 << 20] {
        let data = "x".repeat(size);
        let steps = steps! {
            sub(0, a()); sub(1, a().outbox(Outbox::default())); cast("a", &data); settle();
            op(Act::Take { sub: 1, bytes: None });
        };
        all.push(case(format!("a payload of {size} bytes"), steps));
    }
    all
}

pub(super) fn sizes() -> Vec<Case> {
    [crowds(), bounds()].concat()
}
