//! What registries share that should share nothing.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use super::registry::{Cast, Specimen};

/// Broadcasts of several registries, and whether somebody delivers them.
#[derive(Default)]
pub(super) struct Hub(Mutex<(VecDeque<(Specimen, Cast)>, bool)>);

impl Hub {
    /// Delivers what waits, whosever it is, unless somebody does.
    pub(super) fn deliver(&self, registry: &Specimen, cast: Cast) {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut all = lock();
            all.0.push_back((registry.clone(), cast));
            if std::mem::replace(&mut all.1, true) {
                return;
            }
        }
        loop {
            let next = {
                let mut all = lock();
                let next = all.0.pop_front();
                all.1 = next.is_some();
                next
            };
            let Some((registry, cast)) = next else { return };
            let _ = registry.deliver(&cast);
        }
    }
}
