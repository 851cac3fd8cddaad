//! Lanes: the promises of flushers, their logs and their sockets.

mod backlog;
mod bounds;
mod callbacks;
mod control;
mod cost;
mod drain;
mod ends;
mod joining;
mod memory;
mod panics;
mod publishers;
mod segments;
mod slow;

use crate::kit::*;
use crate::wire::*;
use registry_core::{
    CloseReason, EncodeError, Encoded, Flusher, LaneOptions, OutboxOptions, Overflow,
    RegistryOptions, SocketOutbox, SubscriberRegistry, WireFormat,
};
use std::sync::Arc;
use std::task::{Context, Waker};

pub(crate) fn registry_and_flusher() -> (Registry, Flusher<u32>) {
    let registry = encoding();
    let flusher = registry.open_lane(LaneOptions::new());
    (registry, flusher)
}

pub(crate) fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

pub(crate) fn ended_as(registry: &Registry, reason: CloseReason) -> u64 {
    registry.stats().ended.get(&reason).copied().unwrap_or(0)
}

pub(crate) fn lossy() -> OutboxOptions {
    with_flusher().with_overflow(Overflow::DropOldest)
}

/// A frame is its payload, which consists of digits.
pub(crate) static DIGITS: WireFormat =
    WireFormat::new("digits", |_, encoded, out| out.extend_from_slice(encoded.body()));

/// Encodes a length as so many digits.
pub(crate) fn ones(length: &usize) -> Result<Encoded, EncodeError> {
    Ok(Encoded::text("1".repeat(*length)))
}

/// A payload that counts the live ones of its kind, and whose destructor may panic. It does not
/// panic in a test that is failing: a second panic would end the process before the failure is
/// reported.
pub(crate) struct Load {
    number: u32,
    _alive: Arc<()>,
    explodes: bool,
}

impl Drop for Load {
    fn drop(&mut self) {
        if self.explodes && !std::thread::panicking() {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }
}

/// Makes payloads, and counts those that are alive.
pub(crate) struct Loads(Arc<()>);

impl Loads {
    pub(crate) fn new() -> Self {
        Self(Arc::new(()))
    }

    pub(crate) fn make(&self, number: u32, explodes: bool) -> Load {
        Load { number, _alive: self.0.clone(), explodes }
    }

    pub(crate) fn alive(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

pub(crate) fn loaded(options: LaneOptions) -> (SubscriberRegistry<Load>, Flusher<Load>) {
    let encoder = |load: &Load| Ok::<_, EncodeError>(Encoded::text(load.number.to_string()));
    let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    let flusher = registry.open_lane(options);
    (registry, flusher)
}

pub(crate) fn wired_load(
    registry: &SubscriberRegistry<Load>,
    options: OutboxOptions,
) -> (SocketOutbox, Arc<Socket>) {
    let outbox = registry.open_outbox(&BARE, options, group("a")).unwrap();
    let socket = Socket::new();
    (outbox.attach(socket.clone()), socket)
}

/// Ends a registry: by its last handle, or by a shutdown.
pub(crate) const END_REGISTRY: [fn(Registry) -> Option<Registry>; 2] = [
    |registry| {
        drop(registry);
        None
    },
    |registry| {
        registry.begin_shutdown();
        Some(registry)
    },
];
