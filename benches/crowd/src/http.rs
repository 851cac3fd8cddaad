//! Calls to the demo.

use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Makes one call on a connection of its own and reads the JSON of a good answer.
pub(crate) async fn call<T: DeserializeOwned>(
    to: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> Result<T, String> {
    let answer = exchange(to, method, path, body)
        .await
        .map_err(|error| format!("{method} {path}: {error}"))?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| format!("{method} {path}: no answer"))?;
    if !head.starts_with("HTTP/1.1 2") {
        return Err(format!("{method} {path}: {answer}"));
    }
    serde_json::from_str(body).map_err(|error| format!("{method} {path}: {error} in {body}"))
}

async fn exchange(to: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut tcp = TcpStream::connect(to).await?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    tcp.write_all(head.as_bytes()).await?;
    tcp.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await?;
    Ok(answer)
}
