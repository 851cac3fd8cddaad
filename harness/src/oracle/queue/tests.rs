use super::*;

/// Pushes on channels, takes with what they found, ends: one after the other. True if it is
/// explained.
fn explained(bounds: Outbox, story: &[(&'static str, &'static [&'static str], u64)]) -> bool {
    let taken: Vec<Taken> = story
        .iter()
        .map(|(_, found, lost)| Taken {
            messages: found.iter().map(|data| (*data).to_owned()).collect(),
            lost: *lost,
            end: None,
        })
        .collect();
    let mut queue = Queue::new(&bounds);
    let mut fine = true;
    for (op, ((what, data, _), taken)) in story.iter().zip(&taken).enumerate() {
        let change = match *what {
            "take" => Change::Take(1_000, taken),
            "revoke" => Change::End(Why::Revoke(None)),
            channel => Change::Push(Message { cast: op, channel, data: data[0] }, Vec::new()),
        };
        queue.begin(op as OpId, change, true);
        fine &= queue.returned(op as OpId);
        queue.rest(true);
    }
    fine
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
    let bounds = Outbox::default();
    for (found, fine) in [
        (&["1", "2"][..], true),
        (&["2", "1"], true),
        (&["2"], true),
        (&["2", "2"], false),
        (&[], false),
    ] {
        let taken = Taken {
            messages: found.iter().map(|data| (*data).to_owned()).collect(),
            ..Taken::default()
        };
        let mut queue = Queue::new(&bounds);
        let push = |cast, data| Change::Push(Message { cast, channel: "a", data }, Vec::new());
        queue.begin(1, push(1, "1"), true);
        queue.begin(2, push(2, "2"), true);
        queue.rest(true);
        queue.begin(3, Change::Take(1_000, &taken), true);
        assert_eq!(queue.returned(3), fine, "{found:?}");
    }
}
