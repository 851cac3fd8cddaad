//! Servers on loopback.

use super::soon;
use crate::admission::live::Live;
use crate::server::listener::ServerListener;
use crate::server::options::ServerOptions;
use crate::server::stats::ServerMetrics;
use crate::server::{Drained, Server};
use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, any};
use std::future::ready;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower_service::Service;

/// Serves a router on a free port of the loopback address, until the runtime ends.
pub async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Which server a router runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Host {
    /// [`Server`]: connections become direct.
    Server,
    /// `axum::serve` on a [`ServerListener`]: connections become direct.
    Listener,
    /// `axum::serve` on a listener of tokio's: connections are portable.
    Axum,
}

impl Host {
    /// Tells whether its connections become direct.
    pub fn is_direct(self) -> bool {
        self != Self::Axum
    }
}

/// Makes each async function of a [`Host`] a test on each of them.
#[macro_export]
macro_rules! on_every_host {
    ($($test:ident),* $(,)?) => {
        mod on_server {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test($crate::test_util::Host::Server).await;
                }
            )*
        }
        mod on_listener {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test($crate::test_util::Host::Listener).await;
                }
            )*
        }
        mod on_axum {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test($crate::test_util::Host::Axum).await;
                }
            )*
        }
    };
}

/// A router that is being served.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    _server: Option<TestServer>,
}

impl Running {
    /// Serves a router on the host.
    pub async fn start<T: Send + Sync + 'static>(host: Host, app: Router, live: &Live<T>) -> Self {
        match host {
            Host::Axum => {
                let app = app.layer(live.entry_layer());
                Self { address: serve(app).await, _server: None }
            }
            Host::Listener => {
                let options = ServerOptions::new();
                let listener = ServerListener::bind("127.0.0.1:0", options).await.unwrap();
                let address = listener.local_addr().unwrap();
                let (service, _drain) = listener.make_service(app, live);
                tokio::spawn(async move { axum::serve(listener, service).await });
                Self { address, _server: None }
            }
            Host::Server => {
                let server = TestServer::start(app, live, ServerOptions::new()).await;
                Self { address: server.address, _server: Some(server) }
            }
        }
    }
}

/// A route that can be removed while the server runs, with everything that it holds.
#[derive(Debug)]
pub struct Tenant(Arc<Mutex<Option<MethodRouter>>>);

impl Tenant {
    /// Serves the route at this path.
    pub fn new(path: &str, route: MethodRouter) -> (Self, Router) {
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

    /// Removes the route.
    pub fn leave(self) {
        drop(self.0.lock().unwrap().take());
    }
}

/// A running [`Server`].
#[derive(Debug)]
pub struct TestServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its counts.
    pub metrics: ServerMetrics,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Drained>,
}

impl TestServer {
    /// Serves a router on a free port of the loopback address.
    pub async fn start<T: Send + Sync + 'static>(
        app: Router,
        live: &Live<T>,
        options: ServerOptions,
    ) -> Self {
        let server = Server::bind("127.0.0.1:0", options).await.unwrap();
        let (address, metrics) = (server.local_addr().unwrap(), server.metrics());
        let (stop, stopped) = oneshot::channel();
        let live = live.clone();
        let ended = tokio::spawn(async move {
            server.run(app, &live, async { stopped.await.unwrap_or(()) }).await
        });
        Self { address, metrics, stop, ended }
    }

    /// Does the same, and counts the writes to all sockets: each is one system call.
    pub async fn start_counted<T: Send + Sync + 'static>(
        app: Router,
        live: &Live<T>,
    ) -> (Self, Arc<AtomicUsize>) {
        let server = Server::bind("127.0.0.1:0", ServerOptions::new()).await.unwrap();
        let (address, metrics) = (server.local_addr().unwrap(), server.metrics());
        let (stop, stopped) = oneshot::channel();
        let (live, writes) = (live.clone(), Arc::new(AtomicUsize::new(0)));
        let counter = writes.clone();
        let ended = tokio::spawn(async move {
            let count = |io| ready(Ok(Counted { io, writes: counter.clone() }));
            server.run_over(app, &live, async { stopped.await.unwrap_or(()) }, count).await
        });
        (Self { address, metrics, stop, ended }, writes)
    }

    /// Drops the server's future.
    pub async fn abandon(self) {
        self.ended.abort();
        assert!(self.ended.await.is_err());
    }

    /// Shuts the server down and waits until it has.
    pub async fn stop(self) -> Drained {
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
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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
