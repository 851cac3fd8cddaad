//! `replay` and `doctor`: one script, or a few tiny ones, in full view.

use std::{
    collections::BTreeSet,
    io::{Write as _, stdout},
    path::Path,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    time::Duration,
};

use super::{Problem, adapter, colours, options::Options, saved::read_saved, say, say_error};
use crate::{
    campaign::{Answer, Driver, LOST},
    oracle, pretty,
    protocol::{PROTOCOL, Request},
    runner::{Deadlines, Exit, Paint},
    script::{Act, Ending, Hook, Op, Registration, Rule, Script, SinkScript},
};

pub(super) fn replay(options: Options) -> Result<Exit, Problem> {
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
            say(&serde_json::to_string(&request).map_err(|error| Problem::Usage(error.to_string()))?);
        }
        return Ok(Exit::Conforming);
    }
    let (mut adapter, hello) = adapter(&options)?;
    say(&pretty::script(&saved.script));
    let answer = {
        let _watch = Watch::begin(adapter.longest(&saved.script, true));
        adapter.run(&saved.script)
    };
    match answer {
        Answer::Trace(trace) => {
            let verdict = oracle::judge_claims(&saved.script, &trace, &hello);
            let paint = Paint { colours: colours(&stdout()) };
            let first = verdict.first();
            let at = first.map_or(usize::MAX, |violation| violation.at);
            let mark = paint.red("► ");
            let at = if first.is_none() { trace.len() } else { at };
            let page = pretty::trace(&saved.script, &trace, at, if first.is_none() { "  " } else { &mark });
            let _ = write!(stdout(), "{page}");
            if let Some(why) = verdict.nonsense {
                return Err(Problem::Adapter(format!("the trace makes no sense: {why}")));
            }
            for violation in verdict.all() {
                say(&paint.red(&format!("{}: {}", violation.requirement, violation.cause)));
            }
            let broken =
                verdict.violation.is_some() || verdict.all().any(|found| found.requirement == saved.requirement);
            if !broken {
                say(&paint.green(&format!("{} is not broken by this script", saved.requirement)));
            }
            Ok(if broken { Exit::Failures } else { Exit::Conforming })
        }
        Answer::Unsupported(need) => Err(Problem::Adapter(format!("the adapter lacks {need}"))),
        Answer::Lost(how) if LOST.contains(&saved.requirement.as_str()) => {
            let paint = Paint { colours: colours(&stdout()) };
            say(&paint.red(&format!("{}: the script never ended: {how}", saved.requirement)));
            Ok(Exit::Failures)
        }
        Answer::Fault(why) | Answer::Lost(why) => Err(Problem::Adapter(why)),
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
                say_error(&format!("waiting for the adapter's answer, for {} s at most", longest.as_secs()));
            }
        });
        Self(held)
    }
}

pub(super) fn doctor(options: Options) -> Result<Exit, Problem> {
    let (mut adapter, hello) = adapter(&options)?;
    let paint = Paint { colours: colours(&stdout()) };
    let core = BTreeSet::from(["core".to_owned()]);
    let offered: Vec<&str> = core.union(&hello.profiles).chain(&hello.features).map(String::as_str).collect();
    say(&format!("hello: {}, offers {}", hello.title(), offered.join(" ")));
    for (name, script) in tiny() {
        let problem = match adapter.run(&script) {
            Answer::Trace(trace) => {
                let verdict = oracle::judge_claims(&script, &trace, &hello);
                // What only a special circumstance brings out is the registry's, and `run` will say so.
                let plain = script.sinks.is_empty();
                let wrong = verdict.first().filter(|_| plain);
                let wrong = wrong.map(|violation| format!("{}: {}", violation.requirement, violation.cause));
                verdict.nonsense.map(|why| format!("the trace makes no sense: {why}")).or(wrong)
            }
            Answer::Unsupported(need) => Some(format!("unsupported: {need}")),
            Answer::Fault(why) | Answer::Lost(why) => Some(why),
        };
        match problem {
            None => say(&format!("{} {name}", paint.green("ok"))),
            Some(why) => {
                say(&format!("{} {name}\n{}", paint.red("no"), pretty::script(&script)));
                return Err(Problem::Adapter(why));
            }
        }
    }
    for warning in adapter.warnings() {
        say(&format!("{} {warning}", paint.yellow("warning:")));
    }
    say("The adapter does what it should; `registry-conform run` judges the registry.");
    Ok(Exit::Conforming)
}

/// What an adapter must get right before it is worth judging a registry.
fn tiny() -> Vec<(&'static str, Script)> {
    let op = Op::new;
    let sub = |id, sub| op(id, Act::Sub { sub, sink: sub, with: Registration::to(&["a"]).group("x") });
    let cast = |id, data: &str| op(id, Act::Cast { channel: "a".into(), data: data.into() });
    let unsub = |id, sub| op(id, Act::Unsub { sub });
    let ruled = |on, ops, then, steps| {
        let sinks = vec![SinkScript { rules: vec![Rule { on, nth: 1, ops, then }] }];
        Script { sinks, ..Script::new(steps) }
    };
    let delivered = || vec![sub(1, 0), cast(2, "m1"), op(3, Act::Settle)];
    let revoked = || vec![sub(1, 0), sub(2, 1), op(3, Act::Revoke { identity: "x".into() })];
    let mut elsewhere = cast(2, "m1");
    elsewhere.registry = 1;
    vec![
        ("a subscriber", Script::new(vec![sub(1, 0)])),
        ("a broadcast", Script::new(delivered())),
        ("an unsubscribe, twice", Script::new(vec![sub(1, 0), unsub(2, 0), unsub(3, 0)])),
        ("an unknown label is skipped", Script::new(vec![unsub(1, 7)])),
        ("a revocation", Script::new(revoked())),
        ("another registry", Script::new(vec![sub(1, 0), elsewhere, op(3, Act::Settle)])),
        ("a call from inside a send", ruled(Hook::Send, vec![unsub(4, 0)], Ending::Ok, delivered())),
        ("a send that throws", ruled(Hook::Send, Vec::new(), Ending::Throw, delivered())),
        ("a close that throws", ruled(Hook::Close, Vec::new(), Ending::Throw, revoked())),
    ]
}
