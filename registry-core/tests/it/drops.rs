//! Destructors that call back or panic, wherever the last reference is dropped.

use crate::kit::*;
use crate::wire::{BARE, now, serve, wired, with_flusher};
use bytes::Bytes;
use registry_core::{
    CloseReason, EncodeError, Encoded, LaneOptions, Next, OutboxOptions, Progress, Registration,
    RegistryOptions, SocketOutbox, Wire, WireFormat,
};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::thread;

/// Broadcasts when it is dropped, and counts its drops.
struct CallsBack(Registry, Arc<AtomicUsize>);

impl Wire for CallsBack {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for CallsBack {
    fn drop(&mut self) {
        if self.0.broadcast("no subscriber names this", 0).is_ok() {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn re_1_a_wire_that_is_dropped_while_its_flusher_does_not_run_may_call_back() {
    let called = Arc::new(AtomicUsize::new(0));
    let calls = called.clone();
    works(move |steps| {
        let registry = encoding();
        let flusher = registry.open_lane(LaneOptions::new());
        // So many that the log is compacted.
        for _ in 0..3_000 {
            let outbox = registry.open_outbox(&RAW, with_flusher(), hears(&["a"])).unwrap();
            drop(outbox.attach(Arc::new(CallsBack(registry.clone(), calls.clone()))));
            steps.step();
        }
        let called = calls.load(Ordering::SeqCst);
        assert!(
            (1_000..3_000).contains(&called),
            "{called} of the wires were dropped while the flusher stood still"
        );
        drop(flusher);
    });
    assert_eq!(called.load(Ordering::SeqCst), 3_000);
}

type Wait = Box<dyn Fn() + Send + Sync>;

static STOP: OnceLock<Mutex<Option<Wait>>> = OnceLock::new();
static STOPPING: WireFormat = WireFormat::new("stopping", |_, encoded, out| {
    let stop = STOP.get().and_then(|stop| stop.lock().unwrap().take());
    if let Some(stop) = stop {
        stop();
    }
    out.extend_from_slice(encoded.body());
});

#[test]
fn re_1_a_wire_that_a_publisher_drops_may_call_back() {
    let called = Arc::new(AtomicUsize::new(0));
    let calls = called.clone();
    finishes(move || {
        let registry = encoding();
        let (stop, wait) = Stop::new();
        STOP.get_or_init(Mutex::default).lock().unwrap().replace(Box::new(wait));
        let _stays =
            registry.open_outbox(&STOPPING, OutboxOptions::new(), Registration::new()).unwrap();
        let leaves = registry.open_outbox(&RAW, OutboxOptions::new(), Registration::new()).unwrap();
        let leaves = leaves.attach(Arc::new(CallsBack(registry.clone(), calls.clone())));
        thread::scope(|scope| {
            let publisher = scope.spawn(|| registry.broadcast("c", 1).unwrap());
            stop.arrived();
            drop(leaves);
            assert_eq!(
                calls.load(Ordering::SeqCst),
                0,
                "the last reference is in the book, which the publisher holds"
            );
            drop(stop);
            publisher.join().unwrap();
        });
    });
    assert_eq!(called.load(Ordering::SeqCst), 1);
}

/// Counts how often a [`Bomb`] was dropped.
#[derive(Clone, Default)]
struct Blasts(Arc<AtomicUsize>);

impl Blasts {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A wire, or the bytes of a payload, that panics when it is dropped. It does not panic in a test
/// that is failing: a second panic would end the process before the failure is reported.
struct Bomb(String, Blasts);

impl AsRef<[u8]> for Bomb {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Wire for Bomb {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.1.0.fetch_add(1, Ordering::SeqCst);
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }
}

fn bomb(registry: &Registry, registration: Registration, blasts: &Blasts) -> SocketOutbox {
    let outbox = registry.open_outbox(&RAW, with_flusher(), registration).unwrap();
    outbox.attach(Arc::new(Bomb(String::new(), blasts.clone())))
}

#[test]
fn iso_8_a_wire_whose_destructor_panics_harms_no_flusher() {
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new());
    let (_other, other) = wired(&registry, Registration::new());
    let blasts = Blasts::default();
    let outbox = bomb(&registry, Registration::new(), &blasts);
    serve(&mut flusher);
    drop(outbox);
    registry.broadcast("c", 1).unwrap();
    assert_eq!(blasts.count(), 0, "the last reference is in the flusher's book");
    serve(&mut flusher);
    assert_eq!((blasts.count(), other.values()), (1, vec![1]));
}

#[test]
fn iso_8_destructors_of_wires_that_joined_and_left_within_a_turn_harm_no_flusher() {
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new());
    let (_other, other) = wired(&registry, Registration::new());
    let blasts = Blasts::default();
    for n in 1..=2 {
        let passing = [
            bomb(&registry, Registration::new(), &blasts),
            bomb(&registry, hears(&["c"]), &blasts),
        ];
        registry.broadcast("c", n).unwrap();
        drop(passing);
    }
    assert_eq!(blasts.count(), 0, "the last references are in the flusher's log");
    serve(&mut flusher);
    assert_eq!((blasts.count(), other.values()), (4, vec![1, 2]));
}

#[test]
fn iso_8_wires_whose_destructors_panic_are_contained_when_their_flusher_is_dropped() {
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new());
    let (_other, other) = wired(&registry, Registration::new());
    let filters: [&[&str]; 3] = [&["a"], &["a", "b"], &["b", "c"]];
    let blasts = Blasts::default();
    let last = bomb(&registry, Registration::new(), &blasts);
    let outboxes: Arc<Mutex<Vec<_>>> = Arc::default();
    last.outbox().on_end({
        let outboxes = outboxes.clone();
        move |_| drop(std::mem::take(&mut *outboxes.lock().unwrap()))
    });
    outboxes
        .lock()
        .unwrap()
        .extend(filters.iter().map(|filter| bomb(&registry, hears(filter), &blasts)).chain([last]));
    registry.broadcast("c", 1).unwrap();
    serve(&mut flusher);
    // The owners drop their outboxes. The flusher takes no further turn, so its book holds the last
    // references.
    drop(flusher);
    assert_eq!((other.values(), registry.len(), outboxes.lock().unwrap().len()), (vec![1], 0, 0));
    assert_eq!(blasts.count(), 4);
}

#[test]
fn iso_8_a_wire_whose_destructor_panics_is_contained_when_a_revocation_drops_it() {
    let registry = encoding();
    let outbox = registry.open_outbox(&BARE, OutboxOptions::new(), group("a")).unwrap();
    let blasts = Blasts::default();
    let outbox = outbox.attach(Arc::new(Bomb(String::new(), blasts.clone())));
    registry.begin_shutdown();
    let owner = Arc::new(Mutex::new(Some(outbox)));
    let last = owner.clone();
    // The owner drops the outbox when it is notified.
    let hook = move |reason: CloseReason| {
        drop((reason == CloseReason::Revoked).then(|| last.lock().unwrap().take()))
    };
    owner.lock().unwrap().as_ref().unwrap().outbox().on_end(hook);
    assert_eq!(registry.close_by_identity(id("a")), 0);
    assert!(owner.lock().unwrap().is_none());
    assert_eq!(blasts.count(), 1);
}

fn with_bombs() -> (Registry, Blasts) {
    let blasts = Blasts::default();
    let counted = blasts.clone();
    let encoder = move |n: &u32| {
        Ok::<_, EncodeError>(Encoded::binary(Bytes::from_owner(Bomb(
            n.to_string(),
            counted.clone(),
        ))))
    };
    (Registry::with_encoder(RegistryOptions::new(), encoder), blasts)
}

#[test]
fn iso_8_an_encoded_payload_whose_destructor_panics_is_contained_wherever_it_is_dropped() {
    let (registry, blasts) = with_bombs();
    assert_eq!((registry.broadcast("nobody", 1).unwrap().matched, blasts.count()), (0, 1));
    let mut waits = registry.open_outbox(&BARE, OutboxOptions::new(), Registration::new()).unwrap();
    assert_eq!((registry.broadcast("c", 2).unwrap().accepted, blasts.count()), (1, 2));
    let Poll::Ready(taken) = waits.poll_next(&mut Context::from_waker(Waker::noop()), 1) else {
        panic!("nothing")
    };
    assert!(matches!(taken, Next::Frames(_)));

    let (registry, blasts) = with_bombs();
    let mut flusher = registry.open_lane(LaneOptions::new());
    let members: Vec<_> = (0..300).map(|_| wired(&registry, Registration::new())).collect();
    (1..=3).for_each(|n| assert_eq!(registry.broadcast("c", n).unwrap().accepted, 300));
    assert_eq!(blasts.count(), 0);
    serve(&mut flusher);
    assert!(members.iter().all(|(_, socket)| socket.values() == [1, 2, 3]));
    assert_eq!(blasts.count(), 3);
    // In a turn that is not finished.
    registry.broadcast("c", 4).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(flusher.poll_serve(&mut cx, now()), Poll::Ready(Progress::More));
    drop(flusher);
    assert!(registry.is_empty());
    assert_eq!(blasts.count(), 4);
}

#[test]
fn sub_7_a_full_log_does_not_grow_with_subscribers_that_join_and_leave() {
    let registry = encoding();
    let flusher = registry.open_lane(LaneOptions::new().with_max_bytes(size(1)));
    let (outbox, _socket) = wired(&registry, Registration::new());
    let kept = allocation_counter::measure(|| {
        for n in 0..20_000 {
            drop(registry.open_outbox(&RAW, with_flusher(), hears(&["a"])).unwrap());
            registry.broadcast("b", n).unwrap();
        }
    });
    assert!(kept.bytes_current < 1_000_000, "{} bytes are kept", kept.bytes_current);
    drop((flusher, outbox));
}
