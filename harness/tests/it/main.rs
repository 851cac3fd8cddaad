//! The suite's own tests.

mod gallery;
