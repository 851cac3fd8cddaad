//! Foreign sinks: the trait, its contract, and the gate that stands before each.

use crate::close::CloseReason;
use crate::contain::{contain, discard};
use crate::message::Message;
use crate::sync::{Mutex, ThreadId, current_thread};
use std::sync::Arc;
use std::task::Waker;

/// Receives what a subscriber hears.
///
/// # Contract
/// - `send` is called once per matching broadcast, in the order of the broadcasts, by one thread at a time. It should
///   return soon: while it runs, no other foreign sink of the registry is served (outboxes are).
/// - `close` is called exactly once when the subscriber is ended by force, and never otherwise: not after the
///   [`Subscription`](crate::Subscription) was dropped, and not when `send` answered [`SendOutcome::Closed`]. No `send`
///   begins after it began; one that began earlier on another thread may still be running. It should return soon: whoever
///   ended the subscriber waits for it, and so do the closes of other foreign sinks that are ended with it.
/// - Both may call any method of the registry, and both may panic: a panic is contained and harms nobody else (ISO-8).
/// - The registry calls neither under a lock.
///
/// # Examples
/// ```
/// use registry_core::{CloseReason, Message, SendOutcome, Sink, SubscriberRegistry};
/// use std::sync::{Arc, mpsc};
///
/// struct Inbox(mpsc::Sender<Arc<Message<String>>>);
///
/// impl Sink<String> for Inbox {
///     fn send(&self, message: &Arc<Message<String>>) -> SendOutcome {
///         match self.0.send(message.clone()) {
///             Ok(()) => SendOutcome::Accepted,
///             Err(_) => SendOutcome::Closed,
///         }
///     }
///     fn close(&self, _: CloseReason) {}
/// }
///
/// let registry = SubscriberRegistry::new();
/// let (inbox, received) = mpsc::channel();
/// let subscription = registry.subscribe(Inbox(inbox), Some(&["runs"]), Some("ada"))?;
/// registry.broadcast("runs", "started".to_owned())?;
/// assert_eq!(received.recv()?.data(), "started");
/// # drop(subscription);
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub trait Sink<T>: Send + Sync + 'static {
    /// Takes one message.
    fn send(&self, message: &Arc<Message<T>>) -> SendOutcome;

    /// Is told that the subscriber was ended, and why.
    fn close(&self, reason: CloseReason);
}

/// One sink may serve many subscribers: each registration of a clone is a subscriber of its own (SUB-5).
impl<T: 'static, S: Sink<T> + ?Sized> Sink<T> for Arc<S> {
    fn send(&self, message: &Arc<Message<T>>) -> SendOutcome {
        (**self).send(message)
    }

    fn close(&self, reason: CloseReason) {
        (**self).close(reason);
    }
}

/// A sink's answer to one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// Taken.
    Accepted,
    /// Refused this one message; the subscriber stays.
    Dropped,
    /// Cannot keep up: the subscriber is ended as [`Lagged`](CloseReason::Lagged).
    Lagged,
    /// The peer is gone: the subscriber is removed, without a close.
    Closed,
    /// Broken: the subscriber is ended as [`Failed`](CloseReason::Failed) (ISO-5). A panic counts the same.
    Failed,
}

/// The registry's hold on one subscriber: what decides, atomically and per subscriber, whether it has ended.
pub(crate) trait Seat: Send + Sync {
    /// Shuts the gate: no send begins afterwards. Runs no foreign code. True when this call is the one that ended the
    /// subscriber; the caller then owes it a [`tell`](Seat::tell).
    fn end(&self, reason: CloseReason) -> bool;

    /// Runs the foreign code that an end calls for, at most once. Only without locks.
    fn tell(&self);

    /// Says that its lane brings nothing more, so that a draining end can be complete; the caller wakes.
    fn complete(&self) -> Option<Waker> {
        None
    }
}

/// The gate before a foreign sink.
///
/// Invariants: `sink` is present until the end was told, so that afterwards nothing of it is kept; a send begins only
/// while `ended` is `None`; at most one send runs at a time, and `sender` names its thread.
pub(crate) struct Foreign<T> {
    gate: Mutex<Gate<T>>,
}

struct Gate<T> {
    sink: Option<Arc<dyn Sink<T>>>,
    ended: Option<CloseReason>,
    sender: Option<ThreadId>,
    /// The end was told on the sending thread itself: the close waits for its send (RE-5).
    deferred: bool,
}

impl<T: 'static> Foreign<T> {
    pub(crate) fn new(sink: impl Sink<T>) -> Self {
        let gate = Gate { sink: Some(Arc::new(sink)), ended: None, sender: None, deferred: false };
        Self { gate: Mutex::new(gate) }
    }

    /// Takes the subscriber's turn and hands the message over.
    pub(crate) fn send(&self, message: &Arc<Message<T>>) -> SendOutcome {
        let sink = {
            let mut gate = self.gate.lock();
            match &gate.sink {
                Some(sink) if gate.ended.is_none() => {
                    let sink = sink.clone();
                    gate.sender = Some(current_thread());
                    sink
                }
                _ => return SendOutcome::Closed,
            }
        };
        let outcome = contain(|| sink.send(message)).unwrap_or(SendOutcome::Failed);
        discard(sink);
        let deferred = {
            let mut gate = self.gate.lock();
            gate.sender = None;
            std::mem::take(&mut gate.deferred)
        };
        if deferred {
            self.tell();
        }
        outcome
    }
}

impl<T: 'static> Seat for Foreign<T> {
    fn end(&self, reason: CloseReason) -> bool {
        let mut gate = self.gate.lock();
        if gate.ended.is_some() {
            return false;
        }
        gate.ended = Some(reason);
        true
    }

    fn tell(&self) {
        let (sink, reason) = {
            let mut gate = self.gate.lock();
            let Some(reason) = gate.ended else { return };
            if reason != CloseReason::Unsubscribed && gate.sender == Some(current_thread()) {
                gate.deferred = true;
                return;
            }
            (gate.sink.take(), reason)
        };
        if let Some(sink) = sink {
            if reason != CloseReason::Unsubscribed {
                contain(|| sink.close(reason));
            }
            discard(sink);
        }
    }
}

#[cfg(all(test, registry_loom))]
mod loom_tests;
