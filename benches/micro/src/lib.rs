//! Registries full of subscribers, for the benches of this crate.

use registry_core::{
    ChannelFilter, Encoded, Flusher, Identity, LaneOptions, Next, Outbox, OutboxOptions,
    Registration, RegistryOptions, SocketOutbox, SubscriberRegistry, Wire, WireFormat,
};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use transport_sse::SSE;

/// The channel that some hear.
pub const HEARD: &str = "heard";
/// 200 bytes of JSON, as in the matrix.
#[must_use]
pub fn body() -> Encoded {
    Encoded::json(format!("\"{}\"", "x".repeat(198)))
}

/// A registry and the owners of its outboxes.
pub struct Crowd {
    /// The registry. Its payload encodes to the same [`body`] at almost no cost.
    pub registry: SubscriberRegistry<()>,
    /// The subscribers that hear [`HEARD`].
    pub hearing: Vec<Outbox>,
    /// The others: a hundred on each channel.
    pub others: Vec<Outbox>,
}

/// The same, in the lane of one flusher, with a socket behind each outbox that takes everything.
pub struct CrowdInLane {
    registry: SubscriberRegistry<()>,
    hearing: Vec<SocketOutbox>,
    _others: Vec<SocketOutbox>,
    flusher: Flusher<()>,
}

/// A socket that takes everything at no cost.
struct Nowhere;

impl Wire for Nowhere {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Crowd {
    /// Creates so many subscribers, of which some hear [`HEARD`]; each holds an identity of its own
    /// and one of a group of ten.
    #[must_use]
    pub fn new(subscribers: usize, hearing: usize) -> Self {
        let registry = registry(body());
        let (hearing, others) =
            open_all(subscribers, hearing, |number, channel| open(&registry, number, channel));
        Self { registry, hearing, others }
    }

    /// Empties the outboxes that heard something.
    pub fn take(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        for outbox in &mut self.hearing {
            while let Poll::Ready(Next::Frames(batch)) = outbox.poll_next(&mut cx, usize::MAX) {
                drop(batch);
            }
        }
    }

    /// Broadcasts to the subscribers that hear.
    ///
    /// # Panics
    /// If the registry does not reach them all.
    pub fn broadcast(&self) {
        broadcast(&self.registry, self.hearing.len());
    }
}

impl CrowdInLane {
    /// Creates so many subscribers as [`Crowd::new`].
    #[must_use]
    pub fn new(subscribers: usize, hearing: usize) -> Self {
        Self::of(subscribers, hearing, &SSE, body())
    }

    /// Creates them in another format, and with another payload.
    #[must_use]
    pub fn of(
        subscribers: usize,
        hearing: usize,
        format: &'static WireFormat,
        body: Encoded,
    ) -> Self {
        let registry = registry(body);
        let flusher = registry.open_lane(LaneOptions::new());
        let options = OutboxOptions::new().with_flusher();
        let (hearing, others) = open_all(subscribers, hearing, |number, channel| {
            open_with(&registry, format, options, number, channel).attach(Arc::new(Nowhere))
        });
        let mut crowd = Self { registry, hearing, _others: others, flusher };
        crowd.serve();
        crowd
    }

    /// Has the flusher write what was broadcast.
    pub fn serve(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        // Read once: the benches measure the flusher and not the clock.
        let now = Instant::now();
        while self.flusher.poll_serve(&mut cx, now).is_ready() {}
    }

    /// Broadcasts to the subscribers that hear.
    ///
    /// # Panics
    /// If the registry does not reach them all.
    pub fn broadcast(&self) {
        broadcast(&self.registry, self.hearing.len());
    }
}

fn registry(body: Encoded) -> SubscriberRegistry<()> {
    SubscriberRegistry::with_encoder(RegistryOptions::new(), move |(): &()| Ok(body.clone()))
}

fn open_all<S>(
    subscribers: usize,
    hearing: usize,
    mut open: impl FnMut(usize, &str) -> S,
) -> (Vec<S>, Vec<S>) {
    let hear = (0..hearing).map(|number| open(number, HEARD)).collect();
    let other = |number| open(number, &format!("other-{}", number / 100));
    (hear, (hearing..subscribers).map(other).collect())
}

fn broadcast(registry: &SubscriberRegistry<()>, hearing: usize) {
    let report = registry.broadcast(HEARD, ()).expect("it can be encoded");
    assert_eq!(report.accepted, hearing);
}

/// Subscribes number `number` to a channel.
///
/// # Panics
/// If the registry refuses.
pub fn open(registry: &SubscriberRegistry<()>, number: usize, channel: &str) -> Outbox {
    open_with(registry, &SSE, OutboxOptions::new(), number, channel)
}

fn open_with(
    registry: &SubscriberRegistry<()>,
    format: &'static WireFormat,
    options: OutboxOptions,
    number: usize,
    channel: &str,
) -> Outbox {
    let registration = Registration::new()
        .with_filter(ChannelFilter::only([channel]))
        .with_scope(identity(number))
        .with_group(group(number / 10));
    registry.open_outbox(format, options, registration).expect("it is not shutting down")
}

/// The identity of one subscriber.
#[must_use]
pub fn identity(number: usize) -> Identity {
    Identity::new("session", number.to_string())
}

/// The identity of ten subscribers.
#[must_use]
pub fn group(number: usize) -> Identity {
    Identity::new("account", number.to_string())
}
