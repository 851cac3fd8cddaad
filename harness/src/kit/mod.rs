//! Suites for Rust: [`sink_suite!`](crate::sink_suite) for sinks and transports, and, with the
//! feature `conformance`, [`registry_suite!`](crate::registry_suite) for registries. Each expands
//! to one `#[test]` per requirement over the plain public functions in here.
//!
//! No check waits for ever. One that is right takes milliseconds; one whose sink or registry loses
//! a message, or never returns from a call, fails after the patience of its rig, and names what it
//! waited for.

#[cfg(feature = "conformance")]
pub mod registry;
pub mod sink;

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

/// What a check says: nothing, or what is wrong.
pub type Verdict = Result<(), String>;

/// How long a check may take, unless its rig says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a watched check says meanwhile, and whom it tells.
struct Watch {
    waits_for: Arc<Mutex<String>>,
    tells: mpsc::Sender<Said>,
}

enum Said {
    Patience(Duration),
    Verdict(Verdict),
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Runs a check of a requirement on a thread of its own, and waits for it for at most `patience`.
/// What has not ended by then is left behind: its thread lives on, and the verdict names what it
/// waited for. A panic is a failure too.
///
/// # Errors
///
/// What the check says, or that it did not end. Both begin with the requirement.
///
/// ```
/// use std::time::Duration;
/// use harness::kit::{waits_for, watched};
///
/// let verdict = watched("REV-1", Duration::from_millis(50), || {
///     waits_for("`close_by_identity`");
///     loop { std::thread::park() }
/// });
/// assert_eq!(verdict, Err("REV-1: waited 50ms for `close_by_identity`".to_owned()));
/// ```
pub fn watched(
    requirement: &str,
    mut patience: Duration,
    check: impl FnOnce() -> Verdict + Send + 'static,
) -> Verdict {
    let (tells, heard) = mpsc::channel();
    let waits_for = Arc::new(Mutex::new("the check to begin".to_owned()));
    let watch = Watch { waits_for: Arc::clone(&waits_for), tells: tells.clone() };
    let own = requirement.to_owned();
    thread::spawn(move || {
        WATCH.set(Some(watch));
        let verdict = catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("{own}: a panic came through: {}", said.unwrap_or_default()))
        });
        let _ = tells.send(Said::Verdict(verdict));
    });
    loop {
        match heard.recv_timeout(patience) {
            Ok(Said::Verdict(verdict)) => return verdict,
            Ok(Said::Patience(own)) => patience = own,
            Err(_) => {
                let what = waits_for.lock().unwrap_or_else(PoisonError::into_inner);
                return Err(format!("{requirement}: waited {patience:?} for {what}"));
            }
        }
    }
}

/// Says what a check waits for from here on, if somebody watches it.
pub fn waits_for(what: impl Into<String>) {
    WATCH.with_borrow(|watch| {
        if let Some(Watch { waits_for, .. }) = watch {
            *waits_for.lock().unwrap_or_else(PoisonError::into_inner) = what.into();
        }
    });
}

/// Has the watch wait for so long, from now on.
#[doc(hidden)]
pub fn is_patient(patience: Duration) {
    WATCH.with_borrow(|watch| {
        let _ = watch.as_ref().map(|watch| watch.tells.send(Said::Patience(patience)));
    });
}

/// Runs a future on this thread, for suites that bring no runtime.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        thread::park();
    }
}
