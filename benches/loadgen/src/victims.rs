//! Revocations beside the load, each timed from its request to the farewell, or to the end of a
//! stream that has none.
//!
//! They have a thread of their own, which the system runs before the one that reads the load
//! wherever it may: what is timed then is the server, and not how far this program is behind with a
//! thousand other readers.

use crate::Result;
use crate::histogram::Histogram;
use crate::http::Url;
use crate::poll::Poll;
use crate::publisher::Publisher;
use crate::stamp::now;
use crate::subscriber::Subscriber;
use memchr::memmem;
use rustix::thread::gettid;
use std::io::{ErrorKind, Read};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two revocations.
const EVERY: u64 = 10_000_000;
/// How long an end may take before the run is given up.
const PATIENCE: u64 = 5_000_000_000;
/// How often it looks whether the load is over.
const TICK: Duration = Duration::from_millis(10);
/// The token of the connection that revokes.
const REVOKER: usize = usize::MAX;

/// What came of them.
pub(crate) struct Revoked {
    pub(crate) count: u64,
    pub(crate) took: Histogram,
    /// Whether this thread went ahead of the other.
    pub(crate) ahead: bool,
}

/// Revocations that are under way.
pub(crate) struct Victims {
    over: Arc<AtomicBool>,
    thread: JoinHandle<std::result::Result<Revoked, String>>,
}

impl Victims {
    /// Ends one subscriber after the other; `first` is the number of the first. `end` is what each
    /// receives then.
    pub(crate) fn revoke(
        subscribers: Vec<Subscriber>,
        first: usize,
        url: Url,
        end: String,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let load = over.clone();
        let run = move || {
            run(subscribers, first, &url, end.as_bytes(), &load).map_err(|error| error.to_string())
        };
        Self { over, thread: thread::spawn(run) }
    }

    /// Begins no other revocation, and waits for the last.
    pub(crate) fn stop(self) -> Result<Revoked> {
        self.over.store(true, Ordering::Relaxed);
        Ok(self.thread.join().map_err(|_panicked| "the revoking thread panicked")??)
    }
}

fn run(
    mut victims: Vec<Subscriber>,
    first: usize,
    url: &Url,
    end: &[u8],
    over: &AtomicBool,
) -> Result<Revoked> {
    let mut revoked = Revoked { count: 0, took: Histogram::new(), ahead: go_ahead() };
    let mut poll = Poll::new()?;
    for (at, victim) in victims.iter().enumerate() {
        poll.add(&victim.stream, at)?;
    }
    let mut revoker = Publisher::connect(&poll, url.address, REVOKER)?;
    let (mut ready, mut buffer, mut next) = (Vec::new(), vec![0; 64 * 1024], now());
    // The victim that is being revoked, and since when.
    let mut revoking: Option<(usize, u64)> = None;
    loop {
        let idle = revoking.is_none() && revoker.is_free();
        let at = revoked.count as usize;
        if idle && (over.load(Ordering::Relaxed) || at == victims.len()) {
            return Ok(revoked);
        }
        if idle && now() >= next {
            revoking = Some((at, now()));
            revoker.ask(&url.delete(first + at))?;
            next = now() + EVERY;
        }
        if let Some((at, since)) = revoking
            && now() - since > PATIENCE
        {
            return Err(format!("connection {} was revoked, and did not end", first + at).into());
        }
        let until = Duration::from_nanos(next.saturating_sub(now()));
        poll.wait(if idle { TICK.min(until) } else { TICK }, &mut ready)?;
        for token in ready.drain(..) {
            if token == REVOKER {
                revoker.poll_answer(&poll)?;
                continue;
            }
            let stream = &mut victims[token].stream;
            let read = match stream.read(&mut buffer) {
                Ok(read) => read,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                {
                    continue;
                }
                Err(_reset) => 0,
            };
            let time = now();
            if read == 0 {
                poll.forget(&*stream)?;
            }
            if let Some((at, since)) = revoking
                && at == token
                && (read == 0 || memmem::find(&buffer[..read], end).is_some())
            {
                revoked.took.add(time - since);
                revoked.count += 1;
                revoking = None;
            }
        }
    }
}

/// Has the system run this thread before every usual one. That is a privilege; without it the
/// thread is a usual one.
fn go_ahead() -> bool {
    let thread = gettid().as_raw_nonzero().to_string();
    let mut command = Command::new("chrt");
    command.args(["--fifo", "--pid", "10", &thread]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
