//! The cost of operations, in visits and not in time.

use crate::kit::*;
use registry_core::{Outbox, Registration, Subscription};

fn visits<R>(registry: &Registry, operation: impl FnOnce() -> R) -> (u64, R) {
    let before = registry.stats().visits;
    let result = operation();
    (registry.stats().visits - before, result)
}

fn crowd(
    registry: &Registry,
    size: usize,
    channel: &str,
    name: &str,
) -> (Vec<Subscription>, Vec<Outbox>) {
    let one = || hears(&[channel]).with_group(id(name)).with_group(id("everybody"));
    let sinks = (0..size / 2).map(|_| join(registry, &Probe::new(), one())).collect();
    let outboxes = (0..size / 2).map(|_| open(registry, one())).collect();
    (sinks, outboxes)
}

#[test]
fn del_1_a_broadcast_costs_its_matches() {
    let registry = encoding();
    let _crowd = crowd(&registry, 10_000, "crowded", "crowd");
    let _few = crowd(&registry, 10, "quiet", "few");
    let (steps, report) = visits(&registry, || registry.broadcast("quiet", 1).unwrap());
    assert_eq!((report.accepted, steps), (10, 10));
    let (steps, report) = visits(&registry, || registry.broadcast("nobody", 1).unwrap());
    assert_eq!((report.matched, steps), (0, 0));
    let (steps, report) = visits(&registry, || registry.broadcast("crowded", 1).unwrap());
    assert_eq!((report.accepted, steps), (10_000, 10_000));
}

#[test]
fn rev_1_a_revocation_costs_as_much_as_it_closes_subscribers() {
    let steps = |others: usize| {
        let registry = encoding();
        // The other subscribers share the channel and one identity with those that are closed.
        let _crowd = crowd(&registry, others, "c", "crowd");
        let _few = crowd(&registry, 10, "c", "few");
        let _more = crowd(&registry, others, "c", "crowd");
        visits(&registry, || assert_eq!(registry.close_by_identity(id("few")), 10)).0
    };
    let alone = steps(0);
    assert_eq!(
        alone,
        10 * (1 + 2 + 1 + 1),
        "itself, two identities, a channel in the table and one in its book"
    );
    assert_eq!(steps(5_000), alone);
}

#[test]
fn sub_1_subscribe_and_unsubscribe_cost_the_same_among_ten_thousand() {
    let steps = |others: usize| {
        let registry = encoding_with(capped(20_000));
        let one = || hears(&["c", "d"]).with_group(id("everybody")).with_scope(id("scope"));
        let sinks: Vec<_> =
            (0..others / 2).map(|_| join(&registry, &Probe::new(), one())).collect();
        let outboxes: Vec<_> = (0..others / 2).map(|_| open(&registry, one())).collect();
        let steps = visits(&registry, || {
            drop(join(&registry, &Probe::new(), one()));
            drop(open(&registry, one()));
        });
        drop((sinks, outboxes));
        steps.0
    };
    let among_few = steps(10);
    assert!(among_few > 0);
    assert_eq!(steps(10_000), among_few);
}

#[test]
fn sub_1_subscribe_and_unsubscribe_cost_as_much_as_they_name_channels_and_identities() {
    let registry = encoding();
    let _other = open(&registry, hears(&["a"]).with_group(id("x")));
    for (registration, coming, going) in [
        // A channel is counted in the table and listed in the book; an identity is listed once. To
        // leave takes one visit more.
        (
            hears(&["a", "b"]).with_group(id("x")).with_group(id("y")).with_group(id("x")),
            2 + 2 + 2,
            1 + 2 + 2 + 2,
        ),
        (hears(&["a"]).with_scope(id("x")), 1 + 1 + 1, 1 + 1 + 1 + 1),
        (Registration::new(), 1, 1 + 1),
        (hears(&[]), 1, 1 + 1), // the list of those that hear nothing
    ] {
        let (steps, outbox) = visits(&registry, || open(&registry, registration.clone()));
        assert_eq!(
            (steps, visits(&registry, || drop(outbox)).0),
            (coming, going),
            "an outbox, {registration:?}"
        );
        let (steps, sink) =
            visits(&registry, || join(&registry, &Probe::new(), registration.clone()));
        assert_eq!(
            (steps, visits(&registry, || drop(sink)).0),
            (coming, going),
            "a sink, {registration:?}"
        );
    }
}

#[test]
fn sub_1_a_single_name_is_held_without_a_list() {
    let held = |registration: Registration| {
        let (registry, mut outboxes) = (encoding(), Vec::new());
        let open_all =
            || outboxes.extend((0..1_000).map(|_| open(&registry, registration.clone())));
        allocation_counter::measure(open_all).count_current
    };
    let [unfiltered, one, two] = [Registration::new(), hears(&["a"]), hears(&["a", "b"])].map(held);
    assert!(one < unfiltered + 100, "each holds a list: {one} after {unfiltered}");
    assert!(two > one + 900, "the measure sees no lists: {two} after {one}");
}

#[test]
fn sub_2_leaving_from_the_middle_costs_no_more_than_from_the_end() {
    let registry = encoding();
    let (mut sinks, mut outboxes) = crowd(&registry, 10_000, "c", "crowd");
    let last = visits(&registry, || drop((sinks.pop(), outboxes.pop()))).0;
    let middle =
        visits(&registry, || drop((sinks.swap_remove(2_500), outboxes.swap_remove(2_500)))).0;
    assert_eq!(middle, last);
}
