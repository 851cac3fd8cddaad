//! The registry's lanes as a subject: its subscribers are outboxes that a flusher serves, each with
//! a wire in memory.
//!
//! A message counts as sent in one of two places, as [`Heard`] says. The first is the write, which
//! happens under the subscriber's gate. No call may be made from there, so scripts whose sends call
//! back are left out. The second is the peer that reads the bytes. It may make any call, so the
//! whole kit applies, but the registry is not blamed for unread messages. In both, no write may
//! come after a revocation has returned (REV-12).
//!
//! The outbox's hook notifies a subscriber that was ended; one that unsubscribed is not notified.
//! Every third wire is always full, so that the owner writes everything, and every third takes a
//! few bytes at a time.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use harness::campaign::{Answer, Driver, InProcess, Outcome, Plan, campaign, never_exercised};
use harness::core;
use harness::kit::registry::Rig;
use harness::protocol::{Delivery, Hello, SendFailure};
use harness::script::{Ending, Hook, Identity, Reason, Registration, Script};
use harness::subject::{Factory, Handle, Probe, Refused, Subject, Ticket};
use harness::trace::Report;
use registry_core::{
    BroadcastError, ChannelFilter, Clock, CloseReason, Flusher, Json, LaneOptions, Outbox,
    OutboxOptions, Progress, RegistryOptions, ScopeCap, SocketOutbox, SubscriberRegistry,
    SystemClock, Wire, WireFormat,
};

/// JSON, which has no line break, and a line break.
static LINES: WireFormat = WireFormat::new("lines", |_, encoded, out| {
    out.extend_from_slice(encoded.body());
    out.extend_from_slice(b"\n");
});

/// When a message counts as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// When it is written to the wire.
    Written,
    /// When the peer reads it.
    Read,
}

/// The thread that polls the flusher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Polled {
    /// The thread of each call, before the call returns.
    ByCalls,
    /// A thread of its own.
    ByThread,
}

/// How many bytes a wire takes at a time from the flusher, and from its owner.
const ROOM: [(usize, usize); 3] = [(usize::MAX, usize::MAX), (0, usize::MAX), (5, 3)];

/// A peer, and the wire to it.
struct Peer {
    probe: Option<Probe>,
    heard: Heard,
    room: (usize, usize),
    /// The owner is writing, and not the flusher. Both write while they hold the flusher's lock.
    by_owner: AtomicBool,
    holds: Vec<Identity>,
    /// The part of the next line that has arrived.
    line: Mutex<Vec<u8>>,
    unread: Mutex<VecDeque<String>>,
    notified: AtomicBool,
    /// The thread that is reading a message.
    reader: Mutex<Option<ThreadId>>,
    /// The reason of a close that waits until that message is read.
    owed: Mutex<Option<CloseReason>>,
    /// A revocation that ended the subscriber has returned, so any further write is too late.
    sealed: AtomicBool,
    late: Arc<AtomicUsize>,
}

impl Peer {
    /// Takes at most `room` bytes; no revocation returns meanwhile.
    fn take(&self, bytes: &[u8], room: usize) -> io::Result<usize> {
        let taken = self.put(bytes, room);
        thread::yield_now();
        self.late.fetch_add(usize::from(self.sealed.load(SeqCst)), SeqCst);
        taken
    }

    fn put(&self, bytes: &[u8], room: usize) -> io::Result<usize> {
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = &bytes[..bytes.len().min(room)];
        let mut line = lock(&self.line);
        for byte in taken {
            if *byte != b'\n' {
                line.push(*byte);
                continue;
            }
            let data: String = serde_json::from_slice(&std::mem::take(&mut *line)).unwrap();
            match self.heard {
                Heard::Read => lock(&self.unread).push_back(data),
                Heard::Written if self.hear(&data) => {}
                Heard::Written => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        Ok(taken.len())
    }

    /// Returns false if the peer fails.
    fn hear(&self, data: &str) -> bool {
        let hear = || self.probe.as_ref().is_none_or(|probe| probe.send(data));
        catch_unwind(AssertUnwindSafe(hear)).unwrap_or(false)
    }

    /// Reads the next message. Returns `None` if there is none, and false if the peer fails.
    fn read(&self) -> Option<bool> {
        if self.notified.load(SeqCst) {
            return None;
        }
        let data = lock(&self.unread).pop_front()?;
        *lock(&self.reader) = Some(thread::current().id());
        let read = self.hear(&data);
        *lock(&self.reader) = None;
        let owed = lock(&self.owed).take();
        if let Some(reason) = owed {
            self.notify(reason);
        }
        Some(read)
    }

    fn end(&self, reason: CloseReason) {
        if reason == CloseReason::Unsubscribed || self.notified.swap(true, SeqCst) {
            return;
        }
        if *lock(&self.reader) == Some(thread::current().id()) {
            *lock(&self.owed) = Some(reason);
        } else {
            self.notify(reason);
        }
    }

    fn notify(&self, reason: CloseReason) {
        let close = || self.probe.iter().for_each(|probe| probe.close(Some(reason.as_str())));
        let _ = catch_unwind(AssertUnwindSafe(close));
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A wire must not panic, and neither may its destructor.
        let probe = self.probe.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(probe)));
    }
}

impl Wire for Peer {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let (by_flusher, by_owner) = self.room;
        self.take(bytes, if self.by_owner.load(SeqCst) { by_owner } else { by_flusher })
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A subscriber with its owner.
struct Owned {
    outbox: SocketOutbox,
    peer: Arc<Peer>,
    lane: Arc<Lane>,
}

impl Owned {
    fn flush(&self, cx: &mut Context<'_>) {
        self.peer.by_owner.store(true, SeqCst);
        let flushed = self.outbox.poll_flush(cx, SystemClock.now());
        self.peer.by_owner.store(false, SeqCst);
        if let Poll::Ready(Err(_gone)) = flushed {
            self.outbox.outbox().subscription().unsubscribe();
        }
    }
}

impl Handle for Owned {
    fn unsubscribe(&self) {
        self.outbox.outbox().subscription().unsubscribe();
        self.lane.settle_if_polled();
    }
}

/// The flusher, and the subscribers that it serves.
struct Lane {
    polled: Polled,
    flusher: Mutex<Flusher<String>>,
    /// There is more to do for the thread that holds the flusher.
    again: AtomicBool,
    owned: Mutex<Vec<Weak<Owned>>>,
    bell: Arc<Bell>,
}

impl Lane {
    /// Serves until nothing is left. If another thread is serving, that thread does it.
    fn settle_if_polled(&self) {
        if self.polled == Polled::ByThread {
            return;
        }
        self.again.store(true, SeqCst);
        while self.again.load(SeqCst) {
            let mut flusher = match self.flusher.try_lock() {
                Ok(flusher) => flusher,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            while self.again.swap(false, SeqCst) {
                self.serve(&mut flusher);
            }
        }
    }

    /// Serves until nothing is left; true if the flusher is done.
    fn serve(&self, flusher: &mut Flusher<String>) -> bool {
        loop {
            let over = self.write(flusher);
            let mut read = false;
            for owned in self.owned() {
                // A peer that was cut off reads no more.
                if owned
                    .outbox
                    .outbox()
                    .poll_discarded(&mut Context::from_waker(Waker::noop()))
                    .is_ready()
                {
                    continue;
                }
                let Some(well) = owned.peer.read() else { continue };
                read = true;
                if !well {
                    owned.outbox.outbox().close(CloseReason::Failed);
                }
                // What this peer did is applied before the next one reads.
                self.write(flusher);
            }
            if !read {
                return over;
            }
        }
    }

    fn write(&self, flusher: &mut Flusher<String>) -> bool {
        let waker = Waker::from(Arc::clone(&self.bell));
        let mut cx = Context::from_waker(&waker);
        let over = loop {
            match flusher.poll_serve(&mut cx, SystemClock.now()) {
                Poll::Ready(Progress::Done) => break true,
                Poll::Ready(_) => {}
                Poll::Pending => break false,
            }
        };
        self.owned().iter().for_each(|owned| owned.flush(&mut cx));
        over
    }

    fn owned(&self) -> Vec<Arc<Owned>> {
        lock(&self.owned).iter().filter_map(Weak::upgrade).collect()
    }

    /// Runs a thread that serves.
    fn run(&self) {
        while !self.serve(&mut lock(&self.flusher)) {
            self.bell.wait();
        }
    }
}

#[derive(Default)]
struct Bell(Mutex<bool>, Condvar);

impl Bell {
    fn wait(&self) {
        let mut rung =
            self.1.wait_while(lock(&self.0), |rung| !*rung).unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *lock(&self.0) = true;
        self.1.notify_all();
    }
}

/// A registry whose subscribers are all in one lane.
struct Lanes {
    registry: SubscriberRegistry<String>,
    lane: Arc<Lane>,
    seats: Arc<Seats>,
}

/// Makes the subscribers.
struct Seats {
    heard: Heard,
    lane: Arc<Lane>,
    number: AtomicUsize,
    late: Arc<AtomicUsize>,
}

impl Seats {
    fn take<E>(
        &self,
        probe: Probe,
        with: &Registration,
        open: impl FnOnce(OutboxOptions, registry_core::Registration) -> Result<Outbox, E>,
    ) -> Result<Arc<dyn Handle>, Refused> {
        let outbox =
            open(OutboxOptions::new().with_flusher(), registration(with)).map_err(|_| Refused)?;
        let peer = Arc::new(Peer {
            probe: Some(probe),
            heard: self.heard,
            room: ROOM[self.number.fetch_add(1, SeqCst) % ROOM.len()],
            holds: with.identities().cloned().collect(),
            line: Mutex::default(),
            unread: Mutex::default(),
            notified: AtomicBool::new(false),
            by_owner: AtomicBool::new(false),
            reader: Mutex::default(),
            owed: Mutex::default(),
            sealed: AtomicBool::new(false),
            late: Arc::clone(&self.late),
        });
        let ended = Arc::clone(&peer);
        outbox.on_end(move |reason| ended.end(reason));
        let outbox = outbox.attach(Arc::clone(&peer) as Arc<dyn Wire>);
        let owned = Arc::new(Owned { outbox, peer, lane: Arc::clone(&self.lane) });
        lock(&self.lane.owned).push(Arc::downgrade(&owned));
        self.lane.settle_if_polled();
        // The owner looks once, which registers its waker.
        self.lane.bell.wake_by_ref();
        Ok(owned)
    }
}

impl Lanes {
    fn reported(
        &self,
        sent: Result<registry_core::Report, BroadcastError<String>>,
    ) -> Result<Option<Report>, String> {
        let report = sent.map_err(|error| error.to_string())?;
        self.lane.settle_if_polled();
        Ok(Some(Report {
            matched: report.matched as u64,
            accepted: report.accepted as u64,
            dropped: report.dropped as u64,
            lagged: report.lagged as u64,
            failed: report.failed as u64,
        }))
    }
}

impl Subject for Lanes {
    fn subscribe(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused> {
        self.seats.take(sink, with, |options, registration| {
            self.registry.open_outbox(&LINES, options, registration)
        })
    }

    fn broadcast(&self, channel: &str, data: &str) -> Result<Option<Report>, String> {
        self.reported(self.registry.broadcast(channel, data.to_owned()))
    }

    fn send_to(
        &self,
        identity: &Identity,
        channel: &str,
        data: &str,
    ) -> Result<Option<Report>, String> {
        self.reported(self.registry.send_to(identity, channel, data.to_owned()))
    }

    fn close_by_identity(&self, identity: &Identity) -> usize {
        self.close_by_identity_as(identity, Reason::Revoked)
    }

    fn close_by_identity_as(&self, identity: &Identity, reason: Reason) -> usize {
        let owned = self.lane.owned();
        let held = owned.into_iter().filter(|owned| owned.peer.holds.contains(identity));
        let ended: Vec<Arc<Peer>> = held.map(|owned| Arc::clone(&owned.peer)).collect();
        let number = self.registry.close_by_identity_as(identity, reason.into());
        ended.iter().for_each(|peer| peer.sealed.store(true, SeqCst));
        self.lane.settle_if_polled();
        number
    }

    fn count(&self) -> usize {
        self.registry.len()
    }

    fn begin(&self) -> Option<Arc<dyn Ticket>> {
        let ticket = Mutex::new(Some(self.registry.draw_ticket()));
        Some(Arc::new(Admission { ticket, seats: Arc::clone(&self.seats) }))
    }

    fn shutdown(&self) {
        self.registry.begin_shutdown();
        self.lane.settle_if_polled();
    }

    fn settle(&self) {
        self.lane.serve(&mut lock(&self.lane.flusher));
    }
}

struct Admission {
    ticket: Mutex<Option<registry_core::Ticket<String>>>,
    seats: Arc<Seats>,
}

impl Ticket for Admission {
    fn admit(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused> {
        let ticket = lock(&self.ticket).take().ok_or(Refused)?;
        self.seats.take(sink, with, |options, registration| {
            ticket.admit_outbox(&LINES, options, registration)
        })
    }

    fn abandon(&self) {
        drop(lock(&self.ticket).take());
    }
}

fn registration(with: &Registration) -> registry_core::Registration {
    let filter = match with.channels.as_deref() {
        None => ChannelFilter::All,
        Some([]) if !with.exact => ChannelFilter::All,
        Some(names) => ChannelFilter::only(names.iter().map(String::as_str)),
    };
    let made = registry_core::Registration::new()
        .with_filter(filter)
        .with_groups(with.groups.iter().map(Into::into));
    match &with.scope {
        Some(scope) => made.with_scope(scope),
        None => made,
    }
}

/// Makes registries with one lane. They count in `late` the writes after the return of a
/// revocation.
fn factory(heard: Heard, polled: Polled, late: &Arc<AtomicUsize>) -> Factory {
    let late = Arc::clone(late);
    Arc::new(move |cap| {
        let mut options = RegistryOptions::new();
        if let Some(cap) = cap {
            options =
                options.with_scope_cap(ScopeCap::new(std::num::NonZeroUsize::new(cap as usize)?));
        }
        let registry = SubscriberRegistry::<String>::with_encoder(options, Json);
        let lane = Arc::new(Lane {
            polled,
            flusher: Mutex::new(registry.open_lane(LaneOptions::new())),
            again: AtomicBool::new(false),
            owned: Mutex::default(),
            bell: Arc::default(),
        });
        if polled == Polled::ByThread {
            let lane = Arc::clone(&lane);
            thread::spawn(move || lane.run());
        }
        let number = AtomicUsize::new(0);
        let seats =
            Arc::new(Seats { heard, lane: Arc::clone(&lane), number, late: Arc::clone(&late) });
        Some(Arc::new(Lanes { registry, lane, seats }) as Arc<dyn Subject>)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the subject claims. It does not claim the outboxes of scripts: each of its subscribers
/// already has one, which its wire empties.
fn hello() -> Hello {
    let mut hello = core::hello();
    hello.profiles.retain(|profile| profile != "queued");
    hello
}

/// A peer whose write fails has left: its subscriber is removed, and is not notified.
fn written() -> Hello {
    let mut hello = self::hello();
    hello.policies.send_failure = SendFailure::Drop;
    hello
}

/// Requirements that only a send that calls back or waits can exercise.
const OF_CALLS_FROM_SENDS: [&str; 4] = ["PRG-1", "RE-3", "RE-4", "RE-5"];

fn untested(hello: &Hello, outcome: &Outcome) -> Vec<&'static str> {
    never_exercised(hello, outcome).into_iter().collect()
}

/// Leaves out scripts in which a send calls the registry or waits, because no write can do that.
/// With a thread that serves, it also leaves out failing writes under a cap, because the oracle
/// cannot know when a failed subscriber leaves its scope.
struct OfWrites(InProcess, Polled);

impl Driver for OfWrites {
    fn run(&mut self, script: &Script) -> Answer {
        let mut sends =
            script.sinks.iter().flat_map(|sink| &sink.rules).filter(|rule| rule.on == Hook::Send);
        let capped = script.cap.is_some() && self.1 == Polled::ByThread;
        if sends.any(|rule| !rule.ops.is_empty() || (capped && rule.then != Ending::Ok)) {
            return Answer::Unsupported("no write does this".into());
        }
        self.0.run(script)
    }
}

/// Describes what is wrong.
fn wrong(outcome: &Outcome) -> String {
    let failures = outcome.failures.iter().map(|failure| {
        let script = serde_json::to_string(&failure.script).unwrap();
        format!(
            "{:?}\n{script}\n{}",
            failure.violation,
            serde_json::to_string(&failure.trace).unwrap()
        )
    });
    failures
        .chain(outcome.faults.iter().map(|fault| format!("{fault:?}")))
        .collect::<Vec<_>>()
        .join("\n\n")
}

mod read {
    use super::*;

    fn rig() -> Rig {
        Rig::new(hello(), factory(Heard::Read, Polled::ByCalls, &Arc::default()))
    }

    harness::registry_suite!(kit, rig());
}

#[test]
fn random_scripts_agree_with_the_oracle_when_peers_read() {
    let late = Arc::default();
    let mut driver = InProcess::new(factory(Heard::Read, Polled::ByCalls, &late));
    let plan = Plan { scripts: 2_000, seed: 11, ..Plan::default() };
    let outcome = campaign(&hello(), &mut driver, &plan, &mut |_, _| {});
    assert_eq!(wrong(&outcome), "");
    assert_eq!(untested(&hello(), &outcome), [""; 0]);
    assert_eq!(late.load(SeqCst), 0, "REV-12");
}

#[test]
fn random_scripts_agree_with_the_oracle_at_the_write() {
    let late = Arc::default();
    let mut driver =
        OfWrites(InProcess::new(factory(Heard::Written, Polled::ByCalls, &late)), Polled::ByCalls);
    let plan = Plan { scripts: 4_000, seed: 12, ..Plan::default() };
    let outcome = campaign(&written(), &mut driver, &plan, &mut |_, _| {});
    assert_eq!(wrong(&outcome), "");
    assert_eq!(untested(&written(), &outcome), OF_CALLS_FROM_SENDS);
    assert_eq!(late.load(SeqCst), 0, "REV-12");
}

#[test]
fn random_scripts_agree_with_the_oracle_when_a_thread_serves() {
    let mut hello = written();
    hello.policies.delivery = Delivery::Async;
    // A draining subscriber is notified before the last message is written.
    hello.features.remove("shutdown");
    let late = Arc::default();
    let mut driver = OfWrites(
        InProcess::new(factory(Heard::Written, Polled::ByThread, &late)),
        Polled::ByThread,
    );
    let plan = Plan { scripts: 4_000, seed: 13, ..Plan::default() };
    let outcome = campaign(&hello, &mut driver, &plan, &mut |_, _| {});
    assert_eq!(wrong(&outcome), "");
    assert_eq!(untested(&hello, &outcome), OF_CALLS_FROM_SENDS);
    assert_eq!(late.load(SeqCst), 0, "REV-12");
}
