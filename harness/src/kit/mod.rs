//! Suites for Rust: [`sink_suite!`](crate::sink_suite) for sinks and transports, and, with the
//! feature `conformance`, [`registry_suite!`](crate::registry_suite) for registries. Each expands
//! to one `#[test]` per requirement over the plain public functions in here.

#[cfg(feature = "conformance")]
pub mod registry;
pub mod sink;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

/// What a check says: nothing, or what is wrong.
pub type Verdict = Result<(), String>;

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

/// Waits for an event under a generous bound, on any runtime. The bound is never a verdict on
/// speed: what it cuts off would not have come.
async fn bounded<T>(bound: Duration, future: impl Future<Output = T>) -> Option<T> {
    let (done, waiting) = mpsc::channel::<()>();
    let over = Arc::new(AtomicBool::new(false));
    let mut timer = Some((waiting, Arc::clone(&over)));
    let mut future = pin!(future);
    let outcome = poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        if over.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        if let Some((waiting, over)) = timer.take() {
            let waker = context.waker().clone();
            thread::spawn(move || {
                // Woken early when the other end is dropped.
                if waiting.recv_timeout(bound) == Err(mpsc::RecvTimeoutError::Timeout) {
                    over.store(true, Ordering::Release);
                    waker.wake();
                }
            });
        }
        Poll::Pending
    })
    .await;
    drop(done);
    outcome
}
