//! The suite's own tests.
#![allow(clippy::unwrap_used, reason = "tests")]

mod adapters;
mod campaign;
mod catalogue;
mod cheats;
mod classes;
mod cli;
mod directed;
mod gates;
mod kits;
mod known;
mod lanes;
mod masking;
mod model;
mod mutants;
mod outboxes;
mod person;
mod place;
mod porting;
mod reasons;
mod registry_core;
mod reports;
mod schema;
mod tamper;
mod verdicts;
