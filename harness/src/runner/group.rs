//! The processes of an adapter: they end together, and at the latest with this process.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process_group};

/// Ends the group when its standard input ends, as it does when this process was killed. What is
/// sent to the group, or typed at a terminal, does not end it before.
const GUARD: &str = "trap '' HUP INT TERM; read -r _; kill -s KILL 0";

/// A process group. When it is dropped, or this process ends in whatever way, all that runs in it
/// is killed: the adapter and what it has started, but for what has left the group.
pub(super) struct Group {
    /// It leads the group, and holds the end of a pipe from this process.
    guard: Child,
}

impl Group {
    pub(super) fn new() -> io::Result<Self> {
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { guard: guard.process_group(0).spawn()? })
    }

    /// Starts a program in the group.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        command.process_group(self.guard.id() as i32).spawn()
    }

    /// How many bytes its processes have in memory; 0 where the system does not say.
    pub(super) fn memory(&self) -> u64 {
        let Ok(processes) = fs::read_dir("/proc") else { return 0 };
        let stats = processes.flatten().map(|entry| entry.path().join("stat"));
        let pages =
            stats.filter_map(|stat| pages(&fs::read_to_string(stat).ok()?, self.guard.id()));
        pages.sum::<u64>() * rustix::param::page_size() as u64
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The guard is not waited for yet, so its number is nobody else's.
        let _ = kill_process_group(Pid::from_child(&self.guard), Signal::KILL);
        let _ = self.guard.wait();
    }
}

/// The pages in memory that `/proc/…/stat` says of a process, if it is in the group.
fn pages(stat: &str, group: u32) -> Option<u64> {
    // The name, which may contain anything, ends at the last bracket.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(2);
    (fields.next()?.parse() == Ok(group)).then(|| fields.nth(18)?.parse().ok())?
}
