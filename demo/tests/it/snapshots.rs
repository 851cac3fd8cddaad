//! The last values, which a stream may be sent first.

use crate::client::TestServer;
use serde_json::{Value, json};

#[tokio::test]
async fn snp_1_a_snapshot_has_the_last_values_of_what_the_stream_hears_and_comes_first() {
    let server = TestServer::start().await;
    let ada =
        server.sign_in_with(json!({ "account": "ada", "channels": ["runs", "jobs", "pay"] })).await;
    let mut last = String::new();
    for (channel, json) in [("runs", "1"), ("jobs", "{ \"job\": 1.50 }"), ("secrets", "2")] {
        last = server.broadcast(channel, json).await["id"].as_str().unwrap().to_owned();
    }
    server.broadcast("runs", "[3]").await;
    let expected = r#"{"channels":{"jobs":{ "job": 1.50 },"runs":[3]}}"#;
    let at = last.replace("-3", "-4");

    let mut all = ada.sse(&server, "/events?snapshot=1").await;
    let first = all.next().await.unwrap();
    assert_eq!((&*first.name, &*first.id, &*first.data), ("snapshot", &*at, expected));
    let mut some = ada.sse(&server, "/events?channel=runs&snapshot=1&envelope=1").await;
    let data = r#"{"channel":null,"event":"snapshot","data":{"channels":{"runs":[3]}}}"#;
    assert_eq!(some.named("snapshot").await, data);
    let mut live = ada.live(&server, "/ws?snapshot=1&channels=runs,secrets").await;
    assert_eq!(live.json().await, json!({ "type": "refused", "channels": ["secrets"] }));
    let snapshot = json!({
        "type": "event", "id": at, "channel": null, "event": "snapshot",
        "data": { "channels": { "runs": [3] } },
    });
    assert_eq!(live.json().await, snapshot);

    // A message that is sent to somebody is no state.
    server.post("/api/identities/account/ada/messages?channel=runs", "4").await;
    for stream in [&mut all, &mut some] {
        assert!(stream.data().await.contains('4'));
    }
    assert_eq!(live.json().await["data"], 4);
    let mut later = ada.sse(&server, "/events?snapshot=1").await;
    assert_eq!(later.named("snapshot").await, expected);
    server.broadcast("runs", "5").await;
    assert_eq!(later.data().await, "5", "what comes after it changes it");
}

#[tokio::test]
async fn snp_1_a_raw_websocket_is_told_that_it_carries_no_snapshot() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    let bearer = ada.bearer();
    let refused = server.ws("/ws?snapshot=1", &[("authorization", &bearer)]).await.unwrap_err();
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("live.v1"), "{refused:?}");
    assert_eq!(server.stats().await["subscribers"], 0);
    let head = [("authorization", bearer.as_str())];
    let answer =
        crate::client::call(server.address, "HEAD", "/events?snapshot=1", &head, b"").await;
    assert_eq!(answer.status, 200, "a `HEAD` gets no snapshot");
}

#[tokio::test]
async fn the_last_values_have_a_bound() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    let large = |kib: usize| format!("\"{}\"", "x".repeat(kib * 1024));
    for (channel, kib) in [("a", 400), ("b", 300), ("c", 200), ("b", 1)] {
        server.broadcast(channel, &large(kib)).await;
    }
    let mut stream = ada.sse(&server, "/events?snapshot=1").await;
    let snapshot: Value = serde_json::from_str(&stream.named("snapshot").await).unwrap();
    let kept: Vec<_> = snapshot["channels"].as_object().unwrap().keys().collect();
    assert_eq!(kept, ["b", "c"], "the oldest made room");
    server.broadcast("c", &large(800)).await;
    let mut stream = ada.sse(&server, "/events?snapshot=1").await;
    let snapshot: Value = serde_json::from_str(&stream.named("snapshot").await).unwrap();
    assert_eq!(snapshot["channels"].as_object().unwrap().len(), 1, "a value too large is not kept");
}
