//! Any program over `registry-core`, with sinks that call back, fail and panic: the harness's
//! oracle finds nothing that a requirement forbids.

#![no_main]

use arbitrary::Arbitrary;
use harness::script::{
    Act, Ending, Hook, Identity, Op, Outbox, Overflow, Reason, Registration, Rule, Script,
    SinkScript,
};
use harness::subject::{Factory, Limits, execute};
use harness::{core, oracle};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Longer programs find nothing that these do not.
const MOST_STEPS: usize = 32;
const MOST_REACTIONS: usize = 12;
const MOST_CALLS: usize = 4;
const CHANNELS: [&str; 4] = ["a", "b", "", "a\0"];

static FACTORY: LazyLock<Factory> = LazyLock::new(core::factory);

#[derive(Debug, Arbitrary)]
struct Program {
    cap: Option<u8>,
    /// Whether a sink may be subscribed more than once.
    shared: bool,
    steps: Vec<Call>,
    reactions: Vec<Reaction>,
}

/// What a sink does at one of its calls.
#[derive(Debug, Arbitrary)]
struct Reaction {
    sink: u8,
    closing: bool,
    nth: u8,
    calls: Vec<Call>,
    ending: u8,
}

#[derive(Debug, Arbitrary)]
enum Call {
    Subscribe(With),
    Unsubscribe(u8),
    /// From an outbox, so many bytes at most; 0 is no limit.
    Take(u8, u8),
    Broadcast(u8),
    /// To an identity, on a channel.
    SendTo(u8, u8),
    /// With a reason, or without.
    Revoke(u8, u8),
    Count,
    Begin,
    Admit(u8, With),
    Abandon(u8),
    Shutdown(u8),
}

#[derive(Debug, Arbitrary)]
struct With {
    sink: u8,
    /// As a set of bits, twice.
    channels: Option<(u8, bool)>,
    exact: bool,
    scope: Option<u8>,
    groups: Vec<u8>,
    overwrite: Option<u8>,
    /// Messages, bytes, policy.
    outbox: Option<(u8, u8, u8)>,
}

/// Names what the calls are about.
#[derive(Default)]
struct Names {
    shared: bool,
    subs: u32,
    sinks: u32,
    tickets: u32,
    payloads: u32,
    /// The labels of subscribers with an outbox.
    outboxes: Vec<u32>,
}

fn channel(number: u8) -> String {
    CHANNELS[usize::from(number) % CHANNELS.len()].to_owned()
}

fn identity(number: u8) -> Identity {
    match number % 6 {
        0 => "a".into(),
        1 => Identity::kinded("", "a"),
        2 => Identity::kinded("a", "b"),
        3 => "a:b".into(),
        4 => "s".into(),
        _ => "".into(),
    }
}

impl Names {
    fn op(&mut self, call: &Call) -> Op {
        let act = match call {
            Call::Subscribe(with) => {
                let (sub, sink) = self.fresh(with);
                Act::Sub { sub, sink, with: registration(with) }
            }
            Call::Unsubscribe(sub) => Act::Unsub { sub: u32::from(*sub) % (self.subs + 1) },
            Call::Take(_, _) if self.outboxes.is_empty() => Act::Count,
            Call::Take(number, bytes) => {
                let sub = self.outboxes[usize::from(*number) % self.outboxes.len()];
                Act::Take { sub, bytes: Some(u32::from(*bytes)).filter(|bytes| *bytes > 0) }
            }
            Call::Broadcast(number) => {
                self.payloads += 1;
                Act::cast(&channel(*number), &format!("m{}", self.payloads))
            }
            Call::SendTo(to, number) => {
                self.payloads += 1;
                let (channel, data) = (channel(*number), format!("m{}", self.payloads));
                Act::Cast { channel, data, to: Some(identity(*to)) }
            }
            Call::Revoke(number, reason) => {
                let reason = Reason::ALL.get(usize::from(*reason % 4)).copied();
                Act::Revoke { identity: identity(*number), reason }
            }
            Call::Count => Act::Count,
            Call::Begin => {
                self.tickets += 1;
                Act::Begin { ticket: self.tickets - 1 }
            }
            Call::Admit(ticket, with) => {
                let (sub, sink) = self.fresh(with);
                Act::Admit {
                    ticket: u32::from(*ticket) % (self.tickets + 1),
                    sub,
                    sink,
                    with: registration(with),
                }
            }
            Call::Abandon(ticket) => {
                Act::Abandon { ticket: u32::from(*ticket) % (self.tickets + 1) }
            }
            // Rare: little happens after it.
            Call::Shutdown(number) if number % 8 == 0 => Act::Shutdown,
            Call::Shutdown(_) => Act::Count,
        };
        Op::new(0, act)
    }

    fn fresh(&mut self, with: &With) -> (u32, u32) {
        self.subs += 1;
        if with.outbox.is_some() {
            self.outboxes.push(self.subs - 1);
        }
        if self.shared && with.sink % 2 == 1 && self.sinks > 0 {
            return (self.subs - 1, u32::from(with.sink / 2) % self.sinks);
        }
        self.sinks += 1;
        (self.subs - 1, self.sinks - 1)
    }
}

fn registration(with: &With) -> Registration {
    let channels = with.channels.map(|(bits, twice)| {
        let once: Vec<String> =
            (0..8_u8).filter(|bit| bits >> bit & 1 == 1 && *bit < 4).map(channel).collect();
        if twice { [once.clone(), once].concat() } else { once }
    });
    Registration {
        channels,
        exact: with.exact,
        scope: with.scope.map(identity),
        groups: with.groups.iter().take(3).map(|number| identity(*number)).collect(),
        overwrite: with.overwrite.map(channel),
        outbox: with.outbox.map(|(messages, bytes, policy)| Outbox {
            messages: 1 + u32::from(messages % 5),
            bytes: 1 + u32::from(bytes % 16),
            overflow: [
                Overflow::Close,
                Overflow::DropOldest,
                Overflow::DropNewest,
                Overflow::KeepLatest,
            ][usize::from(policy % 4)],
        }),
    }
}

fn script(program: &Program) -> Script {
    let mut names = Names { shared: program.shared, ..Names::default() };
    let steps = program.steps.iter().take(MOST_STEPS).map(|call| names.op(call)).collect();
    let mut script = Script::new(steps);
    script.cap = program.cap.map(|cap| 1 + u32::from(cap % 4));
    let mut taken = BTreeSet::new();
    for reaction in program.reactions.iter().take(MOST_REACTIONS) {
        let sink = usize::from(reaction.sink % 16);
        let nth = 1 + u32::from(reaction.nth % 3);
        if !taken.insert((sink, reaction.closing, nth)) {
            continue;
        }
        let on = if reaction.closing { Hook::Close } else { Hook::Send };
        let ops = reaction.calls.iter().take(MOST_CALLS).map(|call| names.op(call)).collect();
        let then = match reaction.ending % 4 {
            0 => Ending::Throw,
            1 => Ending::Fail,
            _ => Ending::Ok,
        };
        script.sinks.resize_with(script.sinks.len().max(sink + 1), SinkScript::default);
        script.sinks[sink].rules.push(Rule { on, nth, ops, then });
    }
    script.numbered()
}

fuzz_target!(|program: Program| {
    let script = script(&program);
    assert_eq!(script.check(), Ok(()), "it can be judged");
    let trace = execute(&script, &FACTORY, Limits::default());
    let verdict = oracle::judge(&script, &trace, &core::hello().policies);
    assert!(verdict.clean(), "{:#?}\n{script:#?}\n{trace:#?}", verdict);
});
