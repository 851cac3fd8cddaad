//! `--open`: subscribers without a credential, under the identities they name.

use crate::client::TestServer;
use demo::{Options, Reach};
use serde_json::json;

#[tokio::test]
async fn open_mode_takes_identities_from_the_query() {
    let server = TestServer::with(Reach::Loopback, Options::new().with_open(true)).await;
    let mut plain = server.sse("/events", &[]).await.unwrap();
    let mut red = server.sse("/events?group=red&channels=runs", &[]).await.unwrap();
    let mut both = server.ws("/ws?group=red&group=a%2Fb&scope=s1", &[]).await.unwrap();
    let mut scoped = server.ws("/ws?scope=s1", &[]).await.unwrap();

    assert_eq!(server.close("/api/groups/red").await, 2);
    assert_eq!(red.farewell().await, "revoked");
    assert_eq!(both.farewell().await, (4001, "revoked".into()));
    for path in [
        "/api/groups/a%2Fb",
        "/api/groups/s1",
        "/api/scopes/red",
        "/api/accounts/red",
        "/api/sessions/s1",
    ] {
        assert_eq!(server.close(path).await, 0, "{path}");
    }
    assert_eq!(server.close("/api/scopes/s1").await, 1);
    assert_eq!(scoped.farewell().await, (4001, "revoked".into()));
    assert_eq!(server.broadcast("runs", "1").await["matched"], 1);
    assert_eq!(plain.data().await, "1");
    for query in ["scope=.", "scope=..", "group=%2e%2e", "group=%252e", "group=", "scope"] {
        let refused = server.sse(&format!("/events?{query}"), &[]).await.unwrap_err();
        assert_eq!(refused.status, 403, "{query}");
        assert!(refused.error().contains("no address could name it"), "{refused:?}");
    }
    let two = server.sse("/events?scope=a&scope=b", &[]).await.unwrap_err();
    assert_eq!((two.status, two.error().as_str()), (403, "a subscriber has one `scope` at most"));
}

#[tokio::test]
async fn open_mode_caps_scopes_and_not_groups() {
    let server = TestServer::with(Reach::Loopback, Options::new().with_open(true)).await;
    let mut oldest = server.ws("/ws?scope=s&group=g", &[]).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(server.ws("/ws?scope=s&group=g", &[]).await.unwrap());
        streams.push(server.ws("/ws?group=g", &[]).await.unwrap());
    }
    assert_eq!(oldest.farewell().await, (4004, "evicted".into()));
    assert_eq!(server.stats().await["subscribers"], 20);
    assert_eq!(server.close("/api/groups/g").await, 20);
}

#[tokio::test]
async fn open_mode_still_checks_a_credential_that_is_presented() {
    let server = TestServer::with(Reach::Loopback, Options::new().with_open(true)).await;
    let login = server.sign_in_with(json!({ "account": "ada", "channels": ["runs"] })).await;
    let mut stream = login.sse(&server, "/events?group=red").await;
    assert_eq!(server.broadcast("secrets", "0").await["matched"], 0);
    assert_eq!(server.close("/api/groups/red").await, 0);
    assert_eq!(server.close("/api/accounts/ada").await, 1);
    assert_eq!(stream.farewell().await, "revoked");
    assert_eq!(
        server.sse("/events", &[("authorization", &login.bearer())]).await.unwrap_err().status,
        401
    );
}

#[tokio::test]
async fn the_calls_of_open_mode_answer_404_without_it() {
    let server = TestServer::start().await;
    for path in ["/api/groups/red", "/api/scopes/s1"] {
        assert_eq!(server.delete(path).await.status, 404, "{path}");
    }
    assert_eq!(server.sse("/events?group=red&scope=s1", &[]).await.unwrap_err().status, 401);
}
