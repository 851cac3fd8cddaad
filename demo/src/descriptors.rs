//! How many connections the process may hold.

/// Takes as many descriptors as the system grants this process: a stream needs one.
#[cfg(unix)]
pub fn take_all_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused, the limit stays what it is.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Takes as many descriptors as the system grants this process: here it sets no limit of that kind.
#[cfg(not(unix))]
pub fn take_all_descriptors() {}
