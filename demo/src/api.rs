//! The calls of the server.

use crate::app::App;
use crate::authoriser::{
    COOKIE, ENDED, SessionAuthoriser, credential, group_identity, is_addressable, scope_identity,
};
use crate::body::{JsonBody, MAX_BYTES_TOGETHER};
use crate::budget::Budget;
use crate::channels::Channels;
use crate::guard::{Guard, Reach, guard};
use crate::latest::Latest;
use crate::options::Options;
use crate::page;
use crate::payload::Live;
use crate::problem::Problem;
use crate::publish::{broadcast, broadcast_unnamed, send_to};
use crate::routes::{Call, Routes};
use crate::sessions::{Full, Id, Sessions, account_identity, session_identity};
use crate::stats::{channels, stats};
use crate::streams::{events, socket};
use crate::subscribers::{self, subscribers};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, middleware};
use registry_core::{Identity, RegistryOptions, Revocation, ScopeCap};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::num::NonZeroUsize;
use std::sync::Arc;
use tokio::time::Instant;
use transport_core::{LiveBuilder, Refusal, ServerMetrics};

/// Streams of one session; the oldest makes room. Enough for the tabs of a person, and a bound for
/// a page gone wild.
const STREAMS_PER_SESSION: NonZeroUsize = match NonZeroUsize::new(10) {
    Some(streams) => streams,
    None => unreachable!(),
};

/// The longest name of an account, in bytes.
const MAX_ACCOUNT_BYTES: usize = 128;

type Name = Result<Path<String>, PathRejection>;

/// Makes the state that the handlers share, and the routes.
fn parts(reach: Reach, options: &Options, server: ServerMetrics) -> (App, Routes) {
    let cap = ScopeCap::new(STREAMS_PER_SESSION);
    let registry = RegistryOptions::new().with_scope_cap(cap);
    let live = LiveBuilder::for_topics().with_registry_options(registry).build();
    let sessions = Arc::new(Sessions::new(options.max_sessions.get(), options.session_lifetime));
    let authoriser =
        SessionAuthoriser::new(sessions.clone(), options.open, options.authorise_delay);
    let routes = routes(options.open);
    let guard = Arc::new(Guard::new(reach, options.admin_token.clone(), routes.readable()));
    let app = App {
        live,
        sessions,
        authoriser: Arc::new(authoriser),
        latest: Arc::new(Latest::new()),
        bodies: Budget::new(MAX_BYTES_TOGETHER),
        guard,
        server,
    };
    (app, routes)
}

/// Makes the routes, the registry behind them, and the list of the calls. The statistics show the
/// counts of `server`.
pub(crate) fn app(
    reach: Reach,
    options: &Options,
    server: ServerMetrics,
) -> (Router, Live, Vec<Call>) {
    let (app, Routes { router, calls }) = parts(reach, options, server);
    let live = app.live.clone();
    let router = router
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "there is nothing at this address"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not know the method")
        })
        .layer(middleware::from_fn_with_state(app.guard.clone(), guard))
        .layer(middleware::map_response(page::protect))
        .with_state(app);
    (router, live, calls)
}

fn routes(open: bool) -> Routes {
    let routes = page::routes()
        .read("/events", events)
        .read("/ws", socket)
        .administer(Method::POST, "/api/sessions", sign_in)
        .administer(Method::DELETE, "/api/sessions/{id}", end_session)
        .administer(Method::DELETE, "/api/accounts/{account}", end_account)
        .administer(Method::PUT, "/api/accounts/{account}/channels", set_channels)
        .read("/api/session", current_session)
        .administer(Method::GET, "/api/channels", channels)
        .administer(Method::POST, "/api/channels/{channel}", broadcast)
        .administer(Method::POST, "/api/channels/", broadcast_unnamed)
        .administer(Method::POST, "/api/identities/{kind}/{value}/messages", send_to)
        .administer(Method::GET, "/api/subscribers", subscribers)
        .administer(Method::DELETE, "/api/subscribers/{id}", end_subscriber)
        .read("/api/stats", stats)
        .read("/healthz", async || Json(json!({ "status": "ok" })));
    if !open {
        return routes;
    }
    routes.administer(Method::DELETE, "/api/scopes/{scope}", end_scope).administer(
        Method::DELETE,
        "/api/groups/{group}",
        end_group,
    )
}

#[derive(Deserialize)]
struct SignIn {
    account: String,
    #[serde(default)]
    channels: Channels,
}

#[derive(Serialize)]
struct SignedIn<'a> {
    session: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    account: &'a str,
}

async fn sign_in(State(app): State<App>, body: JsonBody) -> Result<Response, Problem> {
    let SignIn { account, channels: Channels(channels) } = body.parse()?;
    if account.is_empty() || account.len() > MAX_ACCOUNT_BYTES {
        let reason = format!("an account's name has 1 to {MAX_ACCOUNT_BYTES} bytes");
        return Err(Refusal::bad_request(reason).into());
    }
    if !is_addressable(&account) {
        let reason = format!(
            "an account cannot be called {account:?}: no address could name it, so no call could \
             revoke it"
        );
        return Err(Refusal::bad_request(reason).into());
    }
    let session = app.sessions.sign_in(Instant::now(), &account, channels).map_err(full)?;
    let (token, id) = (session.token(), session.id.to_string());
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax");
    let body = SignedIn { session: &id, token: Some(&token), account: &session.account };
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie)], Json(body)).into_response())
}

fn full(full: Full) -> Refusal {
    let reason = match full {
        Full::Sessions => "too many sessions: end some first",
        Full::Lists => {
            "the lists of channels of all sessions are too long: end some sessions first"
        }
        Full::NoRandomness => "no random bits for a token",
    };
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason)
}

/// Returns which account is signed in, for the page, which cannot read its cookie: `204` without a
/// credential, `401` with one that is no longer good.
async fn current_session(State(app): State<App>, request: Parts) -> Result<Response, Refusal> {
    let Some(token) = credential(&request)? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let Some(session) = app.sessions.find(Instant::now(), &token) else {
        return Err(Refusal::unauthenticated(ENDED));
    };
    let id = session.id.to_string();
    Ok(Json(SignedIn { session: &id, token: None, account: &session.account }).into_response())
}

#[derive(Serialize)]
struct Closed {
    closed: usize,
}

// Each of the next three handlers changes the store first, so that later login checks fail. Then it
// closes the streams. A stream that passed its check but is not admitted yet is refused by its
// ticket.

async fn end_session(State(app): State<App>, id: Name) -> Result<Json<Closed>, Refusal> {
    let Some(id) = Id::parse(&name(id)?) else { return Ok(Json(Closed { closed: 0 })) };
    app.sessions.end(Instant::now(), id);
    Ok(close(&app, &session_identity(id), Revocation::LoggedOut))
}

async fn end_account(State(app): State<App>, account: Name) -> Result<Json<Closed>, Refusal> {
    let account = name(account)?;
    app.sessions.end_account(Instant::now(), &account);
    Ok(close(&app, &account_identity(&account), Revocation::Revoked))
}

#[derive(Deserialize)]
struct SetChannels {
    channels: Channels,
}

async fn set_channels(
    State(app): State<App>,
    account: Name,
    body: JsonBody,
) -> Result<Json<Closed>, Problem> {
    let account = name(account)?;
    let SetChannels { channels: Channels(channels) } = body.parse()?;
    app.sessions.set_channels(Instant::now(), &account, channels).map_err(full)?;
    Ok(close(&app, &account_identity(&account), Revocation::Revoked))
}

async fn end_scope(State(app): State<App>, scope: Name) -> Result<Json<Closed>, Refusal> {
    Ok(close(&app, &scope_identity(&name(scope)?), Revocation::Revoked))
}

async fn end_group(State(app): State<App>, group: Name) -> Result<Json<Closed>, Refusal> {
    Ok(close(&app, &group_identity(&name(group)?), Revocation::Revoked))
}

fn close(app: &App, identity: &Identity, revocation: Revocation) -> Json<Closed> {
    Json(Closed { closed: app.live.close_by_identity_as(identity, revocation) })
}

async fn end_subscriber(State(app): State<App>, id: Name) -> Result<Json<Closed>, Refusal> {
    Ok(Json(Closed { closed: subscribers::close(&app, &name(id)?) }))
}

fn name(path: Name) -> Result<String, Refusal> {
    let Path(name) = path.map_err(|error| Refusal::bad_request(error.body_text()))?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;
    use axum::body::Body;
    use axum::extract::{FromRequest, Request};
    use registry_core::{ChannelFilter, CloseReason, Message, Registration, SendOutcome, Sink};
    use std::sync::Mutex;

    async fn app() -> App {
        let server =
            transport_core::Server::bind("127.0.0.1:0", transport_core::ServerOptions::new())
                .await
                .unwrap();
        parts(Reach::Loopback, &Options::new(), server.metrics()).0
    }

    fn request(json: &'static str) -> Request {
        Request::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(json))
            .unwrap()
    }

    /// A stream that logs in again the moment it is closed.
    struct Returning {
        app: App,
        token: String,
        finds: Arc<Mutex<Vec<Option<ChannelFilter>>>>,
    }

    impl Sink<Payload> for Returning {
        fn send(&self, _: &Arc<Message<Payload>>) -> SendOutcome {
            SendOutcome::Accepted
        }

        fn close(&self, _: CloseReason) {
            let session = self.app.sessions.find(Instant::now(), &self.token);
            self.finds.lock().unwrap().push(session.map(|session| session.channels()));
        }
    }

    /// Signs in, opens such a stream, makes a call, and returns what the stream found.
    async fn login_that_crosses<T>(
        call: impl AsyncFnOnce(App, Id) -> T,
    ) -> Vec<Option<ChannelFilter>> {
        let app = app().await;
        let session = app.sessions.sign_in(Instant::now(), "ada", ChannelFilter::All).unwrap();
        let finds = Arc::new(Mutex::new(Vec::new()));
        let stream = Returning { app: app.clone(), token: session.token(), finds: finds.clone() };
        let registration = Registration::new()
            .with_scope(session.identity())
            .with_group(session.account_identity());
        let _subscription = app.live.subscribe_with(stream, registration).unwrap();
        call(app, session.id).await;
        let finds = finds.lock().unwrap();
        finds.clone()
    }

    #[tokio::test]
    async fn adm_1_the_store_is_changed_before_the_streams_are_closed() {
        let found = login_that_crosses(async |app, id| {
            end_session(State(app), Ok(Path(id.to_string()))).await
        });
        assert_eq!(found.await, [None]);
        let found = login_that_crosses(async |app, _| {
            end_account(State(app), Ok(Path("ada".into()))).await
        });
        assert_eq!(found.await, [None]);
        let found = login_that_crosses(async |app, _| {
            let body =
                JsonBody::from_request(request(r#"{"channels":["runs"]}"#), &app).await.unwrap();
            set_channels(State(app), Ok(Path("ada".into())), body)
                .await
                .map_err(IntoResponse::into_response)
                .unwrap()
        });
        assert_eq!(found.await, [Some(ChannelFilter::only(["runs"]))]);
    }

    #[tokio::test]
    async fn que_3_all_bodies_share_one_bound() {
        let mut app = app().await;
        app.bodies = Budget::new(5);
        let first = JsonBody::from_request(request("123"), &app).await.unwrap();
        let refused = JsonBody::from_request(request("456"), &app).await.err().unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        assert!(JsonBody::from_request(request("456"), &app).await.is_ok());
        assert_eq!(MAX_BYTES_TOGETHER, 64 << 20);
    }
}
