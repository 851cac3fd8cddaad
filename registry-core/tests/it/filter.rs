//! FLT: which subscribers hear which channels.

use crate::kit::*;
use proptest::prelude::*;
use registry_core::{ChannelFilter, Registration};
use std::collections::BTreeSet;

/// Broadcasts on each channel in turn; returns the indexes of the channels that were heard.
fn heard(registry: &Registry, probe: &Probe, channels: &[&str]) -> Vec<usize> {
    let before = probe.sent().len();
    for (n, channel) in (0_u32..).zip(channels) {
        registry.broadcast(channel, n).unwrap();
    }
    probe.sent()[before..].iter().map(|n| *n as usize).collect()
}

#[test]
fn flt_1_a_name_is_heard_exactly() {
    let registry = Registry::new();
    let probe = Probe::new();
    let _subscription = registry.subscribe(probe.clone(), Some(&["runs", "jobs"]), None).unwrap();
    assert_eq!(heard(&registry, &probe, &["runs", "run", "runs2", "jobs", "", "other"]), [0, 3]);
}

#[test]
fn flt_2_absent_and_empty_mean_every_channel_at_the_compatible_call() {
    let registry = Registry::new();
    for channels in [None, Some(&[][..])] {
        let probe = Probe::new();
        let _subscription = registry.subscribe(probe.clone(), channels, None).unwrap();
        assert_eq!(heard(&registry, &probe, &["runs", "", "x"]), [0, 1, 2]);
    }
}

#[test]
fn flt_2_in_every_other_call_the_filter_type_decides() {
    let registry = Registry::new();
    let (all, none) = (Probe::new(), Probe::new());
    let _all = join(&registry, &all, Registration::new().with_filter(ChannelFilter::All));
    let _none = join(&registry, &none, hears(&[]));
    assert_eq!(heard(&registry, &all, &["runs", ""]), [0, 1]);
    assert!(heard(&registry, &none, &["runs", ""]).is_empty());
    assert_eq!(registry.len(), 2, "it hears nothing, and can be revoked");
}

#[test]
fn flt_2_a_restriction_that_leaves_nothing_hears_nothing() {
    let registry = Registry::new();
    let nothing = ChannelFilter::only(["secrets"]).restrict(&ChannelFilter::only(["runs"]));
    let probe = Probe::new();
    let _subscription = join(&registry, &probe, Registration::new().with_filter(nothing));
    assert!(heard(&registry, &probe, &["secrets", "runs", ""]).is_empty());
}

type Names = Option<BTreeSet<String>>;

fn names() -> impl Strategy<Value = Names> {
    proptest::option::of(proptest::collection::btree_set("[abc]{0,1}", 0..4))
}

fn filter(names: Names) -> ChannelFilter {
    names.map_or(ChannelFilter::All, ChannelFilter::only)
}

proptest! {
    #[test]
    fn flt_2_a_restriction_allows_what_both_sides_allow(requested in names(), granted in names()) {
        let allows = |names: &Names, channel: &str| {
            names.as_ref().is_none_or(|names| names.contains(channel))
        };
        let both = filter(requested.clone()).restrict(&filter(granted.clone()));
        for channel in ["", "a", "b", "c", "d"] {
            let (wanted, allowed) = (allows(&requested, channel), allows(&granted, channel));
            prop_assert_eq!(filter(requested.clone()).hears(channel), wanted);
            prop_assert_eq!(both.hears(channel), wanted && allowed);
        }
        prop_assert_eq!(both == ChannelFilter::All, requested.is_none() && granted.is_none());
    }
}

#[test]
fn flt_3_a_name_listed_twice_delivers_once() {
    let registry = Registry::new();
    let probe = Probe::new();
    let _subscription =
        registry.subscribe(probe.clone(), Some(&["runs", "jobs", "runs"]), None).unwrap();
    assert_eq!(registry.broadcast("runs", 1).unwrap().matched, 1);
    assert_eq!(probe.sent(), [1]);
}

#[test]
fn flt_4_the_empty_name_is_ordinary() {
    let registry = Registry::new();
    let probe = Probe::new();
    let _subscription = registry.subscribe(probe.clone(), Some(&[""]), None).unwrap();
    assert_eq!(heard(&registry, &probe, &["", " ", "a"]), [0]);
}

#[test]
fn flt_5_and_flt_6_names_are_bytes_and_none_is_magic() {
    let names = [
        "a",
        "A",
        " a",
        "a ",
        "a*",
        "*",
        "a.b",
        "a/b",
        "a\0",
        "a\0b",
        "é",
        "e\u{301}",
        "ß",
        "ss",
        "__proto__",
        "constructor",
        "toString",
        "1",
        "01",
        "1.0",
        "null",
        "undefined",
        "#",
        ">",
        "%61",
    ];
    let registry = Registry::new();
    for (n, name) in names.iter().enumerate() {
        let probe = Probe::new();
        let _subscription = registry.subscribe(probe.clone(), Some(&[name]), None).unwrap();
        assert_eq!(heard(&registry, &probe, &names), [n], "{name:?}");
    }
}

#[test]
fn flt_7_the_filter_is_copied() {
    let registry = Registry::new();
    let probe = Probe::new();
    let mut names = ["runs".to_owned()];
    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    let _subscription = registry.subscribe(probe.clone(), Some(&list), None).unwrap();
    names[0].replace_range(.., "jobs");
    assert_eq!(heard(&registry, &probe, &["jobs", "runs"]), [1]);
}

#[test]
fn flt_8_five_thousand_names_and_a_long_one() {
    let registry = Registry::new();
    let probe = Probe::new();
    let long = "x".repeat(64 << 10);
    let names = (0..5_000).map(|n| format!("channel-{n}")).chain([long.clone()]);
    let subscription =
        join(&registry, &probe, Registration::new().with_filter(ChannelFilter::only(names)));
    let longer = format!("{long}x");
    assert_eq!(
        heard(&registry, &probe, &["channel-0", "channel-4999", "channel-5000", &long, &longer]),
        [0, 1, 3]
    );
    drop(subscription);
    assert_eq!((registry.stats().channels_named, registry.channels(None, 9)), (0, vec![]));
}
