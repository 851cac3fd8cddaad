//! What `help` prints, in all and for each command.

/// The whole page: what it is, the commands, the options of `run`, the rest.
const PAGE: &str = include_str!("help.txt");

/// The whole page.
pub(super) fn help() -> &'static str {
    PAGE.trim_end()
}

/// The part of it that is about one command, if there is such a command.
pub(super) fn help_of(command: &str) -> Option<String> {
    let mut parts = help().splitn(4, "\n\n").skip(1);
    let (commands, options, end) = (parts.next()?, parts.next()?, parts.next()?);
    let start = format!("  registry-conform {command} ");
    let lines = entries(commands, &[&start]);
    if lines.is_empty() {
        return None;
    }
    Some(match command {
        "run" => format!("{lines}\n\n{options}\n\n{end}"),
        "gallery" => format!(
            "{lines}\n\n  --scripts N      random scripts for each, after the fixed ones (2000)"
        ),
        "replay" | "doctor" => {
            let shared = entries(options, &["  --patience", "  --transcript"]);
            format!("{lines}\n\n{shared}\n\n{end}")
        }
        _ => lines,
    })
}

/// The entries that begin so, with the lines that they go on in.
fn entries(part: &str, starts: &[&str]) -> String {
    let mut within = false;
    let own = part.lines().filter(|line| {
        within = starts.iter().any(|start| line.starts_with(start))
            || within && line.starts_with("    ");
        within
    });
    own.collect::<Vec<_>>().join("\n")
}
