//! Wakers and hooks that panic or call the registry.

use super::*;
use crate::kit::*;
use crate::wire::*;
use registry_core::{LaneOptions, Registration};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

#[test]
fn iso_8_a_waker_that_panics_is_contained() {
    let (registry, mut flusher) = registry_and_flusher();
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
    assert_eq!(woken(), 1, "the flusher, by a new subscriber");
    assert!(flush_with(&outbox, &panics).is_pending());
    socket.set_room(0);
    assert!(flusher.poll_serve(&mut Context::from_waker(&panics), now()).is_pending());
    assert_eq!(registry.broadcast("c", 1).unwrap().accepted, 2);
    assert_eq!(woken(), 1, "the flusher, by a publisher");
    serve(&mut flusher);
    assert_eq!((woken(), other.values()), (1, vec![1]), "the owner, by the flusher");
    assert!(flush_with(&outbox, &panics).is_pending());
    registry.begin_shutdown();
    assert_eq!(woken(), 1, "the owner, by the end");
    assert!(serve(&mut flusher));
}

/// Returns a function that calls every operation of a registry, and a count of the calls in which
/// all of them answered as they should.
fn busybody(
    registry: &Registry,
    number: u32,
) -> (impl Fn() -> usize, impl Fn() + Send + Sync + 'static) {
    let count = Arc::new(AtomicUsize::new(0));
    let (registry, counted) = (registry.clone(), count.clone());
    let call = move || {
        let accepted = registry.broadcast("heard", number).unwrap().accepted;
        let outbox = registry.open_outbox(&BARE, with_flusher(), group("inner")).unwrap();
        let closed = registry.close_by_identity(id("inner"));
        drop(outbox);
        drop((
            registry.draw_ticket(),
            registry.drained(),
            registry.caught_up(),
            registry.open_lane(LaneOptions::new()),
        ));
        let known =
            registry.channels(None, 1).len() == 1 && registry.stats().subscribers == registry.len();
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
        let (registry, mut flusher) = registry_and_flusher();
        let (_other, other) = wired(&registry, hears(&["heard"]));
        let (outbox, socket) = wired(&registry, hears(&["c"]).with_group(id("a")));
        serve(&mut flusher);

        let (count, waker) = calling(&registry, 100);
        assert!(flusher.poll_serve(&mut Context::from_waker(&waker), now()).is_pending());
        registry.broadcast("heard", 1).unwrap();
        assert_eq!(count(), 1, "the flusher's waker");
        serve(&mut flusher);
        assert_eq!(other.values(), [1, 100]);

        let (count, waker) = calling(&registry, 200);
        assert!(flush_with(&outbox, &waker).is_pending());
        socket.set_room(0);
        registry.broadcast("c", 2).unwrap();
        assert_eq!(count(), 0);
        serve(&mut flusher);
        assert_eq!(
            (count(), other.values()),
            (1, vec![1, 100, 200]),
            "the owner's waker, by the flusher"
        );
        socket.set_room(usize::MAX);
        assert_eq!((flush(&outbox), socket.values()), (None, vec![2]));

        let (count, waker) = calling(&registry, 300);
        let mut caught_up = Box::pin(registry.caught_up());
        (0..1_100).for_each(|_| assert_eq!(registry.broadcast("c", 3).unwrap().accepted, 1));
        assert!(caught_up.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        serve(&mut flusher);
        assert_eq!(
            (count(), other.values().last()),
            (1, Some(&300)),
            "the waker of a publisher that waits"
        );

        let (hooked, hook) = busybody(&registry, 400);
        outbox.outbox().on_end(move |_| hook());
        let (woken, waker) = calling(&registry, 500);
        assert!(flush_with(&outbox, &waker).is_pending());
        assert_eq!(registry.close_by_identity(id("a")), 1);
        assert_eq!((woken(), hooked()), (1, 1), "the owner's waker and its hook, by the end");
        let (hooked, hook) = busybody(&registry, 600);
        outbox.outbox().on_end(move |_| hook());
        assert_eq!(hooked(), 1, "a hook that comes after the end");
        serve(&mut flusher);
        assert_eq!(other.values(), [1, 100, 200, 300, 500, 400, 600]);
        drop(outbox);
        assert_eq!(registry.len(), 1);
    });
}

/// A waker that panics when its last clone is dropped, and counts it.
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
fn iso_8_a_waker_whose_destructor_panics_is_contained() {
    let (registry, mut flusher) = registry_and_flusher();
    let (outbox, socket) = wired(&registry, group("a"));
    serve(&mut flusher);
    let blasts = Arc::new(AtomicUsize::new(0));
    let bomb = || Waker::from(Arc::new(Bomb(blasts.clone())));
    let mut caught_up = Box::pin(registry.caught_up());
    for round in 0..3 {
        // The registry keeps a clone of each, so the registry drops the last one.
        let [flushers, owners] = [bomb(), bomb()];
        assert!(flusher.poll_serve(&mut Context::from_waker(&flushers), now()).is_pending());
        assert!(flush_with(&outbox, &owners).is_pending());
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
    assert!(flush_with(&outbox, &owners).is_pending());
    drop((publishers, owners));
    assert_eq!(registry.close_by_identity(id("a")), 1);
    assert_eq!(blasts.load(Ordering::SeqCst), 7, "the owner's, by the end");
    serve(&mut flusher);
    assert_eq!(blasts.load(Ordering::SeqCst), 8, "the publisher's");
    let mut drained = Box::pin(registry.drained());
    let waits = bomb();
    assert!(drained.as_mut().poll(&mut Context::from_waker(&waits)).is_pending());
    drop(waits);
    drop(drained);
    assert_eq!(blasts.load(Ordering::SeqCst), 9, "the waker of a dropped `drained` future");
}
