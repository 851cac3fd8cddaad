//! Bodies that can take the socket from hyper, and others.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Version, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use futures_util::StreamExt;
use hyper::body::{Body as _, Frame};
use registry_core::{Outbox, WireFormat};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use transport_core::test_util::{Raw, TestServer, Tokens, account, serve, soon, until_is};
use transport_core::{Asked, DirectSocket, Framing, Handover, Live, ServerOptions};

static PLAIN: WireFormat =
    WireFormat::new("plain", |_, encoded, out| out.extend_from_slice(encoded.body()));

struct Plain;

impl Framing for Plain {
    fn format(_: &Asked) -> &'static WireFormat {
        &PLAIN
    }
}

/// The outcome of a body's handover.
enum Outcome {
    /// The body has the socket, and the subscriber whose messages are written to it.
    Detached(DirectSocket, Option<Outbox>),
    /// hyper keeps the connection.
    Unproven,
}

/// Greets, then gives the socket to the test, or continues through hyper.
struct Greeting {
    handover: Option<Handover>,
    frames: std::vec::IntoIter<&'static str>,
    subscriber: Option<Outbox>,
    outcomes: mpsc::UnboundedSender<Outcome>,
}

impl hyper::body::Body for Greeting {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.frames.len() == 3 {
            if let Some(handover) = &mut this.handover {
                handover.arm(b"\r\n6\r\n: ok\n\n\r\n");
            }
        } else if let Some(handover) = &this.handover {
            if let Some(socket) = ready!(handover.poll_socket(cx)) {
                this.outcomes.send(Outcome::Detached(socket, this.subscriber.take())).unwrap();
                return Poll::Ready(None);
            }
            this.outcomes.send(Outcome::Unproven).unwrap();
            this.handover = None;
        }
        Poll::Ready(
            this.frames.next().map(|frame| Ok(Frame::data(Bytes::from_static(frame.as_bytes())))),
        )
    }
}

type Outcomes = mpsc::UnboundedReceiver<Outcome>;
/// The version of each request, and whether it had a handover.
type Requests = mpsc::UnboundedReceiver<(Version, bool)>;

struct Site {
    live: Live<String>,
    server: TestServer,
    outcomes: Outcomes,
    requests: Requests,
}

#[derive(Clone)]
struct Handler {
    live: Live<String>,
    tokens: Tokens,
    outcomes: mpsc::UnboundedSender<Outcome>,
    requests: mpsc::UnboundedSender<(Version, bool)>,
}

async fn greet(State(handler): State<Handler>, request: Request) -> Response {
    let close = request.uri().path() != "/kept";
    let (parts, _) = request.into_parts();
    let handover = Handover::of(&parts);
    handler.requests.send((parts.version, handover.is_some())).unwrap();
    let subscriber = match parts.uri.query() {
        Some(_) => {
            let entry = handler.live.entry(&parts).unwrap();
            let grant = entry.authorise(&handler.tokens, &parts).await.unwrap();
            Some(entry.admit::<Plain>(grant).unwrap().into_admitted().unwrap().outbox)
        }
        None => None,
    };
    let frames = vec![": ok\n\n", "one\n", "two\n"].into_iter();
    let mut response =
        Body::new(Greeting { handover, frames, subscriber, outcomes: handler.outcomes })
            .into_response();
    if close {
        response.headers_mut().insert(header::CONNECTION, "close".parse().unwrap());
    }
    response
}

/// Changes the bytes of each frame.
async fn shout(request: Request, next: Next) -> Response {
    next.run(request).await.map(|body| {
        let frames = body.into_data_stream();
        Body::from_stream(frames.map(|frame| frame.map(|frame| frame.to_ascii_uppercase())))
    })
}

/// Leaves the bytes of each frame, and cuts them otherwise.
async fn re_frame(request: Request, next: Next) -> Response {
    next.run(request).await.map(|body| {
        let frames = body.into_data_stream();
        Body::from_stream(frames.flat_map(|frame| {
            let frame = frame.unwrap();
            let (first, second) = (frame.slice(..2), frame.slice(2..));
            futures_util::stream::iter([Ok::<_, Infallible>(first), Ok(second)])
        }))
    })
}

/// Gives each frame when the next has come.
async fn lag(request: Request, next: Next) -> Response {
    next.run(request).await.map(|body| {
        let mut frames = body.into_data_stream();
        let mut held = None;
        let mut over = false;
        Body::from_stream(futures_util::stream::poll_fn(move |cx| {
            while !over {
                match ready!(frames.poll_next_unpin(cx)) {
                    Some(frame) => {
                        if let Some(former) = held.replace(frame) {
                            return Poll::Ready(Some(former));
                        }
                    }
                    None => over = true,
                }
            }
            Poll::Ready(held.take())
        }))
    })
}

fn app(handler: Handler) -> Router {
    Router::new()
        .route("/shout", any(greet).layer(from_fn(shout)))
        .route("/re-frame", any(greet).layer(from_fn(re_frame)))
        .route("/lag", any(greet).layer(from_fn(lag)))
        .fallback(greet)
        .with_state(handler)
}

impl Site {
    fn parts() -> (Live<String>, Router, Outcomes, Requests) {
        let (outcomes, receiver) = mpsc::unbounded_channel();
        let (requests, requested) = mpsc::unbounded_channel();
        let (live, tokens) = (Live::new(), Tokens::of(&["ada"]));
        let handler = Handler { live: live.clone(), tokens, outcomes, requests };
        (live, app(handler), receiver, requested)
    }

    async fn start(options: ServerOptions) -> Self {
        let (live, app, outcomes, requests) = Self::parts();
        let server = TestServer::start(app, &live, options).await;
        Self { live, server, outcomes, requests }
    }

    /// Sends bytes and reads the greeting, with its chunk's size.
    async fn greeted(&self, request: &str) -> Raw {
        let mut raw = Raw::connect(self.server.address).await;
        raw.tcp.write_all(request.as_bytes()).await.unwrap();
        let head = raw.read_past("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(raw.read_past(": ok\n\n\r\n").await, "6\r\n: ok\n\n\r\n");
        raw
    }

    async fn detached(&mut self) -> (DirectSocket, Option<Outbox>) {
        match soon("the body's turn", self.outcomes.recv()).await.unwrap() {
            Outcome::Detached(socket, subscriber) => (socket, subscriber),
            Outcome::Unproven => panic!("not proven"),
        }
    }

    /// All that a client reads, whose body must stay with hyper.
    async fn unproven(&mut self, request: &str) -> String {
        let mut raw = Raw::connect(self.server.address).await;
        raw.tcp.write_all(request.as_bytes()).await.unwrap();
        let read = raw.read_to_end().await;
        assert!(matches!(self.outcomes.try_recv(), Ok(Outcome::Unproven)));
        assert!(self.outcomes.try_recv().is_err());
        read.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

const GET: &str = "GET / HTTP/1.1\r\nhost: here\r\n\r\n";

/// The body that a client must read through hyper.
const PORTABLE: &str = "6\r\n: ok\n\n\r\n4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n";

#[tokio::test]
async fn rev_12_a_body_gets_the_socket_and_hyper_writes_nothing_more() {
    let mut site = Site::start(ServerOptions::new()).await;
    let mut raw = site.greeted(GET).await;
    let (socket, _) = site.detached().await;
    assert_eq!(socket.try_send(b"by send").unwrap(), 7);
    assert_eq!(socket.try_write(b", by write").unwrap(), 10);
    raw.tcp.write_all(b"back").await.unwrap();
    soon("bytes", poll_fn(|cx| socket.poll_read_ready(cx))).await.unwrap();
    let mut read = [0; 8];
    assert_eq!(socket.try_read(&mut read).unwrap(), 4);
    assert_eq!(socket.try_read(&mut read).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    socket.shutdown_write().unwrap();
    assert_eq!(raw.read_to_end().await, "by send, by write");
}

/// hyper has released the socket when the test's handle is the last.
async fn is_released(request: &str, more: &str) {
    let mut site = Site::start(ServerOptions::new()).await;
    let mut raw = site.greeted(request).await;
    let (socket, _) = site.detached().await;
    raw.tcp.write_all(more.as_bytes()).await.unwrap();
    assert_eq!(socket.try_send(b"!").unwrap(), 1);
    assert_eq!(raw.read_past("!").await, "!");
    assert_eq!(site.server.metrics.stats().open, 1);
    drop(socket);
    until_is("hyper's end", 0, || site.server.metrics.stats().open).await;
    assert_eq!(raw.read_to_end().await, "");
    assert_eq!(
        (site.requests.recv().await, site.requests.try_recv().ok()),
        (Some((Version::HTTP_11, true)), None)
    );
}

#[tokio::test]
async fn rev_12_hyper_releases_a_detached_socket() {
    is_released(GET, "").await;
}

#[tokio::test]
async fn rev_12_hyper_releases_the_socket_of_a_peer_that_keeps_sending() {
    is_released(GET, "more than it should").await;
}

#[tokio::test]
async fn rev_12_hyper_serves_no_request_that_came_before_the_socket_was_detached() {
    is_released(&GET.repeat(3), GET).await;
}

#[tokio::test]
async fn rev_12_hyper_releases_the_socket_of_a_peer_whose_request_is_unfinished() {
    let long = "POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 1000\r\n\r\nbegin";
    is_released(long, "more").await;
    let endless =
        "POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegin\r\n";
    is_released(endless, "4\r\nmore\r\n").await;
    is_released("POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 5\r\n\r\nbegin", GET).await;
    // A peer that waits for `100 Continue` gets none.
    let patient =
        "POST / HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    is_released(patient, "").await;
    is_released(patient, "begin").await;
}

#[tokio::test]
async fn sse_1_a_body_without_proof_continues_through_hyper() {
    let mut site = Site::start(ServerOptions::new()).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n");
    assert_eq!(
        site.unproven(&get("/shout")).await,
        PORTABLE.replace("ok", "OK").replace("one", "ONE").replace("two", "TWO")
    );
    assert_eq!(site.unproven(&get("/lag")).await, PORTABLE);
    let cut = "2\r\n: \r\n4\r\nok\n\n\r\n2\r\non\r\n2\r\ne\n\r\n2\r\ntw\r\n2\r\no\n\r\n0\r\n\r\n";
    assert_eq!(site.unproven(&get("/re-frame")).await, cut);
}

#[tokio::test]
async fn sse_1_a_connection_that_is_kept_is_not_detached() {
    let mut site = Site::start(ServerOptions::new()).await;
    let kept = "GET /kept HTTP/1.1\r\nhost: here\r\n\r\n";
    assert_eq!(site.unproven(kept).await, PORTABLE);
    // The response to another request on the same connection may be.
    let mut raw = Raw::connect(site.server.address).await;
    raw.tcp.write_all(format!("{kept}{GET}").as_bytes()).await.unwrap();
    raw.read_past(PORTABLE).await;
    assert!(matches!(soon("the first", site.outcomes.recv()).await, Some(Outcome::Unproven)));
    raw.read_past(": ok\n\n\r\n").await;
    let (socket, _) = site.detached().await;
    assert_eq!(socket.try_send(b"!").unwrap(), 1);
    assert_eq!(raw.read_past("!").await, "!");
}

#[tokio::test]
async fn sse_1_hyper_answers_http_1_0_and_head_requests() {
    let mut site = Site::start(ServerOptions::new()).await;
    let mut old = Raw::connect(site.server.address).await;
    old.tcp.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(old.read_to_end().await.ends_with("\r\n\r\n: ok\n\none\ntwo\n"));
    assert_eq!(site.requests.recv().await, Some((Version::HTTP_10, false)));
    let (head, raw) = Raw::request(site.server.address, "HEAD", "/", "").await;
    assert_eq!((head.status, raw.read_to_end().await.as_str()), (200, ""));
    assert!(site.outcomes.try_recv().is_err());
    until_is("the end of both", 0, || site.server.metrics.stats().open).await;
}

#[tokio::test]
async fn sse_1_other_servers_and_wrapped_sockets_offer_no_handover() {
    let (live, app, mut outcomes, mut requests) = Site::parts();
    let (wrapped, _) = TestServer::start_counted(app.clone(), &live).await;
    for address in [wrapped.address, serve(app).await] {
        let mut raw = Raw::connect(address).await;
        raw.tcp.write_all(GET.as_bytes()).await.unwrap();
        assert!(raw.read_to_end().await.ends_with(PORTABLE));
        assert_eq!(requests.recv().await, Some((Version::HTTP_11, false)));
    }
    assert!(outcomes.try_recv().is_err());
}

#[tokio::test]
async fn drn_3_the_server_counts_detached_sockets_waits_for_them_and_resets_them() {
    let one = NonZeroUsize::new(1).unwrap();
    let mut site = Site::start(ServerOptions::new().with_max_connections(one)).await;
    let raw = site.greeted(GET).await;
    let (socket, _) = site.detached().await;
    let (second, _) = Raw::get(site.server.address, "/").await;
    assert_eq!((second.status, site.server.metrics.stats().refused), (503, 1));
    let ended = tokio::spawn(site.server.stop());
    // The server's end waits for the socket: dropped here, after which it can end at once, long
    // before its deadline.
    socket.try_send(b"farewell").unwrap();
    drop(socket);
    assert_eq!(soon("the end", ended).await.unwrap().reset, 0);
    assert_eq!(raw.read_to_end().await, "farewell");

    let mut site =
        Site::start(ServerOptions::new().with_drain_deadline(Duration::from_millis(50))).await;
    let raw = site.greeted(GET).await;
    let (_socket, _) = site.detached().await;
    assert_eq!(site.server.stop().await.reset, 1);
    raw.read_to_reset().await;
}

#[tokio::test]
async fn rev_11_a_detached_socket_is_reset_at_the_deadline() {
    let mut site =
        Site::start(ServerOptions::new().with_close_deadline(Duration::from_millis(50))).await;
    let raw = site.greeted("GET /?token=ada HTTP/1.1\r\nhost: here\r\n\r\n").await;
    let (socket, subscriber) = site.detached().await;
    assert_eq!(site.live.close_by_identity(account("ada")), 1);
    until_is("the reset", 1, || site.server.metrics.stats().resets).await;
    raw.read_to_reset().await;
    drop((socket, subscriber));
    until_is("the end of the connection", 0, || site.server.metrics.stats().open).await;
}

#[tokio::test]
async fn rev_11_a_revoked_peer_that_ends_its_side_is_reset_before_any_deadline() {
    let mut site =
        Site::start(ServerOptions::new().with_close_deadline(Duration::from_secs(3600))).await;
    let mut raw = site.greeted("GET /?token=ada HTTP/1.1\r\nhost: here\r\n\r\n").await;
    let held = site.detached().await;
    assert_eq!(site.live.close_by_identity(account("ada")), 1);
    raw.tcp.shutdown().await.unwrap();
    raw.read_to_reset().await;
    drop(held);
    assert_eq!(site.server.metrics.stats().resets, 0, "the peer left by itself");
}

/// Drops the body after its greeting, before hyper writes that or after it, and then ends.
async fn forget(before: bool) -> String {
    let (live, app, _outcomes, _requests) = Site::parts();
    let app = app.layer(from_fn(move |request: Request, next: Next| async move {
        next.run(request).await.map(|body| {
            let (mut body, mut polls) = (Box::pin(body), 0);
            Body::from_stream(futures_util::stream::poll_fn(move |cx| {
                polls += 1;
                if polls == 1 {
                    let greeting = ready!(body.as_mut().poll_frame(cx));
                    return Poll::Ready(
                        greeting.map(|frame| frame.map(|frame| frame.into_data().unwrap())),
                    );
                }
                if before || polls == 3 {
                    body = Box::pin(Body::empty());
                }
                if polls == 3 {
                    return Poll::Ready(None);
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            }))
        })
    }));
    let server = TestServer::start(app, &live, ServerOptions::new()).await;
    let mut raw = Raw::connect(server.address).await;
    raw.tcp.write_all(GET.as_bytes()).await.unwrap();
    let mut read = String::new();
    soon("the end", raw.tcp.read_to_string(&mut read)).await.unwrap();
    until_is("the end of the connection", 0, || server.metrics.stats().open).await;
    read.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test]
async fn sse_5_a_body_that_is_dropped_while_it_waits_leaves_the_connection_to_hyper() {
    assert_eq!(forget(true).await, "6\r\n: ok\n\n\r\n0\r\n\r\n");
}

#[tokio::test]
async fn sse_5_a_body_that_is_dropped_with_the_socket_closes_it() {
    assert_eq!(forget(false).await, "6\r\n: ok\n\n\r\n");
}
