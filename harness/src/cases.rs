//! The fixed cases: short scripts for what chance finds late, run before the random ones.
//!
//! Above all the sequentialised races: a race of two threads has a few interesting orders, and a sink that calls back, or a ticket
//! held open, produces each of them on one thread, in any language.

use crate::generate::CONFUSABLE;
use crate::script::{Act, Ending, Hook, Identity, Op, Registration, Rule, Script, SinkScript};

/// A named script.
#[derive(Debug, Clone)]
pub struct Case {
    /// What happens in it.
    pub name: String,
    /// The script.
    pub script: Script,
}

/// All fixed cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = filters();
    cases.extend(confusable());
    cases.extend(lives());
    cases.extend(revocations());
    cases.extend(reentrant());
    cases.extend(caps());
    cases.extend(admissions());
    cases.extend(lanes());
    cases
}

fn case(name: impl Into<String>, steps: Vec<Op>) -> Case {
    Case { name: name.into(), script: Script::new(steps).numbered() }
}

impl Case {
    fn cap(mut self, cap: u32) -> Self {
        self.script.cap = Some(cap);
        self
    }

    /// Gives a sink a rule for its first call.
    fn rule(self, sink: usize, on: Hook, ops: Vec<Op>, then: Ending) -> Self {
        self.nth(sink, on, 1, ops, then)
    }

    fn nth(mut self, sink: usize, on: Hook, nth: u32, ops: Vec<Op>, then: Ending) -> Self {
        let sinks = &mut self.script.sinks;
        sinks.resize_with(sinks.len().max(sink + 1), SinkScript::default);
        sinks[sink].rules.push(Rule { on, nth, ops, then });
        self.script = self.script.numbered();
        self
    }

    fn on_send(self, sink: usize, ops: Vec<Op>) -> Self {
        self.rule(sink, Hook::Send, ops, Ending::Ok)
    }

    fn on_close(self, sink: usize, ops: Vec<Op>) -> Self {
        self.rule(sink, Hook::Close, ops, Ending::Ok)
    }

    fn throws(self, sink: usize, on: Hook) -> Self {
        self.rule(sink, on, Vec::new(), Ending::Throw)
    }
}

fn op(act: Act) -> Op {
    Op::new(0, act)
}

/// Subscribes the sink of the same number.
fn sub(label: u32, with: Registration) -> Op {
    op(Act::Sub { sub: label, sink: label, with })
}

fn sub_on(label: u32, sink: u32, with: Registration) -> Op {
    op(Act::Sub { sub: label, sink, with })
}

fn unsub(label: u32) -> Op {
    op(Act::Unsub { sub: label })
}

fn cast(channel: &str, data: &str) -> Op {
    op(Act::Cast { channel: channel.into(), data: data.into() })
}

fn revoke(identity: impl Into<Identity>) -> Op {
    op(Act::Revoke { identity: identity.into() })
}

fn count() -> Op {
    op(Act::Count)
}

fn settle() -> Op {
    op(Act::Settle)
}

fn begin(ticket: u32) -> Op {
    op(Act::Begin { ticket })
}

fn admit(ticket: u32, label: u32, with: Registration) -> Op {
    op(Act::Admit { ticket, sub: label, sink: label, with })
}

fn elsewhere(mut op: Op) -> Op {
    op.registry = 1;
    op
}

fn on(channels: &[&str]) -> Registration {
    Registration::to(channels)
}

fn a() -> Registration {
    on(&["a"])
}

fn filters() -> Vec<Case> {
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
fn confusable() -> Vec<Case> {
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

fn lives() -> Vec<Case> {
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

fn revocations() -> Vec<Case> {
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
        case("an unknown identity", vec![revoke("x"), sub(0, a().group("y")), revoke("x"), revoke("a")]),
        case(
            "an identity is not a channel",
            vec![sub(0, on(&["x"]).group("a")), revoke("x"), cast("a", "m1"), cast("x", "m2"), settle(), revoke("a")],
        ),
        case(
            "revoked and back",
            vec![sub(0, a().group("x")), revoke("x"), sub(1, a().group("x")), cast("a", "m1"), settle(), revoke("x")],
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
            vec![sub(0, a().scope("x").group("x")), sub(1, a().scope("y").group("x")), revoke("x"), revoke("y")],
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

fn reentrant() -> Vec<Case> {
    let two = || vec![sub(0, a().group("x")), sub(1, a().group("y"))];
    let then = |mut steps: Vec<Op>, more: Vec<Op>| {
        steps.extend(more);
        steps
    };
    let trio = || vec![sub(0, a().group("x")), sub(1, a().group("y")), sub(2, a().group("z"))];
    let tail = || vec![cast("a", "m1"), settle(), cast("a", "m2"), settle(), count()];
    vec![
        case("broadcast from inside a send", then(trio(), tail())).on_send(1, vec![cast("a", "n1")]),
        case("two broadcasts from inside a send", then(trio(), tail()))
            .on_send(1, vec![cast("a", "n1"), cast("a", "n2")]),
        case("a broadcast from inside each send", then(trio(), tail()))
            .on_send(0, vec![cast("a", "n0")])
            .on_send(1, vec![cast("a", "n1")])
            .on_send(2, vec![cast("a", "n2")]),
        case("subscribe from inside a send", then(two(), tail()))
            .on_send(0, vec![sub(5, a())])
            .on_send(1, vec![sub(6, a())]),
        case("subscribe and broadcast from inside a send", then(two(), tail()))
            .on_send(0, vec![sub(5, a()), cast("a", "n1")]),
        case("unsubscribe oneself from inside a send", then(trio(), tail()))
            .on_send(0, vec![unsub(0)])
            .on_send(1, vec![unsub(1)]),
        case("unsubscribe the others from inside a send", then(trio(), tail()))
            .on_send(0, vec![unsub(1), unsub(2)])
            .on_send(2, vec![unsub(0), unsub(1)]),
        case("unsubscribe the next from inside a send", then(trio(), tail())).on_send(0, vec![unsub(1)]),
        case("unsubscribe the one before from inside a send", then(trio(), tail())).on_send(1, vec![unsub(0)]),
        case("revoke the others from inside a send", then(trio(), tail()))
            .on_send(0, vec![revoke("y"), revoke("z")])
            .on_send(2, vec![revoke("x"), revoke("y")]),
        case("revoke oneself from inside a send", then(trio(), tail())).on_send(1, vec![revoke("y"), count()]),
        case("revoke oneself and fail", then(trio(), tail())).rule(1, Hook::Send, vec![revoke("y")], Ending::Throw),
        case(
            "revoke all from inside a send",
            vec![
                sub(0, a().group("x")),
                sub(1, a().group("x")),
                sub(2, a().group("x")),
                cast("a", "m1"),
                settle(),
                cast("a", "m2"),
                settle(),
                count(),
            ],
        )
        .on_send(1, vec![revoke("x"), cast("a", "n1")]),
        case("broadcast from inside a close", then(trio(), vec![revoke("x"), cast("a", "m1"), settle()]))
            .on_close(0, vec![cast("a", "n1")]),
        case(
            "broadcast from inside each close",
            vec![sub(0, a().group("x")), sub(1, a().group("x")), sub(2, a()), revoke("x"), settle(), count()],
        )
        .on_close(0, vec![cast("a", "n1")])
        .on_close(1, vec![cast("a", "n2")]),
        case(
            "count from inside a close",
            vec![sub(0, a().group("x")), sub(1, a().group("x")), sub(2, a()), revoke("x")],
        )
        .on_close(0, vec![count()])
        .on_close(1, vec![count()]),
        case(
            "revoke the same from inside a close",
            vec![sub(0, a().group("x")), sub(1, a().group("x")), revoke("x"), revoke("x")],
        )
        .on_close(0, vec![revoke("x")])
        .on_close(1, vec![revoke("x")]),
        case("revoke another from inside a close", then(trio(), vec![revoke("x"), count(), revoke("y"), revoke("z")]))
            .on_close(0, vec![revoke("y")])
            .on_close(1, vec![revoke("z")]),
        case(
            "unsubscribe from inside a close",
            vec![
                sub(0, a().group("x")),
                sub(1, a().group("x")),
                sub(2, a()),
                revoke("x"),
                cast("a", "m1"),
                settle(),
                count(),
            ],
        )
        .on_close(0, vec![unsub(0), unsub(1), unsub(2)]),
        case(
            "subscribe from inside a close",
            vec![sub(0, a().group("x")), revoke("x"), cast("a", "m1"), settle(), count(), revoke("x")],
        )
        .on_close(0, vec![sub(5, a().group("x"))]),
        case(
            "unsubscribe from inside a close of somebody else",
            then(two(), vec![revoke("x"), cast("a", "m1"), settle()]),
        )
        .on_close(0, vec![unsub(1)]),
        case(
            "a close that fails after calling back",
            then(two(), vec![revoke("x"), cast("a", "m1"), settle(), count()]),
        )
        .rule(0, Hook::Close, vec![cast("a", "n1"), sub(5, a())], Ending::Throw),
        case("a failing send that calls back", then(trio(), tail())).rule(
            1,
            Hook::Send,
            vec![cast("a", "n1"), unsub(0)],
            Ending::Throw,
        ),
    ]
}

fn caps() -> Vec<Case> {
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

fn admissions() -> Vec<Case> {
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
fn lanes() -> Vec<Case> {
    let release = |gate| op(Act::Release { gate });
    let hold = |gate| op(Act::Hold { gate });
    let par = |lanes: Vec<Vec<Op>>| op(Act::Par { lanes });
    let parked = || vec![release(0), hold(1)];
    let x = || a().group("x");
    vec![
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
