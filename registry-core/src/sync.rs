//! The one door to locks, atomics and threads, so that a model checker can stand behind it.
//!
//! Nothing else in the crate names `std::sync::Mutex`, `std::sync::atomic` or `std::thread`. `Arc` stays std's: no
//! decision of ours hangs on a reference count.

pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::thread::ThreadId;

pub(crate) use std::sync::MutexGuard;

/// A mutex without poisoning: no foreign code ever runs under one of ours, so a panic cannot leave half a change behind.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

/// Names the running thread.
pub(crate) fn current_thread() -> ThreadId {
    std::thread::current().id()
}
