//! Files: failing scripts, and reports.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Problem, say_error};
use crate::campaign::Outcome;
use crate::script::Script;

/// A failing script, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    pub(super) requirement: String,
    pub(super) script: Script,
}

pub(super) fn saved_scripts(directory: &Path) -> Vec<(String, Script)> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "json"));
    files.sort();
    files
        .iter()
        .filter_map(|file| match read_saved(file) {
            Ok(saved) => Some((format!("saved {}", file.display()), saved.script)),
            Err(why) => {
                say_error(&format!("skipped: {why}"));
                None
            }
        })
        .collect()
}

pub(super) fn read_saved(file: &Path) -> Result<Saved, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let saved: Saved =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    saved.script.check().map_err(|why| format!("{}: {why}", file.display()))?;
    Ok(saved)
}

pub(super) fn save(directory: &Path, outcome: &Outcome) -> Result<(), Problem> {
    for failure in outcome.failures.iter().filter(|failure| !failure.script.steps.is_empty()) {
        std::fs::create_dir_all(directory).map_err(Problem::file(directory))?;
        let saved = Saved {
            requirement: failure.violation.requirement.into(),
            script: failure.script.clone(),
        };
        let json = serde_json::to_string_pretty(&saved)?;
        write_file(&directory.join(format!("{}.json", failure.violation.requirement)), &json)?;
    }
    Ok(())
}

pub(super) fn write_file(file: &Path, text: &str) -> Result<(), Problem> {
    std::fs::write(file, format!("{}\n", text.trim_end())).map_err(Problem::file(file))
}
