//! The listener for `axum::serve`.

use super::acceptor::{Accepted, Acceptor, bind};
use super::connection::{Shared, answer};
use super::options::ServerOptions;
use super::registries::Registries;
use super::stats::ServerMetrics;
use super::{Drained, all_answered};
use crate::socket::accepted::Socket;
use crate::socket::io::ServerIo;
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::serve::{IncomingStream, Listener, TapIo};
use futures_util::FutureExt;
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower_service::Service;

/// A listener for `axum::serve`, on which connections become direct and revocations reset peers
/// that do not read, as on a [`Server`](crate::Server).
///
/// What `axum::serve` does not permit: later heads than the first have no time limit, an idle
/// connection may stay, and HTTP/2 streams are [portable](crate::ConnectionKind::Portable).
///
/// # Examples
/// ```
/// use axum::Router;
/// use transport_core::{Live, ServerListener, ServerOptions};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// let live = Live::<String>::new();
/// let app = Router::new(); // .route("/events", get(events))
/// let listener = ServerListener::bind("127.0.0.1:0", ServerOptions::new()).await?;
/// let (service, drain) = listener.make_service(app, &live);
/// let stop = live.shutdown_on(async { /* ctrl_c().await */ });
/// axum::serve(listener, service).with_graceful_shutdown(stop).await?;
/// let drained = drain.await; // streams that were handed over may still write their farewells
/// assert_eq!((drained.notified, drained.reset), (0, 0));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ServerListener(Acceptor);

impl ServerListener {
    /// Binds the listener.
    ///
    /// # Errors
    /// Those of the operating system.
    pub async fn bind(address: impl ToSocketAddrs, options: ServerOptions) -> io::Result<Self> {
        Ok(Self::from_listener(bind(address).await?, options))
    }

    /// Uses a listener that was bound elsewhere.
    #[must_use]
    pub fn from_listener(listener: TcpListener, options: ServerOptions) -> Self {
        Self(Acceptor::new(listener, options))
    }

    /// Returns the address that it listens on.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Returns what reads the counts while the server runs.
    #[must_use]
    pub fn metrics(&self) -> ServerMetrics {
        self.0.metrics.clone()
    }

    /// Makes the service for `axum::serve`, and what to await after it. The service draws the
    /// tickets of requests before any layer of the router runs.
    ///
    /// `registries` is a [`Live`](crate::Live), or a tuple of several. A request's `ConnectInfo` is
    /// the address of its peer.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn make_service(
        &self,
        app: Router,
        registries: impl Into<Registries>,
    ) -> (MakeService, Drain) {
        let registries = registries.into();
        let shared = Arc::new(self.0.share(app, registries.clone()));
        let (metrics, refusals) = (self.metrics(), self.0.refusals.clone());
        let deadline = self.0.options.drain_deadline;
        let drain = async move {
            let notified = registries.shut_down_together().await;
            let gone = async { tokio::join!(metrics.sockets.all_gone(), all_answered(&refusals)) };
            let ended = async { tokio::join!(registries.drained(), gone) };
            let reset = match timeout(deadline, ended).await {
                Ok(_) => 0,
                Err(_elapsed) => metrics.reset_all(),
            };
            Drained { notified, reset }
        };
        (MakeService(shared), Drain(tokio::spawn(drain)))
    }
}

impl Listener for ServerListener {
    type Io = ServerIo;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (ServerIo, SocketAddr) {
        loop {
            match self.0.accept().await {
                Accepted::Tcp(socket, peer) => {
                    let late = self.0.metrics.counts.slow_heads.clone();
                    let timeout = self.0.options.head_timeout;
                    return (ServerIo::new(socket).with_head_timeout(timeout, late), peer);
                }
                #[cfg(unix)]
                Accepted::Unix(_) => {} // it listens on no such socket
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Ends when the shutdown of a [`ServerListener`]'s registries has: when streams have written their
/// farewells, or after the drain deadline, when the connections that are left are reset.
///
/// The shutdown begins with [`Live::shutdown_on`](crate::Live::shutdown_on). Dropping this changes
/// nothing: connections are reset at the deadline all the same.
#[must_use = "a process that ends before it cuts off farewells"]
pub struct Drain(JoinHandle<Drained>);

impl Future for Drain {
    type Output = Drained;

    /// # Panics
    /// When the runtime shuts down.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Drained> {
        Pin::new(&mut self.0).poll(cx).map(|ended| match ended {
            Ok(drained) => drained,
            Err(error) => panic!("the runtime was shut down before the server: {error}"),
        })
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("is_finished", &self.0.is_finished()).finish()
    }
}

/// The service of a [`ServerListener`], which serves each connection with the router.
#[derive(Clone)]
pub struct MakeService(Arc<Shared>);

impl MakeService {
    fn connection(&self, io: &ServerIo, peer: SocketAddr) -> ConnectionService {
        io.start_head_timeout();
        ConnectionService { shared: self.0.clone(), socket: io.socket(), peer }
    }
}

impl Service<IncomingStream<'_, ServerListener>> for MakeService {
    type Response = ConnectionService;
    type Error = Infallible;
    type Future = Ready<Result<ConnectionService, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, ServerListener>) -> Self::Future {
        ready(Ok(self.connection(stream.io(), *stream.remote_addr())))
    }
}

/// With `ListenerExt::tap_io`.
impl<F> Service<IncomingStream<'_, TapIo<ServerListener, F>>> for MakeService
where
    F: FnMut(&mut ServerIo) + Send + 'static,
{
    type Response = ConnectionService;
    type Error = Infallible;
    type Future = Ready<Result<ConnectionService, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, stream: IncomingStream<'_, TapIo<ServerListener, F>>) -> Self::Future {
        ready(Ok(self.connection(stream.io(), *stream.remote_addr())))
    }
}

impl fmt::Debug for MakeService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MakeService").finish_non_exhaustive()
    }
}

/// The service of one connection that a [`ServerListener`] accepted.
#[derive(Clone)]
pub struct ConnectionService {
    shared: Arc<Shared>,
    socket: Weak<Socket>,
    peer: SocketAddr,
}

impl Service<Request> for ConnectionService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let socket = self.socket.upgrade();
        answer(request, socket, Some(self.peer), self.shared.clone()).map(Ok).boxed()
    }
}

impl fmt::Debug for ConnectionService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionService").field("peer", &self.peer).finish_non_exhaustive()
    }
}
