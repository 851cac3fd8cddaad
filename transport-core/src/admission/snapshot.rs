//! A snapshot of the state, which a new subscriber is sent before the broadcasts that change it.

use super::entry::{Entered, Entry, Framing, busy};
use super::refusal::Refusal;
use futures_util::FutureExt;
use registry_core::{CloseReason, Encoded, MessageId, Outbox, WireFormat};
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use tokio::time::{Instant, sleep_until, timeout};

impl<T: Send + Sync + 'static> Entry<T> {
    /// Refuses the request if the format of its messages carries no [snapshots](Entered::first),
    /// before it is admitted: an admission may evict another stream.
    ///
    /// # Errors
    /// `400`, as on a raw WebSocket.
    pub fn require_snapshots<F: Framing>(&self) -> Result<(), Refusal> {
        require_snapshots(F::format(self.asked())).inspect_err(|refusal| self.count(refusal))
    }
}

impl<F: Framing> Entered<F> {
    /// Sends a snapshot first: the subscriber is active already, and what `snapshot` returns is
    /// written before everything that is broadcast from now on (SNP-1).
    ///
    /// `snapshot` gets the id of the last broadcast before the subscriber was admitted. Every later
    /// one that matches is queued for the subscriber meanwhile, and no earlier one. So an
    /// application that changes its state first, and then broadcasts the change, both in one order,
    /// loses nothing: what the snapshot holds already arrives once more, with a later id. Each part
    /// becomes an event named `snapshot`, and the last one has that id. Nothing else is sent within
    /// one part, not even a ping, so make several of what a slow link takes long for.
    ///
    /// It runs in the handler, before the head of the answer. Meanwhile the outbox fills under its
    /// policy. A `HEAD` gets no snapshot: the function is not called.
    ///
    /// # Errors
    /// That of `snapshot` is the handler's own. Besides:
    /// - `400`: the request's format carries no snapshots, as a raw WebSocket. To refuse it before
    ///   the admission, call [`Entry::require_snapshots`](crate::Entry::require_snapshots).
    /// - `401`: the credential expired meanwhile.
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
        if let Err(refusal) = require_snapshots(outbox.format()) {
            return refused(refusal);
        }
        // Its parts are made within the bound on time too, and a panic of theirs is its own.
        let made = async { Ok(frames(outbox, at, snapshot(at).await?, limits.max_bytes)) };
        let taking = timeout(limits.timeout, AssertUnwindSafe(made).catch_unwind());
        let expires = admitted.expires;
        let taken = tokio::select! {
            biased; // so that no random number is drawn
            reason = poll_fn(|cx| outbox.poll_discarded(cx)) => {
                let why = format!("the subscriber has ended ({reason}) meanwhile: try again");
                return refused(busy(&why));
            }
            () = async { sleep_until(expires.unwrap_or_else(Instant::now)).await },
                if expires.is_some() =>
            {
                outbox.close(CloseReason::Expired);
                return refused(Refusal::unauthenticated("the credential has expired"));
            }
            taken = taking => taken,
        };
        let fault = match taken {
            Ok(Ok(Ok(Some(frames)))) => {
                outbox.put_first(frames);
                return Ok(self);
            }
            Ok(Ok(Ok(None))) => "the snapshot is too large",
            Ok(Ok(Err(error))) => return Err(error),
            Ok(Err(_panic)) => "the snapshot failed",
            Err(_elapsed) => "the snapshot took too long",
        };
        outbox.close(CloseReason::Failed);
        refused(busy(fault))
    }
}

/// Refuses a request whose format carries no snapshots.
fn require_snapshots(format: &WireFormat) -> Result<(), Refusal> {
    if format.has_snapshots() { Ok(()) } else { Err(Refusal::bad_request(NO_SNAPSHOTS)) }
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
        let last = parts.peek().is_none().then_some(at);
        let frame = outbox.format().snapshot(last, &part)?;
        // Framed, since a line or a character may take several bytes, and a part at least one.
        bytes += frame.len().max(1);
        if bytes > max_bytes {
            return None;
        }
        frames.push(frame);
    }
    Some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::asked::Asked;
    use crate::admission::builder::LiveBuilder;
    use crate::admission::grant::Grant;
    use crate::admission::live::Live;
    use crate::admission::options::LiveOptions;
    use axum::http::Request;
    use registry_core::{Json, Next};
    use std::future::pending;
    use std::time::Duration;

    static PLAIN: WireFormat =
        WireFormat::new("plain", |_, encoded, out| out.extend_from_slice(encoded.body()))
            .with_snapshot(|at, encoded, out| {
                let seq = at.map_or("-".to_owned(), |at| at.seq().to_string());
                out.extend_from_slice(seq.as_bytes());
                out.extend_from_slice(encoded.body());
            });

    struct Plain;

    impl Framing for Plain {
        fn format(_: &Asked) -> &'static WireFormat {
            &PLAIN
        }
    }

    fn live() -> Live<u8> {
        let second = Duration::from_secs(1);
        let options = LiveOptions::new().with_max_snapshot_bytes(6).with_snapshot_timeout(second);
        LiveBuilder::new(Json).with_options(options).build()
    }

    fn enter(live: &Live<u8>) -> Entered<Plain> {
        let mut request = Request::get("/").body(()).unwrap();
        live.draw_ticket_for(request.extensions_mut());
        let entry = live.entry(&request.into_parts().0).unwrap();
        entry.admit(Grant::only(["runs"]).with_group(("account", "ada"))).unwrap()
    }

    #[tokio::test]
    async fn snp_1_its_parts_come_first_and_the_last_has_the_id() {
        let live = live();
        live.broadcast("runs", 1).unwrap();
        let parts = async |_| {
            live.broadcast("runs", 2).unwrap();
            Ok::<_, Refusal>([Encoded::text("a"), Encoded::text("b")])
        };
        let entered = enter(&live).first(parts).await.unwrap();
        let mut outbox = entered.into_admitted().unwrap().outbox;
        let mut frames = Vec::new();
        for _ in 0..2 {
            let Next::Frames(batch) = outbox.next(100).await else { panic!("it has ended") };
            frames.extend(batch.frames);
        }
        assert_eq!(frames, ["-a", "1b", "2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn snp_3_what_fails_ends_the_subscriber_as_failed() {
        for fault in ["failed", "took too long", "is too large", "parts failed"] {
            let live = live();
            let taking = async |_| match fault {
                "failed" => panic!("on purpose"),
                "took too long" => pending().await,
                // They are made when they are asked for: without end, or not at all.
                _ => Ok::<_, Refusal>(std::iter::repeat_with(|| {
                    assert_eq!(fault, "is too large", "on purpose");
                    Encoded::text("")
                })),
            };
            let refusal = enter(&live).first(taking).await.unwrap_err();
            assert_eq!((refusal.status().as_u16(), refusal.retry_after()), (503, Some(1)));
            assert!(refusal.reason().ends_with(fault.trim_start_matches("parts ")), "{refusal}");
            assert_eq!(live.stats().ended, [(CloseReason::Failed, 1)].into(), "{fault}");
            assert_eq!(live.admission_stats().refusals, [(503, 1)].into(), "{fault}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn snp_3_a_revocation_is_not_waited_out() {
        let live = live();
        let begun = tokio::time::Instant::now();
        let taking = async |_| {
            live.close_by_identity(("account", "ada"));
            pending::<Result<[Encoded; 0], Refusal>>().await
        };
        let refusal = enter(&live).first(taking).await.unwrap_err();
        assert_eq!((refusal.status().as_u16(), begun.elapsed()), (503, Duration::ZERO));
        assert_eq!(live.stats().ended, [(CloseReason::Revoked, 1)].into());
    }

    #[tokio::test(start_paused = true)]
    async fn snp_3_a_credential_that_expires_meanwhile_gets_no_snapshot() {
        let live = live();
        let mut entered = enter(&live);
        let soon = Instant::now() + Duration::from_millis(10);
        entered.subscriber.as_mut().unwrap().expires = Some(soon);
        let taking = async |_| pending::<Result<[Encoded; 0], Refusal>>().await;
        let refusal = entered.first(taking).await.unwrap_err();
        assert_eq!((refusal.status().as_u16(), Instant::now()), (401, soon));
        assert_eq!(live.stats().ended, [(CloseReason::Expired, 1)].into());
    }

    #[tokio::test]
    async fn snp_3_an_error_of_the_application_is_its_own() {
        let live = live();
        let taking = async |_| Err::<[Encoded; 0], _>(Refusal::forbidden("not yours"));
        let refusal = enter(&live).first(taking).await.unwrap_err();
        assert_eq!(refusal.status(), 403);
        assert!(live.is_empty() && live.admission_stats().refusals.is_empty());
    }
}
