//! Shrinks a failing script, without changing the requirement that it breaks.
//!
//! Each candidate weighs less than the script it came from, so shrinking ends; a number of runs and
//! a time bound it as well. A candidate counts only if it breaks the same requirement, or a more
//! general one: if a broadcast is still lost when no sink throws any more, then it was DEL-1 and
//! not ISO-1.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::catalogue::same_or_more_general;
use crate::clock::Started;
use crate::script::{Act, Ending, Identity, Outbox, Script};

mod edits;

use edits::edits;

/// Bounds on shrinking.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Executions.
    pub runs: u32,
    /// Time.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { runs: 3_000, time: Duration::from_secs(10) }
    }
}

/// Shrinks. `fails` runs a script and says which requirement it is rejected for, if it is.
///
/// Returns the smallest found, and the requirement that it fails for.
#[must_use]
pub fn shrink(
    script: &Script,
    requirement: &'static str,
    bounds: Bounds,
    mut fails: impl FnMut(&Script) -> Option<&'static str>,
) -> (Script, &'static str) {
    let started = Started::now();
    let (mut best, mut blamed) = (script.clone(), requirement);
    let mut runs = 0;
    'better: loop {
        for candidate in candidates(&best) {
            if runs >= bounds.runs || started.ago() >= bounds.time {
                break 'better;
            }
            runs += 1;
            if let Some(now) = fails(&candidate)
                && same_or_more_general(blamed, now)
            {
                (best, blamed) = (candidate, now);
                continue 'better;
            }
        }
        break;
    }
    (best.numbered(), blamed)
}

/// Simpler scripts, the largest changes first; each weighs less than `script`.
pub fn candidates(script: &Script) -> impl Iterator<Item = Script> + use<> {
    let (base, weight) = (script.clone(), weigh(script));
    edits(script).into_iter().filter_map(move |edit| {
        let mut candidate = base.clone();
        edit(&mut candidate);
        let sensible = weigh(&candidate) < weight && candidate.check().is_ok();
        sensible.then_some(candidate)
    })
}

/// The weight of a script: how much a reader has to understand.
fn weigh(script: &Script) -> usize {
    let mut weight = script.cap.map_or(0, |cap| 20 + cap as usize);
    let (mut sinks, mut payloads) = (BTreeSet::new(), BTreeSet::new());
    for (_, rule) in script.rules() {
        weight += 50 + 2 * rule.nth as usize;
        weight += match rule.then {
            Ending::Ok => 0,
            Ending::Throw => 20,
            Ending::Fail => 21,
        };
    }
    script.visit(&mut |op| {
        weight += 100 + 10 * op.registry as usize;
        match &op.act {
            Act::Sub { sink, with, .. } | Act::Admit { sink, with, .. } => {
                weight += 30 * usize::from(!sinks.insert(*sink));
                weight += 10 * usize::from(with.exact) + 20 * usize::from(with.overwrite.is_some());
                weight += with.outbox.as_ref().map_or(0, bulk);
                weight += 30 * usize::from(matches!(op.act, Act::Admit { .. }))
                    + 15 * usize::from(with.scope.is_some());
                weight += with.channels.as_ref().map_or(25, |names| {
                    names.iter().map(|name| 10 + burden(name)).sum::<usize>()
                        + 20 * usize::from(names.is_empty())
                });
                weight += with.identities().map(|own| 10 + strangeness(own)).sum::<usize>();
            }
            Act::Cast { channel, data, to } => {
                weight += to.as_ref().map_or(0, |identity| 30 + strangeness(identity));
                weight += burden(channel) + length(data).saturating_sub(4);
                weight += 3 * usize::from(!payloads.insert(data.clone()));
            }
            Act::Take { bytes, .. } => weight += 5 * usize::from(bytes.is_some()),
            Act::Revoke { identity, reason } => {
                weight += strangeness(identity);
                weight += reason.map_or(0, |reason| 15 + reason as usize);
            }
            _ => {}
        }
    });
    weight
}

/// The weight of an identity: one that is written like a channel may be taken for it.
fn strangeness(own: &Identity) -> usize {
    let like_a_channel = ["a", "b", "c"].contains(&own.value());
    burden(own.value()) + 3 * usize::from(like_a_channel) + 10 * usize::from(own.kind().is_some())
}

/// The weight of an outbox.
fn bulk(outbox: &Outbox) -> usize {
    let usual = Outbox::default();
    let bound = |own: u32, usual: u32| if own == usual { 0 } else { 10 + own.min(20) as usize };
    40 + bound(outbox.messages, usual.messages)
        + bound(outbox.bytes, usual.bytes)
        + 5 * usize::from(outbox.overflow != usual.overflow)
}

/// The weight of a name: ordinary ones weigh little.
fn burden(name: &str) -> usize {
    match name {
        "a" | "x" => 1,
        "b" | "y" => 2,
        "c" | "z" => 3,
        _ => {
            6 + length(name)
                + 4 * name.chars().filter(|letter| !letter.is_ascii_lowercase()).count()
        }
    }
}

/// The weight of a length: letters beyond the first hundred count less.
fn length(text: &str) -> usize {
    text.len().min(100) + text.len() / 100
}
