//! Builds what is measured.

use crate::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the programs are.
pub(crate) struct Binaries {
    pub(crate) demo: PathBuf,
    /// The directory of the others.
    pub(crate) benches: PathBuf,
}

/// The directory of this workspace.
pub(crate) fn directory() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Builds the demo, unless another is given, and everything in this workspace.
pub(crate) fn all(demo: Option<PathBuf>) -> Result<Binaries> {
    let benches = directory();
    let project = benches.join("..");
    if demo.is_none() {
        build(&project, &["--package", "demo"])?;
    }
    build(&benches, &["--workspace", "--bins"])?;
    let demo = demo.unwrap_or_else(|| project.join("target/release/demo"));
    Ok(Binaries { demo, benches: benches.join("target/release") })
}

fn build(directory: &Path, what: &[&str]) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let status =
        cargo.args(["build", "--release", "--quiet"]).args(what).current_dir(directory).status()?;
    if status.success() { Ok(()) } else { Err(format!("cannot build {what:?}").into()) }
}
