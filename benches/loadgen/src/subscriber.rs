//! One connection that receives.

use crate::Result;
use crate::args::Args;
use crate::http::{fill, head, text_frame};
use crate::stamp::Scanner;
use memchr::memmem;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use std::io::Write;
use std::net::TcpStream;

/// The receive buffer of a connection that never reads: soon full.
const SLOW_BUFFER: usize = 4096;

/// Messages, by their number and the sum of their stamps: a connection that missed one and heard
/// another twice has the same number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) count: u64,
    stamps: u64,
}

impl Heard {
    pub(crate) fn add(&mut self, stamp: u64) {
        self.count += 1;
        self.stamps = self.stamps.wrapping_add(stamp);
    }
}

/// What a connection is there for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// To count what it receives.
    Reader,
    /// To be ended by a revocation.
    Victim,
    /// To be in the way.
    Slow,
}

enum State {
    /// The response head is on its way.
    Head(Vec<u8>),
    /// What tells that the subscription stands is on its way.
    Ready(Vec<u8>),
    Live,
}

pub(crate) struct Subscriber {
    pub(crate) stream: TcpStream,
    pub(crate) role: Role,
    pub(crate) channel: usize,
    pub(crate) received: Heard,
    pub(crate) scanner: Scanner,
    state: State,
}

impl Subscriber {
    /// Connects and sends the request.
    pub(crate) fn open(args: &Args, number: usize) -> Result<Self> {
        let (role, channel) = match number {
            reader if reader < args.conns => (Role::Reader, reader % args.channels),
            victim if victim < args.conns + args.revoke => (Role::Victim, args.channels),
            _ => (Role::Slow, 0),
        };
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        if role == Role::Slow {
            set_socket_recv_buffer_size(&socket, SLOW_BUFFER)?;
        }
        connect(&socket, &args.subscribe.address)
            .map_err(|error| format!("connection {number}: {error}"))?;
        let mut stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        let url = &args.subscribe;
        let request =
            if args.ws { url.upgrade(number, channel) } else { url.stream(number, channel) };
        stream.write_all(request.as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            role,
            channel,
            received: Heard::default(),
            scanner: Scanner::default(),
            state: State::Head(Vec::new()),
        })
    }

    /// Takes bytes that come before the subscription stands; true once it does.
    pub(crate) fn greet(&mut self, args: &Args, number: usize, bytes: &[u8]) -> Result<bool> {
        if let State::Head(read) = &mut self.state {
            read.extend_from_slice(bytes);
            let Some((status, end)) = head(read) else { return Ok(false) };
            if status != if args.ws { 101 } else { 200 } {
                return Err(format!(
                    "connection {number} was answered: {}",
                    String::from_utf8_lossy(read)
                )
                .into());
            }
            let rest = read.split_off(end);
            for text in &args.say {
                self.stream.write_all(&text_frame(&fill(text, number, self.channel)))?;
            }
            self.state = State::Ready(rest);
        } else if let State::Ready(read) = &mut self.state {
            read.extend_from_slice(bytes);
        }
        if let State::Ready(read) = &self.state {
            let ready = args
                .ready
                .as_ref()
                .is_none_or(|text| memmem::find(read, text.as_bytes()).is_some());
            if ready {
                self.state = State::Live;
            }
        }
        Ok(matches!(self.state, State::Live))
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.state, State::Live)
    }
}
