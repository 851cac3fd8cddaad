//! `docs`: the texts for a porter that has only the program.

use std::io::{Write as _, stdout};

use super::options::Options;
use super::{Problem, say};
use crate::runner::Exit;

macro_rules! texts {
    ($($name:literal $path:literal $what:literal;)*) => {
        /// Names, what they are, and the texts.
        const TEXTS: &[(&str, &str, &str)] =
            &[$(($name, $what, include_str!(concat!("../../../", $path)))),*];
    };
}

texts! {
    "porting" "../docs/porting.md" "a port and its first verdict: start here";
    "protocol" "PROTOCOL.md" "what an adapter reads and writes";
    "to-adapter.schema.json" "schema/to-adapter.schema.json" "JSON Schema of what it reads";
    "from-adapter.schema.json" "schema/from-adapter.schema.json" "JSON Schema of what it writes";
    "adapter.mjs" "adapters/javascript/adapter.mjs" "JavaScript: an adapter to copy";
    "registry.mjs" "adapters/javascript/registry.mjs" "JavaScript: the registry that it drives";
    "drive-module.mjs" "adapters/javascript/drive-module.mjs"
        "JavaScript: drives any class, with the next two beside it";
    "port.mjs" "adapters/javascript/port.mjs" "JavaScript: how a class is called";
    "threads.mjs" "adapters/javascript/threads.mjs" "JavaScript: what promises take";
    "adapter.py" "adapters/python/adapter.py" "Python: an adapter to copy, with threads";
    "threads.py" "adapters/python/threads.py" "Python: what threads take";
    "registry.py" "adapters/python/registry.py" "Python: the registry that it drives";
    "adapter.go" "adapters/go/adapter.go" "Go: an adapter to copy, with threads and outboxes";
    "protocol.go" "adapters/go/protocol.go" "Go: what its lines say";
    "threads.go" "adapters/go/threads.go" "Go: what threads take";
    "registry.go" "adapters/go/registry.go" "Go: the registry that it drives";
    "outbox.go" "adapters/go/outbox.go" "Go: the outboxes of that registry";
}

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
