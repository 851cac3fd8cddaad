//! One connection that asks: it publishes, or it revokes.

use crate::Result;
use crate::http::response;
use crate::poll::Poll;
use crate::stamp::now;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};

pub(crate) struct Publisher {
    address: SocketAddrV4,
    stream: TcpStream,
    token: usize,
    /// When the request in flight was sent.
    sent: Option<u64>,
    read: Vec<u8>,
}

impl Publisher {
    pub(crate) fn connect(poll: &Poll, address: SocketAddrV4, token: usize) -> Result<Self> {
        let stream = Self::dial(poll, address, token)?;
        Ok(Self { address, stream, token, sent: None, read: Vec::new() })
    }

    fn dial(poll: &Poll, address: SocketAddrV4, token: usize) -> Result<TcpStream> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        poll.add(&stream, token)?;
        Ok(stream)
    }

    pub(crate) fn is_free(&self) -> bool {
        self.sent.is_none()
    }

    pub(crate) fn ask(&mut self, request: &str) -> Result<()> {
        self.sent = Some(now());
        Ok(self.stream.write_all(request.as_bytes())?)
    }

    /// Reads, when the poll says so. With the whole answer, returns how long it took.
    pub(crate) fn poll_answer(&mut self, poll: &Poll) -> Result<Option<u64>> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err("the server closed a publishing connection".into()),
            Ok(read) => self.read.extend_from_slice(&bytes[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let Some(answer) = response(&self.read) else { return Ok(None) };
        if !(200..300).contains(&answer.status) {
            return Err(
                format!("a request was answered: {}", String::from_utf8_lossy(&self.read)).into()
            );
        }
        self.read.drain(..answer.length);
        if answer.closes {
            poll.forget(&self.stream)?;
            self.stream = Self::dial(poll, self.address, self.token)?;
        }
        Ok(self.sent.take().map(|sent| now().saturating_sub(sent)))
    }
}
