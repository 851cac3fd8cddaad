//! The suite's own tests.

mod gallery;
mod registry_core;
