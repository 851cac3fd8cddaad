//! What a request needs, and the race that a ticket closes.

use crate::Server;
use axum::Router;
use axum::http::request::Parts;
use registry_core::{ChannelFilter, RegistryOptions, ScopeCap, WhenFull};
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};
use transport_core::test_util::{Host, Raw, Running, Tokens, account, grant};
use transport_core::{Authorise, Grant, Live, LiveOptions, Refusal};
use transport_sse::sse;

async fn adm_7_a_login_that_a_revocation_overtakes_is_refused(host: Host) {
    let server = Server::start(host, Tokens::of(&["ada"])).await;
    let (live, tokens) = (server.live.clone(), server.tokens.clone());
    // The account is revoked just after its credential was found good.
    server.tokens.after_look(move |look| {
        if look == 1 {
            tokens.remove("ada");
            assert_eq!(
                live.close_by_identity(account("ada")),
                0,
                "there is no subscriber to close yet"
            );
        }
    });
    let (head, _raw) = Raw::get(server.address, "/events?token=ada").await;
    assert_eq!((head.status, head.header("retry-after")), (503, Some("1")));
    assert_eq!(
        (server.tokens.looks(), server.live.len(), server.live.stats().tickets),
        (1, 0, 0),
        "one attempt, since a second would ask what a middleware put into the same request"
    );
    assert_eq!(server.refused("token=ada").await.0, 401, "the next request is checked anew");
}

const BROWSER: &str = "Accept: text/event-stream\r\n";

async fn adm_7_a_browser_that_a_change_of_roles_crosses_is_asked_to_come_back(host: Host) {
    let server = Server::start(host, Tokens::of(&["ada"])).await;
    let live = server.live.clone();
    server.tokens.after_look(move |look| {
        if look == 1 {
            live.close_by_identity(account("ada"));
        }
    });
    let target = "/events?token=ada";
    let (head, mut raw) = Raw::request(server.address, "GET", target, BROWSER).await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    let read = raw.read_past("data: {\"reason\":\"unavailable\",\"status\":503}\n\n").await;
    let retry = read.lines().find_map(|line| line.strip_prefix("retry: ")).unwrap();
    assert!((1000..=2000).contains(&retry.parse::<u64>().unwrap()), "{read}");
    assert!(read.contains("event: close\n") && !read.contains("id:"), "{read}");
    assert_eq!((server.live.len(), server.live.admission_stats().refusals[&503]), (0, 1));
    let mut raw = server.open("token=ada").await;
    server.broadcast("runs", "1");
    raw.read_past("data: 1\n").await;
}

async fn adm_2_a_refusal_that_lasts_reaches_a_browser_as_its_status(host: Host) {
    let server = Server::start(host, Tokens::of(&["ada"])).await;
    for (query, status) in [("token=nobody", 401), ("token=ada&channels=", 400)] {
        let target = format!("/events?{query}");
        let (head, _raw) = Raw::request(server.address, "GET", &target, BROWSER).await;
        assert_eq!(head.status, status, "{query}");
    }
}

async fn adm_7_a_head_request_is_answered_and_admits_no_subscriber(host: Host) {
    let cap = RegistryOptions::new().with_scope_cap(ScopeCap::new(NonZeroUsize::MIN));
    let server = Server::with(host, Tokens::of(&["ada"]), cap, LiveOptions::new()).await;
    let mut stream = server.open("token=ada").await;
    let live = server.live.clone();
    server.tokens.after_look(move |_| assert_eq!(live.stats().tickets, 1, "it is drawn before"));
    let mut raw = Raw::connect(server.address).await;
    for _ in 0..2 {
        let (head, kept) = raw.ask("HEAD", "/events?token=ada", "").await;
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("cache-control"), Some("no-store"));
        assert_eq!(head.header("x-accel-buffering"), Some("no"));
        assert_eq!(head.header("content-length"), None, "a stream has no length");
        raw = kept;
    }
    assert_eq!(server.tokens.looks(), 3);
    for (query, status) in [("token=nobody", 401), ("token=ada&channels=", 400)] {
        let (head, kept) = raw.ask("HEAD", &format!("/events?{query}"), "").await;
        assert_eq!(head.status, status);
        raw = kept;
    }
    assert_eq!(server.live.admission_stats().refusals, [(400, 1), (401, 1)].into());
    let stats = server.live.stats();
    assert_eq!(
        (stats.subscribers, stats.ended.len()),
        (1, 0),
        "no subscriber joined and none left"
    );
    server.broadcast("runs", "1");
    stream.read_past("data: 1\n").await;
}

async fn adm_7_the_subscriber_is_active_before_the_client_sees_the_head(host: Host) {
    let server = Server::start(host, Tokens::of(&["ada"])).await;
    let (head, mut raw) = Raw::get(server.address, "/events?token=ada").await;
    assert_eq!((head.status, server.live.len()), (200, 1));
    assert_eq!(server.broadcast("runs", "1").accepted, 1);
    raw.read_past("data: 1\n").await;
}

async fn flt_2_a_query_asks_for_a_part_and_never_for_more(host: Host) {
    let tokens = Tokens::default();
    tokens.grant("ada", grant("ada", ChannelFilter::only(["runs", "jobs", "a,b", ""])));
    tokens.grant("nothing", grant("nothing", ChannelFilter::only([""; 0])));
    let server = Server::start(host, tokens).await;
    for query in ["channels=", "channels=runs,", "channel=%ff", "channels=%zz"] {
        assert_eq!(server.refused(&format!("token=ada&{query}")).await.0, 400, "{query}");
    }
    for query in ["channels=secrets", "channel=runs,jobs", "channels=Runs,RUNS", "channel=a%2Cb%00"]
    {
        let (status, body) = server.refused(&format!("token=ada&{query}")).await;
        assert_eq!(status, 403, "{query}");
        assert!(body.contains("is not granted"), "{body}");
    }
    assert_eq!(server.refused("token=nothing&channels=runs").await.0, 403);
    assert_eq!(
        server.live.admission_stats().refusals,
        [(400, 4), (403, 5)].into(),
        "each is counted"
    );

    let mut part = server.open("token=ada&channels=runs,secrets").await;
    let mut comma = server.open("token=ada&channel=a,b&channel=").await;
    let mut granted = server.open("token=ada").await;
    let nothing = server.open("token=nothing").await;
    assert_eq!(server.broadcast("secrets", "0").matched, 0);
    assert_eq!(server.broadcast("jobs", "1").matched, 1);
    assert_eq!(server.broadcast("a,b", "2").matched, 2);
    assert_eq!(server.broadcast("", "3").matched, 2);
    assert_eq!(server.broadcast("runs", "4").matched, 2);
    assert!(!part.read_past("data: 4\n").await.contains("data: 1"));
    comma.read_past("data: 3\n").await;
    granted.read_past("data: 4\n").await;
    assert_eq!(server.live.close_by_identity(account("nothing")), 1);
    assert!(!nothing.read_to_end().await.contains("id:"), "an empty grant is not everything");
}

async fn flt_8_a_request_has_limits_on_names(host: Host) {
    let server = Server::start(host, Tokens::of(&["ada"])).await;
    let names =
        |count: usize| (0..count).map(|i| format!("channel=c{i}")).collect::<Vec<_>>().join("&");
    assert_eq!(server.refused(&format!("token=ada&{}", names(101))).await.0, 400);
    server.open(&format!("token=ada&{}", names(100))).await;
    assert_eq!(server.refused(&format!("token=ada&channel={}", "n".repeat(257))).await.0, 400);
    server.open(&format!("token=ada&channel={}", "n".repeat(256))).await;

    let options = LiveOptions::new()
        .with_max_channels(NonZeroUsize::new(2).unwrap())
        .with_max_channel_bytes(3);
    let server = Server::with(host, Tokens::of(&["ada"]), RegistryOptions::new(), options).await;
    server.open("token=ada&channels=abc,d").await;
    for query in ["channels=a,b,c", "channel=abcd"] {
        assert_eq!(server.refused(&format!("token=ada&{query}")).await.0, 400, "{query}");
    }
}

async fn lse_1_a_grant_that_is_over_is_refused(host: Host) {
    let tokens = Tokens::default();
    tokens.grant(
        "old",
        grant("old", ChannelFilter::All)
            .with_expires_at(SystemTime::now() - Duration::from_secs(1)),
    );
    assert_eq!(Server::start(host, tokens).await.refused("token=old").await.0, 401);
}

async fn cap_2_a_full_scope_may_refuse(host: Host) {
    let cap = ScopeCap::new(NonZeroUsize::MIN).with_when_full(WhenFull::RefuseNew);
    let registry = RegistryOptions::new().with_scope_cap(cap);
    let server = Server::with(host, Tokens::of(&["ada"]), registry, LiveOptions::new()).await;
    let mut first = server.open("token=ada").await;
    let (head, _raw) = Raw::get(server.address, "/events?token=ada").await;
    assert_eq!((head.status, head.header("retry-after")), (429, Some("1")));
    server.broadcast("runs", "1");
    first.read_past("data: 1\n").await;
}

async fn drn_1_a_registry_that_shuts_down_admits_no_subscriber(host: Host) {
    let server = Server::start(host, Tokens::of(&["ada"])).await;
    server.live.begin_shutdown();
    let (head, _raw) = Raw::get(server.address, "/events?token=ada").await;
    assert_eq!((head.status, head.header("retry-after")), (503, Some("1")));
}

async fn iso_8_a_panicking_login_check_leaves_nothing_behind(host: Host) {
    let server = Server::start(host, Tokens::of(&["ada"])).await;
    server.tokens.after_look(|look| assert!(look > 1, "a bug in the login check"));
    assert_eq!(server.refused("token=ada").await.0, 500);
    assert_eq!(server.live.stats().tickets, 0);
    server.open("token=ada").await;
}

async fn adm_7_a_refusal_is_answered_in_the_words_of_the_login_check(host: Host) {
    struct Refuses;
    #[transport_core::async_trait]
    impl Authorise for Refuses {
        async fn authorise(&self, request: &Parts) -> Result<Grant, Refusal> {
            Err(match request.uri.query() {
                Some("forbidden") => Refusal::forbidden("not for you"),
                Some("unavailable") => Refusal::unavailable("not now", 7),
                Some("stop") => Refusal::no_content(),
                _ => Refusal::unauthenticated("sign in first"),
            })
        }
    }
    let live = Live::<u8>::new();
    let app = Router::new().route("/events", sse(&live, Refuses));
    let running = Running::start(host, app, &live).await;
    for (query, status, retry_after, reason) in [
        ("", 401, None, "sign in first"),
        ("forbidden", 403, None, "not for you"),
        ("unavailable", 503, Some("7"), "not now"),
        ("stop", 204, None, ""),
    ] {
        let (head, mut raw) = Raw::get(running.address, &format!("/events?{query}")).await;
        assert_eq!((head.status, head.header("retry-after")), (status, retry_after));
        if !reason.is_empty() {
            assert_eq!(raw.read_past("}").await, format!("{{\"error\":\"{reason}\"}}"));
        }
    }
    assert_eq!(live.admission_stats().refusals, [(204, 1), (401, 1), (403, 1), (503, 1)].into());
}

async fn adm_6_an_endless_login_check_is_dropped(host: Host) {
    struct Endless;
    #[async_trait::async_trait]
    impl Authorise for Endless {
        async fn authorise(&self, _: &Parts) -> Result<Grant, Refusal> {
            std::future::pending().await
        }
    }
    let options = LiveOptions::new().with_authorise_timeout(Duration::from_millis(10));
    let live = Live::<u8>::builder().with_options(options).build();
    let app = Router::new().route("/events", sse(&live, Endless));
    let running = Running::start(host, app, &live).await;
    let (head, _raw) = Raw::get(running.address, "/events").await;
    assert_eq!(
        (head.status, head.header("retry-after"), live.stats().tickets),
        (503, Some("1"), 0)
    );
}

transport_core::on_every_host!(
    adm_7_a_login_that_a_revocation_overtakes_is_refused,
    adm_7_a_browser_that_a_change_of_roles_crosses_is_asked_to_come_back,
    adm_2_a_refusal_that_lasts_reaches_a_browser_as_its_status,
    adm_7_a_head_request_is_answered_and_admits_no_subscriber,
    adm_7_the_subscriber_is_active_before_the_client_sees_the_head,
    adm_7_a_refusal_is_answered_in_the_words_of_the_login_check,
    flt_2_a_query_asks_for_a_part_and_never_for_more,
    flt_8_a_request_has_limits_on_names,
    lse_1_a_grant_that_is_over_is_refused,
    cap_2_a_full_scope_may_refuse,
    drn_1_a_registry_that_shuts_down_admits_no_subscriber,
    iso_8_a_panicking_login_check_leaves_nothing_behind,
    adm_6_an_endless_login_check_is_dropped,
);
