//! Messages from the peer.

use crate::{Client, Server};
use futures_util::{SinkExt, StreamExt};
use registry_core::{CloseReason, RegistryOptions};
use std::num::NonZeroU32;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use transport_core::LiveOptions;
use transport_core::test_util::{Host, account, soon};
use transport_ws::{Peer, WsOptions};

/// Hands texts on, with the account that sent them; panics at "panic" and never ends at "stay".
async fn forward(sender: mpsc::UnboundedSender<(String, String)>, peer: Peer, text: String) {
    assert_ne!(text, "panic");
    let account = peer
        .grant()
        .registration()
        .identities()
        .find(|identity| identity.kind() == Some("account"))
        .unwrap();
    sender.send((account.value().to_owned(), text.clone())).unwrap();
    if text == "stay" {
        std::future::pending::<()>().await;
    }
}

async fn start(
    host: Host,
    options: WsOptions,
) -> (Server, mpsc::UnboundedReceiver<(String, String)>) {
    let (sender, received) = mpsc::unbounded_channel();
    let options = options.with_on_text(move |peer, text| forward(sender.clone(), peer, text));
    (
        Server::with(host, &["ada"], RegistryOptions::new(), LiveOptions::new(), options).await,
        received,
    )
}

async fn sends(server: &Server, message: Message) -> (u16, String) {
    let mut client = server.open("token=ada").await;
    client.0.send(message).await.unwrap();
    client.closed().await
}

/// A masked frame with this first byte and payload.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

async fn sends_raw(server: &Server, bytes: &[u8]) -> (u16, String) {
    let mut client = server.open("token=ada").await;
    client.0.get_mut().write_all(bytes).await.unwrap();
    client.closed().await
}

async fn ws_2_inbound_text_reaches_the_handler_with_its_grant(host: Host) {
    let (server, mut received) = start(host, WsOptions::new()).await;
    let mut ada = server.open("token=ada").await;
    for text in ["one", "two", ""] {
        ada.0.send(Message::text(text)).await.unwrap();
        assert_eq!(soon("the text", received.recv()).await.unwrap(), ("ada".into(), text.into()));
    }
    server.broadcast("and back");
    assert_eq!(ada.text().await, "and back");
}

async fn ws_2_a_handler_that_hangs_or_panics_holds_up_nothing_else(host: Host) {
    let (server, mut received) = start(host, WsOptions::new()).await;
    let mut ada = server.open("token=ada").await;
    ada.0.send(Message::text("stay")).await.unwrap();
    soon("the text", received.recv()).await.unwrap();
    server.broadcast("meanwhile");
    assert_eq!(ada.text().await, "meanwhile");
    assert_eq!(sends(&server, Message::text("panic")).await, (1011, "failed".into()));
    assert_eq!(
        server.live.close_by_identity(account("ada")),
        1,
        "the panicking one is gone already"
    );
    assert_eq!(ada.closed().await, (4001, "revoked".into()));
}

async fn ws_2_inbound_messages_are_bounded_in_size(host: Host) {
    let (server, mut received) = start(host, WsOptions::new()).await;
    let mut ada = server.open("token=ada").await;
    ada.0.send(Message::text("x".repeat(64 * 1024))).await.unwrap();
    assert_eq!(soon("the text", received.recv()).await.unwrap().1.len(), 64 * 1024);
    let too_big = Message::text("x".repeat(64 * 1024 + 1));
    assert_eq!(sends(&server, too_big).await, (1009, "protocol: message too big".into()));
    assert_eq!(server.live.stats().ended[&CloseReason::Protocol], 1);

    let (server, mut received) = start(host, WsOptions::new().with_max_message_bytes(3)).await;
    let mut ada = server.open("token=ada").await;
    ada.0.send(Message::text("abc")).await.unwrap();
    assert_eq!(soon("the text", received.recv()).await.unwrap().1, "abc");
    assert_eq!(sends(&server, Message::text("abcd")).await.0, 1009);
}

async fn ws_2_a_message_that_never_ends_is_cut(host: Host) {
    let (server, _received) = start(host, WsOptions::new()).await;
    let mut endless = masked(0x01, b"begin");
    for _ in 0..40_000 {
        endless.extend(masked(0x00, b""));
    }
    assert_eq!(sends_raw(&server, &endless).await.0, 1009);
}

async fn ws_2_inbound_messages_are_bounded_in_rate(host: Host) {
    let number = |n| NonZeroU32::new(n).unwrap();
    let (server, mut received) =
        start(host, WsOptions::new().with_rate(number(1), number(3))).await;
    let began = Instant::now();
    // No ping of the server is unanswered, so none of these pongs is an answer.
    for flood in [Message::text("x"), Message::Ping("x".into()), Message::Pong("x".into())] {
        let mut ada = server.open("token=ada").await;
        for _ in 0..100 {
            // The server may close while the client still sends.
            let _late = ada.0.feed(flood.clone()).await;
        }
        let _late = ada.0.flush().await;
        assert_eq!(ada.closed().await, (1008, "protocol: too many messages".into()), "{flood:?}");
    }
    let most = 3 + began.elapsed().as_secs();
    drop(server);
    let handled = std::iter::from_fn(|| received.try_recv().ok()).count() as u64;
    assert!((3..=most).contains(&handled), "{handled}");
}

async fn ws_1_a_violation_of_the_protocol_is_answered_by_its_close_code(host: Host) {
    let (server, _received) = start(host, WsOptions::new()).await;
    assert_eq!(
        sends(&server, Message::binary(vec![1])).await,
        (1008, "protocol: text only".into())
    );
    let invalid =
        |status: (u16, String)| assert_eq!(status, (1008, "protocol: not a valid frame".into()));
    assert_eq!(
        sends_raw(&server, &masked(0x81, b"\xff")).await,
        (1007, "protocol: text is not UTF-8".into())
    );
    invalid(sends_raw(&server, &[0x81, 1, b'x']).await); // not masked
    invalid(sends_raw(&server, &masked(0x80, b"x")).await); // continues nothing
    invalid(sends_raw(&server, &masked(0xc1, b"x")).await); // a reserved bit
    invalid(sends_raw(&server, &masked(0x83, b"x")).await); // a reserved opcode
    invalid(sends_raw(&server, &masked(0x09, b"x")).await); // a fragmented ping
    let mut long_ping = vec![0x89, 0x80 | 126, 0, 126, 0, 0, 0, 0];
    long_ping.extend([0; 126]);
    invalid(sends_raw(&server, &long_ping).await);
    assert!(server.live.is_empty());
}

async fn ws_2_without_a_handler_text_is_ignored(host: Host) {
    let server = Server::start(host, &["ada"]).await;
    let mut ada: Client = server.open("token=ada").await;
    ada.0.send(Message::text("hello?")).await.unwrap();
    ada.0.send(Message::Ping("was it read?".into())).await.unwrap();
    let answer = soon("the answer", ada.0.next()).await.unwrap().unwrap();
    assert_eq!(answer, Message::Pong("was it read?".into()));
    server.broadcast("here");
    assert_eq!(ada.text().await, "here");
}

async fn ws_2_a_handler_replies_to_its_peer_alone_until_the_end(host: Host) {
    let (sender, mut peers) = mpsc::unbounded_channel();
    let options = WsOptions::new().with_on_text(move |peer: Peer, text| {
        let sender = sender.clone();
        async move {
            // Several replies: each waits until the one before it is on its way.
            for number in 1..=3 {
                peer.reply(format!("\"{text} {number}\"")).await.unwrap();
            }
            sender.send(peer).unwrap();
        }
    });
    let server =
        Server::with(host, &["ada", "grace"], RegistryOptions::new(), LiveOptions::new(), options)
            .await;
    let (mut ada, mut grace) = (server.open("token=ada").await, server.open("token=grace").await);
    ada.0.send(Message::text("echo")).await.unwrap();
    for expected in ["echo 1", "echo 2", "echo 3"] {
        assert_eq!(ada.text().await, expected);
    }
    let peer = soon("the peer", peers.recv()).await.unwrap();
    server.broadcast("to everybody");
    peer.reply("\"later, from elsewhere\"").await.unwrap();
    let both = [ada.text().await, ada.text().await];
    assert!(both.contains(&"to everybody".into()), "{both:?}");
    assert!(both.contains(&"later, from elsewhere".into()), "{both:?}");
    assert_eq!(grace.text().await, "to everybody", "and nothing before it");
    assert_eq!(server.live.close_by_identity(account("ada")), 1);
    assert_eq!(ada.closed().await, (4001, "revoked".into()));
    assert!(soon("the answer", peer.reply("too late")).await.is_err());
}

transport_core::on_every_host!(
    ws_2_inbound_text_reaches_the_handler_with_its_grant,
    ws_2_a_handler_that_hangs_or_panics_holds_up_nothing_else,
    ws_2_inbound_messages_are_bounded_in_size,
    ws_2_a_message_that_never_ends_is_cut,
    ws_2_inbound_messages_are_bounded_in_rate,
    ws_1_a_violation_of_the_protocol_is_answered_by_its_close_code,
    ws_2_without_a_handler_text_is_ignored,
    ws_2_a_handler_replies_to_its_peer_alone_until_the_end,
);
