//! The registry kit: one check per requirement that scripts can judge, and a few that only Rust
//! can.
//!
//! A check takes up to a second or two on a registry that is right, and at most [`Rig::patience`]
//! on one that is not. A call of the registry that never returns fails the check, and is left
//! behind on its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::{PATIENCE, Verdict, waits_for, watched};
use crate::campaign::{Answer, Driver, Failure, Outcome, Plan, campaign};
use crate::clock::Started;
use crate::protocol::Hello;
use crate::script::{Registration, Script};
use crate::subject::{Factory, Handle, Limits, Probe, Refused, Subject, execute_within};
use crate::trace::{Event, Trace};
use crate::{catalogue, pretty};

/// A registry under test: what it claims, and how to make one.
#[derive(Clone)]
pub struct Rig {
    /// What it claims.
    pub hello: Hello,
    /// Makes fresh ones.
    pub factory: Factory,
    /// How long a check may take: 20 s, unless it is set. A script that has threads lets them wait
    /// for a fifth of it, and for two seconds at most.
    pub patience: Duration,
}

impl std::fmt::Debug for Rig {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Rig").field("hello", &self.hello).finish_non_exhaustive()
    }
}

/// How many random scripts one check runs, after the fixed cases, and all of them together.
const SCRIPTS: u64 = 100;
const ALL: u64 = 1_000;

impl Rig {
    /// A rig.
    #[must_use]
    pub fn new(hello: Hello, factory: Factory) -> Self {
        Self { hello, factory, patience: PATIENCE }
    }

    fn watched(
        &self,
        requirement: &str,
        check: impl FnOnce(&Self) -> Verdict + Send + 'static,
    ) -> Verdict {
        let rig = self.clone();
        watched(requirement, self.patience, move || check(&rig))
    }

    fn fresh(&self) -> Result<Arc<dyn Subject>, String> {
        waits_for("the registry to be constructed");
        (self.factory)(None).ok_or_else(|| "the registry could not be constructed".to_owned())
    }

    /// Runs scripts that put one requirement, given as `REV-2` or as `rev_2`, to the test, if the
    /// registry claims what it takes. It starts none in the second half of the patience.
    ///
    /// # Errors
    ///
    /// How the requirement is broken, behind which broken one it could not be judged, that no
    /// script put it to the test, or that the registry never returned from a call.
    pub fn check(&self, requirement: &str) -> Verdict {
        let own = catalogue::find(&requirement.replace('_', "-"))
            .ok_or("there is no such requirement")?;
        let requirement = own.id.as_str();
        if !own.is_testable(&self.hello) {
            return Ok(());
        }
        let plan = Plan {
            scripts: SCRIPTS,
            only: vec![requirement.to_owned()],
            first_only: true,
            time: Some(self.patience / 2),
            ..Plan::default()
        };
        self.run(&plan, Some(Started::now())).verdict(requirement)
    }

    /// Runs scripts for all requirements at once: the checks of [`registry_suite!`] share them. It
    /// takes a few seconds, and more to make the scripts small that a wrong registry fails. A call
    /// that never returns ends it after the patience.
    ///
    /// [`registry_suite!`]: crate::registry_suite
    #[must_use]
    pub fn check_all(&self) -> Checked {
        self.run(&Plan { scripts: ALL, ..Plan::default() }, None)
    }

    fn run(&self, plan: &Plan, began: Option<Started>) -> Checked {
        let mut driver = Watched { rig: self, began, spent: false };
        let outcome = campaign(&self.hello, &mut driver, plan, &mut |_, _| {});
        Checked { hello: self.hello.clone(), outcome }
    }
}

/// What became of a registry's scripts.
#[derive(Debug)]
pub struct Checked {
    hello: Hello,
    outcome: Outcome,
}

impl Checked {
    /// What they say of one requirement, given as `REV-2` or as `rev_2`.
    ///
    /// # Errors
    ///
    /// As of [`Rig::check`].
    pub fn verdict(&self, requirement: &str) -> Verdict {
        let own = catalogue::find(&requirement.replace('_', "-"))
            .ok_or("there is no such requirement")?;
        let (requirement, outcome) = (own.id.as_str(), &self.outcome);
        if !own.is_testable(&self.hello) {
            return Ok(());
        }
        let broken = |failure: &&Failure| failure.violation.requirement == requirement;
        if let Some(failure) = outcome.failures.iter().find(broken) {
            let trace = pretty::trace(&failure.script, &failure.trace, failure.violation.at, "> ");
            let script = pretty::script(&failure.script);
            return Err(format!("{requirement}: {}\n{script}\n{trace}", failure.violation.cause));
        }
        if let Some(fault) = outcome.faults.first() {
            return Err(format!("{requirement}: {}", fault.message));
        }
        if let Some(breach) = outcome.behind.get(requirement) {
            return Err(format!("{requirement}: not judged: behind {breach}, which is broken"));
        }
        let seen = outcome.kept.contains_key(requirement) || ONLY_BREACHES.contains(&requirement);
        if seen || !own.applies(&self.hello) {
            return Ok(());
        }
        Err(format!("{requirement} was never put to the test"))
    }
}

/// Runs scripts, each on a thread of its own and for as long as the patience of the rig lasts; all
/// of them together, if they have begun. After one that does not end it runs none.
struct Watched<'a> {
    rig: &'a Rig,
    began: Option<Started>,
    /// A script took all of it, so that no other is run.
    spent: bool,
}

impl Driver for Watched<'_> {
    fn run(&mut self, script: &Script) -> Answer {
        let Rig { factory, patience, .. } = self.rig;
        let spent = self.began.map_or(Duration::ZERO, |began| began.ago());
        let left = patience.saturating_sub(spent);
        if left.is_zero() || self.spent {
            return Answer::Unsupported("more patience".into());
        }
        let usual = Limits::default();
        let limits = Limits { patience: usual.patience.min(*patience / 5), ..usual };
        let done = execute_within(script, factory, limits, left);
        self.spent = done.is_err();
        match done {
            Ok(trace) => Answer::Trace(trace),
            Err(trace) => Answer::Fault(format!(
                "waited {left:.1?} for {}\n{}\n{}",
                open_call(script, &trace),
                pretty::script(script),
                pretty::trace(script, &trace, trace.len(), "> ")
            )),
        }
    }
}

/// The call that did not return, the innermost if there are several.
fn open_call(script: &Script, trace: &Trace) -> String {
    let mut open = Vec::new();
    for event in trace {
        match event {
            Event::Call { op, .. } => open.push(*op),
            Event::Ret { op, .. } | Event::Err { op, .. } => open.retain(|own| own != op),
            _ => {}
        }
    }
    let last = script.ops().into_iter().find(|own| open.last() == Some(&own.id));
    last.map_or_else(|| "the registry to be constructed".to_owned(), pretty::op)
}

/// Of these only a breach shows.
const ONLY_BREACHES: [&str; 2] = ["PRG-2", "PRG-3"];

/// After its end, however it came, the registry keeps no reference to the sink (SUB-7). Takes
/// milliseconds; up to the patience if a call never returns.
///
/// # Errors
///
/// Which end leaves one behind.
pub fn sub_7_nothing_is_kept(rig: &Rig) -> Verdict {
    rig.watched("SUB-7", |rig| {
        let registry = rig.fresh()?;
        for how in ["unsubscribe", "close_by_identity", "dropping the handle"] {
            let dropped = Arc::new(AtomicU32::new(0));
            let seen = Arc::clone(&dropped);
            let probe = Probe::lone(move || {
                seen.fetch_add(1, Ordering::SeqCst);
            });
            let handle = subscribe(&registry, probe, "x")?;
            waits_for(how);
            match how {
                "unsubscribe" => handle.unsubscribe(),
                "close_by_identity" => {
                    registry.close_by_identity(&"x".into());
                }
                _ => {}
            }
            drop(handle);
            if how == "dropping the handle" {
                // Not every registry unsubscribes when a handle is dropped. A revocation ends the
                // subscriber in any.
                registry.close_by_identity(&"x".into());
            }
            if dropped.load(Ordering::SeqCst) != 1 {
                return Err(format!("SUB-7: the sink is still held after {how}"));
            }
        }
        Ok(())
    })
}

/// A sink's `Drop` may call every operation, without deadlock (RE-1). Takes milliseconds; up to the
/// patience if a call never returns.
///
/// # Errors
///
/// If one of the calls did not come back, or the sink was never dropped.
pub fn re_1_a_drop_may_call_back(rig: &Rig) -> Verdict {
    rig.watched("RE-1", |rig| {
        for end in [true, false] {
            let registry = rig.fresh()?;
            let inner = Arc::downgrade(&registry);
            let called = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&called);
            let probe = Probe::lone(move || {
                let Some(registry) = inner.upgrade() else { return };
                waits_for("`subscribe` in a drop");
                drop(registry.subscribe(Probe::lone(|| {}), &Registration::to(&["a"]).group("y")));
                waits_for("`broadcast` in a drop");
                drop(registry.broadcast("a", "m"));
                waits_for("`close_by_identity` in a drop");
                registry.close_by_identity(&"y".into());
                registry.close_by_identity(&"x".into());
                waits_for("`count` or `begin` in a drop");
                registry.count();
                drop(registry.begin());
                seen.store(true, Ordering::SeqCst);
            });
            let handle = subscribe(&registry, probe, "x")?;
            waits_for("the call that drops a sink");
            if end {
                registry.close_by_identity(&"x".into());
            }
            handle.unsubscribe();
            drop(handle);
            if !called.load(Ordering::SeqCst) {
                return Err(
                    "RE-1: the sink was not dropped, or not while there was a registry to \
                            call"
                        .into(),
                );
            }
        }
        Ok(())
    })
}

/// A sink whose `Drop` panics is contained, and the registry goes on (ISO-8). Takes milliseconds;
/// up to the patience if a call never returns.
///
/// # Errors
///
/// If the panic came through, if there was none, or if the registry no longer works.
pub fn iso_8_a_panicking_drop_is_contained(rig: &Rig) -> Verdict {
    rig.watched("ISO-8", |rig| {
        let registry = rig.fresh()?;
        let panicked = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&panicked);
        let probe = Probe::lone(move || {
            seen.store(true, Ordering::SeqCst);
            std::panic::resume_unwind(Box::new("the sink's drop panics"));
        });
        let handle = subscribe(&registry, probe, "x")?;
        waits_for("`close_by_identity`, or the handle's drop, that drops a sink");
        registry.close_by_identity(&"x".into());
        drop(handle);
        if !panicked.load(Ordering::SeqCst) {
            return Err("ISO-8: the sink was not dropped".into());
        }
        let handle = subscribe(&registry, Probe::lone(|| {}), "x")?;
        waits_for("`close_by_identity`");
        let closed = registry.close_by_identity(&"x".into());
        drop(handle);
        if closed == 1 { Ok(()) } else { Err("ISO-8: the registry no longer works".into()) }
    })
}

fn subscribe(
    registry: &Arc<dyn Subject>,
    probe: Probe,
    group: &str,
) -> Result<Arc<dyn Handle>, String> {
    let with = Registration::to(&["a"]).group(group);
    waits_for("`subscribe`");
    registry.subscribe(probe, &with).map_err(|Refused| "a valid subscribe was refused".into())
}

/// Expands to one `#[test]` per requirement for the registry that an expression of type
/// [`Rig`](crate::kit::registry::Rig) describes.
///
/// ```
/// use harness::{core, kit::registry::Rig};
///
/// harness::registry_suite!(my_registry, Rig::new(core::hello(), core::factory()));
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! registry_suite {
    ($name:ident, $rig:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::kit::registry::registry_suite!(@ $rig;
                flt_1 flt_2 flt_3 flt_4 flt_5 flt_6 flt_7 flt_8 del_1 del_2 del_3 del_4 del_5
                del_7 ord_1 ord_2 ord_3 sub_1 sub_2 sub_3 sub_4 sub_5 sub_6 rev_1 rev_2 rev_4
                rev_5 rev_6 rev_7 rev_8 rev_9 rev_10 rev_13 clo_1 clo_2 clo_3 clo_4 clo_5 cnt_1
                cnt_2 cnt_3 iso_1 iso_2 iso_3 iso_4 iso_5 iso_6 iso_7 re_1 re_3 re_4 re_5 re_6
                re_7 re_8 cap_1 cap_2 cap_3 cap_4 cap_5 cap_6 adm_1 adm_2 adm_3 adm_4 adm_5 adm_6
                dir_1 dir_2 dir_3 dir_4 dir_5 que_1 que_2 que_3 rev_3 prg_1 prg_2 prg_3 con_0
                con_1 con_2;
                sub_7_nothing_is_kept re_1_a_drop_may_call_back
                iso_8_a_panicking_drop_is_contained);
        }
    };
    (@ $rig:expr; $($name:ident)*; $($check:ident)*) => {
        fn checked() -> &'static $crate::kit::registry::Checked {
            static CHECKED: ::std::sync::OnceLock<$crate::kit::registry::Checked> =
                ::std::sync::OnceLock::new();
            CHECKED.get_or_init(|| $rig.check_all())
        }
        $(#[test]
        fn $name() {
            if let Err(why) = checked().verdict(stringify!($name)) {
                panic!("{why}");
            }
        })*
        $(#[test]
        fn $check() {
            if let Err(why) = $crate::kit::registry::$check(&$rig) {
                panic!("{why}");
            }
        })*
    };
}
pub use registry_suite;
