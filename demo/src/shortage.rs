//! Reports to the operator that connections wait for descriptors.

use std::fmt::Display;
use std::time::Duration;
use tokio::time::sleep;

/// How soon a shortage is reported, and how often at most.
const SOON: Duration = Duration::from_secs(1);
const ONCE: Duration = Duration::from_secs(60);

/// Watches a count of accepts that failed for want of a descriptor, for ever, and reports when it
/// grew: soon after the first failure, then once a minute at most.
pub(crate) async fn report(failed: impl Fn() -> u64, complain: impl Fn(&dyn Display)) {
    let mut reported = 0;
    loop {
        sleep(SOON).await;
        let failed = failed();
        if failed > reported {
            complain(&format_args!(
                "connections wait, because no descriptor is left: {failed} times so far. \
                 Raise `ulimit -n`, or lower `--max-connections`"
            ));
            reported = failed;
            sleep(ONCE - SOON).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use tokio::time::{Instant, timeout};

    #[tokio::test(start_paused = true)]
    async fn a_shortage_is_reported_soon_and_once_a_minute_at_most() {
        let (begun, failed, lines) = (Instant::now(), Cell::new(0), RefCell::new(Vec::new()));
        let reporting = report(
            || failed.get(),
            |line| {
                lines
                    .borrow_mut()
                    .push((begun.elapsed().as_secs(), line.to_string().contains("ulimit -n")))
            },
        );
        let shortages = async {
            for (after, count) in [(600_500, 3), (10_000, 4), (10_000, 5), (280_000, 6)] {
                sleep(Duration::from_millis(after)).await;
                failed.set(count);
            }
            sleep(Duration::from_secs(600)).await;
        };
        let both = async {
            tokio::select! {
                () = reporting => {}
                () = shortages => {}
            }
        };
        timeout(Duration::from_secs(3600), both).await.unwrap();
        // Shortages within the minute wait for its end, and are reported together.
        assert_eq!(*lines.borrow(), [(601, true), (661, true), (901, true)]);
    }
}
