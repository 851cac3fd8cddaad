//! As much HTTP as a load generator needs.

use crate::Result;
use memchr::memmem;
use std::net::{Ipv4Addr, SocketAddrV4};

/// An address on this machine, and a path that may hold `{i}` and `{c}`.
#[derive(Clone)]
pub(crate) struct Url {
    pub(crate) address: SocketAddrV4,
    pub(crate) path: String,
}

impl Default for Url {
    fn default() -> Self {
        Self { address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), path: String::new() }
    }
}

impl Url {
    /// Reads `http://127.x.y.z:port/path`. Other machines are refused: none is flooded by
    /// mistake.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let rest = text.strip_prefix("http://").ok_or("a URL begins with http://")?;
        let (host, path) = rest.split_once('/').ok_or("a URL has a path")?;
        let address: SocketAddrV4 =
            host.parse().map_err(|_| format!("{host} is not an IPv4 address with a port"))?;
        if !address.ip().is_loopback() {
            return Err(format!("{address} is not a loopback address").into());
        }
        Ok(Self { address, path: format!("/{path}") })
    }

    fn head(&self, method: &str, connection: usize, channel: usize) -> String {
        let path = fill(&self.path, connection, channel);
        format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address)
    }

    /// The request that opens an event stream.
    pub(crate) fn stream(&self, connection: usize, channel: usize) -> String {
        self.head("GET", connection, channel) + "Accept: text/event-stream\r\n\r\n"
    }

    /// The request that opens a WebSocket. Nobody checks the key: it is the one of RFC 6455.
    pub(crate) fn upgrade(&self, connection: usize, channel: usize) -> String {
        self.head("GET", connection, channel)
            + "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    }

    /// The request that publishes.
    pub(crate) fn post(&self, channel: usize, body: &str) -> String {
        let length = body.len();
        self.head("POST", 0, channel)
            + &format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
    }

    /// The request that ends a connection.
    pub(crate) fn delete(&self, connection: usize) -> String {
        self.head("DELETE", connection, 0) + "\r\n"
    }
}

/// Fills in a connection's number and channel.
pub(crate) fn fill(template: &str, connection: usize, channel: usize) -> String {
    template.replace("{i}", &connection.to_string()).replace("{c}", &channel.to_string())
}

/// One text frame from a client. A mask of zero is a mask.
pub(crate) fn text_frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// A response whose bytes have all come.
#[derive(Debug, PartialEq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// How many bytes it has.
    pub(crate) length: usize,
    /// Whether the server closes the connection after it.
    pub(crate) closes: bool,
}

/// The status of a response head at the start of `bytes`, and where it ends.
pub(crate) fn head(bytes: &[u8]) -> Option<(u16, usize)> {
    let end = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let status = bytes.get(9..12).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    Some((status.unwrap_or(0), end))
}

/// The response at the start of `bytes`, once it is whole.
pub(crate) fn response(bytes: &[u8]) -> Option<Response> {
    let (status, end) = head(bytes)?;
    let text = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length = match header("content-length:") {
        Some(length) => end + length.parse::<usize>().unwrap_or(0),
        None if header("transfer-encoding:") == Some("chunked") => {
            end + memmem::find(&bytes[end..], b"0\r\n\r\n").map(|last| last + 5)?
        }
        None => end,
    };
    let closes = header("connection:") == Some("close");
    (bytes.len() >= length).then_some(Response { status, length, closes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_a_target() {
        assert!(Url::parse("http://127.0.0.1:80/a").is_ok());
        for refused in [
            "http://192.0.2.1:80/",
            "http://localhost:80/",
            "https://127.0.0.1:80/",
            "http://127.0.0.1:80",
        ] {
            assert!(Url::parse(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_response_is_whole_when_its_body_is() {
        let text = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\nConnection: close\r\n\r\nokHTTP";
        let whole = Response { status: 202, length: text.len() - 4, closes: true };
        assert_eq!(response(text), Some(whole));
        assert_eq!(response(&text[..text.len() - 5]), None);
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        assert_eq!(
            response(chunked),
            Some(Response { status: 200, length: chunked.len(), closes: false })
        );
    }
}
