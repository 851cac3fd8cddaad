//! Scripts: finite programs over one fresh registry, with sinks that call back.
//!
//! A script is data. It names subscribers, sinks, tickets and gates by small numbers ("labels"); an
//! operation on a label that names nothing (yet) is skipped without a trace. So every part of a
//! script is a script again, which is what makes shrinking simple. Every operation carries an `id`
//! that is unique within its script and runs at most once; the trace refers to it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

mod gates;
mod reason;
mod registration;

pub use reason::Reason;
pub use registration::{Identity, Outbox, Overflow, Registration};

/// Names one operation of a script.
pub type OpId = u32;

/// The most bytes that are taken from an outbox at once, unless a script says otherwise: 64 KiB.
pub const TAKEN_AT_ONCE: u32 = 64 * 1024;

/// A program over one fresh registry (or two, see [`Op::registry`]).
///
/// ```
/// use harness::script::{Act, Op, Registration, Script};
///
/// let script = Script::new(vec![
///     Op::new(1, Act::Sub { sub: 0, sink: 0, with: Registration::to(&["news"]) }),
///     Op::new(2, Act::cast("news", "hello")),
/// ]);
/// assert_eq!(script.sink_count(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The most active subscribers that one scope may have; absent means no cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<u32>,
    /// What each sink does when it is called; sinks past the end of the list just accept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<SinkScript>,
    /// The operations, run one after the other.
    pub steps: Vec<Op>,
}

/// The rules of one sink.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkScript {
    /// Each fires once, at the call it names.
    pub rules: Vec<Rule>,
}

/// What a sink does at its n-th send or close.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which calls are counted.
    pub on: Hook,
    /// The call at which the rule fires, from 1.
    pub nth: u32,
    /// Operations that the sink runs from inside that call.
    #[serde(rename = "do", default, skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<Op>,
    /// How the call ends.
    #[serde(default, skip_serializing_if = "is_default")]
    pub then: Ending,
}

/// The calls that a registry makes on a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// A message is handed over.
    Send,
    /// The subscriber is forced to end.
    Close,
}

/// How a scripted call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It succeeds.
    #[default]
    Ok,
    /// It throws, raises or panics.
    Throw,
    /// It reports failure by its return value; where there is none, it throws.
    Fail,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// Unique within the script.
    pub id: OpId,
    /// Which registry; only scripts for ISO-6 use a second one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub registry: u32,
    /// What is done.
    #[serde(flatten)]
    pub act: Act,
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Act {
    /// Subscribe a sink.
    Sub {
        /// The label of the new subscriber.
        sub: u32,
        /// The sink; one sink may be subscribed more than once.
        sink: u32,
        /// Filter and identities.
        #[serde(flatten)]
        with: Registration,
    },
    /// End a subscriber by its handle.
    Unsub {
        /// The subscriber's label.
        sub: u32,
    },
    /// Take what is in a subscriber's outbox, or learn of its end; never waits.
    Take {
        /// The label of a subscriber with an outbox.
        sub: u32,
        /// The most bytes that are taken at once, unless a single message has more; absent means 64
        /// KiB.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u32>,
    },
    /// Broadcast, or send to all that hold an identity.
    Cast {
        /// The channel.
        channel: String,
        /// The payload.
        data: String,
        /// The identity whose holders get it, whatever they listen to (profile `directed`); absent
        /// is a broadcast.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Identity>,
    },
    /// Close by identity.
    Revoke {
        /// The identity.
        identity: Identity,
        /// The reason that the call names; absent is the call that names none, and ends as
        /// [`Reason::Revoked`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// Ask how many subscribers are active.
    Count,
    /// Open a ticket, before a credential is read.
    Begin {
        /// The ticket's label.
        ticket: u32,
    },
    /// Turn a ticket into a subscriber.
    Admit {
        /// The ticket's label.
        ticket: u32,
        /// The label of the new subscriber.
        sub: u32,
        /// The sink.
        sink: u32,
        /// Filter and identities.
        #[serde(flatten)]
        with: Registration,
    },
    /// Give a ticket up.
    Abandon {
        /// The ticket's label.
        ticket: u32,
    },
    /// Wait until deliveries in progress have settled; nothing to do where `broadcast` delivers
    /// before it returns.
    Settle,
    /// Park until the gate is released.
    Hold {
        /// The gate.
        gate: u32,
    },
    /// Release a gate, now and for ever.
    Release {
        /// The gate.
        gate: u32,
    },
    /// Run lists of operations at the same time, each on its own thread, and wait for all.
    Par {
        /// The operations of each thread; number *i* of the list is reported as thread *i* + 1.
        #[serde(rename = "lanes")]
        threads: Vec<Vec<Op>>,
    },
    /// End all subscribers, reason *shutdown*, and refuse new ones.
    Shutdown,
}

impl Act {
    /// A broadcast.
    #[must_use]
    pub fn cast(channel: &str, data: &str) -> Self {
        Self::Cast { channel: channel.to_owned(), data: data.to_owned(), to: None }
    }

    /// The sink and the registration, if it subscribes or admits.
    #[must_use]
    pub fn registers(&self) -> Option<(u32, &Registration)> {
        match self {
            Act::Sub { sink, with, .. } | Act::Admit { sink, with, .. } => Some((*sink, with)),
            _ => None,
        }
    }
}

impl Op {
    /// An operation on the first registry.
    #[must_use]
    pub fn new(id: OpId, act: Act) -> Self {
        Self { id, registry: 0, act }
    }
}

impl Default for &Script {
    /// The script that does nothing.
    fn default() -> Self {
        const { &Script { cap: None, sinks: Vec::new(), steps: Vec::new() } }
    }
}

impl Script {
    /// A script without rules and cap.
    #[must_use]
    pub fn new(steps: Vec<Op>) -> Self {
        Self { cap: None, sinks: Vec::new(), steps }
    }

    /// One more than the highest sink label that anything names.
    #[must_use]
    pub fn sink_count(&self) -> usize {
        let named = self.ops().into_iter().filter_map(|op| op.act.registers());
        named.map(|(sink, _)| sink as usize + 1).fold(self.sinks.len(), usize::max)
    }

    /// All rules, each with the number of its sink.
    pub fn rules(&self) -> impl Iterator<Item = (u32, &Rule)> {
        (0..)
            .zip(&self.sinks)
            .flat_map(|(sink, own)| own.rules.iter().map(move |rule| (sink, rule)))
    }

    /// The rule for this call of a sink, if there is one.
    pub(crate) fn rule(&self, sink: u32, on: Hook, nth: u32) -> Option<&Rule> {
        let own = &self.sinks.get(sink as usize)?.rules;
        own.iter().find(|rule| rule.on == on && rule.nth == nth)
    }

    /// Calls `see` with every operation: steps, their threads, and what sinks run.
    pub fn visit<'a>(&'a self, see: &mut dyn FnMut(&'a Op)) {
        visit_ops(&self.steps, see);
        for (_, rule) in self.rules() {
            visit_ops(&rule.ops, see);
        }
    }

    /// All operations, in the order of [`Script::visit`].
    #[must_use]
    pub fn ops(&self) -> Vec<&Op> {
        let mut all = Vec::new();
        self.visit(&mut |op| all.push(op));
        all
    }

    /// As [`Script::visit`], with the operations open to change.
    pub fn visit_mut(&mut self, see: &mut dyn FnMut(&mut Op)) {
        visit_ops_mut(&mut self.steps, see);
        self.each_rule(|rule| visit_ops_mut(&mut rule.ops, see));
    }

    /// As [`Script::visit_mut`], a list of operations at a time: the steps, the threads, what each
    /// rule does.
    pub(crate) fn each_list(&mut self, change: &mut dyn FnMut(&mut Vec<Op>)) {
        fn threads(ops: &mut Vec<Op>, change: &mut dyn FnMut(&mut Vec<Op>)) {
            change(ops);
            for op in ops {
                if let Act::Par { threads: inner } = &mut op.act {
                    inner.iter_mut().for_each(|thread| threads(thread, change));
                }
            }
        }
        threads(&mut self.steps, change);
        self.each_rule(|rule| threads(&mut rule.ops, change));
    }

    /// Changes what each sink does.
    pub(crate) fn each_rule(&mut self, change: impl FnMut(&mut Rule)) {
        self.sinks.iter_mut().flat_map(|sink| &mut sink.rules).for_each(change);
    }

    /// Leaves out such operations, wherever they are.
    #[must_use]
    pub fn without(mut self, drop: impl Fn(&Op) -> bool) -> Self {
        self.each_list(&mut |ops| ops.retain(|op| !drop(op)));
        self
    }

    /// Numbers the operations from 1, in the order in which they are written down.
    #[must_use]
    pub fn numbered(mut self) -> Self {
        let mut next = 0;
        self.visit_mut(&mut |op| {
            next += 1;
            op.id = next;
        });
        self
    }

    /// What an implementation must offer to run this script, as names of profiles and features.
    #[must_use]
    pub fn needs(&self) -> BTreeSet<&'static str> {
        let mut needs = BTreeSet::new();
        let mut need = |there: bool, what| {
            if there {
                needs.insert(what);
            }
        };
        need(self.cap.is_some(), "scope_cap");
        self.visit(&mut |op| match &op.act {
            Act::Sub { with, .. } | Act::Admit { with, .. } => {
                need(matches!(op.act, Act::Admit { .. }), "admission");
                need(with.exact, "exact");
                need(with.outbox.is_some(), "queued");
                need(with.scope.is_some(), "scope_cap");
                need(with.groups.len() + usize::from(with.scope.is_some()) > 1, "groups");
                need(with.identities().any(|identity| identity.kind().is_some()), "kinds");
            }
            Act::Revoke { identity, reason } => {
                need(identity.kind().is_some(), "kinds");
                need(reason.is_some(), "revoke_as");
            }
            Act::Cast { to: Some(identity), .. } => {
                need(true, "directed");
                need(identity.kind().is_some(), "kinds");
            }
            Act::Count => need(true, "count"),
            Act::Shutdown => need(true, "shutdown"),
            Act::Take { .. } => need(true, "queued"),
            Act::Begin { .. } | Act::Abandon { .. } => need(true, "admission"),
            Act::Par { .. } | Act::Hold { .. } | Act::Release { .. } => need(true, "threads"),
            _ => {}
        });
        needs
    }

    /// Says why this cannot be judged, if so: an operation's number used twice; where there are
    /// threads, one payload for two broadcasts of which either is made by a sink or in a thread, so
    /// that a delivery could not be attributed; a `take` from a sink; a gate that is waited for and
    /// cannot open.
    ///
    /// # Errors
    ///
    /// The reason, as a sentence.
    pub fn check(&self) -> Result<(), String> {
        let ops = self.ops();
        let mut ids = BTreeSet::new();
        if let Some(twice) = ops.iter().find(|op| !ids.insert(op.id)) {
            return Err(format!("the operation number {} is used twice", twice.id));
        }
        self.check_takes()?;
        if let Some(gate) = self.shut_gate() {
            return Err(format!(
                "gate {gate} is waited for, and nothing that can come to pass releases it"
            ));
        }

        if !self.steps.iter().any(|op| matches!(op.act, Act::Par { .. })) {
            return Ok(());
        }
        let all: Vec<_> = ops.into_iter().filter_map(payload).collect();
        let plain: Vec<_> = self.steps.iter().filter_map(payload).collect();
        for data in &all {
            let times = |list: &[&str]| list.iter().filter(|own| *own == data).count();
            let (total, simple) = (times(&all), times(&plain));
            if total > 1 && total != simple {
                return Err(format!(
                    "the payload {data:?} is used by two broadcasts that may overlap"
                ));
            }
        }
        Ok(())
    }

    fn check_takes(&self) -> Result<(), String> {
        let (mut sinks, mut taken) = (BTreeSet::new(), BTreeSet::new());
        self.visit(&mut |op| match &op.act {
            Act::Sub { sub, with, .. } | Act::Admit { sub, with, .. } if with.outbox.is_none() => {
                sinks.insert(*sub);
            }
            Act::Take { sub, .. } => {
                taken.insert(*sub);
            }
            _ => {}
        });
        match taken.intersection(&sinks).next() {
            Some(sub) => Err(format!("subscriber {sub} has no outbox to take from")),
            None => Ok(()),
        }
    }
}

fn payload(op: &Op) -> Option<&str> {
    let Act::Cast { data, .. } = &op.act else { return None };
    Some(data)
}

fn visit_ops<'a>(ops: &'a [Op], see: &mut dyn FnMut(&'a Op)) {
    for op in ops {
        see(op);
        if let Act::Par { threads } = &op.act {
            threads.iter().for_each(|thread| visit_ops(thread, see));
        }
    }
}

fn visit_ops_mut(ops: &mut [Op], see: &mut dyn FnMut(&mut Op)) {
    for op in ops {
        see(op);
        if let Act::Par { threads } = &mut op.act {
            threads.iter_mut().for_each(|thread| visit_ops_mut(thread, see));
        }
    }
}

/// Whether serde may leave a field out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
