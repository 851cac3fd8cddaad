//! The response body: the owner of one subscriber's outbox.

use crate::encode::{HELLO, KEEP_ALIVE, farewell, lost};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use registry_core::{Batch, CloseReason, Outbox, Taken};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use transport_core::{Admitted, TAKE_BYTES};

/// An event stream, as hyper polls it. Dropping it, which hyper does when the client goes away, unsubscribes (SSE-5).
pub(crate) struct SseBody {
    outbox: Outbox,
    stage: Stage,
    period: Duration,
    keep_alive: Pin<Box<Sleep>>,
    expires: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Hello,
    Open,
    Over,
}

impl SseBody {
    pub(crate) fn new(admitted: Admitted, period: Duration) -> Self {
        Self {
            outbox: admitted.outbox,
            stage: Stage::Hello,
            period,
            keep_alive: Box::pin(sleep(period)),
            expires: admitted.expires.map(|at| Box::pin(sleep_until(at))),
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.stage == Stage::Hello {
            self.stage = Stage::Open;
            return Poll::Ready(Some(HELLO));
        }
        if self.expires.as_mut().is_some_and(|at| at.as_mut().poll(cx).is_ready()) {
            self.expires = None;
            self.outbox.end(CloseReason::Expired);
        }
        match self.outbox.poll_take(cx, TAKE_BYTES) {
            Poll::Ready(Taken::Frames(batch)) => {
                self.rest();
                Poll::Ready(Some(join(batch)))
            }
            Poll::Ready(Taken::Closed(reason)) => {
                self.stage = Stage::Over;
                Poll::Ready(farewell(reason, self.outbox.subscription().id().serial()))
            }
            Poll::Pending => {
                ready!(self.keep_alive.as_mut().poll(cx));
                self.rest();
                Poll::Ready(Some(KEEP_ALIVE))
            }
        }
    }

    /// Begins a new period of silence.
    fn rest(&mut self) {
        let next = Instant::now() + self.period;
        self.keep_alive.as_mut().reset(next);
    }
}

/// One buffer of all frames: one chunk on the wire.
fn join(batch: Batch) -> Bytes {
    let mut frames = batch.frames;
    if frames.len() == 1 && batch.lost == 0 {
        return frames.swap_remove(0);
    }
    let notice = if batch.lost > 0 { lost(batch.lost) } else { Bytes::new() };
    let mut out = BytesMut::with_capacity(notice.len() + frames.iter().map(Bytes::len).sum::<usize>());
    out.extend_from_slice(&notice);
    for frame in frames {
        out.extend_from_slice(&frame);
    }
    out.freeze()
}

impl Body for SseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.stage == Stage::Over {
            return Poll::Ready(None);
        }
        this.poll_bytes(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.stage == Stage::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SSE;
    use registry_core::{Json, OutboxOptions, Registration, SubscriberRegistry};
    use std::future::poll_fn;
    use std::sync::Arc;
    use transport_core::{Grant, Path};

    const PERIOD: Duration = Duration::from_secs(15);

    fn body(registry: &SubscriberRegistry<u8>, expires: Option<Instant>) -> SseBody {
        registry.encode_with(Json);
        let outbox = registry.open_outbox(&SSE, OutboxOptions::new(), Registration::new()).unwrap();
        let grant = Arc::new(Grant::new(registry_core::ChannelFilter::All));
        SseBody::new(Admitted { outbox, grant, expires, path: Path::Portable }, PERIOD)
    }

    async fn next(body: &mut SseBody) -> Option<Bytes> {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        Some(frame.unwrap().into_data().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn sse_3_comments_keep_an_idle_stream_open_and_only_an_idle_one() {
        let registry = SubscriberRegistry::new();
        let mut body = body(&registry, None);
        let start = Instant::now();
        assert_eq!(next(&mut body).await, Some(HELLO));
        assert_eq!((next(&mut body).await, start.elapsed()), (Some(KEEP_ALIVE), PERIOD));
        tokio::time::advance(PERIOD - Duration::from_secs(1)).await;
        registry.broadcast("runs", 1).unwrap();
        assert!(next(&mut body).await.unwrap().starts_with(b"id: "));
        let message = Instant::now();
        assert_eq!((next(&mut body).await, message.elapsed()), (Some(KEEP_ALIVE), PERIOD));
    }

    #[tokio::test(start_paused = true)]
    async fn lse_1_the_stream_ends_when_its_authority_does() {
        let registry = SubscriberRegistry::new();
        let left = Duration::from_secs(10);
        let mut body = body(&registry, Some(Instant::now() + left));
        let start = Instant::now();
        next(&mut body).await;
        let farewell = next(&mut body).await.unwrap();
        assert!(farewell.starts_with(b"event: close\ndata: {\"reason\":\"expired\"}"), "{farewell:?}");
        assert_eq!((start.elapsed(), registry.len(), next(&mut body).await), (left, 0, None));
    }
}
