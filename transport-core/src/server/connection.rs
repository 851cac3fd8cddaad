//! One connection from its first byte to its end: which HTTP it speaks, how long it may wait, and what answers it.

use super::Shared;
use crate::Refusal;
use crate::cut::{Cut, STREAM, Streams};
use crate::socket::Socket;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::sync::watch::error::RecvError;
use tokio::time::{Instant, timeout, timeout_at};
use tower_service::Service;

/// What hyper may hold for one HTTP/1 connection on top of the outbox (QUE-3), and the largest head of a request.
const BUFFER_BYTES: u32 = 64 * 1024;
/// What an HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often an HTTP/2 connection is asked whether it is alive, and how long the answer may take.
const HTTP2_PING: Duration = Duration::from_secs(20);
/// How long an idle HTTP/2 connection may take to go that was told to.
const GOODBYE: Duration = Duration::from_secs(1);

/// What speaks HTTP: version 1, and whichever of the two hyper finds.
pub(super) struct Http {
    head_timeout: Duration,
    http1: http1::Builder,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, by its peer, or because it was cut.
    Over,
    /// The next head did not come in time.
    NoHead,
    /// It was without a stream for too long, over HTTP/2.
    NoStream,
}

/// A connection being served.
type Serving = Pin<Box<dyn Future<Output = Ended> + Send>>;

impl Http {
    pub(super) fn new(head_timeout: Duration) -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(BUFFER_BYTES as usize);
        Self { head_timeout, http1 }
    }

    fn either(&self, streams: Streams) -> Builder<Streams> {
        let mut either = Builder::new(streams);
        let mut http1 = either.http1();
        http1.timer(TokioTimer::new()).header_read_timeout(self.head_timeout).max_buf_size(BUFFER_BYTES as usize);
        let mut http2 = either.http2();
        http2.timer(TokioTimer::new()).keep_alive_interval(HTTP2_PING).keep_alive_timeout(HTTP2_PING);
        http2.max_header_list_size(BUFFER_BYTES);
        either
    }

    /// Serves a connection whose first bytes are known, or not. Holds `ending` until it is over.
    ///
    /// Where they cannot begin HTTP/2, hyper need not find out, which would cost 8 KiB for as long as the connection lives:
    /// the bytes it looked at make its read buffer grow.
    fn serve<S, H, F>(&self, first: &[u8], io: S, service: H, mut ending: watch::Receiver<()>) -> Serving
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response, Infallible>> + Send + 'static,
    {
        let (io, service) = (TokioIo::new(io), service_fn(service));
        if !PREFACE.starts_with(first) {
            let connection = self.http1.serve_connection(io, service).with_upgrades();
            return Box::pin(async move {
                let mut connection = pin!(connection);
                let served = tokio::select! {
                    biased; // no dice for each message
                    served = connection.as_mut() => served,
                    // An error is the server's future that was dropped: connections go on.
                    Ok(()) = ending.changed() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
                Ended::from(served.as_ref().err())
            });
        }
        let (streams, mut open) = Streams::new();
        let connection = self.either(streams).serve_connection_with_upgrades(io, service).into_owned();
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
                        // A request that crossed the farewell is served.
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
        // A ping that was not answered is a timeout too, with a cause.
        let no_head = |error: &hyper::Error| error.is_timeout() && error.source().is_none();
        if error.is_some_and(no_head) { Self::NoHead } else { Self::Over }
    }
}

/// Waits until an HTTP/2 connection had a stream and then none for so long: an answer to a ping costs its peer nothing. An
/// error is a connection that speaks HTTP/1.
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

/// Serves one connection to its end.
pub(super) async fn connect<S>(
    wrapped: impl Future<Output = io::Result<S>>,
    socket: Arc<Socket>,
    peer: SocketAddr,
    shared: Arc<Shared>,
    mut ending: watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Of the first head, with all that comes before it.
    let deadline = Instant::now() + shared.http.head_timeout;
    let counts = shared.counts.clone();
    let mut first = [0; PREFACE.len()];
    let begun = async {
        let peeked = if shared.plain { socket.peek(&mut first).await? } else { 0 };
        Ok::<_, io::Error>((wrapped.await?, peeked))
    };
    let begun = tokio::select! {
        biased;
        begun = timeout_at(deadline, begun) => begun,
        // It has asked for nothing yet: a shutdown need not wait for it.
        Ok(()) = ending.changed() => return,
    };
    let ended = match begun {
        Ok(Ok((io, peeked))) => {
            let connection = {
                let (socket, service) = (Arc::downgrade(&socket), shared.clone());
                // Boxed, because hyper keeps the room of a request's future for as long as the connection lives.
                let service = move |request| answer(request, socket.upgrade(), peer, service.clone()).map(Ok).boxed();
                shared.http.serve(&first[..peeked], io, service, ending)
            };
            drop(shared);
            let mut served = pin!(unless_gone(connection, &socket));
            // Before it knows the protocol, hyper waits for the first bytes without a limit.
            match timeout_at(deadline, served.as_mut()).await {
                Ok(ended) => ended,
                Err(_elapsed) if !socket.has_asked() => Ended::NoHead,
                Err(_elapsed) => served.await,
            }
        }
        Ok(Err(_gone)) => Ended::Over,
        Err(_elapsed) => Ended::NoHead,
    };
    let count = match ended {
        Ended::Over => return,
        Ended::NoHead if socket.has_begun() || !socket.has_asked() => &counts.slow_heads,
        Ended::NoHead | Ended::NoStream => &counts.idle_closed,
    };
    count.fetch_add(1, Ordering::Relaxed);
}

/// Serves a connection until its peer has gone. hyper takes a peer that has ended its side for gone, but finds that out by
/// reading; and it reads nothing while it holds what the peer has sent too much, nor while its writes wait for an HTTP/2 peer.
async fn unless_gone(connection: Serving, socket: &Socket) -> Ended {
    tokio::select! {
        biased;
        ended = connection => ended,
        () = socket.peer_gone() => Ended::Over,
    }
}

/// Answers one request: the application does, knowing the peer and how its stream can be cut.
async fn answer(
    mut request: Request<Incoming>,
    socket: Option<Arc<Socket>>,
    peer: SocketAddr,
    shared: Arc<Shared>,
) -> Response {
    if let Some(socket) = &socket {
        socket.asks();
    }
    if head_bytes(&request) > BUFFER_BYTES as usize {
        let reason = format!("the head of the request is too large: {BUFFER_BYTES} bytes at most");
        return Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason).into_response();
    }
    let cut = if request.version() == Version::HTTP_2 {
        STREAM.try_with(|stream| Cut::stream(stream.clone(), shared.cutter.clone())).ok()
    } else {
        let plain = shared.plain && !shared.options.portable && request.version() == Version::HTTP_11;
        socket.as_ref().map(|socket| Cut::socket(socket, plain, shared.cutter.clone()))
    };
    let plain = cut.as_ref().and_then(Cut::plain_socket);
    drop(socket);
    // HTTP/2 says in the address what HTTP/1 says in a header. Whoever compares hosts should need to know one place only.
    let host = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().entry(header::HOST).or_insert(host);
    }
    request.extensions_mut().insert(ConnectInfo(peer));
    if let Some(cut) = cut {
        request.extensions_mut().insert(cut);
    }
    let answered = AssertUnwindSafe(shared.app.clone().call(request)).catch_unwind().await;
    let response = answered.map_or_else(
        |_panic| {
            shared.counts.panics.fetch_add(1, Ordering::Relaxed);
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the handler failed").into_response()
        },
        |Ok(response)| response,
    );
    if let Some(socket) = plain.and_then(|socket| socket.upgrade()) {
        socket.proof().answers(closes(&response));
    }
    response
}

/// How large the head of a request is, as HTTP/1 has it on the wire. hyper bounds its read buffer, and that only when it reads
/// again: a head that ends in the buffer's last growth may have twice as much.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    request.method().as_str().len() + target + "  HTTP/1.1\r\n\r\n".len() + fields.sum::<usize>()
}

/// Whether hyper ends the connection after this response.
fn closes(response: &Response) -> bool {
    let connection = response.headers().get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    connection.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("close"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Io, Server, ServerOptions};
    use axum::Router;
    use axum::body::Body;
    use registry_core::SubscriberRegistry;
    use socket2::SockRef;
    use std::future::{pending, ready};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    /// Serves with these options over what `wrap` makes of a socket, and connects a client.
    async fn served_over<F>(options: ServerOptions, wrap: impl Fn(Io) -> F + Send + 'static) -> TcpStream
    where
        F: Future<Output = io::Result<Io>> + Send + 'static,
    {
        let server = Server::bind("127.0.0.1:0", options).await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(
            async move { server.run_over(Router::new(), &SubscriberRegistry::<()>::new(), pending(), wrap).await },
        );
        TcpStream::connect(address).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn limits_a_head_has_one_deadline_with_all_that_comes_before_it() {
        let late = Duration::from_millis(9_500);
        for handshake in [Duration::ZERO, late] {
            let mut client = served_over(ServerOptions::new(), move |io| async move {
                sleep(handshake).await;
                Ok(io)
            })
            .await;
            let begun = Instant::now();
            sleep(late).await;
            client.write_all(b"G").await.unwrap();
            let _reset = client.read_to_end(&mut Vec::new()).await;
            assert!(begun.elapsed() < Duration::from_millis(10_100), "{:?} after {handshake:?}", begun.elapsed());
        }
        let server = Server::bind("127.0.0.1:0", ServerOptions::new()).await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(async move { server.run(Router::new(), &SubscriberRegistry::<()>::new(), pending::<()>()).await });
        let mut client = TcpStream::connect(address).await.unwrap();
        let begun = Instant::now();
        sleep(late).await;
        client.write_all(b"G").await.unwrap();
        let _reset = client.read_to_end(&mut Vec::new()).await;
        assert!(begun.elapsed() < Duration::from_millis(10_100), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn sse_5_a_socket_under_tls_is_tuned_like_any_other() {
        let (sender, mut sockets) = mpsc::unbounded_channel();
        let seven = Duration::from_secs(7);
        let options = [(ServerOptions::new(), 30), (ServerOptions::new().with_user_timeout(seven), 7)];
        for (options, seconds) in options {
            let sender = sender.clone();
            let _client = served_over(options, move |io: Io| {
                sender.send(io).unwrap();
                pending()
            })
            .await;
            let socket = sockets.recv().await.unwrap().into_socket();
            let timeout = SockRef::from(socket.tcp()).tcp_user_timeout().unwrap();
            assert_eq!(timeout, Some(Duration::from_secs(seconds)));
            assert!(socket.tcp().nodelay().unwrap(), "a message does not wait for the next");
        }
    }

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
            let (ours, mut peer) = duplex(64 * 1024);
            let (end, ending) = watch::channel(());
            let answer = |request: Request<Incoming>| {
                let endless = request.uri().path() != "/";
                let pending = futures_util::stream::pending::<Result<&str, Infallible>>();
                ready(Ok(Response::new(if endless { Body::from_stream(pending) } else { Body::empty() })))
            };
            let served = tokio::spawn(Http::new(head_timeout).serve(PREFACE, ours, answer, ending));
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
            // It may have gone meanwhile, which is seen by reading.
            let _gone = self.peer.write_all(&frame).await;
        }

        /// Asks for `/`, or for what never ends.
        async fn ask(&mut self, stream: u32, endless: bool) {
            // The fields of HPACK's static table, and a host.
            let path = if endless { 0x85 } else { 0x84 };
            self.send(HEADERS, 5, stream, &[0x82, 0x86, path, 0x41, 4, b'h', b'e', b'r', b'e']).await;
            assert_eq!(self.until(HEADERS).await, Some(stream));
        }

        /// Reads up to a frame of this kind, answering pings or not; its stream, or nothing at the end of the connection.
        async fn until(&mut self, kind: u8) -> Option<u32> {
            // On a clock that runs ahead when all wait: what never comes is soon missed.
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

        /// How it ended, when nothing of it is left to read.
        async fn ended(mut self) -> Ended {
            assert_eq!(self.until(DATA).await, None, "no data is left");
            self.served.await.unwrap()
        }
    }

    const TEN: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn limits_an_http2_peer_that_answers_no_ping_is_let_go() {
        let mut client = Http2::connect(TEN, false).await;
        client.ask(1, true).await;
        let begun = Instant::now();
        assert_eq!(client.ended().await, Ended::Over);
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
    async fn limits_an_idle_http2_peer_that_does_not_go_is_left() {
        let mut client = Http2::connect(TEN, false).await;
        client.ask(1, false).await;
        let begun = Instant::now();
        assert_eq!(client.ended().await, Ended::NoStream);
        assert_eq!(begun.elapsed().as_secs(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_an_http2_request_that_crosses_the_farewell_is_served() {
        let mut client = Http2::connect(TEN, false).await;
        client.ask(1, false).await;
        assert_eq!(client.until(GO_AWAY).await, Some(0));
        client.ask(3, true).await;
        sleep(GOODBYE * 2).await;
        assert!(!client.served.is_finished());
        let Http2 { peer, served, .. } = client;
        drop(peer);
        assert_eq!(served.await.unwrap(), Ended::Over);
    }

    #[tokio::test(start_paused = true)]
    async fn drn_3_an_idle_http2_connection_ends_with_the_server() {
        let mut client = Http2::connect(Duration::from_secs(60), true).await;
        client.ask(1, false).await;
        let begun = Instant::now();
        client.end.send_replace(());
        assert_eq!(client.ended().await, Ended::Over);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
