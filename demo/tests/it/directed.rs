//! Messages to the holders of an identity.

use crate::client::TestServer;
use serde_json::json;

#[tokio::test]
async fn dir_1_a_message_reaches_the_streams_of_an_identity_and_no_other() {
    let server = TestServer::start().await;
    let (ada, too, grace) =
        (server.sign_in("ada").await, server.sign_in("ada").await, server.sign_in("grace").await);
    let mut one = ada.sse(&server, "/events?channels=runs").await;
    let mut two = too.live(&server, "/ws?channels=jobs").await;
    let mut other = grace.sse(&server, "/events").await;
    let to = |identity: &str| format!("/api/identities/{identity}/messages?channel=mail&event=new");

    let response = server.post(&to("account/ada"), "{ \"letters\": 3 }").await;
    assert_eq!(response.status, 202);
    let report = response.json();
    let id = report["id"].as_str().unwrap();
    let expected = json!({
        "id": id, "matched": 2, "accepted": 2, "dropped": 0, "lagged": 0, "failed": 0, "ended": 0,
        "pending": 0,
    });
    assert_eq!(report, expected);
    let event = one.next().await.unwrap();
    assert_eq!((&*event.name, &*event.id, &*event.data), ("new", id, "{ \"letters\": 3 }"));
    let message = json!({
        "type": "event", "id": id, "channel": "mail", "event": "new", "data": { "letters": 3 },
    });
    assert_eq!(two.json().await, message);

    let session = format!("session/{}", too.session);
    assert_eq!(server.post(&to(&session), "1").await.json()["matched"], 1);
    assert_eq!(two.json().await["data"], 1);
    for nobody in ["account/nobody", "session/ada", "Account/ada", "account/ada%20"] {
        assert_eq!(server.post(&to(nobody), "0").await.json()["matched"], 0, "{nobody}");
    }
    assert_eq!(server.broadcast("runs", "2").await["matched"], 2);
    assert_eq!((one.data().await, other.data().await), ("2".into(), "2".into()));
}

#[tokio::test]
async fn a_message_to_an_identity_names_its_channel_and_is_json() {
    let server = TestServer::start().await;
    for (query, body, reason) in [
        ("", "1", "?channel="),
        ("?event=new", "1", "?channel="),
        ("?channel=mail&event=lagged", "1", "is reserved"),
        ("?channel=a&channel=b", "1", "duplicate field `channel`"),
        ("?channel=mail", "{", "invalid JSON: "),
        ("?channel=mail", "", "invalid JSON: "),
    ] {
        let path = format!("/api/identities/account/ada/messages{query}");
        let response = server.post(&path, body).await;
        assert_eq!(response.status, 400, "{query} {body}");
        assert!(response.error().contains(reason), "{response:?}");
    }
    let path = "/api/identities/account/ada/messages?channel=";
    assert_eq!(server.post(path, "1").await.status, 202, "a channel may have no name");
    assert_eq!(server.post(path, format!("\"{}\"", "x".repeat(1 << 20))).await.status, 413);
    assert_eq!(
        server.post("/api/identities/account/%ff/messages?channel=a", "1").await.status,
        400
    );
    assert_eq!(server.post("/api/identities/account/messages?channel=a", "1").await.status, 404);
}
