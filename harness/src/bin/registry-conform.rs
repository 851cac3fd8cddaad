//! The conformance suite for subscriber registries in any language. `registry-conform help` says
//! what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(harness::runner::main(std::env::args_os().skip(1)) as u8)
}
