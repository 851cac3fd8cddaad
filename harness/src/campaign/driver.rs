//! Drivers run scripts and answer with traces.

use std::fmt;

use crate::script::Script;
use crate::subject::{Factory, Limits, execute};
use crate::trace::Trace;

/// Runs scripts on an implementation.
pub trait Driver {
    /// Runs one, on a fresh registry.
    fn run(&mut self, script: &Script) -> Answer;

    /// Has the next script run in a new process; false if the driver cannot.
    fn forget(&mut self) -> bool {
        false
    }

    /// Waits less long, or as long as ever, for what a script that has failed before does not do.
    fn hurry(&mut self, _: bool) {}

    /// Whether it was told to run no more, and answers only that it does not.
    fn stopped(&self) -> bool {
        false
    }
}

/// What a driver says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What was observed.
    Trace(Trace),
    /// The implementation lacks something.
    Unsupported(String),
    /// The adapter broke the protocol or failed by itself.
    Fault(String),
    /// It died or did not answer; the next script gets a fresh one.
    Missing(String),
}

/// Drives a registry in this process.
#[derive(Clone)]
pub struct InProcess {
    factory: Factory,
    limits: Limits,
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl InProcess {
    /// Drives what the factory makes.
    #[must_use]
    pub fn new(factory: Factory) -> Self {
        Self { factory, limits: Limits::default() }
    }

    /// Within other limits.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

impl Driver for InProcess {
    fn run(&mut self, script: &Script) -> Answer {
        Answer::Trace(execute(script, &self.factory, self.limits))
    }
}
