//! The needs of a stream to be opened, and the channels that it may hear.

use crate::client::{TestServer, exchange, head, within};
use demo::{Options, Reach};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test]
async fn a_stream_needs_a_credential() {
    let server = TestServer::start().await;
    for headers in [
        &[][..],
        &[("authorization", "Bearer 0000000000000000.00000000000000000000000000000000")],
        &[("cookie", "session=")],
        &[("authorization", "Basic YWRhOmFkYQ==")],
    ] {
        for refused in [
            server.sse("/events", headers).await.unwrap_err(),
            server.ws("/ws", headers).await.unwrap_err(),
        ] {
            assert_eq!(refused.status, 401, "{headers:?}");
            assert!(refused.error().contains("sign in"), "{refused:?}");
        }
    }
    let ada = server.sign_in("ada").await;
    let cookie = format!("session={}", ada.token);
    for headers in [[("cookie", cookie.as_str())], [("authorization", ada.bearer().as_str())]] {
        let mut sse = server.sse("/events", &headers).await.unwrap();
        let mut ws = server.ws("/ws", &headers).await.unwrap();
        server.broadcast("runs", "1").await;
        assert_eq!((sse.data().await, ws.data().await), ("1".into(), "1".into()));
    }
    assert_eq!(server.get("/ws", &[("cookie", &cookie)]).await.status, 426);
}

#[tokio::test]
async fn flt_1_a_stream_hears_the_channels_it_asked_for() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    let mut sse = ada.sse(&server, "/events?channels=runs,a%2Fb").await;
    let mut ws = ada.ws(&server, "/ws?channel=a,b&channel=runs").await;
    let mut all = ada.ws(&server, "/ws").await;
    for (channel, json, matched) in [
        ("other", "0", 1),
        ("a%2Fb", "1", 2),
        ("a%2Cb", "2", 2),
        ("a", "3", 1),
        ("Runs", "4", 1),
        ("runs", "5", 3),
    ] {
        assert_eq!(server.broadcast(channel, json).await["matched"], matched, "{channel}");
    }
    assert_eq!([sse.data().await, sse.data().await], ["1", "5"]);
    assert_eq!([ws.data().await, ws.data().await], ["2", "5"]);
    for json in 0..=5 {
        assert_eq!(all.data().await, json.to_string());
    }
}

#[tokio::test]
async fn flt_2_asking_for_nothing_or_too_much_is_an_error() {
    let server = TestServer::start().await;
    let login =
        server.sign_in_with(json!({ "account": "ada", "channels": ["runs", "jobs"] })).await;
    let bearer = login.bearer();
    let headers = [("authorization", bearer.as_str())];
    let long = format!("channel={}", "x".repeat(257));
    let many = (0..101).map(|n| format!("channel={n}")).collect::<Vec<_>>().join("&");
    for (query, status) in [
        ("channels=", 400),
        ("channels", 400),
        ("channels=runs,", 400),
        ("channels=%zz", 400),
        (&long, 400),
        (&many, 400),
        ("channels=secrets", 403),
        ("channel=", 403),
    ] {
        let sse = server.sse(&format!("/events?{query}"), &headers).await.unwrap_err();
        let ws = server.ws(&format!("/ws?{query}"), &headers).await.unwrap_err();
        assert_eq!((sse.status, ws.status), (status, status), "{query}");
        assert!(!sse.error().is_empty());
    }
    // Without the parameter: all that is granted, and not more. With it: what is granted of it.
    let mut stream = login.sse(&server, "/events").await;
    let mut part = login.ws(&server, "/ws?channels=runs,secrets").await;
    assert_eq!(server.broadcast("secrets", "1").await["matched"], 0);
    assert_eq!(server.broadcast("jobs", "2").await["matched"], 1);
    assert_eq!(server.broadcast("runs", "3").await["matched"], 2);
    assert_eq!([stream.data().await, stream.data().await], ["2", "3"]);
    assert_eq!(part.data().await, "3");
}

#[tokio::test]
async fn cap_1_the_eleventh_stream_of_a_session_evicts_the_oldest() {
    let server = TestServer::start().await;
    let (ada, other) = (server.sign_in("ada").await, server.sign_in("ada").await);
    let mut bystander = other.sse(&server, "/events").await;
    let mut oldest = ada.ws(&server, "/ws").await;
    let mut second = ada.sse(&server, "/events").await;
    let mut kept = Vec::new();
    for _ in 0..10 {
        kept.push(ada.ws(&server, "/ws").await);
    }
    assert_eq!(oldest.farewell().await, (4004, "evicted".into()));
    assert_eq!(second.farewell().await, "evicted");
    assert_eq!(server.broadcast("runs", "1").await["accepted"], 11);
    assert_eq!(bystander.data().await, "1");
    for stream in &mut kept {
        assert_eq!(stream.data().await, "1");
    }
    assert_eq!(server.close("/api/accounts/ada").await, 11);
    let stats = server.stats().await;
    assert_eq!((&stats["closed"]["evicted"], &stats["closed"]["revoked"]), (&json!(2), &json!(11)));
}

/// Waits until the statistics count the streams so.
async fn until_kinds(server: &TestServer, expected: Value) {
    within(async { while server.stats().await["kinds"] != expected {} }).await;
}

#[tokio::test]
async fn stats_count_by_transport_kind_and_reason() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    let mut streams = [
        ada.sse(&server, "/events?channels=runs").await,
        ada.sse(&server, "/events?channels=runs,jobs").await,
        ada.sse(&server, "/events").await,
    ];
    let ws = ada.ws(&server, "/ws?channels=jobs").await;
    server.broadcast("runs", "1").await;
    let none = json!({
        "revoked": 0, "logged_out": 0, "expired": 0, "heartbeat": 0, "evicted": 0, "lagged": 0,
        "failed": 0, "protocol": 0, "shutdown": 0, "unsubscribed": 0,
    });
    let expected = json!({
        "sessions": 1, "accounts": 1, "subscribers": 4, "draining": 0,
        "transports": { "sse": 3, "ws": 1 },
        "channels_named": 2, "unfiltered": 1, "closed": none, "broadcasts": 1, "dropped": 0,
        "tickets": 0, "remembered_revocations": 0, "refused": { "401": 1 },
        "kinds": { "direct": 4, "http1": 0, "http2_stream": 0, "portable": 0 },
    });
    server.sse("/events", &[]).await.unwrap_err();
    let mut stats = server.stats().await;
    let connections = stats.as_object_mut().unwrap().remove("connections").unwrap();
    let lanes = stats.as_object_mut().unwrap().remove("lanes").unwrap();
    assert_eq!(
        (&lanes["subscribers"], &lanes["wired"]),
        (&json!(4), &json!(4)),
        "all are direct: {lanes}"
    );
    assert_eq!(stats, expected);
    assert!(
        connections["open"].as_u64().unwrap() >= 5,
        "four streams, and this call: {connections}"
    );
    assert_eq!(connections["limit"], 20_000);
    for never in [
        "refused",
        "out_of_descriptors",
        "slow_heads",
        "idle_closed",
        "panics",
        "resets",
        "wrong_tokens",
    ] {
        assert_eq!(connections[never], 0, "{never}");
    }
    server.close("/api/accounts/ada").await;
    for stream in &mut streams {
        while stream.next().await.is_some() {}
    }
    let stats = server.stats().await;
    assert_eq!(stats["transports"], json!({ "sse": 0, "ws": 0 }));
    assert_eq!((&stats["channels_named"], &stats["closed"]["revoked"]), (&json!(0), &json!(4)));
    drop((streams, ws));
    until_kinds(&server, json!({ "direct": 0, "http1": 0, "http2_stream": 0, "portable": 0 }))
        .await;
    let health = server.get("/healthz", &[]).await;
    assert_eq!((health.status, health.json()), (200, json!({ "status": "ok" })));
}

#[tokio::test]
async fn one_connection_too_many_learns_when_to_come_back() {
    let options = Options::new().with_max_connections(2.try_into().unwrap());
    let server = TestServer::with(Reach::Loopback, options).await;
    let ada = server.sign_in("ada").await;
    let streams = [ada.sse(&server, "/events").await, ada.sse(&server, "/events").await];
    let refused = server.get("/healthz", &[]).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert!(refused.error().contains("too many connections"));
    drop(streams);
    let stats = loop {
        let response = server.get("/api/stats", &[]).await;
        if response.status == 200 {
            break response.json();
        }
    };
    let connections = &stats["connections"];
    let [refused, accepted] =
        ["refused", "accepted"].map(|count| connections[count].as_u64().unwrap());
    assert!(refused >= 1 && accepted == refused + 4, "a sign-in, two streams, this: {connections}");
    assert_eq!((&connections["limit"], &connections["out_of_descriptors"]), (&json!(2), &json!(0)));
}

#[tokio::test]
async fn channels_are_listed_in_pages_by_the_order_of_their_names() {
    let server = TestServer::start().await;
    let empty = server.get("/api/channels", &[]).await;
    assert_eq!((empty.status, empty.json()), (200, json!({ "channels": [], "next": null })));

    let ada = server.sign_in("ada").await;
    let _streams = [
        ada.sse(&server, "/events?channel=&channel=a%2Fb&channels=b,c").await,
        ada.sse(&server, "/events?channels=b").await,
        ada.sse(&server, "/events").await,
    ];
    let (unnamed, slashed) =
        (json!({ "name": "", "subscribers": 1 }), json!({ "name": "a/b", "subscribers": 1 }));
    let (b, c) =
        (json!({ "name": "b", "subscribers": 2 }), json!({ "name": "c", "subscribers": 1 }));
    for (query, channels, next) in [
        ("", json!([unnamed, slashed, b, c]), json!(null)),
        ("?limit=4", json!([unnamed, slashed, b, c]), json!(null)),
        ("?limit=1000", json!([unnamed, slashed, b, c]), json!(null)),
        ("?limit=1", json!([unnamed]), json!("")),
        ("?after=&limit=1", json!([slashed]), json!("a/b")),
        ("?after=a%2Fb&limit=1", json!([b]), json!("b")),
        ("?after=b&limit=1", json!([c]), json!(null)),
        ("?after=aa", json!([b, c]), json!(null)),
        ("?after=c", json!([]), json!(null)),
    ] {
        let page = server.get(&format!("/api/channels{query}"), &[]).await;
        assert_eq!(
            (page.status, page.json()),
            (200, json!({ "channels": channels, "next": next })),
            "{query}"
        );
    }
    for query in [
        "limit=0",
        "limit=1001",
        "limit=",
        "limit=x",
        "limit=-1",
        "limit=1.5",
        "limit=99999999999999999999",
    ] {
        let response = server.get(&format!("/api/channels?{query}"), &[]).await;
        assert_eq!(response.status, 400, "{query}");
        assert!(response.error().contains("a number from 1 to 1000"), "{response:?}");
    }
    assert_eq!(server.get("/api/channels?after=a&after=b", &[]).await.status, 400);
}

#[tokio::test]
async fn a_page_lists_100_channels_by_default() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    let query =
        |from: usize| (from..from + 100).map(|n| format!("{n:04}")).collect::<Vec<_>>().join(",");
    let mut streams = Vec::new();
    for from in [0, 100, 200] {
        streams.push(ada.sse(&server, &format!("/events?channels={}", query(from))).await);
    }
    let mut path = "/api/channels".to_owned();
    let mut names = Vec::new();
    for next in [json!("0099"), json!("0199"), json!(null)] {
        let page = server.get(&path, &[]).await.json();
        names.extend(
            page["channels"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["name"].as_str().unwrap().to_owned()),
        );
        assert_eq!((&page["next"], names.len() % 100), (&next, 0));
        path = format!("/api/channels?after={}", next.as_str().unwrap_or_default());
    }
    assert_eq!(names, (0..300).map(|n| format!("{n:04}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn portable_leaves_every_socket_to_http() {
    let server = TestServer::with(Reach::Loopback, Options::new().with_portable(true)).await;
    let ada = server.sign_in("ada").await;
    let mut streams = [ada.sse(&server, "/events").await, ada.sse(&server, "/events").await];
    let mut ws = ada.ws(&server, "/ws").await;
    server.broadcast("runs", "1").await;
    for stream in &mut streams {
        assert_eq!(stream.data().await, "1");
    }
    assert_eq!(ws.data().await, "1");
    let stats = server.stats().await;
    let lanes = &stats["lanes"];
    assert_eq!((&lanes["subscribers"], &lanes["wired"]), (&json!(0), &json!(0)), "{lanes}");
    let counts = |open| json!({ "direct": 0, "http1": open, "http2_stream": 0, "portable": 0 });
    assert_eq!(stats["kinds"], counts(3), "the HTTP server of the demo writes them");
    drop(ws);
    until_kinds(&server, counts(2)).await;
    drop(streams);
    until_kinds(&server, counts(0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_refused_after_ten_seconds() {
    let server = TestServer::start().await;
    let start = tokio::time::Instant::now();
    let request = head(
        server.address,
        "POST",
        "/api/channels/runs",
        &[("content-length", "9"), ("content-type", "application/json")],
    );
    let response = exchange(server.address, request.as_bytes()).await;
    assert_eq!((response.status, start.elapsed().as_secs()), (408, 10));
}

#[tokio::test]
async fn adm_1_a_role_that_changes_during_a_login_check_refuses_the_login_softly() {
    let options = Options::new().with_authorise_delay(Duration::from_millis(500));
    let server = TestServer::with(Reach::Loopback, options).await;
    let login = server.sign_in("ada").await;
    let bearer = login.bearer();
    let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream")];
    let change = async {
        sleep(Duration::from_millis(100)).await; // the check has read the session by then
        server.set_channels("ada", json!(["jobs"])).await
    };
    let (refused, closed) =
        tokio::join!(server.get("/events?channels=runs,jobs", &headers), change);
    assert_eq!(refused.status, 200, "an `EventSource` would end at any other status");
    assert_eq!(closed, 0, "nobody was admitted yet");
    let body = refused.body;
    assert!(body.starts_with("retry: 1") && body.contains("\"status\":503}"), "{body}");
    // It comes back, and hears what the role may hear.
    let mut stream = login.sse(&server, "/events?channels=runs,jobs").await;
    assert_eq!(server.broadcast("runs", "1").await["matched"], 0);
    server.broadcast("jobs", "2").await;
    assert_eq!(stream.data().await, "2");
}
