//! `registry-conform`: the suite for registries in other languages, as a program.

mod adapter;
mod cli;
mod known;
mod report;

pub use adapter::{Adapter, Deadlines};
pub use cli::main;
pub use known::{Entry, Known, today};
pub use report::{Exit, Input, Line, Paint, Part, REPORT, Report, Status, quoted, wrap};
