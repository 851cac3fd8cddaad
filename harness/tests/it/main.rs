//! The suite's own tests.

mod adapters;
mod catalogue;
mod gallery;
mod registry_core;
