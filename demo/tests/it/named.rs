//! The names of events, and the envelope that says of which channel a message is.

use crate::client::{TestServer, call};
use serde_json::json;

#[tokio::test]
async fn nam_2_a_message_has_the_name_that_the_call_gives_it() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    let mut sse = ada.sse(&server, "/events?channels=runs").await;
    let mut enveloped = ada.sse(&server, "/events?channel=runs&envelope=1").await;
    let mut live = ada.live(&server, "/ws?channels=runs").await;
    let mut raw = ada.ws(&server, "/ws?channels=runs").await;
    let exact = "{\"a\": 1.50,\n \"a\": 12345678901234567890}";
    for (query, name) in [("", ""), ("?event=created", "created"), ("?event=%C3%A4%20b", "ä b")] {
        let response = server.post(&format!("/api/channels/runs{query}"), exact).await;
        assert_eq!((response.status, &response.json()["accepted"]), (202, &json!(4)), "{query}");
        assert_eq!(sse.named(name).await, exact);
        let event = if name.is_empty() { "null".into() } else { format!("\"{name}\"") };
        let members = format!("\"channel\":\"runs\",\"event\":{event},\"data\":{exact}}}");
        assert_eq!(enveloped.named(name).await, format!("{{{members}"));
        let message = live.data().await;
        assert!(message.ends_with(&format!(",{members}")), "{message}");
        assert_eq!(raw.data().await, exact);
    }
    assert_eq!(
        server.post("/api/channels/?event=created", "1").await.json()["matched"],
        0,
        "the channel without a name has named events too"
    );
}

#[tokio::test]
async fn nam_1_a_name_that_a_client_would_misread_is_refused() {
    let server = TestServer::start().await;
    let mut witness = server.sign_in("ada").await.sse(&server, "/events").await;
    let long = "x".repeat(256);
    for (query, reason) in [
        ("event=", "an event name has 1 to 255 bytes, and this has 0"),
        (&*format!("event={long}"), "1 to 255 bytes, and this has 256"),
        ("event=close", "the event name \"close\" is reserved"),
        ("event=snapshot", "the event name \"snapshot\" is reserved"),
        ("event=message", "the event name \"message\" is reserved"),
        ("event=a%0Ab", "the event name \"a\\nb\" has a CR, LF or NUL"),
        ("event=a&event=b", "duplicate field `event`"),
    ] {
        let response = server.post(&format!("/api/channels/runs?{query}"), "1").await;
        assert_eq!(response.status, 400, "{query}");
        assert!(response.error().contains(reason), "{response:?}");
    }
    // Nothing of it went out, and no id was used.
    assert!(server.broadcast("runs", "1").await["id"].as_str().unwrap().ends_with("-1"));
    assert_eq!(witness.data().await, "1");
}

#[tokio::test]
async fn adm_9_a_websocket_may_present_its_token_as_a_subprotocol() {
    let server = TestServer::start().await;
    let ada = server.sign_in("ada").await;
    // The token is hexadecimal and a dot; this is its base64url.
    let bearer = format!("live.v1, bearer.{}", base64url(ada.token.as_bytes()));
    let mut live = server.ws("/ws", &[("sec-websocket-protocol", &bearer)]).await.unwrap();
    server.broadcast("runs", "1").await;
    assert_eq!(live.json().await["data"], 1);
    let two = [("sec-websocket-protocol", &*bearer), ("authorization", &*ada.bearer())];
    let refused = server.ws("/ws", &two).await.unwrap_err();
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("two tokens"), "{refused:?}");
    // A refusal of the protocol is spoken after the upgrade.
    let mut turned_away =
        server.ws("/ws", &[("sec-websocket-protocol", "live.v1, bearer.YQ")]).await.unwrap();
    assert_eq!(turned_away.farewell().await, (4401, "unauthenticated".into()));
    let session = call(server.address, "GET", "/api/session", &two[1..], b"").await;
    assert_eq!(session.json()["account"], "ada");
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = bytes.chunks(3).flat_map(|three| {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        (0..=three.len()).map(move |at| DIGITS[(bits >> (18 - 6 * at)) as usize & 63] as char)
    });
    digits.collect()
}
