//! CAP: how many subscribers may share a scope.

use crate::kit::*;
use registry_core::{
    CloseReason, Registration, RegistryOptions, ScopeCap, SubscribeError, WhenFull,
};
use std::num::NonZeroUsize;

#[test]
fn cap_1_to_3_the_oldest_is_evicted_and_no_more_than_needed() {
    let registry = Registry::with_options(capped(3));
    let probes: Vec<_> = (0..5).map(|_| Probe::new()).collect();
    let mut guards = Vec::new();
    for (n, probe) in probes.iter().enumerate() {
        guards.push(join(&registry, probe, scope("s")));
        assert_eq!(registry.len(), (n + 1).min(3));
        let evicted =
            probes.iter().filter(|probe| probe.closed() == [CloseReason::Evicted]).count();
        assert_eq!(evicted, (n + 1).saturating_sub(3));
    }
    registry.broadcast("c", 1).unwrap();
    let heard: Vec<_> = probes.iter().map(|probe| probe.sent().len()).collect();
    assert_eq!(heard, [0, 0, 1, 1, 1]);
}

#[test]
fn cap_3_a_subscriber_that_left_makes_room() {
    let registry = Registry::with_options(capped(2));
    let (first, second, third) = (Probe::new(), Probe::new(), Probe::new());
    let leaver = join(&registry, &first, scope("s"));
    let _second = join(&registry, &second, scope("s"));
    drop(leaver);
    let _third = join(&registry, &third, scope("s"));
    assert_eq!((second.closed(), third.closed(), registry.len()), (vec![], vec![], 2));
}

#[test]
fn cap_3_a_draining_subscriber_takes_no_place_and_keeps_its_queue() {
    for when_full in [WhenFull::EvictOldest, WhenFull::RefuseNew] {
        let cap = ScopeCap::new(size(1)).with_when_full(when_full);
        let registry = encoding_with(RegistryOptions::new().with_scope_cap(cap));
        let mut draining = open(&registry, scope("s"));
        registry.broadcast("c", 1).unwrap();
        draining.close(CloseReason::Shutdown);
        let mut next = open(&registry, scope("s"));
        registry.broadcast("c", 2).unwrap();
        assert_eq!((frames(&mut draining), frames(&mut next)), (vec![1], vec![2]), "{when_full:?}");
        assert_eq!(registry.stats().ended, [(CloseReason::Shutdown, 1)].into(), "{when_full:?}");
        drop(draining);
        assert_eq!((registry.len(), ended(&mut next)), (1, None), "{when_full:?}");
    }
}

#[test]
fn cap_2_the_oldest_is_evicted_by_age_and_not_by_place() {
    let registry = Registry::with_options(capped(2));
    let first = join(&registry, &Probe::new(), scope("s"));
    let (older, younger) = (Probe::new(), Probe::new());
    let _older = join(&registry, &older, scope("s"));
    drop(first);
    let _younger = join(&registry, &younger, scope("s")); // gets the key of the first
    let _newest = join(&registry, &Probe::new(), scope("s"));
    assert_eq!((older.closed(), younger.closed()), (vec![CloseReason::Evicted], vec![]));
}

#[test]
fn cap_2_the_new_subscriber_is_refused_if_the_options_say_so() {
    let cap = ScopeCap::new(size(2)).with_when_full(WhenFull::RefuseNew);
    let registry = Registry::with_options(RegistryOptions::new().with_scope_cap(cap));
    let probes: Vec<_> = (0..2).map(|_| Probe::new()).collect();
    let mut guards: Vec<_> =
        probes.iter().map(|probe| join(&registry, probe, scope("s"))).collect();
    let refused = registry.subscribe_with(Probe::new(), scope("s"));
    assert_eq!(refused.unwrap_err(), SubscribeError::ScopeFull);
    assert!(probes.iter().all(|probe| probe.closed().is_empty()) && registry.len() == 2);
    guards.pop();
    assert!(registry.subscribe_with(Probe::new(), scope("s")).is_ok());
}

#[test]
fn cap_4_only_the_scope_is_capped_and_scopes_are_independent() {
    let registry = Registry::with_options(capped(1));
    let probe = Probe::new();
    let _one = join(&registry, &probe, scope("s").with_group(id("shared")));
    let _two = join(&registry, &probe, scope("t").with_group(id("shared")));
    let _groups: Vec<_> =
        (0..5).map(|_| join(&registry, &probe, group("shared").with_group(id("s")))).collect();
    let _none: Vec<_> = (0..5).map(|_| join(&registry, &probe, Registration::new())).collect();
    assert_eq!((registry.len(), probe.closed()), (12, vec![]));
    let _capped = join(&registry, &probe, scope("s"));
    assert_eq!((registry.len(), probe.closed()), (12, vec![CloseReason::Evicted]));
}

#[test]
fn cap_4_without_the_option_nothing_is_capped() {
    let registry = Registry::new();
    let _guards: Vec<_> = (0..50).map(|_| join(&registry, &Probe::new(), scope("s"))).collect();
    assert_eq!(registry.len(), 50);
    assert_eq!(registry.close_by_identity(id("s")), 50);
}

#[test]
fn cap_5_a_cap_below_one_cannot_be_constructed() {
    assert!(NonZeroUsize::new(0).map(ScopeCap::new).is_none());
}

#[test]
fn cap_6_the_evicted_are_closed_once_and_counted_by_no_revocation() {
    let registry = encoding_with(capped(1));
    let old = Probe::new();
    let _old = join(&registry, &old, scope("s").with_group(id("a")));
    let mut outbox = open(&registry, scope("s").with_group(id("a")));
    let _new = join(&registry, &Probe::new(), scope("s").with_group(id("a")));
    assert_eq!(ended(&mut outbox), Some(CloseReason::Evicted));
    assert_eq!(registry.close_by_identity(id("a")), 1);
    assert_eq!(registry.close_by_identity(id("s")), 0);
    assert_eq!(old.events(), [Event::Closed(CloseReason::Evicted)]);
    assert_eq!(registry.stats().ended[&CloseReason::Evicted], 2);
}

#[test]
fn cap_1_a_scope_that_is_also_a_group_is_capped_once() {
    let registry = Registry::with_options(capped(2));
    let _guards: Vec<_> =
        (0..4).map(|_| join(&registry, &Probe::new(), scope("s").with_group(id("s")))).collect();
    assert_eq!((registry.len(), registry.close_by_identity(id("s"))), (2, 2));
}
