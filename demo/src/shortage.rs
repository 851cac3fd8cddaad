//! Tells the operator when connections wait for descriptors.

use std::fmt::Display;
use std::time::Duration;
use tokio::time::sleep;

/// How soon it is told, and how often at the most.
const SOON: Duration = Duration::from_secs(1);
const ONCE: Duration = Duration::from_secs(60);

/// Looks at a count of accepts that failed for want of a descriptor, for ever, and tells when it
/// grew: soon after the first failure, then once a minute at the most.
pub(crate) async fn tell(failed: impl Fn() -> u64, complain: impl Fn(&dyn Display)) {
    let mut told = 0;
    loop {
        sleep(SOON).await;
        let failed = failed();
        if failed > told {
            complain(&format_args!(
                "connections wait, because no descriptor is left: {failed} times so far. Raise `ulimit -n`, or lower \
                 `--max-connections`"
            ));
            told = failed;
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
    async fn a_shortage_is_told_soon_and_once_a_minute_at_the_most() {
        let (begun, failed, told) = (Instant::now(), Cell::new(0), RefCell::new(Vec::new()));
        let telling = tell(
            || failed.get(),
            |line| {
                told.borrow_mut()
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
                () = telling => {}
                () = shortages => {}
            }
        };
        timeout(Duration::from_secs(3600), both).await.unwrap();
        // What comes within the minute waits for its end, and is told together.
        assert_eq!(*told.borrow(), [(601, true), (661, true), (901, true)]);
    }
}
