//! Directed messages in the lanes of flushers: batches, places that are used again, bounds.

pub(super) use crate::lane::registry_and_flusher;

use super::{deaf, key_of};
use crate::kit::*;
use crate::lane::lossy;
use crate::wire::*;
use bytes::BytesMut;
use proptest::prelude::*;
use registry_core::{
    ChannelFilter, CloseReason, Encoded, LaneOptions, MessageHead, Registration, Revocation,
    SocketOutbox, WireFormat,
};
use std::sync::Arc;

#[test]
fn dir_2_a_turn_with_directed_messages_is_still_one_write_for_each_subscriber() {
    let (registry, mut flusher) = registry_and_flusher();
    let filters = [
        ChannelFilter::All,
        ChannelFilter::only(["a"]),
        ChannelFilter::only(["a", "b"]),
        ChannelFilter::Only([].into()),
    ];
    // Of each filter some that are addressed, and some that are not, with the first and the last of
    // a list among both.
    let members: Vec<_> = (0..64)
        .map(|n| {
            let filter = filters[n % 4].clone();
            let name = if n / 4 % 3 == 0 { "ada" } else { "bob" };
            wired(&registry, group(name).with_filter(filter))
        })
        .collect();
    serve(&mut flusher);
    for n in 0..30 {
        match n % 3 {
            0 => registry.broadcast("a", n),
            1 => registry.send_to(id("ada"), "a", n),
            _ => registry.broadcast("b", n),
        }
        .unwrap();
    }
    serve(&mut flusher);
    for (n, (_outbox, socket)) in members.iter().enumerate() {
        let hears = [[true, true], [true, false], [true, true], [false, false]][n % 4];
        let addressed = n / 4 % 3 == 0;
        let expected: Vec<u32> =
            (0..30).filter(|n| [hears[0], addressed, hears[1]][*n as usize % 3]).collect();
        assert_eq!(socket.values(), expected, "{n}");
        assert_eq!(socket.writes(), usize::from(!expected.is_empty()), "{n}: one write");
    }
}

#[test]
fn dir_2_directed_messages_of_many_publishers_are_batched() {
    let (registry, mut flusher) = registry_and_flusher();
    let members: Vec<_> = (0..64).map(|n| wired(&registry, group(&n.to_string()))).collect();
    serve(&mut flusher);
    for round in 0..10 {
        registry.broadcast("c", round).unwrap();
        for n in 0..64 {
            registry.send_to(id(&n.to_string()), "c", 100 + n).unwrap();
        }
    }
    let before = registry.stats().lane_writes;
    serve(&mut flusher);
    // 650 messages of 64 bytes and some are less than 64 KiB.
    assert_eq!(registry.stats().lane_writes - before, 64);
    for (n, (_outbox, socket)) in members.iter().enumerate() {
        let expected: Vec<u32> = (0..10).flat_map(|round| [round, 100 + n as u32]).collect();
        assert_eq!(socket.values(), expected);
    }
}

#[test]
fn dir_1_a_subscriber_that_takes_the_place_of_another_does_not_get_its_messages() {
    // The former was there before the turn or joined in it, left or drains, and heard what the heir
    // hears or not.
    for case in 0..16 {
        let [served, drains, hears_it, named_two] = [1, 2, 4, 8].map(|bit| case & bit != 0);
        let (registry, mut flusher) = registry_and_flusher();
        let filter = match (hears_it, named_two) {
            (false, _) => ChannelFilter::Only([].into()),
            (true, false) => ChannelFilter::only(["c"]),
            (true, true) => ChannelFilter::only(["c", "d"]),
        };
        let register = |name: &str| group(name).with_filter(filter.clone());
        let (former, socket) = wired(&registry, register("ada"));
        if served {
            serve(&mut flusher);
        }
        let former_id = former.outbox().subscription().id();
        registry.send_to(id("ada"), "c", 1).unwrap();
        registry.broadcast("c", 2).unwrap();
        registry.send(former_id, "c", 3).unwrap();
        let former = if drains {
            former.outbox().close(CloseReason::Shutdown);
            Some(former)
        } else {
            drop(former);
            None
        };
        let (heir, heirs) = wired(&registry, register("bob"));
        let same = key_of(heir.outbox().subscription().id()) == key_of(former_id);
        assert_eq!(same, !drains, "the place is used again");
        assert_eq!(registry.send(former_id, "c", 4).unwrap().matched, 0);
        registry.broadcast("c", 5).unwrap();
        registry.send_to(id("bob"), "c", 6).unwrap();
        serve(&mut flusher);
        let expected = if hears_it { vec![5, 6] } else { vec![6] };
        assert_eq!(heirs.values(), expected, "case {case}");
        let expected = match (drains, hears_it) {
            (false, _) => vec![],
            (true, true) => vec![1, 2, 3],
            (true, false) => vec![1, 3],
        };
        assert_eq!(socket.values(), expected, "case {case}");
        drop(former);
    }
}

#[test]
fn dir_1_a_compacted_log_delivers_nothing_that_was_addressed_to_one_that_left() {
    let (registry, mut flusher) = registry_and_flusher();
    let (passing, _) = wired(&registry, group("ada").with_filter(ChannelFilter::only(["c"])));
    let key = key_of(passing.outbox().subscription().id());
    registry.send_to(id("ada"), "c", 1).unwrap();
    drop(passing);
    let (heir, heirs) = wired(&registry, hears(&["c", "d"]));
    assert_eq!(key_of(heir.outbox().subscription().id()), key);
    let (_other, others) = wired(&registry, hears(&["c", "d"]));
    registry.broadcast("c", 2).unwrap();
    // From here on the log has neither the join nor the leave of the one that left.
    for _ in 0..2_000 {
        drop(registry.open_outbox(&BARE, with_flusher(), hears(&["c"])).unwrap());
    }
    serve(&mut flusher);
    assert_eq!((heirs.values(), others.values()), (vec![2], vec![2]));
}

#[test]
fn dir_5_a_full_log_counts_what_was_addressed_and_to_whom() {
    let registry = encoding();
    // There is room for two broadcasts of 128 bytes and a digit each.
    let mut flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(2 * 129 + 16)));
    let (_ada, ada) = wired_with(&registry, &BARE, lossy(), deaf("ada"));
    let (_both, both) = wired_with(&registry, &BARE, lossy(), group("ada"));
    let (bob, bobs) = wired(&registry, deaf("bob"));
    let (other, others) = wired(&registry, deaf("eve"));
    let (passing, _) = wired_with(&registry, &BARE, lossy(), deaf("ada"));
    let bob_id = bob.outbox().subscription().id();
    let mut reports = vec![
        registry.broadcast("c", 1).unwrap(),
        registry.send(bob_id, "c", 2).unwrap(),
        registry.send_to(id("ada"), "c", 3).unwrap(),
        registry.broadcast("c", 4).unwrap(),
        registry.send(bob_id, "c", 5).unwrap(),
    ];
    drop(passing);
    // It takes the place of the one that left, and lost nothing.
    let (_heir, heirs) = wired_with(&registry, &BARE, lossy(), deaf("zoe"));
    reports.push(registry.send_to(id("ada"), "c", 6).unwrap());
    let counts: Vec<_> =
        reports.iter().map(|report| (report.matched, report.accepted, report.dropped)).collect();
    assert_eq!(counts, [(1, 1, 0), (1, 1, 0), (3, 0, 3), (1, 0, 1), (1, 0, 1), (2, 0, 2)]);
    assert_eq!(registry.stats().dropped, 7);
    serve(&mut flusher);
    assert_eq!((flush(&bob), bobs.values()), (Some(CloseReason::Lagged), vec![2]));
    assert_eq!((flush(&other), others.bytes()), (None, vec![]));
    [&_ada, &_both, &_heir].iter().for_each(|outbox| assert_eq!(flush(outbox), None));
    assert_eq!(ada.read(), [Read::Lost(2)]);
    assert_eq!(both.read(), [Read::Message(1, 1), Read::Lost(3)]);
    assert!(heirs.bytes().is_empty());
    let lost: Vec<u64> = registry.page(None, 9).iter().map(|info| info.lost).collect();
    assert_eq!(lost, [2, 3, 0, 0]);
    // The log has room again.
    registry.send_to(id("ada"), "c", 7).unwrap();
    serve(&mut flusher);
    assert_eq!((ada.values(), both.values()), (vec![7], vec![1, 7]));
}

#[test]
fn dir_5_every_loss_is_counted_while_others_come_and_leave_and_nothing_is_kept_of_these() {
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(1)));
    let (outbox, socket) = wired_with(&registry, &BARE, lossy(), deaf("ada"));
    registry.broadcast("nobody", 0).unwrap();
    registry.send_to(id("ada"), "c", 1).unwrap();
    let used = allocation_counter::measure(|| {
        for _ in 0..30_000 {
            let passing = registry.open_outbox(&BARE, with_flusher(), deaf("bob")).unwrap();
            registry.send_to(id("bob"), "c", 2).unwrap();
            registry.send_to(id("ada"), "c", 3).unwrap();
            drop(passing);
        }
    });
    assert!(used.bytes_current < 1 << 20, "{} bytes are kept", used.bytes_current);
    serve(&mut flusher);
    assert_eq!(
        (flush(&outbox), socket.read()),
        (None, vec![Read::Message(2, 1), Read::Lost(30_000)])
    );
}

#[test]
fn dir_5_the_addresses_count_in_the_log() {
    let registry = encoding();
    // Each message counts 128 bytes, a digit, and 16 bytes for each of ten subscribers.
    let _flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(3 * (129 + 160))));
    let _members: Vec<_> = (0..10).map(|_| wired(&registry, deaf("ada"))).collect();
    let accepted = (0..5).map(|n| registry.send_to(id("ada"), "c", n).unwrap().accepted);
    assert!(accepted.eq([10, 10, 10, 0, 0]));
}

/// Values that end in 13 cannot be framed.
fn superstitious(head: MessageHead<'_>, encoded: &Encoded, out: &mut BytesMut) {
    assert!(!encoded.body().ends_with(b"13"), "on purpose");
    out.extend_from_slice(format!("m{} 0 \n", head.id().seq()).as_bytes());
}

static SUPERSTITIOUS: WireFormat = WireFormat::new("superstitious", superstitious);

#[test]
fn dir_5_a_frame_that_cannot_be_built_fails_only_those_it_is_addressed_to() {
    let (registry, mut flusher) = registry_and_flusher();
    let member = |name: &str| wired_with(&registry, &SUPERSTITIOUS, with_flusher(), group(name));
    let ((hit, hits), (spared, spareds), (_other, others)) =
        (member("ada"), member("bob"), wired(&registry, group("ada")));
    serve(&mut flusher);
    registry.broadcast("c", 1).unwrap();
    registry.send_to(id("ada"), "c", 13).unwrap();
    serve(&mut flusher);
    assert_eq!((flush(&hit), hits.bytes()), (Some(CloseReason::Failed), vec![]));
    assert_eq!((flush(&spared), spareds.read().len()), (None, 1));
    assert_eq!(others.values(), [1, 13]);
}

#[test]
fn dir_4_a_pause_before_an_addressed_subscriber_is_time_enough_to_revoke_it() {
    let (registry, mut flusher) = registry_and_flusher();
    let members: Vec<_> = (0..400).map(|_| wired(&registry, group("ada"))).collect();
    serve(&mut flusher);
    registry.send_to(id("ada"), "c", 1).unwrap();
    assert!(flusher.poll_serve(&mut crate::lane::noop(), now()).is_ready());
    let written = |(_, socket): &&(SocketOutbox, Arc<Socket>)| socket.writes() > 0;
    let before = members.iter().filter(written).count();
    assert!((1..400).contains(&before), "the flusher made a pause");
    let late = members.iter().find(|member| !written(member)).unwrap();
    assert!(registry.close(late.0.outbox().subscription().id(), Revocation::Revoked));
    late.1.seal();
    serve(&mut flusher);
    assert_eq!((members.iter().filter(written).count(), late.1.late()), (399, 0));
}

#[test]
fn dir_1_a_message_to_many_holders_is_joined_once_for_all_of_them() {
    let (registry, mut flusher) = registry_and_flusher();
    let wire = Arc::new(Nothing);
    let holder = || {
        let outbox = registry.open_outbox(&BARE, with_flusher(), group("ada")).unwrap();
        outbox.attach(wire.clone())
    };
    let _members: Vec<_> = (0..1_000).map(|_| holder()).collect();
    serve(&mut flusher);
    registry.broadcast("c", 30_000).unwrap();
    registry.send_to(id("ada"), "c", 30_000).unwrap();
    let served = allocation_counter::measure(|| assert!(!serve(&mut flusher)));
    assert!(served.bytes_total < 2 << 20, "{} bytes for 60,000", served.bytes_total);
    assert_eq!(registry.stats().lane_messages, 2_000);
}

proptest! {
    /// Every shape of a segment: who hears what, who is addressed, who joined in the turn.
    #[test]
    fn dir_1_dir_2_each_subscriber_gets_its_messages_in_one_write(
        members in proptest::collection::vec((0_usize..5, 0_u8..8, any::<bool>()), 1..40),
        messages in proptest::collection::vec((0_usize..3, 0_u8..4, any::<u8>()), 1..30),
    ) {
        let filters =
            [None, Some(&[][..]), Some(&["a"][..]), Some(&["a", "b"]), Some(&["b", "c"])];
        let (registry, mut flusher) = registry_and_flusher();
        let mut joined = Vec::new();
        for early in [true, false] {
            for (filter, holds, _) in members.iter().filter(|member| member.2 == early) {
                let names = filters[*filter].map(|names| names.iter().copied());
                let groups = (0..3).filter(|bit| holds & (1 << bit) != 0);
                let registration = Registration::new()
                    .with_filter(names.map_or(ChannelFilter::All, ChannelFilter::only))
                    .with_groups(groups.map(|bit| id(&bit.to_string())));
                joined.push((*filter, *holds, wired(&registry, registration)));
            }
            if early {
                serve(&mut flusher);
            }
        }
        let mut expected = vec![Vec::new(); joined.len()];
        for (n, (channel, to, which)) in messages.iter().enumerate() {
            let (channel, which) = (["a", "b", "c"][*channel], *which as usize % joined.len());
            let value = n as u32;
            let one = joined[which].2.0.outbox().subscription().id();
            match to {
                0 => registry.broadcast(channel, value),
                3 => registry.send(one, channel, value),
                identity => registry.send_to(id(&identity.to_string()), channel, value),
            }.unwrap();
            for (at, (filter, holds, _)) in joined.iter().enumerate() {
                if match to {
                    0 => filters[*filter].is_none_or(|names| names.contains(&channel)),
                    3 => at == which,
                    identity => holds & (1 << identity) != 0,
                } {
                    expected[at].push(value);
                }
            }
        }
        serve(&mut flusher);
        for ((_, _, (_outbox, socket)), expected) in joined.iter().zip(&expected) {
            prop_assert_eq!(&socket.values(), expected);
            prop_assert_eq!(socket.writes(), usize::from(!expected.is_empty()));
        }
    }
}
