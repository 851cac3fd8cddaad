//! Registries full of subscribers, for the benches of this crate.

use bytes::Bytes;
use registry_core::{
    ChannelFilter, EncodeError, Identity, Outbox, OutboxOptions, Registration, SubscriberRegistry, Taken,
};
use std::task::{Context, Poll, Waker};
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
        Self { registry, hearing: hear, others }
    }

    /// Empties the outboxes that heard something.
    pub fn take(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        for outbox in &mut self.hearing {
            while let Poll::Ready(Taken::Frames(batch)) = outbox.poll_take(&mut cx, usize::MAX) {
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
    let registration =
        Registration::new().filter(ChannelFilter::only([channel])).scope(identity(number)).group(group(number / 10));
    registry.open_outbox(&SSE, OutboxOptions::new(), registration).expect("it is not shutting down")
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
