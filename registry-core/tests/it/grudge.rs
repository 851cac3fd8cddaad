//! What a destructor that panics may not cost, wherever the registry lets go of something foreign last.

use crate::kit::*;
use crate::wire::*;
use bytes::Bytes;
use registry_core::{CloseReason, EncodeError, LaneOptions, Outbox, OutboxOptions, Registration, Served, Wire};
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Bytes that an encoder borrows from elsewhere, or a wire, whose destructor panics.
struct Grudge(String);

impl AsRef<[u8]> for Grudge {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Wire for Grudge {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

impl Drop for Grudge {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

fn grudging() -> Registry {
    let registry = Registry::new();
    registry.encode_with(|n: &u32| Ok::<_, EncodeError>(Bytes::from_owner(Grudge(n.to_string()))));
    registry
}

#[test]
fn iso_8_an_encoded_payload_whose_destructor_panics_harms_nobody_wherever_it_goes() {
    let registry = grudging();
    assert_eq!(registry.broadcast("nobody", 1).unwrap().matched, 0);
    let mut waits = registry.open_outbox(&BARE, OutboxOptions::new(), Registration::new()).unwrap();
    assert_eq!(registry.broadcast("c", 2).unwrap().accepted, 1);
    let Poll::Ready(taken) = waits.poll_take(&mut Context::from_waker(Waker::noop()), 1) else { panic!("nothing") };
    assert!(matches!(taken, registry_core::Taken::Frames(_)));

    let registry = grudging();
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
fn iso_8_a_wire_whose_destructor_panics_harms_nobody_when_its_flusher_has_it_last() {
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new());
    let (_other, other) = wired(&registry, Registration::new());
    let member = || -> Outbox {
        let outbox = registry.open_outbox(&BARE, in_lane(), Registration::new()).unwrap();
        outbox.attach(Arc::new(Grudge(String::new())));
        outbox
    };
    // It comes, hears something, and goes, all before its flusher looks.
    let came = member();
    registry.broadcast("c", 1).unwrap();
    drop(came);
    serve(&mut flusher);
    // It was there before.
    let was = member();
    serve(&mut flusher);
    registry.broadcast("c", 2).unwrap();
    drop(was);
    serve(&mut flusher);
    assert_eq!(other.values(), [1, 2]);
}

#[test]
fn iso_8_a_wire_whose_destructor_panics_harms_nobody_when_its_revocation_has_it_last() {
    let registry = encoding();
    let outbox = registry.open_outbox(&BARE, OutboxOptions::new(), group("a")).unwrap();
    outbox.attach(Arc::new(Grudge(String::new())));
    registry.begin_shutdown();
    let owner = Arc::new(Mutex::new(Some(outbox)));
    let last = owner.clone();
    // Who is told that its queue is discarded lets go.
    let hook = move |reason: CloseReason| drop((reason == CloseReason::Revoked).then(|| last.lock().unwrap().take()));
    owner.lock().unwrap().as_ref().unwrap().on_end(hook);
    assert_eq!(registry.close_by_identity(&id("a")), 0);
    assert!(owner.lock().unwrap().is_none());
}
