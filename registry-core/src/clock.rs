//! Time as an input: the only module of the crate that reads a clock.

use crate::sync::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tells the time to a registry: a ticket's age is measured with it.
///
/// Implementations must be monotonic and must not call back into the registry.
///
/// # Examples
/// ```
/// use registry_core::{Clock, SystemClock};
/// use std::time::{Duration, Instant};
///
/// /// An hour ahead of the machine.
/// struct Ahead;
///
/// impl Clock for Ahead {
///     fn now(&self) -> Instant {
///         SystemClock.now() + Duration::from_secs(3600)
///     }
/// }
///
/// assert!(Ahead.now() > SystemClock.now());
/// ```
pub trait Clock: Send + Sync + 'static {
    /// Returns the present moment.
    fn now(&self) -> Instant;
}

/// The machine's monotonic clock; the default.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::exhaustive_structs, reason = "it is its own only value")]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that stands still until it is [advanced](Self::advance): for tests.
///
/// # Examples
/// ```
/// use registry_core::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(10));
/// assert_eq!(clock.now() - before, Duration::from_secs(10));
/// ```
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<Instant>>);

impl ManualClock {
    /// Creates a clock that shows the present moment and stands still.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(SystemClock.now())))
    }

    /// Moves the clock forward by `step`, for every clone of it.
    pub fn advance(&self, step: Duration) {
        *self.0.lock() += step;
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        *self.0.lock()
    }
}
