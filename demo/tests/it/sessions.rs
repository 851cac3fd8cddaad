//! Signing in, and ending sessions and accounts.

use crate::client::{TestServer, call};
use serde_json::json;

#[tokio::test]
async fn signing_in_gives_a_public_id_a_secret_token_and_a_cookie() {
    let server = TestServer::start().await;
    let response = server.post("/api/sessions", r#"{"account":"ada"}"#).await;
    assert_eq!(response.status, 201);
    let answer = response.json();
    let (session, token) = (answer["session"].as_str().unwrap(), answer["token"].as_str().unwrap());
    assert_eq!(answer, json!({ "session": session, "token": token, "account": "ada" }));
    assert_eq!(response.header("set-cookie").unwrap(), format!("session={token}; Path=/; HttpOnly; SameSite=Lax"));
    let secret = token.strip_prefix(session).and_then(|rest| rest.strip_prefix('.')).unwrap();
    assert!(secret.len() >= 32 && secret.bytes().all(|digit| digit.is_ascii_hexdigit()), "128 bits at least");

    let again = server.post("/api/sessions", r#"{"account":"ada"}"#).await.json();
    assert_ne!(again["token"], answer["token"]);
    assert_ne!(again["session"], answer["session"]);
}

#[tokio::test]
async fn signing_in_says_what_is_wrong() {
    let server = TestServer::start().await;
    let long = json!({ "account": "x".repeat(129) }).to_string();
    for (body, expected) in [
        ("{}", "missing field `account` at line 1 column 2"),
        (r#"{"account":7}"#, "expected a string at line 1 column 12"),
        (r#"{"account":"ada""#, "invalid JSON: EOF"),
        ("", "invalid JSON: EOF"),
        (r#"{"account":""}"#, "1 to 128 bytes"),
        (&long, "1 to 128 bytes"),
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
async fn the_page_can_ask_who_it_is() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/api/session", &[]).await.status, 204);
    assert_eq!(server.get("/api/session", &[("cookie", "session=nonsense")]).await.status, 204);
    let ada = server.sign_in("ada").await;
    let cookie = format!("theme=dark; session={}", ada.token);
    let response = server.get("/api/session", &[("cookie", &cookie)]).await;
    assert_eq!(response.json(), json!({ "session": ada.session, "account": "ada" }));
    server.close(&format!("/api/sessions/{}", ada.session)).await;
    assert_eq!(server.get("/api/session", &[("cookie", &cookie)]).await.status, 204);
}

#[tokio::test]
async fn rev_1_ending_a_session_closes_its_streams_and_no_other() {
    let server = TestServer::start().await;
    let (one, two) = (server.sign_in("ada").await, server.sign_in("ada").await);
    let (mut sse, mut ws) = (one.sse(&server, "/events").await, one.ws(&server, "/ws").await);
    let (mut other_sse, mut other_ws) = (two.sse(&server, "/events").await, two.ws(&server, "/ws").await);

    assert_eq!(server.close(&format!("/api/sessions/{}", one.session)).await, 2);
    assert_eq!(server.broadcast("runs", "1").await["accepted"], 2);
    assert_eq!(sse.farewell().await, "revoked");
    assert_eq!(ws.farewell().await, (4001, "revoked".into()));
    assert_eq!(other_sse.data().await, "1");
    assert_eq!(other_ws.data().await, "1");

    for path in [format!("/api/sessions/{}", one.session), "/api/sessions/unknown".into()] {
        assert_eq!(server.close(&path).await, 0, "rev_10: {path}");
    }
    let refused = server.sse("/events", &[("authorization", &one.bearer())]).await.unwrap_err();
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    assert_eq!(server.ws("/ws", &[("authorization", &one.bearer())]).await.unwrap_err().status, 401);
    assert_eq!(server.broadcast("runs", "2").await["matched"], 2);
    assert_eq!(other_sse.data().await, "2");
    assert_eq!(other_ws.data().await, "2");
}

#[tokio::test]
async fn rev_1_revoking_an_account_closes_all_its_streams_on_both_transports() {
    let server = TestServer::start().await;
    let (one, two, grace) = (server.sign_in("ada").await, server.sign_in("ada").await, server.sign_in("grace").await);
    let mut sse = [one.sse(&server, "/events").await, two.sse(&server, "/events?channels=runs").await];
    let mut ws = [one.ws(&server, "/ws?channels=jobs").await, two.ws(&server, "/ws").await];
    let (mut witness, mut other) = (grace.sse(&server, "/events").await, grace.ws(&server, "/ws").await);

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
        assert_eq!(server.sse("/events", &[("authorization", &login.bearer())]).await.unwrap_err().status, 401);
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
    for (account, encoded) in [("a/b", "a%2Fb"), ("Ä da", "%C3%84%20da"), ("__proto__", "__proto__"), ("%41", "%2541")]
    {
        let mut stream = server.sign_in(account).await.sse(&server, "/events").await;
        assert_eq!(server.close(&format!("/api/accounts/{encoded}")).await, 1, "{account}");
        assert_eq!(stream.farewell().await, "revoked");
    }
    assert_eq!(server.delete("/api/accounts/%ff").await.status, 400);
}
