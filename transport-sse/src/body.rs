//! The response body: it serves one subscriber as long as HTTP has the socket.

use crate::direct::DirectStream;
use crate::encode::{HELLO, HELLO_CHUNK, KEEP_ALIVE, SSE, farewell};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use registry_core::{Batch, CloseReason, Next, Outbox};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use transport_core::{Admitted, ConnectionTask, Deadlines, DirectConnection, Handover, KindGuard};

/// An event stream, as hyper polls it. Dropping it, which hyper does when the client goes away,
/// unsubscribes (SSE-5).
///
/// Where the socket can be [handed over](Handover), the body ends after its first comment, and a
/// [`DirectStream`] goes on.
pub(crate) struct SseBody {
    /// None once the stream has ended, or a [`DirectStream`] has it.
    subscriber: Option<(Outbox, KindGuard)>,
    stage: Stage,
    period: Duration,
    deadlines: Deadlines,
    /// A period after the last message, or earlier.
    keep_alive: Pin<Box<Sleep>>,
    last_write: Instant,
    lease: Option<Lease>,
    /// The last bytes ended within a frame: no farewell can follow then. A client drops an event
    /// whose end does not come.
    is_mid_frame: bool,
}

/// When the subscriber's authority ends, and the task that ends it then. The body cannot do that
/// itself, because hyper does not poll the body of a peer that does not read (LSE-1).
struct Lease {
    expires: Instant,
    timer: JoinHandle<()>,
}

impl Lease {
    fn new(outbox: &Outbox, expires: Instant) -> Self {
        let close_handle = outbox.close_handle();
        let timer = tokio::spawn(async move {
            sleep_until(expires).await;
            close_handle.close(CloseReason::Expired);
        });
        Self { expires, timer }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

#[derive(Debug)]
enum Stage {
    Hello(Option<Handover>),
    /// The first comment is on its way, and it is undecided whether the body gets the socket.
    Handing(Handover),
    Open,
}

impl SseBody {
    pub(crate) fn new(admitted: Admitted, period: Duration) -> Self {
        Self {
            lease: admitted.expires.map(|at| Lease::new(&admitted.outbox, at)),
            subscriber: Some((admitted.outbox, admitted.kind)),
            stage: Stage::Hello(admitted.handover),
            period,
            deadlines: admitted.deadlines,
            keep_alive: Box::pin(sleep(period)),
            last_write: Instant::now(),
            is_mid_frame: false,
        }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match std::mem::replace(&mut self.stage, Stage::Open) {
            Stage::Hello(handover) => {
                if let Some(mut handover) = handover {
                    handover.arm(HELLO_CHUNK);
                    self.stage = Stage::Handing(handover);
                }
                return Poll::Ready(Some(HELLO));
            }
            Stage::Handing(handover) => match handover.poll_socket(cx) {
                Poll::Pending => {
                    self.stage = Stage::Handing(handover);
                    return Poll::Pending;
                }
                Poll::Ready(None) => {}
                Poll::Ready(Some(socket)) => {
                    if let Some((outbox, kind)) = self.subscriber.take() {
                        let expires =
                            self.lease.take().map(|lease| Box::pin(sleep_until(lease.expires)));
                        let connection = DirectConnection::new(outbox, socket, kind);
                        tokio::spawn(
                            DirectStream::new(connection, self.period, expires, self.deadlines)
                                .run(),
                        );
                    }
                }
            },
            Stage::Open => {}
        }
        let Some((outbox, _)) = &mut self.subscriber else { return Poll::Ready(None) };
        match outbox.poll_next(cx, Outbox::WRITE_BYTES) {
            Poll::Ready(Next::Frames(batch)) => {
                self.last_write = Instant::now();
                self.is_mid_frame = batch.is_partial;
                Poll::Ready(Some(join(batch)))
            }
            Poll::Ready(Next::Closed(reason)) => {
                let subscriber = outbox.subscription().id().serial();
                // The outbox counts as draining until here, so that a shutdown waits for its
                // farewell.
                self.subscriber = None;
                self.lease = None;
                Poll::Ready(farewell(reason, subscriber).filter(|_| !self.is_mid_frame))
            }
            Poll::Pending => {
                // The timer is set again when it elapses and not with each message, which would
                // cost more than the message.
                loop {
                    ready!(self.keep_alive.as_mut().poll(cx));
                    let now = Instant::now();
                    let due = now >= self.last_write + self.period;
                    self.last_write = if due { now } else { self.last_write };
                    let next = self.last_write + self.period;
                    self.keep_alive.as_mut().reset(next);
                    if due {
                        return Poll::Ready(Some(KEEP_ALIVE));
                    }
                }
            }
        }
    }
}

/// Joins all frames into one buffer, which is one chunk on the wire.
fn join(batch: Batch) -> Bytes {
    let mut frames = batch.frames;
    if frames.len() == 1 && batch.lost == 0 {
        return frames.swap_remove(0);
    }
    let notice = SSE.notice(batch.lost).unwrap_or_default();
    let mut out =
        BytesMut::with_capacity(notice.len() + frames.iter().map(Bytes::len).sum::<usize>());
    out.extend_from_slice(&notice);
    for frame in frames {
        out.extend_from_slice(&frame);
    }
    out.freeze()
}

impl Body for SseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut().poll_bytes(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.subscriber.is_none()
    }
}

/// An empty body of unknown length, for the answer to a `HEAD` of a stream.
pub(crate) struct NoBody;

impl Body for NoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SSE;
    use axum::Router;
    use axum::response::Response;
    use axum::routing::get;
    use registry_core::{Json, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry};
    use std::future::poll_fn;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;
    use transport_core::Grant;

    const PERIOD: Duration = Duration::from_secs(15);

    fn body(registry: &SubscriberRegistry<u8>, expires: Option<Instant>) -> SseBody {
        let outbox = registry.open_outbox(&SSE, OutboxOptions::new(), Registration::new()).unwrap();
        let grant = Arc::new(Grant::new(registry_core::ChannelFilter::All));
        let mut admitted = Admitted::new(outbox, grant);
        admitted.expires = expires;
        SseBody::new(admitted, PERIOD)
    }

    async fn next(body: &mut SseBody) -> Option<Bytes> {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        Some(frame.unwrap().into_data().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn sse_3_comments_keep_an_idle_stream_open_and_only_an_idle_one() {
        let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), Json);
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
        let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), Json);
        let left = Duration::from_secs(10);
        let mut body = body(&registry, Some(Instant::now() + left));
        let start = Instant::now();
        next(&mut body).await;
        let farewell = next(&mut body).await.unwrap();
        assert!(
            farewell.starts_with(b"event: close\ndata: {\"reason\":\"expired\"}"),
            "{farewell:?}"
        );
        assert_eq!((start.elapsed(), registry.len(), next(&mut body).await), (left, 0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn lse_1_a_stream_that_ends_before_its_authority_leaves_no_timer() {
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), Json);
        let body = body(&registry, Some(Instant::now() + Duration::from_secs(60 * 60)));
        assert_eq!(tasks(), 1);
        drop(body);
        tokio::task::yield_now().await;
        assert_eq!(tasks(), 0);
    }

    /// Reads until all that was read ends in this; fails after ten seconds, or at the end of the
    /// stream.
    async fn read_to(tcp: &mut TcpStream, end: &str) -> String {
        let mut read = Vec::new();
        let reading = async {
            while !read.ends_with(end.as_bytes()) && tcp.read_buf(&mut read).await.unwrap() > 0 {}
        };
        let late = timeout(Duration::from_secs(10), reading).await.is_err();
        let read = String::from_utf8(read).unwrap();
        assert!(
            read.ends_with(end),
            "{end:?} is missing, {}: {read:?}",
            if late { "in 10 s" } else { "at the end" }
        );
        read
    }

    #[tokio::test]
    async fn sse_4_a_stream_over_http_ends_with_its_last_chunk_whatever_ended_it() {
        for reason in CloseReason::ALL {
            let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), Json);
            let body = body(&registry, None);
            let outbox = &body.subscriber.as_ref().unwrap().0;
            let (close_handle, serial) =
                (outbox.close_handle(), outbox.subscription().id().serial());
            let slot = Arc::new(Mutex::new(Some(body)));
            let stream = get(async move || {
                Response::new(axum::body::Body::new(slot.lock().unwrap().take().unwrap()))
            });
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let server = tokio::spawn(async {
                axum::serve(listener, Router::new().route("/", stream)).await
            });
            tcp.write_all(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
                .await
                .unwrap();
            read_to(&mut tcp, "\r\n6\r\n: ok\n\n\r\n").await;
            close_handle.close(reason);
            let chunk = farewell(reason, serial).map(|farewell| {
                format!("{:X}\r\n{}\r\n", farewell.len(), str::from_utf8(&farewell).unwrap())
            });
            assert_eq!(
                read_to(&mut tcp, "0\r\n\r\n").await,
                chunk.unwrap_or_default() + "0\r\n\r\n",
                "{reason}"
            );
            server.abort();
        }
    }
}
