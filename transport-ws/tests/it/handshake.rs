//! The way in.

use crate::Server;
use crate::wire::{Raw, Site, account, on_both_sites, until};
use registry_core::RegistryOptions;
use transport_core::{LiveOptions, Origins};
use transport_ws::WsOptions;

pub(crate) const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

impl Server {
    async fn upgrade(&self, query: &str, headers: &str) -> (u16, Raw) {
        let target = format!("/ws?{query}");
        let (head, raw) = Raw::request(self.address, "GET", &target, &format!("{UPGRADE}{headers}")).await;
        (head.status, raw)
    }
}

async fn ws_3_foreign_pages_are_refused_before_the_upgrade(site: Site) {
    let server = Server::start(site, &["ada"]).await;
    let own = format!("Origin: http://{}\r\n", server.address);
    assert_eq!(server.upgrade("token=ada", &own).await.0, 101);
    assert_eq!(server.upgrade("token=ada", "").await.0, 101, "no browser, no origin");
    for foreign in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        let (status, mut raw) = server.upgrade("token=ada", &format!("Origin: {foreign}\r\n")).await;
        assert_eq!(status, 403, "{foreign}");
        assert!(raw.read_past("}").await.contains("may not connect here"));
    }
    assert_eq!(server.live.refusals(), [(403, 3)].into(), "each is counted");
    assert_eq!(server.tokens.looks(), 2, "the credential of a foreign page is not looked at");

    let options = LiveOptions::new().with_origins(Origins::SameOr(vec!["https://app.example".into()]));
    let server = Server::with(site, &["ada"], RegistryOptions::new(), options, WsOptions::new()).await;
    assert_eq!(server.upgrade("token=ada", "Origin: https://app.example\r\n").await.0, 101);
}

async fn ws_3_a_refusal_is_an_http_error_with_a_reason(site: Site) {
    let server = Server::start(site, &["ada"]).await;
    for (query, status, reason) in
        [("token=unknown", 401, "sign in first"), ("token=ada&channels=", 400, "leave the parameter out")]
    {
        let (seen, mut raw) = server.upgrade(query, "").await;
        assert_eq!(seen, status);
        assert!(raw.read_past("}").await.contains(reason));
    }
    let (head, mut raw) = Raw::get(server.address, "/ws?token=ada").await;
    assert_eq!((head.status, head.header("upgrade")), (426, Some("websocket")));
    assert!(raw.read_past("}").await.contains("speaks WebSocket"));
    assert!(server.registry.is_empty());
}

async fn adm_7_the_subscriber_is_active_before_the_client_sees_101(site: Site) {
    let server = Server::start(site, &["ada"]).await;
    let (status, mut raw) = server.upgrade("token=ada", "").await;
    assert_eq!((status, server.registry.len()), (101, 1));
    assert_eq!(server.broadcast("at once").accepted, 1);
    raw.read_past("\"at once\"").await;
}

async fn adm_7_a_login_that_a_revocation_overtakes_is_refused(site: Site) {
    let server = Server::start(site, &["ada"]).await;
    let (registry, tokens) = (server.registry.clone(), server.tokens.clone());
    server.tokens.after_look(move |_| {
        tokens.forget("ada");
        registry.close_by_identity(&account("ada"));
    });
    assert_eq!(server.upgrade("token=ada", "").await.0, 401);
    assert_eq!((server.tokens.looks(), server.registry.len()), (2, 0));
}

async fn sse_5_ws_too_a_client_that_goes_away_is_noticed(site: Site) {
    let server = Server::start(site, &["ada"]).await;
    let (_, raw) = server.upgrade("token=ada", "").await;
    assert_eq!(server.registry.len(), 1);
    drop(raw);
    until("the removal", || server.registry.is_empty()).await;
}

on_both_sites!(
    ws_3_foreign_pages_are_refused_before_the_upgrade,
    ws_3_a_refusal_is_an_http_error_with_a_reason,
    adm_7_the_subscriber_is_active_before_the_client_sees_101,
    adm_7_a_login_that_a_revocation_overtakes_is_refused,
    sse_5_ws_too_a_client_that_goes_away_is_noticed,
);
