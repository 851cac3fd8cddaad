//! The tour: what the registry promises, done and seen on a server of its own within a minute, and
//! what would be seen without the mechanism.

mod client;
mod promises;

use std::io::{self, Write};
use std::process::ExitCode;
use tokio::time::Instant;

/// What was done, and what was seen.
struct Shown {
    done: String,
    seen: String,
    /// Whether that is what was promised.
    holds: bool,
    /// What a server without the mechanism shows, as it was seen here.
    control: String,
}

/// Shows one promise after the other; fails when one does not hold.
pub(crate) async fn tour() -> ExitCode {
    let begun = Instant::now();
    let mut broken = 0;
    let mut out = io::stdout();
    for (number, (title, promise)) in (1..).zip(promises::all()) {
        let shown = match promise.await {
            Ok(shown) => shown,
            Err(error) => {
                let _closed = writeln!(io::stderr(), "the tour cannot go on: {error}");
                return ExitCode::FAILURE;
            }
        };
        broken += usize::from(!shown.holds);
        let verdict = if shown.holds { "holds" } else { "BROKEN" };
        let Shown { done, seen, control, .. } = shown;
        // A closed output is no reason to look less closely.
        let _closed = writeln!(
            out,
            "{number}. {title}: {verdict}\n   done       {done}\n   seen       {seen}\n   \
             elsewhere  {control}\n"
        );
    }
    let seconds = begun.elapsed().as_secs_f32();
    let verdict =
        if broken == 0 { "All of it holds".to_owned() } else { format!("{broken} broken") };
    let _closed = writeln!(out, "{verdict} ({seconds:.1} s).");
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
