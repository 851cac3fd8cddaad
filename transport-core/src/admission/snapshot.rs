//! A snapshot of the state, which a new subscriber is sent before the broadcasts that change it.

use super::entry::{Entered, Framing, busy};
use super::refusal::Refusal;
use futures_util::FutureExt;
use registry_core::{CloseReason, Encoded, MessageId, Outbox};
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use tokio::time::timeout;

impl<F: Framing> Entered<F> {
    /// Sends a snapshot first: the subscriber is active already, and what `snapshot` returns is
    /// written before everything that is broadcast from now on (SNP-1).
    ///
    /// `snapshot` gets the id of the last broadcast before the subscriber was admitted. Every later
    /// one that matches is queued for the subscriber meanwhile, and no earlier one. So an
    /// application that changes its state first, and then broadcasts the change, both in one order,
    /// loses nothing: what the snapshot holds already arrives once more, with a later id. Each part
    /// becomes an event named `snapshot`, and the last one has that id.
    ///
    /// It runs in the handler, before the head of the answer. Meanwhile the outbox fills under its
    /// policy. A `HEAD` gets no snapshot: the function is not called.
    ///
    /// # Errors
    /// That of `snapshot` is the handler's own. Besides:
    /// - `400`: the request's format carries no snapshots, as a raw WebSocket.
    /// - `503`: `snapshot` panicked, took longer than
    ///   [`with_snapshot_timeout`](crate::LiveOptions::with_snapshot_timeout), or returned more
    ///   than [`with_max_snapshot_bytes`](crate::LiveOptions::with_max_snapshot_bytes), which ends
    ///   the subscriber as *failed*; or the subscriber ended meanwhile, as by a revocation.
    ///
    /// # Cancel safety
    /// Dropping the future unsubscribes.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{Encoded, MessageId};
    /// use transport_core::{Entered, Entry, Framing, Grant, Refusal};
    ///
    /// async fn enter<F: Framing>(entry: Entry<String>) -> Result<Entered<F>, Refusal> {
    ///     let entered = entry.admit(Grant::only(["runs"]))?;
    ///     entered.first(async |_at| Ok::<_, Refusal>([Encoded::json(r#"{"running":3}"#)])).await
    /// }
    /// ```
    pub async fn first<P, E>(
        self,
        snapshot: impl AsyncFnOnce(MessageId) -> Result<P, E>,
    ) -> Result<Self, E>
    where
        P: IntoIterator<Item = Encoded>,
        E: From<Refusal>,
    {
        let (Some(admitted), Some(at)) = (&self.subscriber, self.after) else { return Ok(self) };
        let (outbox, limits) = (&admitted.outbox, &self.snapshot);
        let refused = |refusal: Refusal| {
            self.count.count(&refusal);
            Err(refusal.into())
        };
        if !outbox.format().has_snapshots() {
            return refused(Refusal::bad_request(NO_SNAPSHOTS));
        }
        let taking = timeout(limits.timeout, AssertUnwindSafe(snapshot(at)).catch_unwind());
        let taken = tokio::select! {
            biased; // so that no random number is drawn
            reason = poll_fn(|cx| outbox.poll_discarded(cx)) => {
                let why = format!("the subscriber has ended ({reason}) meanwhile: try again");
                return refused(busy(&why));
            }
            taken = taking => taken,
        };
        let fault = match taken {
            Ok(Ok(Ok(parts))) => match frames(outbox, at, parts, limits.max_bytes) {
                Some(frames) => {
                    outbox.put_first(frames);
                    return Ok(self);
                }
                None => "the snapshot is too large",
            },
            Ok(Ok(Err(error))) => return Err(error),
            Ok(Err(_panic)) => "the snapshot failed",
            Err(_elapsed) => "the snapshot took too long",
        };
        outbox.close(CloseReason::Failed);
        refused(busy(fault))
    }
}

const NO_SNAPSHOTS: &str = "a raw WebSocket carries no snapshot: offer the subprotocol `live.v1`";

/// Frames the parts; nothing if they are too large.
fn frames(
    outbox: &Outbox,
    at: MessageId,
    parts: impl IntoIterator<Item = Encoded>,
    max_bytes: usize,
) -> Option<Vec<bytes::Bytes>> {
    let (mut frames, mut bytes) = (Vec::new(), 0);
    let mut parts = parts.into_iter().peekable();
    while let Some(part) = parts.next() {
        bytes += part.body().len();
        if bytes > max_bytes {
            return None;
        }
        let last = parts.peek().is_none().then_some(at);
        frames.extend(outbox.format().snapshot(last, &part));
    }
    Some(frames)
}
