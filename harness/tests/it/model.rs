//! `registry-core` against a plain list that is obviously right.
//!
//! The list knows nothing of threads, tickets, outboxes and calls from inside a sink, which have
//! many correct answers; the oracle judges those. The other scripts have one answer at every step,
//! and this test works it out independently of the oracle.

use std::collections::BTreeMap;

use harness::core;
use harness::features::{Feature, Features};
use harness::script::{Act, Ending, Hook, Identity, Op, Registration, Script};
use harness::strategy::arb_script;
use harness::subject::{Limits, execute};
use harness::trace::{Event, Report};
use proptest::prelude::*;

/// The features that the list understands.
const PLAIN: [Feature; 17] = [
    Feature::Unsub,
    Feature::Revoke,
    Feature::Count,
    Feature::Lists,
    Feature::EqualData,
    Feature::Duplicates,
    Feature::Hostile,
    Feature::Overwrite,
    Feature::Exact,
    Feature::Groups,
    Feature::Kinds,
    Feature::RevokeAs,
    Feature::Directed,
    Feature::Scope,
    Feature::FailingSend,
    Feature::FailingClose,
    Feature::TwoRegistries,
];

/// The effect of one operation: the calls of sinks in no particular order, and the returned value.
#[derive(Debug, Default, PartialEq, Eq)]
struct Done {
    sent: Vec<(u32, String)>,
    closed: Vec<(u32, String)>,
    number: Option<i64>,
    report: Option<Report>,
}

/// One line of the list. It exists as long as the subscriber is active.
struct Line<'s> {
    registry: u32,
    label: u32,
    sink: u32,
    with: &'s Registration,
}

impl Line<'_> {
    fn holds(&self, identity: &Identity) -> bool {
        self.with.identities().any(|own| own == identity)
    }

    fn hears(&self, channel: &str) -> bool {
        self.with.channels.as_ref().is_none_or(|names| {
            (names.is_empty() && !self.with.exact) || names.iter().any(|name| name == channel)
        })
    }
}

#[derive(Default)]
struct List<'s> {
    lines: Vec<Line<'s>>,
    /// How often each sink was called to send.
    sends: BTreeMap<u32, u32>,
}

impl<'s> List<'s> {
    /// Removes the lines that match, and notes that their subscribers are closed.
    fn close(
        &mut self,
        done: &mut Done,
        reason: &str,
        mut leaves: impl FnMut(&Line<'s>) -> bool,
    ) -> i64 {
        let before = self.lines.len();
        self.lines.retain(|line| {
            let leaves = leaves(line);
            if leaves {
                done.closed.push((line.sink, reason.to_owned()));
            }
            !leaves
        });
        (before - self.lines.len()) as i64
    }

    fn run(&mut self, script: &'s Script, op: &'s Op) -> Done {
        let (mut done, registry) = (Done::default(), op.registry);
        match &op.act {
            Act::Sub { sub, sink, with } => {
                let full =
                    |line: &Line<'_>| line.registry == registry && line.with.scope == with.scope;
                let members = self.lines.iter().filter(|line| full(line)).count();
                if let (Some(cap), Some(_)) = (script.cap, &with.scope) {
                    let mut excess = (members + 1).saturating_sub(cap as usize);
                    self.close(&mut done, "evicted", |line| {
                        let oldest = full(line) && excess > 0;
                        excess -= usize::from(oldest);
                        oldest
                    });
                }
                self.lines.push(Line { registry, label: *sub, sink: *sink, with });
            }
            Act::Unsub { sub } => self.lines.retain(|line| line.label != *sub),
            Act::Cast { channel, data, to } => {
                let meant = |line: &&Line<'_>| match to {
                    Some(identity) => line.holds(identity),
                    None => line.hears(channel),
                };
                let hearing = |line: &&Line<'_>| line.registry == registry && meant(line);
                let mut failing = Vec::new();
                for line in self.lines.iter().filter(hearing) {
                    done.sent.push((line.sink, data.clone()));
                    let nth = self.sends.entry(line.sink).or_default();
                    *nth += 1;
                    let rules = script.sinks.get(line.sink as usize).map(|sink| &sink.rules);
                    let fails =
                        |rule: &&harness::script::Rule| rule.on == Hook::Send && rule.nth == *nth;
                    if rules
                        .into_iter()
                        .flatten()
                        .find(fails)
                        .is_some_and(|rule| rule.then != Ending::Ok)
                    {
                        failing.push(line.label);
                    }
                }
                let (matched, failed) = (done.sent.len() as u64, failing.len() as u64);
                done.report = Some(Report {
                    matched,
                    accepted: matched - failed,
                    failed,
                    ..Report::default()
                });
                self.close(&mut done, "failed", |line| failing.contains(&line.label));
            }
            Act::Revoke { identity, reason } => {
                let held = |line: &Line<'_>| line.registry == registry && line.holds(identity);
                let reason = reason.map_or("revoked", |reason| reason.word());
                done.number = Some(self.close(&mut done, reason, held));
            }
            Act::Count => {
                done.number =
                    Some(self.lines.iter().filter(|line| line.registry == registry).count() as i64)
            }
            Act::Settle => {}
            other => panic!("the list does not understand {other:?}"),
        }
        done.sent.sort();
        done.closed.sort();
        done
    }
}

/// The effects of each operation in the trace.
fn seen(trace: Vec<Event>) -> BTreeMap<u32, Done> {
    let (mut all, mut current) = (BTreeMap::<u32, Done>::new(), 0);
    for event in trace {
        match event {
            Event::Call { op, .. } => {
                all.insert(op, Done::default());
                current = op;
            }
            Event::Send { sink, data, .. } => {
                all.entry(current).or_default().sent.push((sink, data))
            }
            Event::Close { sink, reason, .. } => {
                all.entry(current).or_default().closed.push((sink, reason.unwrap_or_default()));
            }
            Event::Ret { op, n, refused: false, report, .. } => {
                let done = all.entry(op).or_default();
                (done.number, done.report) = (n, report);
                done.sent.sort();
                done.closed.sort();
            }
            Event::Sent { .. } | Event::Closed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    all
}

proptest! {
    #[test]
    fn the_registry_agrees_with_a_plain_list(
        script in arb_script(PLAIN.into_iter().fold(Features::default(), Features::with)),
    ) {
        let mut seen = seen(execute(&script, &core::factory(), Limits::default()));
        let mut list = List::default();
        for op in &script.steps {
            let done = list.run(&script, op);
            // A subscriber that never existed is not unsubscribed.
            if seen.contains_key(&op.id) {
                prop_assert_eq!(seen.remove(&op.id), Some(done), "{:?}", op);
            } else {
                let unknown = matches!(op.act, Act::Unsub { .. });
                prop_assert!(unknown, "{:?} was not run", op);
            }
        }
        prop_assert!(seen.is_empty(), "nobody asked for {:?}", seen);
    }
}
