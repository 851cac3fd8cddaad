//! The guard before the calls of administrators.

use crate::client::{Headers, Response, TestServer, call, exchange};
use demo::{Access, Options, Reach};
use futures_util::future::join_all;
use serde_json::json;

const JSON: (&str, &str) = ("content-type", "application/json");

/// Calls of administrators that change something, each with a body that would do.
const CHANGES: [(&str, &str, &str); 7] = [
    ("POST", "/api/sessions", r#"{"account":"eve"}"#),
    ("DELETE", "/api/sessions/unknown", ""),
    ("PUT", "/api/accounts/bob/channels", r#"{"channels":[]}"#),
    ("DELETE", "/api/accounts/ada", ""),
    ("POST", "/api/channels/runs", r#""forged""#),
    ("POST", "/api/identities/account/ada/messages?channel=runs", r#""forged""#),
    ("DELETE", "/api/subscribers/unknown", ""),
];

/// The status of each when it is allowed.
const DONE: [u16; 7] = [201, 200, 200, 200, 202, 202, 200];

async fn change(
    server: &TestServer,
    (method, path, body): (&str, &str, &str),
    headers: Headers<'_>,
) -> Response {
    let headers = [headers, &[JSON]].concat();
    call(server.address, method, path, &headers, body.as_bytes()).await
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
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
        let refused = server
            .ws("/ws", &[("origin", origin), ("authorization", &ada.bearer())])
            .await
            .unwrap_err();
        assert_eq!(refused.status, 403, "{origin}");
    }
    assert_eq!(
        server.broadcast("runs", "1").await["accepted"],
        2,
        "nothing was forged, no stream was closed"
    );
    assert_eq!((sse.data().await, ws.data().await), ("1".into(), "1".into()));
    assert_eq!(server.stats().await["sessions"], 1);

    let own = format!("http://{}", server.address);
    for (call, status) in CHANGES.into_iter().zip(DONE) {
        assert_eq!(change(&server, call, &[("origin", &own)]).await.status, status, "{call:?}");
    }
    assert_eq!(sse.farewell().await, "revoked");
}

#[tokio::test]
async fn a_host_of_another_name_is_refused_on_loopback() {
    let server = TestServer::start().await;
    let port = server.address.port();
    let rebound = format!("evil.example:{port}");
    // After DNS rebinding, the page's own origin matches the host that it asks.
    let origin = format!("http://{rebound}");
    for host in [
        rebound.as_str(),
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.0.2.1",
    ] {
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
        for (call, status) in CHANGES.into_iter().zip(DONE) {
            assert_eq!(
                change(&server, call, &[("host", host)]).await.status,
                status,
                "{call:?} at {host}"
            );
        }
    }
}

/// As HTTP/2 always does.
#[tokio::test]
async fn a_host_in_the_address_counts_when_there_is_no_other() {
    let server = TestServer::start().await;
    let own = server.address.to_string();
    let evil = "evil.example";
    for (host, origin, status) in
        [(own.as_str(), own.as_str(), 200), (&own, evil, 403), (evil, evil, 403)]
    {
        let request = format!(
            "DELETE http://{host}/api/accounts/ada HTTP/1.1\r\norigin: http://{origin}\r\n\r\n"
        );
        assert_eq!(
            exchange(server.address, request.as_bytes()).await.status,
            status,
            "{origin} at {host}"
        );
    }
    assert_eq!(
        exchange(server.address, b"GET / HTTP/1.1\r\n\r\n").await.status,
        403,
        "no name at all"
    );
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
    for (call, status) in CHANGES.into_iter().zip(DONE) {
        let response = change(&server, call, &[right, ("host", "live.example")]).await;
        assert_eq!(response.status, status, "{call:?}: {response:?}");
        assert_eq!(
            change(&server, call, &[right, ("origin", "http://evil.example")]).await.status,
            403
        );
    }
    // Reading needs none; a stream needs a session, and the admin token is none.
    for path in ["/", "/healthz", "/api/stats"] {
        assert_eq!(server.get(path, &[("host", "live.example")]).await.status, 200, "{path}");
    }
    assert_eq!(server.sse("/events", &[right]).await.unwrap_err().status, 401);
    let response = change(&server, CHANGES[0], &[right]).await;
    let bearer = format!("Bearer {}", response.json()["token"].as_str().unwrap());
    let mut stream = server.sse("/events", &[("authorization", &bearer)]).await.unwrap();
    assert_eq!(change(&server, CHANGES[4], &[right]).await.status, 202);
    assert_eq!(stream.data().await, r#""forged""#);
    assert_eq!(
        change(&server, CHANGES[1], &[("authorization", &bearer)]).await.status,
        401,
        "a session is no admin"
    );
}

#[tokio::test]
async fn off_loopback_and_without_an_admin_token_nothing_changes() {
    let server = TestServer::with(Reach::Network, Options::new()).await;
    for call in CHANGES {
        for headers in [&[][..], &[("authorization", "Bearer ")], &[("authorization", "Bearer x")]]
        {
            let response = change(&server, call, headers).await;
            assert_eq!(response.status, 403, "{call:?}");
            assert!(response.error().contains("--admin-token-file"), "{response:?}");
        }
    }
    assert_eq!(server.get("/api/stats", &[]).await.status, 200);
    assert_eq!(server.get("/api/channels", &[]).await.status, 403);
}

/// A path of the router as an address, with this in the place of its parameter.
fn address(path: &str, parameter: &str) -> String {
    match path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?.1))) {
        Some((before, after)) => format!("{before}{parameter}{after}"),
        None => path.to_owned(),
    }
}

/// Each address of the router, with a name and with the empty one where it takes one, and what lies
/// beside them.
fn addresses(server: &TestServer) -> Vec<String> {
    let of_path = |path: &str| {
        let named = address(path, "ada");
        [named.clone(), address(path, ""), format!("{named}/"), format!("{named}/ada")]
    };
    server.calls.iter().flat_map(|call| of_path(call.path)).collect()
}

#[tokio::test]
async fn every_call_of_the_router_is_guarded_unless_anyone_may_read_it() {
    let token = "correct horse";
    let options = Options::new().with_admin_token(token).with_open(true);
    let server = TestServer::with(Reach::Network, options).await;
    assert!(server.calls.len() > 12, "{:?}", server.calls);

    // Only a `GET` is for anyone, and no other method gets past the guard at any address.
    for call in &server.calls {
        assert!(call.access == Access::Administrator || call.method == "GET", "{call:?}");
    }
    let addresses = addresses(&server);
    assert!(
        addresses.iter().any(|address| address == "/api/channels/"),
        "the empty name: {addresses:?}"
    );
    for address in &addresses {
        for method in ["POST", "PUT", "PATCH", "DELETE", "BREW"] {
            let response = change(&server, (method, address, "{}"), &[]).await;
            assert_eq!(response.status, 401, "{method} {address}");
            assert!(response.error().contains("admin token"), "{response:?}");
        }
    }

    // Administrators can make their calls, and pages of other sites cannot.
    let right = ("authorization", "Bearer correct horse");
    for call in server.calls.iter().filter(|call| call.access == Access::Administrator) {
        let address = address(call.path, "x");
        let request = (call.method.as_str(), address.as_str(), "{}");
        assert_eq!(change(&server, request, &[]).await.status, 401, "{call:?}");
        assert_eq!(
            change(&server, request, &[right, ("origin", "http://evil.example")]).await.status,
            403,
            "{call:?}"
        );
        let status = change(&server, request, &[right]).await.status;
        assert!(matches!(status, 200..=202 | 400), "{call:?}: {status}");
    }
}

#[tokio::test]
async fn the_names_of_channels_and_the_list_of_streams_are_for_administrators() {
    let right = [("authorization", "Bearer x")];
    let server = TestServer::with(Reach::Network, Options::new().with_admin_token("x")).await;
    for list in ["channels", "subscribers"] {
        let path = format!("/api/{list}");
        for query in ["", "?after=&limit=1", "?token=x"] {
            let response = server.get(&format!("{path}{query}"), &[]).await;
            assert_eq!(response.status, 401);
            assert!(response.error().contains("admin token"), "{response:?}");
        }
        assert_eq!(call(server.address, "HEAD", &path, &[], b"").await.status, 401);
        assert_eq!(server.get(&path, &right).await.json(), json!({ list: [], "next": null }));
    }
    let on_loopback = TestServer::with(Reach::Loopback, Options::new().with_admin_token("x")).await;
    assert_eq!(on_loopback.get("/api/channels", &[]).await.status, 401);
    assert_eq!(on_loopback.get("/api/channels", &right).await.status, 200);
    // Counts that name no account are for every client.
    for path in ["/api/stats", "/healthz", "/api/session", "/"] {
        assert!(matches!(server.get(path, &[]).await.status, 200 | 204), "{path}");
    }
}

#[tokio::test]
async fn ten_wrong_tokens_in_a_minute_make_an_address_wait() {
    let server = TestServer::with(Reach::Network, Options::new().with_admin_token("x")).await;
    let with = |token: &'static str| {
        let server = &server;
        async move {
            change(server, ("DELETE", "/api/accounts/ada", ""), &[("authorization", token)]).await
        }
    };
    // A call without a token is no guess.
    for _ in 0..12 {
        assert_eq!(change(&server, CHANGES[3], &[]).await.status, 401);
        assert_eq!(with("Basic eDp4").await.status, 401);
    }
    // A request that a page of another site made a browser send is no guess of that address.
    for _ in 0..12 {
        let headers = [("authorization", "Bearer y"), ("origin", "http://evil.example")];
        assert_eq!(change(&server, CHANGES[3], &headers).await.status, 403);
    }
    assert_eq!(with("Bearer x").await.status, 200);

    // Guesses that are made at once are counted one by one.
    let answers = join_all((0..30).map(|_| with("Bearer y"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 10);
    for answer in answers.iter().filter(|answer| answer.status != 401) {
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!(answer.status == 429 && (1..=60).contains(&wait), "{answer:?}");
        assert!(answer.error().contains("too many wrong admin tokens"), "{answer:?}");
    }
    assert_eq!(with("Bearer x").await.status, 429, "the right one is not looked at");
    assert_eq!(server.get("/api/channels", &[("authorization", "Bearer x")]).await.status, 429);
    assert_eq!(server.stats().await["connections"]["wrong_tokens"], 10);
    assert_eq!(
        change(&server, CHANGES[3], &[]).await.status,
        401,
        "the refusal of a call without a token says what is missing"
    );
    assert_eq!(
        server.sse("/events", &[("authorization", "Bearer y")]).await.unwrap_err().status,
        401,
        "no admin's call"
    );

    #[cfg(target_os = "linux")]
    {
        let other = tokio::net::TcpSocket::new_v4().unwrap();
        other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let socket = other.connect(server.address).await.unwrap();
        let request =
            b"DELETE /api/accounts/ada HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n\r\n";
        assert_eq!(
            crate::client::exchange_on(socket, request).await.status,
            200,
            "another address does not wait"
        );
    }
}

#[tokio::test]
async fn an_admin_token_counts_on_loopback_too() {
    let server = TestServer::with(Reach::Loopback, Options::new().with_admin_token("x")).await;
    assert_eq!(change(&server, CHANGES[0], &[]).await.status, 401);
    assert_eq!(change(&server, CHANGES[0], &[("authorization", "Bearer x")]).await.status, 201);
}

#[tokio::test]
async fn an_unknown_address_or_method_is_refused_with_a_reason() {
    let server = TestServer::start().await;
    for path in ["/nothing", "/api", "/api/channels/a/b", "/../etc/passwd"] {
        let response = server.get(path, &[]).await;
        assert_eq!(response.status, 404, "{path}");
        assert!(!response.error().is_empty());
    }
    for (method, path) in [
        ("PUT", "/api/channels/runs"),
        ("GET", "/api/sessions"),
        ("POST", "/events"),
        ("DELETE", "/"),
    ] {
        let response = call(server.address, method, path, &[], b"").await;
        assert_eq!(response.status, 405, "{method} {path}");
        assert!(!response.error().is_empty());
    }
}
