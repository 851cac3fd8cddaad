//! What the oracle accepts of an outbox: several orders, several moments to report losses.

use harness::oracle;
use harness::protocol::Policies;
use harness::script::{Act, Op, Outbox, Overflow, Registration, Script};
use harness::trace::{Event, Received, Trace};

fn call(op: u32, thread: u32) -> Event {
    Event::Call { op, thread }
}

fn ret(op: u32, taken: Option<Received>) -> Event {
    Event::Ret { op, n: None, refused: false, report: None, taken }
}

fn sub(bounds: Outbox) -> Act {
    Act::Sub { sub: 0, sink: 0, with: Registration::all().outbox(bounds) }
}

fn cast(channel: &str, data: &str) -> Act {
    Act::cast(channel, data)
}

fn found(messages: &[&str], lost: u64) -> Option<Received> {
    let messages = messages.iter().map(|data| (*data).to_owned()).collect();
    Some(Received { messages, lost, end: None })
}

fn accepted(script: &Script, trace: &Trace) -> bool {
    let verdict = oracle::judge(script, trace, &Policies::default());
    assert_eq!(verdict.nonsense, None);
    verdict.clean()
}

/// Broadcasts on channels, and takes with what they found and what they say is lost: one after the
/// other. True if it is accepted.
fn explained(bounds: Outbox, story: &[(&str, &[&str], u64)]) -> bool {
    let acts = story.iter().map(|(what, data, _)| match *what {
        "take" => Act::Take { sub: 0, bytes: None },
        channel => cast(channel, data[0]),
    });
    let script =
        Script::new([sub(bounds)].into_iter().chain(acts).map(|act| Op::new(0, act)).collect());
    let returns = story.iter().map(|(what, data, lost)| match *what {
        "take" => found(data, *lost),
        _ => None,
    });
    let returns = [None].into_iter().chain(returns);
    let trace = (1..).zip(returns).flat_map(|(op, taken)| [call(op, 0), ret(op, taken)]).collect();
    accepted(&script.numbered(), &trace)
}

#[test]
fn the_latest_of_a_key_displaces_its_own() {
    let story = |found| {
        explained(
            Outbox::of(3, Overflow::KeepLatest),
            &[
                ("b", &["1"], 0),
                ("a", &["2"], 0),
                ("b", &["3"], 0),
                ("a", &["4"], 0),
                ("take", found, 1),
            ],
        )
    };
    assert!(story(&["1", "3", "4"]));
    assert!(!story(&["2", "3", "4"]));
}

#[test]
fn losses_may_be_reported_early_and_not_late() {
    let story = |first, second| {
        explained(
            Outbox::of(1, Overflow::DropNewest),
            &[
                ("a", &["1"], 0),
                ("a", &["2"], 0),
                ("take", &["1"], first),
                ("a", &["3"], 0),
                ("take", &["3"], second),
            ],
        )
    };
    assert!(story(1, 0));
    assert!(story(0, 1));
    assert!(!story(0, 0) && !story(1, 1) && !story(2, 0));
}

#[test]
fn overlapping_pushes_may_come_in_any_order() {
    let threads = vec![vec![Op::new(3, cast("a", "1"))], vec![Op::new(4, cast("a", "2"))]];
    let script = Script::new(vec![
        Op::new(1, sub(Outbox::default())),
        Op::new(2, Act::Par { threads }),
        Op::new(5, Act::Take { sub: 0, bytes: None }),
    ]);
    for (messages, fine) in [
        (&["1", "2"][..], true),
        (&["2", "1"], true),
        (&["2"], true),
        (&["2", "2"], false),
        (&[], false),
    ] {
        let trace = vec![
            call(1, 0),
            ret(1, None),
            call(2, 0),
            call(3, 1),
            call(4, 2),
            ret(3, None),
            ret(4, None),
            ret(2, None),
            call(5, 0),
            ret(5, found(messages, 0)),
        ];
        assert_eq!(accepted(&script, &trace), fine, "{messages:?}");
    }
}
