//! A wire to test on: a real server on loopback, an authoriser that can be steered, and a client that reads raw bytes.
//!
//! Included by the transports' test binaries; each uses a part of it.
#![allow(dead_code, reason = "each test binary uses its part")]

use async_trait::async_trait;
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, any};
use registry_core::{ChannelFilter, Identity, Registration, SubscriberRegistry};
use std::collections::HashMap;
use std::fmt::Debug;
use std::future::ready;
use std::io::{self, BufRead, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, timeout, timeout_at};
use tower_service::Service;
use transport_core::{Authorise, Denied, Drained, Grant, Server, ServerMetrics, ServerOptions};

/// Long enough for a busy machine, and short enough to hear of a failure; a test that waits for it has failed.
pub(crate) const BOUND: Duration = Duration::from_secs(10);

/// What is awaited, or a failed test.
pub(crate) async fn soon<F: Future>(what: &str, event: F) -> F::Output {
    timeout(BOUND, event).await.unwrap_or_else(|_| panic!("{what} never came"))
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    until_is(what, true, holds).await;
}

/// Waits until what is read is what it should be.
pub(crate) async fn until_is<T: PartialEq + Debug>(what: &str, expected: T, read: impl Fn() -> T) {
    let end = Instant::now() + BOUND;
    loop {
        let is = read();
        if is == expected {
            return;
        }
        assert!(Instant::now() < end, "{what} never came: {is:?} and not {expected:?}");
        yield_now().await;
    }
}

/// What was read, for a message: its length and its end.
fn shown(read: &[u8]) -> String {
    let end = &read[read.len().saturating_sub(200)..];
    format!("{} bytes that end in {:?}", read.len(), String::from_utf8_lossy(end))
}

/// Where `needle` stands. The skipping is the standard library's, and quick in every build: megabytes are searched.
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

/// Runs at each look at a credential, with the number of the look, from 1.
type Hook = Arc<dyn Fn(usize) + Send + Sync>;

/// Tokens and their grants. `?token=…` is the credential.
#[derive(Clone, Default)]
pub(crate) struct Tokens {
    grants: Arc<Mutex<HashMap<String, Grant>>>,
    looks: Arc<AtomicUsize>,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl Tokens {
    /// One token for each name; the account and the session both have that name.
    pub(crate) fn of(names: &[&str]) -> Self {
        let tokens = Self::default();
        for name in names {
            tokens.grant(name, grant(name, ChannelFilter::All));
        }
        tokens
    }

    pub(crate) fn grant(&self, token: &str, grant: Grant) {
        self.grants.lock().unwrap().insert(token.to_owned(), grant);
    }

    pub(crate) fn forget(&self, token: &str) {
        self.grants.lock().unwrap().remove(token);
    }

    pub(crate) fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    /// Runs `hook` after each look at the credential and before the admission.
    pub(crate) fn after_look(&self, hook: impl Fn(usize) + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Some(Arc::new(hook));
    }
}

pub(crate) fn grant(name: &str, channels: ChannelFilter) -> Grant {
    Grant::new(channels).scope(Identity::new("session", name)).group(account(name))
}

pub(crate) fn account(name: &str) -> Identity {
    Identity::new("account", name)
}

#[async_trait]
impl Authorise for Tokens {
    async fn authorise(&self, request: &Parts) -> Result<Grant, Denied> {
        let query = request.uri.query().unwrap_or_default();
        let token = query.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or_default();
        let found = self.grants.lock().unwrap().get(token).cloned();
        let look = self.looks.fetch_add(1, Ordering::SeqCst) + 1;
        let hook = self.hook.lock().unwrap().clone(); // a panicking hook must not poison the lock
        if let Some(hook) = hook {
            hook(look);
        }
        found.ok_or_else(|| Denied::unauthenticated("sign in first"))
    }
}

/// Grants every request what one registration of the sink kit asks for.
pub(crate) struct AsRegistered(pub(crate) Registration);

#[async_trait]
impl Authorise for AsRegistered {
    async fn authorise(&self, _: &Parts) -> Result<Grant, Denied> {
        let grant = Grant::new(self.0.hears().clone());
        Ok(self.0.identities().fold(grant, |grant, identity| grant.group(identity.clone())))
    }
}

/// Runs a check of the sink kit, for which a server must run beside it.
pub(crate) fn run<T>(check: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(check)
}

/// Serves a router on a free port of the loopback address, until the runtime ends.
pub(crate) async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Whose listener a router is served by: the two ways that bytes can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    /// [`Server`]'s: sockets come to be ours.
    Ours,
    /// axum's: somebody else writes.
    Foreign,
}

/// Makes each async function of a [`Site`] a test on each of the two.
#[allow(unused_macros, reason = "each test binary uses its part")]
macro_rules! on_both_sites {
    ($($test:ident),* $(,)?) => {
        mod ours {
            $(#[tokio::test] async fn $test() { super::$test($crate::wire::Site::Ours).await; })*
        }
        mod foreign {
            $(#[tokio::test] async fn $test() { super::$test($crate::wire::Site::Foreign).await; })*
        }
    };
}
#[allow(unused_imports, reason = "each test binary uses its part")]
pub(crate) use on_both_sites;

/// A router that is being served.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    _ours: Option<Owned>,
}

impl Running {
    pub(crate) async fn start<T: Send + Sync + 'static>(
        site: Site,
        app: Router,
        registry: &SubscriberRegistry<T>,
    ) -> Self {
        match site {
            Site::Foreign => Self { address: serve(app).await, _ours: None },
            Site::Ours => {
                let ours = Owned::start(app, registry, ServerOptions::new()).await;
                Self { address: ours.address, _ours: Some(ours) }
            }
        }
    }
}

/// A route that can be taken away while the server runs, with all that it holds.
pub(crate) struct Tenant(Arc<Mutex<Option<MethodRouter>>>);

impl Tenant {
    pub(crate) fn new(path: &str, route: MethodRouter) -> (Self, Router) {
        let route = Arc::new(Mutex::new(Some(route)));
        let slot = route.clone();
        let serve = move |request: Request| {
            let route = slot.lock().unwrap().clone();
            async move {
                match route {
                    Some(mut route) => route.call(request).await.into_response(),
                    None => StatusCode::NOT_FOUND.into_response(),
                }
            }
        };
        (Self(route), Router::new().route(path, any(serve)))
    }

    pub(crate) fn leave(self) {
        drop(self.0.lock().unwrap().take());
    }
}

/// A running [`Server`]: its own listener, so that connections are owned.
pub(crate) struct Owned {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: ServerMetrics,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Drained>,
}

impl Owned {
    pub(crate) async fn start<T: Send + Sync + 'static>(
        app: Router,
        registry: &SubscriberRegistry<T>,
        options: ServerOptions,
    ) -> Self {
        let server = Server::bind("127.0.0.1:0", options).await.unwrap();
        let (address, metrics) = (server.local_addr().unwrap(), server.metrics());
        let (stop, stopped) = oneshot::channel();
        let registry = registry.clone();
        let ended =
            tokio::spawn(async move { server.run(app, &registry, async { stopped.await.unwrap_or(()) }).await });
        Self { address, metrics, stop, ended }
    }

    /// As [`start`](Self::start), and counts the writes to all sockets: each is one system call.
    pub(crate) async fn start_counted<T: Send + Sync + 'static>(
        app: Router,
        registry: &SubscriberRegistry<T>,
    ) -> (Self, Arc<AtomicUsize>) {
        let server = Server::bind("127.0.0.1:0", ServerOptions::new()).await.unwrap();
        let (address, metrics) = (server.local_addr().unwrap(), server.metrics());
        let (stop, stopped) = oneshot::channel();
        let (registry, writes) = (registry.clone(), Arc::new(AtomicUsize::new(0)));
        let counter = writes.clone();
        let ended = tokio::spawn(async move {
            let count = |io| ready(Ok(Counted { io, writes: counter.clone() }));
            server.run_over(app, &registry, async { stopped.await.unwrap_or(()) }, count).await
        });
        (Self { address, metrics, stop, ended }, writes)
    }

    /// Drops the server's future.
    pub(crate) async fn abandon(self) {
        self.ended.abort();
        assert!(self.ended.await.is_err());
    }

    /// Shuts the server down and waits until it has.
    pub(crate) async fn stop(self) -> Drained {
        self.stop.send(()).unwrap();
        soon("the end of the server", self.ended).await.unwrap()
    }
}

/// A socket whose writes are counted.
struct Counted<S> {
    io: S,
    writes: Arc<AtomicUsize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A connection whose bytes are read as they come.
pub(crate) struct Raw {
    pub(crate) tcp: TcpStream,
    buffer: Vec<u8>,
}

/// A response head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    text: String,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.text.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let tcp = soon("a connection", TcpStream::connect(address)).await.unwrap();
        Self { tcp, buffer: Vec::new() }
    }

    pub(crate) fn of(tcp: TcpStream) -> Self {
        Self { tcp, buffer: Vec::new() }
    }

    /// Connects with a small receive buffer: a client that is soon stalled when it does not read.
    pub(crate) async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let tcp = soon("a connection", socket.connect(address)).await.unwrap();
        Self { tcp, buffer: Vec::new() }
    }

    /// Connects, sends a request without a body, and reads the head of the response.
    pub(crate) async fn request(address: SocketAddr, method: &str, target: &str, headers: &str) -> (Head, Self) {
        Self::connect(address).await.ask(method, target, headers).await
    }

    /// Sends a request without a body, and reads the head of the response.
    pub(crate) async fn ask(mut self, method: &str, target: &str, headers: &str) -> (Head, Self) {
        let raw = &mut self;
        let host = raw.tcp.peer_addr().unwrap();
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        soon("room for a request", raw.tcp.write_all(request.as_bytes())).await.unwrap();
        let text = raw.read_past("\r\n\r\n").await;
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        (Head { status, text }, self)
    }

    pub(crate) async fn get(address: SocketAddr, target: &str) -> (Head, Self) {
        Self::request(address, "GET", target, "").await
    }

    /// Reads until `needle` was read, and returns all up to its end.
    pub(crate) async fn read_past(&mut self, needle: &str) -> String {
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

    /// Reads to the end of the connection, or of the body if `body`; the error if that is how it ended.
    async fn read_on(&mut self, what: &str, body: bool) -> io::Result<()> {
        let end = Instant::now() + BOUND;
        // The last chunk of a body that was chunked ends it, whether the connection lives on or not.
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
    pub(crate) async fn read_to_reset(mut self) -> Vec<u8> {
        match self.read_on("the reset", false).await {
            Ok(()) => panic!("ended without a reset, after {}", shown(&self.buffer)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
        self.buffer
    }

    /// Reads to the end of the stream: the last chunk of a body, the end of the connection, or a reset.
    pub(crate) async fn read_to_end(mut self) -> String {
        let _reset = self.read_on("the end of the stream", true).await;
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}
