//! Joins, leaves and channels within a turn, and several lanes.

use super::*;
use crate::kit::*;
use crate::wire::*;
use registry_core::{CloseReason, Flusher, LaneOptions, Registration, SocketOutbox};
use std::sync::Arc;

#[test]
fn ord_1_a_turn_is_one_write_for_each_subscriber_and_in_order() {
    let (registry, mut flusher) = registry_and_flusher();
    let (_all, all) = wired(&registry, Registration::new());
    let (_one, one) = wired(&registry, hears(&["a"]));
    let (_two, two) = wired(&registry, hears(&["a", "b"]));
    let (_none, none) = wired(&registry, hears(&[]));
    for n in 1..=6 {
        let report = registry.broadcast(["a", "b", "c"][n as usize % 3], n).unwrap();
        assert_eq!(
            (report.accepted, report.matched),
            ([3, 2, 1][n as usize % 3], [3, 2, 1][n as usize % 3])
        );
    }
    assert_eq!(
        (all.bytes(), none.bytes()),
        (vec![], vec![]),
        "a broadcast leaves the writing to the flusher"
    );
    serve(&mut flusher);
    assert_eq!(all.values(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(one.values(), [3, 6]);
    assert_eq!(two.values(), [1, 3, 4, 6]);
    assert_eq!((all.writes(), one.writes(), two.writes(), none.writes()), (1, 1, 1, 0));
    let stats = registry.stats();
    assert_eq!(
        (stats.lane_writes, stats.lane_messages, stats.in_lanes, stats.wired),
        (3, 12, 4, 4)
    );
}

#[test]
fn re_3_a_subscriber_that_joins_within_a_turn_hears_only_later_broadcasts() {
    let (registry, mut flusher) = registry_and_flusher();
    let (_first, first) = wired(&registry, Registration::new());
    serve(&mut flusher);
    registry.broadcast("a", 1).unwrap();
    let (_all, all) = wired(&registry, Registration::new());
    registry.broadcast("a", 2).unwrap();
    let (_one, one) = wired(&registry, hears(&["a"]));
    let (two_outbox, two) = wired(&registry, hears(&["a", "b"]));
    registry.broadcast("a", 3).unwrap();
    registry.broadcast("b", 4).unwrap();
    drop(two_outbox);
    registry.broadcast("b", 5).unwrap();
    serve(&mut flusher);
    assert_eq!(first.values(), [1, 2, 3, 4, 5]);
    assert_eq!(all.values(), [2, 3, 4, 5]);
    assert_eq!(one.values(), [3]);
    assert_eq!(two.bytes(), b"", "nothing is written to a subscriber that left before its turn");
    registry.broadcast("a", 6).unwrap();
    serve(&mut flusher);
    assert_eq!((first.values().len(), all.values().len(), one.values()), (6, 5, vec![3, 6]));
}

/// A subscriber that joins within a turn is served segment by segment, like the earlier ones.
#[test]
fn re_3_a_subscriber_that_joins_many_segments_into_a_turn_hears_exactly_the_later_broadcasts() {
    // 200 channels are four segments. Of one channel, a segment of 64 KiB holds about 900 messages:
    // each counts 64 bytes and a number.
    let many: Vec<String> = (0..200).map(|n| format!("c{n}")).collect();
    let one = vec!["c0".to_owned(); 3_000];
    let at_borders_of_channels = [0, 1, 63, 64, 65, 100, 127, 128, 129, 191, 192, 199, 200];
    let at_borders_of_bytes = [0, 1, 500, 880, 930, 970, 1_500, 2_000, 2_999, 3_000];
    for (channels, joins) in
        [(&many, &at_borders_of_channels[..]), (&one, &at_borders_of_bytes[..])]
    {
        let (registry, mut flusher) = registry_and_flusher();
        let (_first, first) = wired(&registry, Registration::new());
        serve(&mut flusher);
        let mut members = Vec::new();
        for at in 0..=channels.len() {
            if joins.contains(&at) {
                let all: Vec<&str> = many.iter().map(String::as_str).collect();
                for filter in [
                    None,
                    Some(&all[..]),
                    Some(&["c0", "c63", "c64", "c130"]),
                    Some(&["c0"]),
                    Some(&["c199"]),
                ] {
                    let member = wired(&registry, filter.map_or(Registration::new(), hears));
                    members.push((at, filter.map(<[&str]>::to_vec), member));
                }
            }
            if let Some(channel) = channels.get(at) {
                registry.broadcast(channel, at as u32 % 1_000).unwrap();
            }
        }
        serve(&mut flusher);
        assert!(first.writes() >= 4, "the turn did not have several segments");
        assert_eq!(first.read().len(), channels.len());
        for (at, filter, (_, socket)) in &members {
            let hears = |n: &usize| {
                filter.as_ref().is_none_or(|names| names.contains(&channels[*n].as_str()))
            };
            let expected = (*at..channels.len()).filter(hears);
            let expected: Vec<_> =
                expected.map(|n| Read::Message(n as u64 + 1, n as u32 % 1_000)).collect();
            assert_eq!(
                socket.read(),
                expected,
                "joined after {at} of {}, {filter:?}",
                channels.len()
            );
        }
    }
}

#[test]
fn flt_1_a_channel_number_that_is_reused_within_a_turn_delivers_nothing_of_the_former_channel() {
    let (registry, mut flusher) = registry_and_flusher();
    let ends: [fn(SocketOutbox) -> Option<SocketOutbox>; 2] = [
        |outbox| {
            drop(outbox);
            None
        },
        |outbox| {
            outbox.outbox().close(CloseReason::Shutdown);
            Some(outbox)
        },
    ];
    for end in ends {
        let mut kept = Vec::new();
        for filter in [&["x"][..], &["x", "y"]] {
            for served in [true, false] {
                let (outbox, socket) = wired(&registry, hears(filter));
                if served {
                    serve(&mut flusher);
                }
                registry.broadcast("x", 1).unwrap();
                kept.push(end(outbox));
                let (next_outbox, next) = wired(&registry, hears(&["z"]));
                registry.broadcast("z", 2).unwrap();
                registry.broadcast("x", 3).unwrap();
                serve(&mut flusher);
                let drained = kept.last().is_some_and(Option::is_some);
                assert_eq!(
                    socket.values(),
                    if drained { vec![1] } else { vec![] },
                    "{filter:?}, served: {served}"
                );
                assert_eq!(next.values(), [2]);
                drop(next_outbox);
                serve(&mut flusher);
            }
        }
    }
}

#[test]
fn flt_1_more_channels_than_a_mask_has_bits_are_kept_apart() {
    let names: Vec<String> = (0..200).map(|n| format!("c{n}")).collect();
    let some = |from: usize, step: usize| -> Vec<&str> {
        names.iter().skip(from).step_by(step).map(String::as_str).collect()
    };
    // A subscriber from before the turn is grouped by its mask, one that joins in the turn by its
    // numbers.
    for there_before in [true, false] {
        let (registry, mut flusher) = registry_and_flusher();
        let mut members = Vec::new();
        for step in [1, 2, 3, 63, 64, 65, 130] {
            for from in [0, 1] {
                members.push((from, step, wired(&registry, hears(&some(from, step)))));
            }
        }
        let (_all, all) = wired(&registry, Registration::new());
        let (_last, last) = wired(&registry, hears(&["c199"]));
        if there_before {
            serve(&mut flusher);
        }
        for (n, name) in names.iter().enumerate() {
            registry.broadcast(name, n as u32).unwrap();
        }
        serve(&mut flusher);
        for (from, step, (_, socket)) in &members {
            let expected: Vec<u32> = (0..200).skip(*from).step_by(*step).collect();
            assert_eq!(socket.values(), expected, "every {step}th from {from}, {there_before}");
        }
        assert_eq!((all.values(), last.values()), ((0..200).collect(), vec![199]));
        assert_eq!(all.writes(), 4, "200 channels are four times at most 64");
    }
}

#[test]
fn sub_1_a_new_subscriber_goes_to_the_lane_with_the_fewest() {
    let registry = encoding();
    let mut flushers: Vec<_> = (0..3).map(|_| registry.open_lane(LaneOptions::new())).collect();
    let mut members: Vec<_> = (0..9).map(|_| wired(&registry, Registration::new())).collect();
    let served = |flusher: &mut Flusher<u32>, members: &[(SocketOutbox, Arc<Socket>)]| {
        let writes = |members: &[(SocketOutbox, Arc<Socket>)]| {
            members.iter().map(|(_, socket)| socket.writes()).sum::<usize>()
        };
        let before = writes(members);
        serve(flusher);
        writes(members) - before
    };
    registry.broadcast("c", 1).unwrap();
    for flusher in &mut flushers {
        assert_eq!(served(flusher, &members), 3);
    }
    // Two subscribers leave the second lane, and two join.
    drop((members.remove(4), members.remove(1)));
    members.extend((0..2).map(|_| wired(&registry, Registration::new())));
    registry.broadcast("c", 2).unwrap();
    for flusher in &mut flushers {
        assert_eq!(served(flusher, &members), 3);
    }
}
