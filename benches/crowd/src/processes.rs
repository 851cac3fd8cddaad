//! The processes of the show: the demo, and two of clients.

use crate::board::Board;
use crate::clients::Plan;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The resources that a process uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: usize,
}

/// The demo.
pub(crate) struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pid: u32,
    pub(crate) address: SocketAddr,
}

impl Demo {
    pub(crate) async fn start(program: &Path) -> Result<Self, String> {
        let mut child = Command::new(program)
            .args(["--listen", "127.0.0.1:0", "--open"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let (mut lines, pid) = (lines(&mut child)?, child.id().ok_or("the demo is gone")?);
        let line = lines.next_line().await.map_err(words)?.unwrap_or_default();
        let address = line.rsplit('/').next().and_then(|text| text.parse().ok());
        Ok(Self {
            child,
            lines,
            pid,
            address: address.ok_or("the demo does not print where it listens")?,
        })
    }

    pub(crate) fn usage(&self) -> Result<Usage, String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).map_err(words)?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid)).map_err(words)?.count();
        Ok(Usage { resident_kib: resident.ok_or("no VmRSS")?, descriptors })
    }

    /// The bytes that the kernel holds for peers on these ports and has not seen acknowledged.
    pub(crate) fn unsent(&self, peers: &[u16]) -> Result<BTreeMap<u16, u64>, String> {
        let table = fs::read_to_string("/proc/net/tcp").map_err(words)?;
        let mut unsent = BTreeMap::new();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().take(5).collect();
            let port = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
            let [_, local, remote, _, queues] = fields[..] else { continue };
            let (Some(local), Some(remote)) = (port(local), port(remote)) else { continue };
            if local == self.address.port() && peers.contains(&remote) {
                let sending = queues.split(':').next().unwrap_or_default();
                unsent.insert(remote, u64::from_str_radix(sending, 16).map_err(words)?);
            }
        }
        Ok(unsent)
    }

    /// Sends SIGTERM and waits; returns the last line of its output, and its exit status.
    pub(crate) async fn terminate(mut self) -> Result<(String, ExitStatus), String> {
        let killed = Command::new("kill")
            .args(["-TERM", &self.pid.to_string()])
            .status()
            .await
            .map_err(words)?;
        if !killed.success() {
            return Err("no such process".into());
        }
        let status = self.child.wait().await.map_err(words)?;
        Ok((self.lines.next_line().await.map_err(words)?.unwrap_or_default(), status))
    }
}

/// One process of clients.
pub(crate) struct Clients {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Clients {
    pub(crate) fn start(transport: &str, plan: &Plan) -> Result<Self, String> {
        let mut child = Command::new(std::env::current_exe().map_err(words)?)
            .args(["clients", "--to", &plan.to.to_string(), "--transport", transport])
            .args([
                "--connections",
                &plan.connections.to_string(),
                "--accounts",
                &plan.accounts.to_string(),
            ])
            .args(["--stalled", &plan.stalled.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(words)?;
        let (lines, input) = (lines(&mut child)?, child.stdin.take().ok_or("no input")?);
        Ok(Self { child, input, lines })
    }

    /// Asks for the counts.
    pub(crate) async fn board(&mut self) -> Result<Board, String> {
        self.input.write_all(b"\n").await.map_err(words)?;
        let line =
            self.lines.next_line().await.map_err(words)?.ok_or("a process of clients is gone")?;
        serde_json::from_str(&line).map_err(words)
    }

    /// Ends the process, and with it its connections.
    pub(crate) async fn end(mut self) -> Result<(), String> {
        drop(self.input);
        self.child.wait().await.map(drop).map_err(words)
    }
}

fn lines(child: &mut Child) -> Result<Lines<BufReader<ChildStdout>>, String> {
    child.stdout.take().map(|out| BufReader::new(out).lines()).ok_or_else(|| "no output".into())
}
