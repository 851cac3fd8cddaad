//! Random schedules of random programs, judged by what the threads saw.
//!
//! Needs `--cfg registry_shuttle`; the judge itself is tested in every build.

#![allow(clippy::unwrap_used, reason = "a test binary")]

mod judge;
#[cfg(registry_shuttle)]
mod program;
#[cfg(registry_shuttle)]
mod snapshot;
