//! What `help` prints, in all and for each command.

const COMMANDS: &str = "\
\x20 registry-conform run [OPTIONS] -- COMMAND…     judge the registry behind an adapter
  registry-conform replay FILE -- COMMAND…       run one saved script and show its trace
  registry-conform replay --lines FILE           print the lines that feed it to an adapter by hand
  registry-conform doctor -- COMMAND…            check an adapter before its registry
  registry-conform explain REQUIREMENT           print a promise, and why it is one
  registry-conform list                          print all promises, a line each
  registry-conform gallery [--seed N]            show that the suite finds what wrong registries do
  registry-conform spec                          print docs/spec.md
  registry-conform docs [NAME]                   print a text for porters: porting (start here),
                                                 protocol, the JSON Schemas, adapters to copy;
                                                 without NAME, which there are";

const OPTIONS: &str = "\
Options of run:
  --scripts N      random scripts, after the fixed ones (2000)
  --seed N         where they start (by chance, and printed); the 0x… of one script runs that
                   script first
  --time S         start no script after so many seconds
  --profile NAME   only the requirements of a profile; may be repeated
  --only REQ       only this requirement; may be repeated
  --known FILE     requirements that are known to fail (TOML)
  --save DIR       where failing scripts are kept and found again (.registry-conform)
  --json FILE      write the report as JSON          --junit FILE   write it as JUnit XML
  --patience S     how long a thread may wait (2)
  --transcript FILE   every line to the adapter (>) and from it (<); also for replay and doctor";

const END: &str = "\
Exit: 0 conforming · 1 failures · 2 stale known-failing · 3 adapter error · 4 undecided ·
      5 nothing exercised · 64 usage
An adapter is any program that speaks `registry-conform docs protocol` on its standard streams.
A JavaScript class needs none: node adapter.mjs MODULE [CLASS] [OPTION]…, where OPTION is
  call=positional  subscribe(stream, channels, identity); this is the default
  call=options     subscribe(stream, { channels, identity, scope })
  or another of those that `registry-conform docs port.mjs` lists.
NO_COLOR is respected.";

/// The whole page.
pub(super) fn help() -> String {
    format!(
        "registry-conform: does a subscriber registry keep its promises?\n\n\
         {COMMANDS}\n\n{OPTIONS}\n\n{END}"
    )
}

/// The part of it that is about one command, if there is such a command.
pub(super) fn help_of(command: &str) -> Option<String> {
    let start = format!("  registry-conform {command} ");
    let own: Vec<&str> = COMMANDS.lines().filter(|line| line.starts_with(&start)).collect();
    if own.is_empty() {
        return None;
    }
    let lines = own.join("\n");
    Some(match command {
        "run" => format!("{lines}\n\n{OPTIONS}\n\n{END}"),
        "gallery" => format!(
            "{lines}\n\n  --scripts N      random scripts for each, after the fixed ones (2000)"
        ),
        "replay" | "doctor" => {
            let shared = OPTIONS
                .lines()
                .filter(|line| line.contains("--patience") || line.contains("--transcript"));
            format!("{lines}\n\n{}\n\n{END}", shared.collect::<Vec<_>>().join("\n"))
        }
        _ => lines,
    })
}
