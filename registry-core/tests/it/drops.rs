//! Destructors of wires and hooks that call back, wherever the last reference goes.

use crate::kit::*;
use crate::wire::{in_lane, serve, wired};
use registry_core::{LaneOptions, Outbox, OutboxOptions, Registration, Wire, WireFormat};
use std::io;
use std::sync::{Arc, Mutex, OnceLock};

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
    let _stays = registry.open_outbox(&STOPPING, OutboxOptions::new(), Registration::new()).unwrap();
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

/// Panics when it goes.
struct Bomb;

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
    outbox.attach(Arc::new(Bomb));
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
    outboxes.lock().unwrap().extend(filters.iter().map(|filter| bomb(&registry, hears(filter))).chain([last]));
    registry.broadcast("c", 1).unwrap();
    serve(&mut flusher);
    drop(flusher); // Its owners let go of the gates, and nobody tells the book to: it has the last references.
    assert_eq!((other.values(), registry.len(), outboxes.lock().unwrap().len()), (vec![1], 0, 0));
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
