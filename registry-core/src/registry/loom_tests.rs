//! Small programs on the whole registry: tickets, drains and revocations against each other.

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::lane::flusher::{Flusher, Progress};
use crate::subscriber::queue::Next;
use crate::subscriber::socket::SocketOutbox;
use crate::subscriber::wire::Wire;
use crate::sync::Ordering;
use crate::sync::model::{every_schedule, spawn, wait};
use crate::types::bounds::LaneOptions;
use crate::types::encode::Encoded;
use crate::types::error::AdmitError;
use crate::types::message::Message;
use crate::types::report::SendOutcome;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize as Count;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

static DOTS: WireFormat = WireFormat::new("dots", |_, _, out| out.extend_from_slice(b"."));

/// Time stands still, so that every run of a schedule is the same.
struct Still(Instant);

impl Clock for Still {
    fn now(&self) -> Instant {
        self.0
    }
}

fn registry() -> SubscriberRegistry<u64> {
    let options = RegistryOptions::new().with_clock(Still(SystemClock.now()));
    SubscriberRegistry::with_encoder(options, |seq: &u64| Ok(Encoded::text(seq.to_string())))
}

fn holding(ids: &[&str]) -> Registration {
    Registration::new().with_groups(ids.iter().map(|id| Identity::untyped(*id)))
}

fn ada() -> Identity {
    Identity::untyped("ada")
}

/// Counts its closes. Invisible to loom: they are read when all threads have ended.
#[derive(Default)]
struct Probe(Count);

impl Probe {
    fn closes(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Sink<u64> for Probe {
    fn send(&self, _: &Arc<Message<u64>>) -> SendOutcome {
        SendOutcome::Accepted
    }

    fn close(&self, _: CloseReason) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn take(outbox: &mut Outbox) -> Poll<Next> {
    outbox.poll_next(&mut Context::from_waker(Waker::noop()), 1)
}

#[test]
fn adm_1_an_admission_that_meets_a_revocation_is_refused_or_ended_and_counted() {
    every_schedule(|| {
        let registry = registry();
        let probe = Arc::new(Probe::default());
        let ticket = registry.draw_ticket();
        let revoker = {
            let registry = registry.clone();
            spawn(move || registry.close_by_identity(ada()))
        };
        let admitted = ticket.admit(probe.clone(), holding(&["ada"]));
        let counted = revoker.join().unwrap();
        match &admitted {
            Ok(_) => assert_eq!(
                (counted, probe.closes()),
                (1, 1),
                "ADM-1: admitted with a dead credential"
            ),
            Err(error) => {
                assert_eq!(
                    (error, counted, probe.closes()),
                    (&AdmitError::Revoked, 0, 0),
                    "ADM-1, ADM-2"
                );
            }
        }
        assert!(registry.is_empty(), "CNT-2");
        assert_eq!(registry.stats().remembered_revocations, 0, "ADM-6");
    });
}

#[test]
fn clo_5_drn_1_a_revocation_that_meets_a_shutdown_discards_and_is_counted_once() {
    every_schedule(|| {
        let registry = registry();
        let mut outbox =
            registry.open_outbox(&DOTS, OutboxOptions::new(), holding(&["ada"])).unwrap();
        registry.broadcast("c", 1).unwrap();
        let revoker = {
            let registry = registry.clone();
            spawn(move || registry.close_by_identity(ada()))
        };
        let ended = registry.begin_shutdown();
        let counted = revoker.join().unwrap();
        assert_eq!(ended + counted, 1, "CNT-1");
        assert_eq!(take(&mut outbox), Poll::Ready(Next::Closed(CloseReason::Revoked)), "CLO-5");
        drop(outbox);
        let stats = registry.stats();
        assert_eq!((stats.subscribers, stats.draining), (0, 0), "DRN-1");
    });
}

#[test]
fn dir_4_a_directed_message_that_meets_a_revocation_is_queued_before_it_or_not_at_all() {
    every_schedule(|| {
        let registry = registry();
        let mut outbox =
            registry.open_outbox(&DOTS, OutboxOptions::new(), holding(&["ada"])).unwrap();
        let id = outbox.subscription().id();
        let publisher = {
            let registry = registry.clone();
            spawn(move || registry.send_to(ada(), "c", 1).unwrap())
        };
        assert!(registry.close(id, Revocation::Revoked), "DIR-6");
        assert_eq!(take(&mut outbox), Poll::Ready(Next::Closed(CloseReason::Revoked)), "DIR-4");
        let report = publisher.join().unwrap();
        assert_eq!(report.matched, report.accepted + report.ended, "DIR-5");
        assert_eq!(take(&mut outbox), Poll::Ready(Next::Closed(CloseReason::Revoked)), "DIR-4");
        assert_eq!(registry.send(id, "c", 2).unwrap().matched, 0, "DIR-3");
    });
}

#[test]
fn drn_1_drained_is_woken_when_the_last_owner_drops_its_outbox() {
    every_schedule(|| {
        let registry = registry();
        let outbox = registry.open_outbox(&DOTS, OutboxOptions::new(), holding(&["ada"])).unwrap();
        let mut drained = Box::pin(registry.drained());
        let owner = spawn(move || drop(outbox));
        let stopper = {
            let registry = registry.clone();
            spawn(move || registry.begin_shutdown())
        };
        wait(|cx| drained.as_mut().poll(cx));
        owner.join().unwrap();
        stopper.join().unwrap();
    });
}

#[test]
fn rev_2_two_revocations_of_one_subscriber_count_once_and_neither_returns_before_the_gate_is_shut()
{
    every_schedule(|| {
        let registry = registry();
        let outbox =
            registry.open_outbox(&DOTS, OutboxOptions::new(), holding(&["ada", "eve"])).unwrap();
        let outbox = Arc::new(outbox);
        let revoke = |identity: &'static str| {
            let (registry, outbox) = (registry.clone(), outbox.clone());
            spawn(move || {
                let counted = registry.close_by_identity(Identity::untyped(identity));
                assert!(outbox.has_ended(), "REV-1: open after a revocation returned");
                counted
            })
        };
        let revokers = [revoke("ada"), revoke("eve")];
        let counted: usize = revokers.into_iter().map(|revoker| revoker.join().unwrap()).sum();
        assert_eq!(counted, 1, "CNT-1");
    });
}

#[test]
fn rev_2_nothing_of_a_broadcast_is_in_the_outbox_after_a_revocation_returned() {
    every_schedule(|| {
        let registry = registry();
        let mut outbox =
            registry.open_outbox(&DOTS, OutboxOptions::new(), holding(&["ada"])).unwrap();
        let publisher = {
            let registry = registry.clone();
            spawn(move || registry.broadcast("c", 1).unwrap())
        };
        assert_eq!(registry.close_by_identity(ada()), 1);
        assert_eq!(take(&mut outbox), Poll::Ready(Next::Closed(CloseReason::Revoked)), "REV-3");
        publisher.join().unwrap();
        assert_eq!(take(&mut outbox), Poll::Ready(Next::Closed(CloseReason::Revoked)), "REV-2");
    });
}

#[test]
fn con_2_an_owner_that_drops_its_outbox_while_it_is_revoked_is_ended_once() {
    every_schedule(|| {
        let registry = registry();
        let outbox = registry.open_outbox(&DOTS, OutboxOptions::new(), holding(&["ada"])).unwrap();
        let owner = spawn(move || drop(outbox));
        let counted = registry.close_by_identity(ada());
        owner.join().unwrap();
        let stats = registry.stats();
        let ended = |reason| stats.ended.get(&reason).copied().unwrap_or(0);
        assert_eq!(ended(CloseReason::Revoked), counted as u64, "CNT-1");
        assert_eq!(ended(CloseReason::Revoked) + ended(CloseReason::Unsubscribed), 1, "CON-2");
        assert_eq!(stats.subscribers, 0, "CNT-2");
    });
}

#[test]
fn rev_1_a_hook_that_is_set_while_the_subscriber_is_ended_is_called() {
    every_schedule(|| {
        let registry = registry();
        let outbox = registry.open_outbox(&DOTS, OutboxOptions::new(), holding(&["ada"])).unwrap();
        let revoker = {
            let registry = registry.clone();
            spawn(move || registry.close_by_identity(ada()))
        };
        let calls = Arc::new(Count::new(0));
        let heard = calls.clone();
        outbox.on_end(move |reason| {
            heard.fetch_add(usize::from(reason == CloseReason::Revoked), Ordering::SeqCst);
        });
        assert_eq!(revoker.join().unwrap(), 1);
        assert_eq!(calls.load(Ordering::SeqCst), 1, "REV-1: the owner is notified once");
    });
}

#[test]
fn sub_7_a_subscriber_that_is_revoked_while_it_joins_leaves_nothing_in_its_lane() {
    every_schedule(|| {
        let registry = registry();
        let revoker = {
            let registry = registry.clone();
            spawn(move || registry.close_by_identity(ada()))
        };
        let outbox = registry.open_outbox(&DOTS, OutboxOptions::new(), holding(&["ada"])).unwrap();
        let counted = revoker.join().unwrap();
        assert_eq!(outbox.has_ended(), counted == 1, "REV-1");
        drop(outbox);
        assert_eq!(registry.inner.outboxes.members(), 0, "SUB-7: the lane's book still holds it");
    });
}

/// Counts what is written, and what is written after the revocation returned.
#[derive(Default)]
struct Socket {
    writes: Count,
    returned: crate::sync::AtomicUsize,
    late: Count,
}

impl Wire for Socket {
    fn try_write(&self, bytes: &[u8]) -> std::io::Result<usize> {
        self.late.fetch_add(self.returned.load(Ordering::SeqCst), Ordering::SeqCst);
        self.writes.fetch_add(bytes.len(), Ordering::SeqCst);
        Ok(bytes.len())
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// An outbox in a lane, and its socket.
fn wired(registry: &SubscriberRegistry<u64>) -> (SocketOutbox, Arc<Socket>) {
    let outbox = registry
        .open_outbox(&DOTS, OutboxOptions::new().with_flusher(), holding(&["ada"]))
        .unwrap();
    let socket = Arc::new(Socket::default());
    (outbox.attach(socket.clone()), socket)
}

/// Time stands still.
fn now() -> Instant {
    static NOW: OnceLock<Instant> = OnceLock::new();
    *NOW.get_or_init(|| SystemClock.now())
}

/// Serves until nothing is left.
fn serve(flusher: &mut Flusher<u64>) {
    let mut cx = Context::from_waker(Waker::noop());
    while flusher.poll_serve(&mut cx, now()) == Poll::Ready(Progress::More) {}
}

#[test]
fn rev_12_a_flusher_writes_nothing_after_a_revocation_returned() {
    every_schedule(|| {
        let registry = registry();
        let mut flusher = registry.open_lane(LaneOptions::new());
        let (outbox, socket) = wired(&registry);
        registry.broadcast("c", 1).unwrap();
        let serving = spawn(move || {
            serve(&mut flusher);
            flusher
        });
        assert_eq!(registry.close_by_identity(ada()), 1);
        socket.returned.store(1, Ordering::SeqCst);
        let mut flusher = serving.join().unwrap();
        serve(&mut flusher);
        assert_eq!(socket.late.load(Ordering::SeqCst), 0, "REV-12");
        drop(outbox);
        assert_eq!(Arc::strong_count(&socket), 1, "SUB-7: the lane's book still holds it");
    });
}

#[test]
fn drn_1_a_broadcast_that_meets_a_shutdown_is_delivered_or_matches_no_subscriber() {
    every_schedule(|| {
        let registry = registry();
        let mut flusher = registry.open_lane(LaneOptions::new());
        let (outbox, socket) = wired(&registry);
        let publisher = {
            let registry = registry.clone();
            spawn(move || registry.broadcast("c", 1).unwrap().matched)
        };
        assert_eq!(registry.begin_shutdown(), 1);
        // In either order, the log is closed now.
        assert_eq!(wait(|cx| flusher.poll_serve(cx, now())), Progress::Done);
        let matched = publisher.join().unwrap();
        assert_eq!(socket.writes.load(Ordering::SeqCst), matched, "DEL-1");
        let flushed = outbox.poll_flush(&mut Context::from_waker(Waker::noop()), now());
        assert!(matches!(flushed, Poll::Ready(Ok(CloseReason::Shutdown))), "DRN-1");
    });
}

#[test]
fn iso_5_a_flusher_that_is_dropped_while_others_join_and_publish_leaves_no_subscriber_unserved() {
    every_schedule(|| {
        let registry = registry();
        let flusher = registry.open_lane(LaneOptions::new());
        let going = spawn(move || drop(flusher));
        let mut outbox = registry
            .open_outbox(&DOTS, OutboxOptions::new().with_flusher(), holding(&["ada"]))
            .unwrap();
        registry.broadcast("c", 1).unwrap();
        going.join().unwrap();
        let failed = registry.stats().ended.get(&CloseReason::Failed).copied().unwrap_or(0);
        match take(&mut outbox) {
            Poll::Ready(Next::Closed(CloseReason::Failed)) => {
                assert_eq!((failed, registry.len()), (1, 0))
            }
            Poll::Ready(Next::Frames(batch)) => {
                assert_eq!((batch.frames.len(), failed, registry.len()), (1, 0, 1))
            }
            other => panic!("DEL-1: {other:?}"),
        }
    });
}
