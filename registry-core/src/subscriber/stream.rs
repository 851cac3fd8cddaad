//! The messages of one subscriber as a stream, for a consumer in the process.

use super::gate::Gate;
use super::subscription::{CloseHandle, Subscription};
use crate::contain::in_drop;
use crate::types::close::CloseReason;
use crate::types::format::WireFormat;
use crate::types::message::Message;
use futures_core::Stream;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The name of streams in the statistics. Messages are queued as they are, so nothing is framed.
pub(crate) static STREAM: WireFormat = WireFormat::new("stream", |_, _, _| {});

/// The messages of one subscriber, for a consumer in the process: a cache, a metric, a test.
///
/// It is a subscriber like any other: bounded by its [`OutboxOptions`](crate::OutboxOptions)
/// (QUE-1), ended by a revocation, which discards what is queued (REV-3), and flushed at a shutdown
/// (DRN-1). Bytes are counted in encoded payloads; where the registry has no encoder, each message
/// counts the size of its payload's type. Dropping it unsubscribes.
///
/// It is made by [`stream`](crate::SubscriberRegistry::stream) and by
/// [`Ticket::admit_stream`](crate::Ticket::admit_stream). It ends after `None`:
/// [`close_reason`](Self::close_reason) then tells why.
///
/// # Examples
/// ```
/// use registry_core::{CloseReason, OutboxOptions, Registration, SubscriberRegistry};
/// use std::future::Future;
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// let registry = SubscriberRegistry::<u32>::new();
/// let mut stream = registry.stream(Registration::new(), OutboxOptions::new())?;
/// registry.broadcast("runs", 42)?;
/// registry.begin_shutdown();
///
/// // With a runtime: `while let Some(message) = stream.next().await`.
/// let mut cx = Context::from_waker(Waker::noop());
/// let Poll::Ready(Some(message)) = pin!(stream.next()).poll(&mut cx) else { panic!("it waits") };
/// assert_eq!((message.channel(), *message.data()), ("runs", 42));
/// assert!(matches!(pin!(stream.next()).poll(&mut cx), Poll::Ready(None)));
/// assert_eq!(stream.close_reason(), Some(CloseReason::Shutdown));
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[must_use = "dropping a stream unsubscribes it"]
pub struct SubscriberStream<T: Send + Sync + 'static> {
    gate: Arc<Gate<Arc<Message<T>>>>,
    subscription: Subscription,
    lost: u64,
    /// Why it ended, once the consumer has seen the end.
    closed: Option<CloseReason>,
}

impl<T: Send + Sync + 'static> SubscriberStream<T> {
    pub(crate) fn new(gate: Arc<Gate<Arc<Message<T>>>>, subscription: Subscription) -> Self {
        Self { gate, subscription, lost: 0, closed: None }
    }

    /// Waits for the next message; `None` at the end.
    ///
    /// # Cancel safety
    /// Cancel safe: a message leaves the queue only when it is returned.
    pub async fn next(&mut self) -> Option<Arc<Message<T>>> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<Message<T>>>> {
        if self.closed.is_some() {
            return Poll::Ready(None);
        }
        self.gate.poll_one(cx).map(|next| match next {
            Ok((message, lost)) => {
                self.lost += lost;
                Some(message)
            }
            Err(reason) => {
                self.closed = Some(reason);
                // A shutdown need not wait for the consumer to drop it.
                self.subscription.outbox_dropped(false);
                None
            }
        })
    }

    /// Returns why the stream has ended; `None` before it has returned its last message.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.closed
    }

    /// Returns how many messages the overflow policy has dropped so far, before those that are
    /// still queued.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{OutboxOptions, Overflow, Registration, SubscriberRegistry};
    /// use std::future::Future;
    /// use std::num::NonZeroUsize;
    /// use std::pin::pin;
    /// use std::task::{Context, Poll, Waker};
    ///
    /// let registry = SubscriberRegistry::<u32>::new();
    /// let options = OutboxOptions::new()
    ///     .with_max_messages(NonZeroUsize::MIN)
    ///     .with_overflow(Overflow::DropOldest);
    /// let mut stream = registry.stream(Registration::new(), options)?;
    /// for number in 1..=3 {
    ///     registry.broadcast("runs", number)?;
    /// }
    /// let next = pin!(stream.next()).poll(&mut Context::from_waker(Waker::noop()));
    /// assert!(matches!(next, Poll::Ready(Some(message)) if *message.data() == 3));
    /// assert_eq!(stream.lost(), 2);
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Returns the subscriber's handle: its id, and unsubscribe.
    pub fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// Returns a handle that ends the subscriber while its consumer is busy.
    #[must_use]
    pub fn close_handle(&self) -> CloseHandle {
        self.subscription.close_handle()
    }
}

impl<T: Send + Sync + 'static> Stream for SubscriberStream<T> {
    type Item = Arc<Message<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

impl<T: Send + Sync + 'static> Drop for SubscriberStream<T> {
    fn drop(&mut self) {
        in_drop(|| {
            self.subscription.unsubscribe();
            if self.closed.is_none() {
                self.subscription.outbox_dropped(false);
            }
        });
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for SubscriberStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (messages, bytes, ended) = self.gate.status();
        f.debug_struct("SubscriberStream")
            .field("id", &self.subscription.id())
            .field("messages", &messages)
            .field("bytes", &bytes)
            .field("lost", &self.lost)
            .field("ended", &ended)
            .finish_non_exhaustive()
    }
}
