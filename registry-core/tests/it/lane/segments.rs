//! How a turn is cut into writes, and where a flusher pauses.

use super::*;
use crate::wire::*;
use registry_core::{
    LaneOptions, Progress, Registration, RegistryOptions, SubscriberRegistry, Wire, WireFormat,
};
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

struct Sizes(Arc<Mutex<Vec<usize>>>);

impl Wire for Sizes {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push(bytes.len());
        Ok(bytes.len())
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn rev_3_one_write_holds_at_most_64_kib_or_one_message() {
    let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), ones);
    let mut flusher = registry.open_lane(LaneOptions::new());
    let outbox = registry.open_outbox(&DIGITS, with_flusher(), Registration::new()).unwrap();
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let _outbox = outbox.attach(Arc::new(Sizes(sizes.clone())));
    // Each counts 64 bytes more, for the framing.
    for length in [40_000, 20_000, 10_000, 65_536, 1, 300_000, 40_000, 25_408, 2, 3] {
        registry.broadcast("c", length).unwrap();
    }
    serve(&mut flusher);
    assert_eq!(*sizes.lock().unwrap(), [60_000, 10_000, 65_536, 1, 300_000, 65_408, 5]);
}

/// A frame of fifty bytes for a payload of one digit.
static PADDED: WireFormat =
    WireFormat::new("padded", |_, _, out| out.extend_from_slice(&[b'x'; 50]));

#[test]
fn rev_3_many_short_messages_do_not_make_a_write_of_more_than_64_kib() {
    let (registry, mut flusher) = registry_and_flusher();
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let outbox = registry.open_outbox(&PADDED, with_flusher(), Registration::new()).unwrap();
    let _outbox = outbox.attach(Arc::new(Sizes(sizes.clone())));
    for _ in 0..10_000 {
        registry.broadcast("c", 1).unwrap();
    }
    serve(&mut flusher);
    assert_eq!(registry.stats().lane_messages, 10_000);
    let longest = sizes.lock().unwrap().iter().copied().max().unwrap_or(0);
    assert!((32 * 1024..=64 * 1024).contains(&longest), "{longest} bytes in one write");
}

#[test]
fn ord_1_a_pause_within_a_turn_keeps_the_order() {
    let (registry, mut flusher) = registry_and_flusher();
    let members: Vec<_> = (0..300).map(|_| wired(&registry, Registration::new())).collect();
    registry.broadcast("c", 1).unwrap();
    let mut pauses = 0;
    while let Poll::Ready(served) = flusher.poll_serve(&mut noop(), now()) {
        assert_eq!(served, Progress::More);
        pauses += 1;
        // A broadcast in a pause belongs to the next turn.
        registry.broadcast("c", 1 + pauses).unwrap();
        if pauses > 10 {
            break;
        }
    }
    serve(&mut flusher);
    let expected: Vec<u32> = (1..=1 + pauses).collect();
    assert!(pauses > 2 && members.iter().all(|(_, socket)| socket.values() == expected));
}

#[test]
fn prg_1_a_flusher_pauses_once_more_after_a_turn_of_more_than_64_writes() {
    for (members, served) in [(64, Poll::Pending), (65, Poll::Ready(Progress::More))] {
        let (registry, mut flusher) = registry_and_flusher();
        let members: Vec<_> = (0..members).map(|_| wired(&registry, Registration::new())).collect();
        registry.broadcast("c", 1).unwrap();
        assert_eq!(flusher.poll_serve(&mut noop(), now()), served);
        assert!(members.iter().all(|(_, socket)| socket.values() == [1]));
        assert!(flusher.poll_serve(&mut noop(), now()).is_pending());
    }
}

#[test]
fn prg_1_a_flusher_pauses_after_128_writes_and_sooner_when_they_are_long() {
    let served_by_one_call = |value: u32| {
        let (registry, mut flusher) = registry_and_flusher();
        let members: Vec<_> = (0..500).map(|_| wired(&registry, Registration::new())).collect();
        serve(&mut flusher);
        registry.broadcast("c", value).unwrap();
        assert_eq!(flusher.poll_serve(&mut noop(), now()), Poll::Ready(Progress::More));
        let writes = members.iter().filter(|(_, socket)| socket.writes() > 0).count();
        assert_eq!(registry.stats().lane_writes, writes as u64);
        writes
    };
    assert_eq!(served_by_one_call(1), 128);
    assert_eq!(served_by_one_call(60_000), 32, "a write of 64 KiB counts as 4");
}
