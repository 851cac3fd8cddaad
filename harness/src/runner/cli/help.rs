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
    let own: Vec<&str> = commands.lines().filter(|line| line.starts_with(&start)).collect();
    if own.is_empty() {
        return None;
    }
    let lines = own.join("\n");
    Some(match command {
        "run" => format!("{lines}\n\n{options}\n\n{end}"),
        "gallery" => format!(
            "{lines}\n\n  --scripts N      random scripts for each, after the fixed ones (2000)"
        ),
        "replay" | "doctor" => {
            let shared = options
                .lines()
                .filter(|line| line.contains("--patience") || line.contains("--transcript"));
            format!("{lines}\n\n{}\n\n{end}", shared.collect::<Vec<_>>().join("\n"))
        }
        _ => lines,
    })
}
