//! `replay`: one script in full view.

use std::io::stdout;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::options::Options;
use super::saved::read_saved;
use super::{Problem, adapter, cut, say, say_error, show};
use crate::campaign::{Answer, Driver, UNANSWERED};
use crate::protocol::{PROTOCOL, Request};
use crate::runner::stop::Stop;
use crate::runner::{Deadlines, Exit, Paint};
use crate::{oracle, pretty};

pub(super) fn replay(options: Options, stop: &Stop) -> Result<Exit, Problem> {
    let [file] = options.files.as_slice() else {
        return Err(Problem::Usage("replay takes one file, before `--`".into()));
    };
    let saved = read_saved(Path::new(file)).map_err(Problem::Usage)?;
    if options.lines {
        let deadlines = Deadlines::default();
        let patience_ms = options.patience.as_millis() as u64;
        let requests = [
            Request::Hello { protocol: PROTOCOL },
            Request::Run { id: 1, fuel: deadlines.fuel, patience_ms, script: saved.script },
            Request::Bye,
        ];
        for request in requests {
            say(&serde_json::to_string(&request)?);
        }
        return Ok(Exit::Conforming);
    }
    let (mut adapter, hello) = adapter(&options, stop)?;
    let paint = Paint::to(&stdout());
    show(&pretty::script(&saved.script));
    say("");
    let answer = {
        let _watch = Watch::begin(adapter.longest(&saved.script, true));
        adapter.run(&saved.script)
    };
    match answer {
        Answer::Trace(trace) => {
            let verdict = oracle::judge_claims(&saved.script, &trace, &hello);
            let (at, mark) = match verdict.first() {
                Some(violation) => (violation.at, paint.red("► ")),
                None => (trace.len(), "  ".to_owned()),
            };
            show(&pretty::trace(&saved.script, &trace, at, &mark));
            if let Some(why) = verdict.nonsense {
                return Err(Problem::Adapter(format!("the trace makes no sense: {why}")));
            }
            for violation in verdict.all() {
                let cause = format!("{}: {}", violation.requirement, cut(&violation.cause));
                show(&paint.red(&cause));
            }
            let broken = verdict.violation.is_some()
                || verdict.all().any(|found| found.requirement == saved.requirement);
            if !broken {
                show(&paint.green(&format!("{} is not broken by this script", saved.requirement)));
            }
            Ok(if broken { Exit::Failures } else { Exit::Conforming })
        }
        Answer::Unsupported(need) => Err(Problem::Adapter(format!("the adapter lacks {need}"))),
        Answer::Missing(how) if UNANSWERED.contains(&saved.requirement.as_str()) => {
            let cause = format!("{}: the script never ended: {}", saved.requirement, cut(&how));
            show(&paint.red(&cause));
            Ok(Exit::Failures)
        }
        Answer::Fault(why) | Answer::Missing(why) => Err(Problem::Adapter(why)),
    }
}

/// An answer that takes longer is spoken of.
const SILENCE: Duration = Duration::from_secs(2);

/// Says what is waited for, if it takes a while.
struct Watch(#[expect(dead_code, reason = "its end is what the other thread hears of")] Sender<()>);

impl Watch {
    fn begin(longest: Duration) -> Self {
        let (held, over) = channel();
        std::thread::spawn(move || {
            if over.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
                say_error(&format!(
                    "waiting for the adapter's answer, for {} s at most",
                    longest.as_secs()
                ));
            }
        });
        Self(held)
    }
}
