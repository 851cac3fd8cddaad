//! What ends early, or not at all, or never began: fuel, threads that wait in vain, registries that
//! cannot be built.

use super::state::{Frame, Walk};
use super::{Step, Stop, Symptom, nonsense};
use crate::script::{Act, Op, OpId, Rule};

impl Walk<'_> {
    pub(crate) fn fuel(&mut self) -> Step {
        let outermost = self.stacks.values().find_map(|stack| stack.first()).and_then(Frame::op);
        let requirement = match outermost.map(|op| &self.ops[&op].act) {
            Some(Act::Cast { .. }) => "RE-4",
            Some(Act::Revoke { .. }) => "RE-6",
            Some(Act::Sub { .. } | Act::Admit { .. }) => "RE-8",
            _ => "RE-1",
        };
        let cause = "the registry kept calling sinks until the fuel ran out";
        self.breaks(Symptom::Other, requirement, cause);
        Err(Stop::End)
    }

    pub(crate) fn stuck(&mut self) -> Step {
        if std::mem::replace(&mut self.was_stuck, true) {
            // By now all gates are open: what is still waited for is an aftermath of the first.
            return Ok(());
        }
        self.in_vain = true;
        let sends = |frame: &Frame| match frame {
            Frame::Send { sink, .. } => Some(*sink),
            _ => None,
        };
        let waiting = self.stacks.values().filter(|stack| self.is_parked(stack));
        let parked: Vec<u32> = waiting.flatten().filter_map(sends).collect();
        // A broadcast that is being delivered on another thread does not wait for it: that is where
        // it is.
        let delivering = |op: &OpId| {
            let mut casts = self.stacks.values().flatten().filter_map(Frame::cast);
            casts.any(|cast| self.casts[cast].op == *op)
        };
        let waits = |op: &OpId| {
            matches!(self.ops[op].act, Act::Hold { .. } | Act::Par { .. } | Act::Settle)
        };
        let mut tops = self.stacks.values().filter_map(|stack| stack.last().and_then(Frame::op));
        let Some(blocked) = tops.find(|op| !waits(op) && !delivering(op)) else {
            // A delivery that should have come did not: its own requirement will say so.
            return Ok(());
        };
        let in_sink = |frame: &Frame| matches!(frame, Frame::Send { .. } | Frame::Close { .. });
        let waits = |stack: &Vec<Frame>| self.is_parked(stack) && stack.iter().any(in_sink);
        if !self.stacks.values().any(waits) && !self.waits_for_a_reader() {
            let cause = format!("no sink is stuck, and operation {blocked} does not come back");
            self.breaks(Symptom::Other, "CON-0", cause);
            return Err(Stop::End);
        }
        let own = |op: OpId| {
            self.subs.iter().any(|sub| {
                parked.contains(&sub.sink) && sub.claims.iter().any(|claim| claim.op == op)
            })
        };
        let (requirement, what) = match &self.ops[&blocked].act {
            Act::Revoke { .. } if own(blocked) => {
                ("PRG-2", "the revocation waited for the sink that it revoked")
            }
            Act::Revoke { .. } => {
                ("PRG-1", "the revocation waited for a sink that is stuck in send")
            }
            Act::Cast { .. } if parked.is_empty() && self.waits_for_a_reader() => {
                ("QUE-2", "the broadcast waited for a reader that takes nothing")
            }
            Act::Cast { .. } => ("PRG-3", "the broadcast waited for a sink that is stuck in send"),
            _ => ("PRG-3", "the operation waited for a sink that is stuck in send"),
        };
        self.breaks(Symptom::Other, requirement, format!("{what} (operation {blocked})"));
        // Every other thread that waited in vain waited for this.
        self.in_vain = false;
        Ok(())
    }

    pub(crate) fn unbuilt(&mut self, error: &str) -> Step {
        if self.script.cap == Some(0) {
            self.keeps(&["CAP-5"]);
            return Err(Stop::End);
        }
        if let Some(cap) = self.script.cap {
            let cause = format!("a registry with a cap of {cap} could not be constructed: {error}");
            self.breaks(Symptom::Other, "CAP-5", cause);
            return Err(Stop::End);
        }
        nonsense(format!("the registry could not be constructed: {error}"))
    }

    /// Operations that the script orders and the trace does not have.
    pub(crate) fn unexecuted(&self) -> Step {
        for op in &self.script.steps {
            self.was_executed(op)?;
        }
        let fired = |(sink, rule): &(u32, &Rule)| {
            self.calls_of.get(&(*sink, rule.on)).is_some_and(|calls| *calls >= rule.nth)
        };
        let mut due = self.script.rules().filter(fired).flat_map(|(_, rule)| &rule.ops);
        due.try_for_each(|op| self.was_executed(op))
    }

    fn was_executed(&self, op: &Op) -> Step {
        if let Act::Par { threads } = &op.act {
            for op in threads.iter().flatten() {
                self.was_executed(op)?;
            }
        }
        // In threads and rules the label may have come into being later; that it exists is not
        // enough to know.
        let may_skip = matches!(
            op.act,
            Act::Unsub { .. } | Act::Take { .. } | Act::Admit { .. } | Act::Abandon { .. }
        );
        if may_skip || self.called.contains_key(&op.id) {
            return Ok(());
        }
        nonsense(format!("operation {} is missing from the trace", op.id))
    }
}
