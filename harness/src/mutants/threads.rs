//! What a [`SampleRegistry`](super::sample::SampleRegistry) does on threads of its own.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::thread::{self, ThreadId};
use std::time::Duration;

/// How long a variant waits for what it need not wait for.
pub(super) const MOMENT: Duration = Duration::from_millis(3);

thread_local! {
    /// The threads that wait for this one.
    static CALLERS: RefCell<Vec<ThreadId>> = const { RefCell::new(Vec::new()) };
}

/// Whether what this thread does is part of what that thread does.
pub(super) fn is_part_of(thread: &ThreadId) -> bool {
    *thread == thread::current().id() || CALLERS.with_borrow(|callers| callers.contains(thread))
}

/// Runs all at once, each on a thread of its own, and waits for them.
pub(super) fn at_once<T: Send>(all: impl Iterator<Item = impl FnOnce() -> T + Send>) -> Vec<T> {
    let mut callers = CALLERS.with_borrow(Clone::clone);
    callers.push(thread::current().id());
    thread::scope(|scope| {
        let mut helpers = Vec::new();
        for run in all {
            let callers = callers.clone();
            helpers.push(scope.spawn(move || {
                CALLERS.set(callers);
                run()
            }));
        }
        helpers.into_iter().map(|own| own.join().unwrap_or_else(|why| resume_unwind(why))).collect()
    })
}

/// Runs it on a thread that this one waits for, or else here.
pub(super) fn on_helper<T: Send>(elsewhere: bool, run: impl FnOnce() -> T + Send) -> T {
    if elsewhere { at_once(std::iter::once(run)).remove(0) } else { run() }
}
