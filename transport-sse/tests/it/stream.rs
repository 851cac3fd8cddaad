//! The bytes that a client reads.

use crate::Server;
use axum::Router;
use registry_core::{
    ChannelFilter, Encoded, Identity, OutboxOptions, Overflow, RegistryOptions, Revocation,
    ScopeCap,
};
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};
use transport_core::test_util::{Host, Raw, Running, Tokens, account, grant, until, until_is};
use transport_core::{ConnectionKind, Grant, LiveBuilder, LiveOptions};
use transport_sse::sse;

async fn sse_1_the_head_and_the_greeting_come_before_any_message(host: Host) {
    let server = Server::start(host, Tokens::of(&["ada"])).await;
    let (head, mut raw) = Raw::get(server.address, "/events?token=ada").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-store"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    assert_eq!(head.header("x-channels-refused-count"), None, "all that it asked for is granted");
    assert_eq!(head.header("connection"), host.is_direct().then_some("close"));
    assert!(
        raw.read_past(": ok\n\n").await.ends_with("\r\n: ok\n\n"),
        "the comment is the first thing"
    );
}

async fn sse_2_posted_json_arrives_byte_for_byte_with_its_id(host: Host) {
    let server = Server::start(host, Tokens::of(&["ada"])).await;
    let mut raw = server.open("token=ada").await;
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    for json in
        [r#"{"b": 1,  "a":"\u0000\u2028ä"}"#, "\" two\"", "\"\u{2028}\u{feff}\"", "[]", &long]
    {
        let report = server.broadcast("runs", json);
        assert_eq!((report.matched, report.accepted), (1, 1));
        let read = raw.read_past(&format!("data: {json}\n\n")).await;
        assert!(read.contains(&format!("id: {}\n", report.id)), "{read:.80}");
    }
    // Line breaks between JSON's tokens become lines of the event.
    server.broadcast("runs", "{\r\n \"a\": 1\n}");
    raw.read_past("data: { \ndata:  \"a\": 1\ndata: }\n\n").await;
}

async fn sse_2_a_payload_arrives_as_the_application_encodes_it(host: Host) {
    let encode = |number: &u8| Ok(Encoded::text(format!("{number} apples")));
    let live = LiveBuilder::new(encode).build();
    let app = Router::new().route("/events", sse(&live, Tokens::of(&["ada"])));
    let running = Running::start(host, app, &live).await;
    let (_, mut raw) = Raw::get(running.address, "/events?token=ada").await;
    raw.read_past(": ok\n\n").await;
    let id = live.broadcast("runs", 3).unwrap().id;
    raw.read_past(&format!("id: {id}\ndata: 3 apples\n\n")).await;
}

async fn flt_1_a_stream_carries_only_the_channels_it_asked_for(host: Host) {
    let server = Server::start(host, Tokens::of(&["ada", "grace"])).await;
    let mut some = server.open("token=ada&channels=runs,jobs").await;
    let mut all = server.open("token=grace").await;
    assert_eq!(server.broadcast("other", "1").matched, 1);
    assert_eq!(server.broadcast("Runs", "2").matched, 1);
    assert_eq!(server.broadcast("jobs", "3").matched, 2);
    assert!(!some.read_past("data: 3\n").await.contains("data: 1"));
    assert!(all.read_past("data: 3\n").await.contains("data: 2"));
}

async fn rev_1_a_revoked_stream_names_its_reason_and_ends_and_others_go_on(host: Host) {
    let server = Server::start(host, Tokens::of(&["ada", "grace"])).await;
    let ada = [server.open("token=ada").await, server.open("token=ada&channels=runs").await];
    let mut grace = server.open("token=grace").await;
    server.tokens.remove("ada");
    assert_eq!(server.live.close_by_identity(account("ada")), 2);
    server.broadcast("runs", "\"afterwards\"");
    grace.read_past("afterwards").await;
    for raw in ada {
        let rest = raw.read_to_end().await;
        assert!(rest.contains("event: close\ndata: {\"reason\":\"revoked\"}\nretry: "), "{rest}");
        assert!(!rest.contains("afterwards") && !rest.contains("id:"), "{rest}");
    }
    let (status, body) = server.refused("token=ada").await;
    assert_eq!(status, 401, "so that EventSource stops: {body}");
}

/// The times to come back, in milliseconds, of a hundred streams that one call ends.
async fn retries_after_one_call(host: Host, revocation: Option<Revocation>) -> Vec<u64> {
    const STREAMS: usize = 100;
    let server = Server::start(host, Tokens::of(&["ada"])).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(server.open("token=ada").await);
    }
    let (word, closed) = match revocation {
        None => ("revoked", server.live.close_by_identity(account("ada"))),
        Some(revocation) => {
            ("logged_out", server.live.close_by_identity_as(account("ada"), revocation))
        }
    };
    assert_eq!(closed, STREAMS);
    let mut retries = Vec::new();
    for stream in streams {
        let rest = stream.read_to_end().await;
        let farewell = format!("event: close\ndata: {{\"reason\":\"{word}\"}}\nretry: ");
        let retry = rest.split_once(&farewell).and_then(|(_, retry)| retry.split_once("\n\n"));
        retries.push(retry.expect("a farewell").0.parse().unwrap());
    }
    retries
}

async fn sse_4_revoked_clients_come_back_soon_and_not_together(host: Host) {
    let retries = retries_after_one_call(host, None).await;
    assert!(retries.iter().all(|retry| (500..=2500).contains(retry)), "{retries:?}");
    let different = retries.iter().collect::<BTreeSet<_>>().len();
    assert!(different >= 50, "{different} different times");
}

async fn sse_4_logged_out_clients_stay_away(host: Host) {
    let retries = retries_after_one_call(host, Some(Revocation::LoggedOut)).await;
    assert!(retries.iter().all(|retry| *retry == 86_400_000), "{retries:?}");
}

async fn rev_3_messages_queued_for_a_stalled_reader_are_discarded(host: Host) {
    let bounds = OutboxOptions::new().with_max_bytes(NonZeroUsize::new(64 << 20).unwrap());
    let options = LiveOptions::new()
        .with_outbox(bounds.with_max_messages(NonZeroUsize::new(1 << 20).unwrap()));
    let server =
        Server::with(host, Tokens::of(&["ada", "grace"]), RegistryOptions::new(), options).await;
    let stalled = server.open("token=ada").await;
    let filler = format!("\"{}\"", "x".repeat(1 << 20));
    for _ in 0..40 {
        server.broadcast("runs", &filler);
    }
    let report = server.broadcast("runs", "\"queued last\"");
    assert_eq!(report.accepted, 1);
    assert_eq!(server.live.close_by_identity(account("ada")), 1);
    assert!(!stalled.read_to_end().await.contains("queued last"));
}

async fn sse_4_every_forced_end_names_its_reason(host: Host) {
    let cap = ScopeCap::new(NonZeroUsize::MIN);
    let bound = OutboxOptions::new().with_max_messages(NonZeroUsize::MIN);
    let tokens = Tokens::of(&["ada", "grace", "linus"]);
    let soon = SystemTime::now() + Duration::from_millis(300);
    tokens.grant("brief", grant("brief", ChannelFilter::All).with_expires_at(soon));
    let options = LiveOptions::new().with_outbox(bound);
    let server =
        Server::with(host, tokens, RegistryOptions::new().with_scope_cap(cap), options).await;

    let evicted = server.open("token=ada").await;
    let newer = server.open("token=ada").await;
    let farewell = evicted.read_to_end().await;
    assert!(farewell.contains("{\"reason\":\"evicted\"}\nretry: 86400000\n"), "{farewell}");

    let expired = server.open("token=brief").await.read_to_end().await;
    assert!(expired.contains("{\"reason\":\"expired\"}\nretry: "), "{expired}");

    // On one thread the body takes nothing between two broadcasts, so the second meets a full
    // outbox. On a direct connection both are written at once: a peer that lags there has a full
    // socket and gets no farewell.
    assert_eq!(server.broadcast("runs", "1").accepted, 1);
    if !host.is_direct() {
        assert_eq!(server.broadcast("runs", "2").lagged, 1);
        let lagged = newer.read_to_end().await;
        assert!(
            lagged.contains("{\"reason\":\"lagged\"}\nretry: ") && !lagged.contains("data: 2"),
            "{lagged}"
        );
    } else {
        drop(newer);
        until("the removal", || server.live.is_empty()).await;
    }

    let shut = server.open("token=linus").await;
    server.broadcast("runs", "3");
    assert_eq!(server.live.begin_shutdown(), 1);
    let shut = shut.read_to_end().await;
    let message = shut.find("data: 3\n").expect("what was queued is flushed");
    assert!(shut.find("{\"reason\":\"shutdown\"}\nretry: ").unwrap() > message, "{shut}");
    transport_core::test_util::soon("the drain", server.live.drained()).await;
}

#[tokio::test]
async fn que_1_a_stream_announces_a_loss_that_the_policy_allows() {
    let bounds = OutboxOptions::new()
        .with_max_messages(NonZeroUsize::MIN)
        .with_overflow(Overflow::DropOldest);
    let options = LiveOptions::new().with_outbox(bounds);
    let server =
        Server::with(Host::Axum, Tokens::of(&["ada"]), RegistryOptions::new(), options).await;
    let mut raw = server.open("token=ada").await;
    // On one thread, the body takes nothing in between.
    for json in ["1", "2", "3"] {
        assert_eq!(server.broadcast("runs", json).accepted, 1);
    }
    let read = raw.read_past("data: 3\n\n").await;
    assert!(read.contains("event: lagged\ndata: {\"lost\":2}\n\nid: "), "{read}");
    assert_eq!(server.live.stats().dropped, 2);
}

async fn sse_5_a_client_that_leaves_is_noticed_without_a_broadcast(host: Host) {
    let server = Server::start(host, Tokens::of(&["ada"])).await;
    let raw = server.open("token=ada").await;
    assert_eq!(server.live.len(), 1);
    drop(raw);
    until("the removal", || server.live.is_empty()).await;
    assert_eq!(server.live.stats().ended[&registry_core::CloseReason::Unsubscribed], 1);
}

async fn rev_6_an_identity_is_not_a_channel_and_kinds_are_apart(host: Host) {
    let server = Server::start(host, Tokens::of(&["ada"])).await;
    let mut raw = server.open("token=ada&channels=ada").await;
    assert_eq!(server.live.close_by_identity(Identity::untyped("ada")), 0);
    assert_eq!(server.live.close_by_identity(Identity::new("tenant", "ada")), 0);
    server.broadcast("ada", "1");
    raw.read_past("data: 1\n").await;
}

async fn rev_1_each_identity_of_a_grant_revokes_it(host: Host) {
    let server = Server::start(host, Tokens::default()).await;
    let identities =
        ["session", "account", "tenant", "role"].map(|kind| Identity::new(kind, "ada"));
    let [scope, groups @ ..] = identities.clone();
    let all = groups
        .into_iter()
        .fold(Grant::new(ChannelFilter::All).with_scope(scope), Grant::with_group);
    server.tokens.grant("ada", all);
    for identity in identities {
        let raw = server.open("token=ada").await;
        assert_eq!(server.live.close_by_identity(&identity), 1, "{identity:?}");
        assert!(raw.read_to_end().await.contains("revoked"), "{identity:?}");
    }
}

async fn cnt_1_a_stream_is_counted_by_its_kind_until_its_client_leaves(host: Host) {
    let server = Server::start(host, Tokens::of(&["ada"])).await;
    let kind = if host.is_direct() { ConnectionKind::Direct } else { ConnectionKind::Portable };
    let counts = |streams: usize| {
        ConnectionKind::ALL.map(|each| (each, if each == kind { streams } else { 0 })).into()
    };
    let kinds = || server.live.admission_stats().kinds;
    assert_eq!(kinds(), counts(0));
    let streams = [server.open("token=ada").await, server.open("token=ada").await];
    until_is("both streams", counts(2), kinds).await;
    let [one, other] = streams;
    drop(one);
    until_is("the end of one stream", counts(1), kinds).await;
    drop(other);
    until_is("the end of both", counts(0), kinds).await;
}

transport_core::on_every_host!(
    cnt_1_a_stream_is_counted_by_its_kind_until_its_client_leaves,
    sse_1_the_head_and_the_greeting_come_before_any_message,
    sse_2_posted_json_arrives_byte_for_byte_with_its_id,
    sse_2_a_payload_arrives_as_the_application_encodes_it,
    flt_1_a_stream_carries_only_the_channels_it_asked_for,
    rev_1_a_revoked_stream_names_its_reason_and_ends_and_others_go_on,
    sse_4_revoked_clients_come_back_soon_and_not_together,
    sse_4_logged_out_clients_stay_away,
    rev_3_messages_queued_for_a_stalled_reader_are_discarded,
    sse_4_every_forced_end_names_its_reason,
    sse_5_a_client_that_leaves_is_noticed_without_a_broadcast,
    rev_6_an_identity_is_not_a_channel_and_kinds_are_apart,
    rev_1_each_identity_of_a_grant_revokes_it,
);
