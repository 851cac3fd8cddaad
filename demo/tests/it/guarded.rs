//! Who may change something.

use crate::client::{Headers, Response, TestServer, call, exchange};
use demo::{Options, Reach};

const JSON: (&str, &str) = ("content-type", "application/json");

/// The calls that change something, each with a body that would do.
const CHANGES: [(&str, &str, &str); 4] = [
    ("POST", "/api/sessions", r#"{"account":"eve"}"#),
    ("DELETE", "/api/sessions/unknown", ""),
    ("DELETE", "/api/accounts/ada", ""),
    ("POST", "/api/channels/runs", r#""forged""#),
];

async fn change(server: &TestServer, (method, path, body): (&str, &str, &str), headers: Headers<'_>) -> Response {
    let headers = [headers, &[JSON]].concat();
    call(server.address, method, path, &headers, body.as_bytes()).await
}

#[tokio::test]
async fn a_foreign_origin_changes_nothing() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    let (mut sse, mut ws) = (ada.sse(&server, "/events").await, ada.ws(&server, "/ws").await);
    let other_port = format!("http://127.0.0.1:{}", server.address.port() ^ 1);
    for origin in ["http://evil.example", "null", "", "http://localhost", "file://", &other_port] {
        for call in CHANGES {
            let response = change(&server, call, &[("origin", origin)]).await;
            assert_eq!(response.status, 403, "{call:?} from {origin}");
            assert!(response.error().contains("origin"), "{response:?}");
        }
        let refused = server.ws("/ws", &[("origin", origin), ("authorization", &ada.bearer())]).await.unwrap_err();
        assert_eq!(refused.status, 403, "{origin}");
    }
    assert_eq!(server.broadcast("runs", "1").await["accepted"], 2, "nothing was forged, nobody was closed");
    assert_eq!((sse.data().await, ws.data().await), ("1".into(), "1".into()));
    assert_eq!(server.stats().await["sessions"], 1);

    let own = format!("http://{}", server.address);
    for (call, status) in CHANGES.into_iter().zip([201, 200, 200, 202]) {
        assert_eq!(change(&server, call, &[("origin", &own)]).await.status, status, "{call:?}");
    }
    assert_eq!(sse.farewell().await, "revoked");
}

#[tokio::test]
async fn a_foreign_host_is_refused_on_loopback() {
    let server = TestServer::start().await;
    let port = server.address.port();
    let rebound = format!("evil.example:{port}");
    // After DNS rebinding, the page's own origin matches the host that it asks.
    let origin = format!("http://{rebound}");
    for host in [rebound.as_str(), "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1"] {
        for call in CHANGES {
            let response = change(&server, call, &[("host", host), ("origin", &origin)]).await;
            assert_eq!(response.status, 403, "{call:?} at {host}");
            assert_eq!(change(&server, call, &[("host", host)]).await.status, 403);
        }
        for path in ["/", "/events", "/api/stats"] {
            assert_eq!(server.get(path, &[("host", host)]).await.status, 403, "{path} at {host}");
        }
    }
    for host in ["localhost", "127.0.0.1", "[::1]", "localhost:1", &format!("[::1]:{port}")] {
        for (call, status) in CHANGES.into_iter().zip([201, 200, 200, 202]) {
            assert_eq!(change(&server, call, &[("host", host)]).await.status, status, "{call:?} at {host}");
        }
    }
}

/// As HTTP/2 always does.
#[tokio::test]
async fn a_host_in_the_address_counts_when_there_is_no_other() {
    let server = TestServer::start().await;
    let own = server.address.to_string();
    let evil = "evil.example";
    for (host, origin, status) in [(own.as_str(), own.as_str(), 200), (&own, evil, 403), (evil, evil, 403)] {
        let request = format!("DELETE http://{host}/api/accounts/ada HTTP/1.1\r\norigin: http://{origin}\r\n\r\n");
        assert_eq!(exchange(server.address, request.as_bytes()).await.status, status, "{origin} at {host}");
    }
    assert_eq!(exchange(server.address, b"GET / HTTP/1.1\r\n\r\n").await.status, 403, "no name at all");
}

#[tokio::test]
async fn off_loopback_a_change_needs_the_admin_token() {
    let token = "correct horse";
    let server = TestServer::with(Reach::Network, Options::new().with_admin_token(token)).await;
    let wrong = [
        &[][..],
        &[("authorization", "Bearer wrong")],
        &[("authorization", "Bearer ")],
        &[("authorization", "correct horse")],
        &[("cookie", "session=correct horse")],
    ];
    for headers in wrong {
        for call in CHANGES {
            let response = change(&server, call, headers).await;
            assert_eq!(response.status, 401, "{call:?} with {headers:?}");
            assert!(response.error().contains("admin token"), "{response:?}");
        }
    }
    let right = ("authorization", "Bearer correct horse");
    for (call, status) in CHANGES.into_iter().zip([201, 200, 200, 202]) {
        let response = change(&server, call, &[right, ("host", "live.example")]).await;
        assert_eq!(response.status, status, "{call:?}: {response:?}");
        assert_eq!(change(&server, call, &[right, ("origin", "http://evil.example")]).await.status, 403);
    }
    // Reading needs none; a stream needs a session, and the admin token is none.
    for path in ["/", "/healthz", "/api/stats"] {
        assert_eq!(server.get(path, &[("host", "live.example")]).await.status, 200, "{path}");
    }
    assert_eq!(server.sse("/events", &[right]).await.unwrap_err().status, 401);
    let response = change(&server, CHANGES[0], &[right]).await;
    let bearer = format!("Bearer {}", response.json()["token"].as_str().unwrap());
    let mut stream = server.sse("/events", &[("authorization", &bearer)]).await.unwrap();
    assert_eq!(change(&server, CHANGES[3], &[right]).await.status, 202);
    assert_eq!(stream.data().await, r#""forged""#);
    assert_eq!(change(&server, CHANGES[1], &[("authorization", &bearer)]).await.status, 401, "a session is no admin");
}

#[tokio::test]
async fn off_loopback_and_without_an_admin_token_nothing_changes() {
    let server = TestServer::with(Reach::Network, Options::new()).await;
    for call in CHANGES {
        for headers in [&[][..], &[("authorization", "Bearer ")], &[("authorization", "Bearer x")]] {
            let response = change(&server, call, headers).await;
            assert_eq!(response.status, 403, "{call:?}");
            assert!(response.error().contains("--admin-token"), "{response:?}");
        }
    }
    assert_eq!(server.get("/api/stats", &[]).await.status, 200);
}

#[tokio::test]
async fn an_admin_token_counts_on_loopback_too() {
    let server = TestServer::with(Reach::Loopback, Options::new().with_admin_token("x")).await;
    assert_eq!(change(&server, CHANGES[0], &[]).await.status, 401);
    assert_eq!(change(&server, CHANGES[0], &[("authorization", "Bearer x")]).await.status, 201);
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let server = TestServer::start().await;
    for path in ["/nothing", "/api", "/api/channels/a/b", "/../etc/passwd"] {
        let response = server.get(path, &[]).await;
        assert_eq!(response.status, 404, "{path}");
        assert!(!response.error().is_empty());
    }
    for (method, path) in
        [("PUT", "/api/channels/runs"), ("GET", "/api/sessions"), ("POST", "/events"), ("DELETE", "/")]
    {
        let response = call(server.address, method, path, &[], b"").await;
        assert_eq!(response.status, 405, "{method} {path}");
        assert!(!response.error().is_empty());
    }
}
