//! `registry-conform`: the suite for registries in other languages, as a program.

mod adapter;
mod cli;
#[cfg(unix)]
mod group;
#[cfg(not(unix))]
#[path = "no_group.rs"]
mod group;
mod known;
mod process;
mod report;
mod stop;
mod terminal;

pub use adapter::{Adapter, Deadlines};
pub use cli::main;
pub use known::{Entry, Known, today};
pub use report::{Exit, Input, Line, Part, REPORT, Report, Rule, Status};
pub use terminal::{Paint, quoted};
