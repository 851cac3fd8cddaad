//! Tests of the registry through its public API. Each is named after the requirement that it
//! proves.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod admission;
mod caps;
mod cost;
mod delivery;
#[cfg(feature = "json")] // it parses JSON
mod dependencies;
mod directed;
mod drain;
mod drops;
mod filter;
mod isolation;
mod kit;
mod lane;
mod life;
mod overflow;
mod programs;
mod progress;
mod queue;
mod reentry;
mod revocation;
mod snapshot;
mod stream;
mod threads;
mod vocabulary;
mod who;
mod wire;
