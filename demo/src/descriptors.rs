//! How many connections the process may hold.

use std::num::NonZeroUsize;

/// Descriptors that are left to all else: 1,024 connections that were refused and read their answer, and 64 for files and for
/// what the runtime opens.
const RESERVE: usize = 1024 + 64;

/// The least that is left to all else.
const LEAST_RESERVE: usize = 64;

/// Takes as many descriptors as the system grants this process, since a stream needs one; returns how many it has then,
/// where the system has a limit of that kind.
#[cfg(unix)]
pub fn take_all_descriptors() -> Option<usize> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused, the limit stays what it is.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.and_then(|descriptors| usize::try_from(descriptors).ok())
}

/// Takes as many descriptors as the system grants this process: here it sets no limit of that kind.
#[cfg(not(unix))]
pub fn take_all_descriptors() -> Option<usize> {
    None
}

/// Returns how many connections fit into so many descriptors, with a reserve: an eighth of them, at least 64, at most 1,088.
/// Without the reserve the last connections would wait without an answer; with it, a `503` tells them when to come back.
#[must_use]
pub fn connections_within(descriptors: usize) -> NonZeroUsize {
    let reserve = (descriptors / 8).clamp(LEAST_RESERVE, RESERVE);
    NonZeroUsize::new(descriptors.saturating_sub(reserve)).unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_a_reserve() {
        for (descriptors, connections) in
            [(0, 1), (64, 1), (65, 1), (66, 2), (300, 236), (1024, 896), (20_000, 18_912), (1 << 20, (1 << 20) - 1088)]
        {
            assert_eq!(connections_within(descriptors).get(), connections, "{descriptors}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_limit_that_was_taken_is_told() {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let taken = take_all_descriptors();
        assert_eq!(taken, limit.and_then(|descriptors| usize::try_from(descriptors).ok()));
    }
}
