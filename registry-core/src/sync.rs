//! The only module that names locks, atomics and threads, so that a model checker can replace them.
//!
//! Nothing else in the crate names `std::sync::Mutex`, `std::sync::atomic` or `std::thread`. With
//! `--cfg registry_loom` every schedule of a few threads is tried on the kernels, with `--cfg
//! registry_shuttle` random schedules on the whole registry. `Arc` and `OnceLock` stay std's: no
//! decision depends on a reference count, and a wire is attached once.

#[cfg(registry_loom)]
use loom as checker;
#[cfg(registry_shuttle)]
use shuttle as checker;
#[cfg(not(any(registry_loom, registry_shuttle)))]
use std as checker;

pub(crate) use checker::sync::MutexGuard;
pub(crate) use checker::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
pub(crate) use checker::thread::ThreadId;
pub(crate) use checker::thread_local;
use std::sync::TryLockError;

/// A mutex without poisoning: no application code runs under a lock of this crate, so a panic
/// cannot leave half a change behind. (The write of a wire does, and must not panic.)
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(checker::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(checker::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Names the running thread.
pub(crate) fn current_thread() -> ThreadId {
    checker::thread::current().id()
}

#[cfg(all(test, registry_loom))]
pub(crate) mod model;
