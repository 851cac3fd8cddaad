//! Destructors that call back or panic, wherever the last reference goes.

use crate::kit::*;
use crate::wire::{BARE, in_lane, now, serve, wired};
use bytes::Bytes;
use registry_core::{
    CloseReason, EncodeError, LaneOptions, Outbox, OutboxOptions, Registration, Served, Taken,
    Wire, WireFormat,
};
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

/// Asks the registry how many there are, when it goes.
struct CallsBack(Registry);

impl Wire for CallsBack {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

impl Drop for CallsBack {
    fn drop(&mut self) {
        let _ = self.0.broadcast("nobody hears this but all", 0);
    }
}

#[test]
fn re_1_a_wire_that_a_standing_flusher_lets_go_of_may_call_back() {
    let registry = encoding();
    let flusher = registry.open_lane(LaneOptions::new());
    finishes({
        let registry = registry.clone();
        move || {
            // More than a log is long before who came and went is taken out of it.
            for _ in 0..3_000 {
                let outbox = registry.open_outbox(&RAW, in_lane(), hears(&["a"])).unwrap();
                outbox.attach(Arc::new(CallsBack(registry.clone())));
            }
        }
    });
    drop(flusher);
}

type Wait = Box<dyn Fn() + Send + Sync>;

static GATE: OnceLock<Mutex<Option<Wait>>> = OnceLock::new();
static STOPPING: WireFormat = WireFormat::new("stopping", |_, body, out| {
    let stop = GATE.get().and_then(|gate| gate.lock().unwrap().take());
    if let Some(stop) = stop {
        stop();
    }
    out.extend_from_slice(body);
});

#[test]
fn re_1_a_wire_that_a_publisher_lets_go_of_may_call_back() {
    let registry = encoding();
    let (stop, wait) = Stop::new();
    GATE.get_or_init(Mutex::default).lock().unwrap().replace(Box::new(wait));
    let _stays =
        registry.open_outbox(&STOPPING, OutboxOptions::new(), Registration::new()).unwrap();
    let leaves = registry.open_outbox(&RAW, OutboxOptions::new(), Registration::new()).unwrap();
    leaves.attach(Arc::new(CallsBack(registry.clone())));
    let publisher = {
        let registry = registry.clone();
        std::thread::spawn(move || finishes(move || registry.broadcast("c", 1).map(drop).is_ok()))
    };
    stop.arrived();
    drop(leaves); // The book, which the publisher holds, has the last reference to the gate.
    stop.go();
    assert!(publisher.join().unwrap());
}

/// A wire, or bytes that an encoder borrows from elsewhere: panics when it goes.
#[derive(Default)]
struct Bomb(String);

impl AsRef<[u8]> for Bomb {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Wire for Bomb {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

fn bomb(registry: &Registry, registration: Registration) -> Outbox {
    let outbox = registry.open_outbox(&RAW, in_lane(), registration).unwrap();
    outbox.attach(Arc::new(Bomb::default()));
    outbox
}

#[test]
fn iso_8_a_wire_whose_destructor_panics_harms_no_flusher() {
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new());
    let (_other, other) = wired(&registry, Registration::new());
    let outbox = bomb(&registry, Registration::new());
    serve(&mut flusher);
    drop(outbox);
    registry.broadcast("c", 1).unwrap();
    serve(&mut flusher);
    assert_eq!(other.values(), [1]);
}

#[test]
fn iso_8_wires_of_who_came_and_went_within_a_turn_harm_no_flusher_when_they_go() {
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new());
    let (_other, other) = wired(&registry, Registration::new());
    for n in 1..=2 {
        let passing = [bomb(&registry, Registration::new()), bomb(&registry, hears(&["c"]))];
        registry.broadcast("c", n).unwrap();
        drop(passing);
    }
    serve(&mut flusher);
    assert_eq!(other.values(), [1, 2]);
}

#[test]
fn iso_8_wires_whose_destructors_panic_harm_nobody_when_their_flusher_goes() {
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new());
    let (_other, other) = wired(&registry, Registration::new());
    let filters: [&[&str]; 3] = [&["a"], &["a", "b"], &["b", "c"]];
    let last = bomb(&registry, Registration::new());
    let outboxes: Arc<Mutex<Vec<_>>> = Arc::default();
    last.on_end({
        let outboxes = outboxes.clone();
        move |_| drop(std::mem::take(&mut *outboxes.lock().unwrap()))
    });
    outboxes
        .lock()
        .unwrap()
        .extend(filters.iter().map(|filter| bomb(&registry, hears(filter))).chain([last]));
    registry.broadcast("c", 1).unwrap();
    serve(&mut flusher);
    drop(flusher); // Its owners let go of the gates, and nobody tells the book to: it has the last references.
    assert_eq!((other.values(), registry.len(), outboxes.lock().unwrap().len()), (vec![1], 0, 0));
}

#[test]
fn iso_8_a_wire_whose_destructor_panics_harms_nobody_when_its_revocation_has_it_last() {
    let registry = encoding();
    let outbox = registry.open_outbox(&BARE, OutboxOptions::new(), group("a")).unwrap();
    outbox.attach(Arc::new(Bomb::default()));
    registry.begin_shutdown();
    let owner = Arc::new(Mutex::new(Some(outbox)));
    let last = owner.clone();
    // Who is told that its queue is discarded lets go.
    let hook = move |reason: CloseReason| {
        drop((reason == CloseReason::Revoked).then(|| last.lock().unwrap().take()))
    };
    owner.lock().unwrap().as_ref().unwrap().on_end(hook);
    assert_eq!(registry.close_by_identity(&id("a")), 0);
    assert!(owner.lock().unwrap().is_none());
}

fn with_bombs() -> Registry {
    let registry = Registry::new();
    registry.encode_with(|n: &u32| Ok::<_, EncodeError>(Bytes::from_owner(Bomb(n.to_string()))));
    registry
}

#[test]
fn iso_8_an_encoded_payload_whose_destructor_panics_harms_nobody_wherever_it_goes() {
    let registry = with_bombs();
    assert_eq!(registry.broadcast("nobody", 1).unwrap().matched, 0);
    let mut waits = registry.open_outbox(&BARE, OutboxOptions::new(), Registration::new()).unwrap();
    assert_eq!(registry.broadcast("c", 2).unwrap().accepted, 1);
    let Poll::Ready(taken) = waits.poll_take(&mut Context::from_waker(Waker::noop()), 1) else {
        panic!("nothing")
    };
    assert!(matches!(taken, Taken::Frames(_)));

    let registry = with_bombs();
    let mut flusher = registry.open_lane(LaneOptions::new());
    let members: Vec<_> = (0..300).map(|_| wired(&registry, Registration::new())).collect();
    (1..=3).for_each(|n| assert_eq!(registry.broadcast("c", n).unwrap().accepted, 300));
    serve(&mut flusher);
    assert!(members.iter().all(|(_, socket)| socket.values() == [1, 2, 3]));
    // In a turn that is never finished.
    registry.broadcast("c", 4).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(flusher.poll_serve(&mut cx, now()), Poll::Ready(Served::More));
    drop(flusher);
    assert!(registry.is_empty());
}

#[test]
fn sub_7_a_full_log_that_nobody_takes_does_not_grow_with_who_comes_and_goes() {
    let registry = encoding();
    let flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(1)));
    let (outbox, _socket) = wired(&registry, Registration::new());
    let kept = allocation_counter::measure(|| {
        for n in 0..20_000 {
            drop(registry.open_outbox(&RAW, in_lane(), hears(&["a"])).unwrap());
            registry.broadcast("b", n).unwrap();
        }
    });
    assert!(kept.bytes_current < 1_000_000, "{} bytes are kept", kept.bytes_current);
    drop((flusher, outbox));
}
