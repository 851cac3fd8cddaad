//! Runs application code and contains its panics (ISO-8).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Runs `code`; `None` when it panicked.
///
/// Unwind safety is asserted because callers hold no lock and leave no value of the crate half
/// changed while application code runs.
pub(crate) fn contain<R>(code: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // The payload is the application's too: its destructor may panic in turn. The payload
            // of that panic is leaked.
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                Box::leak(again);
            }
            None
        }
    }
}

/// Drops values of the application; a panicking destructor is contained.
pub(crate) fn discard<V>(value: V) {
    if std::mem::needs_drop::<V>() {
        contain(|| drop(value));
    }
}

/// Runs what a destructor of the crate does. While the thread unwinds, a second panic would end the
/// process and hide the first, so it is contained.
pub(crate) fn in_drop(work: impl FnOnce()) {
    if std::thread::panicking() {
        contain(work);
    } else {
        work();
    }
}

/// Wakes tasks; a panicking waker is contained.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        contain(|| waker.wake());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken;

    impl Drop for Broken {
        fn drop(&mut self) {
            in_drop(|| panic!("the second"));
        }
    }

    #[test]
    fn iso_8_a_destructor_of_the_library_that_panics_hides_no_panic_before_it() {
        let first = catch_unwind(|| {
            let _broken = Broken;
            panic!("the first");
        });
        assert_eq!(first.unwrap_err().downcast_ref::<&str>(), Some(&"the first"));
        let alone = catch_unwind(|| drop(Broken));
        assert_eq!(
            alone.unwrap_err().downcast_ref::<&str>(),
            Some(&"the second"),
            "a single panic is not contained"
        );
    }
}
