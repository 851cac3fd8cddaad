//! The registry kit: one check per requirement that scripts can judge, and a few that only Rust
//! can.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::Verdict;
use crate::{
    campaign::{InProcess, Plan, campaign},
    features::Features,
    pretty,
    protocol::Hello,
    script::Registration,
    subject::{Factory, Handle, Probe, Refused, Subject},
};

/// A registry under test: what it claims, and how to make one.
#[derive(Clone)]
pub struct Rig {
    /// What it claims.
    pub hello: Hello,
    /// Makes fresh ones.
    pub factory: Factory,
}

impl std::fmt::Debug for Rig {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Rig").field("hello", &self.hello).finish_non_exhaustive()
    }
}

/// How many random scripts each check runs, after the fixed cases.
const SCRIPTS: u64 = 100;

/// How long a call that should not block may take before it is called blocked.
const BOUND: Duration = Duration::from_secs(20);

impl Rig {
    /// A rig.
    #[must_use]
    pub fn new(hello: Hello, factory: Factory) -> Self {
        Self { hello, factory }
    }

    fn fresh(&self) -> Result<Arc<dyn Subject>, String> {
        (self.factory)(None).ok_or_else(|| "the registry could not be constructed".to_owned())
    }

    /// Runs scripts that put one requirement to the test.
    fn check(&self, requirement: &str) -> Verdict {
        let needed = Features::to_test(requirement);
        let claimed =
            crate::catalogue::find(requirement).is_some_and(|own| self.hello.offers(&own.profile));
        if !claimed || needed.and(Features::offered_by(&self.hello)) != needed {
            return Ok(());
        }
        let plan = Plan {
            scripts: SCRIPTS,
            only: vec![requirement.to_owned()],
            first_only: true,
            ..Plan::default()
        };
        let outcome = campaign(
            &self.hello,
            &mut InProcess::new(Arc::clone(&self.factory)),
            &plan,
            &mut |_, _| {},
        );
        if let Some(failure) = outcome.failures.first() {
            let trace = pretty::trace(&failure.script, &failure.trace, failure.violation.at, "> ");
            let script = pretty::script(&failure.script);
            return Err(format!("{requirement}: {}\n{script}\n{trace}", failure.violation.cause));
        }
        if let Some(fault) = outcome.faults.first() {
            return Err(format!("{requirement}: {}", fault.message));
        }
        let idle =
            !outcome.kept.contains_key(requirement) && requirement_is_due(&self.hello, requirement);
        if idle { Err(format!("{requirement} was never put to the test")) } else { Ok(()) }
    }
}

/// Whether a check that saw no occasion is a failure: not for what hangs on an optional ability.
fn requirement_is_due(hello: &Hello, requirement: &str) -> bool {
    match requirement {
        "CLO-5" | "REV-13" => hello.offers("reasons"),
        "DEL-7" => hello.offers("report"),
        "PRG-2" | "PRG-3" => false,
        _ => true,
    }
}

macro_rules! checks {
    ($($(#[doc = $text:literal])* $name:ident = $id:literal;)*) => {
        $($(#[doc = $text])*
        ///
        /// # Errors
        ///
        /// A description of how it is broken.
        pub async fn $name(rig: &Rig) -> Verdict {
            rig.check($id)
        })*
    };
}

checks! {
    /// A subscriber with a filter receives a broadcast exactly when the channel equals one of the
    /// filter's names, byte for byte.
    flt_1 = "FLT-1";
    /// At the compatible call `subscribe(sink, channels, identity)`, an absent and an empty list
    /// both mean every channel.
    flt_2 = "FLT-2";
    /// A channel name that is listed twice delivers each message once.
    flt_3 = "FLT-3";
    /// The empty string is an ordinary channel name.
    flt_4 = "FLT-4";
    /// Channel names are not normalised, case-folded, trimmed, matched by prefix or wildcard, nor
    /// cut at a NUL.
    flt_5 = "FLT-5";
    /// Channel names that are magic in some host language (`__proto__`, `constructor`, `toString`,
    /// `1` and `01`, `null`) are ordinary.
    flt_6 = "FLT-6";
    /// The registry copies a subscriber's filter: changing the caller's list afterwards has no
    /// effect.
    flt_7 = "FLT-7";
    /// Five thousand channel names on one subscriber, and a channel name of 64 KiB, work unchanged
    /// in the core; transports set lower limits.
    flt_8 = "FLT-8";
    /// A matching subscriber that is active for the whole broadcast is handed the message: an
    /// outbox or a lane by the time `broadcast` returns, a sink at the latest when the deliveries
    /// in progress have settled.
    del_1 = "DEL-1";
    /// A matching subscriber that is active for the whole broadcast is handed the message exactly
    /// once.
    del_2 = "DEL-2";
    /// A broadcast that no subscriber hears does nothing, and is not an error.
    del_3 = "DEL-3";
    /// A subscriber is sent nothing but what was broadcast while it was a subscriber.
    del_4 = "DEL-4";
    /// Equal payloads that follow each other are not merged.
    del_5 = "DEL-5";
    /// `broadcast` reports the hand-over: the message's id, and how many subscribers matched,
    /// accepted, dropped, lagged and failed.
    del_7 = "DEL-7";
    /// Broadcasts that do not overlap in time arrive at each subscriber in the order in which they
    /// were made.
    ord_1 = "ORD-1";
    /// A broadcast that is made from inside a delivery arrives after the one being delivered, at
    /// every subscriber.
    ord_2 = "ORD-2";
    /// All subscribers see all broadcasts of one registry in one order, the order of their sequence
    /// ids.
    ord_3 = "ORD-3";
    /// A valid subscribe succeeds.
    sub_1 = "SUB-1";
    /// Unsubscribe is idempotent, harmless after a revocation or an eviction, and never touches
    /// another subscriber.
    sub_2 = "SUB-2";
    /// No send begins on a subscriber after its unsubscribe returned, not even from a broadcast in
    /// progress.
    sub_3 = "SUB-3";
    /// Unsubscribe does not call the sink's close.
    sub_4 = "SUB-4";
    /// The same sink registered twice is two subscribers, and ending one leaves the other.
    sub_5 = "SUB-5";
    /// Dropping a subscriber's handle unsubscribes it; leaking the handle, or keeping it longer
    /// than the registry, is safe.
    sub_6 = "SUB-6";
    /// When `close_by_identity` returns, every subscriber that held the identity and was active at
    /// the call has ended, and was told to close by this call or by the one that ended it.
    rev_1 = "REV-1";
    /// After `close_by_identity` returned, no send begins on a subscriber that held the identity
    /// and was active at the call, not even from a broadcast that started earlier.
    rev_2 = "REV-2";
    /// A revocation leaves subscribers that do not hold the identity untouched, and a subscriber
    /// without identities never matches.
    rev_4 = "REV-4";
    /// Identities are compared byte for byte.
    rev_5 = "REV-5";
    /// Identities and channels are separate namespaces.
    rev_6 = "REV-6";
    /// A subscriber with several identities is revoked by any one of them; a duplicate, or a scope
    /// that is also a group, counts once.
    rev_7 = "REV-7";
    /// A revocation takes all matching subscribers out of the table before the first close runs.
    rev_8 = "REV-8";
    /// A revocation is an event and not a state: a subscribe that begins afterwards is accepted.
    rev_9 = "REV-9";
    /// Revoking an identity that no subscriber holds returns 0.
    rev_10 = "REV-10";
    /// `close_by_identity` ends its subscribers as *revoked*: their clients are to come back and
    /// authenticate again.
    rev_13 = "REV-13";
    /// A sink's close is called exactly once for each forced end.
    clo_1 = "CLO-1";
    /// A sink's close is never called without a forced end.
    clo_2 = "CLO-2";
    /// A sink's close is never called if its unsubscribe returned before the forced end began.
    clo_3 = "CLO-3";
    /// No send begins on a subscriber after its close began.
    clo_4 = "CLO-4";
    /// A close carries a reason, and the first reason is reported.
    clo_5 = "CLO-5";
    /// The numbers that revocations return add up to the subscribers that they ended, each counted
    /// once, also when the calls are concurrent.
    cnt_1 = "CNT-1";
    /// At rest, `len` equals the number of active subscribers.
    cnt_2 = "CNT-2";
    /// Inside a close callback, `len` already excludes every subscriber that the call in progress
    /// ends.
    cnt_3 = "CNT-3";
    /// A failing or panicking send keeps no other subscriber from getting the message.
    iso_1 = "ISO-1";
    /// A failing or panicking send does not make `broadcast` fail.
    iso_2 = "ISO-2";
    /// A failing or panicking close stops neither the other closes, nor the removal of its own
    /// subscriber, nor the count.
    iso_3 = "ISO-3";
    /// After any failure of a sink the registry works: nothing is wedged, no lock is poisoned.
    iso_4 = "ISO-4";
    /// What happens to a failing sink is one declared policy.
    iso_5 = "ISO-5";
    /// Two registries share nothing.
    iso_6 = "ISO-6";
    /// A failing close of an evicted sink does not fail the subscribe that evicted it.
    iso_7 = "ISO-7";
    /// Every operation may be called from inside a sink's send, close and `Drop`, without deadlock
    /// or corruption.
    re_1 = "RE-1";
    /// A subscriber that is created inside a delivery does not receive the broadcast being
    /// delivered.
    re_3 = "RE-3";
    /// One broadcast makes at most as many sends as there were subscribers when it began.
    re_4 = "RE-4";
    /// A revocation from inside a send keeps REV-1 and REV-2 at once for every other subscriber;
    /// the close of the sending subscriber waits for its send to end.
    re_5 = "RE-5";
    /// A revocation from inside a close terminates, and keeps CLO-1 and CNT-1.
    re_6 = "RE-6";
    /// A subscriber that subscribes from inside a close is afterwards active and counted, or closed
    /// once.
    re_7 = "RE-7";
    /// The cap still holds when the close of an evicted subscriber subscribes again: evictions
    /// iterate and do not recurse.
    re_8 = "RE-8";
    /// When a subscribe returns, at most as many subscribers are active in its scope as the cap
    /// allows.
    cap_1 = "CAP-1";
    /// A full scope evicts its oldest subscriber first, unless *refuse the new one* is the declared
    /// policy.
    cap_2 = "CAP-2";
    /// A new subscriber evicts no more subscribers than its place needs.
    cap_3 = "CAP-3";
    /// The cap applies to the scope alone, and scopes are independent of each other.
    cap_4 = "CAP-4";
    /// A cap below 1 cannot be constructed.
    cap_5 = "CAP-5";
    /// An evicted subscriber is closed once, and is part of no revocation's count.
    cap_6 = "CAP-6";
    /// An admission is refused if one of its identities was revoked by a call that was made after
    /// its ticket was drawn and that finished before the admission.
    adm_1 = "ADM-1";
    /// A refused admission leaves nothing behind, sends nothing and evicts no subscriber.
    adm_2 = "ADM-2";
    /// Open tickets receive nothing, are not counted as subscribers and take no place under a cap.
    adm_3 = "ADM-3";
    /// The identities of a subscriber may first be named at its admission, after the ticket was
    /// drawn.
    adm_4 = "ADM-4";
    /// Revoking identities that an admission does not name does not refuse its ticket.
    adm_5 = "ADM-5";
    /// A ticket admits once, is freed when it is dropped, and expires.
    adm_6 = "ADM-6";
    /// An outbox is bounded by messages and by bytes.
    que_1 = "QUE-1";
    /// A slow subscriber never delays another subscriber or the publisher.
    que_2 = "QUE-2";
    /// No outbox can exceed its bound.
    que_3 = "QUE-3";
    /// On a discarding close (any reason but *shutdown*), what the writing owner has not yet taken
    /// from the queue is discarded; the owner takes at most 64 KiB at a time.
    rev_3 = "REV-3";
    /// A revocation completes while the sink of some other subscriber is stuck in send.
    prg_1 = "PRG-1";
    /// A revocation completes while the sink of a subscriber that it ends is stuck in send.
    prg_2 = "PRG-2";
    /// A broadcast does not wait for a stuck sink.
    prg_3 = "PRG-3";
    /// No interleaving of threads leads to a data race, a deadlock or a crash.
    con_0 = "CON-0";
    /// Subscribe, broadcast and removal are linearisable for each subscriber.
    con_1 = "CON-1";
    /// When an unsubscribe meets a revocation in progress, on another thread or from inside a
    /// close, the subscriber is closed and counted, or neither.
    con_2 = "CON-2";
}

/// After its end, however it came, the registry keeps no reference to the sink (SUB-7).
///
/// # Errors
///
/// Which end leaves one behind.
pub async fn sub_7_nothing_is_kept(rig: &Rig) -> Verdict {
    let registry = rig.fresh()?;
    for (how, end) in [("unsubscribe", 0), ("close_by_identity", 1), ("dropping the handle", 2)] {
        let dropped = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&dropped);
        let probe = Probe::lone(move || {
            seen.fetch_add(1, Ordering::SeqCst);
        });
        let handle = subscribe(&registry, probe, "x")?;
        match end {
            0 => handle.unsubscribe(),
            1 => {
                registry.close_by_identity(&"x".into());
            }
            _ => {}
        }
        drop(handle);
        if end == 2 {
            // Dropping a handle need not unsubscribe in every registry; ours does, and a revocation
            // ends it in any.
            registry.close_by_identity(&"x".into());
        }
        if dropped.load(Ordering::SeqCst) != 1 {
            return Err(format!("SUB-7: the sink is still held after {how}"));
        }
    }
    Ok(())
}

/// A sink's `Drop` may call every operation, without deadlock (RE-1).
///
/// # Errors
///
/// If one of the calls did not come back, or the sink was never dropped.
pub async fn re_1_a_drop_may_call_back(rig: &Rig) -> Verdict {
    for end in [true, false] {
        let registry = rig.fresh()?;
        let inner = Arc::downgrade(&registry);
        let called = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&called);
        let probe = Probe::lone(move || {
            let Some(registry) = inner.upgrade() else { return };
            drop(registry.subscribe(Probe::lone(|| {}), &Registration::to(&["a"]).group("y")));
            drop(registry.broadcast("a", "m"));
            registry.close_by_identity(&"y".into());
            registry.close_by_identity(&"x".into());
            registry.count();
            drop(registry.begin());
            seen.store(true, Ordering::SeqCst);
        });
        let handle = subscribe(&registry, probe, "x")?;
        let finish = move || {
            if end {
                registry.close_by_identity(&"x".into());
            }
            handle.unsubscribe();
            drop(handle);
        };
        in_time(finish).map_err(|why| format!("RE-1: {why}"))?;
        if !called.load(Ordering::SeqCst) {
            return Err(
                "RE-1: the sink was not dropped, or not while there was a registry to call".into(),
            );
        }
    }
    Ok(())
}

/// A sink whose `Drop` panics is contained, and the registry goes on (ISO-8).
///
/// # Errors
///
/// If the panic came through, if there was none, or if the registry no longer works.
pub async fn iso_8_a_panicking_drop_is_contained(rig: &Rig) -> Verdict {
    let registry = rig.fresh()?;
    let panicked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&panicked);
    let probe = Probe::lone(move || {
        seen.store(true, Ordering::SeqCst);
        std::panic::resume_unwind(Box::new("the sink's drop panics"));
    });
    let handle = subscribe(&registry, probe, "x")?;
    let revoked = Arc::clone(&registry);
    let revoke = move || {
        revoked.close_by_identity(&"x".into());
    };
    in_time(revoke).map_err(|why| format!("ISO-8: {why}"))?;
    in_time(move || drop(handle)).map_err(|why| format!("ISO-8: {why}"))?;
    if !panicked.load(Ordering::SeqCst) {
        return Err("ISO-8: the sink was not dropped".into());
    }
    let handle = subscribe(&registry, Probe::lone(|| {}), "x")?;
    let closed = registry.close_by_identity(&"x".into());
    drop(handle);
    if closed == 1 { Ok(()) } else { Err("ISO-8: the registry no longer works".into()) }
}

fn subscribe(
    registry: &Arc<dyn Subject>,
    probe: Probe,
    group: &str,
) -> Result<Arc<dyn Handle>, String> {
    let with = Registration::to(&["a"]).group(group);
    registry.subscribe(probe, &with).map_err(|Refused| "a valid subscribe was refused".into())
}

/// Runs it on another thread, which a deadlock then holds instead of the suite.
fn in_time(run: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        let _ = done.send(outcome.is_ok());
    });
    match ended.recv_timeout(BOUND) {
        Ok(true) => Ok(()),
        Ok(false) => Err("a panic of the sink came through".into()),
        Err(_) => Err("the call does not come back".into()),
    }
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
                flt_1 flt_2 flt_3 flt_4 flt_5 flt_6 flt_7 flt_8
                del_1 del_2 del_3 del_4 del_5 del_7 ord_1 ord_2 ord_3
                sub_1 sub_2 sub_3 sub_4 sub_5 sub_6 sub_7_nothing_is_kept
                rev_1 rev_2 rev_3 rev_4 rev_5 rev_6 rev_7 rev_8 rev_9 rev_10 rev_13
                clo_1 clo_2 clo_3 clo_4 clo_5 cnt_1 cnt_2 cnt_3
                iso_1 iso_2 iso_3 iso_4 iso_5 iso_6 iso_7 iso_8_a_panicking_drop_is_contained
                re_1 re_1_a_drop_may_call_back re_3 re_4 re_5 re_6 re_7 re_8
                cap_1 cap_2 cap_3 cap_4 cap_5 cap_6 adm_1 adm_2 adm_3 adm_4 adm_5 adm_6
                que_1 que_2 que_3 prg_1 prg_2 prg_3 con_0 con_1 con_2);
        }
    };
    (@ $rig:expr; $($check:ident)*) => {
        $(#[test]
        fn $check() {
            if let Err(why) = $crate::kit::block_on($crate::kit::registry::$check(&$rig)) {
                panic!("{why}");
            }
        })*
    };
}
pub use registry_suite;
