//! Signing in, and ending sessions and accounts.

use crate::client::{TestServer, call};
use demo::{Options, Reach};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn signing_in_gives_a_public_id_a_secret_token_and_a_cookie() {
    let server = TestServer::start().await;
    let response = server.post("/api/sessions", r#"{"account":"ada"}"#).await;
    assert_eq!(response.status, 201);
    let answer = response.json();
    let (session, token) = (answer["session"].as_str().unwrap(), answer["token"].as_str().unwrap());
    assert_eq!(answer, json!({ "session": session, "token": token, "account": "ada" }));
    assert_eq!(
        response.header("set-cookie").unwrap(),
        format!("session={token}; Path=/; HttpOnly; SameSite=Lax")
    );
    let secret = token.strip_prefix(session).and_then(|rest| rest.strip_prefix('.')).unwrap();
    assert!(
        secret.len() >= 32 && secret.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "128 bits at least"
    );

    let again = server.post("/api/sessions", r#"{"account":"ada"}"#).await.json();
    assert_ne!(again["token"], answer["token"]);
    assert_ne!(again["session"], answer["session"]);
}

#[tokio::test]
async fn a_refused_sign_in_names_the_fault_in_the_request() {
    let server = TestServer::start().await;
    let long = json!({ "account": "x".repeat(129) }).to_string();
    let names = |count: usize, bytes: usize| {
        json!({ "account": "ada", "channels": vec!["x".repeat(bytes); count] }).to_string()
    };
    let (many, wide, huge) = (names(101, 1), names(1, 257), names(4, 250_000));
    for (body, expected) in [
        ("{}", "missing field `account` at line 1 column 2"),
        (r#"{"account":7}"#, "expected a string at line 1 column 12"),
        (r#"{"account":"ada""#, "invalid JSON: EOF"),
        ("", "invalid JSON: EOF"),
        (r#"{"account":""}"#, "1 to 128 bytes"),
        (&long, "1 to 128 bytes"),
        (r#"{"account":"."}"#, "no address could name it"),
        (r#"{"account":".."}"#, "no address could name it"),
        (r#"{"account":"%2e"}"#, "no address could name it"),
        (r#"{"account":".%2E"}"#, "no address could name it"),
        (&many, "too many channels: 100 at most"),
        (&wide, "a channel's name has 257 bytes: 256 at most"),
        (&huge, "a channel's name has 250000 bytes: 256 at most"),
        (r#"{"account":"ada","channels":"runs"}"#, "a list of channels, or null"),
    ] {
        let response = server.post("/api/sessions", body).await;
        assert_eq!(response.status, 400, "{body}");
        assert!(response.error().contains(expected), "{response:?}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let response = call(server.address, "POST", "/api/sessions", &form, b"account=ada").await;
    assert_eq!(response.status, 415);
    assert_eq!(server.stats().await["sessions"], 0);
}

#[tokio::test]
async fn the_page_can_ask_for_its_session() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/api/session", &[]).await.status, 204);
    let dead = server.get("/api/session", &[("cookie", "session=nonsense")]).await;
    assert_eq!(
        (dead.status, dead.error().as_str()),
        (401, "this session has ended: sign in again")
    );
    let ada = server.sign_in("ada").await;
    let cookie = format!("theme=dark; session={}", ada.token);
    let response = server.get("/api/session", &[("cookie", &cookie)]).await;
    assert_eq!(response.json(), json!({ "session": ada.session, "account": "ada" }));
    server.close(&format!("/api/sessions/{}", ada.session)).await;
    assert_eq!(server.get("/api/session", &[("cookie", &cookie)]).await.status, 401);
    assert_eq!(server.get("/api/session", &[("authorization", &ada.bearer())]).await.status, 401);
}

#[tokio::test]
async fn rev_1_ending_a_session_closes_its_streams_and_no_other() {
    let server = TestServer::start().await;
    let (one, two) = (server.sign_in("ada").await, server.sign_in("ada").await);
    let (mut sse, mut ws) = (one.sse(&server, "/events").await, one.ws(&server, "/ws").await);
    let (mut other_sse, mut other_ws) =
        (two.sse(&server, "/events").await, two.ws(&server, "/ws").await);

    assert_eq!(server.close(&format!("/api/sessions/{}", one.session)).await, 2);
    assert_eq!(server.broadcast("runs", "1").await["accepted"], 2);
    assert_eq!(sse.farewell().await, "logged_out");
    assert_eq!(ws.farewell().await, (4005, "logged_out".into()));
    assert_eq!(other_sse.data().await, "1");
    assert_eq!(other_ws.data().await, "1");

    for path in [format!("/api/sessions/{}", one.session), "/api/sessions/unknown".into()] {
        assert_eq!(server.close(&path).await, 0, "rev_10: {path}");
    }
    let refused = server.sse("/events", &[("authorization", &one.bearer())]).await.unwrap_err();
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    assert_eq!(
        server.ws("/ws", &[("authorization", &one.bearer())]).await.unwrap_err().status,
        401
    );
    assert_eq!(server.broadcast("runs", "2").await["matched"], 2);
    assert_eq!(other_sse.data().await, "2");
    assert_eq!(other_ws.data().await, "2");
}

#[tokio::test]
async fn rev_1_revoking_an_account_closes_all_its_streams_on_both_transports() {
    let server = TestServer::start().await;
    let (one, two, grace) =
        (server.sign_in("ada").await, server.sign_in("ada").await, server.sign_in("grace").await);
    let mut sse =
        [one.sse(&server, "/events").await, two.sse(&server, "/events?channels=runs").await];
    let mut ws = [one.ws(&server, "/ws?channels=jobs").await, two.ws(&server, "/ws").await];
    let (mut witness, mut other) =
        (grace.sse(&server, "/events").await, grace.ws(&server, "/ws").await);

    assert_eq!(server.close("/api/accounts/ada").await, 4);
    assert_eq!(server.broadcast("runs", r#""after""#).await["matched"], 2);
    for stream in &mut sse {
        assert_eq!(stream.farewell().await, "revoked");
    }
    for stream in &mut ws {
        assert_eq!(stream.farewell().await, (4001, "revoked".into()));
    }
    assert_eq!(witness.data().await, r#""after""#);
    assert_eq!(other.data().await, r#""after""#);

    assert_eq!(server.close("/api/accounts/ada").await, 0);
    assert_eq!(server.close("/api/accounts/nobody").await, 0);
    for login in [&one, &two] {
        assert_eq!(
            server.sse("/events", &[("authorization", &login.bearer())]).await.unwrap_err().status,
            401
        );
    }
    // A revocation is an event and not a ban (REV-9).
    let mut back = server.sign_in("ada").await.sse(&server, "/events").await;
    server.broadcast("runs", "2").await;
    assert_eq!(back.data().await, "2");
    let stats = server.stats().await;
    assert_eq!(
        (&stats["closed"]["revoked"], &stats["sessions"], &stats["accounts"]),
        (&json!(4), &json!(2), &json!(2))
    );
}

#[tokio::test]
async fn names_of_accounts_are_decoded() {
    let server = TestServer::start().await;
    for (account, encoded) in [
        ("a/b", "a%2Fb"),
        ("Ä da", "%C3%84%20da"),
        ("__proto__", "__proto__"),
        ("%41", "%2541"),
        ("%252e", "%25252e"),
        ("...", "..."),
        (".a", ".a"),
    ] {
        let login = server.sign_in(account).await;
        let mut stream = login.sse(&server, "/events").await;
        assert_eq!(server.set_channels(encoded, json!(null)).await, 1, "{account}");
        assert_eq!(stream.farewell().await, "revoked");
        let mut stream = login.sse(&server, "/events").await;
        assert_eq!(server.close(&format!("/api/accounts/{encoded}")).await, 1, "{account}");
        assert_eq!(stream.farewell().await, "revoked");
    }
    assert_eq!(server.delete("/api/accounts/%ff").await.status, 400);
}

#[tokio::test]
async fn a_session_id_has_one_spelling() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    let mut stream = ada.sse(&server, "/events").await;
    for other in [
        format!("0{}", ada.session),
        format!("{}%20", ada.session),
        format!("%2B{}", &ada.session[1..]),
    ] {
        assert_eq!(server.close(&format!("/api/sessions/{other}")).await, 0, "{other}");
    }
    assert_eq!(server.stats().await["sessions"], 1);
    server.broadcast("runs", "1").await;
    assert_eq!(stream.data().await, "1");
}

#[tokio::test]
async fn rev_1_setting_what_an_account_may_hear_revokes_and_holds_from_then_on() {
    let server = TestServer::start().await;
    let (one, two, grace) =
        (server.sign_in("ada").await, server.sign_in("ada").await, server.sign_in("grace").await);
    let (mut sse, mut ws) =
        (one.sse(&server, "/events").await, two.ws(&server, "/ws?channels=jobs").await);
    let mut witness = grace.sse(&server, "/events").await;

    assert_eq!(server.set_channels("ada", json!(["runs"])).await, 2);
    assert_eq!(server.broadcast("runs", "1").await["matched"], 1);
    assert_eq!(sse.farewell().await, "revoked");
    assert_eq!(ws.farewell().await, (4001, "revoked".into()));
    assert_eq!(witness.data().await, "1", "no other account is touched");

    // Both sessions are alive, and hear what they now may: also a client that repeats its request,
    // as browsers do.
    let mut back =
        [one.sse(&server, "/events").await, two.sse(&server, "/events?channels=jobs,runs").await];
    assert_eq!(server.broadcast("jobs", "2").await["matched"], 1);
    assert_eq!(server.broadcast("runs", "3").await["matched"], 3);
    for stream in &mut back {
        assert_eq!(stream.data().await, "3");
    }

    assert_eq!(server.set_channels("ada", json!([])).await, 2);
    let mut deaf = one.sse(&server, "/events").await;
    assert_eq!(server.broadcast("runs", "4").await["matched"], 1);
    assert_eq!(server.set_channels("ada", json!(null)).await, 1);
    assert_eq!(deaf.farewell().await, "revoked");
    let mut all = one.sse(&server, "/events").await;
    assert_eq!(server.broadcast("anything", "5").await["matched"], 2);
    assert_eq!(all.data().await, "5");

    // Later sign-ins have what they ask for.
    server.set_channels("ada", json!(["runs"])).await;
    let mut later = server.sign_in("ada").await.sse(&server, "/events").await;
    assert_eq!(server.broadcast("jobs", "6").await["matched"], 2);
    assert_eq!(later.data().await, "6");
    let stats = server.stats().await;
    assert_eq!((&stats["sessions"], &stats["accounts"]), (&json!(4), &json!(2)));
}

#[tokio::test]
async fn setting_channels_names_the_fault_and_then_changes_nothing() {
    let server = TestServer::start().await;
    let ada = server.sign_in_with(json!({ "account": "ada", "channels": ["runs"] })).await;
    let mut stream = ada.sse(&server, "/events").await;
    let many = json!({ "channels": vec!["x"; 101] }).to_string();
    let wide = json!({ "channels": ["x".repeat(257)] }).to_string();
    for (body, expected) in [
        ("{}", "missing field `channels`"),
        (r#"{"channel":[]}"#, "missing field `channels`"),
        ("", "invalid JSON: EOF"),
        (r#"{"channels":"runs"}"#, "a list of channels, or null"),
        (r#"{"channels":[null]}"#, "expected a string"),
        (&many, "too many channels: 100 at most"),
        (&wide, "a channel's name has 257 bytes: 256 at most"),
    ] {
        let response = server.put("/api/accounts/ada/channels", body).await;
        assert_eq!(response.status, 400, "{body}");
        assert!(response.error().contains(expected), "{response:?}");
    }
    assert_eq!(
        call(server.address, "PUT", "/api/accounts/ada/channels", &[], b"{}").await.status,
        415
    );
    assert_eq!(server.put("/api/accounts/%ff/channels", r#"{"channels":[]}"#).await.status, 400);
    assert_eq!(server.set_channels("nobody", json!([])).await, 0);
    assert_eq!(server.broadcast("runs", "1").await["matched"], 1);
    assert_eq!(stream.data().await, "1");
}

#[tokio::test]
async fn a_session_ends_by_itself_and_its_streams_with_it() {
    let options = Options::new().with_session_lifetime(Duration::from_secs(3));
    let server = TestServer::with(Reach::Loopback, options).await;
    let ada = server.sign_in("ada").await;
    let (mut sse, mut ws) = (ada.sse(&server, "/events").await, ada.ws(&server, "/ws").await);
    server.broadcast("runs", "1").await;
    assert_eq!((sse.data().await, ws.data().await), ("1".into(), "1".into()));
    assert_eq!(sse.farewell().await, "expired");
    assert_eq!(ws.farewell().await, (4002, "expired".into()));
    assert_eq!(
        server.sse("/events", &[("authorization", &ada.bearer())]).await.unwrap_err().status,
        401
    );
    assert_eq!(server.get("/api/session", &[("authorization", &ada.bearer())]).await.status, 401);
    let stats = server.stats().await;
    assert_eq!((&stats["sessions"], &stats["accounts"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn one_session_too_many_is_refused_with_advice() {
    let options = Options::new().with_max_sessions(2.try_into().unwrap());
    let server = TestServer::with(Reach::Loopback, options).await;
    let (ada, _grace) = (server.sign_in("ada").await, server.sign_in("grace").await);
    let response = server.post("/api/sessions", r#"{"account":"eve"}"#).await;
    assert_eq!(
        (response.status, response.error().as_str()),
        (503, "too many sessions: end some first")
    );
    server.close(&format!("/api/sessions/{}", ada.session)).await;
    server.sign_in("eve").await;
    assert_eq!(server.stats().await["sessions"], 2);
}
