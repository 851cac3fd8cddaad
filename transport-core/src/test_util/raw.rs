//! A client that reads raw bytes.

use super::{BOUND, soon};
use std::io::{self, BufRead};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

/// The bytes that were read, for a message: their number and the last of them.
fn shown(read: &[u8]) -> String {
    let end = &read[read.len().saturating_sub(200)..];
    format!("{} bytes that end in {:?}", read.len(), String::from_utf8_lossy(end))
}

/// Where `needle` stands. The skipping is the standard library's, and quick in every build:
/// megabytes are searched.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        at += (&bytes[at..]).skip_until(needle[0]).unwrap() - 1;
        if bytes[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// A connection whose bytes are read as they come.
#[derive(Debug)]
pub struct Raw {
    /// The socket.
    pub tcp: TcpStream,
    buffer: Vec<u8>,
}

/// A response head.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: u16,
    text: String,
}

impl Head {
    /// Returns the first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Raw {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let tcp = soon("a connection", TcpStream::connect(address)).await.unwrap();
        Self { tcp, buffer: Vec::new() }
    }

    /// Reads from a socket that is connected.
    pub fn of(tcp: TcpStream) -> Self {
        Self { tcp, buffer: Vec::new() }
    }

    /// Connects with a small receive buffer: a client that is soon stalled when it does not read.
    pub async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let tcp = soon("a connection", socket.connect(address)).await.unwrap();
        Self { tcp, buffer: Vec::new() }
    }

    /// Connects, sends a request without a body, and reads the head of the response.
    pub async fn request(
        address: SocketAddr,
        method: &str,
        target: &str,
        headers: &str,
    ) -> (Head, Self) {
        Self::connect(address).await.ask(method, target, headers).await
    }

    /// Sends a request without a body, and reads the head of the response.
    pub async fn ask(mut self, method: &str, target: &str, headers: &str) -> (Head, Self) {
        let raw = &mut self;
        let host = raw.tcp.peer_addr().unwrap();
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        soon("room for a request", raw.tcp.write_all(request.as_bytes())).await.unwrap();
        let text = raw.read_past("\r\n\r\n").await;
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        (Head { status, text }, self)
    }

    /// Connects, and asks with `GET`.
    pub async fn get(address: SocketAddr, target: &str) -> (Head, Self) {
        Self::request(address, "GET", target, "").await
    }

    /// Reads until `needle` was read, and returns all up to its end.
    pub async fn read_past(&mut self, needle: &str) -> String {
        let end = Instant::now() + BOUND;
        let mut searched = 0;
        loop {
            if let Some(at) = find(&self.buffer[searched..], needle.as_bytes()) {
                let read: Vec<u8> = self.buffer.drain(..searched + at + needle.len()).collect();
                return String::from_utf8_lossy(&read).into_owned();
            }
            searched = (self.buffer.len() + 1).saturating_sub(needle.len());
            self.buffer.reserve(64 * 1024);
            match timeout_at(end, self.tcp.read_buf(&mut self.buffer)).await {
                Ok(Ok(0)) => panic!("the stream ended before {needle:?}: {}", shown(&self.buffer)),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => panic!("{error} before {needle:?}: {}", shown(&self.buffer)),
                Err(_elapsed) => panic!("{needle:?} never came: {}", shown(&self.buffer)),
            }
        }
    }

    /// Reads to the end of the connection, or of the body if `body`; the error if that is how it
    /// ended.
    async fn read_on(&mut self, what: &str, body: bool) -> io::Result<()> {
        let end = Instant::now() + BOUND;
        // The last chunk of a body that was chunked ends it, whether the connection lives on or
        // not.
        while !(body && self.buffer.ends_with(b"\r\n0\r\n\r\n")) {
            match timeout_at(end, self.tcp.read_buf(&mut self.buffer)).await {
                Ok(Ok(0)) => break,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_elapsed) => panic!("{what} never came: {}", shown(&self.buffer)),
            }
        }
        Ok(())
    }

    /// Reads until the connection was reset; panics if it ends in any other way.
    pub async fn read_to_reset(mut self) -> Vec<u8> {
        match self.read_on("the reset", false).await {
            Ok(()) => panic!("ended without a reset, after {}", shown(&self.buffer)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
        self.buffer
    }

    /// Reads to the end of the stream: the last chunk of a body, the end of the connection, or a
    /// reset.
    pub async fn read_to_end(mut self) -> String {
        let _reset = self.read_on("the end of the stream", true).await;
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}
