//! Making a failing script small, without changing what it fails for.
//!
//! Every candidate has a smaller weight than what it came from, so shrinking ends; executions and time bound it as well. A
//! candidate counts only if it is rejected for the same requirement, or for a more general one that the first is a
//! special case of: if a broadcast is still lost when no sink throws any more, then it was DEL-1 and not ISO-1.

use std::time::Duration;

use crate::clock::Started;
use crate::script::{Act, Ending, Identity, Op, Script};

/// Chains of requirements, from the special case to the general rule.
const CHAINS: [&[&str]; 8] = [
    &[
        "CON-1", "FLT-7", "SUB-5", "ISO-6", "RE-7", "ADM-4", "ISO-1", "ISO-3", "ISO-4", "REV-9", "SUB-2", "REV-5",
        "REV-4", "CAP-4", "CAP-3", "RE-1", "DEL-5", "FLT-8", "FLT-3", "FLT-4", "FLT-6", "FLT-5", "FLT-2", "FLT-1",
        "DEL-1",
    ],
    &["FLT-7", "REV-6", "FLT-4", "FLT-6", "FLT-5", "FLT-1"],
    &["SUB-3", "REV-2", "CLO-4", "CAP-1", "ISO-5", "FLT-3", "DEL-2"],
    &[
        "SUB-5", "ISO-6", "RE-7", "ADM-4", "ISO-3", "ISO-4", "REV-7", "REV-6", "RE-5", "RE-6", "REV-9", "REV-5",
        "SUB-2", "REV-4", "REV-1",
    ],
    &["ISO-6", "SUB-5", "REV-5", "REV-6", "REV-4", "CLO-1"],
    &["CON-2", "ISO-3", "REV-7", "SUB-5", "ISO-4", "RE-5", "RE-6", "CAP-6", "CNT-1", "REV-10"],
    &["ISO-6", "SUB-5", "ADM-3", "ADM-2", "CAP-1", "ISO-5", "ISO-3", "CNT-2"],
    &["FLT-8", "FLT-4", "ISO-4", "REV-9", "SUB-5", "CAP-2", "SUB-1"],
];

/// Whether `now` is `before` or a more general rule that `before` is a special case of.
#[must_use]
pub fn same_or_more_general(before: &str, now: &str) -> bool {
    before == now
        || CHAINS.iter().any(|chain| {
            let place = |id| chain.iter().position(|own| *own == id);
            matches!((place(before), place(now)), (Some(special), Some(general)) if special < general)
        })
}

/// Bounds on shrinking.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Executions.
    pub runs: u32,
    /// Time.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { runs: 3_000, time: Duration::from_secs(10) }
    }
}

/// Shrinks. `fails` runs a script and says which requirement it is rejected for, if it is.
///
/// Returns the smallest found, and the requirement that it fails for.
#[must_use]
pub fn shrink(
    script: &Script,
    requirement: &'static str,
    bounds: Bounds,
    mut fails: impl FnMut(&Script) -> Option<&'static str>,
) -> (Script, &'static str) {
    let started = Started::now();
    let (mut best, mut blamed) = (script.clone(), requirement);
    let mut runs = 0;
    'better: loop {
        for candidate in candidates(&best) {
            if runs >= bounds.runs || started.ago() >= bounds.time {
                break 'better;
            }
            runs += 1;
            if let Some(now) = fails(&candidate)
                && same_or_more_general(blamed, now)
            {
                (best, blamed) = (candidate, now);
                continue 'better;
            }
        }
        break;
    }
    (best.numbered(), blamed)
}

/// Simpler scripts, the boldest first; each weighs less than `script`.
pub fn candidates(script: &Script) -> impl Iterator<Item = Script> + use<> {
    let (base, weight) = (script.clone(), weigh(script));
    edits(script).into_iter().filter_map(move |edit| {
        let mut candidate = base.clone();
        edit.apply(&mut candidate);
        let sensible = weigh(&candidate) < weight && candidate.check().is_ok() && gates_can_open(&candidate);
        sensible.then_some(candidate)
    })
}

/// One way to make a script simpler.
enum Edit {
    /// Leave out steps.
    Cut {
        from: usize,
        len: usize,
    },
    /// Leave out an operation, wherever it is.
    Drop(u32),
    /// Leave out a rule.
    DropRule {
        sink: usize,
        rule: usize,
    },
    /// Let a rule's call succeed, or fire at the first.
    CalmRule {
        sink: usize,
        rule: usize,
    },
    /// Let it throw rather than fail, as most can.
    ThrowRule {
        sink: usize,
        rule: usize,
    },
    FirstRule {
        sink: usize,
        rule: usize,
    },
    /// Run lanes one after the other.
    Inline(u32),
    /// No cap, or a lower one.
    Cap(Option<u32>),
    /// Everything on the first registry.
    OneRegistry,
    /// One name, channel or identity, becomes another.
    Rename {
        from: String,
        to: &'static str,
    },
    /// Simplify one registration.
    Plain(u32, Plainer),
    /// An admission becomes a subscribe.
    Subscribe(u32),
    /// A sink of its own.
    OwnSink(u32, u32),
}

#[derive(Clone, Copy)]
enum Plainer {
    NoOverwrite,
    NotExact,
    NoScope,
    ScopeAsGroup,
    NoGroup(usize),
    NoName(usize),
    FirstHalf,
    SecondHalf,
    OneName,
    NoKinds,
}

/// Whether nothing waits for a gate that nothing releases: such a script only costs patience.
fn gates_can_open(script: &Script) -> bool {
    let (mut held, mut released) = (Vec::new(), Vec::new());
    let mut subscribed = Vec::new();
    let mut gates = |op: &Op| match &op.act {
        Act::Hold { gate } => held.push(*gate),
        Act::Release { gate } => released.push(*gate),
        Act::Sub { sink, .. } | Act::Admit { sink, .. } => subscribed.push(*sink),
        _ => {}
    };
    for op in &script.steps {
        gates(op);
        if let Act::Par { lanes } = &op.act {
            lanes.iter().flatten().for_each(&mut gates);
        }
    }
    let casts = script.steps.iter().any(|op| {
        matches!(&op.act, Act::Par { lanes } if lanes.iter().flatten().any(|op| matches!(op.act, Act::Cast { .. })))
    });
    for (sink, rules) in script.sinks.iter().enumerate() {
        if casts && subscribed.contains(&(sink as u32)) {
            released.extend(rules.rules.iter().flat_map(|rule| &rule.ops).filter_map(|op| match op.act {
                Act::Release { gate } => Some(gate),
                _ => None,
            }));
        }
    }
    held.iter().all(|gate| released.contains(gate))
}

fn edits(script: &Script) -> Vec<Edit> {
    let mut edits = Vec::new();
    script.visit(&mut |op| {
        if let Act::Par { .. } = op.act {
            edits.push(Edit::Inline(op.id));
        }
    });
    let steps = script.steps.len();
    let mut len = steps / 2;
    while len >= 2 {
        edits.extend((0..steps.saturating_sub(len - 1)).step_by(len).map(|from| Edit::Cut { from, len }));
        len /= 2;
    }
    if script.cap.is_some() {
        edits.push(Edit::Cap(None));
    }
    for (sink, rules) in script.sinks.iter().enumerate() {
        edits.extend((0..rules.rules.len()).map(|rule| Edit::DropRule { sink, rule }));
    }
    edits.push(Edit::OneRegistry);
    let mut names = Vec::new();
    let mut fresh_sink = script.sink_count() as u32;
    script.visit(&mut |op| {
        edits.push(Edit::Drop(op.id));
        match &op.act {
            Act::Sub { with, .. } | Act::Admit { with, .. } => {
                if matches!(op.act, Act::Admit { .. }) {
                    edits.push(Edit::Subscribe(op.id));
                }
                edits.push(Edit::OwnSink(op.id, fresh_sink));
                fresh_sink += 1;
                let mut plainer =
                    vec![Plainer::NoOverwrite, Plainer::NotExact, Plainer::NoScope, Plainer::ScopeAsGroup];
                plainer.extend((0..with.groups.len()).map(Plainer::NoGroup));
                plainer.push(Plainer::NoKinds);
                let listed = with.channels.as_ref().map_or(0, Vec::len);
                if listed <= 16 {
                    plainer.extend((0..listed).map(Plainer::NoName));
                }
                if listed > 2 {
                    plainer.extend([Plainer::FirstHalf, Plainer::SecondHalf]);
                }
                plainer.push(Plainer::OneName);
                edits.extend(plainer.into_iter().map(|change| Edit::Plain(op.id, change)));
                names.extend(with.channels.iter().flatten().take(16).cloned());
                names.extend(with.identities().map(|own| own.value().to_owned()));
            }
            Act::Cast { channel, .. } => names.push(channel.clone()),
            Act::Revoke { identity } => names.push(identity.value().to_owned()),
            _ => {}
        }
    });
    names.sort();
    names.dedup();
    for name in names {
        edits.extend(
            ["a", "b", "c", "x", "y"]
                .iter()
                .filter(|to| **to != name)
                .map(|to| Edit::Rename { from: name.clone(), to }),
        );
    }
    for (sink, rules) in script.sinks.iter().enumerate() {
        for rule in 0..rules.rules.len() {
            edits.push(Edit::CalmRule { sink, rule });
            edits.push(Edit::ThrowRule { sink, rule });
            edits.push(Edit::FirstRule { sink, rule });
        }
    }
    if script.cap > Some(1) {
        edits.push(Edit::Cap(Some(1)));
    }
    edits
}

impl Edit {
    fn apply(&self, script: &mut Script) {
        match self {
            Edit::Cut { from, len } => {
                script.steps.drain(*from..(from + len).min(script.steps.len()));
            }
            Edit::Drop(id) => each_list(script, &mut |ops| ops.retain(|op| op.id != *id)),
            Edit::DropRule { sink, rule } => {
                script.sinks[*sink].rules.remove(*rule);
            }
            Edit::CalmRule { sink, rule } => script.sinks[*sink].rules[*rule].then = Ending::Ok,
            Edit::ThrowRule { sink, rule } => script.sinks[*sink].rules[*rule].then = Ending::Throw,
            Edit::FirstRule { sink, rule } => script.sinks[*sink].rules[*rule].nth = 1,
            Edit::Inline(id) => each_list(script, &mut |ops| {
                if let Some(at) = ops.iter().position(|op| op.id == *id)
                    && let Act::Par { lanes } = ops[at].act.clone()
                {
                    ops.splice(at..=at, lanes.into_iter().flatten());
                }
                // On one lane nobody could release what it holds.
                ops.retain(|op| !matches!(op.act, Act::Hold { .. } | Act::Release { .. }));
            }),
            Edit::Cap(cap) => script.cap = *cap,
            Edit::OneRegistry => script.visit_mut(&mut |op| op.registry = 0),
            Edit::Rename { from, to } => script.visit_mut(&mut |op| rename(op, from, to)),
            Edit::Plain(id, change) => script.visit_mut(&mut |op| {
                if op.id == *id {
                    simplify(op, *change);
                }
            }),
            Edit::Subscribe(id) => script.visit_mut(&mut |op| {
                if op.id == *id
                    && let Act::Admit { sub, sink, with, .. } = &op.act
                {
                    op.act = Act::Sub { sub: *sub, sink: *sink, with: with.clone() };
                }
            }),
            Edit::OwnSink(id, fresh) => script.visit_mut(&mut |op| {
                if op.id == *id
                    && let Act::Sub { sink, .. } | Act::Admit { sink, .. } = &mut op.act
                {
                    *sink = *fresh;
                }
            }),
        }
        while script.sinks.last().is_some_and(|sink| sink.rules.is_empty()) {
            script.sinks.pop();
        }
    }
}

fn each_list(script: &mut Script, change: &mut dyn FnMut(&mut Vec<Op>)) {
    fn lanes(ops: &mut Vec<Op>, change: &mut dyn FnMut(&mut Vec<Op>)) {
        change(ops);
        for op in ops {
            if let Act::Par { lanes: inner } = &mut op.act {
                for lane in inner {
                    lanes(lane, change);
                }
            }
        }
    }
    lanes(&mut script.steps, change);
    for rule in script.sinks.iter_mut().flat_map(|sink| &mut sink.rules) {
        lanes(&mut rule.ops, change);
    }
}

fn rename(op: &mut Op, from: &str, to: &str) {
    let swap = |name: &mut String| {
        if name == from {
            to.clone_into(name);
        }
    };
    let identity = |identity: &mut Identity| match identity {
        Identity::Plain(value) | Identity::Kinded { value, .. } => swap(value),
    };
    match &mut op.act {
        Act::Sub { with, .. } | Act::Admit { with, .. } => {
            with.channels.iter_mut().flatten().chain(&mut with.overwrite).for_each(swap);
            with.scope.iter_mut().chain(&mut with.groups).for_each(identity);
        }
        Act::Cast { channel, .. } => swap(channel),
        Act::Revoke { identity: named } => identity(named),
        _ => {}
    }
}

fn simplify(op: &mut Op, change: Plainer) {
    let (Act::Sub { with, .. } | Act::Admit { with, .. }) = &mut op.act else { return };
    match change {
        Plainer::NoOverwrite => with.overwrite = None,
        Plainer::NotExact => with.exact = false,
        Plainer::NoScope => with.scope = None,
        Plainer::ScopeAsGroup => {
            if with.groups.is_empty() {
                with.groups.extend(with.scope.take());
            }
        }
        Plainer::NoGroup(at) => {
            with.groups.remove(at);
        }
        Plainer::NoName(at) => {
            if let Some(names) = &mut with.channels {
                names.remove(at);
            }
        }
        Plainer::FirstHalf => {
            if let Some(names) = &mut with.channels {
                names.truncate(names.len().div_ceil(2));
            }
        }
        Plainer::SecondHalf => {
            if let Some(names) = &mut with.channels {
                names.drain(..names.len() / 2);
            }
        }
        Plainer::OneName => {
            let first = with.channels.iter().flatten().next().cloned();
            with.channels = Some(vec![first.unwrap_or_else(|| "a".into())]);
        }
        Plainer::NoKinds => {
            for identity in with.scope.iter_mut().chain(&mut with.groups) {
                *identity = Identity::Plain(identity.value().to_owned());
            }
        }
    }
}

/// How much there is to understand in a script.
fn weigh(script: &Script) -> usize {
    let mut weight = script.cap.map_or(0, |cap| 20 + cap as usize);
    let mut sinks: Vec<u32> = Vec::new();
    for rule in script.sinks.iter().flat_map(|sink| &sink.rules) {
        weight += 50 + 2 * rule.nth as usize;
        weight += match rule.then {
            Ending::Ok => 0,
            Ending::Throw => 20,
            Ending::Fail => 21,
        };
    }
    script.visit(&mut |op| {
        weight += 100 + 10 * op.registry as usize;
        match &op.act {
            Act::Sub { sink, with, .. } | Act::Admit { sink, with, .. } => {
                if sinks.contains(sink) {
                    weight += 30;
                }
                sinks.push(*sink);
                weight += 10 * usize::from(with.exact) + 20 * usize::from(with.overwrite.is_some());
                weight +=
                    30 * usize::from(matches!(op.act, Act::Admit { .. })) + 15 * usize::from(with.scope.is_some());
                weight += with.channels.as_ref().map_or(25, |names| {
                    names.iter().map(|name| 10 + burden(name)).sum::<usize>() + 20 * usize::from(names.is_empty())
                });
                weight += with
                    .identities()
                    .map(|own| 10 + burden(own.value()) + 10 * usize::from(own.kind().is_some()))
                    .sum::<usize>();
            }
            Act::Cast { channel, .. } => weight += burden(channel),
            Act::Revoke { identity } => {
                weight += burden(identity.value()) + 10 * usize::from(identity.kind().is_some())
            }
            _ => {}
        }
    });
    weight
}

/// How odd a name is.
fn burden(name: &str) -> usize {
    match name {
        "a" | "x" => 1,
        "b" | "y" => 2,
        "c" | "z" => 3,
        _ => 6 + name.len().min(100) + 4 * name.chars().filter(|letter| !letter.is_ascii_lowercase()).count(),
    }
}
