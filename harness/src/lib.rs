//! The conformance suite for subscriber registries.
//!
//! A driver runs a [`script::Script`] on a fresh registry and returns a [`trace::Trace`] of what it
//! observed. The [`oracle`] accepts the trace, or names the requirement of the [`catalogue`] that
//! it breaks. Scripts are fixed [`cases`] or come from [`generate`]; [`shrink`] makes failing ones
//! small. A [`campaign`] runs many scripts. [`subject`] drives a registry in this process,
//! [`runner`] one in another process. The [`mutants`] has wrong registries, by which the suite
//! itself is tested.
//!
//! # Features
//! - `kit`: only [`kit::sink`], the suite for sinks and transports.
//! - `conformance` (default): all of it.

#![allow(
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    reason = "tests and ports write scripts, traces and messages out, and match on them"
)]

#[cfg(feature = "conformance")]
pub mod campaign;
#[cfg(feature = "conformance")]
pub mod cases;
#[cfg(feature = "conformance")]
pub mod catalogue;
#[cfg(feature = "conformance")]
mod clock;
#[cfg(feature = "conformance")]
pub mod core;
#[cfg(feature = "conformance")]
pub mod features;
#[cfg(feature = "conformance")]
pub mod generate;
#[cfg(feature = "kit")]
pub mod kit;
#[cfg(feature = "conformance")]
pub mod mutants;
#[cfg(feature = "conformance")]
mod neighbours;
#[cfg(feature = "conformance")]
pub mod oracle;
#[cfg(feature = "conformance")]
pub mod pretty;
#[cfg(feature = "conformance")]
pub mod protocol;
#[cfg(feature = "conformance")]
pub mod runner;
#[cfg(feature = "conformance")]
pub mod script;
#[cfg(feature = "conformance")]
pub mod shrink;
#[cfg(feature = "conformance")]
pub mod strategy;
#[cfg(feature = "conformance")]
pub mod subject;
#[cfg(feature = "kit")]
mod text;
#[cfg(feature = "conformance")]
pub mod trace;
