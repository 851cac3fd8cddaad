//! The ends of connections.

use crate::{Server, TICK, open};
use futures_util::{SinkExt, StreamExt};
use registry_core::{ChannelFilter, CloseReason, OutboxOptions, RegistryOptions, ScopeCap};
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use transport_core::test_util::{Host, Running, Tenant, Tokens, account, grant, soon, until_is};
use transport_core::{Live, LiveOptions};
use transport_ws::{WsOptions, ws};

async fn rev_1_a_revoked_connection_is_closed_with_4001_and_others_go_on(host: Host) {
    let server = Server::start(host, &["ada", "grace"]).await;
    let ada = [server.open("token=ada").await, server.open("token=ada&channels=runs").await];
    let mut grace = server.open("token=grace").await;
    server.broadcast("before");
    assert_eq!(grace.text().await, "before");
    assert_eq!(server.live.close_by_identity(account("ada")), 2);
    server.broadcast("afterwards");
    assert_eq!(grace.text().await, "afterwards");
    for mut ada in ada {
        let mut heard = Vec::new();
        let close = loop {
            match ada.next().await {
                Message::Close(close) => break close.unwrap(),
                message => heard.push(message.into_text().unwrap().to_string()),
            }
        };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (4001, "revoked"));
        assert!(!heard.contains(&"\"afterwards\"".to_owned()), "{heard:?}");
        soon("the end of the socket", async { while ada.0.next().await.is_some() {} }).await;
    }
}

async fn ws_1_every_forced_end_has_its_code(host: Host) {
    let cap = ScopeCap::new(NonZeroUsize::MIN);
    let bound = OutboxOptions::new().with_max_messages(NonZeroUsize::MIN);
    let options = LiveOptions::new().with_outbox(bound);
    let registry = RegistryOptions::new().with_scope_cap(cap);
    let server = Server::with(host, &["ada", "linus"], registry, options, WsOptions::new()).await;
    let soon = SystemTime::now() + Duration::from_millis(300);
    server.tokens.grant("brief", grant("brief", ChannelFilter::All).with_expires_at(soon));

    let evicted = server.open("token=ada").await;
    let newer = server.open("token=ada").await;
    assert_eq!(evicted.closed().await, (4004, "evicted".into()));

    assert_eq!(server.open("token=brief").await.closed().await, (4002, "expired".into()));

    // On one thread the connection's task takes nothing between the two. On a direct connection
    // both are written at once: a peer that lags there has a full socket and gets no farewell.
    assert_eq!(server.broadcast("1").accepted, 1);
    if !host.is_direct() {
        assert_eq!(server.broadcast("2").lagged, 1);
        assert_eq!(newer.closed().await, (1013, "lagged".into()));
    } else {
        drop(newer);
        until_is("the removal", 0, || server.live.len()).await;
    }

    let mut shut = server.open("token=linus").await;
    server.broadcast("flushed");
    assert_eq!(server.live.begin_shutdown(), 1);
    assert_eq!(shut.text().await, "flushed");
    assert_eq!(shut.closed().await, (1001, "shutdown".into()));
    transport_core::test_util::soon("the drain", server.live.drained()).await;
}

async fn rev_3_a_reader_that_stalls_gets_nothing_more_and_no_farewell_in_the_middle_of_a_frame(
    host: Host,
) {
    let bounds = OutboxOptions::new().with_max_bytes(NonZeroUsize::new(64 << 20).unwrap());
    let live = LiveOptions::new().with_outbox(bounds);
    let server = Server::with(host, &["ada"], RegistryOptions::new(), live, WsOptions::new()).await;
    let stalled = server.open("token=ada").await;
    let filler = "x".repeat(1 << 20);
    for _ in 0..40 {
        server.broadcast(&filler);
    }
    server.broadcast("queued last");
    // The server writes until the socket is full: then the connection has some of the messages,
    // and the outbox the others.
    let mut tcp = stalled.0.into_inner();
    let mut first = vec![0; 1 << 20];
    soon("the first message", tcp.read_exact(&mut first)).await.unwrap();
    assert_eq!(server.live.close_by_identity(account("ada")), 1);
    let mut rest = first;
    soon("the end", async { while tcp.read_buf(&mut rest).await.is_ok_and(|read| read > 0) {} })
        .await;
    assert!(rest.len() < 40 << 20, "{} bytes: what was queued was flushed", rest.len());
    assert!(!String::from_utf8_lossy(&rest).contains("queued last"));
    // Every byte belongs to a whole frame, or to the beginning of one that was never completed.
    let frame = (1 << 20) + 2 + 10;
    let partial = &rest[rest.len() / frame * frame..];
    assert!(
        partial.iter().skip(10).all(|byte| matches!(byte, b'x' | b'"'))
            || partial.starts_with(&[0x88])
    );
}

async fn ws_2_a_peer_that_answers_no_ping_is_closed(host: Host) {
    let options = WsOptions::new().with_ping_period(TICK).with_pong_timeout(TICK);
    let server =
        Server::with(host, &["ada"], RegistryOptions::new(), LiveOptions::new(), options).await;
    // A client that reads bytes and answers nothing.
    let mut tcp = server.open("token=ada").await.0.into_inner();
    let mut read = Vec::new();
    soon("the end", tcp.read_to_end(&mut read)).await.unwrap();
    assert_eq!(read, b"\x89\x00\x88\x0b\x0f\xa3heartbeat");
    assert_eq!(server.live.stats().ended[&CloseReason::Heartbeat], 1);
}

async fn ws_2_a_peer_that_answers_pings_stays(host: Host) {
    let options =
        WsOptions::new().with_ping_period(TICK).with_pong_timeout(Duration::from_secs(20));
    let server =
        Server::with(host, &["ada"], RegistryOptions::new(), LiveOptions::new(), options).await;
    let mut ada = server.open("token=ada").await;
    for _ in 0..5 {
        let message = soon("a ping", ada.0.next()).await.unwrap().unwrap();
        assert!(matches!(message, Message::Ping(_)), "{message:?}");
    }
    server.broadcast("still here");
    assert_eq!(ada.text().await, "still here");
}

async fn ws_4_a_peer_that_does_not_answer_the_close_is_dropped(host: Host) {
    let options = WsOptions::new().with_close_timeout(TICK);
    let server =
        Server::with(host, &["ada"], RegistryOptions::new(), LiveOptions::new(), options).await;
    let mut tcp = server.open("token=ada").await.0.into_inner();
    server.live.close_by_identity(account("ada"));
    let mut read = Vec::new();
    soon("the end", tcp.read_to_end(&mut read)).await.unwrap();
    assert_eq!(read, b"\x88\x09\x0f\xa1revoked");
    // The server has closed the socket, and not only ended its side: it answers what the client
    // writes now by a reset.
    soon("the reset", async {
        use tokio::io::AsyncWriteExt;
        while tcp.write_all(b"anybody there?").await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn ws_4_the_peers_own_close_is_echoed(host: Host) {
    let server = Server::start(host, &["ada"]).await;
    let mut ada = server.open("token=ada").await;
    let close = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
    ada.0.send(Message::Close(Some(close))).await.unwrap();
    let Message::Close(Some(echo)) = ada.next().await else { panic!("no echo") };
    assert_eq!(u16::from(echo.code), 1001);
    until_is("the removal", 0, || server.live.len()).await;
    assert_eq!(server.live.stats().ended[&CloseReason::Unsubscribed], 1);
}

async fn sub_6_a_registry_that_is_dropped_ends_its_connections_and_not_the_server(host: Host) {
    let (live, other) = (Live::new(), Live::<()>::new());
    // The server draws the tickets of another registry.
    let route = ws(&live, Tokens::of(&["ada"])).layer(live.entry_layer());
    let (tenant, app) = Tenant::new("/ws", route);
    let running = Running::start(host, app, &other).await;
    let clients =
        [open(running.address, "token=ada").await, open(running.address, "token=ada").await];
    if host.is_direct() {
        until_is("the sockets", 2, || live.stats().wired).await;
    }
    live.broadcast("runs", "last".to_owned()).unwrap();
    let drained = live.drained();
    tenant.leave();
    drop(live);
    for mut client in clients {
        assert_eq!(client.text().await, "last");
        assert_eq!(client.closed().await, (1001, "shutdown".into()));
    }
    soon("the drain", drained).await;
    let gone = TcpStream::connect(running.address).await.unwrap();
    let answer = client_async(format!("ws://{}/ws", running.address), gone).await.unwrap_err();
    assert!(
        matches!(&answer, Error::Http(answer) if answer.status() == 404),
        "the server goes on: {answer}"
    );
}

transport_core::on_every_host!(
    sub_6_a_registry_that_is_dropped_ends_its_connections_and_not_the_server,
    rev_1_a_revoked_connection_is_closed_with_4001_and_others_go_on,
    ws_1_every_forced_end_has_its_code,
    rev_3_a_reader_that_stalls_gets_nothing_more_and_no_farewell_in_the_middle_of_a_frame,
    ws_2_a_peer_that_answers_no_ping_is_closed,
    ws_2_a_peer_that_answers_pings_stays,
    ws_4_a_peer_that_does_not_answer_the_close_is_dropped,
    ws_4_the_peers_own_close_is_echoed,
);
