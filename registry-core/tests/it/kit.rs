//! Helpers of the tests: a sink that records its calls and runs a hook, outboxes that are polled by
//! hand, threads that must finish.

use bytes::Bytes;
use registry_core::{
    ChannelFilter, CloseReason, Encoded, Identity, Message, Next, Outbox, OutboxOptions,
    Registration, RegistryOptions, ScopeCap, SendOutcome, Sink, SubscriberRegistry, Subscription,
    WireFormat,
};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

pub(crate) type Registry = SubscriberRegistry<u32>;

/// A frame is its payload.
pub(crate) static RAW: WireFormat =
    WireFormat::new("raw", |_, encoded, out| out.extend_from_slice(encoded.body()));

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Sent(u32),
    Closed(CloseReason),
}

type OnSend = Arc<dyn Fn(u32) -> SendOutcome + Send + Sync>;
type OnClose = Arc<dyn Fn(CloseReason) + Send + Sync>;

/// A sink that records its calls and then runs the hook of its test.
///
/// The registry contains panics, so it would hide an assertion that fails in a hook. The probe
/// remembers the failure, and the test fails when it reads the events. A panic with the message "on
/// purpose" is not a failure.
#[derive(Default)]
pub(crate) struct Probe {
    events: Mutex<Vec<Event>>,
    failure: Mutex<Option<String>>,
    on_send: Mutex<Option<OnSend>>,
    on_close: Mutex<Option<OnClose>>,
}

impl Probe {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A probe whose `send` runs the hook.
    pub(crate) fn sending(hook: impl Fn(u32) -> SendOutcome + Send + Sync + 'static) -> Arc<Self> {
        let probe = Self::new();
        probe.on_send(hook);
        probe
    }

    /// A probe whose `close` runs the hook.
    pub(crate) fn closing(hook: impl Fn(CloseReason) + Send + Sync + 'static) -> Arc<Self> {
        let probe = Self::new();
        probe.on_close(hook);
        probe
    }

    pub(crate) fn on_send(&self, hook: impl Fn(u32) -> SendOutcome + Send + Sync + 'static) {
        *self.on_send.lock().unwrap() = Some(Arc::new(hook));
    }

    pub(crate) fn on_close(&self, hook: impl Fn(CloseReason) + Send + Sync + 'static) {
        *self.on_close.lock().unwrap() = Some(Arc::new(hook));
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        assert_eq!(*self.failure.lock().unwrap(), None, "an assertion inside the sink failed");
        self.events.lock().unwrap().clone()
    }

    pub(crate) fn sent(&self) -> Vec<u32> {
        let sent = |event: Event| if let Event::Sent(data) = event { Some(data) } else { None };
        self.events().into_iter().filter_map(sent).collect()
    }

    pub(crate) fn closed(&self) -> Vec<CloseReason> {
        let closed =
            |event: Event| if let Event::Closed(reason) = event { Some(reason) } else { None };
        self.events().into_iter().filter_map(closed).collect()
    }
}

impl Probe {
    fn run<R>(&self, hook: impl FnOnce() -> R) -> R {
        catch_unwind(AssertUnwindSafe(hook)).unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<&str>().map(ToString::to_string);
            let message =
                message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            if message != "on purpose" {
                *self.failure.lock().unwrap() = Some(message);
            }
            resume_unwind(panic)
        })
    }
}

impl Sink<u32> for Probe {
    fn send(&self, message: &Arc<Message<u32>>) -> SendOutcome {
        self.events.lock().unwrap().push(Event::Sent(*message.data()));
        let hook = self.on_send.lock().unwrap().clone();
        hook.map_or(SendOutcome::Accepted, |hook| self.run(|| hook(*message.data())))
    }

    fn close(&self, reason: CloseReason) {
        self.events.lock().unwrap().push(Event::Closed(reason));
        let hook = self.on_close.lock().unwrap().clone();
        if let Some(hook) = hook {
            self.run(|| hook(reason));
        }
    }
}

/// A point in a sink at which its thread waits until the test drops the stop.
///
/// Drop it inside the scope that joins that thread. Then it is dropped even if an assertion fails
/// there, and the scope does not wait for ever.
pub(crate) struct Stop {
    arrived: Receiver<()>,
    _go: Sender<()>,
}

impl Stop {
    /// Returns the stop, and the function that a sink calls to wait. After the stop is dropped,
    /// that function returns at once.
    pub(crate) fn new() -> (Self, impl Fn() + Send + Sync) {
        let (arrive, arrived) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let gone = Mutex::new(gone);
        let wait = move || {
            let _ = arrive.send(());
            let _ = gone.lock().unwrap().recv();
        };
        (Self { arrived, _go: go }, wait)
    }

    /// Waits until a thread waits at the stop.
    pub(crate) fn arrived(&self) {
        self.arrived.recv_timeout(PATIENCE).expect("no thread came to the stop");
    }
}

/// A limit that turns a deadlock into a failure. Work that only waits takes less than a hundredth
/// of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `f`, which does nothing but wait, on a thread of its own; fails if it deadlocks or panics.
pub(crate) fn finishes<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    works(|_| f())
}

/// Counts the steps of a piece of work, which shows that it makes progress.
#[derive(Clone, Default)]
pub(crate) struct Steps(Arc<AtomicUsize>);

impl Steps {
    pub(crate) fn step(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs `f` on a thread of its own, however long it takes; fails if it panics, or makes no step for
/// a long time.
pub(crate) fn works<R: Send + 'static>(f: impl FnOnce(&Steps) -> R + Send + 'static) -> R {
    let steps = Steps::default();
    let (done, result) = mpsc::channel();
    let thread = {
        let steps = steps.clone();
        thread::spawn(move || done.send(f(&steps)))
    };
    loop {
        let before = steps.0.load(Ordering::SeqCst);
        match result.recv_timeout(PATIENCE) {
            Ok(result) => {
                thread.join().unwrap().unwrap();
                return result;
            }
            Err(RecvTimeoutError::Disconnected) => resume_unwind(thread.join().unwrap_err()),
            Err(RecvTimeoutError::Timeout) => {
                assert!(steps.0.load(Ordering::SeqCst) > before, "it waits for ever")
            }
        }
    }
}

/// A registry that encodes JSON, for outboxes.
pub(crate) fn encoding() -> Registry {
    encoding_with(RegistryOptions::new())
}

pub(crate) fn encoding_with(options: RegistryOptions) -> Registry {
    Registry::with_encoder(options, |data: &u32| Ok(Encoded::json(data.to_string())))
}

pub(crate) fn capped(limit: usize) -> RegistryOptions {
    RegistryOptions::new().with_scope_cap(ScopeCap::new(size(limit)))
}

pub(crate) fn size(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

pub(crate) fn id(value: &str) -> Identity {
    Identity::new("test", value)
}

pub(crate) fn group(value: &str) -> Registration {
    Registration::new().with_group(id(value))
}

pub(crate) fn scope(value: &str) -> Registration {
    Registration::new().with_scope(id(value))
}

pub(crate) fn hears(names: &[&str]) -> Registration {
    Registration::new().with_filter(ChannelFilter::only(names.iter().copied()))
}

pub(crate) fn join(
    registry: &Registry,
    probe: &Arc<Probe>,
    registration: Registration,
) -> Subscription {
    registry.subscribe_with(probe.clone(), registration).unwrap()
}

pub(crate) fn open(registry: &Registry, registration: Registration) -> Outbox {
    registry.open_outbox(&RAW, OutboxOptions::new(), registration).unwrap()
}

/// An outbox whose bounds are never reached.
pub(crate) fn open_wide(registry: &Registry, registration: Registration) -> Outbox {
    let options =
        OutboxOptions::new().with_max_messages(NonZeroUsize::MAX).with_max_bytes(NonZeroUsize::MAX);
    registry.open_outbox(&RAW, options, registration).unwrap()
}

/// Sets its flag when it is dropped, also by a panic. Threads run until the flag is set.
pub(crate) struct Raise<'a>(pub(crate) &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls once; `None` if it is pending.
pub(crate) fn poll(outbox: &mut Outbox) -> Option<Next> {
    match outbox.poll_next(&mut Context::from_waker(Waker::noop()), usize::MAX) {
        Poll::Ready(taken) => Some(taken),
        Poll::Pending => None,
    }
}

/// Returns the reason of an end that discarded the queue.
pub(crate) fn ended(outbox: &mut Outbox) -> Option<CloseReason> {
    match outbox.poll_discarded(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(reason) => Some(reason),
        Poll::Pending => None,
    }
}

/// Takes everything that the outbox holds, as numbers.
pub(crate) fn frames(outbox: &mut Outbox) -> Vec<u32> {
    match poll(outbox) {
        Some(Next::Frames(batch)) => batch.frames.iter().map(number).collect(),
        _ => Vec::new(),
    }
}

fn number(frame: &Bytes) -> u32 {
    std::str::from_utf8(frame).unwrap().parse().unwrap()
}

/// Counts wake-ups.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (wakes.clone(), wakes.into())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs its hook when it is woken, on the waking thread.
pub(crate) struct OnWake<F>(pub(crate) F);

impl<F: Fn() + Send + Sync> Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}
