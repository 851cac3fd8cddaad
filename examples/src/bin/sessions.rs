//! An application with sessions and roles, over both transports. Its state, its users, its errors
//! and its 404 are its own.
//!
//! ```text
//! cargo run -p examples --bin sessions
//! curl -c ada -X POST http://127.0.0.1:3000/sign-in/ada
//! curl -b ada -N http://127.0.0.1:3000/runs/7/events
//! curl -b ada -d queued http://127.0.0.1:3000/runs/7
//! curl -b ada -X POST http://127.0.0.1:3000/sign-out
//! ```

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response, Result};
use axum::routing::{any, get, post, put};
use axum::{Json, Router};
use serde::Serialize;
use std::collections::BTreeMap;
use std::env;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::net::TcpListener;
use transport_sse::{Entry, Grant, Live, Revocation, Server, ServerOptions, Sse};
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
    sessions: Arc<RwLock<Sessions>>,
}

/// The users that are signed in, by session.
#[derive(Default)]
struct Sessions {
    last: u64,
    users: BTreeMap<String, User>,
}

/// A user who is signed in: an extractor of the application.
#[derive(Clone)]
struct User {
    session: String,
    name: String,
    /// The last run that they may see.
    up_to: u64,
}

impl User {
    fn may_hear(&self, run: u64) -> Result<Grant, AppError> {
        if run > self.up_to {
            return Err(AppError::NotYours);
        }
        let one = [channel(run)];
        Ok(Grant::only(one).with_scope(("session", &self.session)).with_group(("user", &self.name)))
    }
}

fn channel(run: u64) -> String {
    format!("run:{run}")
}

impl FromRequestParts<App> for User {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, AppError> {
        let cookies = parts.headers.get_all(header::COOKIE).iter();
        let mut cookies =
            cookies.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split("; "));
        let session = cookies.find_map(|cookie| cookie.strip_prefix("session="));
        session.and_then(|session| app.read().users.get(session).cloned()).ok_or(AppError::SignIn)
    }
}

impl App {
    fn read(&self) -> RwLockReadGuard<'_, Sessions> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Sessions> {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The errors of the application. axum's `Result` takes them and the library's.
enum AppError {
    SignIn,
    NotYours,
    Broken,
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn => (StatusCode::UNAUTHORIZED, "sign in first").into_response(),
            Self::NotYours => (StatusCode::FORBIDDEN, "this is not yours").into_response(),
            Self::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "it is our fault").into_response(),
        }
    }
}

type Answer = Result<Response>;

async fn events(entry: Entry<Run>, user: User, Path(run): Path<u64>) -> Result<Sse> {
    Ok(Sse::new(entry.admit(user.may_hear(run)?)?))
}

async fn socket(entry: Entry<Run>, ws: WsUpgrade, user: User, Path(run): Path<u64>) -> Answer {
    Ok(ws.serve(entry.admit(user.may_hear(run)?)?))
}

/// Tells everybody who watches the run.
async fn publish(
    State(app): State<App>,
    _: User,
    Path(run): Path<u64>,
    state: String,
) -> Result<()> {
    app.live.broadcast(&channel(run), Run { run, state }).map_err(|_| AppError::Broken)?;
    Ok(())
}

async fn sign_in(State(app): State<App>, Path(name): Path<String>) -> Response {
    // A real application asks for a password, and draws a random secret.
    let mut sessions = app.write();
    sessions.last += 1;
    let session = sessions.last.to_string();
    let cookie = format!("session={session}; Path=/; HttpOnly; SameSite=Lax");
    sessions.users.insert(session.clone(), User { session, name, up_to: 99 });
    ([(header::SET_COOKIE, cookie)], "signed in").into_response()
}

/// First the change, committed; then the revocation.
async fn sign_out(State(app): State<App>, user: User) -> Json<usize> {
    app.write().users.remove(&user.session);
    Json(app.live.close_by_identity_as(("session", user.session), Revocation::LoggedOut))
}

/// The streams of the user come back, and hear what the new role may hear.
async fn change_role(
    State(app): State<App>,
    admin: User,
    Path((name, up_to)): Path<(String, u64)>,
) -> Result<Json<usize>> {
    if admin.name != "admin" {
        return Err(AppError::NotYours.into());
    }
    for user in app.write().users.values_mut().filter(|user| user.name == name) {
        user.up_to = up_to;
    }
    Ok(Json(app.live.close_by_identity(("user", name))))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let live = Live::<Run>::new();
    let app = Router::new()
        .route("/runs/{run}/events", get(events))
        .route("/runs/{run}/ws", any(socket))
        .route("/runs/{run}", post(publish))
        .route("/sign-in/{name}", post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/users/{name}/up-to/{run}", put(change_role))
        .fallback(async || (StatusCode::NOT_FOUND, "no such page"))
        .with_state(App { live: live.clone(), sessions: Arc::default() });
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let ctrl_c = async { drop(tokio::signal::ctrl_c().await) };
    Server::from_listener(listener, ServerOptions::new()).run(app, &live, ctrl_c).await;
    Ok(())
}
