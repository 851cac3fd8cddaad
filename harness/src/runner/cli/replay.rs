//! `replay` and `doctor`: one script, or a few tiny ones, in full view.

use std::{
    io::{Write as _, stdout},
    path::Path,
};

use super::{Problem, adapter, colours, options::Options, saved::read_saved, say};
use crate::{
    campaign::{Answer, Driver},
    oracle, pretty,
    protocol::{PROTOCOL, Request},
    runner::{Deadlines, Exit, Paint},
    script::{Act, Op, Registration, Script},
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
    match adapter.run(&saved.script) {
        Answer::Trace(trace) => {
            let verdict = oracle::judge(&saved.script, &trace, &hello.policies);
            let paint = Paint { colours: colours() };
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
            if verdict.violation.is_none() {
                say(&paint.green(&format!("{} is not broken by this script", saved.requirement)));
            }
            Ok(if verdict.violation.is_none() { Exit::Conforming } else { Exit::Failures })
        }
        Answer::Unsupported(need) => Err(Problem::Adapter(format!("the adapter lacks {need}"))),
        Answer::Fault(why) | Answer::Lost(why) => Err(Problem::Adapter(why)),
    }
}

pub(super) fn doctor(options: Options) -> Result<Exit, Problem> {
    let (mut adapter, hello) = adapter(&options)?;
    let paint = Paint { colours: colours() };
    let offered: Vec<&str> = hello.profiles.iter().chain(&hello.features).map(String::as_str).collect();
    say(&format!("hello: {} {} {}, offers core {}", hello.name, hello.version, hello.language, offered.join(" ")));
    let op = Op::new;
    let sub = |id, sub| op(id, Act::Sub { sub, sink: sub, with: Registration::to(&["a"]).group("x") });
    let cast = |id, data: &str| op(id, Act::Cast { channel: "a".into(), data: data.into() });
    let steps = [
        ("a subscriber", vec![sub(1, 0)]),
        ("a broadcast", vec![sub(1, 0), cast(2, "m1"), op(3, Act::Settle)]),
        ("an unsubscribe, twice", vec![sub(1, 0), op(2, Act::Unsub { sub: 0 }), op(3, Act::Unsub { sub: 0 })]),
        ("an unknown label is skipped", vec![op(1, Act::Unsub { sub: 7 })]),
        ("a revocation", vec![sub(1, 0), sub(2, 1), op(3, Act::Revoke { identity: "x".into() })]),
    ];
    for (name, steps) in steps {
        let script = Script::new(steps);
        let problem = match adapter.run(&script) {
            Answer::Trace(trace) => {
                let verdict = oracle::judge(&script, &trace, &hello.policies);
                let wrong = verdict.first().map(|violation| format!("{}: {}", violation.requirement, violation.cause));
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
