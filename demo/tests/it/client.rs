//! A server in process, and clients that know only the wire.

use demo::{Call, Options, Reach, Server};
use futures_util::StreamExt;
use serde_json::Value;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use transport_core::Drained;

/// Waits for what must come. The bound only keeps a broken test from hanging.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it did not come")
}

pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) calls: Vec<Call>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Drained>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::with(Reach::Loopback, Options::new()).await
    }

    /// Starts a server on a free port of the loopback, under the rules of any reach.
    pub(crate) async fn with(reach: Reach, options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::with_listener(listener, reach, &options).unwrap();
        let (address, calls) = (server.address(), server.calls().to_vec());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(async move {
            let stop = async {
                // A test that drops the sender ends its server too.
                let _ = stopped.await;
            };
            server.run(stop).await
        });
        Self { address, calls, stop, running }
    }

    pub(crate) async fn stop(self) -> Drained {
        let _ = self.stop.send(());
        within(self.running).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str, headers: Headers<'_>) -> Response {
        call(self.address, "GET", path, headers, b"").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Response {
        call(self.address, "DELETE", path, &[], b"").await
    }

    /// Deletes and returns how many streams were closed.
    pub(crate) async fn close(&self, path: &str) -> u64 {
        closed(&self.delete(path).await)
    }

    pub(crate) async fn put(&self, path: &str, json: &str) -> Response {
        call(self.address, "PUT", path, &[("content-type", "application/json")], json.as_bytes())
            .await
    }

    /// Sets what an account may hear, and returns how many streams were closed.
    pub(crate) async fn set_channels(&self, account: &str, channels: Value) -> u64 {
        let body = serde_json::json!({ "channels": channels }).to_string();
        closed(&self.put(&format!("/api/accounts/{account}/channels"), &body).await)
    }

    pub(crate) async fn post(&self, path: &str, json: impl AsRef<[u8]>) -> Response {
        call(self.address, "POST", path, &[("content-type", "application/json")], json.as_ref())
            .await
    }

    /// Broadcasts to a channel whose name needs no encoding, and returns the report.
    pub(crate) async fn broadcast(&self, channel: &str, json: &str) -> Value {
        let response = self.post(&format!("/api/channels/{channel}"), json).await;
        assert_eq!(response.status, 202, "{response:?}");
        response.json()
    }

    pub(crate) async fn sign_in(&self, account: &str) -> Login {
        self.sign_in_with(serde_json::json!({ "account": account })).await
    }

    pub(crate) async fn sign_in_with(&self, body: Value) -> Login {
        let response = self.post("/api/sessions", body.to_string()).await;
        assert_eq!(response.status, 201, "{response:?}");
        let answer = response.json();
        Login {
            session: answer["session"].as_str().unwrap().to_owned(),
            token: answer["token"].as_str().unwrap().to_owned(),
        }
    }

    pub(crate) async fn sse(&self, path: &str, headers: Headers<'_>) -> Result<Sse, Response> {
        Sse::open(self.address, path, headers).await
    }

    pub(crate) async fn ws(&self, path: &str, headers: Headers<'_>) -> Result<Ws, Response> {
        Ws::open(self.address, path, headers).await
    }

    pub(crate) async fn stats(&self) -> Value {
        let response = self.get("/api/stats", &[]).await;
        assert_eq!(response.status, 200);
        response.json()
    }
}

fn closed(response: &Response) -> u64 {
    assert_eq!(response.status, 200, "{response:?}");
    let Value::Object(answer) = response.json() else { panic!("{response:?}") };
    assert_eq!(answer.len(), 1);
    answer["closed"].as_u64().unwrap()
}

#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) session: String,
    pub(crate) token: String,
}

impl Login {
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    pub(crate) async fn sse(&self, server: &TestServer, path: &str) -> Sse {
        server.sse(path, &[("authorization", &self.bearer())]).await.unwrap()
    }

    pub(crate) async fn ws(&self, server: &TestServer, path: &str) -> Ws {
        server.ws(path, &[("authorization", &self.bearer())]).await.unwrap()
    }

    /// A WebSocket that speaks `live.v1`.
    pub(crate) async fn live(&self, server: &TestServer, path: &str) -> Ws {
        let headers = [("authorization", &*self.bearer()), ("sec-websocket-protocol", "live.v1")];
        server.ws(path, &headers).await.unwrap()
    }
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn head(address: SocketAddr, method: &str, path: &str, headers: Headers<'_>) -> String {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += &format!("host: {address}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head + "\r\n"
}

/// One call on a connection of its own.
pub(crate) async fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: Headers<'_>,
    body: &[u8],
) -> Response {
    let length = body.len().to_string();
    let mut headers = headers.to_vec();
    if !body.is_empty() || method == "POST" {
        headers.push(("content-length", &length));
    }
    let mut request = head(address, method, path, &headers).into_bytes();
    request.extend_from_slice(body);
    exchange(address, &request).await
}

/// Sends raw bytes and reads one response that tells its length.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> Response {
    exchange_on(TcpStream::connect(address).await.unwrap(), request).await
}

/// The same on an open connection.
pub(crate) async fn exchange_on(mut socket: TcpStream, request: &[u8]) -> Response {
    socket.write_all(request).await.unwrap();
    let (status, headers, rest) = read_head(&mut socket).await;
    if request.starts_with(b"HEAD ") {
        return Response { status, headers, body: String::new() };
    }
    finish(socket, status, headers, rest).await
}

async fn finish(
    mut socket: TcpStream,
    status: u16,
    headers: Vec<(String, String)>,
    mut body: Vec<u8>,
) -> Response {
    let mut response = Response { status, headers, body: String::new() };
    let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
    while body.len() < length {
        assert!(within(socket.read_buf(&mut body)).await.unwrap() > 0, "the body broke off");
    }
    response.body = String::from_utf8(body).unwrap();
    response
}

async fn read_head(socket: &mut TcpStream) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        assert!(within(socket.read_buf(&mut bytes)).await.unwrap() > 0, "no response: {bytes:?}");
    };
    let rest = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(n, v)| (n.into(), v.into()))
        .collect();
    (status, headers, rest)
}

/// One event as a parser of the format sees it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: String,
}

/// An event stream.
#[derive(Debug)]
pub(crate) struct Sse {
    socket: TcpStream,
    raw: Vec<u8>,
    text: String,
    events: VecDeque<Event>,
    over: bool,
}

impl Sse {
    pub(crate) async fn open(
        address: SocketAddr,
        path: &str,
        headers: Headers<'_>,
    ) -> Result<Self, Response> {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(head(address, "GET", path, headers).as_bytes()).await.unwrap();
        let (status, headers, raw) = read_head(&mut socket).await;
        if status != 200 {
            return Err(finish(socket, status, headers, raw).await);
        }
        assert!(
            headers.contains(&("content-type".into(), "text/event-stream".into())),
            "{headers:?}"
        );
        Ok(Self { socket, raw, text: String::new(), events: VecDeque::new(), over: false })
    }

    /// Returns the next event, or `None` at the proper end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        // The whole of it: comments, which keep the stream alive, are no event.
        within(self.read_event()).await
    }

    async fn read_event(&mut self) -> Option<Event> {
        loop {
            self.dechunk();
            self.parse();
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            let read = self.socket.read_buf(&mut self.raw).await.unwrap();
            assert!(read > 0, "the stream broke off");
        }
    }

    pub(crate) async fn data(&mut self) -> String {
        let event = self.next().await.expect("an event, not the end");
        assert_eq!(event.name, "", "{event:?}");
        event.data
    }

    /// Expects an event of a name, and returns its data.
    pub(crate) async fn named(&mut self, name: &str) -> String {
        let event = self.next().await.expect("an event, not the end");
        assert_eq!(event.name, name, "{event:?}");
        event.data
    }

    /// Expects the farewell, and the end of the stream right after it.
    pub(crate) async fn farewell(&mut self) -> String {
        let event = self.next().await.expect("a farewell before the end");
        assert_eq!((event.name.as_str(), event.id.as_str()), ("close", ""), "{event:?}");
        assert_eq!(self.next().await, None);
        let data: Value = serde_json::from_str(&event.data).unwrap();
        data["reason"].as_str().unwrap().to_owned()
    }

    fn dechunk(&mut self) {
        while let Some(line) = self.raw.windows(2).position(|two| two == b"\r\n") {
            let size =
                usize::from_str_radix(std::str::from_utf8(&self.raw[..line]).unwrap(), 16).unwrap();
            let end = line + 2 + size;
            if self.raw.len() < end + 2 {
                return;
            }
            self.text += std::str::from_utf8(&self.raw[line + 2..end]).unwrap();
            self.raw.drain(..end + 2);
            self.over |= size == 0;
        }
    }

    fn parse(&mut self) {
        while let Some(end) = self.text.find("\n\n") {
            let block: String = self.text.drain(..end + 2).collect();
            let mut event = Event::default();
            let mut data = Vec::new();
            for line in block.lines() {
                let (field, value) = line.split_once(':').unwrap_or((line, ""));
                let value = value.strip_prefix(' ').unwrap_or(value);
                match field {
                    "event" => event.name = value.into(),
                    "id" => event.id = value.into(),
                    "data" => data.push(value),
                    _ => {}
                }
            }
            if !data.is_empty() {
                event.data = data.join("\n");
                self.events.push_back(event);
            }
        }
    }
}

/// A WebSocket.
#[derive(Debug)]
pub(crate) struct Ws(WebSocketStream<TcpStream>);

impl Ws {
    pub(crate) async fn open(
        address: SocketAddr,
        path: &str,
        headers: Headers<'_>,
    ) -> Result<Self, Response> {
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).unwrap();
            request.headers_mut().insert(name, HeaderValue::try_from(*value).unwrap());
        }
        let socket = TcpStream::connect(address).await.unwrap();
        match within(client_async(request, socket)).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(response)) => {
                let (parts, body) = response.into_parts();
                let headers = parts
                    .headers
                    .iter()
                    .map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned()));
                let body = String::from_utf8(body.unwrap_or_default()).unwrap();
                Err(Response { status: parts.status.as_u16(), headers: headers.collect(), body })
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn data(&mut self) -> String {
        match within(self.0.next()).await {
            Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
            other => panic!("a text frame, not {other:?}"),
        }
    }

    pub(crate) async fn json(&mut self) -> Value {
        serde_json::from_str(&self.data().await).unwrap()
    }

    /// Expects the close frame, and returns its code and text.
    pub(crate) async fn farewell(&mut self) -> (u16, String) {
        match within(self.0.next()).await {
            Some(Ok(Message::Close(Some(frame)))) => {
                (frame.code.into(), frame.reason.as_str().to_owned())
            }
            other => panic!("a close frame, not {other:?}"),
        }
    }
}
