//! Running a script in process, on anything that implements [`Subject`].
//!
//! [`execute`] is the Rust counterpart of an adapter: it drives the registry, hands it [`Probe`]s
//! as sinks and writes the trace. One lock orders the events of all threads; no lock is held while
//! foreign code runs.

use std::any::Any;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;

use crate::script::{
    Act, Ending, Hook, Identity, Op, OpId, Reason, Registration, Script, TAKEN_AT_ONCE,
};
use crate::trace::{Event, Received, Report, Trace};

mod probe;

pub use probe::Probe;

/// A subscribe or admit was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// A registry under test.
///
/// An implementation leaves a method that it lacks at the default, and does not claim it in its
/// [`Hello`](crate::protocol::Hello): scripts that need it are then not run.
pub trait Subject: Send + Sync {
    /// Subscribes a sink; or, if the registration asks for one, an outbox (profile `queued`), and
    /// the sink is dropped.
    ///
    /// # Errors
    ///
    /// If the registry refuses it.
    fn subscribe(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused>;

    /// Broadcasts, and reports the hand-over if the registry does.
    ///
    /// # Errors
    ///
    /// What the registry says, in words.
    fn broadcast(&self, channel: &str, data: &str) -> Result<Option<Report>, String>;

    /// Sends to every holder of the identity, whatever its filter, and reports the hand-over if the
    /// registry does (profile `directed`).
    ///
    /// # Errors
    ///
    /// What the registry says, in words.
    fn send_to(
        &self,
        _identity: &Identity,
        _channel: &str,
        _data: &str,
    ) -> Result<Option<Report>, String> {
        Err("no directed messages here".to_owned())
    }

    /// Closes all that hold the identity and returns their number.
    fn close_by_identity(&self, identity: &Identity) -> usize;

    /// As [`close_by_identity`](Self::close_by_identity), and names the reason that clients are
    /// notified (feature `revoke_as`).
    fn close_by_identity_as(&self, identity: &Identity, _reason: Reason) -> usize {
        self.close_by_identity(identity)
    }

    /// The number of active subscribers (feature `count`).
    fn count(&self) -> usize {
        0
    }

    /// Opens a ticket (profile `admission`).
    fn begin(&self) -> Option<Arc<dyn Ticket>> {
        None
    }

    /// Ends all subscribers and refuses new ones (feature `shutdown`).
    fn shutdown(&self) {}

    /// Waits until deliveries in progress have settled (policy `delivery: async`).
    fn settle(&self) {}
}

/// What `subscribe` returns.
pub trait Handle: Send + Sync {
    /// Ends the subscriber; called again, it does nothing.
    fn unsubscribe(&self);

    /// Takes what is in its outbox, `max_bytes` at most unless a single message has more, or learns
    /// of the end (profile `queued`).
    fn take(&self, _max_bytes: u32) -> Option<Received> {
        None
    }
}

/// What `begin` returns.
pub trait Ticket: Send + Sync {
    /// Turns the ticket into a subscriber.
    ///
    /// # Errors
    ///
    /// If the registry refuses it, or the ticket was used or given up.
    fn admit(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused>;

    /// Gives the ticket up.
    fn abandon(&self);
}

/// Makes a registry with this cap on scopes, or none if the cap cannot be.
pub type Factory = Arc<dyn Fn(Option<u32>) -> Option<Arc<dyn Subject>> + Send + Sync>;

/// Bounds on one run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many calls of sinks are allowed.
    pub fuel: u32,
    /// How long a `hold` or a thread may wait.
    pub patience: Duration,
}

impl Default for Limits {
    /// 20,000 calls, far above what any script can cause, and two seconds, far above what a thread
    /// needs to start.
    fn default() -> Self {
        Self { fuel: 20_000, patience: Duration::from_secs(2) }
    }
}

/// Runs a script on a fresh registry and returns what was observed.
#[must_use]
pub fn execute(script: &Script, factory: &Factory, limits: Limits) -> Trace {
    execute_or(script, factory, limits, None)
}

/// What to do, instead of panicking into the registry, when fuel runs out.
pub type OutOfFuel = Box<dyn Fn(Trace) + Send + Sync>;

/// As [`execute`]; a process that serves one script at a time can exit when the fuel runs out.
#[must_use]
pub fn execute_or(
    script: &Script,
    factory: &Factory,
    limits: Limits,
    out_of_fuel: Option<OutOfFuel>,
) -> Trace {
    World::new(script, factory, limits, out_of_fuel).observe()
}

/// As [`execute`], on a thread of its own.
///
/// # Errors
///
/// What was observed until then, if the script has not ended after so much time. Its thread is left
/// behind.
pub fn execute_within(
    script: &Script,
    factory: &Factory,
    limits: Limits,
    time: Duration,
) -> Result<Trace, Trace> {
    let world = World::new(script, factory, limits, None);
    let running = Arc::clone(&world);
    let (sender, ended) = channel();
    std::thread::spawn(move || sender.send(running.observe()));
    ended.recv_timeout(time).map_err(|_| world.end())
}

struct World {
    script: Script,
    factory: Factory,
    limits: Limits,
    out_of_fuel: Option<OutOfFuel>,
    log: Mutex<Log>,
    registries: Mutex<BTreeMap<u32, Arc<dyn Subject>>>,
    subs: Mutex<BTreeMap<u32, Arc<dyn Handle>>>,
    tickets: Mutex<BTreeMap<u32, Arc<dyn Ticket>>>,
    gates: Mutex<Gates>,
    gate_moved: Condvar,
    /// For pauses, once there are threads.
    chance: Mutex<Option<Rng>>,
}

/// The trace, and the counters that must advance in its order.
#[derive(Default)]
struct Log {
    events: Trace,
    /// How often each sink was called.
    calls_of: BTreeMap<(u32, Hook), u32>,
    calls: u32,
    over: bool,
}

#[derive(Default)]
struct Gates {
    released: BTreeSet<u32>,
    /// Threads of a `par` that have ended.
    arrived: usize,
    /// Patience ran out: nothing waits any more.
    forced: bool,
}

impl World {
    fn new(
        script: &Script,
        factory: &Factory,
        limits: Limits,
        out_of_fuel: Option<OutOfFuel>,
    ) -> Arc<Self> {
        Arc::new(Self {
            script: script.clone(),
            factory: Arc::clone(factory),
            limits,
            out_of_fuel,
            log: Mutex::default(),
            registries: Mutex::default(),
            subs: Mutex::default(),
            tickets: Mutex::default(),
            gates: Mutex::default(),
            gate_moved: Condvar::new(),
            chance: Mutex::default(),
        })
    }

    /// Runs the script.
    fn observe(self: &Arc<Self>) -> Trace {
        THREAD.set(0);
        match panic::catch_unwind(AssertUnwindSafe(|| self.registry(0))) {
            Ok(Some(_)) => self.run(&self.script.steps),
            Ok(None) => self.log(Event::Unbuilt { error: "refused".into() }),
            Err(panic) => self.log(Event::Unbuilt { error: words(&*panic) }),
        }
        let trace = self.end();
        // The registries hold the probes and the probes hold the world: this ends the circle,
        // outside the locks.
        let registries = std::mem::take(&mut *lock(&self.registries));
        let subs = std::mem::take(&mut *lock(&self.subs));
        let tickets = std::mem::take(&mut *lock(&self.tickets));
        let _ = panic::catch_unwind(AssertUnwindSafe(move || drop((tickets, subs, registries))));
        trace
    }

    /// Observes no more, and takes what was observed.
    fn end(&self) -> Trace {
        let mut log = lock(&self.log);
        log.over = true;
        std::mem::take(&mut log.events)
    }

    fn log(&self, event: Event) {
        let mut log = lock(&self.log);
        if !log.over {
            log.events.push(event);
        }
    }

    fn registry(&self, number: u32) -> Option<Arc<dyn Subject>> {
        if let Some(found) = lock(&self.registries).get(&number) {
            return Some(Arc::clone(found));
        }
        let fresh = (self.factory)(self.script.cap)?;
        Some(Arc::clone(lock(&self.registries).entry(number).or_insert(fresh)))
    }

    fn sink_call(self: &Arc<Self>, sink: u32, hook: Hook, event: Event) -> Ending {
        let mut log = lock(&self.log);
        if log.over {
            return Ending::Ok;
        }
        log.events.push(event);
        log.calls += 1;
        if log.calls > self.limits.fuel {
            log.events.push(Event::Fuel);
            log.over = true;
            if let Some(out_of_fuel) = &self.out_of_fuel {
                out_of_fuel(std::mem::take(&mut log.events));
            }
            drop(log);
            panic::resume_unwind(Box::new("out of fuel"));
        }
        let count = log.calls_of.entry((sink, hook)).or_default();
        *count += 1;
        let nth = *count;
        drop(log);
        self.pause();
        match self.script.rule(sink, hook, nth) {
            Some(rule) => {
                self.run(&rule.ops);
                rule.then
            }
            None => Ending::Ok,
        }
    }

    fn run(self: &Arc<Self>, ops: &[Op]) {
        for op in ops {
            self.step(op);
        }
    }

    fn step(self: &Arc<Self>, op: &Op) {
        let id = op.id;
        let known = match &op.act {
            Act::Unsub { sub } | Act::Take { sub, .. } => lock(&self.subs).contains_key(sub),
            Act::Admit { ticket, .. } | Act::Abandon { ticket } => {
                lock(&self.tickets).contains_key(ticket)
            }
            _ => true,
        };
        if !known {
            return;
        }
        self.log(Event::Call { op: id, thread: thread() });
        // Gates say themselves who goes first.
        if !matches!(op.act, Act::Hold { .. } | Act::Release { .. }) {
            self.pause();
        }
        let ended = panic::catch_unwind(AssertUnwindSafe(|| self.act(op)))
            .unwrap_or_else(|panic| Err(words(&*panic)));
        self.log(ended.unwrap_or_else(|error| Event::Err { op: id, error }));
    }

    /// Runs an operation, and says how it returned.
    fn act(self: &Arc<Self>, op: &Op) -> Result<Event, String> {
        let registry = || self.registry(op.registry).ok_or("the registry could not be constructed");
        let handle_of = |sub| held(&self.subs, sub).ok_or("no such subscriber");
        let ticket_of = |ticket| held(&self.tickets, ticket).ok_or("no ticket");
        let (mut n, mut refused, mut report, mut taken) = (None, false, None, None);
        match &op.act {
            Act::Sub { sub, sink, with } => {
                let made = registry()?.subscribe(Probe::new(self, *sink), with);
                refused = self.keep(*sub, made);
            }
            Act::Admit { ticket, sub, sink, with } => {
                let made = ticket_of(ticket)?.admit(Probe::new(self, *sink), with);
                refused = self.keep(*sub, made);
            }
            Act::Unsub { sub } => handle_of(sub)?.unsubscribe(),
            Act::Take { sub, bytes } => {
                let found = handle_of(sub)?.take(bytes.unwrap_or(TAKEN_AT_ONCE));
                taken = Some(found.ok_or("no outboxes here")?);
            }
            Act::Cast { channel, data, to: None } => {
                report = registry()?.broadcast(channel, data)?;
            }
            Act::Cast { channel, data, to: Some(identity) } => {
                report = registry()?.send_to(identity, channel, data)?;
            }
            Act::Revoke { identity, reason } => {
                let registry = registry()?;
                let named = reason.map(|reason| registry.close_by_identity_as(identity, reason));
                n = Some(named.unwrap_or_else(|| registry.close_by_identity(identity)) as i64);
            }
            Act::Count => n = Some(registry()?.count() as i64),
            Act::Begin { ticket } => {
                let opened = registry()?.begin().ok_or("no tickets here")?;
                lock(&self.tickets).insert(*ticket, opened);
            }
            Act::Abandon { ticket } => ticket_of(ticket)?.abandon(),
            Act::Settle => {
                let all: Vec<_> = lock(&self.registries).values().cloned().collect();
                all.iter().for_each(|registry| registry.settle());
            }
            Act::Shutdown => registry()?.shutdown(),
            Act::Hold { gate } => self.wait(op.id, |gates| gates.released.contains(gate)),
            Act::Release { gate } => {
                lock(&self.gates).released.insert(*gate);
                self.gate_moved.notify_all();
            }
            Act::Par { threads } => self.par(op.id, threads),
        }
        Ok(Event::Ret { op: op.id, n, refused, report, taken })
    }

    /// Keeps the handle; true if there is none.
    fn keep(&self, sub: u32, made: Result<Arc<dyn Handle>, Refused>) -> bool {
        made.map(|handle| lock(&self.subs).insert(sub, handle)).is_err()
    }

    /// Lets other threads go first, by chance, once there are any: so a race is found that a
    /// registry has between two of its lines.
    fn pause(&self) {
        let Some(turn) = lock(&self.chance).as_mut().map(|chance| chance.usize(..6)) else {
            return;
        };
        (0..[0, 0, 0, 1, 4, 32][turn]).for_each(|_| std::thread::yield_now());
    }

    fn par(self: &Arc<Self>, id: OpId, threads: &[Vec<Op>]) {
        lock(&self.gates).arrived = 0;
        *lock(&self.chance) = Some(Rng::with_seed(u64::from(id)));
        for (index, ops) in threads.iter().enumerate() {
            let (world, ops) = (Arc::clone(self), ops.clone());
            // Not a scoped thread: a broken registry may never return from it, and the suite must
            // go on.
            std::thread::spawn(move || {
                THREAD.set(index as u32 + 1);
                world.run(&ops);
                lock(&world.gates).arrived += 1;
                world.gate_moved.notify_all();
            });
        }
        self.wait(id, |gates| gates.arrived == threads.len());
        let (gates, patience) = (lock(&self.gates), self.limits.patience);
        let missing = |gates: &mut Gates| gates.forced && gates.arrived < threads.len();
        drop(self.gate_moved.wait_timeout_while(gates, patience, missing));
    }

    /// Waits for `reached`, or logs that it waited in vain and frees everything.
    fn wait(&self, id: OpId, reached: impl Fn(&Gates) -> bool) {
        let gates = lock(&self.gates);
        let (mut gates, timeout) = self
            .gate_moved
            .wait_timeout_while(gates, self.limits.patience, |gates| {
                !gates.forced && !reached(gates)
            })
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() && !reached(&gates) {
            self.log(Event::Stuck { op: id });
            gates.forced = true;
            self.gate_moved.notify_all();
        }
    }
}

/// Threads that no script started are numbered from here.
static FOREIGN: AtomicU32 = AtomicU32::new(100);

thread_local! {
    static THREAD: Cell<u32> = Cell::new(FOREIGN.fetch_add(1, Ordering::Relaxed));
}

fn thread() -> u32 {
    THREAD.get()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a label names, without the lock.
fn held<T: ?Sized>(all: &Mutex<BTreeMap<u32, Arc<T>>>, label: &u32) -> Option<Arc<T>> {
    lock(all).get(label).cloned()
}

fn words(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
    said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panicked".into())
}
