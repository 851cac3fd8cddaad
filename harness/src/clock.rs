//! The one place where the suite looks at a clock: budgets and reports, never verdicts.

use std::time::{Duration, Instant};

/// A moment from which time is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started(Instant);

impl Started {
    /// Now.
    #[expect(clippy::disallowed_methods, reason = "budgets of the suite are in real time")]
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    /// How long ago it was.
    pub(crate) fn ago(self) -> Duration {
        self.0.elapsed()
    }
}
