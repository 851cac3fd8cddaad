//! The loop.

use crate::request::{Request, Wire};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{accept_with, bind, listen, recv, send, socket_with, sockopt};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

/// The token of the listener.
const LISTENER: u64 = u64::MAX;
const BACKLOG: i32 = 4096;
const ANSWER: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";

pub(crate) struct Server {
    epoll: OwnedFd,
    listener: OwnedFd,
    sockets: Vec<Option<OwnedFd>>,
    free: Vec<usize>,
    /// What has been read of a request, of those that are no subscribers.
    asking: HashMap<usize, Vec<u8>>,
    subscribers: HashMap<(Wire, String), Vec<usize>>,
    /// The bytes that did not fit into a socket.
    behind: HashMap<usize, Vec<u8>>,
    batch: bool,
    /// The bytes to be sent at the end of this turn.
    due: Vec<(String, Vec<u8>)>,
    /// Who published it.
    unanswered: Vec<usize>,
}

impl Server {
    pub(crate) fn bind(address: SocketAddr, batch: bool) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        bind(&listener, &address)?;
        listen(&listener, BACKLOG)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            sockets: Vec::new(),
            free: Vec::new(),
            asking: HashMap::new(),
            subscribers: HashMap::new(),
            behind: HashMap::new(),
            batch,
            due: Vec::new(),
            unanswered: Vec::new(),
        })
    }

    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(1024);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                let flags = event.flags; // the event is packed
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    token => {
                        let token = token as usize;
                        if flags.contains(EventFlags::OUT) {
                            self.catch_up(token)?;
                        }
                        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                            self.read(token)?;
                        }
                    }
                }
                if !self.batch {
                    self.flush()?;
                }
            }
            self.flush()?;
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Ok(socket) =
            accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
        {
            sockopt::set_tcp_nodelay(&socket, true)?;
            let token = self.free.pop().unwrap_or(self.sockets.len());
            epoll::add(&self.epoll, &socket, EventData::new_u64(token as u64), EventFlags::IN)?;
            if token == self.sockets.len() {
                self.sockets.push(None);
            }
            self.sockets[token] = Some(socket);
            self.asking.insert(token, Vec::new());
        }
        Ok(())
    }

    fn read(&mut self, token: usize) -> io::Result<()> {
        let Some(socket) = &self.sockets[token] else { return Ok(()) };
        let mut bytes = [0; 16 * 1024];
        match recv(socket, &mut bytes[..], RecvFlags::empty()) {
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Ok((1.., read)) => {
                // The bytes of a subscriber are discarded.
                if let Some(asking) = self.asking.get_mut(&token) {
                    asking.extend_from_slice(&bytes[..read]);
                    while let Some(request) = self.asking.get_mut(&token).and_then(Request::take) {
                        self.answer(token, request)?;
                    }
                }
            }
            Ok(_) | Err(_) => self.close(token),
        }
        Ok(())
    }

    fn answer(&mut self, token: usize, request: Request) -> io::Result<()> {
        match request {
            Request::Subscribe(wire, channel) => {
                self.asking.remove(&token);
                self.send(token, wire.welcome())?;
                self.subscribers.entry((wire, channel)).or_default().push(token);
            }
            Request::Publish(channel, body) => {
                self.due.push((channel, body));
                self.unanswered.push(token);
            }
            Request::Unknown => self.close(token),
        }
        Ok(())
    }

    /// Sends what was published, then answers the publishers.
    fn flush(&mut self) -> io::Result<()> {
        let mut due = std::mem::take(&mut self.due);
        // Stable: the order within a channel remains.
        due.sort_by(|(one, _), (other, _)| one.cmp(other));
        for published in due.chunk_by(|(one, _), (other, _)| one == other) {
            let channel = &published[0].0;
            for wire in Wire::ALL {
                let key = (wire, channel.clone());
                let Some(subscribers) = self.subscribers.remove(&key) else { continue };
                let mut frames = Vec::new();
                published.iter().for_each(|(_, body)| wire.frame(body, &mut frames));
                for &token in &subscribers {
                    self.send(token, &frames)?;
                }
                self.subscribers.insert(key, subscribers);
            }
        }
        for token in std::mem::take(&mut self.unanswered) {
            self.send(token, ANSWER)?;
        }
        Ok(())
    }

    fn send(&mut self, token: usize, bytes: &[u8]) -> io::Result<()> {
        if let Some(waiting) = self.behind.get_mut(&token) {
            waiting.extend_from_slice(bytes);
            return Ok(());
        }
        let Some(socket) = &self.sockets[token] else { return Ok(()) };
        let sent = match send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_gone) => return Ok(()), // the reading side closes it
        };
        if sent < bytes.len() {
            let interest = EventFlags::IN | EventFlags::OUT;
            epoll::modify(&self.epoll, socket, EventData::new_u64(token as u64), interest)?;
            self.behind.insert(token, bytes[sent..].to_vec());
        }
        Ok(())
    }

    /// Sends what did not fit before.
    fn catch_up(&mut self, token: usize) -> io::Result<()> {
        let Some(bytes) = self.behind.remove(&token) else { return Ok(()) };
        self.send(token, &bytes)?;
        if let (Some(socket), false) = (&self.sockets[token], self.behind.contains_key(&token)) {
            epoll::modify(&self.epoll, socket, EventData::new_u64(token as u64), EventFlags::IN)?;
        }
        Ok(())
    }

    fn close(&mut self, token: usize) {
        self.asking.remove(&token);
        self.behind.remove(&token);
        if self.sockets[token].take().is_some() {
            self.free.push(token);
            self.subscribers.values_mut().for_each(|tokens| tokens.retain(|other| *other != token));
        }
    }
}
