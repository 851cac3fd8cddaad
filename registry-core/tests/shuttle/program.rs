//! Random programs, each on a registry of its own, and their histories.

mod flushers;
mod socket;

use crate::judge::{Bits, Call, Event, Kind, OpNo, Outcome, Record, Sub, judge};
use flushers::start;
use registry_core::{
    AdmitError, BroadcastError, ChannelFilter, CloseReason, Encoded, Identity, LaneOptions,
    Message, Next, Outbox, OutboxOptions, Registration, RegistryOptions, Report, Revocation,
    SendOutcome, Sink, SocketOutbox, SubscriberRegistry, Subscription, SubscriptionId, WireFormat,
};
use shuttle::rand::{Rng, thread_rng};
use socket::{connect, flush};
use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

const CHANNELS: usize = 2;
const IDENTITIES: usize = 2;
/// Hears every channel, named or not.
const ALL: Bits = Bits::MAX;

static SEQS: WireFormat =
    WireFormat::new("seqs", |head, _, out| out.extend_from_slice(&head.id().seq().to_be_bytes()));

/// One step of a thread, or of a sink that calls back.
#[derive(Debug, Clone)]
enum Act {
    Broadcast(Bits),
    SendTo(Bits),
    /// Sends to one of the subscribers that came so far, at this index, modulo their number.
    SendOne(usize),
    /// Ends one of these.
    Close(usize),
    Subscribe(Spec),
    Admit(Spec),
    Revoke(Bits),
    /// Unsubscribes one of the subscribers at hand: the one at this index, modulo their number.
    Unsubscribe(usize),
    Take(usize),
}

/// A subscriber to create.
#[derive(Debug, Clone)]
struct Spec {
    kind: Kind,
    hears: Bits,
    holds: Bits,
    /// The act of a sink in its first send and in its close; with a wire, only in its hook.
    in_send: Option<Box<Act>>,
    in_close: Option<Box<Act>>,
    /// The first send fails.
    fails: bool,
}

/// Draws an act; sinks nest further acts down to `depth`.
fn act(depth: usize) -> Act {
    let mut rng = thread_rng();
    match rng.gen_range(0..16) {
        12 | 13 => Act::SendTo(1 << rng.gen_range(0..IDENTITIES)),
        14 => Act::SendOne(rng.gen_range(0..4)),
        15 => Act::Close(rng.gen_range(0..4)),
        0..4 => Act::Broadcast(1 << rng.gen_range(0..CHANNELS)),
        4 => Act::Subscribe(spec(depth)),
        5 | 6 => Act::Admit(spec(depth)),
        7..10 => Act::Revoke(1 << rng.gen_range(0..IDENTITIES)),
        10 => Act::Unsubscribe(rng.gen_range(0..4)),
        _ => Act::Take(rng.gen_range(0..4)),
    }
}

fn spec(depth: usize) -> Spec {
    let mut rng = thread_rng();
    let mut nested = || (depth > 0 && rng.gen_range(0..3) == 0).then(|| Box::new(act(depth - 1)));
    let (in_send, in_close) = (nested(), nested());
    let hears = [1, 2, 3, 0, ALL, ALL][rng.gen_range(0..6)];
    let holds = [0, 1, 1, 2, 3][rng.gen_range(0..5)];
    let kind = [Kind::Sink, Kind::Outbox, Kind::Wired][rng.gen_range(0..3)];
    Spec { kind, hears, holds, in_send, in_close, fails: rng.gen_range(0..12) == 0 }
}

fn registration(spec: &Spec) -> Registration {
    let bits = |set: Bits, n: usize| (0..n).filter(move |bit| set & (1 << bit) != 0);
    let filter = match spec.hears {
        ALL => ChannelFilter::All,
        hears => ChannelFilter::only(bits(hears, CHANNELS).map(|bit| format!("{}", 1 << bit))),
    };
    Registration::new()
        .with_filter(filter)
        .with_groups(bits(spec.holds, IDENTITIES).map(|bit| identity(1 << bit)))
}

fn identity(bit: Bits) -> Identity {
    Identity::untyped(bit.to_string())
}

enum Guard {
    Sink(Subscription),
    Outbox(Outbox),
    Wired(SocketOutbox),
}

/// A registry, the subscribers at hand, and the history so far.
///
/// Its own locks are those of `std` and are held for one statement, so they are not part of the
/// schedule.
struct World {
    registry: SubscriberRegistry<u64>,
    guards: Mutex<BTreeMap<Sub, Guard>>,
    history: Mutex<Vec<Record>>,
    /// The subscribers that came so far.
    ids: Mutex<Vec<(Sub, SubscriptionId)>>,
    subs: Mutex<usize>,
    this: Weak<World>,
}

impl World {
    fn new() -> Arc<Self> {
        let encoder = |data: &u64| Ok(Encoded::text(data.to_string()));
        let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
        Arc::new_cyclic(|this| Self {
            registry,
            guards: Mutex::default(),
            history: Mutex::default(),
            ids: Mutex::default(),
            subs: Mutex::default(),
            this: this.clone(),
        })
    }

    fn record(&self, event: Event) {
        let thread = shuttle::current::me().into();
        self.history.lock().unwrap().push(Record { thread, event });
    }

    /// Records a call. Returns its index in the history, which also names the call.
    fn call(&self, call: Call) -> OpNo {
        let mut history = self.history.lock().unwrap();
        let no = history.len();
        history
            .push(Record { thread: shuttle::current::me().into(), event: Event::Call(no, call) });
        no
    }

    fn run(&self, act: Act) {
        match act {
            Act::Broadcast(channel) => {
                let op = self.call(Call::Broadcast { channel });
                self.sent(op, self.registry.broadcast(&channel.to_string(), 0));
            }
            Act::SendTo(bit) => {
                let op = self.call(Call::SendTo { identity: bit });
                self.sent(op, self.registry.send_to(identity(bit), "1", 0));
            }
            Act::SendOne(place) => {
                if let Some((sub, id)) = self.one(place) {
                    let op = self.call(Call::SendOne { sub });
                    self.sent(op, self.registry.send(id, "1", 0));
                }
            }
            Act::Close(place) => {
                if let Some((sub, id)) = self.one(place) {
                    let op = self.call(Call::Close { sub });
                    let ended = self.registry.close(id, Revocation::Revoked);
                    self.record(Event::Return(op, Outcome::Revoked(usize::from(ended))));
                }
            }
            Act::Subscribe(spec) => self.subscribe(spec, false),
            Act::Admit(spec) => self.subscribe(spec, true),
            Act::Revoke(bit) => {
                let op = self.call(Call::Revoke { identity: bit });
                let count = self.registry.close_by_identity(&identity(bit));
                self.record(Event::Return(op, Outcome::Revoked(count)));
            }
            Act::Unsubscribe(place) => {
                if let Some((sub, guard)) = self.pick(place, |_| true) {
                    self.unsubscribe(sub, guard);
                }
            }
            Act::Take(place) => {
                if let Some((sub, mut guard)) =
                    self.pick(place, |guard| !matches!(guard, Guard::Sink(_)))
                {
                    self.take(sub, &mut guard);
                    self.keep(sub, guard);
                }
            }
        }
    }

    fn sent(&self, op: OpNo, report: Result<Report, BroadcastError<u64>>) {
        let seq = report.map(|report| report.id.seq());
        self.record(Event::Return(op, seq.map_or(Outcome::Refused, Outcome::Sent)));
    }

    /// One of the subscribers that came so far.
    fn one(&self, place: usize) -> Option<(Sub, SubscriptionId)> {
        let ids = self.ids.lock().unwrap();
        ids.get(place % ids.len().max(1)).copied()
    }

    fn subscribe(&self, spec: Spec, by_ticket: bool) {
        let ticket = by_ticket.then(|| {
            let op = self.call(Call::Draw);
            let ticket = self.registry.draw_ticket();
            self.record(Event::Return(op, Outcome::Done));
            // Here the credential is read.
            shuttle::thread::yield_now();
            (op, ticket)
        });
        let (begin, ticket) = ticket.unzip();
        let sub = {
            let mut subs = self.subs.lock().unwrap();
            *subs += 1;
            *subs
        };
        let registration = registration(&spec);
        let Spec { kind, hears, holds, in_send, in_close, fails } = spec;
        let once = |act: Option<Box<Act>>| Mutex::new(act.map(|act| *act));
        let probe = Probe {
            world: self.this.clone(),
            sub,
            in_send: once(in_send),
            in_close: once(in_close),
            fails,
        };
        let op = self.call(Call::Subscribe { sub, kind, hears, holds, ticket: begin });
        let guard = if kind != Kind::Sink {
            let options = if kind == Kind::Wired {
                OutboxOptions::new().with_flusher()
            } else {
                OutboxOptions::new()
            };
            match ticket {
                Some(ticket) => ticket.admit_outbox(&SEQS, options, registration),
                None => self
                    .registry
                    .open_outbox(&SEQS, options, registration)
                    .map_err(AdmitError::from),
            }
            .map(|outbox| {
                if kind == Kind::Wired {
                    Guard::Wired(connect(outbox, probe))
                } else {
                    Guard::Outbox(outbox)
                }
            })
        } else {
            match ticket {
                Some(ticket) => ticket.admit(probe, registration),
                None => self.registry.subscribe_with(probe, registration).map_err(AdmitError::from),
            }
            .map(Guard::Sink)
        };
        let outcome = if guard.is_ok() { Outcome::Done } else { Outcome::Refused };
        self.record(Event::Return(op, outcome));
        if let Ok(guard) = guard {
            let id = match &guard {
                Guard::Sink(subscription) => subscription.id(),
                Guard::Outbox(outbox) => outbox.subscription().id(),
                Guard::Wired(outbox) => outbox.outbox().subscription().id(),
            };
            self.ids.lock().unwrap().push((sub, id));
            self.keep(sub, guard);
        }
    }

    fn keep(&self, sub: Sub, guard: Guard) {
        self.guards.lock().unwrap().insert(sub, guard);
    }

    /// Takes a subscriber from those at hand.
    fn pick(&self, place: usize, of: impl Fn(&Guard) -> bool) -> Option<(Sub, Guard)> {
        let mut guards = self.guards.lock().unwrap();
        let fit: Vec<Sub> =
            guards.iter().filter(|(_, guard)| of(guard)).map(|(sub, _)| *sub).collect();
        let sub = *fit.get(place % fit.len().max(1))?;
        guards.remove(&sub).map(|guard| (sub, guard))
    }

    fn unsubscribe(&self, sub: Sub, guard: Guard) {
        let op = self.call(Call::Unsubscribe { sub });
        match guard {
            Guard::Sink(subscription) => drop(subscription),
            Guard::Outbox(mut outbox) => {
                outbox.subscription().unsubscribe();
                // Looks whether this ended it, or a revocation did.
                self.look(sub, &mut outbox);
            }
            Guard::Wired(outbox) => drop(outbox),
        }
        self.record(Event::Return(op, Outcome::Done));
    }

    fn take(&self, sub: Sub, guard: &mut Guard) {
        let op = self.call(Call::Take { sub });
        let seqs = match guard {
            Guard::Sink(_) => Vec::new(),
            Guard::Outbox(outbox) => self.look(sub, outbox),
            Guard::Wired(outbox) => {
                flush(outbox);
                Vec::new()
            }
        };
        self.record(Event::Return(op, Outcome::Took(seqs)));
    }

    /// Takes what an outbox holds, or notes how it was closed.
    fn look(&self, sub: Sub, outbox: &mut Outbox) -> Vec<u64> {
        match outbox.poll_next(&mut Context::from_waker(Waker::noop()), usize::MAX) {
            Poll::Ready(Next::Frames(batch)) => batch
                .frames
                .iter()
                .map(|frame| frame.iter().fold(0, |seq, byte| seq << 8 | u64::from(*byte)))
                .collect(),
            Poll::Ready(Next::Closed(reason)) => {
                let known = Event::Closed(sub, reason == CloseReason::Revoked);
                let seen = self.history.lock().unwrap().iter().any(|record| record.event == known);
                if reason != CloseReason::Unsubscribed && !seen {
                    self.record(known);
                }
                Vec::new()
            }
            Poll::Pending => Vec::new(),
        }
    }
}

struct Probe {
    world: Weak<World>,
    sub: Sub,
    in_send: Mutex<Option<Act>>,
    in_close: Mutex<Option<Act>>,
    fails: bool,
}

impl Sink<u64> for Probe {
    fn send(&self, message: &Arc<Message<u64>>) -> SendOutcome {
        let Some(world) = self.world.upgrade() else { return SendOutcome::Closed };
        let seq = message.id().seq();
        world.record(Event::Send(self.sub, seq));
        let act = self.in_send.lock().unwrap().take();
        if let Some(act) = act {
            world.run(act);
        } else {
            shuttle::thread::yield_now();
        }
        if self.fails {
            world.record(Event::Failing(self.sub));
        }
        world.record(Event::Sent(self.sub, seq));
        if self.fails { SendOutcome::Failed } else { SendOutcome::Accepted }
    }

    fn close(&self, reason: CloseReason) {
        let Some(world) = self.world.upgrade() else { return };
        world.record(Event::Closed(self.sub, reason == CloseReason::Revoked));
        let act = self.in_close.lock().unwrap().take();
        if let Some(act) = act {
            world.run(act);
        }
    }
}

/// Draws a program of two to four threads, runs it, and judges what happened.
fn random_program() {
    let mut rng = thread_rng();
    let mut first: Vec<Act> = (0..rng.gen_range(1..4)).map(|_| Act::Subscribe(spec(1))).collect();
    // A program is useful only if it sends to subscribers that it also revokes.
    first.push(Act::Broadcast(1));
    let threads: Vec<Vec<Act>> = (0..rng.gen_range(2..5))
        .map(|_| (0..rng.gen_range(1..4)).map(|_| act(2)).collect())
        .collect();

    let lanes = rng.gen_range(0..3);
    let world = World::new();
    let flushers: Vec<_> =
        (0..lanes).map(|_| start(world.registry.open_lane(LaneOptions::new()))).collect();
    for act in &first {
        world.run(act.clone());
    }
    let running: Vec<_> = threads
        .iter()
        .cloned()
        .map(|acts| {
            let world = world.clone();
            shuttle::thread::spawn(move || acts.into_iter().for_each(|act| world.run(act)))
        })
        .collect();
    for thread in running {
        thread.join().unwrap();
    }
    flushers.iter().for_each(|(bell, _)| bell.ring(true));
    let _flushers: Vec<_> =
        flushers.into_iter().map(|(_, running)| running.join().unwrap()).collect();
    let outboxes = world
        .guards
        .lock()
        .unwrap()
        .values()
        .filter(|guard| !matches!(guard, Guard::Sink(_)))
        .count();
    (0..outboxes).for_each(|place| world.run(Act::Take(place)));
    let history = mem::take(&mut *world.history.lock().unwrap());
    if let Err(rule) = judge(&history, world.registry.len()) {
        let events: Vec<String> = history
            .iter()
            .enumerate()
            .map(|(at, r)| format!("{at:4} {:2} {:?}", r.thread, r.event))
            .collect();
        panic!(
            "{rule}\nlanes: {lanes}\nfirst: {first:#?}\nthreads: {threads:#?}\n{}",
            events.join("\n")
        );
    }
}

/// `REGISTRY_SHUTTLE_ITERATIONS`, or a number that takes about half a minute.
fn iterations() -> usize {
    let set = std::env::var("REGISTRY_SHUTTLE_ITERATIONS").ok();
    set.map_or(60_000, |number| number.parse().expect("a number of iterations"))
}

#[test]
fn con_1_random_programs_on_random_schedules() {
    let scheduler = shuttle::scheduler::RandomScheduler::new(iterations());
    shuttle::Runner::new(scheduler, shuttle::Config::default()).run(random_program);
}

#[test]
fn con_1_random_programs_with_few_preemptions() {
    let scheduler = shuttle::scheduler::PctScheduler::new(3, iterations());
    shuttle::Runner::new(scheduler, shuttle::Config::default()).run(random_program);
}
