//! The reference conformance suite for subscriber registries: catalogue, scripts, oracle, kits, runner.
//!
//! A [`script::Script`] is run by a driver over one fresh registry, which yields a [`trace::Trace`].

pub mod protocol;
pub mod script;
pub mod trace;
