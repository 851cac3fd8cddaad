//! Registries full of subscribers, for the benches of this crate.

use bytes::Bytes;
use registry_core::{
    ChannelFilter, EncodeError, Flusher, Identity, LaneOptions, Outbox, OutboxOptions, Registration,
    SubscriberRegistry, Next, Wire,
};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use transport_sse::SSE;

/// The channel that some hear.
pub const HEARD: &str = "heard";
/// 200 bytes of JSON, as in the matrix.
pub const BODY: &[u8] = &{
    let mut body = [b'x'; 200];
    body[0] = b'"';
    body[199] = b'"';
    body
};

/// A registry and the owners of its outboxes.
pub struct Crowd {
    /// The registry. Its payload encodes to [`BODY`] at no cost.
    pub registry: SubscriberRegistry<()>,
    /// Those that hear [`HEARD`].
    pub hearing: Vec<Outbox>,
    /// The others: a hundred on each channel.
    pub others: Vec<Outbox>,
    /// Who serves those that hear, if they have wires.
    flusher: Option<Flusher<()>>,
}

/// A socket that takes everything at no cost.
struct Nowhere;

impl Wire for Nowhere {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

impl Crowd {
    /// So many subscribers, of which some hear [`HEARD`]; each holds an identity of its own and one of a group of ten.
    #[must_use]
    pub fn new(subscribers: usize, hearing: usize) -> Self {
        let registry = SubscriberRegistry::new();
        registry.encode_with(|(): &()| Ok::<_, EncodeError>(Bytes::from_static(BODY)));
        let hear = (0..hearing).map(|number| open(&registry, number, HEARD)).collect();
        let others = (hearing..subscribers).map(|number| open(&registry, number, &format!("other-{}", number / 100)));
        let others = others.collect();
        Self { registry, hearing: hear, others, flusher: None }
    }

    /// The same, with all in the lane of one flusher, and a socket behind each that takes everything.
    #[must_use]
    pub fn in_lane(subscribers: usize, hearing: usize) -> Self {
        let mut crowd = Self::new(0, 0);
        crowd.flusher = Some(crowd.registry.open_lane(LaneOptions::new()));
        let wired = |number, channel: &str| {
            let outbox = open_with(&crowd.registry, OutboxOptions::new().with_flusher(), number, channel);
            outbox.attach(Arc::new(Nowhere));
            outbox
        };
        crowd.hearing = (0..hearing).map(|number| wired(number, HEARD)).collect();
        crowd.others = (hearing..subscribers).map(|number| wired(number, &format!("other-{}", number / 100))).collect();
        crowd.serve();
        crowd
    }

    /// Has the flusher write what was broadcast.
    ///
    /// # Panics
    /// If nobody is in a lane.
    pub fn serve(&mut self) {
        let flusher = self.flusher.as_mut().expect("a crowd in a lane");
        let mut cx = Context::from_waker(Waker::noop());
        // Read once: the benches measure the flusher and not the clock.
        let now = Instant::now();
        while flusher.poll_serve(&mut cx, now).is_ready() {}
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

    /// Broadcasts to those that hear.
    ///
    /// # Panics
    /// If the registry does not reach them all.
    pub fn broadcast(&self) {
        let report = self.registry.broadcast(HEARD, ()).expect("it can be encoded");
        assert_eq!(report.accepted, self.hearing.len());
    }
}

/// Subscribes number `number` to a channel.
///
/// # Panics
/// If the registry refuses.
pub fn open(registry: &SubscriberRegistry<()>, number: usize, channel: &str) -> Outbox {
    open_with(registry, OutboxOptions::new(), number, channel)
}

fn open_with(registry: &SubscriberRegistry<()>, options: OutboxOptions, number: usize, channel: &str) -> Outbox {
    let registration =
        Registration::new().with_filter(ChannelFilter::only([channel])).with_scope(identity(number)).with_group(group(number / 10));
    registry.open_outbox(&SSE, options, registration).expect("it is not shutting down")
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
