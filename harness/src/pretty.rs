//! Scripts and traces for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::script::{Act, Ending, Hook, Identity, Op, OpId, Overflow, Registration, Script};
use crate::text::{short, shorter_than};
use crate::trace::{Event, Trace};

/// How much of an error is shown.
const ERROR_BYTES: usize = 240;

/// So many elements of a list are shown.
const LISTED: usize = 8;

/// A script as pseudo-code, one operation a line.
///
/// ```
/// use harness::{pretty, script::{Act, Op, Registration, Script}};
///
/// let with = Registration::to(&["a"]).group("x");
/// let script = Script::new(vec![Op::new(1, Act::Sub { sub: 0, sink: 0, with })]);
/// assert_eq!(pretty::script(&script), "  1  s0 = subscribe(sink 0, [\"a\"], groups [\"x\"])\n");
/// ```
#[must_use]
pub fn script(script: &Script) -> String {
    let mut page = String::new();
    if let Some(cap) = script.cap {
        let _ = writeln!(page, "     at most {cap} in a scope");
    }
    ops(&script.steps, 0, &mut page);
    for (sink, rule) in script.rules() {
        let hook = if rule.on == Hook::Send { "send" } else { "close" };
        let _ = writeln!(page, "     in {hook} {} of sink {sink}:", rule.nth);
        ops(&rule.ops, 1, &mut page);
        page.push_str(match rule.then {
            Ending::Ok => "",
            Ending::Throw => "         throw\n",
            Ending::Fail => "         report failure\n",
        });
    }
    page
}

fn ops(ops_: &[Op], depth: usize, page: &mut String) {
    for op in ops_ {
        let indent = "  ".repeat(depth);
        let _ = writeln!(page, "{:>3}  {indent}{}", op.id, self::op(op));
        if let Act::Par { threads } = &op.act {
            for (thread, inner) in threads.iter().enumerate() {
                let _ = writeln!(page, "     {indent}  thread {}:", thread + 1);
                ops(inner, depth + 2, page);
            }
        }
    }
}

/// One operation as pseudo-code.
#[must_use]
pub fn op(op: &Op) -> String {
    let of = if op.registry == 0 { String::new() } else { format!(" in registry {}", op.registry) };
    let done = match &op.act {
        Act::Sub { sub, sink, with } => {
            format!("s{sub} = subscribe({}, {})", hearer(*sink, with), registration(with))
        }
        Act::Unsub { sub } => format!("s{sub}.unsubscribe()"),
        Act::Take { sub, bytes: None } => format!("s{sub}.take()"),
        Act::Take { sub, bytes: Some(bytes) } => format!("s{sub}.take(at most {bytes} bytes)"),
        Act::Cast { channel, data, to: None } => {
            format!("broadcast({}, {})", short(channel), short(data))
        }
        Act::Cast { channel, data, to: Some(to) } => {
            format!("send_to({}, {}, {})", identity(to), short(channel), short(data))
        }
        Act::Revoke { identity: named, reason: None } => {
            format!("close_by_identity({})", identity(named))
        }
        Act::Revoke { identity: named, reason: Some(reason) } => {
            format!("close_by_identity_as({}, {})", identity(named), reason.word())
        }
        Act::Count => "count()".into(),
        Act::Begin { ticket } => format!("t{ticket} = begin()"),
        Act::Admit { ticket, sub, sink, with } => {
            format!("s{sub} = t{ticket}.admit({}, {})", hearer(*sink, with), registration(with))
        }
        Act::Abandon { ticket } => format!("t{ticket}.abandon()"),
        Act::Settle => "settle".into(),
        Act::Hold { gate } => format!("wait for gate {gate}"),
        Act::Release { gate } => format!("open gate {gate}"),
        Act::Par { .. } => "at the same time".into(),
        Act::Shutdown => "shutdown()".into(),
    };
    done + &of
}

/// The sink, or the outbox in its place.
fn hearer(sink: u32, with: &Registration) -> String {
    let Some(bounds) = &with.outbox else { return format!("sink {sink}") };
    let policy = match bounds.overflow {
        Overflow::Close => "close",
        Overflow::DropOldest => "drop the oldest",
        Overflow::DropNewest => "drop the newest",
        Overflow::KeepLatest => "keep the latest",
    };
    format!("outbox of {} messages and {} bytes, else {policy}", bounds.messages, bounds.bytes)
}

fn registration(with: &Registration) -> String {
    let mut text = match &with.channels {
        None => "every channel".to_owned(),
        Some(names) if names.len() > LISTED => {
            let (first, last) = (short(&names[0]), short(&names[names.len() - 1]));
            format!("{} names from {first} to {last}", names.len())
        }
        Some(names) => list(names, |name| short(name)),
    };
    if with.exact {
        text.push_str(" exactly");
    }
    if let Some(scope) = &with.scope {
        let _ = write!(text, ", scope {}", identity(scope));
    }
    if !with.groups.is_empty() {
        let _ = write!(text, ", groups {}", list(&with.groups, identity));
    }
    if let Some(name) = &with.overwrite {
        let _ = write!(text, "; the caller then writes {} over its list", short(name));
    }
    text
}

/// A list of these, in brackets, cut short.
pub(crate) fn list<T>(all: &[T], shown: impl Fn(&T) -> String) -> String {
    let mut texts: Vec<String> = all.iter().take(LISTED).map(shown).collect();
    if all.len() > LISTED {
        texts.push(format!("… {} in all", all.len()));
    }
    format!("[{}]", texts.join(", "))
}

/// An identity.
#[must_use]
pub fn identity(identity: &Identity) -> String {
    match identity.kind() {
        None => short(identity.value()),
        Some(kind) => format!("({}, {})", short(kind), short(identity.value())),
    }
}

/// A trace, one event a line, indented by what it is inside of, with a mark at `wrong`.
#[must_use]
pub fn trace(script: &Script, trace: &Trace, wrong: usize, mark: &str) -> String {
    let names: BTreeMap<_, _> = script.ops().into_iter().map(|one| (one.id, op(one))).collect();
    let threads = trace.iter().any(|event| event.thread().is_some_and(|thread| thread != 0));
    let mut depth = 0_usize;
    let mut page = String::new();
    for (at, event) in trace.iter().enumerate() {
        let begins_call = |event| matches!(event, &Event::Send { .. } | &Event::Close { .. });
        let ends_call = matches!(event, Event::Sent { .. } | Event::Closed { .. });
        if ends_call || matches!(event, Event::Ret { .. } | Event::Err { .. }) {
            depth = depth.saturating_sub(1);
        }
        // Inside a call that begins and ends with nothing in between there is nothing to show.
        if !(ends_call && at > 0 && begins_call(&trace[at - 1]) && at != wrong) {
            let arrow = if at == wrong { mark } else { "  " };
            let place = if threads {
                format!("[{}] ", event.thread().unwrap_or_default())
            } else {
                "  ".repeat(depth)
            };
            let _ = writeln!(page, "{arrow}{place}{}", self::event(event, &names));
        }
        depth += usize::from(begins_call(event) || matches!(event, Event::Call { .. }));
    }
    if wrong >= trace.len() {
        let _ = writeln!(page, "{mark}(end)");
    }
    page
}

/// One event in words.
fn event(event: &Event, names: &BTreeMap<OpId, String>) -> String {
    let ended = |threw: bool, well, badly| if threw { badly } else { well };
    match event {
        Event::Call { op, .. } => format!("{op} {} …", names.get(op).map_or("?", String::as_str)),
        Event::Ret { op, n, refused, report, taken } => {
            let mut text = format!("{op} returned");
            if let Some(n) = n {
                let _ = write!(text, " {n}");
            }
            if *refused {
                text.push_str(" refused");
            }
            if let Some(report) = report {
                let _ = write!(text, " matched {}, accepted {}", report.matched, report.accepted);
            }
            if let Some(taken) = taken {
                let found = list(&taken.messages, |data| short(data));
                let _ = write!(text, " {found}, {} lost", taken.lost);
                if let Some(reason) = &taken.end {
                    let _ = write!(text, ", the end: {}", short(reason));
                }
            }
            text
        }
        Event::Err { op, error } => format!("{op} threw {}", shorter_than(ERROR_BYTES, error)),
        Event::Send { sink, data, .. } => format!("send to sink {sink}: {}", short(data)),
        Event::Sent { sink, threw, .. } => {
            format!("sink {sink} {}", ended(*threw, "done", "failed"))
        }
        Event::Close { sink, reason, .. } => {
            let why = reason.iter().map(|reason| format!(" ({})", short(reason)));
            format!("close of sink {sink}{}", why.collect::<String>())
        }
        Event::Closed { sink, threw, .. } => {
            format!("sink {sink} {}", ended(*threw, "closed", "failed to close"))
        }
        Event::Fuel => "out of fuel".into(),
        Event::Stuck { op } => format!("{op} waited in vain"),
        Event::Unbuilt { error } => {
            let error = shorter_than(ERROR_BYTES, error);
            format!("the registry could not be constructed: {error}")
        }
    }
}
