//! Saboteurs: the author's own registry, spoilt from outside, to show that the kit would notice.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use super::{
    Verdict,
    registry::{Rig, SCRIPTS},
};
use crate::{
    campaign::{InProcess, Plan, campaign},
    script::{Hook, Identity, Reason, Registration},
    subject::{Factory, Handle, Probe, Refused, Subject, Ticket},
    trace::Report,
};

/// A way to spoil a registry from outside, and what that breaks.
const SABOTAGE: [(Sabotage, &[&str]); 8] = [
    (Sabotage::LoseSends, &["DEL-1", "FLT-1"]),
    (Sabotage::RepeatSends, &["DEL-2"]),
    (Sabotage::SwallowCloses, &["REV-1"]),
    (Sabotage::RepeatCloses, &["CLO-1"]),
    (Sabotage::CountOneMore, &["REV-10", "CNT-1"]),
    (Sabotage::RefuseTheSecond, &["SUB-1"]),
    (Sabotage::IgnoreUnsubscribe, &["SUB-3"]),
    (Sabotage::ForgetReasons, &["REV-13"]),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sabotage {
    LoseSends,
    RepeatSends,
    SwallowCloses,
    RepeatCloses,
    CountOneMore,
    RefuseTheSecond,
    IgnoreUnsubscribe,
    ForgetReasons,
}

/// The checks notice when the author's own registry is spoilt.
///
/// # Errors
///
/// Which spoilt registry went unnoticed.
pub async fn saboteurs_are_noticed(rig: &Rig) -> Verdict {
    let says = rig.hello.offers("revoke_as") && rig.hello.offers("reasons");
    for (how, breaks) in
        SABOTAGE.into_iter().filter(|(how, _)| says || *how != Sabotage::ForgetReasons)
    {
        let inner = Arc::clone(&rig.factory);
        let factory: Factory = Arc::new(move |cap| {
            let inner = inner(cap)?;
            Some(Arc::new(Saboteur { inner, how, subscribed: AtomicU32::new(0) })
                as Arc<dyn Subject>)
        });
        let plan = Plan { scripts: SCRIPTS, first_only: true, ..Plan::default() };
        let outcome = campaign(&rig.hello, &mut InProcess::new(factory), &plan, &mut |_, _| {});
        let found = outcome.failures.first().map(|failure| failure.violation.requirement);
        if !found.is_some_and(|found| breaks.contains(&found)) {
            return Err(format!(
                "a registry that is made to {how:?} breaks {breaks:?}; the suite found {found:?}"
            ));
        }
    }
    Ok(())
}

struct Saboteur {
    inner: Arc<dyn Subject>,
    how: Sabotage,
    subscribed: AtomicU32,
}

impl Saboteur {
    fn spoil(&self, probe: Probe) -> Probe {
        let how = self.how;
        let calls = Mutex::new(0_u32);
        probe.passing(Arc::new(move |hook| {
            let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
            *calls += u32::from(hook == Hook::Send);
            match (how, hook) {
                (Sabotage::LoseSends, Hook::Send) => u32::from(*calls != 1),
                (Sabotage::RepeatSends, Hook::Send) | (Sabotage::RepeatCloses, Hook::Close) => 2,
                (Sabotage::SwallowCloses, Hook::Close) => 0,
                _ => 1,
            }
        }))
    }
}

struct Ignored;

impl Handle for Ignored {
    fn unsubscribe(&self) {}
}

impl Subject for Saboteur {
    fn subscribe(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused> {
        if self.how == Sabotage::RefuseTheSecond
            && self.subscribed.fetch_add(1, Ordering::SeqCst) == 1
        {
            return Err(Refused);
        }
        let handle = self.inner.subscribe(self.spoil(sink), with)?;
        if self.how == Sabotage::IgnoreUnsubscribe {
            // Kept for ever, so that dropping it does not unsubscribe either.
            Box::leak(Box::new(handle));
            return Ok(Arc::new(Ignored));
        }
        Ok(handle)
    }

    fn broadcast(&self, channel: &str, data: &str) -> Result<Option<Report>, String> {
        self.inner.broadcast(channel, data)
    }

    fn close_by_identity(&self, identity: &Identity) -> usize {
        self.inner.close_by_identity(identity) + usize::from(self.how == Sabotage::CountOneMore)
    }

    fn close_by_identity_as(&self, identity: &Identity, reason: Reason) -> usize {
        if self.how == Sabotage::ForgetReasons {
            return self.inner.close_by_identity(identity);
        }
        self.inner.close_by_identity_as(identity, reason)
            + usize::from(self.how == Sabotage::CountOneMore)
    }

    fn count(&self) -> usize {
        self.inner.count()
    }

    fn begin(&self) -> Option<Arc<dyn Ticket>> {
        self.inner.begin()
    }

    fn shutdown(&self) {
        self.inner.shutdown();
    }

    fn settle(&self) {
        self.inner.settle();
    }
}
