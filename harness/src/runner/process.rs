//! The process of an adapter: its lines in and out, and its end.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::group::Group;
use crate::clock::Started;

/// The longest line that is read: 800 bytes for each sink call that the fuel of a script allows.
pub(super) const LINE_BYTES: usize = 16 << 20;

/// So many lines of standard output wait to be looked at.
const WAITING_LINES: usize = 8;

/// So many lines of standard error are kept. Of a longer one the rest counts as the next.
const STDERR_LINES: usize = 20;

/// See [`STDERR_LINES`].
const STDERR_BYTES: usize = 4 << 10;

/// An adapter that has closed its output may take so long to exit.
const LEAVING: Duration = Duration::from_secs(1);

pub(super) struct Process {
    child: Child,
    /// What the child starts is in it too.
    group: Group,
    /// To the thread that writes: an adapter that does not read must not hold the runner.
    pub(super) requests: Sender<String>,
    pub(super) lines: Receiver<String>,
    stderr: Arc<Mutex<VecDeque<String>>>,
    /// Keeps those lines.
    keeper: JoinHandle<()>,
    /// Nothing was asked of it yet but its name.
    pub(super) fresh: bool,
}

/// Hands on what comes line by line, whatever its bytes are, until it ends or is not wanted any
/// more. What has more bytes than `most` comes in pieces, so that an output without end takes no
/// memory without end.
fn read_lines(from: impl Read, most: usize, mut wanted: impl FnMut(String) -> bool) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.by_ref().take(most as u64).read_until(b'\n', &mut line).is_ok_and(|read| read > 0)
        && wanted(String::from_utf8_lossy(&line).trim_end().to_owned())
    {
        line.clear();
    }
}

impl Process {
    pub(super) fn start(command: &[String]) -> Result<Self, String> {
        let (program, arguments) = command.split_first().ok_or("no command given")?;
        let failed = |error| format!("{program:?} could not be started: {error}");
        let group =
            Group::new().map_err(|error| format!("\"sh\" could not be started: {error}"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = group.spawn(&mut command).map_err(failed)?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("its standard streams are missing".into());
        };
        let (requests, pending) = channel::<String>();
        std::thread::spawn(move || {
            // A failure to write shows as the end of its output.
            for line in pending {
                if stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).is_err() {
                    break;
                }
            }
        });
        let (sender, lines) = sync_channel(WAITING_LINES);
        std::thread::spawn(move || {
            read_lines(stdout, LINE_BYTES, |line| sender.send(line).is_ok())
        });
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let keep = Arc::clone(&kept);
        let keeper = std::thread::spawn(move || {
            read_lines(stderr, STDERR_BYTES, |line| {
                let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == STDERR_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
                true
            });
        });
        Ok(Self { child, group, requests, lines, stderr: kept, keeper, fresh: true })
    }

    /// How many bytes it has in memory, with what it has started.
    pub(super) fn memory(&self) -> u64 {
        self.group.memory()
    }

    /// Waits for its exit and for its last lines, but not for ever: it may have closed its output
    /// and live on.
    #[expect(
        clippy::disallowed_methods,
        reason = "there is no event for the end of a process that can be waited for briefly"
    )]
    pub(super) fn how_it_ended(&mut self) -> String {
        let started = Started::now();
        let mut status = None;
        while (status.is_none() || !self.keeper.is_finished()) && started.ago() < LEAVING {
            status = status.or_else(|| self.child.try_wait().ok().flatten());
            std::thread::sleep(Duration::from_millis(5));
        }
        let how = status.map(|status| status.to_string());
        let how = how.unwrap_or_else(|| "it closed its standard output and did not exit".into());
        how + &self.last_words()
    }

    pub(super) fn last_words(&self) -> String {
        let said = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_empty() {
            return String::new();
        }
        let lines: String = said.iter().map(|line| format!("\n    {line}")).collect();
        format!("; on standard error:{lines}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A polite end first would have to be waited for; an adapter holds nothing that needs one.
        // What it has started ends with its group.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
