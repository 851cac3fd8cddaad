//! `doctor`: a few tiny scripts, before the registry is judged.

use std::collections::BTreeSet;
use std::io::stdout;

use super::options::Options;
use super::{Problem, adapter, cut, show};
use crate::campaign::{Answer, Driver};
use crate::cases::{Case, tiny};
use crate::runner::stop::Stop;
use crate::runner::{Exit, Paint};
use crate::script::{Act, Hook, Op, Script};
use crate::trace::{Event, Trace};
use crate::{oracle, pretty};

pub(super) fn doctor(options: Options, stop: &Stop) -> Result<Exit, Problem> {
    let (mut adapter, hello) = adapter(&options, stop)?;
    let paint = Paint::to(&stdout());
    let core = BTreeSet::from(["core".to_owned()]);
    let offered: Vec<&str> =
        core.union(&hello.profiles).chain(&hello.features).map(String::as_str).collect();
    show(&format!("hello: {}, offers {}", hello.title(), offered.join(" ")));
    // Those that need what is not offered are left out.
    for Case { name, script } in tiny().into_iter().filter(|one| hello.lacks(&one.script).is_none())
    {
        let problem = match adapter.run(&script) {
            Answer::Trace(trace) => {
                let verdict = oracle::judge_claims(&script, &trace, &hello);
                // What only a special context brings out is the registry's, and `run` will say
                // so.
                let plain = script.sinks.is_empty();
                let wrong = verdict.first().filter(|_| plain);
                let wrong = wrong
                    .map(|violation| format!("{}: {}", violation.requirement, violation.cause));
                let nonsense =
                    verdict.nonsense.map(|why| format!("the trace makes no sense: {why}"));
                nonsense.or(wrong).or_else(|| skipped(&script, &trace))
            }
            Answer::Unsupported(need) => Some(format!("unsupported: {need}")),
            Answer::Fault(why) | Answer::Missing(why) => Some(why),
        };
        match problem {
            None => show(&format!("{} {name}", paint.green("ok"))),
            Some(why) => {
                show(&format!("{} {name}\n{}", paint.red("no"), pretty::script(&script)));
                return Err(Problem::Adapter(why));
            }
        }
    }
    for warning in adapter.warnings() {
        show(&format!("{} {}", paint.yellow("warning:"), cut(&warning)));
    }
    show(
        "The adapter does what it should, but for what cannot be seen from here: that \
         `overwrite` is done, and that one sink number is one object.",
    );
    show("`registry-conform run` judges the registry.");
    Ok(Exit::Conforming)
}

/// An operation that the adapter should have run, and did not; or the other way round. Judging
/// leaves that open where a label may name nothing (yet); here it is known.
fn skipped(script: &Script, trace: &Trace) -> Option<String> {
    let called = |op: &Op| {
        trace.iter().any(|event| matches!(event, Event::Call { op: id, .. } if *id == op.id))
    };
    let (mut subs, mut tickets, mut used) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for op in &script.steps {
        let known = match &op.act {
            Act::Unsub { sub } | Act::Take { sub, .. } => subs.contains(sub),
            // Not every language lets a ticket be used again.
            Act::Admit { ticket, .. } | Act::Abandon { ticket } if !used.insert(*ticket) => {
                called(op)
            }
            Act::Admit { ticket, .. } | Act::Abandon { ticket } => tickets.contains(ticket),
            _ => true,
        };
        let wrong = match (known, called(op)) {
            (true, false) => Some("was skipped, and what it names does exist"),
            (false, true) => Some("was run, and what it names does not exist"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Some(format!("operation {} {wrong}", op.id));
        }
        match &op.act {
            Act::Sub { sub, .. } => subs.insert(*sub),
            Act::Begin { ticket } => tickets.insert(*ticket),
            _ => false,
        };
    }
    for (sink, rule) in script.rules() {
        let is_call = |event: &&Event| match event {
            Event::Send { sink: on, .. } => rule.on == Hook::Send && *on == sink,
            Event::Close { sink: on, .. } => rule.on == Hook::Close && *on == sink,
            _ => false,
        };
        let fired = trace.iter().filter(is_call).count() >= rule.nth as usize;
        if let Some(op) = rule.ops.iter().find(|op| fired && !called(op)) {
            return Some(format!("operation {}, of a rule of sink {sink}, was skipped", op.id));
        }
    }
    None
}
