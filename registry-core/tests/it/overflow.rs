//! QUE-1: the policies that drop the newest messages, or keep the latest of each channel.

use crate::kit::*;
use proptest::prelude::*;
use registry_core::{Batch, Next, Outbox, OutboxOptions, Overflow};
use std::task::{Context, Poll, Waker};

const CHANNELS: [&str; 3] = ["a", "b", "c"];

fn open(registry: &Registry, messages: usize, bytes: usize, overflow: Overflow) -> Outbox {
    let bounds = OutboxOptions::new().with_max_messages(size(messages)).with_max_bytes(size(bytes));
    registry.open_outbox(&RAW, bounds.with_overflow(overflow), group("a")).unwrap()
}

fn take(outbox: &mut Outbox) -> Batch {
    match outbox.poll_next(&mut Context::from_waker(Waker::noop()), usize::MAX) {
        Poll::Ready(Next::Frames(batch)) => batch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn que_1_dropping_the_newest_keeps_what_is_queued_and_counts_every_loss() {
    let registry = encoding();
    let mut outbox = open(&registry, 2, 1_000, Overflow::DropNewest);
    let outcomes = [1, 2, 3, 4].map(|n| registry.broadcast("c", n).unwrap());
    assert_eq!(
        outcomes.map(|report| (report.accepted, report.dropped)),
        [(1, 0), (1, 0), (0, 1), (0, 1)]
    );
    let batch = take(&mut outbox);
    assert_eq!((batch.lost, batch.frames), (2, ["1", "2"].map(Into::into).to_vec()));
    assert_eq!(registry.broadcast("c", 5).unwrap().accepted, 1);
    let batch = take(&mut outbox);
    assert_eq!((batch.lost, batch.frames), (0, vec!["5".into()]));
    assert_eq!((registry.stats().dropped, registry.len()), (2, 1));
}

#[test]
fn que_1_keeping_the_latest_replaces_older_ones_of_the_same_channel() {
    let registry = encoding();
    let mut outbox = open(&registry, 3, 1_000, Overflow::KeepLatest);
    for (channel, n) in [("a", 1), ("b", 2), ("a", 3)] {
        assert_eq!(registry.broadcast(channel, n).unwrap().accepted, 1);
    }
    assert_eq!(registry.broadcast("a", 4).unwrap().accepted, 1);
    let batch = take(&mut outbox);
    assert_eq!(
        (batch.lost, batch.frames),
        (2, ["2", "4"].map(Into::into).to_vec()),
        "1 and 3 made room"
    );
    for (channel, n) in [("a", 5), ("b", 6), ("c", 7), ("d", 8)] {
        registry.broadcast(channel, n).unwrap();
    }
    let batch = take(&mut outbox);
    assert_eq!(
        (batch.lost, batch.frames),
        (1, ["6", "7", "8"].map(Into::into).to_vec()),
        "else the oldest does"
    );
    assert_eq!(registry.stats().dropped, 3);
}

#[test]
fn que_1_keeping_the_latest_drops_nothing_that_fits() {
    let registry = encoding();
    let mut outbox = open(&registry, 3, 1_000, Overflow::KeepLatest);
    [1, 2, 3].iter().for_each(|n| assert_eq!(registry.broadcast("a", *n).unwrap().accepted, 1));
    let batch = take(&mut outbox);
    assert_eq!((batch.lost, batch.frames.len()), (0, 3), "DEL-5: not merged");
}

proptest! {
    #[test]
    fn que_1_every_policy_keeps_order_bounds_and_counts(
        sends in proptest::collection::vec((0_usize..3, 1_u32..2_000, any::<bool>()), 1..60),
        messages in 1_usize..5,
        bytes in 1_usize..12,
        policy in prop_oneof![
            Just(Overflow::DropOldest),
            Just(Overflow::DropNewest),
            Just(Overflow::KeepLatest),
        ],
    ) {
        let registry = encoding();
        let mut outbox = open(&registry, messages, bytes, policy);
        // The model: a plain list of (channel, payload), obviously bounded.
        let mut model: Vec<(usize, u32)> = Vec::new();
        let (mut lost, mut dropped) = (0, 0);
        let length = |n: &u32| n.to_string().len();
        for (channel, n, take_all) in sends {
            let fits = |model: &[(usize, u32)]| {
                let queued: usize = model.iter().map(|(_, m)| length(m)).sum();
                model.is_empty() || (model.len() < messages && queued + length(&n) <= bytes)
            };
            let before = model.len();
            let mut taken = true;
            if !fits(&model) {
                match policy {
                    Overflow::DropNewest => taken = false,
                    Overflow::KeepLatest => model.retain(|(other, _)| *other != channel),
                    _ => {}
                }
                while taken && !fits(&model) {
                    model.remove(0);
                }
            }
            lost += before - model.len() + usize::from(!taken);
            if taken {
                model.push((channel, n));
            }
            let report = registry.broadcast(CHANNELS[channel], n).unwrap();
            prop_assert_eq!(report.accepted, usize::from(taken));
            prop_assert_eq!(report.dropped, usize::from(!taken));
            if take_all {
                let batch = take(&mut outbox);
                let expected: Vec<String> = model.drain(..).map(|(_, n)| n.to_string()).collect();
                prop_assert_eq!(batch.frames, expected);
                prop_assert_eq!(batch.lost, lost as u64);
                dropped += std::mem::take(&mut lost) as u64;
            }
        }
        prop_assert_eq!(registry.stats().dropped, dropped + lost as u64);
    }
}
