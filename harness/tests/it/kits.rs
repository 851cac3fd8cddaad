//! The sink kit on two sinks of these tests, and on faulty sinks.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use harness::core;
use harness::kit::registry::{self, Rig as Registry, sub_7_nothing_is_kept};
use harness::kit::sink::{self, Peer, Rig};
use harness::kit::{block_on, watched};
use harness::mutants::{self, Bug};
use harness::protocol::Hello;
use harness::subject::{Factory, Handle, Probe, Refused, Subject};
use harness::{script, trace};
use registry_core::{
    CloseReason, Json, Message, Next, Outbox, OutboxOptions, Registration, RegistryOptions,
    SendOutcome, Sink, SubscriberRegistry, Subscription, WireFormat,
};

/// The fault of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    LosesTheFirst,
    Repeats,
    Merges,
    Trims,
    CutsTheLarge,
    HoldsSixteen,
    Reverses,
    DoesNotClose,
    SendsAfterClose,
    ClosesForAnybody,
    HearsEverything,
    LeavesWithTheNext,
    BlocksInConnect,
    BlocksInSend,
    BlocksInClose,
    BlocksItsReader,
    BlocksInLeave,
    Panics,
}

/// Never returns.
fn block<T>() -> T {
    loop {
        std::thread::park();
    }
}

#[derive(Default)]
struct Pipe {
    queue: VecDeque<String>,
    over: bool,
    sent: u32,
    waker: Option<Waker>,
}

type AllPipes = Arc<Mutex<Vec<Arc<Mutex<Pipe>>>>>;

#[derive(Clone)]
struct PipeSink {
    pipe: Arc<Mutex<Pipe>>,
    fault: Fault,
    all: AllPipes,
}

impl PipeSink {
    fn change(pipe: &Mutex<Pipe>, change: impl FnOnce(&mut Pipe)) {
        let waker = {
            let mut pipe = pipe.lock().unwrap();
            change(&mut pipe);
            pipe.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Sink<String> for PipeSink {
    fn send(&self, message: &Arc<Message<String>>) -> SendOutcome {
        if self.pipe.lock().unwrap().over {
            return SendOutcome::Closed;
        }
        if self.fault == Fault::BlocksInSend {
            block()
        }
        Self::change(&self.pipe, |pipe| {
            pipe.sent += 1;
            let data = message.data().clone();
            match self.fault {
                Fault::LosesTheFirst if pipe.sent == 1 => {}
                Fault::Repeats => pipe.queue.extend([data.clone(), data]),
                Fault::Merges if pipe.queue.back() == Some(&data) => {}
                Fault::Trims => pipe.queue.push_back(data.trim().to_owned()),
                Fault::CutsTheLarge => pipe.queue.push_back(data.chars().take(16 * 1024).collect()),
                Fault::HoldsSixteen if pipe.queue.len() == 16 => {}
                Fault::Reverses => pipe.queue.push_front(data),
                _ => pipe.queue.push_back(data),
            }
        });
        SendOutcome::Accepted
    }

    fn close(&self, _: CloseReason) {
        if self.fault == Fault::BlocksInClose {
            block()
        }
        if self.fault == Fault::ClosesForAnybody {
            for pipe in self.all.lock().unwrap().iter() {
                Self::change(pipe, |pipe| pipe.over = true);
            }
        }
        Self::change(&self.pipe, |pipe| {
            if self.fault == Fault::SendsAfterClose {
                pipe.queue.push_back("late".into());
            }
            pipe.over = self.fault != Fault::DoesNotClose;
        });
    }
}

struct Pipes {
    fault: Fault,
    all: AllPipes,
}

impl Pipes {
    fn new(fault: Fault) -> Self {
        Self { fault, all: Arc::default() }
    }
}

/// It must not be read again after its end.
struct PipePeer {
    pipe: Arc<Mutex<Pipe>>,
    subscription: Option<Subscription>,
    ended: bool,
    fault: Fault,
    /// The pipes that end when this peer leaves.
    leaves_too: Option<AllPipes>,
}

impl Rig for Pipes {
    type Peer = PipePeer;
    type Registry = Arc<SubscriberRegistry<String>>;

    fn registry(&self) -> Arc<SubscriberRegistry<String>> {
        Arc::default()
    }

    async fn connect(
        &self,
        registry: &Arc<SubscriberRegistry<String>>,
        registration: Registration,
    ) -> PipePeer {
        assert!(self.fault != Fault::Panics, "the rig panics");
        if self.fault == Fault::BlocksInConnect {
            block()
        }
        let pipe = Arc::new(Mutex::new(Pipe::default()));
        self.all.lock().unwrap().push(Arc::clone(&pipe));
        let sink =
            PipeSink { pipe: Arc::clone(&pipe), fault: self.fault, all: Arc::clone(&self.all) };
        let hears = match self.fault {
            Fault::HearsEverything => Registration::new(),
            _ => registration,
        };
        let subscription = Some(registry.subscribe_with(sink, hears).unwrap());
        let leaves_too = (self.fault == Fault::LeavesWithTheNext).then(|| self.all.clone());
        PipePeer { pipe, subscription, ended: false, fault: self.fault, leaves_too }
    }

    fn patience(&self) -> Duration {
        // The message of a faulty pipe may never arrive, so do not wait long for it.
        Duration::from_millis(match self.fault {
            Fault::None => 20_000,
            Fault::BlocksInConnect | Fault::BlocksInSend | Fault::BlocksInClose => 1_000,
            Fault::BlocksItsReader | Fault::BlocksInLeave | Fault::HoldsSixteen => 1_000,
            _ => 100,
        })
    }
}

impl Peer for PipePeer {
    async fn next(&mut self) -> Option<String> {
        assert!(!self.ended, "asked again after the end");
        if self.fault == Fault::BlocksItsReader {
            block()
        }
        let came = poll_fn(|context| {
            let mut pipe = self.pipe.lock().unwrap();
            match pipe.queue.pop_front() {
                Some(data) => Poll::Ready(Some(data)),
                None if pipe.over => Poll::Ready(None),
                None => {
                    pipe.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        self.ended = came.is_none();
        came
    }

    async fn leave(mut self) {
        if self.fault == Fault::BlocksInLeave {
            block()
        }
        drop(self.subscription.take());
        for pipe in self.leaves_too.iter().flat_map(|all| all.lock().unwrap().clone()) {
            PipeSink::change(&pipe, |pipe| pipe.over = true);
        }
    }
}

harness::sink_suite!(pipe, Pipes::new(Fault::None));

/// The registry's own outboxes, read as a transport would.
struct Outboxes;

struct Reader {
    outbox: Outbox,
    ready: VecDeque<String>,
    over: bool,
}

static BODIES: WireFormat =
    WireFormat::new("bodies", |_, encoded, out| out.extend_from_slice(encoded.body()));

impl Rig for Outboxes {
    type Peer = Reader;
    type Registry = Arc<SubscriberRegistry<String>>;

    fn registry(&self) -> Arc<SubscriberRegistry<String>> {
        Arc::new(SubscriberRegistry::with_encoder(RegistryOptions::new(), Json))
    }

    async fn connect(
        &self,
        registry: &Arc<SubscriberRegistry<String>>,
        registration: Registration,
    ) -> Reader {
        let outbox = registry.open_outbox(&BODIES, OutboxOptions::new(), registration).unwrap();
        Reader { outbox, ready: VecDeque::new(), over: false }
    }
}

impl Peer for Reader {
    async fn next(&mut self) -> Option<String> {
        while self.ready.is_empty() && !self.over {
            match poll_fn(|context| self.outbox.poll_next(context, 64 * 1024)).await {
                Next::Frames(batch) => {
                    self.ready.extend(
                        batch
                            .frames
                            .iter()
                            .map(|frame| serde_json::from_slice::<String>(frame).unwrap()),
                    );
                }
                Next::Closed(_) => self.over = true,
            }
        }
        self.ready.pop_front()
    }

    async fn leave(self) {}
}

harness::sink_suite!(outbox, Outboxes);

#[test]
fn faulty_sinks_are_caught() {
    fn check(fault: Fault, asked: &str) -> Result<(), String> {
        let rig = Pipes::new(fault);
        let run = async move {
            match fault {
                Fault::None => sink::del_1(&rig).await,
                Fault::LosesTheFirst | Fault::Repeats => sink::del_2(&rig).await,
                Fault::Merges => sink::del_5(&rig).await,
                Fault::Trims | Fault::CutsTheLarge => sink::del_4(&rig).await,
                Fault::Reverses | Fault::HoldsSixteen => sink::ord_1(&rig).await,
                Fault::DoesNotClose | Fault::SendsAfterClose => sink::rev_1(&rig).await,
                Fault::ClosesForAnybody => sink::rev_2(&rig).await,
                Fault::HearsEverything => sink::flt_1(&rig).await,
                Fault::LeavesWithTheNext => sink::iso_1(&rig).await,
                blocks => panic!("{blocks:?} is tried elsewhere"),
            }
        };
        watched(asked, Pipes::new(fault).patience(), move || block_on(run))
    }
    assert_eq!(check(Fault::None, "DEL-1"), Ok(()));
    for (fault, requirement) in [
        (Fault::LosesTheFirst, "DEL-2"),
        (Fault::Repeats, "DEL-2"),
        (Fault::Merges, "DEL-5"),
        (Fault::Trims, "DEL-4"),
        (Fault::CutsTheLarge, "DEL-4"),
        (Fault::HoldsSixteen, "ORD-1"),
        (Fault::Reverses, "ORD-1"),
        (Fault::DoesNotClose, "REV-1"),
        (Fault::SendsAfterClose, "REV-1"),
        (Fault::ClosesForAnybody, "REV-2"),
        (Fault::HearsEverything, "FLT-1"),
        (Fault::LeavesWithTheNext, "ISO-1"),
    ] {
        let verdict = check(fault, requirement);
        assert!(
            verdict.as_ref().is_err_and(|why| why.starts_with(requirement)),
            "{fault:?}: {verdict:?}"
        );
    }
}

/// What a test of a suite panics with.
fn failure(test: fn()) -> String {
    *catch_unwind(test).unwrap_err().downcast().unwrap()
}

/// The tests of the suite itself, on sinks and peers that never return.
#[test]
#[allow(unnameable_test_items, reason = "the tests of the suite are called from here")]
fn a_sink_or_peer_that_never_returns_is_a_named_failure() {
    {
        harness::sink_suite!(@ Pipes::new(Fault::BlocksInConnect), block_on; rev_9);
        assert_eq!(failure(rev_9), "REV-9: waited 1s for `connect`");
    }
    {
        harness::sink_suite!(@ Pipes::new(Fault::BlocksInSend), block_on; del_1);
        assert_eq!(failure(del_1), "DEL-1: waited 1s for `broadcast`");
    }
    {
        harness::sink_suite!(@ Pipes::new(Fault::BlocksInClose), block_on; rev_1);
        assert_eq!(failure(rev_1), "REV-1: waited 1s for `close_by_identity`");
    }
    {
        harness::sink_suite!(@ Pipes::new(Fault::BlocksItsReader), block_on; del_1 clo_1);
        assert_eq!(failure(del_1), "DEL-1: waited 1s for \"m1\"");
        assert_eq!(failure(clo_1), "CLO-1: waited 1s for the end of the stream");
    }
    {
        harness::sink_suite!(@ Pipes::new(Fault::BlocksInLeave), block_on; iso_1);
        assert_eq!(failure(iso_1), "ISO-1: waited 1s for `leave`");
    }
    {
        harness::sink_suite!(@ Pipes::new(Fault::Panics), block_on; flt_1);
        assert_eq!(failure(flt_1), "FLT-1: a panic came through: the rig panics");
    }
}

/// A lost message is one that is waited for.
#[test]
#[allow(unnameable_test_items, reason = "the tests of the suite are called from here")]
fn a_message_that_a_sink_loses_is_a_named_failure() {
    harness::sink_suite!(@ Pipes::new(Fault::HoldsSixteen), block_on; ord_1);
    assert_eq!(failure(ord_1), "ORD-1: waited 1s for \"m16\"");
}

/// The kit for registries notices wrong registries, as the kit for sinks notices faulty sinks.
#[test]
fn wrong_registries_are_caught() {
    let check = |factory, requirement| Registry::new(mutants::hello(), factory).check(requirement);
    for (bug, requirement) in [
        (Bug::FirstNameOnly, "FLT-1"),
        (Bug::LosesTheFourth, "DEL-1"),
        (Bug::SendsTwice, "DEL-2"),
        (Bug::RefusesCrowds, "SUB-1"),
        (Bug::SendsToUnsubscribed, "SUB-3"),
        (Bug::RevokesWithoutTelling, "REV-1"),
        (Bug::UnknownReturnsOne, "REV-10"),
        (Bug::IgnoresTheReason, "REV-13"),
        (Bug::ClosesTwice, "CLO-1"),
        (Bug::CountsTheLiving, "CNT-1"),
    ] {
        assert_eq!(check(mutants::sound(), requirement), Ok(()));
        let verdict = check(mutants::mutant(bug), requirement);
        let found = verdict.as_ref().is_err_and(|why| why.starts_with(&format!("{requirement}: ")));
        assert!(found, "{bug:?}: {verdict:?}");
    }
}

/// A registry that works and never lets go of a sink.
struct Hoarder {
    registry: Arc<dyn Subject>,
    sinks: Mutex<Vec<Probe>>,
}

impl Subject for Hoarder {
    fn subscribe(
        &self,
        sink: Probe,
        with: &script::Registration,
    ) -> Result<Arc<dyn Handle>, Refused> {
        self.sinks.lock().unwrap().push(sink.clone());
        self.registry.subscribe(sink, with)
    }

    fn broadcast(&self, channel: &str, data: &str) -> Result<Option<trace::Report>, String> {
        self.registry.broadcast(channel, data)
    }

    fn close_by_identity(&self, identity: &script::Identity) -> usize {
        self.registry.close_by_identity(identity)
    }
}

/// SUB-7 is judged by no script, so the kit alone can notice a sink that is kept.
#[test]
fn sub_7_a_registry_that_keeps_its_sinks_is_caught() {
    let sound = Registry::new(core::hello(), core::factory());
    assert_eq!(sub_7_nothing_is_kept(&sound), Ok(()));
    let hoarding: Factory = Arc::new(|cap| {
        let registry = core::factory()(cap)?;
        Some(Arc::new(Hoarder { registry, sinks: Mutex::default() }))
    });
    let verdict = sub_7_nothing_is_kept(&Registry::new(core::hello(), hoarding));
    assert_eq!(verdict, Err("SUB-7: the sink is still held after unsubscribe".into()));
}

/// A call of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Subscribe,
    Broadcast,
    Close,
    Unsubscribe,
}

/// A registry that never returns from a call.
struct Stuck {
    registry: Arc<dyn Subject>,
    at: Call,
}

struct StuckHandle(Arc<dyn Handle>, Call);

impl Stuck {
    fn rig(at: Call) -> Registry {
        let factory: Factory = Arc::new(move |cap| {
            let registry = core::factory()(cap)?;
            Some(Arc::new(Self { registry, at }))
        });
        let hello = Hello::new("stuck", &["core"], &[]);
        Registry { patience: Duration::from_secs(1), ..Registry::new(hello, factory) }
    }
}

impl Subject for Stuck {
    fn subscribe(
        &self,
        sink: Probe,
        with: &script::Registration,
    ) -> Result<Arc<dyn Handle>, Refused> {
        if self.at == Call::Subscribe {
            block()
        }
        Ok(Arc::new(StuckHandle(self.registry.subscribe(sink, with)?, self.at)))
    }

    fn broadcast(&self, channel: &str, data: &str) -> Result<Option<trace::Report>, String> {
        if self.at == Call::Broadcast {
            block()
        }
        self.registry.broadcast(channel, data)
    }

    fn close_by_identity(&self, identity: &script::Identity) -> usize {
        if self.at == Call::Close {
            block()
        }
        self.registry.close_by_identity(identity)
    }
}

impl Handle for StuckHandle {
    fn unsubscribe(&self) {
        if self.1 == Call::Unsubscribe {
            block()
        }
        self.0.unsubscribe();
    }
}

/// In each script, and in each check that no script can make.
#[test]
#[allow(unnameable_test_items, reason = "the tests of the suite are called from here")]
fn a_registry_that_never_returns_is_a_named_failure() {
    for (at, requirement, call) in [
        (Call::Subscribe, "SUB-1", "s0 = subscribe("),
        (Call::Broadcast, "DEL-1", "broadcast("),
        (Call::Close, "REV-1", "close_by_identity("),
        (Call::Unsubscribe, "SUB-3", "s0.unsubscribe()"),
    ] {
        let why = Stuck::rig(at).check(requirement).unwrap_err();
        assert!(why.starts_with(&format!("{requirement}: waited ")), "{why}");
        assert!(why.lines().next().unwrap().contains(&format!("s for {call}")), "{why}");
    }
    for (at, call) in [
        (Call::Subscribe, "`subscribe`"),
        (Call::Unsubscribe, "unsubscribe"),
        (Call::Close, "close_by_identity"),
    ] {
        let verdict = registry::sub_7_nothing_is_kept(&Stuck::rig(at));
        assert_eq!(verdict, Err(format!("SUB-7: waited 1s for {call}")));
    }
    let verdict = registry::re_1_a_drop_may_call_back(&Stuck::rig(Call::Broadcast));
    assert_eq!(verdict, Err("RE-1: waited 1s for `broadcast` in a drop".into()));
    let verdict = registry::iso_8_a_panicking_drop_is_contained(&Stuck::rig(Call::Close));
    let what = "`close_by_identity`, or the handle's drop, that drops a sink";
    assert_eq!(verdict, Err(format!("ISO-8: waited 1s for {what}")));
    harness::registry_suite!(@ Stuck::rig(Call::Broadcast); flt_1; sub_7_nothing_is_kept);
    assert!(failure(flt_1).starts_with("FLT-1: waited "));
    sub_7_nothing_is_kept();
}

/// A registry that takes nobody.
struct Closed;

impl Subject for Closed {
    fn subscribe(&self, _: Probe, _: &script::Registration) -> Result<Arc<dyn Handle>, Refused> {
        Err(Refused)
    }

    fn broadcast(&self, _: &str, _: &str) -> Result<Option<trace::Report>, String> {
        Ok(None)
    }

    fn close_by_identity(&self, _: &script::Identity) -> usize {
        0
    }
}

#[test]
fn a_check_that_put_nothing_to_the_test_says_so() {
    // Scripts with threads would wait for what never comes.
    let mut hello = mutants::hello();
    hello.profiles.remove("threads");
    let closed = Registry::new(hello, Arc::new(|_| Some(Arc::new(Closed))));
    assert_eq!(closed.check("DEL-4"), Err("DEL-4 was never put to the test".into()));
}
