//! REV-11 for transports that admit by a ticket of their own, and know nothing of the server.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use hyper::body::Frame;
use registry_core::{
    CloseReason, Message, Next, Outbox, OutboxOptions, Registration, SendOutcome, Sink,
    Subscription, WireFormat,
};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use transport_core::test_util::{Raw, TestServer, account, until_is};
use transport_core::{Live, ServerOptions};

static PLAIN: WireFormat =
    WireFormat::new("plain", |_, encoded, out| out.extend_from_slice(encoded.body()));

/// A transport of someone else: it writes what the outbox has, and nothing at the end.
struct Stream(Outbox);

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_next(cx, Outbox::WRITE_BYTES).map(|next| match next {
            Next::Frames(batch) => Some(Ok(Frame::data(batch.frames.concat().into()))),
            Next::Closed(_) => None,
        })
    }
}

/// Hears everything and does nothing.
struct Deaf;

impl Sink<String> for Deaf {
    fn send(&self, _: &Arc<Message<String>>) -> SendOutcome {
        SendOutcome::Accepted
    }

    fn close(&self, _: CloseReason) {}
}

#[derive(Clone)]
struct App {
    live: Live<String>,
    sinks: Arc<Mutex<Vec<Subscription>>>,
}

fn hers() -> Registration {
    Registration::new().with_group(account("ada"))
}

async fn by_ticket(State(app): State<App>) -> Response {
    let ticket = app.live.draw_ticket();
    // As a transport does that admits once the connection is upgraded: in a task of its own.
    let admitted = async move { ticket.admit_outbox(&PLAIN, OutboxOptions::new(), hers()) };
    Response::new(Body::new(Stream(tokio::spawn(admitted).await.unwrap().unwrap())))
}

async fn without_ticket(State(app): State<App>) -> Response {
    let outbox = app.live.open_outbox(&PLAIN, OutboxOptions::new(), hers()).unwrap();
    Response::new(Body::new(Stream(outbox)))
}

async fn sink(State(app): State<App>, _: Request) -> Response {
    app.sinks.lock().unwrap().push(app.live.draw_ticket().admit(Deaf, hers()).unwrap());
    Response::new(Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>()))
}

#[tokio::test]
async fn rev_11_a_peer_that_does_not_read_is_reset_whichever_code_admitted_it() {
    let live = Live::<String>::new();
    let app = Router::new()
        .route("/ticket", get(by_ticket))
        .route("/none", get(without_ticket))
        .route("/sink", get(sink))
        .with_state(App { live: live.clone(), sinks: Arc::default() });
    let options = ServerOptions::new().with_close_deadline(Duration::from_millis(100));
    let server = TestServer::start(app, &live, options).await;
    for (resets, target) in [(1, "/ticket"), (2, "/none"), (3, "/sink")] {
        let (head, stalled) =
            Raw::connect_narrow(server.address).await.ask("GET", target, "").await;
        assert_eq!(head.status, 200);
        live.broadcast("c", "x".repeat(8 << 20)).unwrap();
        assert_eq!(live.close_by_identity(account("ada")), 1);
        until_is("the reset", resets, || server.metrics.stats().resets).await;
        stalled.read_to_reset().await;
    }
}

/// Subscribers that outlive the request that made them have no part in its connection.
#[tokio::test]
async fn rev_11_the_end_of_a_subscriber_leaves_later_requests_of_the_connection_alone() {
    let live = Live::<String>::new();
    let kept: Arc<Mutex<Vec<Subscription>>> = Arc::default();
    let streams = Arc::new(Mutex::new(Vec::new()));
    let (registry, subscriptions, consumers) = (live.clone(), kept.clone(), streams.clone());
    let watch = async move || {
        let stream = registry.stream(hers(), OutboxOptions::new()).unwrap();
        consumers.lock().unwrap().push(stream);
        "watching"
    };
    let (registry, revoking) = (live.clone(), live.clone());
    let subscribe = async move || {
        let subscription = registry.subscribe_with(Deaf, hers()).unwrap();
        subscriptions.lock().unwrap().push(subscription);
        "subscribed"
    };
    let revoke = async move || format!("ended {}", revoking.close_by_identity(account("ada")));
    let app = Router::new()
        .route("/watch", get(watch))
        .route("/subscribe", get(subscribe))
        .route("/revoke", get(revoke))
        .route("/", get(async || "still here"));
    let options = ServerOptions::new().with_close_deadline(Duration::from_millis(50));
    let server = TestServer::start(app, &live, options).await;
    let mut raw = Raw::connect(server.address).await;
    for target in ["/watch", "/subscribe", "/revoke", "/", "/"] {
        let head;
        (head, raw) = raw.ask("GET", target, "").await;
        assert_eq!(head.status, 200);
        raw.read_past(match target {
            "/watch" => "watching",
            "/subscribe" => "subscribed",
            "/revoke" => "ended 2",
            _ => "still here",
        })
        .await;
        tokio::time::sleep(Duration::from_millis(100)).await; // beyond the deadline
    }
    assert_eq!(server.metrics.stats().resets, 0);

    // A stream is in the process, so even the connection that asked for it stays.
    let (_, mut raw) = raw.ask("GET", "/watch", "").await;
    raw.read_past("watching").await;
    assert_eq!(live.close_by_identity(account("ada")), 1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (head, _raw) = raw.ask("GET", "/", "").await;
    assert_eq!((head.status, server.metrics.stats().resets), (200, 0));
}
