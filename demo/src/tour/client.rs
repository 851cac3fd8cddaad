//! A client that speaks just enough HTTP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(15);

/// A connection.
pub(super) struct Client {
    tcp: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { tcp: TcpStream::connect(address).await?, read: Vec::new() })
    }

    /// Connects with a small receive buffer, so that it is soon stalled when it does not read.
    pub(super) async fn connect_narrow(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        Ok(Self { tcp: socket.connect(address).await?, read: Vec::new() })
    }

    /// Sends a request, and returns the status of its answer.
    pub(super) async fn ask(
        &mut self,
        request: &str,
        headers: &str,
        body: &str,
    ) -> io::Result<u16> {
        let (host, length) = (self.tcp.peer_addr()?, body.len());
        let request = format!(
            "{request} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n{headers}\r\n{body}"
        );
        self.tcp.write_all(request.as_bytes()).await?;
        let head = self.read_past("\r\n\r\n").await?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.ok_or_else(|| io::Error::other("an answer without a status"))
    }

    /// Makes a call, and returns the status and the body of its answer.
    pub(super) async fn call(
        address: SocketAddr,
        request: &str,
        body: &str,
    ) -> io::Result<(u16, String)> {
        let mut client = Self::connect(address).await?;
        let status = client.ask(request, "connection: close\r\n", body).await?;
        client.read_to_end().await?;
        Ok((status, String::from_utf8_lossy(&client.read).into_owned()))
    }

    /// Reads until this was read.
    pub(super) async fn read_past(&mut self, end: &str) -> io::Result<String> {
        let reading = async {
            loop {
                let found = self.read.windows(end.len()).position(|bytes| bytes == end.as_bytes());
                if let Some(at) = found {
                    let read: Vec<u8> = self.read.drain(..at + end.len()).collect();
                    return Ok(String::from_utf8_lossy(&read).into_owned());
                }
                if self.tcp.read_buf(&mut self.read).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        };
        timeout(PATIENCE, reading).await.map_err(|_| io::Error::other("an answer did not come"))?
    }

    /// Reads to the end, and returns how much came; an error if the connection was reset.
    pub(super) async fn read_to_end(&mut self) -> io::Result<usize> {
        let reading = self.tcp.read_to_end(&mut self.read);
        timeout(PATIENCE, reading).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Waits, without reading, until the connection is over.
    pub(super) async fn wait_until_over(&self) -> io::Result<()> {
        let over = self.tcp.ready(tokio::io::Interest::ERROR);
        timeout(PATIENCE, over).await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(())
    }

    /// Reads what still comes, until the end or until a second passes without any; returns how many
    /// bytes that were, and whether the end was a reset.
    pub(super) async fn read_on(&mut self) -> (usize, bool) {
        let (quiet, mut bytes) = (Duration::from_secs(1), self.read.len());
        loop {
            self.read.clear();
            match timeout(quiet, self.tcp.read_buf(&mut self.read)).await {
                Ok(Ok(0)) | Err(_) => return (bytes, false),
                Ok(Ok(read)) => bytes += read,
                Ok(Err(error)) => return (bytes, error.kind() == io::ErrorKind::ConnectionReset),
            }
        }
    }
}
