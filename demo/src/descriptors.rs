//! How many connections the process may hold.

use std::num::NonZeroUsize;
use transport_core::ServerOptions;

/// Descriptors that are left to all else: the connections that were refused and read their answer,
/// and 64 for files and for what the runtime opens.
const RESERVE: usize = ServerOptions::MAX_REFUSALS + 64;

/// Takes as many descriptors as the system grants this process, since a stream needs one; returns
/// how many it has then, where the system has a limit of that kind.
#[cfg(unix)]
pub fn take_all_descriptors() -> Option<usize> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If the system refuses, the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.and_then(|descriptors| usize::try_from(descriptors).ok())
}

/// Takes as many descriptors as the system grants this process: here it sets no limit of that kind.
#[cfg(not(unix))]
pub fn take_all_descriptors() -> Option<usize> {
    None
}

/// Returns how many connections fit into so many descriptors, with a reserve of 128, or of half
/// where they are fewer than 256. Without the reserve the last connections would wait without an
/// answer; with it, a `503` tells them when to come back.
#[must_use]
pub fn connections_within(descriptors: usize) -> NonZeroUsize {
    NonZeroUsize::new(descriptors - RESERVE.min(descriptors / 2)).unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_a_reserve() {
        for (descriptors, connections) in [
            (0, 1),
            (1, 1),
            (2, 1),
            (100, 50),
            (255, 128),
            (256, 128),
            (300, 172),
            (1024, 896),
            (20_000, 19_872),
        ] {
            assert_eq!(connections_within(descriptors).get(), connections, "{descriptors}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn taking_the_descriptors_returns_the_new_limit() {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let taken = take_all_descriptors();
        assert_eq!(taken, limit.and_then(|descriptors| usize::try_from(descriptors).ok()));
    }
}
