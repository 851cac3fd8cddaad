//! A foreign process that speaks the protocol.
//!
//! Deadlines are the runner's: an adapter that dies or does not answer is started again, and the
//! one script is to blame. What it writes to standard output that is not a JSON object is a
//! warning.

use std::fmt;
use std::io::Write;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::process::{LINE_BYTES, Process};
use super::stop::Stop;
use crate::campaign::{Answer, Driver};
use crate::clock::Started;
use crate::features::{Feature, Features};
use crate::protocol::{Hello, PROTOCOL, Reply, Request};
use crate::script::Script;
use crate::trace::Event;

/// Deadlines and bounds.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For the hello: an interpreter may have to compile.
    pub hello: Duration,
    /// For a script. The very first one has twice as long, and twice what the hello took.
    pub each: Duration,
    /// How long a thread may wait.
    pub patience: Duration,
    /// Sink calls in one script.
    pub fuel: u32,
    /// How many bytes the processes of the adapter may have in memory, where the system tells.
    pub memory: u64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(60),
            each: Duration::from_secs(5),
            patience: Duration::from_secs(2),
            fuel: 20_000,
            memory: 1 << 30,
        }
    }
}

/// So often the runner looks, while it waits, for signals and at the memory of the adapter.
const LOOK: Duration = Duration::from_millis(100);

/// And after so many scripts at the latest.
const LOOK_EVERY: u64 = 256;

/// So many times less is waited for what a script does not do that has failed before.
const HURRY: u32 = 5;

/// What some editors and languages put before a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The warning about it, which is given once.
const MARK_SKIPPED: &str =
    "standard output begins with a byte order mark, which is skipped: write UTF-8 without one";

/// A driver over another process.
pub struct Adapter {
    command: Vec<String>,
    deadlines: Deadlines,
    process: Option<Process>,
    next: u64,
    /// The last answered request.
    answered: u64,
    /// Divides what scripts may take.
    pace: u32,
    /// How long the first script of the first process may take: an interpreter gets going.
    first: Duration,
    /// How long the first script of a process took, once one has been answered.
    warming: Option<Duration>,
    warnings: Vec<String>,
    strays: Strays,
    transcript: Option<Box<dyn Write + Send>>,
    stop: Stop,
}

/// Lines on standard output that are no messages.
#[derive(Default)]
struct Strays {
    first: String,
    count: u64,
}

/// What a read came to.
enum Heard {
    Reply(Box<Reply>),
    /// It ended, or did what ends it.
    Ended(String),
    Silent,
    Garbled(String),
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Adapter");
        shown.field("command", &self.command).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Adapter {
    /// An adapter that is started by this command.
    #[must_use]
    pub fn new(command: Vec<String>, deadlines: Deadlines) -> Self {
        Self {
            command,
            deadlines,
            process: None,
            next: 1,
            answered: 0,
            pace: 1,
            first: 2 * deadlines.each,
            warming: None,
            warnings: Vec::new(),
            strays: Strays::default(),
            transcript: None,
            stop: Stop::default(),
        }
    }

    /// Answers no more, at once, when it is asked to stop.
    pub(super) fn until(mut self, stop: &Stop) -> Self {
        self.stop = stop.clone();
        self
    }

    /// Writes down every line to it, after `> `, and from it, after `< `.
    #[must_use]
    pub fn transcript(mut self, to: impl Write + Send + 'static) -> Self {
        self.transcript = Some(Box::new(to));
        self
    }

    fn note(&mut self, mark: char, line: &str) {
        let Some(to) = &mut self.transcript else { return };
        if let Err(error) = writeln!(to, "{mark} {line}") {
            self.warnings.push(format!("the transcript ends here: {error}"));
            self.transcript = None;
        }
    }

    /// What is odd about it so far, without being wrong.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let Strays { first, count } = &self.strays;
        let strays = match count {
            0 => None,
            1 => Some(format!("a line on standard output is no message: {first:?}")),
            _ => Some(format!(
                "{count} lines on standard output are no messages, the first of them {first:?}"
            )),
        };
        let advice = "standard output is for messages; write everything else to standard error";
        let strays = strays.map(|strays| format!("{strays} ({advice})"));
        strays.into_iter().chain(self.warnings.iter().cloned()).collect()
    }

    /// How long the answer to a script may take at most, in a process that is just started or in
    /// any other.
    #[must_use]
    pub fn longest(&self, script: &Script, fresh: bool) -> Duration {
        let Deadlines { each, patience, .. } = self.deadlines;
        let (each, patience) = (each / self.pace, patience / self.pace);
        let usual = match self.warming {
            None if fresh => self.first,
            // It was seen how long an interpreter takes to get going.
            Some(warming) if fresh => self.first.min(each + 2 * warming),
            _ => each,
        };
        if Features::of(script).any(&[Feature::Gated, Feature::Free]) {
            usual + 3 * patience
        } else {
            usual
        }
    }

    /// Starts the adapter, if it is not running, and asks for its name.
    ///
    /// # Errors
    ///
    /// If it cannot be started or does not answer properly, in words.
    pub fn hello(&mut self) -> Result<Hello, String> {
        // First what was there ends.
        self.process = None;
        self.process = Some(Process::start(&self.command)?);
        let began = Started::now();
        self.write(&Request::Hello { protocol: PROTOCOL })?;
        match self.read(self.deadlines.hello) {
            Heard::Reply(reply) => match *reply {
                Reply::Hello(hello) if hello.protocol == PROTOCOL => {
                    self.first = 2 * (self.deadlines.each + began.ago());
                    Ok(hello)
                }
                Reply::Hello(hello) => Err(format!(
                    "it speaks protocol {}, this suite speaks {PROTOCOL}",
                    hello.protocol
                )),
                other => Err(format!("it answered hello with {other:?}")),
            },
            Heard::Ended(how) => Err(format!("it ended instead of answering hello: {how}")),
            Heard::Silent => Err(format!(
                "it did not answer hello within {} s (is its output flushed after each line?){}",
                self.deadlines.hello.as_secs(),
                self.last_words()
            )),
            Heard::Garbled(what) => Err(what),
        }
    }

    fn write(&mut self, request: &Request) -> Result<(), String> {
        let mut line = serde_json::to_string(request).map_err(|error| error.to_string())?;
        self.note('>', &line);
        line.push('\n');
        let process = self.process.as_mut().ok_or("it is not running")?;
        // If the writing thread is gone, so is the process, as reading will show.
        let _ = process.requests.send(line);
        Ok(())
    }

    /// Reads until a message comes; other lines become warnings.
    fn read(&mut self, deadline: Duration) -> Heard {
        let started = Started::now();
        loop {
            let Some(process) = &self.process else {
                return Heard::Ended("it is not running".into());
            };
            let left = deadline.saturating_sub(started.ago());
            // What is queued would be handed out even then, for ever if it writes faster than it is
            // read.
            if left.is_zero() {
                return Heard::Silent;
            }
            if self.stop.exit().is_some() {
                return Heard::Ended("the runner was stopped".into());
            }
            let mut line = process.lines.recv_timeout(left.min(LOOK));
            if let Ok(line) = &mut line {
                self.note('<', line);
                if line.starts_with(BYTE_ORDER_MARK) {
                    line.drain(..BYTE_ORDER_MARK.len_utf8());
                    if !self.warnings.iter().any(|own| own == MARK_SKIPPED) {
                        self.warnings.push(MARK_SKIPPED.to_owned());
                    }
                }
            }
            match line {
                Ok(line) if line.len() >= LINE_BYTES => {
                    let most = LINE_BYTES >> 20;
                    return Heard::Garbled(format!(
                        "it wrote a line of more than {most} MiB to its standard output"
                    ));
                }
                Ok(line) if line.starts_with('{') => {
                    return match serde_json::from_str(&line) {
                        Ok(reply) => Heard::Reply(Box::new(reply)),
                        Err(error) => {
                            let start: String = line.chars().take(200).collect();
                            Heard::Garbled(format!(
                                "it wrote what the protocol does not have: {error}: {start}"
                            ))
                        }
                    };
                }
                Ok(line) if line.is_empty() => {}
                Ok(line) => {
                    if self.strays.count == 0 {
                        self.strays.first = line.chars().take(200).collect();
                    }
                    self.strays.count += 1;
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(why) = self.overgrown() {
                        return Heard::Ended(why);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let how = self.process.as_mut().map(Process::how_it_ended);
                    return Heard::Ended(how.unwrap_or_default());
                }
            }
        }
    }

    /// Whether it takes so much memory that it is not left to live on.
    fn overgrown(&self) -> Option<String> {
        let most = self.deadlines.memory;
        let too_much = self.process.as_ref()?.memory() > most;
        let most = most >> 20;
        too_much.then(|| format!("it was killed, because it had more than {most} MiB in memory"))
    }

    fn last_words(&self) -> String {
        self.process.as_ref().map(Process::last_words).unwrap_or_default()
    }

    fn reply(&mut self, id: u64, reply: Reply) -> Answer {
        let (of, answer) = match reply {
            Reply::Trace { id, events } => (Some(id), Answer::Trace(events)),
            Reply::Unsupported { id, need } => (Some(id), Answer::Unsupported(need)),
            Reply::AdapterError { id, message } => {
                let why = format!("the adapter reports its own failure: {message}");
                (id, Answer::Fault(why))
            }
            Reply::Hello(_) => {
                return Answer::Fault("the adapter said hello again, unasked".into());
            }
        };
        match of {
            Some(of) if of != id && of == self.answered => {
                Answer::Fault(format!("the adapter answered request {of} twice"))
            }
            Some(of) if of != id => {
                Answer::Fault(format!("the adapter answered request {of}, but was asked {id}"))
            }
            _ => {
                self.answered = id;
                answer
            }
        }
    }
}

impl Driver for Adapter {
    fn run(&mut self, script: &Script) -> Answer {
        if self.stop.exit().is_some() {
            return Answer::Missing("the runner was stopped".into());
        }
        if self.process.is_none()
            && let Err(why) = self.hello()
        {
            return Answer::Fault(why);
        }
        let id = self.next;
        self.next += 1;
        let patience_ms = (self.deadlines.patience / self.pace).as_millis() as u64;
        let request =
            Request::Run { id, fuel: self.deadlines.fuel, patience_ms, script: script.clone() };
        let fresh = self
            .process
            .as_mut()
            .is_some_and(|process| std::mem::replace(&mut process.fresh, false));
        let deadline = self.longest(script, fresh);
        let began = Started::now();
        if let Err(why) = self.write(&request) {
            self.process = None;
            return Answer::Missing(why);
        }
        let mut answer = match self.read(deadline) {
            Heard::Reply(reply) => self.reply(id, *reply),
            Heard::Ended(how) => Answer::Missing(format!("the adapter died: {how}")),
            Heard::Silent => Answer::Missing(format!(
                "the adapter did not answer within {} s{}",
                deadline.as_secs(),
                self.last_words()
            )),
            Heard::Garbled(what) => Answer::Fault(what),
        };
        if fresh && matches!(answer, Answer::Trace(_)) {
            self.warming.get_or_insert(began.ago());
        }
        if id.is_multiple_of(LOOK_EVERY)
            && let Some(why) = self.overgrown()
        {
            answer = Answer::Fault(format!("the adapter, after {id} scripts: {why}"));
        }
        match &answer {
            Answer::Trace(trace) if !trace.contains(&Event::Fuel) => {}
            Answer::Unsupported(_) => {}
            // Whatever state it is in, the next script gets a fresh one.
            _ => self.process = None,
        }
        answer
    }

    fn forget(&mut self) -> bool {
        self.process = None;
        true
    }

    fn hurry(&mut self, hurry: bool) {
        self.pace = if hurry { HURRY } else { 1 };
    }

    fn stopped(&self) -> bool {
        self.stop.exit().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn queued_lines_do_not_extend_a_deadline() {
        let mut adapter = Adapter::new(vec!["true".into()], Deadlines::default());
        let mut process = Process::start(&adapter.command).unwrap();
        let (sender, lines) = channel();
        (0..3).for_each(|_| sender.send("noise".to_owned()).unwrap());
        process.lines = lines;
        adapter.process = Some(process);
        assert!(matches!(adapter.read(Duration::ZERO), Heard::Silent));
        assert_eq!(
            adapter.strays.count, 0,
            "noise that is there already is read for as long as there is any"
        );
    }
}
