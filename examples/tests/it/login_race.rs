//! ADM-7 beside axum-login, whose middleware loads the user before routing: where a ticket has to
//! be drawn, and the negative controls.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum_login::{AuthManagerLayer, AuthManagerLayerBuilder, AuthSession, AuthUser, AuthnBackend};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tower_service::Service;
use tower_sessions::{MemoryStore, SessionManagerLayer};
use transport_sse::{ChannelFilter, Entry, Grant, Identity, Live, Refusal, Sse};

#[derive(Debug, Clone)]
struct Ada;

impl AuthUser for Ada {
    type Id = u8;

    fn id(&self) -> u8 {
        1
    }

    fn session_auth_hash(&self) -> &[u8] {
        b"1"
    }
}

fn account() -> Identity {
    Identity::new("account", "ada")
}

/// The accounts. Once armed, the first look at Ada's is followed by its removal and revocation: the
/// worst moment.
#[derive(Debug, Clone)]
struct Accounts {
    live: Live<String>,
    armed: Arc<AtomicBool>,
    removed: Arc<AtomicBool>,
}

impl AuthnBackend for Accounts {
    type User = Ada;
    type Credentials = ();
    type Error = Infallible;

    async fn authenticate(&self, (): ()) -> Result<Option<Ada>, Infallible> {
        Ok(Some(Ada))
    }

    async fn get_user(&self, _: &u8) -> Result<Option<Ada>, Infallible> {
        let found = (!self.removed.load(Ordering::SeqCst)).then_some(Ada);
        if self.armed.load(Ordering::SeqCst) && !self.removed.swap(true, Ordering::SeqCst) {
            self.live.close_by_identity(account());
        }
        Ok(found)
    }
}

type Auth = AuthManagerLayer<Accounts, MemoryStore>;

async fn sign_in(mut auth: AuthSession<Accounts>) -> StatusCode {
    auth.login(&Ada).await.map_or(StatusCode::INTERNAL_SERVER_ERROR, |()| StatusCode::NO_CONTENT)
}

fn grant(auth: AuthSession<Accounts>) -> Result<Grant, Refusal> {
    auth.user.ok_or_else(|| Refusal::unauthenticated("sign in first"))?;
    Ok(Grant::new(ChannelFilter::All).with_group(account()))
}

async fn events(entry: Entry<String>, auth: AuthSession<Accounts>) -> Result<Sse, Refusal> {
    Ok(Sse::new(entry.admit(grant(auth)?)?))
}

async fn call(app: &Router, request: Request) -> Response {
    let Ok(response) = app.clone().call(request).await;
    response
}

/// Signs in; then asks for events while the account is removed, and once more. Returns the
/// statuses, and how many subscribers there are after the first.
async fn crossed(arrange: impl FnOnce(&Live<String>, Auth) -> Router) -> (u16, usize, u16) {
    let live = Live::<String>::new();
    let (armed, removed) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let accounts = Accounts { live: live.clone(), armed: armed.clone(), removed };
    let sessions = SessionManagerLayer::new(MemoryStore::default());
    let app = arrange(&live, AuthManagerLayerBuilder::new(accounts, sessions).build());
    let sign_in = Request::post("/sign-in").body(Body::empty()).unwrap();
    let signed_in = call(&app, sign_in).await;
    let cookie = signed_in.headers()[header::SET_COOKIE].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let ask = || Request::get("/events").header("cookie", &cookie).body(Body::empty()).unwrap();
    armed.store(true, Ordering::SeqCst);
    // The answer is kept, since dropping it would unsubscribe.
    let first = call(&app, ask()).await;
    let admitted = live.len();
    let second = call(&app, ask()).await;
    (first.status().as_u16(), admitted, second.status().as_u16())
}

fn routes() -> Router {
    Router::new().route("/events", get(events)).route("/sign-in", post(sign_in))
}

#[tokio::test]
async fn adm_7_a_ticket_drawn_outside_of_the_login_layer_refuses_a_dead_credential() {
    let outermost = crossed(|live, auth| routes().layer(auth).layer(live.entry_layer())).await;
    assert_eq!(outermost, (503, 0, 401));
}

#[tokio::test]
async fn adm_7_control_a_ticket_drawn_within_the_login_layer_admits_a_dead_credential() {
    let within = crossed(|live, auth| routes().layer(live.entry_layer()).layer(auth)).await;
    assert_eq!(within, (200, 1, 401));
}

#[tokio::test]
async fn adm_7_control_a_ticket_drawn_in_the_handler_admits_a_dead_credential() {
    let in_handler = crossed(|live, auth| {
        let live = live.clone();
        let late = async move |auth: AuthSession<Accounts>, request: Request| {
            let (mut parts, _) = request.into_parts();
            live.draw_ticket_for(&mut parts.extensions);
            let entered = live.entry(&parts).and_then(|entry| entry.admit(grant(auth)?));
            entered.map_or_else(Refusal::into_response, |entered| Sse::new(entered).into_response())
        };
        Router::new().route("/events", get(late)).route("/sign-in", post(sign_in)).layer(auth)
    });
    assert_eq!(in_handler.await, (200, 1, 401));
}

/// So that nobody takes the controls for the rule: without an arranged removal all are admitted.
#[tokio::test]
async fn adm_7_a_live_credential_is_admitted_wherever_the_ticket_is_drawn() {
    let mut seen = Vec::new();
    for outside in [true, false] {
        let live = Live::<String>::new();
        let accounts =
            Accounts { live: live.clone(), armed: Arc::default(), removed: Arc::default() };
        let sessions = SessionManagerLayer::new(MemoryStore::default());
        let auth = AuthManagerLayerBuilder::new(accounts, sessions).build();
        let app = if outside {
            routes().layer(auth).layer(live.entry_layer())
        } else {
            routes().layer(live.entry_layer()).layer(auth)
        };
        let signed_in = call(&app, Request::post("/sign-in").body(Body::empty()).unwrap()).await;
        let cookie = signed_in.headers()[header::SET_COOKIE].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap();
        let ask = Request::get("/events").header("cookie", cookie).body(Body::empty()).unwrap();
        seen.push(call(&app, ask).await.status().as_u16());
    }
    assert_eq!(seen, [200, 200]);
}
