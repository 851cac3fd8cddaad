//! `docs`: what a porter reads, who has the program and nothing else.

use std::io::{Write as _, stdout};

use super::{Problem, options::Options, say};
use crate::runner::Exit;

/// Names, what they are, and the texts.
const TEXTS: [(&str, &str, &str); 12] = [
    (
        "porting",
        "a port and its first verdict: start here",
        include_str!("../../../../docs/porting.md"),
    ),
    ("protocol", "what an adapter reads and writes", include_str!("../../../PROTOCOL.md")),
    (
        "to-adapter.schema.json",
        "JSON Schema of what it reads",
        include_str!("../../../schema/to-adapter.schema.json"),
    ),
    (
        "from-adapter.schema.json",
        "JSON Schema of what it writes",
        include_str!("../../../schema/from-adapter.schema.json"),
    ),
    (
        "adapter.mjs",
        "JavaScript: an adapter to copy",
        include_str!("../../../adapters/javascript/adapter.mjs"),
    ),
    (
        "registry.mjs",
        "JavaScript: the registry that it drives",
        include_str!("../../../adapters/javascript/registry.mjs"),
    ),
    (
        "drive-module.mjs",
        "JavaScript: drives any class, with the next two beside it",
        include_str!("../../../adapters/javascript/drive-module.mjs"),
    ),
    (
        "port.mjs",
        "JavaScript: how a class is called",
        include_str!("../../../adapters/javascript/port.mjs"),
    ),
    (
        "threads.mjs",
        "JavaScript: what promises take",
        include_str!("../../../adapters/javascript/threads.mjs"),
    ),
    (
        "adapter.py",
        "Python: an adapter to copy, with threads",
        include_str!("../../../adapters/python/adapter.py"),
    ),
    (
        "threads.py",
        "Python: what threads take",
        include_str!("../../../adapters/python/threads.py"),
    ),
    (
        "registry.py",
        "Python: the registry that it drives",
        include_str!("../../../adapters/python/registry.py"),
    ),
];

pub(super) fn docs(options: &Options) -> Result<Exit, Problem> {
    match options.files.as_slice() {
        [] => {
            for (name, what, _) in TEXTS {
                say(&format!("{name:<26} {what}"));
            }
        }
        [name] => {
            let wanted = name.to_lowercase();
            let wanted = wanted.strip_suffix(".md").unwrap_or(&wanted);
            let (_, _, text) =
                TEXTS.iter().find(|(name, ..)| *name == wanted).ok_or_else(|| {
                    Problem::Usage(format!(
                        "there is no text {name:?}; `docs` alone says which there are"
                    ))
                })?;
            let _ = write!(stdout(), "{text}");
        }
        _ => return Err(Problem::Usage("docs takes one name, or none".into())),
    }
    Ok(Exit::Conforming)
}
