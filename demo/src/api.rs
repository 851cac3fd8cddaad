//! The calls of the server.

use crate::authoriser::{COOKIE, SessionAuthoriser, credential, group_identity, scope_identity};
use crate::body::JsonBody;
use crate::guard::{Guard, Reach, guard};
use crate::problem::Problem;
use crate::sessions::{Sessions, SignInError, account_identity, session_identity};
use crate::{Options, Payload, Registry, page};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router, middleware};
use registry_core::{ChannelFilter, CloseReason, Identity, RegistryOptions, Revocation, ScopeCap};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use transport_core::{Live, Refusal, ServerMetrics};
use transport_sse::{SSE, sse};
use transport_ws::{WS, ws};

/// Streams of one session; the oldest makes room. Enough for the tabs of a person, and a bound for a page gone wild.
const STREAMS_PER_SESSION: NonZeroUsize = match NonZeroUsize::new(10) {
    Some(streams) => streams,
    None => unreachable!(),
};

/// The longest name of an account, in bytes.
const MAX_ACCOUNT_BYTES: usize = 128;

/// How many channels a session may be restricted to.
const MAX_CHANNELS: usize = 100;

/// What the handlers share.
#[derive(Clone)]
struct App {
    registry: Registry,
    live: Live<Payload>,
    sessions: Arc<Sessions>,
    server: ServerMetrics,
}

type Name = Result<Path<String>, PathRejection>;

/// Makes the server's routes, and the registry behind them. `server` is whose counts the statistics show.
pub fn app(reach: Reach, options: &Options, server: ServerMetrics) -> (Router, Registry) {
    let cap = ScopeCap::new(STREAMS_PER_SESSION);
    let registry = Registry::with_options(RegistryOptions::new().with_scope_cap(cap));
    let sessions = Arc::new(Sessions::default());
    let live = Live::new(registry.clone(), SessionAuthoriser::new(sessions.clone(), options.open));
    let mut routes = page::routes()
        .route("/events", sse(&live))
        .route("/ws", ws(&live))
        .route("/api/sessions", post(sign_in))
        .route("/api/sessions/{id}", delete(end_session))
        .route("/api/accounts/{account}", delete(end_account))
        .route("/api/session", get(who_am_i))
        .route("/api/channels/{channel}", post(broadcast))
        .route("/api/channels/", post(broadcast_unnamed))
        .route("/api/stats", get(stats))
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))));
    if options.open {
        routes = routes.route("/api/scopes/{scope}", delete(end_scope)).route("/api/groups/{group}", delete(end_group));
    }
    let guarding = Arc::new(Guard::new(reach, options.admin_token.clone()));
    let router = routes
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "there is nothing at this address"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not know the method")
        })
        .layer(middleware::from_fn_with_state(guarding, guard))
        .layer(middleware::map_response(page::protect))
        .with_state(App { registry: registry.clone(), live, sessions, server });
    (router, registry)
}

#[derive(Deserialize)]
struct SignIn {
    account: String,
    /// What the session may hear; every channel when absent.
    channels: Option<Vec<String>>,
}

#[derive(Serialize)]
struct SignedIn<'a> {
    session: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    account: &'a str,
}

async fn sign_in(State(app): State<App>, body: JsonBody) -> Result<Response, Problem> {
    let SignIn { account, channels } = body.parse()?;
    if account.is_empty() || account.len() > MAX_ACCOUNT_BYTES {
        let reason = format!("an account's name has 1 to {MAX_ACCOUNT_BYTES} bytes");
        return Err(Refusal::bad_request(reason).into());
    }
    if channels.as_ref().is_some_and(|names| names.len() > MAX_CHANNELS) {
        return Err(Refusal::bad_request(format!("too many channels: {MAX_CHANNELS} at most")).into());
    }
    let channels = channels.map_or(ChannelFilter::All, ChannelFilter::only);
    let session = app.sessions.sign_in(account, channels).map_err(|error| {
        let reason = match error {
            SignInError::Full => "too many sessions: end some first",
            SignInError::NoRandomness => "no random bits for a token",
        };
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason)
    })?;
    let token = session.token();
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax");
    let body = SignedIn { session: &session.id, token: Some(&token), account: &session.account };
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie)], Json(body)).into_response())
}

/// Tells the page, which cannot read its cookie, who it is signed in as; `204` when as nobody.
async fn who_am_i(State(app): State<App>, headers: HeaderMap) -> Response {
    match credential(&headers).and_then(|token| app.sessions.find(token)) {
        Some(session) => {
            let body = SignedIn { session: &session.id, token: None, account: &session.account };
            Json(body).into_response()
        }
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

// The order in the next two is the whole point. First the token dies, for every login check from now on; then the streams
// are closed. A stream that passed its check before and has not been admitted yet is refused by its ticket.

#[derive(Serialize)]
struct Closed {
    closed: usize,
}

async fn end_session(State(app): State<App>, id: Name) -> Result<Json<Closed>, Refusal> {
    let id = name(id)?;
    app.sessions.end(&id);
    Ok(close(&app, &session_identity(&id), Revocation::LoggedOut))
}

async fn end_account(State(app): State<App>, account: Name) -> Result<Json<Closed>, Refusal> {
    let account = name(account)?;
    app.sessions.end_account(&account);
    Ok(close(&app, &account_identity(&account), Revocation::Revoked))
}

async fn end_scope(State(app): State<App>, scope: Name) -> Result<Json<Closed>, Refusal> {
    Ok(close(&app, &scope_identity(&name(scope)?), Revocation::Revoked))
}

async fn end_group(State(app): State<App>, group: Name) -> Result<Json<Closed>, Refusal> {
    Ok(close(&app, &group_identity(&name(group)?), Revocation::Revoked))
}

fn close(app: &App, identity: &Identity, revocation: Revocation) -> Json<Closed> {
    Json(Closed { closed: app.registry.close_by_identity_as(identity, revocation) })
}

/// A [`Report`](registry_core::Report).
#[derive(Serialize)]
struct Sent {
    id: String,
    matched: usize,
    accepted: usize,
    dropped: usize,
    lagged: usize,
    failed: usize,
    ended: usize,
    pending: usize,
}

async fn broadcast(State(app): State<App>, channel: Name, body: JsonBody) -> Result<Response, Problem> {
    broadcast_to(&app, &name(channel)?, &body).await
}

/// `""` is a channel like any other, but no segment of a path.
async fn broadcast_unnamed(State(app): State<App>, body: JsonBody) -> Result<Response, Problem> {
    broadcast_to(&app, "", &body).await
}

async fn broadcast_to(app: &App, channel: &str, body: &JsonBody) -> Result<Response, Problem> {
    // Whoever asks faster than the sockets take it waits here.
    app.registry.caught_up().await;
    let report = app
        .registry
        .broadcast(channel, body.parse::<Payload>()?)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let body = Sent {
        id: report.id.to_string(),
        matched: report.matched,
        accepted: report.accepted,
        dropped: report.dropped,
        lagged: report.lagged,
        failed: report.failed,
        ended: report.ended,
        pending: report.pending,
    };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// [`Stats`](registry_core::Stats), with zeros where nothing was counted yet.
#[derive(Serialize)]
struct Counts {
    sessions: usize,
    accounts: usize,
    subscribers: usize,
    draining: usize,
    transports: BTreeMap<&'static str, usize>,
    /// Channels that a subscriber names.
    channels_named: usize,
    /// Subscribers that hear every channel.
    unfiltered: usize,
    /// Streams that ended, by reason.
    closed: BTreeMap<&'static str, u64>,
    /// Streams that were refused, by status.
    refused: BTreeMap<u16, u64>,
    broadcasts: u64,
    dropped: u64,
    tickets: usize,
    remembered_revocations: usize,
    lanes: Lanes,
    connections: Connections,
}

/// The streams whose sockets are the library's, and what its flushers wrote to them.
#[derive(Serialize)]
struct Lanes {
    subscribers: usize,
    wired: usize,
    writes: u64,
    messages: u64,
}

/// [`ServerMetrics`].
#[derive(Serialize)]
struct Connections {
    open: usize,
    accepted: u64,
    refused: u64,
    slow_heads: u64,
    panics: u64,
    resets: u64,
}

async fn stats(State(app): State<App>) -> Json<Counts> {
    let stats = app.registry.stats();
    let (sessions, accounts) = app.sessions.count();
    let of_format = |name| (name, stats.formats.get(name).copied().unwrap_or(0));
    let of_reason = |reason: CloseReason| (reason.as_str(), stats.ended.get(&reason).copied().unwrap_or(0));
    Json(Counts {
        sessions,
        accounts,
        subscribers: stats.subscribers,
        draining: stats.draining,
        transports: [SSE.name(), WS.name()].map(of_format).into(),
        closed: CloseReason::ALL.map(of_reason).into(),
        channels_named: stats.channels_named,
        unfiltered: stats.unfiltered,
        broadcasts: stats.broadcasts,
        dropped: stats.dropped,
        tickets: stats.tickets,
        remembered_revocations: stats.remembered_revocations,
        refused: app.live.refusals(),
        lanes: Lanes {
            subscribers: stats.in_lanes,
            wired: stats.wired,
            writes: stats.lane_writes,
            messages: stats.lane_messages,
        },
        connections: Connections {
            open: app.server.open(),
            accepted: app.server.accepted(),
            refused: app.server.refused(),
            slow_heads: app.server.slow_heads(),
            panics: app.server.panics(),
            resets: app.server.resets(),
        },
    })
}

fn name(path: Name) -> Result<String, Refusal> {
    let Path(name) = path.map_err(|error| Refusal::bad_request(error.body_text()))?;
    Ok(name)
}
