//! The program itself: arguments, messages, signals, exit codes.

use crate::client::{Sse, Ws, call, within};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::{Output, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = within(demo(arguments).output()).await.unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Starts a server on a free port and reads where it listens.
async fn start(arguments: &[&str]) -> (Child, SocketAddr, Lines<BufReader<ChildStdout>>) {
    let mut child = demo(&[&["--listen", "127.0.0.1:0"], arguments].concat()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within(lines.next_line()).await.unwrap().expect("it says where it listens");
    let address = line.strip_prefix("listening on http://").unwrap().parse().unwrap();
    (child, address, lines)
}

#[tokio::test]
async fn help_and_version_are_no_errors() {
    let (code, out, _) = run(&["--help"]).await;
    assert_eq!(code, 0);
    for option in ["--listen", "--admin-token", "--open", "/api/groups/"] {
        assert!(out.contains(option), "{out}");
    }
    let (code, out, _) = run(&["--version"]).await;
    assert_eq!((code, out.as_str()), (0, concat!("demo ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[tokio::test]
async fn wrong_arguments_are_explained() {
    for (arguments, expected) in [
        (&["--listen", "nowhere"][..], "--listen takes an IP address and a port"),
        (&["--listen"], "--listen"),
        (&["--port", "1"], "--port"),
        (&["extra"], "extra"),
        (&["--admin-token", ""], "--admin-token"),
        (&["--open", "--listen", "0.0.0.0:0"], "refused off loopback"),
        (&["--listen", "192.0.2.1:80", "--open"], "refused off loopback"),
    ] {
        let (code, out, error) = run(arguments).await;
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(error.contains(expected) && error.contains("--help"), "{error}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn drn_3_a_signal_tells_open_streams_and_ends_the_process() {
    for signal in ["-TERM", "-INT"] {
        let (mut child, address, mut lines) = start(&[]).await;

        let taken = address.to_string();
        let (code, _, error) = run(&["--listen", &taken]).await;
        assert_eq!(code, 1);
        assert!(error.contains("address in use") && error.contains("--listen 127.0.0.1:0"), "{error}");

        let json = [("content-type", "application/json")];
        let login = call(address, "POST", "/api/sessions", &json, br#"{"account":"ada"}"#).await.json();
        let Value::String(token) = &login["token"] else { panic!("{login}") };
        let bearer = format!("Bearer {token}");
        let mut sse = Sse::open(address, "/events", &[("authorization", &bearer)]).await.unwrap();
        let mut ws = Ws::open(address, "/ws", &[("authorization", &bearer)]).await.unwrap();

        let pid = child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
        assert_eq!(sse.farewell().await, "shutdown");
        assert_eq!(ws.farewell().await, (1001, "shutdown".into()));
        drop((sse, ws));
        assert_eq!(within(child.wait()).await.unwrap().code(), Some(0), "{signal}");
        let line = within(lines.next_line()).await.unwrap();
        assert_eq!(line.as_deref(), Some("stopped: 2 streams were told, 0 connections had to be reset"));
        let mut error = String::new();
        within(child.stderr.take().unwrap().read_to_string(&mut error)).await.unwrap();
        assert_eq!(error, "");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn open_mode_is_an_argument() {
    let (mut child, address, _lines) = start(&["--open"]).await;
    let mut stream = Sse::open(address, "/events?group=g", &[]).await.unwrap();
    assert_eq!(call(address, "DELETE", "/api/groups/g", &[], b"").await.json()["closed"], 1);
    assert_eq!(stream.farewell().await, "revoked");
    child.kill().await.unwrap();
}
