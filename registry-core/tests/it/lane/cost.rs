//! The cost of a turn, in visits, frames and allocations.

use super::*;
use crate::kit::*;
use crate::wire::*;
use registry_core::{
    EncodeError, Encoded, LaneOptions, Registration, RegistryOptions, SocketOutbox, WireFormat,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

static BUILT: AtomicUsize = AtomicUsize::new(0);
static COUNTING: WireFormat = WireFormat::new("counting", |_, encoded, out| {
    BUILT.fetch_add(1, Ordering::SeqCst);
    out.extend_from_slice(encoded.body());
});

#[test]
fn del_6_a_frame_is_built_once_for_each_format() {
    let encoded = Arc::new(AtomicUsize::new(0));
    let counted = encoded.clone();
    let registry = Registry::with_encoder(RegistryOptions::new(), move |n: &u32| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok::<_, EncodeError>(Encoded::text(n.to_string()))
    });
    let mut flusher = registry.open_lane(LaneOptions::new());
    let filters: [&[&str]; 4] = [&["a"], &["a", "b"], &["a", "c"], &["a", "b", "c"]];
    let members: Vec<_> = (0..100)
        .map(|n| wired_with(&registry, &COUNTING, with_flusher(), hears(filters[n % 4])))
        .collect();
    serve(&mut flusher);
    let joined: Vec<_> = {
        registry.broadcast("a", 1).unwrap();
        (0..10)
            .map(|_| wired_with(&registry, &COUNTING, with_flusher(), Registration::new()))
            .collect()
    };
    registry.broadcast("a", 2).unwrap();
    registry.broadcast("b", 3).unwrap();
    registry.broadcast("no subscriber", 4).unwrap();
    serve(&mut flusher);
    assert_eq!((encoded.load(Ordering::SeqCst), BUILT.load(Ordering::SeqCst)), (4, 4));
    let writes = |members: &[(SocketOutbox, Arc<Socket>)]| {
        members.iter().map(|(_, socket)| socket.writes()).sum::<usize>()
    };
    assert_eq!(
        (writes(&members), writes(&joined)),
        (100, 10),
        "and each subscriber is written to once"
    );
}

#[test]
fn del_1_a_turn_costs_its_matches() {
    let steps = |others: usize, filter: &[&str]| {
        let (registry, mut flusher) = registry_and_flusher();
        let _crowd: Vec<_> = (0..others).map(|_| wired(&registry, hears(filter))).collect();
        let _few: Vec<_> = (0..10).map(|_| wired(&registry, hears(&["quiet"]))).collect();
        let _several: Vec<_> =
            (0..10).map(|_| wired(&registry, hears(&["quiet", "other"]))).collect();
        serve(&mut flusher);
        let before = registry.stats().visits;
        registry.broadcast("quiet", 1).unwrap();
        serve(&mut flusher);
        registry.stats().visits - before
    };
    let alone = steps(0, &["crowded"]);
    assert_eq!(
        alone, 30,
        "ten of one channel, ten of several that are also sorted by what they hear"
    );
    assert_eq!(steps(5_000, &["crowded"]), alone);
    assert_eq!(steps(5_000, &["crowded", "more"]), alone);
}

/// Many subscribers join while the flusher does not run, and hear few of the broadcasts.
#[test]
fn prg_1_new_subscribers_cost_a_visit_for_each_segment_and_a_flusher_pauses_while_it_plans() {
    let (registry, mut flusher) = registry_and_flusher();
    let _joined: Vec<_> = (0..5_000).map(|_| wired(&registry, hears(&["quiet"]))).collect();
    let (_one, socket) = wired(&registry, hears(&["busy"]));
    // Values below a thousand have short frames.
    (0..20_000).for_each(|n| assert_eq!(registry.broadcast("busy", n % 1_000).unwrap().matched, 1));
    let mut steps = vec![registry.stats().visits];
    while flusher.poll_serve(&mut noop(), now()).is_ready() {
        steps.push(registry.stats().visits);
    }
    steps.push(registry.stats().visits);
    assert_eq!(socket.values(), (0..20_000).map(|n| n % 1_000).collect::<Vec<_>>());
    let most = steps.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(most < Some(128 * 64 + 2 * 5_001), "{most:?} in one call");
    let all = steps.last().unwrap() - steps[0];
    assert!(
        all < 8 * 5_001,
        "{all}: to join and to be looked at in four thousand broadcasts, five segments"
    );
}

#[test]
fn del_1_a_delivery_allocates_nothing() {
    let allocations = |members: usize, filter: &[&str]| {
        let (registry, mut flusher) = registry_and_flusher();
        let wire = Arc::new(Nothing);
        let _members: Vec<_> = (0..members)
            .map(|_| {
                let outbox = registry.open_outbox(&BARE, with_flusher(), hears(filter)).unwrap();
                outbox.attach(wire.clone())
            })
            .collect();
        serve(&mut flusher);
        let mut counted = 0;
        for n in 0..3 {
            // The first turns may still allocate buffers for later ones.
            counted = allocation_counter::measure(|| {
                registry.broadcast("a", n).unwrap();
                serve(&mut flusher);
            })
            .count_total;
        }
        counted
    };
    assert_eq!(allocations(1_000, &["a"]), allocations(10, &["a"]));
    // Subscribers of several channels are grouped by the broadcasts of the turn that they hear.
    let (few, many) = (allocations(10, &["a", "b"]), allocations(1_000, &["a", "b"]));
    assert!(many < few + 40, "{few} allocations for ten, {many} for a thousand");
}
