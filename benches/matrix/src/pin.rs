//! Which process runs where, and for how long.

use crate::Result;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::ffi::OsStr;
use std::process::{Child, Command};

/// One core for the server, another for its clients.
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) client: usize,
}

impl Cores {
    /// Takes the first and the last core that this process may use.
    pub(crate) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        match (cores.next(), cores.next_back()) {
            (Some(server), Some(client)) => Ok(Self { server, client }),
            _ => Err("a server and its clients need a core each, and there is only one".into()),
        }
    }
}

/// A command whose process does not outlive this one, whatever ends it: `setpriv`, of util-linux,
/// asks the kernel for that.
pub(crate) fn bound(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

/// Starts a program on one core: it inherits the place of the thread that starts it.
pub(crate) fn spawn_on(core: usize, command: &mut Command) -> Result<Child> {
    let before = sched_getaffinity(None)?;
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only)?;
    let child = command.spawn();
    sched_setaffinity(None, &before)?;
    child.map_err(|error| {
        format!("cannot start {}: {error}", command.get_program().display()).into()
    })
}

/// Lets this process and those it starts open as many sockets as the machine allows.
pub(crate) fn allow_descriptors() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
