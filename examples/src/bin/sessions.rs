//! An application with sessions and roles, over both transports. Its state, its users, its errors
//! and its 404 are its own.
//!
//! ```text
//! cargo run -p examples --bin sessions
//! curl -X POST http://127.0.0.1:3000/sign-in/ada
//! curl -N -H 'cookie: session=1' http://127.0.0.1:3000/runs/7/events
//! curl -X POST -d queued http://127.0.0.1:3000/runs/7
//! curl -X POST -H 'cookie: session=1' http://127.0.0.1:3000/sign-out
//! ```

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use axum::{Json, Router};
use serde::Serialize;
use std::collections::BTreeMap;
use std::env;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use transport_sse::{
    ChannelFilter, Entry, Grant, Identity, Live, Refusal, Revocation, Server, ServerOptions, Sse,
};
use transport_ws::WsUpgrade;

/// What is broadcast.
#[derive(Serialize)]
struct Run {
    run: u64,
    state: String,
}

#[derive(Clone)]
struct App {
    live: Live<Run>,
    sessions: Arc<RwLock<BTreeMap<String, User>>>,
}

/// The extractor of the application: who is signed in, and what they may see.
#[derive(Clone)]
struct User {
    session: Identity,
    account: Identity,
    /// The last run that they may see.
    up_to: u64,
}

impl User {
    fn may_hear(&self, run: u64) -> Result<Grant, AppError> {
        if run > self.up_to {
            return Err(AppError::NotYours);
        }
        let grant = Grant::new(ChannelFilter::only([channel(run)]));
        Ok(grant.with_scope(self.session.clone()).with_group(self.account.clone()))
    }
}

fn channel(run: u64) -> String {
    format!("run:{run}")
}

impl FromRequestParts<App> for User {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, AppError> {
        let cookie = parts.headers.get(header::COOKIE).and_then(|cookie| cookie.to_str().ok());
        let session = cookie.and_then(|cookie| cookie.strip_prefix("session="));
        session.and_then(|session| app.read().get(session).cloned()).ok_or(AppError::SignIn)
    }
}

impl App {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, User>> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, User>> {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner)
    }
}

type Answer = Result<Response, AppError>;

/// The errors of the application. The refusals of the library are one of them.
enum AppError {
    SignIn,
    NotYours,
    Live(Refusal),
}

impl From<Refusal> for AppError {
    fn from(refusal: Refusal) -> Self {
        Self::Live(refusal)
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn => (StatusCode::UNAUTHORIZED, "sign in first").into_response(),
            Self::NotYours => (StatusCode::FORBIDDEN, "this run is not yours").into_response(),
            Self::Live(refusal) => refusal.into_response(),
        }
    }
}

async fn events(entry: Entry<Run>, user: User, Path(run): Path<u64>) -> Result<Sse, AppError> {
    Ok(Sse::new(entry.admit(user.may_hear(run)?)?))
}

async fn socket(entry: Entry<Run>, ws: WsUpgrade, user: User, Path(run): Path<u64>) -> Answer {
    Ok(ws.serve(entry.admit(user.may_hear(run)?)?))
}

async fn publish(
    State(app): State<App>,
    Path(run): Path<u64>,
    state: String,
) -> Result<Json<usize>, StatusCode> {
    let report = app.live.broadcast(&channel(run), Run { run, state });
    report.map(|report| Json(report.matched)).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn sign_in(State(app): State<App>, Path(account): Path<String>) -> Response {
    let mut sessions = app.write();
    // A real application draws a random secret.
    let session = (sessions.len() + 1).to_string();
    let cookie = format!("session={session}; HttpOnly; SameSite=Lax");
    let account = Identity::new("account", account);
    let user = User { session: Identity::new("session", &session), account, up_to: 99 };
    sessions.insert(session, user);
    ([(header::SET_COOKIE, cookie)], "signed in").into_response()
}

/// First the change, committed; then the revocation.
async fn sign_out(State(app): State<App>, user: User) -> Json<usize> {
    app.write().remove(user.session.value());
    Json(app.live.close_by_identity_as(&user.session, Revocation::LoggedOut))
}

/// The streams of the account come back, and hear what its new role may hear.
async fn change_role(
    State(app): State<App>,
    Path((account, up_to)): Path<(String, u64)>,
) -> Json<usize> {
    let account = Identity::new("account", account);
    for user in app.write().values_mut().filter(|user| user.account == account) {
        user.up_to = up_to;
    }
    Json(app.live.close_by_identity(&account))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let live = Live::<Run>::new();
    let app = Router::new()
        .route("/runs/{run}/events", get(events))
        .route("/runs/{run}/ws", any(socket))
        .route("/runs/{run}", post(publish))
        .route("/sign-in/{account}", post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/accounts/{account}/up-to/{run}", put(change_role))
        .fallback(async || (StatusCode::NOT_FOUND, "no such page"))
        .with_state(App { live: live.clone(), sessions: Arc::default() });
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let server = Server::bind(address, ServerOptions::new()).await?;
    println!("listening on http://{}", server.local_addr()?);
    server.run(app, &live, async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
