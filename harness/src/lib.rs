//! The reference conformance suite for subscriber registries: catalogue, scripts, oracle, kits,
//! runner.
//!
//! A [`script::Script`] is run by a driver over one fresh registry, which yields a
//! [`trace::Trace`]; the [`oracle`] accepts it or names the requirement of the [`catalogue`] that
//! it breaks. Scripts are fixed [`cases`] or come from [`generate`]; failing ones are made small by
//! [`shrink`]. A [`campaign`] runs many. [`subject`] drives a registry in process, [`runner`] one
//! in a foreign process. The [`gallery`] guards the suite itself.

pub mod campaign;
pub mod cases;
pub mod catalogue;
mod clock;
pub mod core;
pub mod diet;
pub mod gallery;
pub mod generate;
pub mod kit;
pub mod oracle;
pub mod pretty;
pub mod protocol;
pub mod runner;
pub mod script;
pub mod shrink;
pub mod strategy;
pub mod subject;
pub mod trace;
