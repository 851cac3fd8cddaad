//! The tour: what the registry promises, done and seen on a server of its own within a minute, and
//! what would be seen without the mechanism.

mod client;
mod promises;

use promises::Promise;
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
    match show(promises::all(), &mut io::stdout()).await {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Returns how many promises do not hold, or could not be shown.
async fn show(all: impl IntoIterator<Item = Promise>, out: &mut impl Write) -> usize {
    let begun = Instant::now();
    let mut broken = 0;
    for (number, (title, promise)) in (1..).zip(all) {
        let said = match promise.await {
            Ok(Shown { done, seen, holds, control }) => {
                broken += usize::from(!holds);
                let verdict = if holds { "holds" } else { "BROKEN" };
                format!(
                    "{verdict}\n   done       {done}\n   seen       {seen}\n   elsewhere  {control}"
                )
            }
            Err(error) => {
                broken += 1;
                format!("BROKEN\n   it could not be shown: {error}")
            }
        };
        // A closed output is no reason to look less closely.
        let _closed = writeln!(out, "{number}. {title}: {said}\n");
    }
    let seconds = begun.elapsed().as_secs_f32();
    let verdict =
        if broken == 0 { "All of it holds".to_owned() } else { format!("{broken} broken") };
    let _closed = writeln!(out, "{verdict} ({seconds:.1} s).");
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tour_counts_what_does_not_hold_and_what_could_not_be_shown() {
        let shown = |holds| {
            let [done, seen, control] = ["did it", "saw it", "saw something else"].map(Into::into);
            Ok(Shown { done, seen, holds, control })
        };
        let of = |outcomes: Vec<io::Result<Shown>>| async {
            let all = outcomes
                .into_iter()
                .map(|outcome| -> Promise { ("it is so", Box::pin(async { outcome })) });
            let mut out = Vec::new();
            (show(all, &mut out).await, String::from_utf8(out).unwrap())
        };
        let (broken, text) = of(vec![shown(true), shown(true)]).await;
        assert!(broken == 0 && text.contains("\nAll of it holds ("), "{text}");
        let (broken, text) =
            of(vec![shown(true), shown(false), Err(io::Error::other("why"))]).await;
        assert!(broken == 2 && text.contains("\n2 broken ("), "{text}");
        for said in ["1. it is so: holds\n", "2. it is so: BROKEN\n", "could not be shown: why\n"] {
            assert!(text.contains(said), "{text}");
        }
    }
}
