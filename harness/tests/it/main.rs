//! The suite's own tests.
#![allow(clippy::unwrap_used, reason = "tests")]

mod adapters;
mod campaign;
mod catalogue;
mod cli;
mod gallery;
mod kits;
mod lanes;
mod model;
mod reasons;
mod registry_core;
mod reports;
mod schema;
mod tamper;
mod verdicts;
