//! Sinks: the trait that an application implements, and the seat of a sink.

use super::seat::{Seat, Status};
use crate::contain::{contain, discard};
use crate::sync::{Mutex, ThreadId, current_thread};
use crate::types::close::{CloseReason, EndHook};
use crate::types::message::Message;
use crate::types::report::SendOutcome;
use std::sync::Arc;

/// Receives the messages of a subscriber.
///
/// # Contract
/// - `send` is called once per matching broadcast, in the order of the broadcasts, by one thread at
///   a time. It should return soon: while it runs, no other sink of the registry is served
///   (outboxes are).
/// - `close` is called exactly once when the subscriber is ended by force, and never otherwise: not
///   after the [`Subscription`](crate::Subscription) was dropped, and not when `send` answered
///   [`SendOutcome::Closed`]. No `send` begins after it began; one that began earlier on another
///   thread may still be running. It should return soon: the call that ended the subscriber waits
///   for it, and so do the closes of other sinks that end with it.
/// - Both may call any method of the registry, and both may panic: a panic is contained and harms
///   no other subscriber (ISO-8).
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
    /// Receives one message.
    fn send(&self, message: &Arc<Message<T>>) -> SendOutcome;

    /// Is called when the subscriber was ended, with the reason.
    fn close(&self, reason: CloseReason);
}

/// One sink may serve many subscribers: each registration of a clone is a subscriber of its own
/// (SUB-5).
impl<T: 'static, S: Sink<T> + ?Sized> Sink<T> for Arc<S> {
    fn send(&self, message: &Arc<Message<T>>) -> SendOutcome {
        (**self).send(message)
    }

    fn close(&self, reason: CloseReason) {
        (**self).close(reason);
    }
}

/// The seat of a sink.
///
/// Invariants: `sink` is present until the end is notified, and is dropped then; a send begins only
/// while `ended` is `None`; at most one send runs at a time, and `sender` names its thread.
pub(crate) struct SinkSeat<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    sink: Option<Arc<dyn Sink<T>>>,
    ended: Option<CloseReason>,
    sender: Option<ThreadId>,
    /// Messages that the sink dropped.
    dropped: u64,
    /// Is called after the sink's close.
    hook: Option<Arc<EndHook>>,
    /// The end came from inside the sink's own send: the close waits for that send to return
    /// (RE-5).
    deferred: bool,
}

impl<T: 'static> SinkSeat<T> {
    pub(crate) fn new(sink: impl Sink<T>, hook: Option<Arc<EndHook>>) -> Self {
        let sink: Option<Arc<dyn Sink<T>>> = Some(Arc::new(sink));
        let state = State { sink, ended: None, sender: None, dropped: 0, hook, deferred: false };
        Self { state: Mutex::new(state) }
    }

    /// Hands the message over, unless the subscriber has ended.
    pub(crate) fn send(&self, message: &Arc<Message<T>>) -> SendOutcome {
        let sink = {
            let mut state = self.state.lock();
            match &state.sink {
                Some(sink) if state.ended.is_none() => {
                    let sink = sink.clone();
                    state.sender = Some(current_thread());
                    sink
                }
                _ => return SendOutcome::Closed,
            }
        };
        let outcome = contain(|| sink.send(message)).unwrap_or(SendOutcome::Failed);
        discard(sink);
        let deferred = {
            let mut state = self.state.lock();
            state.sender = None;
            state.dropped += u64::from(outcome == SendOutcome::Dropped);
            std::mem::take(&mut state.deferred)
        };
        if deferred {
            self.notify();
        }
        outcome
    }
}

impl<T: 'static> Seat for SinkSeat<T> {
    fn end(&self, reason: CloseReason) -> bool {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return false;
        }
        state.ended = Some(reason);
        true
    }

    fn describe(&self) -> Status {
        Status { lost: self.state.lock().dropped, ..Status::default() }
    }

    fn notify(&self) {
        let (sink, hook, reason) = {
            let mut state = self.state.lock();
            let Some(reason) = state.ended else { return };
            if reason != CloseReason::Unsubscribed && state.sender == Some(current_thread()) {
                state.deferred = true;
                return;
            }
            (state.sink.take(), state.hook.take(), reason)
        };
        // Without a sink another thread notified it, and took the hook too.
        if let Some(sink) = sink {
            if reason != CloseReason::Unsubscribed {
                contain(|| sink.close(reason));
                if let Some(hook) = &hook {
                    contain(|| hook(reason));
                }
            }
            discard(sink);
        }
        discard(hook);
    }
}

#[cfg(all(test, registry_loom))]
mod loom_tests;
