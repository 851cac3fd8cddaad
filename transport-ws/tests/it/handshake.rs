//! The upgrade request.

use crate::Server;
use registry_core::{CloseReason, RegistryOptions};
use tokio::io::AsyncWriteExt;
use transport_core::test_util::{Host, Raw, account, until, until_is};
use transport_core::{ConnectionKind, LiveOptions, Origins};
use transport_ws::WsOptions;

pub(crate) const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

impl Server {
    async fn upgrade(&self, query: &str, headers: &str) -> (u16, Raw) {
        let target = format!("/ws?{query}");
        let (head, raw) =
            Raw::request(self.address, "GET", &target, &format!("{UPGRADE}{headers}")).await;
        (head.status, raw)
    }
}

async fn ws_3_pages_of_other_origins_are_refused_before_the_upgrade(host: Host) {
    let server = Server::start(host, &["ada"]).await;
    let own = format!("Origin: http://{}\r\n", server.address);
    assert_eq!(server.upgrade("token=ada", &own).await.0, 101);
    assert_eq!(
        server.upgrade("token=ada", "").await.0,
        101,
        "a client that is no browser sends no origin"
    );
    let suffixed = format!("http://1{}", server.address);
    for other in ["http://evil.example", "null", "http://127.0.0.1:1", &suffixed] {
        let (status, mut raw) = server.upgrade("token=ada", &format!("Origin: {other}\r\n")).await;
        assert_eq!(status, 403, "{other}");
        let reason = raw.read_past("}").await;
        for part in ["may not connect here", other, &server.address.to_string(), "with_origins"] {
            assert!(reason.contains(part), "{reason}");
        }
    }
    assert_eq!(server.live.admission_stats().refusals, [(403, 4)].into(), "each is counted");
    assert_eq!(
        server.tokens.looks(),
        2,
        "the credential of a page of another origin is not checked"
    );

    let options =
        LiveOptions::new().with_origins(Origins::SameOr(vec!["https://app.example".into()]));
    let server =
        Server::with(host, &["ada"], RegistryOptions::new(), options, WsOptions::new()).await;
    assert_eq!(server.upgrade("token=ada", "Origin: https://app.example\r\n").await.0, 101);
    assert_eq!(server.upgrade("token=ada", "Origin: https://app.example.evil\r\n").await.0, 403);
}

async fn ws_3_a_refusal_is_an_http_error_with_a_reason(host: Host) {
    let server = Server::start(host, &["ada"]).await;
    for (query, status, reason) in [
        ("token=unknown", 401, "sign in first"),
        ("token=ada&channels=", 400, "leave the parameter out"),
    ] {
        let (seen, mut raw) = server.upgrade(query, "").await;
        assert_eq!(seen, status);
        assert!(raw.read_past("}").await.contains(reason));
    }
    assert!(server.live.is_empty());
}

async fn ws_3_a_request_that_is_no_upgrade_learns_what_to_ask_for(host: Host) {
    let server = Server::start(host, &["ada"]).await;
    let older = UPGRADE.replace("Version: 13", "Version: 8");
    for (method, headers) in [("GET", ""), ("GET", &*older), ("HEAD", ""), ("HEAD", UPGRADE)] {
        let (head, mut raw) = Raw::request(server.address, method, "/ws?token=ada", headers).await;
        assert_eq!(head.status, 426, "{method} {headers}");
        assert_eq!(
            (head.header("upgrade"), head.header("connection")),
            (Some("websocket"), Some("upgrade"))
        );
        assert_eq!(head.header("sec-websocket-version"), Some("13"));
        if method == "GET" {
            raw.read_past("speaks WebSocket").await;
        }
    }
    assert_eq!(Raw::request(server.address, "POST", "/ws?token=ada", UPGRADE).await.0.status, 405);
    assert_eq!(
        (server.live.len(), server.tokens.looks()),
        (0, 0),
        "no credential is checked in vain"
    );
}

/// A client may send its first bytes without waiting for the answer to its request.
async fn ws_2_bytes_that_came_with_the_request_are_not_lost(host: Host) {
    let server = Server::start(host, &["ada"]).await;
    let ping = [0x89, 0x85, 0, 0, 0, 0, b'e', b'a', b'r', b'l', b'y'];
    for early in [1, 2, 6, ping.len()] {
        let mut raw = Raw::connect(server.address).await;
        let request =
            format!("GET /ws?token=ada HTTP/1.1\r\nHost: {}\r\n{UPGRADE}\r\n", server.address);
        raw.tcp.write_all(&[request.as_bytes(), &ping[..early]].concat()).await.unwrap();
        let head = raw.read_past("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw.tcp.write_all(&ping[early..]).await.unwrap();
        assert_eq!(
            raw.read_past("early").await.trim_start_matches(|byte| byte != '\u{5}'),
            "\u{5}early"
        );
    }
}

async fn adm_7_the_subscriber_is_active_before_the_client_sees_101(host: Host) {
    let server = Server::start(host, &["ada"]).await;
    let (status, mut raw) = server.upgrade("token=ada", "").await;
    assert_eq!((status, server.live.len()), (101, 1));
    assert_eq!(server.broadcast("at once").accepted, 1);
    raw.read_past("\"at once\"").await;
}

async fn adm_7_a_login_that_a_revocation_overtakes_is_refused(host: Host) {
    let server = Server::start(host, &["ada"]).await;
    let (live, tokens) = (server.live.clone(), server.tokens.clone());
    server.tokens.after_look(move |_| {
        tokens.remove("ada");
        live.close_by_identity(account("ada"));
    });
    assert_eq!(server.upgrade("token=ada", "").await.0, 503);
    assert_eq!((server.tokens.looks(), server.live.len()), (1, 0), "one attempt");
    assert_eq!(server.upgrade("token=ada", "").await.0, 401, "the next one is checked anew");
}

async fn sse_5_a_websocket_client_that_leaves_is_noticed(host: Host) {
    let server = Server::start(host, &["ada"]).await;
    let (_, raw) = server.upgrade("token=ada", "").await;
    assert_eq!(server.live.len(), 1);
    drop(raw);
    until("the removal", || server.live.is_empty()).await;
    assert_eq!(server.live.stats().ended[&CloseReason::Unsubscribed], 1);
}

async fn cnt_1_a_websocket_is_counted_by_its_kind_until_its_client_leaves(host: Host) {
    let server = Server::start(host, &["ada"]).await;
    let kind = if host.is_direct() { ConnectionKind::Direct } else { ConnectionKind::Portable };
    let counts = |sockets: usize| {
        ConnectionKind::ALL.map(|each| (each, if each == kind { sockets } else { 0 })).into()
    };
    let kinds = || server.live.admission_stats().kinds;
    let (one, other) = (server.open("token=ada").await, server.open("token=ada").await);
    until_is("both connections", counts(2), kinds).await;
    drop(one);
    until_is("the end of one connection", counts(1), kinds).await;
    drop(other);
    until_is("the end of both", counts(0), kinds).await;
}

transport_core::on_every_host!(
    cnt_1_a_websocket_is_counted_by_its_kind_until_its_client_leaves,
    ws_3_pages_of_other_origins_are_refused_before_the_upgrade,
    ws_3_a_refusal_is_an_http_error_with_a_reason,
    ws_3_a_request_that_is_no_upgrade_learns_what_to_ask_for,
    ws_2_bytes_that_came_with_the_request_are_not_lost,
    adm_7_the_subscriber_is_active_before_the_client_sees_101,
    adm_7_a_login_that_a_revocation_overtakes_is_refused,
    sse_5_a_websocket_client_that_leaves_is_noticed,
);
