//! Whether the gates of a script can open at all: every registry fails a script that waits for
//! itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{Act, Ending, Hook, Identity, Op, OpId, Registration, Rule, Script};

impl Script {
    /// A gate that a thread may wait for in vain, even with a right registry.
    ///
    /// Each thread advances as far as it can, and a sink runs its rule once an operation may have
    /// called it. Which call reaches a sink first is open where threads race, so a sink that waits
    /// is tried inside each call that could be the first.
    pub(super) fn shut_gate(&self) -> Option<u32> {
        let anywhere = Past::of(self, None).waits;
        let holds = |rule: &Rule| rule.ops.iter().any(|op| matches!(op.act, Act::Hold { .. }));
        anywhere.or_else(|| {
            self.rules().filter(|(_, rule)| holds(rule)).find_map(|(sink, rule)| {
                let within = |by| Past::of(self, Some(Studied { sink, rule, by })).waits;
                let callers = Past::of(self, Some(Studied { sink, rule, by: None })).callers;
                callers.into_iter().find_map(|by| within(Some(by)))
            })
        })
    }
}

/// A rule that is looked at alone: inside which operation it runs; inside none, to learn which
/// could be.
struct Studied<'s> {
    sink: u32,
    rule: &'s Rule,
    by: Option<OpId>,
}

/// What can have happened so far; it only grows.
#[derive(Default)]
struct Past<'s> {
    script: &'s Script,
    registered: Vec<(u32, &'s Registration)>,
    studied: Option<Studied<'s>>,
    done: BTreeSet<OpId>,
    released: BTreeSet<u32>,
    /// Sinks that were subscribed, and how many broadcasts they could hear.
    heard: BTreeMap<u32, u32>,
    /// Operations that may call the sink of the rule that is studied.
    callers: Vec<OpId>,
    /// The first gate that is waited for in the end.
    waits: Option<u32>,
}

impl<'s> Past<'s> {
    fn of(script: &'s Script, studied: Option<Studied<'s>>) -> Self {
        let registered = script.ops().into_iter().filter_map(|op| op.act.registers()).collect();
        let mut past = Self { script, registered, studied, ..Self::default() };
        loop {
            let before = past.done.len();
            past.waits = None;
            past.run(&script.steps, true);
            for (sink, rule) in script.rules() {
                let studied = past.studied.as_ref();
                let alone = studied.is_some_and(|studied| std::ptr::eq(studied.rule, rule));
                if !alone && past.may_have_fired(sink, rule) {
                    past.run(&rule.ops, false);
                }
            }
            if past.done.len() == before {
                return past;
            }
        }
    }

    /// Advances as far as it can; false if that is not the end.
    fn run(&mut self, ops: &'s [Op], plain: bool) -> bool {
        for op in ops {
            if self.done.contains(&op.id) {
                continue;
            }
            match &op.act {
                Act::Hold { gate } if !self.released.contains(gate) => {
                    self.waits.get_or_insert(*gate);
                    return false;
                }
                Act::Release { gate } => {
                    self.released.insert(*gate);
                }
                // Each thread advances as far as it can, whatever the others do.
                Act::Par { threads }
                    if threads.iter().filter(|thread| !self.run(thread, false)).count() > 0 =>
                {
                    return false;
                }
                _ => {}
            }
            if let Some(Studied { sink, rule, by }) = self.studied
                && self.may_fire(sink, rule, op, plain)
            {
                if by.is_none() {
                    self.callers.push(op.id);
                } else if by == Some(op.id) && !self.run(&rule.ops, false) {
                    return false;
                }
            }
            self.note(op);
        }
        true
    }

    fn note(&mut self, op: &'s Op) {
        self.done.insert(op.id);
        match &op.act {
            Act::Sub { sink, .. } | Act::Admit { sink, .. } => {
                self.heard.entry(*sink).or_default();
            }
            Act::Cast { channel, to, .. } => {
                let sinks = self.heard.keys().copied();
                let heard: Vec<u32> =
                    sinks.filter(|sink| self.gets(*sink, channel, to.as_ref())).collect();
                heard.iter().for_each(|sink| *self.heard.entry(*sink).or_default() += 1);
            }
            _ => {}
        }
    }

    fn own(&self, sink: u32) -> impl Iterator<Item = &'s Registration> {
        self.registered.iter().filter(move |(of, _)| *of == sink).map(|(_, with)| *with)
    }

    fn holds(&self, sink: u32, identity: &Identity) -> bool {
        self.own(sink).any(|with| with.identities().any(|own| own == identity))
    }

    fn gets(&self, sink: u32, channel: &str, to: Option<&Identity>) -> bool {
        if let Some(identity) = to {
            return self.holds(sink, identity);
        }
        self.own(sink).any(|with| {
            let names = with.channels.as_deref().unwrap_or_default();
            names.is_empty() || names.iter().any(|name| name == channel)
        })
    }

    /// Whether an operation, on its own, may make a registry call the sink so that the rule fires.
    fn may_fire(&self, sink: u32, rule: &Rule, op: &Op, plain: bool) -> bool {
        let Some(heard) = self.heard.get(&sink) else { return false };
        let fails = |rule: &Rule| rule.on == Hook::Send && rule.then != Ending::Ok;
        match (rule.on, &op.act) {
            // Where threads race, the call of any may be the one that counts.
            (Hook::Send, Act::Cast { channel, to, .. }) => {
                self.gets(sink, channel, to.as_ref()) && (!plain || *heard + 1 >= rule.nth)
            }
            (Hook::Close, Act::Cast { channel, to, .. }) => {
                self.gets(sink, channel, to.as_ref())
                    && self.script.rules().any(|(of, rule)| of == sink && fails(rule))
            }
            (Hook::Close, Act::Revoke { identity, .. }) => self.holds(sink, identity),
            (Hook::Close, Act::Sub { with, .. } | Act::Admit { with, .. }) => {
                self.script.cap.is_some()
                    && with.scope.is_some()
                    && self.own(sink).any(|own| own.scope == with.scope)
            }
            (Hook::Close, Act::Shutdown) => true,
            _ => false,
        }
    }

    fn may_have_fired(&self, sink: u32, rule: &Rule) -> bool {
        let done = self.script.ops().into_iter().filter(|op| self.done.contains(&op.id));
        let fired = done.into_iter().any(|op| self.may_fire(sink, rule, op, false));
        // An operation that waits inside a sink has called others before.
        fired || (self.studied.is_some() && self.heard.contains_key(&sink) && self.waits.is_some())
    }
}
