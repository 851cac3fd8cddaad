//! The subprotocol `live.v1`. Every message of these tests, either way, is checked against the JSON
//! Schema.

use crate::handshake::UPGRADE;
use axum::Router;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use jsonschema::Validator;
use registry_core::{Encoded, Event, EventName, OutboxOptions, Overflow};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest, handshake::client};
use tokio_tungstenite::{WebSocketStream, client_async};
use transport_core::test_util::{Host, Raw, Running, Tokens, account, grant, soon, until};
use transport_core::{ConnectionKind, Credential};
use transport_ws::{
    ChannelFilter, Entry, Grant, Live, LiveBuilder, LiveOptions, Refusal, WsOptions, WsUpgrade,
    ws_with,
};

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../live.v1.schema.json")).unwrap());
static OF_SERVER: LazyLock<Validator> = LazyLock::new(|| validator("server"));
static OF_CLIENT: LazyLock<Validator> = LazyLock::new(|| validator("client"));

fn validator(side: &str) -> Validator {
    let mut schema = SCHEMA.clone();
    schema["$ref"] = json!(format!("#/$defs/{side}"));
    jsonschema::validator_for(&schema).unwrap()
}

/// A client that speaks `live.v1`.
struct Client(WebSocketStream<TcpStream>);

impl Client {
    async fn open(address: SocketAddr, query: &str) -> Self {
        Self::offering(address, query, "live.v1").await
    }

    async fn offering(address: SocketAddr, query: &str, protocols: &str) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let (stream, response) =
            soon("the answer", client_async(request(address, query, protocols), tcp))
                .await
                .unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "live.v1");
        assert!(!response.headers().contains_key("x-channels-refused"), "it is told in a message");
        Self(stream)
    }

    /// Sends a message that the schema allows.
    async fn say(&mut self, message: Value) {
        assert!(OF_CLIENT.is_valid(&message), "{message}");
        self.say_text(&message.to_string()).await;
    }

    async fn say_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next message or close.
    async fn next(&mut self) -> Message {
        soon("a message", async {
            loop {
                match self.0.next().await.unwrap().unwrap() {
                    Message::Ping(_) | Message::Pong(_) => {}
                    message => return message,
                }
            }
        })
        .await
    }

    /// The next message, which the schema allows.
    async fn message(&mut self) -> Value {
        let message = serde_json::from_str(self.next().await.to_text().unwrap()).unwrap();
        let faults: Vec<_> = OF_SERVER.iter_errors(&message).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{message}: {faults:?}");
        message
    }

    async fn closed(mut self) -> (u16, String) {
        let message = self.next().await;
        let Message::Close(Some(close)) = message else { panic!("{message:?}") };
        soon("the end of the socket", async { while self.0.next().await.is_some() {} }).await;
        (close.code.into(), close.reason.as_str().to_owned())
    }
}

fn request(address: SocketAddr, query: &str, protocols: &str) -> client::Request {
    let mut request = format!("ws://{address}/ws?{query}").into_client_request().unwrap();
    let protocols = HeaderValue::from_str(protocols).unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocols);
    request
}

struct Server {
    live: Live<Event>,
    address: SocketAddr,
    tokens: Tokens,
    _running: Running,
}

impl Server {
    async fn start(host: Host, options: LiveOptions, ws: WsOptions) -> Self {
        let tokens = Tokens::of(&["ada"]);
        let live = LiveBuilder::for_topics().with_options(options).build();
        let app = Router::new().route("/ws", ws_with(&live, tokens.clone(), ws));
        let running = Running::start(host, app, &live).await;
        Self { live, address: running.address, tokens, _running: running }
    }
}

async fn nam_2_a_message_says_its_id_channel_and_name(host: Host) {
    let server = Server::start(host, LiveOptions::new(), WsOptions::new()).await;
    let mut client = Client::open(server.address, "token=ada").await;
    let created = EventName::from_static("created");
    let sent = [
        (
            Encoded::json("{\"run\": \r\n17}").with_name(created),
            json!("created"),
            json!({"run": 17}),
        ),
        (Encoded::text("\"20 °C\""), Value::Null, json!("\"20 °C\"")),
        (Encoded::binary(vec![0, 0xff]), Value::Null, json!("AP8=")),
    ];
    for (encoded, event, data) in sent {
        let id = server.live.broadcast("a\"b", encoded.into()).unwrap().id.to_string();
        let expected =
            json!({ "type": "event", "id": id, "channel": "a\"b", "event": event, "data": data });
        assert_eq!(client.message().await, expected);
    }
    assert_eq!(server.live.stats().formats["ws"], 1, "it is a WebSocket like any other");
    if host.is_direct() {
        assert_eq!(server.live.admission_stats().kinds[&ConnectionKind::Direct], 1);
    }
    assert_eq!(server.live.close_by_identity(account("ada")), 1);
    assert_eq!(client.closed().await, (4001, "revoked".into()));
}

async fn ws_6_channels_beyond_the_grant_are_told_first(host: Host) {
    let server = Server::start(host, LiveOptions::new(), WsOptions::new()).await;
    server.tokens.grant("ada", grant("ada", ChannelFilter::only(["runs"])));
    let query = "token=ada&channel=pay&channel=a%2Cb&channel=runs";
    let mut client = Client::open(server.address, query).await;
    let expected = json!({ "type": "refused", "channels": ["a,b", "pay"] });
    assert_eq!(client.message().await, expected);
    server.live.broadcast("pay", Encoded::json("1").into()).unwrap();
    server.live.broadcast("runs", Encoded::json("2").into()).unwrap();
    assert_eq!(client.message().await["data"], 2);
}

async fn ws_6_losses_are_told_before_the_next_message(host: Host) {
    const MESSAGES: u64 = 400;
    let outbox = OutboxOptions::new()
        .with_max_messages(NonZeroUsize::new(2).unwrap())
        .with_overflow(Overflow::DropOldest);
    let options = LiveOptions::new().with_outbox(outbox);
    let server = Server::start(host, options, WsOptions::new()).await;
    let mut client = Client::open(server.address, "token=ada").await;
    let body = "x".repeat(64 * 1024);
    for _ in 0..MESSAGES {
        server.live.broadcast("runs", Encoded::text(&*body).into()).unwrap();
        tokio::task::yield_now().await;
    }
    until("a loss", || server.live.stats().dropped > 0).await;
    server.live.broadcast("runs", Encoded::text("last").into()).unwrap();
    let (mut events, mut lost) = (0, 0);
    loop {
        let message = client.message().await;
        match message["type"].as_str().unwrap() {
            "lagged" => lost += message["lost"].as_u64().unwrap(),
            _ => events += 1,
        }
        if message["data"] == "last" {
            break;
        }
    }
    assert!(lost > 0);
    assert_eq!(events + lost, MESSAGES + 1, "each is received or told");
}

async fn ws_6_each_message_of_a_client_gets_one_answer(host: Host) {
    let ws = WsOptions::new().with_on_text(|peer, text| async move {
        match &*text {
            "quiet" => {}
            "late" => drop(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                peer.reply("at last").await
            })),
            "twice" => {
                peer.reply("one").await.unwrap();
                peer.reply_with(Encoded::json("{\"two\":2}")).await.unwrap();
            }
            _ => peer.reply(format!("you said {text}")).await.unwrap(),
        }
    });
    let server = Server::start(host, LiveOptions::new(), ws).await;
    let mut client = Client::open(server.address, "token=ada").await;
    client.say(json!({ "type": "message", "ref": 1, "data": "hi" })).await;
    let reply =
        |reference: Value, data: Value| json!({ "type": "reply", "ref": reference, "data": data });
    assert_eq!(client.message().await, reply(json!(1), json!("you said hi")));
    client.say(json!({ "type": "message", "ref": "b", "data": { "a": 1 } })).await;
    assert_eq!(client.message().await, reply(json!("b"), json!("you said {\"a\":1}")));
    client.say(json!({ "type": "message", "data": null })).await;
    assert_eq!(client.message().await, json!({ "type": "reply", "data": "you said null" }));
    client.say(json!({ "type": "message", "ref": 4, "data": "quiet" })).await;
    assert_eq!(client.message().await, json!({ "type": "ack", "ref": 4 }));
    client.say(json!({ "type": "message", "ref": 5, "data": "twice" })).await;
    assert_eq!(client.message().await, reply(json!(5), json!("one")));
    assert_eq!(client.message().await, reply(json!(5), json!({ "two": 2 })));
    client.say(json!({ "type": "message", "ref": 9, "data": "late" })).await;
    assert_eq!(client.message().await, json!({ "type": "ack", "ref": 9 }));
    assert_eq!(client.message().await, json!({ "type": "reply", "data": "at last" }));
    // What needs no answer gets none: the next one is that of the message after it.
    client.say(json!({ "type": "message", "data": "quiet" })).await;
    for (reference, message) in [
        (6, json!({ "type": "subscribe", "ref": 6, "channels": ["a"] })),
        (7, json!({ "type": "unsubscribe", "ref": 7, "channels": [] })),
        (8, json!({ "type": "renew", "ref": 8, "credential": "x" })),
    ] {
        client.say(message).await;
        let answer = client.message().await;
        assert_eq!((&answer["ref"], &answer["code"]), (&json!(reference), &json!("unsupported")));
    }
    for malformed in ["", "hello", "{}", "[1]", r#"{"type":"message"}"#, "{\"type\":\"message\"\0}"]
    {
        client.say_text(malformed).await;
        let answer = client.message().await;
        assert_eq!((answer.get("ref"), &answer["code"]), (None, &json!("malformed")));
    }
    server.live.broadcast("runs", Encoded::json("1").into()).unwrap();
    assert_eq!(client.message().await["data"], 1, "the connection goes on");
}

async fn ws_6_a_server_without_a_handler_says_so(host: Host) {
    let server = Server::start(host, LiveOptions::new(), WsOptions::new()).await;
    let mut client = Client::open(server.address, "token=ada").await;
    client.say(json!({ "type": "message", "ref": 1, "data": "hi" })).await;
    let answer = client.message().await;
    assert_eq!((&answer["ref"], &answer["code"]), (&json!(1), &json!("unsupported")));
}

async fn ws_3_only_live_v1_is_selected(host: Host) {
    let server = Server::start(host, LiveOptions::new(), WsOptions::new()).await;
    for offered in ["live.v1", "chat, live.v1", "live.v1, bearer.YQ", "bearer.YQ,live.v1"] {
        drop(Client::offering(server.address, "token=ada", offered).await);
    }
    for offered in ["chat", "bearer.YQ", "LIVE.V1", "live.v2, live"] {
        let headers = format!("{UPGRADE}Sec-WebSocket-Protocol: {offered}\r\n");
        let target = "/ws?token=ada";
        let (head, mut raw) = Raw::request(server.address, "GET", target, &headers).await;
        assert_eq!(head.status, 400, "{offered}");
        raw.read_past("speaks `live.v1`").await;
    }
    assert!(server.tokens.looks() == 4, "before the login check");
}

/// A server whose route answers as the query says, whatever made the answer.
async fn refusing(host: Host) -> (Live<Event>, SocketAddr, Running) {
    async fn socket(
        entry: Entry<Event>,
        upgrade: WsUpgrade,
        request: Request<axum::body::Body>,
    ) -> Result<Response, Refusal> {
        let refusal = match request.uri().query().unwrap_or_default() {
            "401" => Refusal::unauthenticated("sign in"),
            "403" => Refusal::forbidden("not yours"),
            "400" => Refusal::bad_request("what?"),
            "409" => Refusal::new(StatusCode::CONFLICT, "not now"),
            "429" => Refusal::new(StatusCode::TOO_MANY_REQUESTS, "slowly").with_retry_after(3),
            "503" => Refusal::unavailable("no database", 7),
            "panic" => panic!("on purpose"),
            _ => return Ok(upgrade.serve(entry.admit(Grant::new(ChannelFilter::All))?)),
        };
        Err(refusal)
    }
    let live = LiveBuilder::for_topics().build();
    /// It refuses before the handler looks at the request.
    async fn check(request: Request<axum::body::Body>, next: Next) -> Response {
        if request.uri().query() == Some("middleware") {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        next.run(request).await
    }
    let app = Router::new().route("/ws", get(socket)).layer(from_fn(check));
    let running = Running::start(host, app, &live).await;
    (live, running.address, running)
}

async fn ws_3_a_refusal_is_spoken_after_the_upgrade(host: Host) {
    let (live, address, _running) = refusing(host).await;
    for (query, code, text, least) in [
        ("401", 4401, "unauthenticated", None),
        ("403", 4403, "forbidden", None),
        ("429", 1013, "unavailable", Some(3000)),
        ("503", 1013, "unavailable", Some(7000)),
    ] {
        let begun = Instant::now();
        let mut client = Client::open(address, query).await;
        // It is not read: a peer that talks is answered nothing.
        client.say(json!({ "type": "message", "ref": 1, "data": "hello?" })).await;
        if let Some(least) = least {
            let error = client.message().await;
            assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("unavailable")));
            let retry = error["retry_ms"].as_u64().unwrap();
            assert!((least..=2 * least).contains(&retry), "{query}: {retry}");
        }
        assert_eq!(client.closed().await, (code, text.into()), "{query}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{query} within a second, or so");
        assert!(live.is_empty(), "{query}");
    }
    let counted = live.admission_stats().refusals;
    assert_eq!(counted, [(401, 1), (403, 1), (429, 1), (503, 1)].into());
}

async fn ws_3_other_refusals_keep_their_status(host: Host) {
    let (live, address, _running) = refusing(host).await;
    let status = async |query: &str, headers: &str| {
        let headers = format!("{UPGRADE}{headers}");
        Raw::request(address, "GET", &format!("/ws?{query}"), &headers).await.0.status
    };
    let offers = "Sec-WebSocket-Protocol: live.v1\r\n";
    for (query, expected) in [("400", 400), ("409", 409), ("", 101), ("401", 101)] {
        assert_eq!(status(query, offers).await, expected, "{query}");
    }
    let foreign = format!("{offers}Origin: http://evil.example\r\n");
    for (query, expected) in [("", 403), ("401", 403), ("middleware", 401)] {
        let answered = status(query, &foreign).await;
        assert_eq!(answered, expected, "{query}: a page of another host is told nothing");
    }
    assert_eq!(status("middleware", offers).await, 101, "as any refusal of the same host");
    for (query, expected) in [("401", 401), ("403", 403), ("503", 503)] {
        assert_eq!(status(query, "").await, expected, "a raw WebSocket gets the status");
    }
    let head = Raw::request(address, "GET", "/ws?401", offers).await.0;
    assert_eq!(head.status, 426, "no upgrade");
    drop(live);
}

async fn adm_2_a_login_that_a_revocation_overtakes_is_refused_by_a_close_code(host: Host) {
    let server = Server::start(host, LiveOptions::new(), WsOptions::new()).await;
    let live = server.live.clone();
    server.tokens.after_look(move |_| {
        live.close_by_identity(account("ada"));
    });
    let mut client = Client::open(server.address, "token=ada").await;
    assert_eq!(client.message().await["code"], "unavailable");
    assert_eq!(client.closed().await, (1013, "unavailable".into()));
    assert!(server.live.is_empty());
}

async fn adm_9_a_page_sends_its_token_as_a_subprotocol(host: Host) {
    async fn socket(
        headers: HeaderMap,
        entry: Entry<Event>,
        upgrade: WsUpgrade,
    ) -> Result<Response, Refusal> {
        let mut request = Request::new(());
        *request.headers_mut() = headers;
        match Credential::of(&request.into_parts().0)? {
            Credential::Token(token) if token.matches("secret") => {
                Ok(upgrade.serve(entry.admit(Grant::new(ChannelFilter::All))?))
            }
            _ => Err(Refusal::unauthenticated("sign in")),
        }
    }
    let live: Live<Event> = LiveBuilder::for_topics().build();
    let app = Router::new().route("/ws", get(socket));
    let running = Running::start(host, app, &live).await;
    let mut client = Client::offering(running.address, "", "live.v1, bearer.c2VjcmV0").await;
    live.broadcast("runs", Encoded::json("1").into()).unwrap();
    assert_eq!(client.message().await["data"], 1);
    let wrong = Client::offering(running.address, "", "live.v1, bearer.d3Jvbmc").await;
    assert_eq!(wrong.closed().await, (4401, "unauthenticated".into()));
}

transport_core::on_every_host!(
    nam_2_a_message_says_its_id_channel_and_name,
    ws_6_channels_beyond_the_grant_are_told_first,
    ws_6_losses_are_told_before_the_next_message,
    ws_6_each_message_of_a_client_gets_one_answer,
    ws_6_a_server_without_a_handler_says_so,
    ws_3_only_live_v1_is_selected,
    ws_3_a_refusal_is_spoken_after_the_upgrade,
    ws_3_other_refusals_keep_their_status,
    adm_2_a_login_that_a_revocation_overtakes_is_refused_by_a_close_code,
    adm_9_a_page_sends_its_token_as_a_subprotocol,
);
