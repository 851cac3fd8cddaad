//! The list of open streams, and the end of one.

use crate::client::{TestServer, call, within};
use demo::{Options, Reach};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

async fn list(server: &TestServer, query: &str) -> Value {
    let response = server.get(&format!("/api/subscribers{query}"), &[]).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[tokio::test]
async fn who_2_every_stream_is_listed_with_what_it_holds_and_hears() {
    let server = TestServer::start().await;
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let (ada, began) = (server.sign_in("ada").await, now());
    let mut sse = ada.sse(&server, "/events?channels=runs,a%2Cb").await;
    let mut ws = ada.live(&server, "/ws").await;
    server.broadcast("runs", "1").await;
    assert_eq!((sse.data().await, ws.json().await["data"].clone()), ("1".into(), json!(1)));
    // A flusher tells the time of a write after it.
    let page = within(async {
        loop {
            let page = list(&server, "").await;
            let rows = page["subscribers"].as_array().unwrap();
            if rows.iter().all(|row| row["last_write_ms"].is_u64()) {
                return page;
            }
        }
    })
    .await;
    let mut rows = page["subscribers"].as_array().unwrap().clone();
    rows.sort_by_key(|row| row["transport"].as_str().unwrap().to_owned());
    for (row, transport, channels) in
        [(&rows[0], "sse", json!(["a,b", "runs"])), (&rows[1], "ws", Value::Null)]
    {
        let (id, since, last_write) = (&row["id"], &row["since"], &row["last_write_ms"]);
        let expected = json!({
            "id": id, "since": since,
            "identities": [
                { "kind": "session", "value": ada.session }, { "kind": "account", "value": "ada" },
            ],
            "channels": channels, "transport": transport, "kind": "direct", "queued_messages": 0,
            "queued_bytes": 0, "lost": 0, "last_write_ms": last_write,
        });
        assert_eq!(row, &expected);
        assert!((began - 1..=now()).contains(&since.as_u64().unwrap()), "{began}: {since}");
        assert!(last_write.as_u64().unwrap() <= now() - began + 1, "{last_write}");
    }
    assert_eq!((rows.len(), &page["next"]), (2, &Value::Null));
    drop((sse, ws));
    within(async { while list(&server, "").await["subscribers"] != json!([]) {} }).await;
}

#[tokio::test]
async fn who_2_a_stream_whose_socket_http_keeps_is_listed_so() {
    let server = TestServer::with(Reach::Loopback, Options::new().with_portable(true)).await;
    let _stream = server.sign_in("ada").await.sse(&server, "/events").await;
    let page = list(&server, "").await;
    let row = &page["subscribers"][0];
    assert_eq!((&row["kind"], &row["last_write_ms"]), (&json!("http1"), &Value::Null));
}

#[tokio::test]
async fn who_2_the_list_is_read_in_pages() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(ada.sse(&server, "/events").await);
    }
    let (mut query, mut ids, mut sizes) = ("?limit=2".to_owned(), BTreeSet::new(), Vec::new());
    loop {
        let page = list(&server, &query).await;
        let rows = page["subscribers"].as_array().unwrap();
        ids.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        sizes.push(rows.len());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=2&after={next}");
    }
    assert_eq!((ids.len(), sizes), (5, vec![2, 2, 1]));
    for (query, reason) in [
        ("limit=0", "a number from 1 to 200"),
        ("limit=201", "a number from 1 to 200"),
        ("limit=x", "a number from 1 to 200"),
        ("after=", "`after`: "),
        ("after=17", "`after`: "),
        ("limit=1&limit=2", "duplicate field `limit`"),
    ] {
        let response = server.get(&format!("/api/subscribers?{query}"), &[]).await;
        assert_eq!(response.status, 400, "{query}");
        assert!(response.error().contains(reason), "{response:?}");
    }
    assert_eq!(list(&server, "?limit=200").await["subscribers"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn dir_6_one_stream_is_revoked_and_the_others_stay() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    let mut gone = ada.sse(&server, "/events?channels=jobs").await;
    let mut stays = ada.sse(&server, "/events?channels=runs").await;
    let page = list(&server, "").await;
    let rows = page["subscribers"].as_array().unwrap();
    let row = rows.iter().find(|row| row["channels"] == json!(["jobs"])).unwrap();
    let path = format!("/api/subscribers/{}", row["id"].as_str().unwrap());
    assert_eq!(server.close(&path).await, 1);
    assert_eq!(gone.farewell().await, "revoked");
    assert_eq!(server.close(&path).await, 0, "it has ended");
    let upper = path.replace(row["id"].as_str().unwrap(), "17");
    for nobody in [&*upper, "/api/subscribers/unknown", "/api/subscribers/%20"] {
        assert_eq!(server.close(nobody).await, 0, "{nobody}");
    }
    let mut back = ada.sse(&server, "/events?channels=runs").await;
    assert_eq!(server.broadcast("runs", "1").await["accepted"], 2, "its credential is still good");
    assert_eq!((stays.data().await, back.data().await), ("1".into(), "1".into()));
    let answer = call(server.address, "DELETE", "/api/subscribers/%ff", &[], b"").await;
    assert_eq!(answer.status, 400);
}
