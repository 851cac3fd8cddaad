//! Runs each example as its first lines say.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

mod login_race;

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

async fn soon<F: Future>(event: F) -> F::Output {
    timeout(Duration::from_secs(20), event).await.expect("it never came")
}

/// The README shows parts of the application with sessions, which the test below runs.
#[test]
fn the_readme_shows_the_application_that_is_tested() {
    let readme = include_str!("../../../README.md");
    let shown = readme.split("```rs\n").nth(1).unwrap().split("```").next().unwrap();
    let source: Vec<&str> =
        include_str!("../../src/bin/sessions.rs").lines().map(str::trim).collect();
    let unknown: Vec<&str> = shown
        .lines()
        .map(str::trim)
        .filter(|line| *line != "// in main" && !source.contains(line))
        .collect();
    assert_eq!(unknown, [""; 0]);
    assert!(shown.lines().count() > 30);

    const OURS: [&str; 9] =
        ["Live<", "Live::", "Grant", "Entry", "Sse", "WsUpgrade", ".serve(", "live.", "Server"];
    let names_ours = |line: &&&str| OURS.iter().any(|name| line.contains(name));
    let code = source.iter().filter(|line| !line.starts_with("//") && !line.starts_with("use "));
    let lines: Vec<_> =
        code.filter(names_ours).filter(|line| !line.contains("live.clone()")).collect();
    assert_eq!(lines.len(), 12, "the README says how many name the library: {lines:#?}");
}

/// An example that runs.
struct Example {
    process: Child,
    address: SocketAddr,
    output: Lines<BufReader<ChildStdout>>,
}

impl Example {
    async fn start(program: &str) -> Self {
        let mut command = Command::new(program);
        command.arg("127.0.0.1:0").stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = soon(output.next_line()).await.unwrap().unwrap();
        let address = line.strip_prefix("listening on http://").unwrap().parse().unwrap();
        Self { process, address, output }
    }

    /// Sends a request, and returns the connection once the head of the answer was read.
    async fn open(&self, request: &str, headers: &str, body: &str) -> (String, Stream) {
        let mut tcp = soon(TcpStream::connect(self.address)).await.unwrap();
        let length = body.len();
        let request = format!(
            "{request} HTTP/1.1\r\nhost: {}\r\ncontent-length: {length}\r\n{headers}\r\n{body}",
            self.address
        );
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut stream = Stream(tcp, String::new());
        (stream.read_past("\r\n\r\n").await, stream)
    }

    /// Sends a request, and returns the head and the body of the answer.
    async fn call(&self, request: &str, headers: &str, body: &str) -> (String, String) {
        let headers = format!("connection: close\r\n{headers}");
        let (head, mut stream) = self.open(request, &headers, body).await;
        soon(stream.0.read_to_string(&mut stream.1)).await.unwrap();
        (head, stream.1)
    }

    #[cfg(unix)]
    fn interrupt(&self) {
        let id = self.process.id().unwrap().to_string();
        let killed = std::process::Command::new("kill").args(["-INT", &id]).status();
        assert!(killed.unwrap().success());
    }
}

/// An open answer.
struct Stream(TcpStream, String);

impl Stream {
    async fn read_past(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.1.find(end) {
                return self.1.drain(..at + end.len()).collect();
            }
            let mut bytes = [0; 1024];
            let read = soon(self.0.read(&mut bytes)).await.unwrap();
            assert!(read > 0, "the stream ended before {end:?}: {}", self.1);
            self.1.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }
}

const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn minimal_sse() {
    let example = Example::start(env!("CARGO_BIN_EXE_minimal-sse")).await;
    let (head, mut stream) = example.open("GET /events", "", "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(example.call("POST /say", "", "hello").await.1, "1");
    stream.read_past("data: \"hello\"").await;
}

#[tokio::test]
async fn minimal_ws() {
    let example = Example::start(env!("CARGO_BIN_EXE_minimal-ws")).await;
    let (head, mut first) = example.open("GET /ws", UPGRADE, "").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (_, mut second) = example.open("GET /ws", UPGRADE, "").await;
    // A text frame that is masked with zeros.
    first.0.write_all(b"\x81\x85\0\0\0\0hello").await.unwrap();
    first.read_past("\"hello\"").await;
    second.read_past("\"hello\"").await;
}

#[tokio::test]
async fn sessions() {
    let example = Example::start(env!("CARGO_BIN_EXE_sessions")).await;
    let sign_in = async |name: &str| {
        let (head, _) = example.call(&format!("POST /sign-in/{name}"), "", "").await;
        let (_, rest) = head.split_once("session=").unwrap();
        assert!(rest.contains("; Path=/;"), "every route gets it: {head}");
        // As a browser sends it, beside another one.
        format!("cookie: theme=dark; session={}\r\n", rest.split_once(';').unwrap().0)
    };
    let (ada, admin) = (sign_in("ada").await, sign_in("admin").await);
    assert!(example.call("GET /runs/7/events", "", "").await.0.contains(" 401 "));
    assert!(example.call("GET /runs/100/events", &ada, "").await.0.contains(" 403 "));
    assert!(example.call("POST /runs/7", "", "queued").await.0.contains(" 401 "));
    assert!(example.call("PUT /users/admin/up-to/3", &ada, "").await.0.contains(" 403 "));
    assert_eq!(example.call("GET /elsewhere", "", "").await.1, "no such page");

    let (_, mut events) = example.open("GET /runs/7/events", &ada, "").await;
    let (_, mut socket) = example.open("GET /runs/7/ws", &format!("{ada}{UPGRADE}"), "").await;
    for run in [8, 7] {
        let (head, _) = example.call(&format!("POST /runs/{run}"), &ada, "queued").await;
        assert!(head.contains(" 200 "), "{head}");
    }
    for stream in [&mut events, &mut socket] {
        assert!(!stream.read_past("\"state\":\"queued\"").await.contains("\"run\":8"));
    }
    assert_eq!(example.call("PUT /users/ada/up-to/3", &admin, "").await.1, "2");
    events.read_past("{\"reason\":\"revoked\"}").await;
    socket.read_past("revoked").await;
    assert!(example.call("GET /runs/7/events", &ada, "").await.0.contains(" 403 "));
    let (_, mut events) = example.open("GET /runs/3/events", &ada, "").await;
    assert_eq!(example.call("POST /sign-out", &ada, "").await.1, "1");
    events.read_past("{\"reason\":\"logged_out\"}").await;
    assert!(example.call("GET /runs/3/events", &ada, "").await.0.contains(" 401 "));
    assert_ne!(sign_in("grace").await, admin, "no session is given to two");
}

#[tokio::test]
async fn axum_login() {
    let example = Example::start(env!("CARGO_BIN_EXE_axum-login")).await;
    assert!(example.call("GET /events", "", "").await.0.contains(" 401 "));
    let (head, _) = example.call("POST /sign-in/ada", "", "").await;
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = format!("cookie: {}\r\n", cookie.split(';').next().unwrap());
    let (head, mut events) = example.open("GET /events", &cookie, "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(example.call("DELETE /users/ada", "", "").await.1, "1");
    events.read_past("{\"reason\":\"revoked\"}").await;
    assert!(example.call("GET /events", &cookie, "").await.0.contains(" 401 "));
}

#[cfg(unix)]
#[tokio::test]
async fn axum_serve() {
    let mut example = Example::start(env!("CARGO_BIN_EXE_axum-serve")).await;
    let (head, mut events) = example.open("GET /events", "", "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    events.read_past(": ok").await;
    example.interrupt();
    events.read_past("{\"reason\":\"shutdown\"}").await;
    drop(events);
    let line = soon(example.output.next_line()).await.unwrap().unwrap();
    assert_eq!(line, "stopped: 1 streams were notified, 0 reset");
    assert!(soon(example.process.wait()).await.unwrap().success());
}
