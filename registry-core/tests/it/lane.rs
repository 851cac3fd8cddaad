//! Lanes: what flushers, gates and wires promise, by requirement.

use crate::kit::*;
use crate::wire::*;
use bytes::BytesMut;
use registry_core::{
    CloseReason, EncodeError, Flusher, LaneOptions, MessageId, Outbox, OutboxOptions, Overflow, Registration, Served,
    SubscriberRegistry, Taken, Wire, WireFormat,
};
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

fn lane() -> (Registry, Flusher<u32>) {
    let registry = encoding();
    let flusher = registry.open_lane(LaneOptions::new());
    (registry, flusher)
}

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn ended_as(registry: &Registry, reason: CloseReason) -> u64 {
    registry.stats().ended.get(&reason).copied().unwrap_or(0)
}

fn lossy() -> OutboxOptions {
    in_lane().with_overflow(Overflow::DropOldest)
}

/// A payload that counts how many of its kind live, and whose destructor may panic. Not in a test that is failing, which
/// would end the process before it says why.
struct Load {
    number: u32,
    _life: Arc<()>,
    explodes: bool,
}

impl Drop for Load {
    fn drop(&mut self) {
        if self.explodes && !std::thread::panicking() {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }
}

/// Makes payloads that share one life.
struct Loads(Arc<()>);

impl Loads {
    fn new() -> Self {
        Self(Arc::new(()))
    }

    fn make(&self, number: u32, explodes: bool) -> Load {
        Load { number, _life: self.0.clone(), explodes }
    }

    fn alive(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

fn loaded(options: LaneOptions) -> (SubscriberRegistry<Load>, Flusher<Load>) {
    let registry = SubscriberRegistry::<Load>::new();
    registry.encode_with(|load: &Load| Ok::<_, EncodeError>(load.number.to_string().into()));
    let flusher = registry.open_lane(options);
    (registry, flusher)
}

fn wired_load(registry: &SubscriberRegistry<Load>, options: OutboxOptions) -> (Outbox, Arc<Socket>) {
    let outbox = registry.open_outbox(&BARE, options, group("a")).unwrap();
    let socket = Socket::new();
    outbox.attach(socket.clone());
    (outbox, socket)
}

// --- order, and who hears what ---

#[test]
fn ord_1_a_turn_is_one_write_for_each_and_in_order() {
    let (registry, mut flusher) = lane();
    let (_all, all) = wired(&registry, Registration::new());
    let (_one, one) = wired(&registry, hears(&["a"]));
    let (_two, two) = wired(&registry, hears(&["a", "b"]));
    let (_none, none) = wired(&registry, hears(&[]));
    for n in 1..=6 {
        let report = registry.broadcast(["a", "b", "c"][n as usize % 3], n).unwrap();
        assert_eq!((report.accepted, report.matched), ([3, 2, 1][n as usize % 3], [3, 2, 1][n as usize % 3]));
    }
    assert_eq!((all.bytes(), none.bytes()), (vec![], vec![]), "a broadcast leaves the writing to the flusher");
    serve(&mut flusher);
    assert_eq!(all.values(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(one.values(), [3, 6]);
    assert_eq!(two.values(), [1, 3, 4, 6]);
    assert_eq!((all.writes(), one.writes(), two.writes(), none.writes()), (1, 1, 1, 0));
    let stats = registry.stats();
    assert_eq!((stats.lane_writes, stats.lane_messages, stats.in_lanes, stats.wired), (3, 12, 4, 4));
}

#[test]
fn re_3_who_joins_within_a_turn_hears_what_came_after_it() {
    let (registry, mut flusher) = lane();
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
    assert_eq!(two.bytes(), b"", "who left before its turn is not written to");
    registry.broadcast("a", 6).unwrap();
    serve(&mut flusher);
    assert_eq!((first.values().len(), all.values().len(), one.values()), (6, 5, vec![3, 6]));
}

/// Who joins in the middle of a turn is served segment by segment, like those who were there before it.
#[test]
fn re_3_who_joins_many_segments_into_a_turn_hears_exactly_what_came_after_it() {
    // 200 channels are four segments; of one channel, 64 KiB with 64 bytes and a number for each are about 900 messages.
    let many: Vec<String> = (0..200).map(|n| format!("c{n}")).collect();
    let one = vec!["c0".to_owned(); 3_000];
    let at_borders_of_channels = [0, 1, 63, 64, 65, 100, 127, 128, 129, 191, 192, 199, 200];
    let at_borders_of_bytes = [0, 1, 500, 880, 930, 970, 1_500, 2_000, 2_999, 3_000];
    for (casts, joins) in [(&many, &at_borders_of_channels[..]), (&one, &at_borders_of_bytes[..])] {
        let (registry, mut flusher) = lane();
        let (_first, first) = wired(&registry, Registration::new());
        serve(&mut flusher);
        let mut members = Vec::new();
        for at in 0..=casts.len() {
            if joins.contains(&at) {
                let all: Vec<&str> = many.iter().map(String::as_str).collect();
                for filter in
                    [None, Some(&all[..]), Some(&["c0", "c63", "c64", "c130"]), Some(&["c0"]), Some(&["c199"])]
                {
                    let member = wired(&registry, filter.map_or(Registration::new(), hears));
                    members.push((at, filter.map(<[&str]>::to_vec), member));
                }
            }
            if let Some(channel) = casts.get(at) {
                registry.broadcast(channel, at as u32 % 1_000).unwrap();
            }
        }
        serve(&mut flusher);
        assert!(first.writes() >= 4, "it was no turn of several segments");
        assert_eq!(first.read().len(), casts.len());
        for (at, filter, (_, socket)) in &members {
            let hears = |n: &usize| filter.as_ref().is_none_or(|names| names.contains(&casts[*n].as_str()));
            let expected = (*at..casts.len()).filter(hears);
            let expected: Vec<_> = expected.map(|n| Read::Message(n as u64 + 1, n as u32 % 1_000)).collect();
            assert_eq!(socket.read(), expected, "who came after {at} of {}, {filter:?}", casts.len());
        }
    }
}

#[test]
fn drn_1_who_drains_within_a_turn_hears_all_before_and_nothing_after() {
    let (registry, mut flusher) = lane();
    let (outbox, socket) = wired(&registry, hears(&["a"]));
    let (_other, other) = wired(&registry, hears(&["a"]));
    registry.broadcast("a", 1).unwrap();
    outbox.end(CloseReason::Shutdown);
    registry.broadcast("a", 2).unwrap();
    // A draining subscriber has given its channel up; the number of the channel goes to another.
    let (_next, next) = wired(&registry, hears(&["b"]));
    registry.broadcast("b", 3).unwrap();
    assert_eq!(flush(&outbox, &socket), None, "its flusher has yet to bring the first");
    serve(&mut flusher);
    assert_eq!((socket.values(), other.values(), next.values()), (vec![1], vec![1, 2], vec![3]));
    assert_eq!(flush(&outbox, &socket), Some(CloseReason::Shutdown));
}

#[test]
fn flt_1_a_channel_number_that_is_used_again_within_a_turn_brings_nothing_of_the_other() {
    let (registry, mut flusher) = lane();
    let ends: [fn(Outbox) -> Option<Outbox>; 2] = [
        |outbox| {
            drop(outbox);
            None
        },
        |outbox| {
            outbox.end(CloseReason::Shutdown);
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
                assert_eq!(socket.values(), if drained { vec![1] } else { vec![] }, "{filter:?}, served: {served}");
                assert_eq!(next.values(), [2]);
                drop(next_outbox);
                serve(&mut flusher);
            }
        }
    }
}

#[test]
fn flt_1_more_channels_than_a_mask_has_bits_are_told_apart() {
    let names: Vec<String> = (0..200).map(|n| format!("c{n}")).collect();
    let some =
        |from: usize, step: usize| -> Vec<&str> { names.iter().skip(from).step_by(step).map(String::as_str).collect() };
    // Who was there before the turn is sorted by masks, and who joins in it is looked at one by one.
    for there_before in [true, false] {
        let (registry, mut flusher) = lane();
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

/// Frames as long as their payload, which is of digits.
static DIGITS: WireFormat = WireFormat::new("digits", |_, body, out| out.extend_from_slice(body));

#[test]
fn rev_3_one_write_holds_at_most_64_kib_or_one_message() {
    let registry = SubscriberRegistry::<usize>::new();
    registry.encode_with(|length: &usize| Ok::<_, EncodeError>(vec![b'1'; *length].into()));
    let mut flusher = registry.open_lane(LaneOptions::new());
    let outbox = registry.open_outbox(&DIGITS, in_lane(), Registration::new()).unwrap();
    let sizes = Arc::new(Mutex::new(Vec::new()));
    outbox.attach(Arc::new(Sizes(sizes.clone())));
    // Each counts 64 bytes more, for what a format adds.
    for length in [40_000, 20_000, 10_000, 65_536, 1, 300_000, 40_000, 25_408, 2, 3] {
        registry.broadcast("c", length).unwrap();
    }
    serve(&mut flusher);
    assert_eq!(*sizes.lock().unwrap(), [60_000, 10_000, 65_536, 1, 300_000, 65_408, 5]);
}

#[test]
fn prg_3_a_publisher_waits_for_a_flusher_that_has_more_than_128_kib_before_it() {
    let registry = SubscriberRegistry::<usize>::new();
    registry.encode_with(|length: &usize| Ok::<_, EncodeError>(vec![b'1'; *length].into()));
    let mut flusher = registry.open_lane(LaneOptions::new());
    let (_outbox, socket) = {
        let outbox = registry.open_outbox(&DIGITS, in_lane(), Registration::new()).unwrap();
        let socket = Socket::new();
        outbox.attach(socket.clone());
        (outbox, socket)
    };
    let (wakes, waker) = Wakes::new();
    let mut caught_up = Box::pin(registry.caught_up());
    let mut poll = || caught_up.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
    // Each counts 128 bytes more than its payload.
    registry.broadcast("c", 128 * 1024 - 128).unwrap();
    assert!(poll());
    registry.broadcast("c", 0).unwrap();
    assert!(!poll() && !poll());
    assert_eq!(wakes.count(), 0);
    serve(&mut flusher);
    assert_eq!((wakes.count(), socket.bytes().len()), (1, 128 * 1024 - 128), "who polls again waits once");
    assert!(poll());
    (0..2).for_each(|_| assert_eq!(registry.broadcast("c", 128 * 1024).unwrap().accepted, 1));
    assert!(!poll());
    drop(flusher);
    assert_eq!((wakes.count(), poll()), (2, true), "nobody waits for a flusher that is gone");
}

#[test]
fn prg_3_publishers_who_look_again_and_again_while_they_wait_stand_there_once() {
    let (registry, mut flusher) = lane();
    let (_outbox, _socket) = wired(&registry, Registration::new());
    (0..1_100).for_each(|n| assert_eq!(registry.broadcast("c", n % 10).unwrap().accepted, 1));
    let (wakes, wakers): (Vec<_>, Vec<_>) = (0..2).map(|_| Wakes::new()).unzip();
    let mut waits: Vec<_> = wakers.iter().map(|_| Box::pin(registry.caught_up())).collect();
    for _ in 0..5 {
        for (waiting, waker) in waits.iter_mut().zip(&wakers) {
            assert!(waiting.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        }
    }
    serve(&mut flusher);
    assert_eq!(wakes.iter().map(|wakes| wakes.count()).collect::<Vec<_>>(), [1, 1]);
}

/// Which of three lanes are behind, and in which order they catch up.
#[test]
fn prg_3_a_publisher_waits_for_every_flusher_that_is_behind() {
    for behind in [&[0][..], &[1], &[2], &[0, 2], &[2, 0], &[1, 2], &[2, 1], &[0, 1, 2], &[2, 1, 0]] {
        let registry = encoding();
        let mut flushers: Vec<_> = (0..3).map(|_| registry.open_lane(LaneOptions::new())).collect();
        let names = ["a", "b", "c"];
        let _members = names.map(|name| wired(&registry, hears(&[name])));
        for lane in behind {
            // Each counts 128 bytes and a digit.
            (0..1_100).for_each(|_| assert_eq!(registry.broadcast(names[*lane], 1).unwrap().accepted, 1));
        }
        let (wakes, waker) = Wakes::new();
        let mut caught_up = Box::pin(registry.caught_up());
        let mut polled = caught_up.as_mut().poll(&mut Context::from_waker(&waker));
        let mut followed = 0;
        for lane in behind {
            assert!(polled.is_pending(), "{behind:?}: it does not wait for {lane}");
            serve(&mut flushers[*lane]);
            // A publisher who is not woken does not look.
            if wakes.count() > followed {
                followed = wakes.count();
                polled = caught_up.as_mut().poll(&mut Context::from_waker(&waker));
            }
        }
        assert!(polled.is_ready(), "{behind:?}: it waits for ever");
    }
}

struct Sizes(Arc<Mutex<Vec<usize>>>);

impl Wire for Sizes {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push(bytes.len());
        Ok(bytes.len())
    }
}

/// Notes the longest write.
#[derive(Default)]
struct Longest(std::sync::atomic::AtomicUsize);

impl Wire for Longest {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_max(bytes.len(), std::sync::atomic::Ordering::SeqCst);
        Ok(bytes.len())
    }
}

/// A digit becomes fifty bytes, as in an event with its id.
static PADDED: WireFormat = WireFormat::new("padded", |_, _, out| out.extend_from_slice(&[b'x'; 50]));

#[test]
fn rev_3_many_short_messages_do_not_make_a_write_of_more_than_64_kib() {
    let (registry, mut flusher) = lane();
    let wire = Arc::new(Longest::default());
    let outbox = registry.open_outbox(&PADDED, in_lane(), Registration::new()).unwrap();
    outbox.attach(wire.clone());
    for _ in 0..10_000 {
        registry.broadcast("c", 1).unwrap();
    }
    serve(&mut flusher);
    assert_eq!(registry.stats().lane_messages, 10_000);
    let longest = wire.0.load(std::sync::atomic::Ordering::SeqCst);
    assert!((32 * 1024..=64 * 1024).contains(&longest), "{longest} bytes in one write");
}

#[test]
fn ord_1_a_pause_within_a_turn_keeps_the_order() {
    let (registry, mut flusher) = lane();
    let members: Vec<_> = (0..300).map(|_| wired(&registry, Registration::new())).collect();
    registry.broadcast("c", 1).unwrap();
    let mut pauses = 0;
    while let Poll::Ready(served) = flusher.poll_serve(&mut noop(), now()) {
        assert_eq!(served, Served::More);
        pauses += 1;
        // What is published, joins or leaves in a pause belongs to the next turn.
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
    for (members, served) in [(64, Poll::Pending), (65, Poll::Ready(Served::More))] {
        let (registry, mut flusher) = lane();
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
        let (registry, mut flusher) = lane();
        let members: Vec<_> = (0..500).map(|_| wired(&registry, Registration::new())).collect();
        serve(&mut flusher);
        registry.broadcast("c", value).unwrap();
        assert_eq!(flusher.poll_serve(&mut noop(), now()), Poll::Ready(Served::More));
        let writes = members.iter().filter(|(_, socket)| socket.writes() > 0).count();
        assert_eq!(registry.stats().lane_writes, writes as u64);
        writes
    };
    assert_eq!(served_by_one_call(1), 128);
    assert_eq!(served_by_one_call(60_000), 32, "a write of 64 KiB counts as 4");
}

// --- the wire ---

#[test]
fn rev_12_no_write_follows_a_revocation_and_a_farewell_only_at_the_end_of_a_frame() {
    for room in [0, 3, usize::MAX] {
        let (registry, mut flusher) = lane();
        let (outbox, socket) = wired(&registry, group("a"));
        socket.set_room(room);
        registry.broadcast("c", 1).unwrap();
        serve(&mut flusher);
        registry.broadcast("c", 2).unwrap();
        outbox.say(&said(0), now());
        assert_eq!(outbox.unsaid(), if room == usize::MAX { 0 } else { said(0).len() });
        assert_eq!(registry.close_by_identity(&id("a")), 1);
        assert_eq!(outbox.unsaid(), 0, "what the owner said before is discarded too");
        socket.seal();
        socket.set_room(usize::MAX);
        outbox.say(&said(1), now());
        assert_eq!(flush(&outbox, &socket), Some(CloseReason::Revoked));
        serve(&mut flusher);
        assert_eq!((socket.late(), outbox.is_mid_frame(), outbox.unsaid()), (0, room == 3, 0), "{room}");
    }
}

#[test]
fn rev_3_an_end_gives_back_all_that_waited_while_its_owner_holds_on() {
    let (registry, mut flusher) = lane();
    let (outbox, socket) = wired(&registry, group("a"));
    socket.set_room(10);
    // The first is written in part, the second waits, and the owner's own waits too.
    for value in [60_000, 50_000] {
        registry.broadcast("c", value).unwrap();
        serve(&mut flusher);
    }
    outbox.say(&[b'#'; 40_000], now());
    assert!(outbox.is_mid_frame());
    let used = allocation_counter::measure(|| assert_eq!(registry.close_by_identity(&id("a")), 1));
    assert!(used.bytes_current < -150_000, "something of it is kept: {used:?}");
    assert_eq!((flush(&outbox, &socket), outbox.is_mid_frame()), (Some(CloseReason::Revoked), true));
}

#[test]
fn que_1_what_does_not_fit_waits_and_its_owner_writes_it() {
    let (registry, mut flusher) = lane();
    let (outbox, socket) = wired_with(&registry, &ENVELOPED, in_lane(), Registration::new());
    let (wakes, waker) = Wakes::new();
    assert!(flush_with(&outbox, &socket, &waker).is_pending());
    socket.set_room(5);
    let now = crate::wire::now();
    registry.broadcast("c", 1).unwrap();
    registry.broadcast("c", 2).unwrap();
    assert!(flusher.poll_serve(&mut noop(), now).is_pending());
    assert_eq!((wakes.count(), outbox.is_mid_frame(), outbox.wrote()), (1, true, Some(now)));
    registry.broadcast("c", 3).unwrap();
    serve(&mut flusher);
    assert_eq!(wakes.count(), 1, "an owner that waits for room is not woken for more");
    outbox.say(&said(0), now);
    assert!(outbox.unsaid() > 0);
    for _ in 0..30 {
        socket.set_room(4);
        assert_eq!(flush(&outbox, &socket), None);
    }
    let (reads, partial) = read(&socket.bytes(), true);
    assert_eq!(reads, [Read::Message(1, 1), Read::Message(2, 2), Read::Said(0), Read::Message(3, 3)]);
    assert_eq!((partial.len(), outbox.is_mid_frame(), outbox.unsaid()), (0, false, 0));
    // It is open again: the flusher writes.
    socket.set_room(usize::MAX);
    let before = registry.stats().lane_writes;
    registry.broadcast("c", 4).unwrap();
    serve(&mut flusher);
    assert_eq!(registry.stats().lane_writes, before + 1);
    assert_eq!(read(&socket.bytes(), true).0.len(), 5);
}

#[test]
fn que_2_the_owner_of_a_wire_that_takes_nothing_is_woken_once() {
    let (registry, mut flusher) = lane();
    let (outbox, socket) = wired(&registry, Registration::new());
    let (wakes, waker) = Wakes::new();
    assert!(flush_with(&outbox, &socket, &waker).is_pending());
    socket.set_room(0);
    for n in 1..=3 {
        registry.broadcast("c", n).unwrap();
        serve(&mut flusher);
        assert_eq!((wakes.count(), outbox.is_waiting()), (1, true));
        assert!(flush_with(&outbox, &socket, &waker).is_pending());
    }
    socket.set_room(usize::MAX);
    assert_eq!((flush(&outbox, &socket), socket.values()), (None, vec![1, 2, 3]));
    assert!(!outbox.is_waiting());
}

#[test]
fn ord_1_a_wire_that_comes_late_gets_what_its_owner_had_said_although_nothing_is_queued() {
    let (registry, _flusher) = lane();
    let outbox = registry.open_outbox(&BARE, OutboxOptions::new(), Registration::new()).unwrap();
    let socket = Socket::new();
    outbox.say(&said(7), now());
    outbox.attach(socket.clone());
    assert!(outbox.is_waiting());
    assert_eq!((flush(&outbox, &socket), outbox.is_waiting()), (None, false));
    assert_eq!(socket.read(), [Read::Said(7)]);
}

#[test]
fn ord_1_a_wire_that_comes_late_gets_what_was_queued_first() {
    for in_lane in [true, false] {
        let (registry, mut flusher) = lane();
        let options = if in_lane { OutboxOptions::new().in_lane() } else { OutboxOptions::new() };
        let outbox = registry.open_outbox(&BARE, options, Registration::new()).unwrap();
        let socket = Socket::new();
        let (wakes, waker) = Wakes::new();
        assert!(flush_with(&outbox, &socket, &waker).is_pending());
        outbox.say(&said(0), now());
        registry.broadcast("c", 1).unwrap();
        serve(&mut flusher);
        let before = wakes.count();
        assert!(flush_with(&outbox, &socket, &waker).is_pending());
        outbox.attach(socket.clone());
        assert!(outbox.is_wired());
        assert_eq!(wakes.count(), before + 1, "there is something to write now");
        registry.broadcast("c", 2).unwrap();
        serve(&mut flusher);
        assert_eq!(flush(&outbox, &socket), None);
        registry.broadcast("c", 3).unwrap();
        serve(&mut flusher);
        assert_eq!(flush(&outbox, &socket), None);
        let expected = [Read::Said(0), Read::Message(1, 1), Read::Message(2, 2), Read::Message(3, 3)];
        assert_eq!(socket.read(), expected, "in a lane: {in_lane}");
        outbox.attach(Socket::new());
        registry.broadcast("c", 4).unwrap();
        serve(&mut flusher);
        assert_eq!(flush(&outbox, &socket), None);
        assert_eq!(socket.values(), [1, 2, 3, 4], "a later wire is ignored");
    }
}

#[test]
fn rev_3_a_wire_that_comes_after_the_end_finds_nothing_waiting() {
    let registry = encoding();
    let options = OutboxOptions::new().with_overflow(Overflow::DropOldest).with_max_messages(size(1));
    let outbox = registry.open_outbox(&BARE, options, group("a")).unwrap();
    (1..=2).for_each(|n| assert_eq!(registry.broadcast("c", n).unwrap().accepted, 1));
    registry.close_by_identity(&id("a"));
    let socket = Socket::new();
    outbox.attach(socket.clone());
    assert!(!outbox.is_waiting(), "the notice of a loss was discarded with the rest");
    assert_eq!((flush(&outbox, &socket), socket.bytes()), (Some(CloseReason::Revoked), vec![]));
}

#[test]
fn del_1_an_outbox_in_no_lane_is_written_by_its_owner() {
    let registry = encoding();
    // It asks for a lane, and there is none.
    let (outbox, socket) = wired(&registry, Registration::new());
    let (wakes, waker) = Wakes::new();
    assert!(flush_with(&outbox, &socket, &waker).is_pending());
    assert_eq!(registry.broadcast("c", 1).unwrap().accepted, 1);
    assert_eq!(wakes.count(), 1);
    assert_eq!(flush(&outbox, &socket), None);
    assert_eq!(socket.values(), [1]);
}

#[test]
fn drn_1_an_outbox_in_no_lane_drains() {
    let registry = encoding();
    let mut unwired = registry.open_outbox(&RAW, in_lane(), Registration::new()).unwrap();
    let (outbox, socket) = wired(&registry, Registration::new());
    registry.broadcast("c", 1).unwrap();
    registry.begin_shutdown();
    assert_eq!(frames(&mut unwired), [1]);
    assert_eq!(poll(&mut unwired), Some(Taken::Closed(CloseReason::Shutdown)));
    assert_eq!(flush(&outbox, &socket), Some(CloseReason::Shutdown));
    assert_eq!(socket.values(), [1]);
}

#[test]
fn ord_1_what_the_owner_says_stands_between_frames_and_wakes_who_has_to_write_it() {
    let (registry, mut flusher) = lane();
    let (outbox, socket) = wired(&registry, Registration::new());
    let (wakes, waker) = Wakes::new();
    let first = now();
    outbox.say(&said(0), first);
    assert_eq!(socket.read(), [Read::Said(0)], "at once, when nothing waits");
    assert!(flush_with(&outbox, &socket, &waker).is_pending());
    socket.set_room(0);
    outbox.say(&said(1), first + Duration::from_secs(9));
    assert_eq!(outbox.wrote(), Some(first), "nothing was taken");
    assert_eq!(wakes.count(), 1, "something is left to write");
    registry.broadcast("c", 1).unwrap();
    serve(&mut flusher);
    socket.set_room(1);
    assert_eq!(flush(&outbox, &socket), None);
    assert!(outbox.is_mid_frame());
    outbox.say(&said(2), now());
    socket.set_room(usize::MAX);
    assert_eq!(flush(&outbox, &socket), None);
    assert_eq!(socket.read(), [Read::Said(0), Read::Said(1), Read::Said(2), Read::Message(1, 1)]);
    assert!(!outbox.is_mid_frame());
}

#[test]
fn clo_4_a_wire_that_breaks_ends_its_subscriber_and_no_other() {
    let (registry, mut flusher) = lane();
    let (outbox, socket) = wired(&registry, group("a"));
    let (_other, other) = wired(&registry, Registration::new());
    let (wakes, waker) = Wakes::new();
    assert!(flush_with(&outbox, &socket, &waker).is_pending());
    socket.break_down();
    registry.broadcast("c", 1).unwrap();
    serve(&mut flusher);
    assert_eq!((registry.len(), ended_as(&registry, CloseReason::Unsubscribed), wakes.count()), (1, 1, 1));
    assert_eq!(flush(&outbox, &socket), Some(CloseReason::Unsubscribed));
    assert_eq!((other.values(), registry.close_by_identity(&id("a"))), (vec![1], 0));
}

/// Takes nothing for a reason that passes.
struct Odd(Mutex<Vec<io::Result<usize>>>, Arc<Socket>);

impl Wire for Odd {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().pop().unwrap_or_else(|| self.1.try_write(bytes))
    }
}

#[test]
fn ord_1_a_write_that_is_interrupted_or_takes_nothing_loses_nothing() {
    for odd in [Ok(0), Err(io::ErrorKind::Interrupted.into()), Err(io::ErrorKind::WouldBlock.into())] {
        let (registry, mut flusher) = lane();
        let outbox = registry.open_outbox(&BARE, in_lane(), Registration::new()).unwrap();
        let socket = Socket::new();
        let again = io::Error::from(io::ErrorKind::Interrupted);
        let wire = Odd(Mutex::new(vec![Err(again), odd]), socket.clone());
        let wire = Arc::new(wire);
        outbox.attach(wire.clone());
        registry.broadcast("c", 1).unwrap();
        serve(&mut flusher);
        assert_eq!((outbox.is_mid_frame(), outbox.wrote()), (false, None), "nothing was taken");
        registry.broadcast("c", 2).unwrap();
        serve(&mut flusher);
        let polled = outbox.poll_flush(&mut noop(), now(), |_| Poll::Ready(Ok(())), |bytes| wire.try_write(bytes));
        assert!(polled.is_pending(), "{polled:?}");
        assert_eq!(socket.values(), [1, 2]);
    }
}

#[test]
fn clo_4_an_owner_learns_that_its_peer_is_gone() {
    for (room, written, kind) in [
        (Ok(()), Ok(0), io::ErrorKind::WriteZero),
        (Ok(()), Err(io::ErrorKind::ConnectionReset), io::ErrorKind::ConnectionReset),
        (Err(io::ErrorKind::BrokenPipe), Ok(1), io::ErrorKind::BrokenPipe),
    ] {
        let (registry, mut flusher) = lane();
        let (outbox, socket) = wired(&registry, Registration::new());
        socket.set_room(0);
        registry.broadcast("c", 1).unwrap();
        serve(&mut flusher);
        let (mut room, mut written) = (Some(room.map_err(io::Error::from)), Some(written.map_err(io::Error::from)));
        // Who is asked a second time has not learned of it.
        let has_room = |_: &mut Context<'_>| Poll::Ready(room.take().expect("it goes on"));
        let flushed = outbox.poll_flush(&mut noop(), now(), has_room, |_| written.take().expect("it goes on"));
        let Poll::Ready(Err(error)) = flushed else { panic!("{flushed:?}") };
        assert_eq!(error.kind(), kind);
        drop(outbox);
        assert!(registry.is_empty());
    }
}

// --- bounds ---

#[test]
fn que_1_a_lane_obeys_the_policy_of_each_outbox() {
    let (registry, mut flusher) = lane();
    let bounded = |overflow| in_lane().with_max_messages(size(2)).with_overflow(overflow);
    let [close, oldest, newest, latest] =
        [Overflow::Close, Overflow::DropOldest, Overflow::DropNewest, Overflow::KeepLatest].map(|overflow| {
            let (outbox, socket) = wired_with(&registry, &BARE, bounded(overflow), Registration::new());
            socket.set_room(0);
            (outbox, socket)
        });
    for (channel, n) in [("a", 1), ("b", 2), ("a", 3), ("b", 4), ("b", 5)] {
        assert_eq!(registry.broadcast(channel, n).unwrap().accepted, 4);
    }
    serve(&mut flusher);
    assert_eq!((registry.len(), registry.stats().dropped), (3, 9));
    let told = |(outbox, socket): &(Outbox, Arc<Socket>)| {
        socket.set_room(usize::MAX);
        assert_eq!(flush(outbox, socket), None);
        (socket.read().first().copied(), socket.values())
    };
    assert_eq!(told(&oldest), (Some(Read::Lost(3)), vec![4, 5]));
    assert_eq!(told(&newest), (Some(Read::Lost(3)), vec![1, 2]));
    assert_eq!(told(&latest), (Some(Read::Lost(3)), vec![3, 5]));
    assert_eq!(flush(&close.0, &close.1), Some(CloseReason::Lagged));
    assert_eq!((close.1.bytes(), ended_as(&registry, CloseReason::Lagged)), (vec![], 1));
}

#[test]
fn que_1_a_log_that_is_full_counts_what_it_has_no_room_for_and_every_peer_is_told() {
    let registry = encoding();
    // Room for three: 128 bytes and a digit each.
    let mut flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(3 * 129)));
    let (close, closed) = wired(&registry, hears(&["a"]));
    let (_open, open) = wired_with(&registry, &BARE, lossy(), Registration::new());
    let (_two, two) = wired_with(&registry, &BARE, lossy(), hears(&["a", "b"]));
    let (_other, other) = wired(&registry, hears(&["quiet"]));
    let mut unwired = registry.open_outbox(&RAW, lossy(), hears(&["b"])).unwrap();
    let reports: Vec<_> = [("a", 1), ("b", 2), ("a", 3), ("a", 4), ("b", 5), ("c", 6)]
        .map(|(channel, n)| registry.broadcast(channel, n).unwrap())
        .iter()
        .map(|report| (report.accepted, report.dropped, report.pending))
        .collect();
    assert_eq!(reports, [(3, 0, 0), (3, 0, 0), (3, 0, 0), (0, 3, 0), (0, 3, 0), (0, 1, 0)]);
    assert_eq!(registry.stats().dropped, 7);
    serve(&mut flusher);
    assert_eq!((flush(&close, &closed), closed.values()), (Some(CloseReason::Lagged), vec![1, 3]));
    assert_eq!(registry.stats().dropped, 7, "each loss is counted once");
    registry.broadcast("b", 7).unwrap();
    serve(&mut flusher);
    let lanes = [(&_open, &open), (&_two, &two)];
    lanes.iter().for_each(|(outbox, socket)| assert_eq!(flush(outbox, socket), None));
    let message = |seq, value| Read::Message(seq, value);
    assert_eq!(open.read(), [message(1, 1), message(2, 2), message(3, 3), Read::Lost(3), message(7, 7)]);
    assert_eq!(two.read(), [message(1, 1), message(2, 2), message(3, 3), Read::Lost(2), message(7, 7)]);
    assert_eq!((other.bytes(), registry.len()), (vec![], 4), "who missed nothing is told nothing, and stays");
    let Some(Taken::Frames(batch)) = poll(&mut unwired) else { panic!("nothing there") };
    assert_eq!((batch.lost, batch.frames.len()), (1, 2));
    // It is as new.
    registry.broadcast("a", 8).unwrap();
    serve(&mut flusher);
    assert_eq!((open.values().last(), two.values().last()), (Some(&8), Some(&8)));
}

#[test]
fn que_1_who_is_told_of_a_gap_is_told_before_the_next_message_and_without_it() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::KeepLatest] {
        let registry = encoding();
        let mut flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(1)));
        let (outbox, socket) = wired_with(&registry, &ENVELOPED, in_lane().with_overflow(overflow), hears(&["a"]));
        let (silent, unheard) = wired_with(&registry, &SILENT, in_lane().with_overflow(overflow), hears(&["a"]));
        let (wakes, waker) = Wakes::new();
        assert!(flush_with(&outbox, &socket, &waker).is_pending());
        registry.broadcast("a", 1).unwrap();
        registry.broadcast("a", 2).unwrap();
        serve(&mut flusher);
        assert_eq!(wakes.count(), 1);
        assert_eq!((flush(&outbox, &socket), flush(&silent, &unheard)), (None, None));
        assert_eq!(read(&socket.bytes(), true).0, [Read::Message(1, 1), Read::Lost(1)]);
        assert_eq!(read(&unheard.bytes(), true).0, [Read::Message(1, 1)], "and no empty envelope");
        let before = registry.stats().lane_writes;
        registry.broadcast("a", 3).unwrap();
        serve(&mut flusher);
        assert_eq!(registry.stats().lane_writes, before + 2, "both are open again");
        assert_eq!(read(&socket.bytes(), true).0.last(), Some(&Read::Message(3, 3)));
    }
}

#[test]
fn que_1_a_loss_that_comes_before_the_wire_is_told_before_the_first_message() {
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(1)));
    let _other = wired(&registry, hears(&["a"]));
    let outbox = registry.open_outbox(&BARE, lossy(), hears(&["b"])).unwrap();
    registry.broadcast("a", 1).unwrap();
    registry.broadcast("b", 2).unwrap();
    serve(&mut flusher);
    let socket = Socket::new();
    outbox.attach(socket.clone());
    registry.broadcast("b", 3).unwrap();
    serve(&mut flusher);
    assert_eq!((flush(&outbox, &socket), socket.read()), (None, vec![Read::Lost(1), Read::Message(3, 3)]));
}

#[test]
fn que_3_a_log_keeps_no_more_broadcasts_than_its_bound_and_who_joins_after_them_misses_nothing() {
    let loads = Loads::new();
    let (registry, mut flusher) = loaded(LaneOptions::new().with_max_bytes(size(10 * 129)));
    let (_outbox, socket) = wired_load(&registry, lossy());
    let mut guests = Vec::new();
    for n in 0..1_000 {
        registry.broadcast("c", loads.make(n % 10, false)).unwrap();
        if n % 100 == 50 {
            guests.push(wired_load(&registry, in_lane()));
        }
    }
    assert_eq!(loads.alive(), 10, "the log kept more than its bound");
    serve(&mut flusher);
    assert_eq!(loads.alive(), 0);
    assert_eq!(flush(&_outbox, &socket), None);
    let reads = socket.read();
    assert_eq!((reads.len(), reads.iter().filter(|read| matches!(read, Read::Message(..))).count()), (11, 10));
    let lost = |reads: &[Read]| reads.iter().map(|read| if let Read::Lost(n) = read { *n } else { 0 }).sum::<u64>();
    assert_eq!(lost(&reads), 990);
    assert_eq!(registry.len(), 1, "ten came when the log was full, missed what came then, and lagged");
    let guest = wired_load(&registry, in_lane());
    registry.broadcast("c", loads.make(7, false)).unwrap();
    serve(&mut flusher);
    assert_eq!(guest.1.values(), [7]);
}

#[test]
fn del_7_the_report_counts_each_match_once_whoever_serves_it() {
    let registry = encoding();
    // The first lane has room for one broadcast, the others for all.
    let options = [LaneOptions::new().with_max_bytes(size(1)), LaneOptions::new(), LaneOptions::new()];
    let mut flushers = options.map(|options| registry.open_lane(options));
    // To the lane with the fewest, the first of equal ones: three, two and two.
    let mut members: Vec<_> = (0..7).map(|_| wired_with(&registry, &BARE, lossy(), hears(&["c"]))).collect();
    let mut outbox = open(&registry, hears(&["c"]));
    let probe = Probe::new();
    let _probe = join(&registry, &probe, Registration::new());
    let told = |channel: &str, n: u32| {
        let report = registry.broadcast(channel, n).unwrap();
        assert_eq!((report.lagged, report.failed, report.ended, report.pending), (0, 0, 0, 0));
        (report.matched, report.accepted, report.dropped)
    };
    assert_eq!([told("c", 1), told("c", 2), told("d", 3)], [(9, 9, 0), (9, 6, 3), (1, 1, 0)]);
    assert_eq!(registry.stats().dropped, 3);
    flushers.iter_mut().for_each(|flusher| assert!(!serve(flusher)));
    members.iter_mut().for_each(|(outbox, socket)| assert_eq!(flush(outbox, socket), None));
    let heard: Vec<_> = members.iter().map(|(_, socket)| socket.values().len()).collect();
    assert_eq!(
        (heard.iter().sum::<usize>(), frames(&mut outbox), probe.sent()),
        (3 + 4 * 2, vec![1, 2], vec![1, 2, 3])
    );
    let stats = registry.stats();
    assert_eq!((stats.dropped, stats.lane_messages, stats.in_lanes), (3, 11, 7));
}

#[test]
fn que_1_one_broadcast_larger_than_the_bound_is_taken_by_an_empty_log() {
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(1)));
    let (_outbox, socket) = wired(&registry, Registration::new());
    for n in 1..=3 {
        assert_eq!(registry.broadcast("c", n).unwrap().accepted, 1);
        serve(&mut flusher);
    }
    assert_eq!(socket.values(), [1, 2, 3]);
}

#[test]
fn sub_7_a_flusher_that_stands_still_keeps_a_bounded_number_of_those_who_came_and_went() {
    let (registry, mut flusher) = lane();
    let (_stays, stays) = wired(&registry, Registration::new());
    let socket = Socket::new();
    let before = Arc::strong_count(&socket);
    for n in 0..20_000 {
        let outbox = registry.open_outbox(&BARE, in_lane(), hears(&["a"])).unwrap();
        outbox.attach(socket.clone());
        if n % 1_000 == 0 {
            registry.broadcast("b", n).unwrap();
        }
    }
    let kept = Arc::strong_count(&socket) - before;
    assert!(kept < 3_000, "{kept} of 20,000 are kept");
    serve(&mut flusher);
    assert_eq!(Arc::strong_count(&socket), before);
    assert_eq!(stays.values().len(), 20);
}

#[test]
fn sub_7_who_leaves_a_flusher_that_stands_still_is_forgotten_however_many_come_and_go() {
    let (registry, mut flusher) = lane();
    let (outbox, socket) = wired(&registry, hears(&["a"]));
    serve(&mut flusher);
    drop(outbox);
    for _ in 0..3_000 {
        drop(registry.open_outbox(&BARE, in_lane(), hears(&["a"])).unwrap());
    }
    serve(&mut flusher);
    assert_eq!(Arc::strong_count(&socket), 1);
}

#[test]
fn que_1_losses_between_those_who_come_and_go_are_told_to_the_last() {
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(1)));
    let (outbox, socket) = wired_with(&registry, &BARE, lossy(), hears(&["b", "c"]));
    for n in 0..=3_000 {
        drop(registry.open_outbox(&BARE, in_lane(), hears(&["a"])).unwrap());
        registry.broadcast(["b", "c"][n % 2], 1).unwrap();
    }
    serve(&mut flusher);
    assert_eq!((flush(&outbox, &socket), socket.read()), (None, vec![Read::Message(1, 1), Read::Lost(3_000)]));
}

// --- ends ---

#[test]
fn cnt_1_a_draining_subscriber_that_comes_to_another_end_is_counted_once() {
    let broken: fn(&Socket) = |socket| socket.break_down();
    let full: fn(&Socket) = |socket| socket.set_room(0);
    for (obstacle, reason) in [(broken, CloseReason::Unsubscribed), (full, CloseReason::Lagged)] {
        let (registry, mut flusher) = lane();
        let options = in_lane().with_max_messages(size(1));
        let (outbox, socket) = wired_with(&registry, &BARE, options, group("a"));
        let reasons = Arc::new(Mutex::new(Vec::new()));
        let heard = reasons.clone();
        outbox.on_end(move |reason| heard.lock().unwrap().push(reason));
        obstacle(&socket);
        registry.broadcast("c", 1).unwrap();
        registry.broadcast("c", 2).unwrap();
        assert_eq!(registry.begin_shutdown(), 1);
        serve(&mut flusher);
        assert_eq!(flush(&outbox, &socket), Some(reason));
        assert_eq!(*reasons.lock().unwrap(), [CloseReason::Shutdown, reason]);
        let stats = registry.stats();
        assert_eq!(stats.ended, [(CloseReason::Shutdown, 1)].into(), "CNT-1");
        drop(outbox);
        assert_eq!((registry.stats().ended.values().sum::<u64>(), registry.stats().draining), (1, 0));
    }
}

#[test]
fn drn_1_a_shutdown_brings_what_was_broadcast_before_it_and_the_flusher_is_over() {
    let (registry, mut flusher) = lane();
    let (outbox, socket) = wired(&registry, Registration::new());
    let (slow, full) = wired(&registry, group("slow"));
    full.set_room(0);
    let mut unwired = registry.open_outbox(&RAW, in_lane(), Registration::new()).unwrap();
    let (owners, owner) = Wakes::new();
    assert!(flush_with(&outbox, &socket, &owner).is_pending());
    registry.broadcast("c", 1).unwrap();
    assert_eq!(registry.begin_shutdown(), 3);
    assert_eq!(owners.count(), 1, "it is told of the end");
    assert_eq!((flush(&outbox, &socket), poll(&mut unwired)), (None, None), "the flusher has yet to bring the last");
    assert!(flush_with(&outbox, &socket, &owner).is_pending());
    assert!(serve(&mut flusher), "Over");
    assert!(serve(&mut flusher), "and again");
    assert_eq!(owners.count(), 2, "the end is complete");
    assert_eq!((flush(&outbox, &socket), socket.values()), (Some(CloseReason::Shutdown), vec![1]));
    assert_eq!(frames(&mut unwired), [1]);
    assert_eq!(poll(&mut unwired), Some(Taken::Closed(CloseReason::Shutdown)));
    assert_eq!(flush(&slow, &full), None, "it still flushes");
    assert_eq!(registry.close_by_identity(&id("slow")), 0);
    assert_eq!((flush(&slow, &full), full.bytes()), (Some(CloseReason::Revoked), vec![]));
    assert!(serve(&mut registry.open_lane(LaneOptions::new())), "a lane that is opened too late is over at once");
}

#[test]
fn iso_5_a_flusher_that_is_dropped_ends_its_subscribers_and_no_others() {
    let registry = encoding();
    let lost = registry.open_lane(LaneOptions::new());
    let mut kept = registry.open_lane(LaneOptions::new());
    // To the lane with the fewest, the first of two equal ones.
    let (first, first_socket) = wired(&registry, group("a"));
    let (_second, second_socket) = wired(&registry, group("a"));
    let (draining, draining_socket) = wired(&registry, Registration::new());
    let (wakes, waker) = Wakes::new();
    assert!(flush_with(&first, &first_socket, &waker).is_pending());
    draining.end(CloseReason::Shutdown);
    assert_eq!(flush(&draining, &draining_socket), None);
    registry.broadcast("c", 1).unwrap();
    drop(lost);
    assert_eq!((wakes.count(), flush(&first, &first_socket)), (1, Some(CloseReason::Failed)));
    assert_eq!(flush(&draining, &draining_socket), Some(CloseReason::Shutdown), "it waits for nobody any more");
    assert_eq!((registry.len(), ended_as(&registry, CloseReason::Failed)), (1, 1));
    let (_third, third_socket) = wired(&registry, Registration::new());
    registry.broadcast("c", 2).unwrap();
    serve(&mut kept);
    assert_eq!((second_socket.values(), third_socket.values()), (vec![1, 2], vec![2]));
    assert_eq!((first_socket.bytes(), registry.close_by_identity(&id("a"))), (vec![], 1));
    drop(kept);
    assert!(registry.is_empty());
    // Nobody flushes now: publishers push, and the owner writes.
    let (last, socket) = wired(&registry, Registration::new());
    registry.broadcast("c", 3).unwrap();
    assert_eq!((flush(&last, &socket), socket.values()), (None, vec![3]));
}

#[test]
fn drn_1_who_drains_when_its_flusher_is_dropped_gets_what_was_broadcast_before() {
    let (registry, mut flusher) = lane();
    let members: Vec<_> = (0..200).map(|_| wired(&registry, Registration::new())).collect();
    serve(&mut flusher);
    registry.broadcast("c", 1).unwrap();
    members.iter().for_each(|(outbox, _)| outbox.end(CloseReason::Shutdown));
    assert_eq!(flusher.poll_serve(&mut noop(), now()), Poll::Ready(Served::More));
    let (late, late_socket) = wired(&registry, Registration::new());
    registry.broadcast("c", 2).unwrap();
    late.end(CloseReason::Shutdown);
    drop(flusher);
    for (outbox, socket) in &members {
        assert_eq!((flush(outbox, socket), socket.values()), (Some(CloseReason::Shutdown), vec![1]));
    }
    assert_eq!((flush(&late, &late_socket), late_socket.values()), (Some(CloseReason::Shutdown), vec![2]));
}

#[test]
fn drn_1_nobody_waits_for_a_flusher_that_goes_by_a_panic_and_it_writes_no_more() {
    let (registry, mut flusher) = lane();
    let members: Vec<_> = (0..200).map(|_| wired(&registry, Registration::new())).collect();
    serve(&mut flusher);
    registry.broadcast("c", 1).unwrap();
    members.iter().for_each(|(outbox, _)| outbox.end(CloseReason::Shutdown));
    assert_eq!(flusher.poll_serve(&mut noop(), now()), Poll::Ready(Served::More));
    let (late, late_socket) = wired(&registry, Registration::new());
    registry.broadcast("c", 2).unwrap();
    late.end(CloseReason::Shutdown);
    let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _goes = flusher;
        std::panic::resume_unwind(Box::new("on purpose"));
    }));
    assert!(gone.is_err());
    for (outbox, socket) in &members {
        assert_eq!(flush(outbox, socket), Some(CloseReason::Shutdown));
    }
    assert_eq!(members.iter().map(|(_, socket)| socket.writes()).sum::<usize>(), 128, "as many as before the panic");
    assert_eq!((flush(&late, &late_socket), late_socket.values()), (Some(CloseReason::Shutdown), vec![]));
}

#[test]
fn sub_6_a_registry_that_goes_first_leaves_its_flushers_the_rest() {
    let (registry, mut flusher) = lane();
    let (outbox, socket) = wired(&registry, group("a"));
    let (wakes, waker) = Wakes::new();
    assert!(flusher.poll_serve(&mut Context::from_waker(&waker), now()).is_pending());
    registry.broadcast("c", 1).unwrap();
    assert_eq!(wakes.count(), 1, "it is told that there is something to do");
    drop(registry);
    assert_eq!(flush(&outbox, &socket), None);
    assert!(serve(&mut flusher));
    assert_eq!((flush(&outbox, &socket), socket.values()), (Some(CloseReason::Shutdown), vec![1]));
    drop(flusher);
    let (registry, flusher) = lane();
    let (outbox, socket) = wired(&registry, group("a"));
    drop(registry);
    drop(flusher);
    assert_eq!(flush(&outbox, &socket), Some(CloseReason::Shutdown), "nobody brings it anything any more");
}

#[test]
fn sub_6_an_end_that_a_flusher_finds_when_the_registry_has_gone_is_told() {
    let (registry, mut flusher) = lane();
    let (outbox, socket) = wired(&registry, Registration::new());
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let heard = reasons.clone();
    outbox.on_end(move |reason| heard.lock().unwrap().push(reason));
    let (wakes, waker) = Wakes::new();
    registry.broadcast("c", 1).unwrap();
    drop(registry);
    assert!(flush_with(&outbox, &socket, &waker).is_pending());
    socket.break_down();
    assert!(serve(&mut flusher));
    assert_eq!(*reasons.lock().unwrap(), [CloseReason::Shutdown, CloseReason::Unsubscribed]);
    assert_eq!((wakes.count(), flush(&outbox, &socket)), (1, Some(CloseReason::Unsubscribed)));
}

/// Ends a registry: by its last handle, or by a shutdown.
const GO: [fn(Registry) -> Option<Registry>; 2] = [
    |registry| {
        drop(registry);
        None
    },
    |registry| {
        registry.begin_shutdown();
        Some(registry)
    },
];

#[test]
fn sub_6_and_drn_1_idle_flushers_are_woken_when_the_registry_goes() {
    for go in GO {
        let registry = encoding();
        let mut flushers: Vec<_> = (0..3).map(|_| registry.open_lane(LaneOptions::new())).collect();
        // In the first lane; nobody is in the others.
        let (_outbox, _socket) = wired(&registry, Registration::new());
        let wakes: Vec<_> = flushers
            .iter_mut()
            .map(|flusher| {
                let (wakes, waker) = Wakes::new();
                assert!(flusher.poll_serve(&mut Context::from_waker(&waker), now()).is_pending());
                wakes
            })
            .collect();
        let _registry = go(registry);
        assert_eq!(wakes.iter().map(|wakes| wakes.count()).collect::<Vec<_>>(), [1; 3]);
        assert!(flushers.iter_mut().all(serve), "Over");
    }
}

#[test]
fn sub_6_and_prg_3_publishers_who_wait_are_woken_when_the_registry_goes() {
    for go in GO {
        let (registry, _flusher) = lane();
        let _member = wired(&registry, Registration::new());
        (0..1_100).for_each(|n| assert_eq!(registry.broadcast("c", n).unwrap().accepted, 1));
        let mut caught_up = Box::pin(registry.caught_up());
        let (wakes, waker) = Wakes::new();
        let mut cx = Context::from_waker(&waker);
        assert!(caught_up.as_mut().poll(&mut cx).is_pending());
        let _registry = go(registry);
        assert_eq!((wakes.count(), caught_up.as_mut().poll(&mut cx)), (1, Poll::Ready(())));
    }
}

#[test]
fn sub_7_nothing_is_kept_of_who_left_or_was_served() {
    let loads = Loads::new();
    let (registry, mut flusher) = loaded(LaneOptions::new());
    let (outbox, socket) = wired_load(&registry, in_lane());
    let (wakes, waker) = Wakes::new();
    assert!(flusher.poll_serve(&mut Context::from_waker(&waker), now()).is_pending());
    registry.broadcast("c", loads.make(1, false)).unwrap();
    serve(&mut flusher);
    assert_eq!(loads.alive(), 0, "a message that was served is kept");
    assert!(flusher.poll_serve(&mut Context::from_waker(&waker), now()).is_pending());
    let before = wakes.count();
    drop(outbox);
    assert_eq!(wakes.count(), before + 1, "its flusher is told to forget it");
    serve(&mut flusher);
    assert_eq!(Arc::strong_count(&socket), 1, "the wire of who left is kept");
    let (outbox, socket) = wired_load(&registry, in_lane());
    registry.close_by_identity(&id("a"));
    serve(&mut flusher);
    drop(outbox);
    assert_eq!(Arc::strong_count(&socket), 1);
}

#[test]
fn sub_7_a_flusher_that_is_dropped_leaves_nothing_in_its_log() {
    let loads = Loads::new();
    let (registry, mut flusher) = loaded(LaneOptions::new());
    let members: Vec<_> = (0..300).map(|_| wired_load(&registry, in_lane())).collect();
    registry.broadcast("c", loads.make(1, false)).unwrap();
    assert_eq!(flusher.poll_serve(&mut noop(), now()), Poll::Ready(Served::More));
    registry.broadcast("c", loads.make(2, false)).unwrap();
    drop(flusher);
    assert_eq!(loads.alive(), 0, "what nobody will serve is kept");
    let sockets: Vec<_> = members.into_iter().map(|(_, socket)| socket).collect();
    assert!(sockets.iter().all(|socket| Arc::strong_count(socket) == 1), "SUB-7: a wire is kept");
    drop(registry);
}

// --- foreign code ---

/// Values that end in 13 cannot be framed.
fn superstitious(id: MessageId, body: &[u8], out: &mut BytesMut) {
    out.extend_from_slice(b"half of ");
    assert!(!body.ends_with(b"13"), "on purpose");
    out.clear_to(out.len() - b"half of ".len());
    out.extend_from_slice(format!("m{} 0 \n", id.seq()).as_bytes());
    let _ = body;
}

trait ClearTo {
    fn clear_to(&mut self, length: usize);
}

impl ClearTo for BytesMut {
    fn clear_to(&mut self, length: usize) {
        self.truncate(length);
    }
}

static SUPERSTITIOUS: WireFormat = WireFormat::new("superstitious", superstitious);
static HEADLESS: WireFormat = WireFormat::new("headless", |_, body, out| out.extend_from_slice(body))
    .with_envelope(|_, _| panic!("on purpose"), b"");
static SPEECHLESS: WireFormat =
    WireFormat::new("speechless", |_, body, out| out.extend_from_slice(body)).with_notice(|_, _| panic!("on purpose"));

#[test]
fn iso_8_a_frame_that_cannot_be_built_fails_those_of_its_format_that_hear_it() {
    let (registry, mut flusher) = lane();
    let (hit, hit_socket) = wired_with(&registry, &SUPERSTITIOUS, in_lane(), hears(&["a"]));
    let (missed, missed_socket) = wired_with(&registry, &SUPERSTITIOUS, in_lane(), hears(&["b"]));
    let (_other, other) = wired(&registry, Registration::new());
    for (channel, n) in [("b", 1), ("a", 13), ("b", 2)] {
        registry.broadcast(channel, n).unwrap();
    }
    serve(&mut flusher);
    assert_eq!((flush(&hit, &hit_socket), hit_socket.bytes()), (Some(CloseReason::Failed), vec![]));
    assert_eq!((flush(&missed, &missed_socket), missed_socket.read().len()), (None, 2));
    assert_eq!(other.values(), [1, 13, 2]);
    assert_eq!((ended_as(&registry, CloseReason::Failed), registry.len()), (1, 2));
}

#[test]
fn iso_8_an_envelope_or_a_notice_that_panics_fails_its_subscriber_whoever_writes() {
    // The flusher writes.
    let (registry, mut flusher) = lane();
    let (outbox, socket) = wired_with(&registry, &HEADLESS, in_lane(), Registration::new());
    let (_other, other) = wired(&registry, Registration::new());
    registry.broadcast("c", 1).unwrap();
    serve(&mut flusher);
    assert_eq!((flush(&outbox, &socket), other.values()), (Some(CloseReason::Failed), vec![1]));
    assert_eq!((ended_as(&registry, CloseReason::Failed), registry.len()), (1, 1));

    // The owner writes what waited for a wire.
    let (registry, _flusher) = lane();
    let (outbox, socket) = wired_with(&registry, &HEADLESS, OutboxOptions::new(), Registration::new());
    registry.broadcast("c", 1).unwrap();
    assert_eq!((flush(&outbox, &socket), socket.bytes()), (Some(CloseReason::Failed), vec![]));
    assert_eq!((ended_as(&registry, CloseReason::Failed), registry.len()), (1, 0));

    // The owner says something.
    let (outbox, socket) = wired_with(&registry, &HEADLESS, in_lane(), Registration::new());
    outbox.say(b"x", now());
    assert_eq!((flush(&outbox, &socket), socket.bytes()), (Some(CloseReason::Failed), vec![]));
    assert_eq!((ended_as(&registry, CloseReason::Failed), registry.len()), (2, 0));

    // The notice of a loss.
    let (registry, mut flusher) = lane();
    let (outbox, socket) = wired_with(&registry, &SPEECHLESS, lossy().with_max_messages(size(1)), Registration::new());
    socket.set_room(0);
    (1..=2).for_each(|n| assert_eq!(registry.broadcast("c", n).unwrap().accepted, 1));
    serve(&mut flusher);
    socket.set_room(usize::MAX);
    assert_eq!((flush(&outbox, &socket), socket.bytes()), (Some(CloseReason::Failed), vec![]));
    assert_eq!((ended_as(&registry, CloseReason::Failed), registry.len()), (1, 0));
}

#[test]
fn iso_8_a_payload_whose_destructor_panics_harms_nobody_wherever_it_goes() {
    let loads = Loads::new();
    // When it was served.
    let (registry, mut flusher) = loaded(LaneOptions::new());
    let members: Vec<_> = (0..300).map(|_| wired_load(&registry, in_lane())).collect();
    (1..=3).for_each(|n| assert_eq!(registry.broadcast("c", loads.make(n, true)).unwrap().accepted, 300));
    assert_eq!(loads.alive(), 3);
    serve(&mut flusher);
    assert!(members.iter().all(|(_, socket)| socket.values() == [1, 2, 3]));
    assert_eq!(loads.alive(), 0);
    // In a turn that is never finished, and in a log that nobody takes.
    (4..=6).for_each(|n| assert_eq!(registry.broadcast("c", loads.make(n, true)).unwrap().accepted, 300));
    assert_eq!(flusher.poll_serve(&mut noop(), now()), Poll::Ready(Served::More));
    (7..=9).for_each(|n| assert_eq!(registry.broadcast("c", loads.make(n, true)).unwrap().accepted, 300));
    assert_eq!(loads.alive(), 6);
    drop(flusher);
    assert!(registry.is_empty());
    drop(registry);
    assert_eq!(loads.alive(), 0);
    // In a log that outlives its registry.
    let (registry, flusher) = loaded(LaneOptions::new());
    let _member = wired_load(&registry, in_lane());
    (1..=3).for_each(|n| assert_eq!(registry.broadcast("c", loads.make(n, true)).unwrap().accepted, 1));
    drop(registry);
    assert_eq!(loads.alive(), 3);
    drop(flusher);
    assert_eq!(loads.alive(), 0);
}

#[test]
fn iso_8_a_waker_that_panics_harms_nobody() {
    let (registry, mut flusher) = lane();
    let woken = Arc::new(AtomicUsize::new(0));
    let count = woken.clone();
    let panics = Waker::from(Arc::new(OnWake(move || {
        count.fetch_add(1, Ordering::SeqCst);
        panic!("on purpose");
    })));
    let woken = || woken.swap(0, Ordering::SeqCst);
    assert!(flusher.poll_serve(&mut Context::from_waker(&panics), now()).is_pending());
    let (outbox, socket) = wired(&registry, Registration::new());
    let (_other, other) = wired(&registry, Registration::new());
    assert_eq!(woken(), 1, "the flusher, by a newcomer");
    assert!(flush_with(&outbox, &socket, &panics).is_pending());
    socket.set_room(0);
    assert!(flusher.poll_serve(&mut Context::from_waker(&panics), now()).is_pending());
    assert_eq!(registry.broadcast("c", 1).unwrap().accepted, 2);
    assert_eq!(woken(), 1, "the flusher, by a publisher");
    serve(&mut flusher);
    assert_eq!((woken(), other.values()), (1, vec![1]), "the owner, by the flusher");
    assert!(flush_with(&outbox, &socket, &panics).is_pending());
    registry.begin_shutdown();
    assert_eq!(woken(), 1, "the owner, by the end");
    assert!(serve(&mut flusher));
}

/// Calls everything that a registry offers, and counts when all of it answered as it should.
fn busybody(registry: &Registry, number: u32) -> (impl Fn() -> usize, impl Fn() + Send + Sync + 'static) {
    let count = Arc::new(AtomicUsize::new(0));
    let (registry, counted) = (registry.clone(), count.clone());
    let call = move || {
        let accepted = registry.broadcast("heard", number).unwrap().accepted;
        let outbox = registry.open_outbox(&BARE, in_lane(), group("inner")).unwrap();
        let closed = registry.close_by_identity(&id("inner"));
        drop(outbox);
        drop((registry.begin(), registry.drained(), registry.caught_up(), registry.open_lane(LaneOptions::new())));
        let known = registry.channels(None, 1).len() == 1 && registry.stats().subscribers == registry.len();
        if (accepted, closed, known) == (1, 1, true) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    };
    (move || count.load(Ordering::SeqCst), call)
}

fn calling(registry: &Registry, number: u32) -> (impl Fn() -> usize, Waker) {
    let (count, call) = busybody(registry, number);
    (count, Waker::from(Arc::new(OnWake(call))))
}

#[test]
fn re_1_wakers_and_hooks_may_call_back() {
    finishes(|| {
        let (registry, mut flusher) = lane();
        let (_other, other) = wired(&registry, hears(&["heard"]));
        let (outbox, socket) = wired(&registry, hears(&["c"]).group(id("a")));
        serve(&mut flusher);

        let (count, waker) = calling(&registry, 100);
        assert!(flusher.poll_serve(&mut Context::from_waker(&waker), now()).is_pending());
        registry.broadcast("heard", 1).unwrap();
        assert_eq!(count(), 1, "the flusher's waker");
        serve(&mut flusher);
        assert_eq!(other.values(), [1, 100]);

        let (count, waker) = calling(&registry, 200);
        assert!(flush_with(&outbox, &socket, &waker).is_pending());
        socket.set_room(0);
        registry.broadcast("c", 2).unwrap();
        assert_eq!(count(), 0);
        serve(&mut flusher);
        assert_eq!((count(), other.values()), (1, vec![1, 100, 200]), "the owner's waker, by the flusher");
        socket.set_room(usize::MAX);
        assert_eq!((flush(&outbox, &socket), socket.values()), (None, vec![2]));

        let (count, waker) = calling(&registry, 300);
        let mut caught_up = Box::pin(registry.caught_up());
        (0..1_100).for_each(|_| assert_eq!(registry.broadcast("c", 3).unwrap().accepted, 1));
        assert!(caught_up.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        serve(&mut flusher);
        assert_eq!((count(), other.values().last()), (1, Some(&300)), "the waker of a publisher who waits");

        let (hooked, hook) = busybody(&registry, 400);
        outbox.on_end(move |_| hook());
        let (woken, waker) = calling(&registry, 500);
        assert!(flush_with(&outbox, &socket, &waker).is_pending());
        assert_eq!(registry.close_by_identity(&id("a")), 1);
        assert_eq!((woken(), hooked()), (1, 1), "the owner's waker and its hook, by the end");
        let (hooked, hook) = busybody(&registry, 600);
        outbox.on_end(move |_| hook());
        assert_eq!(hooked(), 1, "a hook that comes after the end");
        serve(&mut flusher);
        assert_eq!(other.values(), [1, 100, 200, 300, 500, 400, 600]);
        drop(outbox);
        assert_eq!(registry.len(), 1);
    });
}

/// Panics when its last clone goes, and counts that it did.
struct Bomb(Arc<AtomicUsize>);

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        if !std::thread::panicking() {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }
}

#[test]
fn iso_8_a_waker_whose_destructor_panics_harms_nobody() {
    let (registry, mut flusher) = lane();
    let (outbox, socket) = wired(&registry, group("a"));
    serve(&mut flusher);
    let blasts = Arc::new(AtomicUsize::new(0));
    let bomb = || Waker::from(Arc::new(Bomb(blasts.clone())));
    let mut caught_up = Box::pin(registry.caught_up());
    for round in 0..3 {
        // The registry keeps a clone of each, so that the last of it is the registry's to drop.
        let [flushers, owners] = [bomb(), bomb()];
        assert!(flusher.poll_serve(&mut Context::from_waker(&flushers), now()).is_pending());
        assert!(flush_with(&outbox, &socket, &owners).is_pending());
        drop((flushers, owners));
        assert_eq!(blasts.load(Ordering::SeqCst), 2 * round, "those of the round before");
    }
    socket.set_room(0);
    registry.broadcast("c", 1).unwrap();
    assert_eq!(blasts.load(Ordering::SeqCst), 5, "the flusher's, which was woken");
    serve(&mut flusher);
    assert_eq!(blasts.load(Ordering::SeqCst), 6, "the owner's");
    (0..1_100).for_each(|_| assert_eq!(registry.broadcast("c", 1).unwrap().accepted, 1));
    let (publishers, owners) = (bomb(), bomb());
    assert!(caught_up.as_mut().poll(&mut Context::from_waker(&publishers)).is_pending());
    assert!(flush_with(&outbox, &socket, &owners).is_pending());
    drop((publishers, owners));
    assert_eq!(registry.close_by_identity(&id("a")), 1);
    assert_eq!(blasts.load(Ordering::SeqCst), 7, "the owner's, by the end");
    serve(&mut flusher);
    assert_eq!(blasts.load(Ordering::SeqCst), 8, "the publisher's");
    let mut drained = Box::pin(registry.drained());
    let waits = bomb();
    assert!(drained.as_mut().poll(&mut Context::from_waker(&waits)).is_pending());
    drop(waits);
    drop(drained);
    assert_eq!(blasts.load(Ordering::SeqCst), 9, "of who waits no longer for the drain");
}

// --- cost ---

static BUILT: AtomicUsize = AtomicUsize::new(0);
static COUNTING: WireFormat = WireFormat::new("counting", |_, body, out| {
    BUILT.fetch_add(1, Ordering::SeqCst);
    out.extend_from_slice(body);
});

#[test]
fn del_6_a_frame_is_built_once_for_each_format() {
    let encoded = Arc::new(AtomicUsize::new(0));
    let counted = encoded.clone();
    let registry = Registry::new();
    registry.encode_with(move |n: &u32| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok::<_, EncodeError>(n.to_string().into())
    });
    let mut flusher = registry.open_lane(LaneOptions::new());
    let filters: [&[&str]; 4] = [&["a"], &["a", "b"], &["a", "c"], &["a", "b", "c"]];
    let members: Vec<_> =
        (0..100).map(|n| wired_with(&registry, &COUNTING, in_lane(), hears(filters[n % 4]))).collect();
    serve(&mut flusher);
    let fresh: Vec<_> = {
        registry.broadcast("a", 1).unwrap();
        (0..10).map(|_| wired_with(&registry, &COUNTING, in_lane(), Registration::new())).collect()
    };
    registry.broadcast("a", 2).unwrap();
    registry.broadcast("b", 3).unwrap();
    registry.broadcast("nobody", 4).unwrap();
    serve(&mut flusher);
    assert_eq!((encoded.load(Ordering::SeqCst), BUILT.load(Ordering::SeqCst)), (4, 4));
    let writes = |members: &[(Outbox, Arc<Socket>)]| members.iter().map(|(_, socket)| socket.writes()).sum::<usize>();
    assert_eq!((writes(&members), writes(&fresh)), (100, 10), "and each subscriber is written to once");
}

#[test]
fn del_1_a_turn_costs_its_matches() {
    let steps = |others: usize, filter: &[&str]| {
        let (registry, mut flusher) = lane();
        let _crowd: Vec<_> = (0..others).map(|_| wired(&registry, hears(filter))).collect();
        let _few: Vec<_> = (0..10).map(|_| wired(&registry, hears(&["quiet"]))).collect();
        let _several: Vec<_> = (0..10).map(|_| wired(&registry, hears(&["quiet", "other"]))).collect();
        serve(&mut flusher);
        let before = registry.stats().visits;
        registry.broadcast("quiet", 1).unwrap();
        serve(&mut flusher);
        registry.stats().visits - before
    };
    let alone = steps(0, &["crowded"]);
    assert_eq!(alone, 30, "ten of one channel, ten of several that are also sorted by what they hear");
    assert_eq!(steps(5_000, &["crowded"]), alone);
    assert_eq!(steps(5_000, &["crowded", "more"]), alone);
}

/// A herd that comes back while the flusher is held up, and much that it does not hear.
#[test]
fn prg_1_newcomers_cost_a_look_for_each_segment_and_a_flusher_pauses_while_it_plans() {
    let (registry, mut flusher) = lane();
    let _herd: Vec<_> = (0..5_000).map(|_| wired(&registry, hears(&["quiet"]))).collect();
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
    assert!(all < 8 * 5_001, "{all}: to join and to be looked at in four thousand broadcasts, five segments");
}

#[test]
fn del_1_a_delivery_allocates_nothing() {
    let allocations = |members: usize, filter: &[&str]| {
        let (registry, mut flusher) = lane();
        let sink = Arc::new(Nothing);
        let _members: Vec<_> = (0..members)
            .map(|_| {
                let outbox = registry.open_outbox(&BARE, in_lane(), hears(filter)).unwrap();
                outbox.attach(sink.clone());
                outbox
            })
            .collect();
        serve(&mut flusher);
        let mut counted = 0;
        for n in 0..3 {
            // The first turns may still make room for what comes.
            counted = allocation_counter::measure(|| {
                registry.broadcast("a", n).unwrap();
                serve(&mut flusher);
            })
            .count_total;
        }
        counted
    };
    assert_eq!(allocations(1_000, &["a"]), allocations(10, &["a"]));
    // Subscribers of several channels are sorted by what they hear of the turn.
    let (few, many) = (allocations(10, &["a", "b"]), allocations(1_000, &["a", "b"]));
    assert!(many < few + 40, "{few} allocations for ten, {many} for a thousand");
}

#[test]
fn que_3_what_a_group_was_sent_is_not_kept_while_the_others_are_served() {
    let (registry, mut flusher) = lane();
    let names: Vec<String> = (0..60).map(|n| format!("c{n}")).collect();
    let sink = Arc::new(Nothing);
    // Each hears all channels but two, and no two of them the same.
    let _members: Vec<_> = (0..names.len())
        .flat_map(|without| (0..5).map(move |more| (without, (without + 1 + more) % 60)))
        .map(|(one, other)| {
            let heard: Vec<&str> = (0..60).filter(|n| ![one, other].contains(n)).map(|n| names[n].as_str()).collect();
            let outbox = registry.open_outbox(&BARE, in_lane(), hears(&heard)).unwrap();
            outbox.attach(sink.clone());
            outbox
        })
        .collect();
    serve(&mut flusher);
    for name in &names {
        registry.broadcast(name, 1_000).unwrap(); // a kilobyte on the wire
    }
    let used = allocation_counter::measure(|| assert!(!serve(&mut flusher)));
    assert!(used.bytes_max < 2 << 20, "{} bytes at once for 300 subscribers", used.bytes_max);
}

struct Nothing;

impl Wire for Nothing {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

#[test]
fn sub_1_a_newcomer_goes_to_the_lane_with_the_fewest() {
    let registry = encoding();
    let mut flushers: Vec<_> = (0..3).map(|_| registry.open_lane(LaneOptions::new())).collect();
    let mut members: Vec<_> = (0..9).map(|_| wired(&registry, Registration::new())).collect();
    let served = |flusher: &mut Flusher<u32>, members: &[(Outbox, Arc<Socket>)]| {
        let writes =
            |members: &[(Outbox, Arc<Socket>)]| members.iter().map(|(_, socket)| socket.writes()).sum::<usize>();
        let before = writes(members);
        serve(flusher);
        writes(members) - before
    };
    registry.broadcast("c", 1).unwrap();
    for flusher in &mut flushers {
        assert_eq!(served(flusher, &members), 3);
    }
    // The second lane loses two, which come again.
    drop((members.remove(4), members.remove(1)));
    members.extend((0..2).map(|_| wired(&registry, Registration::new())));
    registry.broadcast("c", 2).unwrap();
    for flusher in &mut flushers {
        assert_eq!(served(flusher, &members), 3);
    }
}
