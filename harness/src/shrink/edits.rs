//! The ways to make a script simpler.

use crate::script::{Act, Ending, Identity, Op, OpId, Outbox, Reason, Registration, Rule, Script};

/// One way to make a script simpler.
pub(super) type Edit = Box<dyn Fn(&mut Script)>;

/// Names of so many bytes are short enough.
const SHORT: usize = 16;

#[derive(Default)]
struct Edits(Vec<Edit>);

impl Edits {
    fn add(&mut self, edit: impl Fn(&mut Script) + 'static) {
        self.0.push(Box::new(move |script| {
            edit(script);
            while script.sinks.last().is_some_and(|sink| sink.rules.is_empty()) {
                script.sinks.pop();
            }
        }));
    }

    /// Changes every operation.
    fn each_op(&mut self, change: impl Fn(&mut Op) + 'static) {
        self.add(move |script| script.visit_mut(&mut |op| change(op)));
    }

    /// Changes one operation.
    fn op(&mut self, id: OpId, change: impl Fn(&mut Act) + 'static) {
        self.each_op(move |op| {
            if op.id == id {
                change(&mut op.act);
            }
        });
    }

    /// Changes one registration.
    fn with(&mut self, id: OpId, change: impl Fn(&mut Registration) + 'static) {
        self.op(id, move |act| {
            if let Act::Sub { with, .. } | Act::Admit { with, .. } = act {
                change(with);
            }
        });
    }

    /// Changes one list of names.
    fn names(&mut self, id: OpId, change: impl Fn(&mut Vec<String>) + 'static) {
        self.with(id, move |with| with.channels.iter_mut().for_each(&change));
    }

    /// Changes the bounds of one outbox.
    fn outbox(&mut self, id: OpId, change: impl Fn(&mut Outbox) + 'static) {
        self.with(id, move |with| with.outbox.iter_mut().for_each(&change));
    }

    /// Leaves out the operations that `drops` selects.
    fn without(&mut self, drops: impl Fn(&Op) -> bool + 'static) {
        self.add(move |script| script.each_list(&mut |ops| ops.retain(|op| !drops(op))));
    }

    /// Changes one rule.
    fn rule(&mut self, sink: usize, rule: usize, change: impl Fn(&mut Rule) + 'static) {
        self.add(move |script| change(&mut script.sinks[sink].rules[rule]));
    }
}

/// All edits of a script, the largest changes first.
pub(super) fn edits(script: &Script) -> Vec<Edit> {
    let mut edits = Edits::default();
    // These come first: a failure that remains is not about reasons, or not about addresses.
    edits.each_op(|op| name_reason(&mut op.act, None));
    edits.each_op(|op| to_all(&mut op.act));
    script.visit(&mut |op| {
        if let Act::Par { .. } = op.act {
            inline(&mut edits, op.id);
        }
    });
    without_gates(&mut edits, script);
    let steps = script.steps.len();
    let mut len = steps / 2;
    while len >= 2 {
        for from in (0..steps.saturating_sub(len - 1)).step_by(len) {
            edits.add(move |script| {
                script.steps.drain(from..(from + len).min(script.steps.len()));
            });
        }
        len /= 2;
    }
    if script.cap.is_some() {
        edits.add(|script| script.cap = None);
    }
    for (sink, own) in script.sinks.iter().enumerate() {
        for rule in 0..own.rules.len() {
            edits.add(move |script| {
                script.sinks[sink].rules.remove(rule);
            });
        }
    }
    edits.each_op(|op| op.registry = 0);
    let mut fresh_sink = script.sink_count() as u32;
    script.visit(&mut |op| {
        let id = op.id;
        edits.without(move |op| op.id == id);
        match &op.act {
            Act::Sub { sub, with, .. } | Act::Admit { sub, with, .. } => {
                subscribe(&mut edits, op, *sub, fresh_sink);
                plainer(&mut edits, id, with);
                fresh_sink += 1;
            }
            Act::Cast { .. } | Act::Take { .. } => {
                edits.op(id, |act| match act {
                    Act::Take { bytes, .. } => *bytes = None,
                    Act::Cast { data, .. } => data.truncate(data.find('.').unwrap_or(data.len())),
                    _ => {}
                });
                edits.op(id, to_all);
            }
            Act::Revoke { reason: Some(_), .. } => {
                let others = Reason::ALL.into_iter().map(Some);
                for other in [None].into_iter().chain(others) {
                    edits.op(id, move |act| name_reason(act, other));
                }
            }
            _ => {}
        }
    });
    edits.each_op(|op| {
        each_identity(op, &mut |own| *own = Identity::Plain(own.value().to_owned()));
    });
    // Payloads that differ.
    edits.each_op(|op| {
        let id = op.id;
        if let Act::Cast { data, .. } = &mut op.act {
            *data = format!("m{id}");
        }
    });
    names(&mut edits, script);
    for (sink, own) in script.sinks.iter().enumerate() {
        for rule in 0..own.rules.len() {
            edits.rule(sink, rule, |rule| rule.then = Ending::Ok);
            edits.rule(sink, rule, |rule| rule.then = Ending::Throw);
            edits.rule(sink, rule, |rule| rule.nth = 1);
        }
    }
    if script.cap > Some(1) {
        edits.add(|script| script.cap = Some(1));
    }
    edits.0
}

fn name_reason(act: &mut Act, other: Option<Reason>) {
    if let Act::Revoke { reason, .. } = act {
        *reason = other;
    }
}

/// Makes a broadcast of a message that is sent to an identity.
fn to_all(act: &mut Act) {
    if let Act::Cast { to, .. } = act {
        *to = None;
    }
}

/// Runs threads one after the other.
fn inline(edits: &mut Edits, id: OpId) {
    edits.add(move |script| {
        script.each_list(&mut |ops| {
            if let Some(at) = ops.iter().position(|op| op.id == id)
                && let Act::Par { threads } = ops[at].act.clone()
            {
                ops.splice(at..=at, threads.into_iter().flatten());
            }
            // On one thread, a gate that is waited for could not be released.
            ops.retain(|op| !matches!(op.act, Act::Hold { .. } | Act::Release { .. }));
        });
    });
}

/// Leaves out all that waits for some gates or opens them.
fn without_gates(edits: &mut Edits, script: &Script) {
    let mut gates = Vec::new();
    script.visit(&mut |op| {
        if let Act::Hold { gate } | Act::Release { gate } = op.act {
            gates.push(gate);
        }
    });
    gates.sort_unstable();
    gates.dedup();
    // Several at a time: gates that threads open for each other come in pairs.
    let mut some = gates.len() / 2;
    while some >= 1 {
        for gates in gates.chunks(some).map(<[u32]>::to_vec) {
            edits.without(move |op| match op.act {
                Act::Hold { gate } | Act::Release { gate } => gates.contains(&gate),
                _ => false,
            });
        }
        some /= 2;
    }
}

/// A subscribe in place of an admission, a sink of its own, or a sink in place of an outbox.
fn subscribe(edits: &mut Edits, op: &Op, label: u32, fresh: u32) {
    if let Act::Admit { .. } = op.act {
        edits.op(op.id, |act| {
            if let Act::Admit { sub, sink, with, .. } = act {
                *act = Act::Sub { sub: *sub, sink: *sink, with: with.clone() };
            }
        });
    }
    edits.op(op.id, move |act| {
        if let Act::Sub { sink, .. } | Act::Admit { sink, .. } = act {
            *sink = fresh;
        }
    });
    if let Act::Sub { with, .. } | Act::Admit { with, .. } = &op.act
        && with.outbox.is_some()
    {
        let id = op.id;
        edits.add(move |script| {
            let taken = |op: &Op| matches!(op.act, Act::Take { sub, .. } if sub == label);
            script.each_list(&mut |ops| ops.retain(|op| !taken(op)));
            script.visit_mut(&mut |op| match &mut op.act {
                Act::Sub { with, .. } | Act::Admit { with, .. } if op.id == id => {
                    with.outbox = None;
                }
                _ => {}
            });
        });
    }
}

/// Simpler registrations.
fn plainer(edits: &mut Edits, id: OpId, with: &Registration) {
    edits.with(id, |with| with.overwrite = None);
    edits.with(id, |with| with.exact = false);
    edits.with(id, |with| with.scope = None);
    edits.with(id, |with| {
        if with.groups.is_empty() {
            with.groups.extend(with.scope.take());
        }
    });
    for at in 0..with.groups.len() {
        edits.with(id, move |with| drop(with.groups.remove(at)));
    }
    edits.with(id, |with| {
        for identity in with.scope.iter_mut().chain(&mut with.groups) {
            *identity = Identity::Plain(identity.value().to_owned());
        }
    });
    let listed = with.channels.as_ref().map_or(0, Vec::len);
    for at in (0..listed).filter(|_| listed <= 16) {
        edits.names(id, move |names| drop(names.remove(at)));
    }
    if listed > 2 {
        edits.names(id, |names| names.truncate(names.len().div_ceil(2)));
        edits.names(id, |names| drop(names.drain(..names.len() / 2)));
    }
    edits.with(id, |with| {
        let first = with.channels.iter().flatten().next().cloned();
        with.channels = Some(vec![first.unwrap_or_else(|| "a".into())]);
    });
    if with.outbox.is_some() {
        edits.outbox(id, |outbox| outbox.messages = Outbox::default().messages);
        edits.outbox(id, |outbox| outbox.bytes = Outbox::default().bytes);
        edits.outbox(id, |outbox| outbox.messages = outbox.messages.saturating_sub(1).max(1));
        edits.outbox(id, |outbox| outbox.overflow = Outbox::default().overflow);
    }
}

/// Shorter names and payloads, and other names.
fn names(edits: &mut Edits, script: &Script) {
    let (mut names, mut longest) = (Vec::new(), 0);
    script.visit(&mut |op| match &op.act {
        Act::Sub { with, .. } | Act::Admit { with, .. } => {
            names.extend(with.channels.iter().flatten().take(16).cloned());
            names.extend(with.identities().map(|own| own.value().to_owned()));
        }
        Act::Cast { channel, data, to } => {
            names.push(channel.clone());
            names.extend(to.iter().map(|identity| identity.value().to_owned()));
            longest = longest.max(data.len());
        }
        Act::Revoke { identity, .. } => names.push(identity.value().to_owned()),
        _ => {}
    });
    names.sort();
    names.dedup();
    // All at once: long names may matter because they begin in the same way.
    let mut bytes = names.iter().map(String::len).fold(longest, usize::max) / 2;
    while bytes >= SHORT {
        edits.each_op(move |op| {
            each_text(op, &mut |text| {
                if let Some(rest) = text.get(bytes..).filter(|rest| rest.len() >= SHORT) {
                    *text = rest.to_owned();
                }
            });
        });
        bytes /= 2;
    }
    // An identity may matter because it is written like a channel.
    for from in ["a", "b", "c"] {
        let to = if from == "a" { "x" } else { "y" };
        edits.each_op(move |op| {
            each_identity(op, &mut |own| {
                if *own == Identity::from(from) {
                    *own = to.into();
                }
            });
        });
    }
    for from in names {
        for to in ["a", "b", "c", "x", "y"].into_iter().filter(|to| *to != from) {
            let from = from.clone();
            edits.each_op(move |op| rename(op, &from, to));
        }
    }
}

fn rename(op: &mut Op, from: &str, to: &str) {
    let cast = matches!(op.act, Act::Cast { .. });
    let mut place = 0;
    each_text(op, &mut |name| {
        place += 1;
        // Of a broadcast, the payload is no name.
        if name == from && !(cast && place == 2) {
            to.clone_into(name);
        }
    });
}

/// Channels, identities and the payload of an operation, the channel of a broadcast first.
fn each_text(op: &mut Op, change: &mut dyn FnMut(&mut String)) {
    match &mut op.act {
        Act::Sub { with, .. } | Act::Admit { with, .. } => {
            with.channels.iter_mut().flatten().chain(&mut with.overwrite).for_each(&mut *change);
        }
        Act::Cast { channel, data, .. } => {
            change(channel);
            change(data);
        }
        _ => {}
    }
    each_identity(op, &mut |own| match own {
        Identity::Plain(value) | Identity::Kinded { value, .. } => change(value),
    });
}

fn each_identity(op: &mut Op, change: &mut dyn FnMut(&mut Identity)) {
    match &mut op.act {
        Act::Sub { with, .. } | Act::Admit { with, .. } => {
            with.scope.iter_mut().chain(&mut with.groups).for_each(change);
        }
        Act::Revoke { identity, .. } => change(identity),
        Act::Cast { to, .. } => to.iter_mut().for_each(change),
        _ => {}
    }
}
