//! The tickets of requests, wherever they are drawn, and refusals for clients that cannot read a
//! status.

use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use registry_core::{ChannelFilter, Identity, WireFormat};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;
use transport_core::test_util::{Raw, TestServer};
use transport_core::{Asked, Entered, Entry, Framing, Grant, Live, Refusal, ServerOptions};

static PLAIN: WireFormat =
    WireFormat::new("plain", |_, encoded, out| out.extend_from_slice(encoded.body()));

#[derive(Debug)]
struct Plain;

impl Framing for Plain {
    fn format(_: &Asked) -> &'static WireFormat {
        &PLAIN
    }
}

fn ada() -> Identity {
    Identity::new("account", "ada")
}

/// The user, as the session middleware found it.
#[derive(Clone)]
struct User(Identity);

/// The sessions of an application. Each look at them is followed by a log-out: the worst moment.
#[derive(Clone)]
struct Sessions {
    live: Live<String>,
    ada_is_signed_in: Arc<Mutex<bool>>,
    subscribers: Arc<Mutex<Vec<Entered<Plain>>>>,
}

impl Sessions {
    fn new(live: &Live<String>) -> Self {
        let (signed_in, subscribers) = (Arc::new(Mutex::new(true)), Arc::default());
        Self { live: live.clone(), ada_is_signed_in: signed_in, subscribers }
    }

    fn log_out(&self) {
        *self.ada_is_signed_in.lock().unwrap() = false;
        self.live.close_by_identity(ada());
    }

    /// Reads the session, and then it ends.
    async fn middleware(self, mut request: Request, next: Next) -> Response {
        let signed_in = *self.ada_is_signed_in.lock().unwrap();
        if !signed_in {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        request.extensions_mut().insert(User(ada()));
        self.log_out();
        next.run(request).await
    }

    fn router(&self) -> Router {
        let (sessions, subscribers) = (self.clone(), self.subscribers.clone());
        let events = async move |entry: Entry<String>, Extension(User(user)): Extension<User>| {
            let grant = Grant::new(ChannelFilter::All).with_group(user);
            subscribers.lock().unwrap().push(entry.admit::<Plain>(grant)?);
            Ok::<_, Refusal>("admitted")
        };
        let session = from_fn(move |request, next| sessions.clone().middleware(request, next));
        Router::new().route("/events", get(events)).layer(session)
    }
}

/// A service of a function, with a body that is not axum's.
#[derive(Clone)]
struct ServiceFn<F>(F);

fn tower_service_fn<F, A>(function: F) -> ServiceFn<F>
where
    F: Fn(Request) -> A,
{
    ServiceFn(function)
}

impl<F, A, R, E> Service<Request> for ServiceFn<F>
where
    F: Fn(Request) -> A,
    A: Future<Output = Result<R, E>> + Send + 'static,
{
    type Response = R;
    type Error = E;
    type Future = A;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> A {
        (self.0)(request)
    }
}

fn http_answer(status: StatusCode) -> axum::http::Response<String> {
    let mut answer = axum::http::Response::new("text".to_owned());
    *answer.status_mut() = status;
    answer
}

async fn ask(app: &Router, request: Request) -> Response {
    let Ok(response) = app.clone().call(request).await;
    response
}

fn request(target: &str) -> Request {
    Request::get(target).body(Body::empty()).unwrap()
}

/// A request as an `EventSource` makes it.
fn event_source(target: &str) -> Request {
    Request::get(target).header("accept", "text/event-stream").body(Body::empty()).unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 9_999).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn adm_7_a_ticket_that_is_drawn_outside_of_the_middleware_refuses_what_it_let_through() {
    let live = Live::<String>::new();
    let sessions = Sessions::new(&live);
    let app = sessions.router().layer(live.entry_layer());
    assert_eq!(ask(&app, request("/events")).await.status(), 503);
    assert_eq!(ask(&app, request("/events")).await.status(), 401, "and the next attempt is");
    assert!(live.is_empty());
}

/// The negative control: the promise needs the place of the layer.
#[tokio::test]
async fn adm_7_a_ticket_that_is_drawn_within_the_middleware_comes_too_late() {
    let live = Live::<String>::new();
    let sessions = Sessions::new(&live);
    let subscribers = sessions.subscribers.clone();
    let events = async move |entry: Entry<String>, Extension(User(user)): Extension<User>| {
        let grant = Grant::new(ChannelFilter::All).with_group(user);
        subscribers.lock().unwrap().push(entry.admit::<Plain>(grant)?);
        Ok::<_, Refusal>("admitted")
    };
    let session = from_fn(move |request, next| sessions.clone().middleware(request, next));
    let app = Router::new().route("/events", get(events)).layer(live.entry_layer()).layer(session);
    assert_eq!(ask(&app, request("/events")).await.status(), 200);
    assert_eq!(live.len(), 1, "a subscriber with a dead credential");
}

#[tokio::test]
async fn adm_7_a_server_draws_tickets_before_every_layer() {
    let live = Live::<String>::new();
    let app = Sessions::new(&live).router();
    let server = TestServer::start(app, &live, ServerOptions::new()).await;
    assert_eq!(Raw::get(server.address, "/events").await.0.status, 503);
    assert_eq!(Raw::get(server.address, "/events").await.0.status, 401);
    assert!(live.is_empty());
}

async fn entered(entry: Entry<String>) -> Result<&'static str, Refusal> {
    entry.admit::<Plain>(Grant::new(ChannelFilter::All)).map(|_| "admitted")
}

/// The status of each path.
async fn statuses(app: &Router, paths: &[&str]) -> Vec<u16> {
    let mut all = Vec::new();
    for path in paths {
        all.push(ask(app, request(path)).await.status().as_u16());
    }
    all
}

#[tokio::test]
async fn adm_7_a_layer_covers_what_was_added_to_the_router_before_it() {
    let live = Live::<String>::new();
    let route = || Router::new().route("/x", get(entered));
    let app = route()
        .merge(Router::new().route("/merged", get(entered)))
        .nest("/nested", route())
        .fallback(get(entered))
        .layer(live.entry_layer());
    let covered = ["/x", "/merged", "/nested/x", "/nowhere"];
    assert_eq!(statuses(&app, &covered).await, [200; 4]);

    let app = route()
        .layer(live.entry_layer())
        .route("/later", get(entered))
        .merge(Router::new().route("/merged", get(entered)))
        .fallback(get(entered));
    assert_eq!(
        statuses(&app, &["/x", "/later", "/merged", "/nowhere"]).await,
        [200, 500, 500, 500]
    );
    let answer = text(ask(&app, request("/later")).await).await;
    assert!(answer.contains("live.entry_layer()"), "{answer}");
}

/// Around a whole router, and around a service that can fail and has a body of its own.
#[tokio::test]
async fn adm_7_a_layer_goes_around_any_service() {
    let live = Live::<String>::new();
    let routes = Router::new().route("/x", get(entered));
    let app = Router::new().fallback_service(live.entry_layer().layer(routes.clone()));
    assert_eq!(statuses(&app, &["/x", "/nowhere"]).await, [200, 404]);
    let app = Router::new().route_service("/x", get(entered).layer(live.entry_layer()));
    assert_eq!(statuses(&app, &["/x"]).await, [200]);
    let app = routes.route_layer(live.entry_layer());
    assert_eq!(statuses(&app, &["/x", "/nowhere"]).await, [200, 404]);

    let fallible = tower_service_fn(async |request: Request| match request.uri().path() {
        "/fails" => Err("out of order"),
        "/busy" => Ok(http_answer(StatusCode::SERVICE_UNAVAILABLE)),
        _ => Ok(http_answer(StatusCode::OK)),
    });
    let mut service = live.entry_layer().layer(fallible);
    assert_eq!(service.call(request("/fails")).await.unwrap_err(), "out of order");
    assert_eq!(service.call(request("/")).await.unwrap().status(), 200);
    let busy = service.call(event_source("/busy")).await.unwrap();
    assert!(text(busy).await.contains("\"status\":503}"));
    assert_eq!(live.stats().tickets, 0);
}

/// A panic within the layer is the server's to answer; the ticket is not left behind.
#[tokio::test]
async fn adm_7_a_panic_within_the_layer_frees_the_ticket() {
    let live = Live::<String>::new();
    let broken = async |_: Entry<String>| -> &'static str { panic!("a bug of the application") };
    let app = Router::new().route("/", get(broken)).layer(live.entry_layer());
    let asked = tokio::spawn(async move { ask(&app, request("/")).await });
    assert!(asked.await.unwrap_err().is_panic());
    assert_eq!(live.stats().tickets, 0);
}

#[tokio::test]
async fn adm_7_a_request_that_is_built_anew_is_refused_and_a_clone_is_admitted_once() {
    let live = Live::<String>::new();
    let anew = from_fn(async |request: Request, next: Next| {
        next.run(Request::get(request.uri()).body(Body::empty()).unwrap()).await
    });
    let app = Router::new().route("/", get(entered)).layer(anew).layer(live.entry_layer());
    assert_eq!(ask(&app, request("/")).await.status(), 500);

    let retry = from_fn(async |request: Request, next: Next| {
        let (parts, _) = request.into_parts();
        let again = Request::from_parts(parts.clone(), Body::empty());
        let first = next.clone().run(Request::from_parts(parts, Body::empty())).await;
        assert_eq!(first.status(), 200);
        next.run(again).await
    });
    let app = Router::new().route("/", get(entered)).layer(retry).layer(live.entry_layer());
    assert_eq!(ask(&app, request("/")).await.status(), 500);

    let twice = async |_: Entry<String>, _: Entry<String>| "admitted";
    let app = Router::new().route("/", get(twice)).layer(live.entry_layer());
    let answer = ask(&app, event_source("/")).await;
    assert_eq!(answer.status(), 500, "a browser is not asked to try again for ever");
    assert!(text(answer).await.contains("one `Entry`"));
    assert_eq!(live.stats().tickets, 0);
}

#[tokio::test]
async fn adm_2_a_transient_refusal_is_an_event_stream_for_clients_that_cannot_read_a_status() {
    let live = Live::<String>::new();
    let app = Sessions::new(&live).router().layer(live.entry_layer());
    let response = ask(&app, event_source("/events")).await;
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (StatusCode::OK, &HeaderValue::from_static("text/event-stream"))
    );
    let stream = text(response).await;
    assert!(stream.starts_with("retry: 1"), "{stream}");
    assert!(
        stream.ends_with("event: close\ndata: {\"reason\":\"unavailable\",\"status\":503}\n\n"),
        "{stream}"
    );
    assert!(!stream.contains("id:"), "{stream}");
    assert_eq!(live.admission_stats().refusals, [(503, 1)].into(), "counted as what it stands for");
    assert_eq!(ask(&app, event_source("/events")).await.status(), 401, "that one is meant to last");
}

#[tokio::test]
async fn adm_2_answers_of_the_application_are_softened_by_their_status_alone() {
    let live = Live::<String>::new();
    let limited = async || {
        let headers = [(header::RETRY_AFTER, "7"), (header::VARY, "origin")];
        (StatusCode::TOO_MANY_REQUESTS, headers, "slow down")
    };
    let app = Router::new()
        .route("/limited", get(limited))
        .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .route("/gateway", get(async || StatusCode::BAD_GATEWAY))
        .route("/json", get(async || (StatusCode::SERVICE_UNAVAILABLE, Json("away"))))
        .layer(live.entry_layer());
    let response = ask(&app, event_source("/limited")).await;
    assert_eq!(
        (response.status(), &response.headers()["vary"]),
        (StatusCode::OK, &HeaderValue::from_static("origin"))
    );
    assert!(!response.headers().contains_key("retry-after"));
    let stream = text(response).await;
    let retry = stream.lines().next().and_then(|line| line.strip_prefix("retry: ")).unwrap();
    assert!((7_000..=14_000).contains(&retry.parse::<u32>().unwrap()), "{stream}");
    assert!(stream.contains("\"status\":429}"), "{stream}");
    let json = ask(&app, event_source("/json")).await;
    assert!(text(json).await.contains("\"status\":503}"));
    let soft = [(429, 1), (503, 1)].into();
    assert_eq!(live.admission_stats().refusals, soft, "counted as what they stand for");
    for (path, status) in [("/broken", 500), ("/gateway", 502)] {
        assert_eq!(ask(&app, event_source(path)).await.status(), status, "{path}");
    }
    assert_eq!(ask(&app, request("/limited")).await.status(), 429);
    let head = Request::builder().method(Method::HEAD).uri("/limited");
    let head = head.header("accept", "text/event-stream").body(Body::empty()).unwrap();
    assert_eq!(ask(&app, head).await.status(), 429);
}

/// The application words the library's refusal in its own way, or swallows it.
#[tokio::test]
async fn adm_2_a_refusal_is_counted_once_whatever_the_application_makes_of_it() {
    let live = Live::<String>::new();
    let reworded = async |entry: Entry<String>| {
        entry.live().close_by_identity(ada());
        let grant = Grant::new(ChannelFilter::All).with_group(ada());
        let refusal = entry.admit::<Plain>(grant).expect_err("it was revoked meanwhile");
        (refusal.status(), "in other words")
    };
    let app = Router::new().route("/", get(reworded)).layer(live.entry_layer());
    assert_eq!(ask(&app, event_source("/")).await.status(), 200);
    assert_eq!(live.admission_stats().refusals, [(503, 1)].into());
    assert_eq!(ask(&app, request("/")).await.status(), 503);
    assert_eq!(live.admission_stats().refusals, [(503, 2)].into());
}

#[tokio::test]
async fn adm_2_a_handler_that_panics_is_refused_softly_by_a_server() {
    let live = Live::<String>::new();
    let broken = async || -> &'static str { panic!("a bug of the application") };
    let app = Router::new().route("/", get(broken)).route("/entry", get(entered));
    let server = TestServer::start(app, &live, ServerOptions::new()).await;
    assert_eq!(Raw::get(server.address, "/").await.0.status, 500);
    let accept = "accept: text/event-stream\r\n";
    let (head, mut raw) = Raw::request(server.address, "GET", "/", accept).await;
    assert_eq!(head.status, 200);
    assert!(raw.read_past("}\n\n").await.contains("\"status\":500}"));
    assert_eq!(server.metrics.stats().panics, 2);
    assert_eq!(live.admission_stats().refusals, [(500, 1)].into(), "the soft one");
    assert_eq!(Raw::get(server.address, "/entry").await.0.status, 200);
}
