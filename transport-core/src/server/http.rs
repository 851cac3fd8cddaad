//! Which HTTP a connection speaks, how long it may wait, and how it ends.

#[cfg(feature = "http2")]
use crate::socket::streams::Streams;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
#[cfg(feature = "http2")]
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::error::Error;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
#[cfg(feature = "http2")]
use tokio::sync::watch::error::RecvError;
#[cfg(feature = "http2")]
use tokio::time::timeout;

/// What hyper may hold for one HTTP/1 connection on top of the outbox (QUE-3), and the largest head
/// of a request.
pub(super) const BUFFER_BYTES: u32 = 64 * 1024;
/// The first bytes of an HTTP/2 connection.
#[cfg(feature = "http2")]
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often an HTTP/2 connection is pinged, and how long the answer may take.
#[cfg(feature = "http2")]
const HTTP2_PING: Duration = Duration::from_secs(20);
/// How long an idle HTTP/2 connection may take to close after the goodbye (`GOAWAY`).
#[cfg(feature = "http2")]
const GOODBYE: Duration = Duration::from_secs(1);

/// The HTTP of one server: version 1, and with the feature `http2` both.
pub(super) struct Http {
    pub(super) head_timeout: Duration,
    http1: http1::Builder,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, by its peer, or because it was cut.
    Done,
    /// The next head did not come in time.
    NoHead,
    /// It was without a stream for too long, over HTTP/2.
    #[cfg(feature = "http2")]
    NoStream,
}

/// A connection being served.
pub(super) type Serving = Pin<Box<dyn Future<Output = Ended> + Send>>;

impl Http {
    pub(super) fn new(head_timeout: Duration) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .max_buf_size(BUFFER_BYTES as usize);
        Self { head_timeout, http1 }
    }

    #[cfg(feature = "http2")]
    fn either(&self, streams: Streams) -> Builder<Streams> {
        let mut either = Builder::new(streams);
        let mut http1 = either.http1();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_buf_size(BUFFER_BYTES as usize);
        let mut http2 = either.http2();
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING)
            .keep_alive_timeout(HTTP2_PING);
        http2.max_header_list_size(BUFFER_BYTES);
        either
    }

    /// Serves a connection of which `first` are the first bytes, as far as they are known. Holds
    /// `ending` until its end.
    ///
    /// When `first` cannot begin HTTP/2, hyper need not find that out. That would cost 8 KiB for as
    /// long as the connection lives: the bytes that hyper looks at make its read buffer grow.
    pub(super) fn serve<S, H, F>(
        &self,
        first: &[u8],
        io: S,
        service: H,
        ending: watch::Receiver<()>,
    ) -> Serving
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, Infallible>> + Send + 'static,
    {
        #[cfg(feature = "http2")]
        if PREFACE.starts_with(first) {
            return self.serve_either(io, service, ending);
        }
        let _ = first;
        self.serve_http1(io, service, ending)
    }

    fn serve_http1<S, H, F>(&self, io: S, service: H, mut ending: watch::Receiver<()>) -> Serving
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, Infallible>> + Send + 'static,
    {
        let connection =
            self.http1.serve_connection(TokioIo::new(io), service_fn(service)).with_upgrades();
        Box::pin(async move {
            let mut connection = pin!(connection);
            let served = tokio::select! {
                biased; // so that no random number is drawn for each message
                served = connection.as_mut() => served,
                // An error means that the server's future was dropped: connections go on.
                Ok(()) = ending.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            Ended::from(served.as_ref().err())
        })
    }

    /// Serves HTTP/1 or HTTP/2: hyper finds out which.
    #[cfg(feature = "http2")]
    fn serve_either<S, H, F>(&self, io: S, service: H, mut ending: watch::Receiver<()>) -> Serving
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, Infallible>> + Send + 'static,
    {
        let (io, service) = (TokioIo::new(io), service_fn(service));
        let (streams, mut open) = Streams::new();
        let connection =
            self.either(streams).serve_connection_with_upgrades(io, service).into_owned();
        let patience = self.head_timeout;
        Box::pin(async move {
            let mut connection = pin!(connection);
            let served = tokio::select! {
                biased;
                served = connection.as_mut() => served,
                Ok(()) = ending.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
                Ok(()) = idle(&mut open, patience) => {
                    connection.as_mut().graceful_shutdown();
                    match timeout(GOODBYE, connection.as_mut()).await {
                        // A request that crossed the goodbye is served.
                        Err(_elapsed) if *open.borrow() > 0 => connection.await,
                        _ => return Ended::NoStream,
                    }
                }
            };
            Ended::from(served.as_ref().err().and_then(|error| error.downcast_ref()))
        })
    }
}

impl From<Option<&hyper::Error>> for Ended {
    fn from(error: Option<&hyper::Error>) -> Self {
        // An unanswered ping is a timeout too; that one has a cause.
        let no_head = |error: &hyper::Error| error.is_timeout() && error.source().is_none();
        if error.is_some_and(no_head) { Self::NoHead } else { Self::Done }
    }
}

/// Waits until an HTTP/2 connection had a stream and then none for so long. Answered pings do not
/// count, since they cost the peer nothing. An error means that the connection speaks HTTP/1.
#[cfg(feature = "http2")]
async fn idle(open: &mut watch::Receiver<usize>, patience: Duration) -> Result<(), RecvError> {
    open.changed().await?;
    loop {
        open.wait_for(|streams| *streams == 0).await?;
        match timeout(patience, open.changed()).await {
            Ok(changed) => changed?,
            Err(_elapsed) => return Ok(()),
        }
    }
}

#[cfg(test)]
#[cfg(feature = "http2")]
mod tests {
    use super::*;
    use axum::body::Body;
    use std::future::ready;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::{Instant, sleep, timeout_at};

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const PING: u8 = 6;
    const GO_AWAY: u8 = 7;

    /// A client of HTTP/2, frame by frame, and the connection that is being served.
    struct Http2 {
        peer: DuplexStream,
        served: JoinHandle<Ended>,
        /// Whether it answers pings.
        answers: bool,
        end: watch::Sender<()>,
    }

    impl Http2 {
        /// Connects. `GET /` is answered at once, and any other target by a body that never ends.
        async fn connect(head_timeout: Duration, answers: bool) -> Self {
            let (server_end, mut peer) = duplex(64 * 1024);
            let (end, ending) = watch::channel(());
            let answer = |request: Request<Incoming>| {
                let endless = request.uri().path() != "/";
                let pending = futures_util::stream::pending::<Result<&str, Infallible>>();
                ready(Ok(Response::new(if endless {
                    Body::from_stream(pending)
                } else {
                    Body::empty()
                })))
            };
            let served =
                tokio::spawn(Http::new(head_timeout).serve(PREFACE, server_end, answer, ending));
            peer.write_all(PREFACE).await.unwrap();
            let mut client = Self { peer, served, answers, end };
            client.send(4, 0, 0, &[]).await;
            client
        }

        async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
            let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
            frame.extend([kind, flags]);
            frame.extend(stream.to_be_bytes());
            frame.extend(payload);
            // The server may have closed meanwhile; the next read shows that.
            let _gone = self.peer.write_all(&frame).await;
        }

        /// Asks for `/`, or for the body that never ends.
        async fn ask(&mut self, stream: u32, endless: bool) {
            // The fields of HPACK's static table, and a host.
            let path = if endless { 0x85 } else { 0x84 };
            self.send(HEADERS, 5, stream, &[0x82, 0x86, path, 0x41, 4, b'h', b'e', b'r', b'e'])
                .await;
            assert_eq!(self.until(HEADERS).await, Some(stream));
        }

        /// Reads up to a frame of this kind, answering pings or not; its stream, or nothing at the
        /// end of the connection.
        async fn until(&mut self, kind: u8) -> Option<u32> {
            // The clock runs ahead when all tasks wait, so a missing frame fails the test soon.
            let end = Instant::now() + Duration::from_secs(3600);
            loop {
                let mut head = [0; 9];
                let read = timeout_at(end, self.peer.read_exact(&mut head)).await;
                read.unwrap_or_else(|_| panic!("no frame of kind {kind}, and no end")).ok()?;
                let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
                self.peer.read_exact(&mut payload).await.ok()?;
                if head[3] == PING && head[4] == 0 && self.answers {
                    self.send(PING, 1, 0, &payload).await;
                }
                if head[3] == kind {
                    return Some(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
                }
            }
        }

        /// Returns how the connection ended; nothing may be left to read.
        async fn ended(mut self) -> Ended {
            assert_eq!(self.until(DATA).await, None, "no data is left");
            self.served.await.unwrap()
        }
    }

    const TEN: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn limits_an_http2_peer_that_answers_no_ping_is_disconnected() {
        let mut client = Http2::connect(TEN, false).await;
        client.ask(1, true).await;
        let begun = Instant::now();
        assert_eq!(client.ended().await, Ended::Done);
        assert_eq!(begun.elapsed().as_secs(), 40, "20 s to the ping, and as long for its answer");
    }

    #[tokio::test(start_paused = true)]
    async fn limits_an_http2_peer_that_answers_pings_keeps_its_stream() {
        let mut client = Http2::connect(TEN, true).await;
        client.ask(1, true).await;
        let begun = Instant::now();
        for ping in 1..=5 {
            assert_eq!(client.until(PING).await, Some(0));
            assert_eq!(begun.elapsed().as_secs(), ping * 20);
        }
        client.ask(3, false).await;
        assert!(!client.served.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn limits_an_http2_connection_without_a_stream_ends_although_it_answers_pings() {
        let patience = Duration::from_secs(25);
        let mut client = Http2::connect(patience, true).await;
        client.ask(1, false).await;
        // Another stream within that time, and it begins anew.
        sleep(Duration::from_secs(19)).await;
        client.ask(3, false).await;
        let begun = Instant::now();
        assert_eq!(client.until(GO_AWAY).await, Some(0));
        assert_eq!(begun.elapsed().as_secs(), patience.as_secs());
        assert_eq!(client.ended().await, Ended::NoStream);
        assert_eq!(begun.elapsed().as_secs(), patience.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn limits_an_idle_http2_peer_that_does_not_close_is_disconnected() {
        let mut client = Http2::connect(TEN, false).await;
        client.ask(1, false).await;
        let begun = Instant::now();
        assert_eq!(client.ended().await, Ended::NoStream);
        assert_eq!(begun.elapsed().as_secs(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_an_http2_request_that_crosses_the_goodbye_is_served() {
        let mut client = Http2::connect(TEN, false).await;
        client.ask(1, false).await;
        assert_eq!(client.until(GO_AWAY).await, Some(0));
        client.ask(3, true).await;
        sleep(GOODBYE * 2).await;
        assert!(!client.served.is_finished());
        let Http2 { peer, served, .. } = client;
        drop(peer);
        assert_eq!(served.await.unwrap(), Ended::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn drn_3_an_idle_http2_connection_ends_with_the_server() {
        let mut client = Http2::connect(Duration::from_secs(60), true).await;
        client.ask(1, false).await;
        let begun = Instant::now();
        client.end.send_replace(());
        assert_eq!(client.ended().await, Ended::Done);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
