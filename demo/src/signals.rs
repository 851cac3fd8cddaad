//! The signals that end the server.

use std::future::pending;

/// Completes at the nth Ctrl-C, SIGTERM or SIGHUP. They are caught from the call on, not only once
/// the future is polled.
#[cfg(unix)]
pub(crate) fn signals(nth: usize) -> impl Future<Output = ()> + Send + 'static {
    use tokio::signal::unix::{Signal, SignalKind, signal};
    async fn next(caught: &mut Option<Signal>) {
        match caught {
            Some(signal) => drop(signal.recv().await),
            // One that cannot be caught ends the process by itself.
            None => pending().await,
        }
    }
    let catch = |kind| signal(kind).ok();
    let (mut interrupt, mut terminate) =
        (catch(SignalKind::interrupt()), catch(SignalKind::terminate()));
    let hangup = SignalKind::hangup();
    let mut hangup = if is_ignored(hangup.as_raw_value()) { None } else { catch(hangup) };
    async move {
        for _ in 0..nth {
            tokio::select! {
                () = next(&mut interrupt) => {}
                () = next(&mut terminate) => {}
                () = next(&mut hangup) => {}
            }
        }
    }
}

/// Tells whether the process was started with a signal ignored, as `nohup` does so that it outlives
/// its terminal; catching the signal would undo that. False where the system does not report it.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Completes at the nth Ctrl-C.
#[cfg(not(unix))]
pub(crate) async fn signals(nth: usize) {
    for _ in 0..nth {
        if tokio::signal::ctrl_c().await.is_err() {
            return pending().await;
        }
    }
}
