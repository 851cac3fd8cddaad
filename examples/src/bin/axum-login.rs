//! Users and sessions of axum-login. Its middleware loads the user before the handler runs, so the
//! ticket has to be drawn before it: `Server::run` does that.
//!
//! ```text
//! cargo run -p examples --bin axum-login
//! curl -c jar -X POST http://127.0.0.1:3000/sign-in/ada
//! curl -b jar -N http://127.0.0.1:3000/events
//! curl -X DELETE http://127.0.0.1:3000/users/ada
//! ```

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use axum_login::{AuthManagerLayerBuilder, AuthSession, AuthUser, AuthnBackend};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::env;
use std::sync::{Arc, Mutex, PoisonError};
use tower_sessions::{MemoryStore, SessionManagerLayer};
use transport_sse::{
    ChannelFilter, Entry, Grant, Identity, Live, Refusal, Server, ServerOptions, Sse,
};

#[derive(Debug, Clone)]
struct User(String);

impl AuthUser for User {
    type Id = String;

    fn id(&self) -> String {
        self.0.clone()
    }

    fn session_auth_hash(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The users that are not removed.
#[derive(Debug, Clone, Default)]
struct Users(Arc<Mutex<BTreeSet<String>>>);

impl Users {
    fn change<R>(&self, change: impl FnOnce(&mut BTreeSet<String>) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AuthnBackend for Users {
    type User = User;
    type Credentials = String;
    type Error = Infallible;

    async fn authenticate(&self, name: String) -> Result<Option<User>, Infallible> {
        self.get_user(&name).await
    }

    async fn get_user(&self, name: &String) -> Result<Option<User>, Infallible> {
        Ok(self.change(|users| users.get(name).cloned()).map(User))
    }
}

#[derive(Clone)]
struct App {
    live: Live<String>,
    users: Users,
}

async fn events(entry: Entry<String>, auth: AuthSession<Users>) -> Result<Sse, Refusal> {
    let user = auth.user.ok_or_else(|| Refusal::unauthenticated("sign in first"))?;
    let account = Identity::new("account", user.id());
    Ok(Sse::new(entry.admit(Grant::new(ChannelFilter::All).with_group(account))?))
}

async fn sign_in(
    State(app): State<App>,
    mut auth: AuthSession<Users>,
    Path(name): Path<String>,
) -> StatusCode {
    app.users.change(|users| users.insert(name.clone()));
    match auth.login(&User(name)).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// First the change, committed; then the revocation.
async fn remove(State(app): State<App>, Path(name): Path<String>) -> Json<usize> {
    app.users.change(|users| users.remove(&name));
    Json(app.live.close_by_identity(Identity::new("account", name)))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let (live, users) = (Live::<String>::new(), Users::default());
    let sessions = SessionManagerLayer::new(MemoryStore::default()).with_secure(false);
    let auth = AuthManagerLayerBuilder::new(users.clone(), sessions).build();
    let app = Router::new()
        .route("/events", get(events))
        .route("/sign-in/{name}", post(sign_in))
        .layer(auth)
        .route("/users/{name}", delete(remove))
        .with_state(App { live: live.clone(), users });
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let server = Server::bind(address, ServerOptions::new()).await?;
    println!("listening on http://{}", server.local_addr()?);
    server.run(app, &live, async { drop(tokio::signal::ctrl_c().await) }).await;
    Ok(())
}
