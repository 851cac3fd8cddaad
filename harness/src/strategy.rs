//! Proptest strategies, for property tests in other crates.
//!
//! [`arb_script`] generates and shrinks with the suite's own [generator](crate::generate) and
//! [shrinker](crate::shrink): what proptest finds is as small as what the runner finds.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::{NewTree, ValueTree};
use proptest::test_runner::TestRunner;

use crate::features::Features;
use crate::generate::generate;
use crate::neighbours::families;
use crate::script::{Identity, Outbox, Overflow, Registration, Script};
use crate::shrink::candidates;

/// Scripts of at most these features: of what a registry claims ([`Features::offered_by`]), of some
/// profiles ([`Features::of_profiles`]), or of a few that are put together one by one.
///
/// ```
/// use harness::{features::{Features, Feature}, strategy::arb_script};
/// use proptest::{strategy::{Strategy, ValueTree}, test_runner::TestRunner};
///
/// let mut runner = TestRunner::deterministic();
/// let claimed = Features::of_profiles(&["core", "scope_cap"], &["groups"]);
/// for features in [claimed, Features::default().with(Feature::Unsub)] {
///     let script = arb_script(features).new_tree(&mut runner).unwrap().current();
///     assert!(!script.needs().contains("admission"));
/// }
/// ```
///
/// A property of the registry of this workspace:
///
/// ```
/// use harness::subject::{Limits, execute};
/// use harness::{core, features::Features, oracle, strategy::arb_script};
/// use proptest::prelude::*;
///
/// let hello = core::hello();
/// let scripts = arb_script(Features::offered_by(&hello));
/// proptest!(ProptestConfig::with_cases(20), |(script in scripts)| {
///     let trace = execute(&script, &core::factory(), Limits::default());
///     let verdict = oracle::judge(&script, &trace, &hello.policies);
///     prop_assert!(verdict.violation.is_none(), "{:?}", verdict.violation);
/// });
/// ```
#[must_use]
pub fn arb_script(features: Features) -> ScriptStrategy {
    ScriptStrategy { features }
}

/// See [`arb_script`].
#[derive(Debug, Clone, Copy)]
pub struct ScriptStrategy {
    features: Features,
}

impl Strategy for ScriptStrategy {
    type Tree = ScriptTree;
    type Value = Script;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let script = generate(runner.rng().next_u64(), self.features, Features::default());
        Ok(ScriptTree { best: script.clone(), current: script, left: None })
    }
}

/// A script on its way to a smaller one.
pub struct ScriptTree {
    /// The smallest that is known to fail.
    best: Script,
    current: Script,
    /// What was made of `best` and not tried yet.
    left: Option<Box<dyn Iterator<Item = Script>>>,
}

impl std::fmt::Debug for ScriptTree {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ScriptTree").field("current", &self.current).finish_non_exhaustive()
    }
}

impl ScriptTree {
    fn next(&mut self) -> bool {
        let best = &self.best;
        let next = self.left.get_or_insert_with(|| Box::new(candidates(best))).next();
        let found = next.is_some();
        self.current = next.unwrap_or_else(|| self.best.clone());
        found
    }
}

impl ValueTree for ScriptTree {
    type Value = Script;

    fn current(&self) -> Script {
        self.current.clone()
    }

    /// The current one fails: go on from there.
    fn simplify(&mut self) -> bool {
        if self.current != self.best || self.left.is_none() {
            self.best = self.current.clone();
            self.left = None;
        }
        self.next()
    }

    /// The current one does not fail: try another.
    fn complicate(&mut self) -> bool {
        self.next()
    }
}

/// Channel names: ordinary ones, those that careless code confuses, and any text.
pub fn arb_channel() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec!["a", "b", "c"]).prop_map(str::to_owned),
        3 => select(families().concat()),
        1 => ".{0,12}",
    ]
}

/// Lists of channel names as the compatible call takes them: absent, empty, or with duplicates.
pub fn arb_filter() -> impl Strategy<Value = Option<Vec<String>>> {
    proptest::option::weighted(0.8, proptest::collection::vec(arb_channel(), 0..4))
}

/// Identities, with and without a kind.
pub fn arb_identity() -> impl Strategy<Value = Identity> {
    prop_oneof![
        3 => arb_channel().prop_map(Identity::Plain),
        1 => (arb_channel(), arb_channel())
            .prop_map(|(kind, value)| Identity::Kinded { kind, value }),
    ]
}

/// Bounds of outboxes that a few short messages reach.
pub fn arb_outbox() -> impl Strategy<Value = Outbox> {
    (1_u32..5, 1_u32..20, select(&Overflow::ALL[..]))
        .prop_map(|(messages, bytes, overflow)| Outbox { messages, bytes, overflow })
}

/// Whole registrations, of sinks.
pub fn arb_registration() -> impl Strategy<Value = Registration> {
    let groups = proptest::collection::vec(arb_identity(), 0..3);
    (arb_filter(), any::<bool>(), proptest::option::of(arb_identity()), groups).prop_map(
        |(channels, exact, scope, groups)| Registration {
            channels,
            exact,
            scope,
            groups,
            ..Registration::default()
        },
    )
}
