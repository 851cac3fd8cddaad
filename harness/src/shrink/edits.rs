//! The ways to make a script simpler.

use crate::script::{Act, Ending, Identity, Op, Outbox, Reason, Script};

/// One way to make a script simpler.
pub(super) enum Edit {
    /// No revocation names its reason.
    NoReasons,
    /// One names none, or another.
    Reason(u32, Option<Reason>),
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
    /// Leave out all that waits for these gates or opens them.
    NoGates(Vec<u32>),
    /// Run threads one after the other.
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
    /// Long names and payloads without so many bytes of their beginning.
    Behead(usize),
    /// Simplify one registration.
    Plain(u32, Plainer),
    /// An admission becomes a subscribe.
    Subscribe(u32),
    /// A sink of its own.
    OwnSink(u32, u32),
    /// A sink in place of an outbox, from which nothing is taken then.
    NoOutbox(u32, u32),
    /// Take all, or carry less.
    Lighten(u32),
}

/// Names of so many bytes are short enough.
const SHORT: usize = 16;

/// One way to simplify a registration.
#[derive(Clone, Copy)]
pub(super) enum Plainer {
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
    AnyMessages,
    AnyBytes,
    OneMessageLess,
    Closing,
}

/// All edits of a script, the largest changes first.
pub(super) fn edits(script: &Script) -> Vec<Edit> {
    // This comes first: a failure that remains is not about reasons.
    let mut edits = vec![Edit::NoReasons];
    script.visit(&mut |op| {
        if let Act::Par { .. } = op.act {
            edits.push(Edit::Inline(op.id));
        }
    });
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
        edits.extend(gates.chunks(some).map(|gates| Edit::NoGates(gates.to_vec())));
        some /= 2;
    }
    let steps = script.steps.len();
    let mut len = steps / 2;
    while len >= 2 {
        edits.extend(
            (0..steps.saturating_sub(len - 1)).step_by(len).map(|from| Edit::Cut { from, len }),
        );
        len /= 2;
    }
    if script.cap.is_some() {
        edits.push(Edit::Cap(None));
    }
    for (sink, rules) in script.sinks.iter().enumerate() {
        edits.extend((0..rules.rules.len()).map(|rule| Edit::DropRule { sink, rule }));
    }
    edits.push(Edit::OneRegistry);
    let (mut names, mut longest) = (Vec::new(), 0);
    let mut fresh_sink = script.sink_count() as u32;
    script.visit(&mut |op| {
        edits.push(Edit::Drop(op.id));
        match &op.act {
            Act::Sub { sub, with, .. } | Act::Admit { sub, with, .. } => {
                if matches!(op.act, Act::Admit { .. }) {
                    edits.push(Edit::Subscribe(op.id));
                }
                edits.push(Edit::OwnSink(op.id, fresh_sink));
                fresh_sink += 1;
                if with.outbox.is_some() {
                    edits.push(Edit::NoOutbox(op.id, *sub));
                }
                let mut plainer = vec![
                    Plainer::NoOverwrite,
                    Plainer::NotExact,
                    Plainer::NoScope,
                    Plainer::ScopeAsGroup,
                ];
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
                if with.outbox.is_some() {
                    plainer.extend([
                        Plainer::AnyMessages,
                        Plainer::AnyBytes,
                        Plainer::OneMessageLess,
                        Plainer::Closing,
                    ]);
                }
                edits.extend(plainer.into_iter().map(|change| Edit::Plain(op.id, change)));
                names.extend(with.channels.iter().flatten().take(16).cloned());
                names.extend(with.identities().map(|own| own.value().to_owned()));
            }
            Act::Cast { channel, data } => {
                edits.push(Edit::Lighten(op.id));
                names.push(channel.clone());
                longest = longest.max(data.len());
            }
            Act::Take { .. } => edits.push(Edit::Lighten(op.id)),
            Act::Revoke { identity, reason } => {
                if reason.is_some() {
                    edits.push(Edit::Reason(op.id, None));
                    edits.extend(Reason::ALL.map(|other| Edit::Reason(op.id, Some(other))));
                }
                names.push(identity.value().to_owned());
            }
            _ => {}
        }
    });
    names.sort();
    names.dedup();
    // All at once: long names may matter because they begin in the same way.
    let mut beheaded = names.iter().map(String::len).fold(longest, usize::max) / 2;
    while beheaded >= SHORT {
        edits.push(Edit::Behead(beheaded));
        beheaded /= 2;
    }
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
    pub(super) fn apply(&self, script: &mut Script) {
        match self {
            Edit::NoReasons => script.visit_mut(&mut |op| {
                if let Act::Revoke { reason, .. } = &mut op.act {
                    *reason = None;
                }
            }),
            Edit::Reason(id, other) => script.visit_mut(&mut |op| {
                if let Act::Revoke { reason, .. } = &mut op.act
                    && op.id == *id
                {
                    *reason = *other;
                }
            }),
            Edit::Cut { from, len } => {
                script.steps.drain(*from..(from + len).min(script.steps.len()));
            }
            Edit::Drop(id) => script.each_list(&mut |ops| ops.retain(|op| op.id != *id)),
            Edit::DropRule { sink, rule } => {
                script.sinks[*sink].rules.remove(*rule);
            }
            Edit::CalmRule { sink, rule } => script.sinks[*sink].rules[*rule].then = Ending::Ok,
            Edit::ThrowRule { sink, rule } => script.sinks[*sink].rules[*rule].then = Ending::Throw,
            Edit::FirstRule { sink, rule } => script.sinks[*sink].rules[*rule].nth = 1,
            Edit::NoGates(gates) => script.each_list(&mut |ops| {
                ops.retain(|op| match op.act {
                    Act::Hold { gate } | Act::Release { gate } => !gates.contains(&gate),
                    _ => true,
                });
            }),
            Edit::Inline(id) => script.each_list(&mut |ops| {
                if let Some(at) = ops.iter().position(|op| op.id == *id)
                    && let Act::Par { threads } = ops[at].act.clone()
                {
                    ops.splice(at..=at, threads.into_iter().flatten());
                }
                // On one thread, a gate that is waited for could not be released.
                ops.retain(|op| !matches!(op.act, Act::Hold { .. } | Act::Release { .. }));
            }),
            Edit::Cap(cap) => script.cap = *cap,
            Edit::OneRegistry => script.visit_mut(&mut |op| op.registry = 0),
            Edit::Rename { from, to } => script.visit_mut(&mut |op| rename(op, from, to)),
            Edit::Behead(bytes) => script.visit_mut(&mut |op| {
                each_text(op, &mut |text| {
                    if let Some(rest) = text.get(*bytes..).filter(|rest| rest.len() >= SHORT) {
                        *text = rest.to_owned();
                    }
                });
            }),
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
            Edit::NoOutbox(id, label) => {
                let taken = |op: &Op| matches!(&op.act, Act::Take { sub, .. } if sub == label);
                script.each_list(&mut |ops| ops.retain(|op| !taken(op)));
                script.visit_mut(&mut |op| {
                    if op.id == *id
                        && let Act::Sub { with, .. } | Act::Admit { with, .. } = &mut op.act
                    {
                        with.outbox = None;
                    }
                });
            }
            Edit::Lighten(id) => script.visit_mut(&mut |op| match &mut op.act {
                Act::Take { bytes, .. } if op.id == *id => *bytes = None,
                Act::Cast { data, .. } if op.id == *id => {
                    data.truncate(data.find('.').unwrap_or(data.len()));
                }
                _ => {}
            }),
        }
        while script.sinks.last().is_some_and(|sink| sink.rules.is_empty()) {
            script.sinks.pop();
        }
    }
}

fn rename(op: &mut Op, from: &str, to: &str) {
    let cast = matches!(op.act, Act::Cast { .. });
    let mut place = 0;
    each_text(op, &mut |name| {
        place += 1;
        // Of a broadcast, the channel alone is a name.
        if name == from && !(cast && place == 2) {
            to.clone_into(name);
        }
    });
}

/// Channels, identities and the payload of an operation, the channel of a broadcast first.
fn each_text(op: &mut Op, change: &mut dyn FnMut(&mut String)) {
    let identity = |own: &mut Identity, change: &mut dyn FnMut(&mut String)| match own {
        Identity::Plain(value) | Identity::Kinded { value, .. } => change(value),
    };
    match &mut op.act {
        Act::Sub { with, .. } | Act::Admit { with, .. } => {
            with.channels.iter_mut().flatten().chain(&mut with.overwrite).for_each(&mut *change);
            with.scope.iter_mut().chain(&mut with.groups).for_each(|own| identity(own, change));
        }
        Act::Cast { channel, data } => {
            change(channel);
            change(data);
        }
        Act::Revoke { identity: named, .. } => identity(named, change),
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
        Plainer::AnyMessages | Plainer::AnyBytes | Plainer::OneMessageLess | Plainer::Closing => {
            let (Some(outbox), usual) = (&mut with.outbox, Outbox::default()) else { return };
            match change {
                Plainer::AnyMessages => outbox.messages = usual.messages,
                Plainer::AnyBytes => outbox.bytes = usual.bytes,
                Plainer::OneMessageLess => {
                    outbox.messages = outbox.messages.saturating_sub(1).max(1)
                }
                _ => outbox.overflow = usual.overflow,
            }
        }
        Plainer::NoKinds => {
            for identity in with.scope.iter_mut().chain(&mut with.groups) {
                *identity = Identity::Plain(identity.value().to_owned());
            }
        }
    }
}
