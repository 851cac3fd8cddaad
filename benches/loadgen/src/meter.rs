//! The server's use of the machine, read from `/proc`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::HashMap;
use std::fs::{read_dir, read_to_string};
use std::path::Path;

/// A process and its descendants.
pub(crate) struct Meter {
    pids: Vec<u32>,
}

impl Meter {
    /// Finds the descendants as they are now.
    pub(crate) fn of(pid: Option<u32>) -> Self {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for pid in numbers_in(Path::new("/proc")) {
            if let Some(parent) = parent_of(pid) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut pids: Vec<u32> = pid.into_iter().collect();
        let mut seen = 0;
        while let Some(pid) = pids.get(seen) {
            let more = children.remove(pid).unwrap_or_default();
            pids.extend(more);
            seen += 1;
        }
        Self { pids }
    }

    /// CPU time of all threads so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        let of_thread = |pid: u32, thread: u32| {
            let text = read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        let of_process = |&pid: &u32| -> u64 {
            let threads = numbers_in(Path::new(&format!("/proc/{pid}/task")));
            threads.into_iter().filter_map(|thread| of_thread(pid, thread)).sum()
        };
        self.pids.iter().map(of_process).sum::<u64>() as f64 / 1e9
    }

    /// Memory in bytes, pages that are shared counted in part.
    pub(crate) fn memory(&self) -> u64 {
        self.kilobytes("smaps_rollup", "Pss:") * 1024
    }

    /// Begins a new peak; returns the resident memory that it starts from, in bytes.
    pub(crate) fn forget_peak(&self) -> std::io::Result<u64> {
        self.pids
            .iter()
            .try_for_each(|pid| std::fs::write(format!("/proc/{pid}/clear_refs"), "5"))?;
        Ok(self.peak())
    }

    /// The most resident memory since then, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.kilobytes("status", "VmHWM:") * 1024
    }

    /// The sum of a line that each process has in a file of its own.
    fn kilobytes(&self, file: &str, line: &str) -> u64 {
        let of_process = |pid: &u32| {
            let text = read_to_string(format!("/proc/{pid}/{file}")).ok()?;
            let figure = text.lines().find_map(|candidate| candidate.strip_prefix(line))?;
            figure.split_whitespace().next()?.parse::<u64>().ok()
        };
        self.pids.iter().filter_map(of_process).sum()
    }
}

/// CPU time of this process so far, in seconds.
pub(crate) fn own_cpu() -> f64 {
    Meter { pids: vec![std::process::id()] }.cpu()
}

/// How often this process went to sleep so far, to be woken by the server.
pub(crate) fn own_sleeps() -> u64 {
    let text = read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// Raises the limit on descriptors, if it must be.
pub(crate) fn allow_descriptors(wanted: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        return Err(format!(
            "{wanted} descriptors are needed, and this machine allows {:?}",
            limit.maximum
        ));
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| format!("cannot open {wanted} descriptors: {error}"))
}

fn numbers_in(directory: &Path) -> Vec<u32> {
    let entries = read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let text = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, a bracket and spaces among it.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}
