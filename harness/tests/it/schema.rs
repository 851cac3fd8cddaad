//! Every message that is sent or accepted matches the JSON Schemas.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use harness::campaign::{Answer, Driver, InProcess, Plan, campaign};
use harness::cases::{cases, systematic};
use harness::core;
use harness::features::Features;
use harness::generate::generate;
use harness::protocol::{Hello, Reply, Request};
use harness::runner::{Adapter, Deadlines};
use harness::script::Script;
use harness::trace::{Event, Received, Report};
use jsonschema::Validator;
use serde::Serialize;
use serde_json::{Value, json};

fn schema(text: &str) -> Validator {
    jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
}

fn to_adapter() -> Validator {
    schema(include_str!("../../schema/to-adapter.schema.json"))
}

fn from_adapter() -> Validator {
    schema(include_str!("../../schema/from-adapter.schema.json"))
}

#[track_caller]
fn fits(schema: &Validator, message: &impl Serialize) -> Value {
    let value = serde_json::to_value(message).unwrap();
    assert!(schema.is_valid(&value), "{value}");
    value
}

fn scripts() -> impl Iterator<Item = Script> {
    let random = (0..300).map(|seed| generate(seed, Features::everything(), Features::default()));
    let fixed = cases().into_iter().chain(systematic());
    fixed.map(|case| case.script).chain(random)
}

#[test]
fn requests_fit_their_schema_and_are_read_back_unchanged() {
    let schema = to_adapter();
    fits(&schema, &Request::Hello { protocol: 1 });
    fits(&schema, &Request::Bye);
    for script in scripts() {
        let request = Request::Run { id: 1, fuel: 100, patience_ms: 5, script };
        let value = fits(&schema, &request);
        assert_eq!(serde_json::from_value::<Request>(value).unwrap(), request);
    }
}

#[test]
fn replies_fit_their_schema_and_are_read_back_unchanged() {
    let schema = from_adapter();
    let mut driver = InProcess::new(core::factory());
    let mut replies = vec![
        Reply::Hello(core::hello()),
        Reply::Hello(Hello::new("x", &[], &[])),
        Reply::Unsupported { id: 3, need: "kinds".into() },
        Reply::AdapterError { id: None, message: "no".into() },
        Reply::Trace {
            id: 4,
            events: vec![
                Event::Fuel,
                Event::Stuck { op: 1 },
                Event::Unbuilt { error: "no".into() },
                Event::Err { op: 1, error: "no".into() },
                Event::Ret { op: 1, n: Some(-1), refused: false, report: None, taken: None },
                Event::Ret {
                    op: 1,
                    n: Some(2),
                    refused: true,
                    report: Some(Report { matched: 1, ..Report::default() }),
                    taken: Some(Received {
                        messages: vec!["m".into()],
                        lost: 1,
                        end: Some("lagged".into()),
                    }),
                },
            ],
        },
    ];
    for script in scripts().take(150) {
        let Answer::Trace(events) = driver.run(&script) else { panic!("no trace") };
        replies.push(Reply::Trace { id: 5, events });
    }
    for reply in replies {
        let value = fits(&schema, &reply);
        assert_eq!(serde_json::from_value::<Reply>(value).unwrap(), reply);
    }
}

/// A file in memory that the test can read while its writer owns it.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs scripts on an adapter and checks every line in both directions against the schemas. Returns
/// the events that it saw.
fn overhear(command: &[&str]) -> BTreeSet<String> {
    let page = Page::default();
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let mut adapter = Adapter::new(command, Deadlines::default()).transcript(page.clone());
    let hello = adapter.hello().unwrap();
    let outcome =
        campaign(&hello, &mut adapter, &Plan { scripts: 300, ..Plan::default() }, &mut |_, _| {});
    drop(adapter);
    let page = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let (to, from) = (to_adapter(), from_adapter());
    let (mut asked, mut answered, mut seen) = (0, 0, BTreeSet::new());
    for line in page.lines() {
        let (schema, count, text) = match line.split_at(2) {
            ("> ", text) => (&to, &mut asked, text),
            ("< ", text) => (&from, &mut answered, text),
            _ => panic!("what is this? {line}"),
        };
        *count += 1;
        let message: Value = serde_json::from_str(text).unwrap();
        let complaints: Vec<_> =
            schema.iter_errors(&message).map(|error| error.to_string()).collect();
        assert!(complaints.is_empty(), "{complaints:?}: {text}");
        let events = message["events"].as_array().into_iter().flatten();
        seen.extend(events.map(|event| event["e"].as_str().unwrap().to_owned()));
    }
    assert_eq!((asked, answered), (outcome.runs + 1, outcome.runs + 1), "hello and each script");
    seen
}

#[test]
fn the_messages_of_adapters_fit_their_schema() {
    let here = |path: &str| format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    let (javascript, python) =
        (here("adapters/javascript/adapter.mjs"), here("adapters/python/adapter.py"));
    let promises = here("tests/adapters/promises.mjs");
    let commands: [&[&str]; 4] = [
        &["node", &javascript],
        &["node", &javascript, &promises, "AllAtOnce", "awaits=sinks"],
        &["python3", "-B", &python],
        &[env!("CARGO_BIN_EXE_registry-core-adapter")],
    ];
    for command in commands {
        let seen = overhear(command);
        for event in ["call", "ret", "send", "sent", "close", "closed"] {
            assert!(seen.contains(event), "{command:?} never said {event}");
        }
    }
}

#[test]
fn messages_outside_the_schemas_are_refused_by_schema_and_parser() {
    let wrong = [
        json!({"type": "run", "id": 1, "fuel": 1, "patience_ms": 1,
            "script": {"steps": [{"id": 1, "op": "explode"}]}}),
        json!({"type": "run", "id": 1, "fuel": 1, "patience_ms": 1,
            "script": {"steps": [{"id": 1, "op": "unsub"}]}}),
        json!({"type": "run", "id": 1, "fuel": 1, "patience_ms": 1, "script": {"stages": []}}),
        json!({"type": "hello"}),
    ];
    for message in wrong {
        assert!(!to_adapter().is_valid(&message), "{message}");
        assert!(serde_json::from_value::<Request>(message.clone()).is_err(), "{message}");
    }
    let wrong = [
        json!({"type": "trace", "events": []}),
        json!({"type": "trace", "id": 1, "events": [{"e": "sneeze"}]}),
        json!({"type": "trace", "id": 1, "events": [{"e": "send", "sink": 1}]}),
        json!({"type": "hello", "protocol": 1}),
        json!({"type": "hello", "protocol": 1, "name": "x", "policies": {"delivery": "sometimes"}}),
    ];
    for message in wrong {
        assert!(!from_adapter().is_valid(&message), "{message}");
        assert!(serde_json::from_value::<Reply>(message.clone()).is_err(), "{message}");
    }
}
