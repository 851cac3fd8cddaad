//! Whether the gates of a script can open at all: a script that waits for itself condemns every registry alike.

use std::collections::BTreeSet;

use super::{Act, Hook, Op, Registration, Rule, Script};

/// What has come to pass, as far as it could; it only grows.
#[derive(Default, PartialEq, Eq, Clone)]
struct Past<'s> {
    released: BTreeSet<u32>,
    /// Channels that something was broadcast on.
    casts: BTreeSet<&'s str>,
    /// Something was done that may end subscribers.
    ends: bool,
    /// The first gate that was waited for when it was not open.
    waits: Option<u32>,
}

impl Script {
    /// A gate that something waits for and that stays shut, however well the registry does.
    ///
    /// What a sink does counts once anything may have called it: which of them a registry calls, and when, is its own affair.
    pub(super) fn shut_gate(&self) -> Option<u32> {
        let mut registered: Vec<(u32, &Registration)> = Vec::new();
        self.visit(&mut |op| {
            if let Act::Sub { sink, with, .. } | Act::Admit { sink, with, .. } = &op.act {
                registered.push((*sink, with));
            }
        });
        let mut past = Past::default();
        loop {
            let before = past.clone();
            past.waits = None;
            past.run(&self.steps);
            for (sink, script) in self.sinks.iter().enumerate() {
                for rule in &script.rules {
                    let own = registered.iter().filter(|(of, _)| *of as usize == sink);
                    if past.may_fire(rule, own.map(|(_, with)| *with)) {
                        past.run(&rule.ops);
                    }
                }
            }
            if past == before {
                return past.waits;
            }
        }
    }
}

impl<'s> Past<'s> {
    /// Gets as far as it can; false if that is not the end.
    fn run(&mut self, ops: &'s [Op]) -> bool {
        for op in ops {
            match &op.act {
                Act::Hold { gate } if !self.released.contains(gate) => {
                    self.waits.get_or_insert(*gate);
                    return false;
                }
                Act::Release { gate } => {
                    self.released.insert(*gate);
                }
                Act::Cast { channel, .. } => {
                    self.casts.insert(channel);
                }
                Act::Revoke { .. } | Act::Sub { .. } | Act::Admit { .. } | Act::Shutdown => self.ends = true,
                // Each lane gets as far as it can, whatever the others do.
                Act::Par { lanes } if lanes.iter().filter(|lane| !self.run(lane)).count() > 0 => return false,
                _ => {}
            }
        }
        true
    }

    fn may_fire(&self, rule: &Rule, mut own: impl Iterator<Item = &'s Registration>) -> bool {
        let heard = |with: &Registration| {
            let names = with.channels.as_deref().unwrap_or_default();
            names.is_empty() || names.iter().any(|name| self.casts.contains(name.as_str()))
        };
        match rule.on {
            Hook::Send => !self.casts.is_empty() && own.any(heard),
            Hook::Close => (self.ends || !self.casts.is_empty()) && own.next().is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Ending, SinkScript};

    fn ops(acts: Vec<Act>) -> Vec<Op> {
        acts.into_iter().map(|act| Op::new(0, act)).collect()
    }

    fn hold(gate: u32) -> Act {
        Act::Hold { gate }
    }

    fn release(gate: u32) -> Act {
        Act::Release { gate }
    }

    /// A lane broadcasts to a sink that parks; another does this meanwhile.
    fn parked(in_send: Vec<Act>, other: Vec<Act>, channel: &str) -> Script {
        let sub = Act::Sub { sub: 0, sink: 0, with: Registration::to(&["a"]) };
        let cast = Act::Cast { channel: channel.into(), data: "m".into() };
        let mut script = Script::new(ops(vec![sub, Act::Par { lanes: vec![ops(vec![cast]), ops(other)] }]));
        let rule = Rule { on: Hook::Send, nth: 1, ops: ops(in_send), then: Ending::Ok };
        script.sinks.push(SinkScript { rules: vec![rule] });
        script.numbered()
    }

    #[test]
    fn a_script_that_waits_for_itself_is_refused() {
        let both = || vec![release(0), hold(1)];
        assert_eq!(parked(both(), vec![hold(0), release(1)], "a").check(), Ok(()));
        let refused = |script: Script| script.check().is_err_and(|why| why.contains("gate"));
        assert!(refused(Script::new(ops(vec![hold(3)])).numbered()), "nothing releases it");
        assert!(refused(Script::new(ops(vec![hold(3), release(3)])).numbered()), "too late");
        assert!(refused(parked(both(), vec![hold(0)], "a")), "a sink waits for ever");
        assert!(refused(parked(both(), vec![hold(0), release(1)], "b")), "the sink is never called");
        assert!(refused(parked(both(), vec![release(1), hold(2)], "a")), "another gate");
        let crossed = vec![ops(vec![hold(0), release(1)]), ops(vec![hold(1), release(0)])];
        assert!(refused(Script::new(ops(vec![Act::Par { lanes: crossed }])).numbered()), "each waits for the other");
    }
}
