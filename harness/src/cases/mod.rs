//! The fixed cases: short scripts for what random ones find late. They run first.
//!
//! Most are races in a fixed order: a race of two threads has a few interesting orders, and a sink
//! that calls back, or a ticket that stays open, produces each of them on one thread, in any
//! language.

/// A list of cases: `"name" { operation; … } .modifier(…);`, or `"name" (operations);`.
macro_rules! cases {
    ($($name:literal $steps:tt $(. $change:ident $arguments:tt)*;)*) => {
        vec![$(case($name, cases!(@ $steps)) $(. $change $arguments)*),*]
    };
    (@ { $($step:expr;)* }) => { vec![$($step),*] };
    (@ ($steps:expr)) => { $steps };
}

/// A list of operations: `steps! { operation; … }`.
macro_rules! steps {
    ($($step:expr;)*) => { vec![$($step),*] };
}

mod admissions;
mod directed;
mod lives;
mod names;
mod pairs;
mod queued;
mod reentrant;
mod sizes;
mod threads;
mod tiny;

pub(crate) use tiny::tiny;

use crate::script::{
    Act, Ending, Hook, Identity, Op, Reason, Registration, Rule, Script, SinkScript,
};

/// A named script.
#[derive(Debug, Clone)]
pub struct Case {
    /// What happens in it.
    pub name: String,
    /// The script.
    pub script: Script,
}

/// The fixed cases that every campaign runs.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = names::filters();
    cases.extend(names::confusable());
    cases.extend(lives::lives());
    cases.extend(lives::revocations());
    cases.extend(reentrant::reentrant());
    cases.extend(admissions::caps());
    cases.extend(admissions::admissions());
    cases.extend(threads::threads());
    cases.extend(queued::queued());
    cases.extend(directed::directed());
    cases
}

/// The cases that nobody thought of one by one: every bound at its edges, and each two operations
/// inside each callback. A campaign of fewer than [`WHOLE`] random scripts leaves them out.
#[must_use]
pub fn systematic() -> Vec<Case> {
    [sizes::sizes(), pairs::pairs()].concat()
}

/// How many random scripts make a campaign that leaves nothing out.
pub const WHOLE: u64 = 200;

/// The fixed cases of a campaign with so many random scripts.
pub(crate) fn cases_with(scripts: u64) -> Vec<Case> {
    let mut all = cases();
    all.extend(if scripts < WHOLE { Vec::new() } else { systematic() });
    all
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
    op(Act::cast(channel, data))
}

fn send_to(identity: impl Into<Identity>, channel: &str, data: &str) -> Op {
    let to = Some(identity.into());
    op(Act::Cast { channel: channel.into(), data: data.into(), to })
}

fn revoke(identity: impl Into<Identity>) -> Op {
    op(Act::Revoke { identity: identity.into(), reason: None })
}

fn revoke_as(identity: impl Into<Identity>, reason: Reason) -> Op {
    op(Act::Revoke { identity: identity.into(), reason: Some(reason) })
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
