//! Streams in the process: a subscriber under the rules of every other.

use crate::kit::*;
use futures_core::Stream;
use registry_core::{
    AdmitError, CloseReason, Message, OutboxOptions, Overflow, Registration, SubscribeError,
    SubscriberRegistry, SubscriberStream,
};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

/// Not `Serialize`: a stream needs no encoder.
#[derive(Debug, PartialEq)]
struct Event(u32);

type Events = SubscriberRegistry<Event>;

fn poll<T: Send + Sync>(stream: &mut SubscriberStream<T>) -> Poll<Option<Arc<Message<T>>>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

/// The messages that wait.
fn waiting(stream: &mut SubscriberStream<Event>) -> Vec<u32> {
    let mut all = Vec::new();
    while let Poll::Ready(Some(message)) = poll(stream) {
        all.push(message.data().0);
    }
    all
}

fn open(registry: &Events, registration: Registration) -> SubscriberStream<Event> {
    registry.stream(registration, OutboxOptions::new()).unwrap()
}

#[test]
fn del_6_a_stream_gets_the_messages_themselves_and_only_those_it_hears() {
    let registry = Events::new();
    let (mut some, mut all) =
        (open(&registry, hears(&["a"])), open(&registry, Registration::new()));
    let reports = ["a", "b", "a"].map(|channel| registry.broadcast(channel, Event(7)).unwrap());
    assert_eq!(reports.each_ref().map(|report| report.accepted), [2, 1, 2]);
    let Poll::Ready(Some(first)) = poll(&mut some) else { panic!("nothing came") };
    let Poll::Ready(Some(same)) = poll(&mut all) else { panic!("nothing came") };
    assert!(Arc::ptr_eq(&first, &same), "it was copied");
    assert_eq!((first.id(), first.channel(), first.data()), (reports[0].id, "a", &Event(7)));
    assert_eq!((waiting(&mut some), waiting(&mut all)), (vec![7], vec![7, 7]));
    assert_eq!(registry.stats().formats["stream"], 2);
}

#[test]
fn del_1_a_consumer_that_waits_is_woken() {
    let registry = Events::new();
    let mut stream = open(&registry, Registration::new());
    let (wakes, waker) = Wakes::new();
    let mut next = pin!(stream.next());
    assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    registry.broadcast("a", Event(1)).unwrap();
    assert_eq!(wakes.count(), 1);
    assert!(next.poll(&mut Context::from_waker(&waker)).is_ready());
}

#[test]
fn rev_3_a_revocation_ends_a_stream_and_discards_what_it_holds() {
    let registry = Events::new();
    let mut stream = open(&registry, group("ada"));
    let mut other = open(&registry, group("bob"));
    registry.broadcast("a", Event(1)).unwrap();
    assert_eq!(registry.close_by_identity(id("ada")), 1);
    assert_eq!(stream.close_reason(), None, "its consumer has not seen the end");
    assert!(matches!(poll(&mut stream), Poll::Ready(None)));
    assert_eq!(stream.close_reason(), Some(CloseReason::Revoked));
    assert_eq!(registry.broadcast("a", Event(2)).unwrap().matched, 1);
    assert!(matches!(poll(&mut stream), Poll::Ready(None)));
    assert_eq!(waiting(&mut other), [1, 2]);
}

#[test]
fn adm_1_a_stream_is_admitted_by_a_ticket() {
    let registry = Events::new();
    let crossed = registry.draw_ticket();
    registry.close_by_identity(id("ada"));
    let refused = crossed.admit_stream(OutboxOptions::new(), group("ada"));
    assert_eq!(refused.unwrap_err(), AdmitError::Revoked);
    let mut stream =
        registry.draw_ticket().admit_stream(OutboxOptions::new(), group("ada")).unwrap();
    registry.broadcast("a", Event(1)).unwrap();
    assert_eq!(waiting(&mut stream), [1]);
}

#[test]
fn sub_3_a_stream_that_is_dropped_is_unsubscribed() {
    let registry = Events::new();
    let stream = open(&registry, Registration::new());
    assert_eq!(registry.len(), 1);
    drop(stream);
    assert_eq!((registry.len(), registry.stats().ended[&CloseReason::Unsubscribed]), (0, 1));
}

#[test]
fn drn_1_a_shutdown_keeps_what_a_stream_holds_and_waits_until_its_end_is_seen() {
    let registry = Events::new();
    let mut stream = open(&registry, Registration::new());
    registry.broadcast("a", Event(1)).unwrap();
    let mut drained = pin!(registry.drained());
    let mut is_drained =
        || drained.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
    assert_eq!(registry.begin_shutdown(), 1);
    assert!(!is_drained());
    assert_eq!(waiting(&mut stream), [1], "and then it ends");
    assert_eq!(stream.close_reason(), Some(CloseReason::Shutdown));
    assert!(is_drained(), "the consumer has seen the end");
    drop(stream);
    assert!(is_drained());
    let refused = registry.stream(Registration::new(), OutboxOptions::new()).map(drop);
    assert_eq!(refused.unwrap_err(), SubscribeError::ShuttingDown);
}

#[test]
fn que_1_each_policy_bounds_a_stream_and_counts_what_it_drops() {
    for (overflow, kept) in [
        (Overflow::Close, &[][..]),
        (Overflow::DropOldest, &[3, 4]),
        (Overflow::DropNewest, &[1, 2]),
        (Overflow::KeepLatest, &[2, 4]),
    ] {
        let registry = Events::new();
        let options = OutboxOptions::new().with_max_messages(size(2)).with_overflow(overflow);
        let mut stream = registry.stream(Registration::new(), options).unwrap();
        for (channel, number) in [("a", 1), ("b", 2), ("a", 3), ("a", 4)] {
            registry.broadcast(channel, Event(number)).unwrap();
        }
        assert_eq!(waiting(&mut stream), kept, "{overflow:?}");
        let closes = overflow == Overflow::Close;
        assert_eq!(stream.close_reason(), closes.then_some(CloseReason::Lagged));
        assert_eq!(stream.lost(), if closes { 0 } else { 2 });
    }
}

#[test]
fn que_1_a_stream_is_bounded_in_the_bytes_of_the_encoded_payload_or_of_its_type() {
    let bytes = OutboxOptions::new().with_max_bytes(size(8));
    let plain = Events::new();
    let encoded = encoding();
    let _streams = (
        plain.stream(Registration::new(), bytes).unwrap(),
        encoded.stream(Registration::new(), bytes).unwrap(),
    );
    let lagged = [1, 2, 3].map(|number| plain.broadcast("a", Event(number)).unwrap().lagged);
    assert_eq!(lagged, [0, 0, 1], "four bytes each");
    let lagged = [1, 12_345, 123].map(|number| encoded.broadcast("a", number).unwrap().lagged);
    assert_eq!(lagged, [0, 0, 1], "one byte, five, three");
}

/// A payload that calls back when it is dropped.
struct CallsBack(Arc<OnceLock<SubscriberRegistry<CallsBack>>>, Arc<AtomicUsize>);

impl Drop for CallsBack {
    fn drop(&mut self) {
        if self.0.get().is_some_and(|registry| registry.stats().broadcasts > 0) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn re_1_a_payload_may_call_back_wherever_a_stream_drops_it() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let drops = dropped.clone();
    works(move |steps| {
        let slot = Arc::new(OnceLock::new());
        let registry = slot.get_or_init(SubscriberRegistry::new);
        let send = || registry.broadcast("a", CallsBack(slot.clone(), drops.clone())).is_ok();
        for overflow in [Overflow::DropOldest, Overflow::KeepLatest, Overflow::Close] {
            let options = OutboxOptions::new().with_max_messages(size(1)).with_overflow(overflow);
            let stream = registry.stream(group("ada"), options).unwrap();
            assert!(send() && send());
            steps.step();
            registry.close_by_identity(id("ada"));
            steps.step();
            drop(stream);
        }
        let stream = registry.stream(group("ada"), OutboxOptions::new()).unwrap();
        assert!(send());
        drop(stream);
    });
    assert_eq!(dropped.load(Ordering::SeqCst), 7);
}
