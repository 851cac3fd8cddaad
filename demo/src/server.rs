//! A listener with the demo behind it, and how it ends.

use crate::guard::Reach;
use crate::{Options, Registry, app};
use axum::Router;
use axum::serve::ListenerExt;
use futures_util::future::join;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// A server that listens already, and does not answer until it is [run](Server::run).
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    registry: Registry,
    drain_deadline: Duration,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every stream took its farewell.
    Drained,
    /// The deadline passed while some had not.
    Cut,
}

impl Server {
    /// Listens on an address, with the rules of that address's [`Reach`].
    ///
    /// # Errors
    /// The operating system's, [`AddrInUse`](io::ErrorKind::AddrInUse) among them.
    pub async fn bind(address: SocketAddr, options: &Options) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Self::with_listener(listener, Reach::of(address), options)
    }

    /// Takes a listener, with the rules of `reach`.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn with_listener(listener: TcpListener, reach: Reach, options: &Options) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (router, registry) = app(reach, options);
        Ok(Self { listener, address, router, registry, drain_deadline: options.drain_deadline })
    }

    /// Returns the address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` completes, then ends: open streams are told, new ones refused, and the listener is closed.
    ///
    /// It returns when every stream has taken its farewell, or when the drain deadline passes. What then still stalls ends
    /// with the process.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<Ending> {
        let Self { listener, router, registry, drain_deadline, .. } = self;
        let (tell, told) = oneshot::channel();
        let stopping = {
            let registry = registry.clone();
            async move {
                stop.await;
                registry.begin_shutdown();
                let _ = tell.send(());
            }
        };
        // Small messages go out as they come, and not when the peer has acknowledged the last.
        let listener = listener.tap_io(|socket| {
            let _ = socket.set_nodelay(true);
        });
        let mut serving = pin!(axum::serve(listener, router).with_graceful_shutdown(stopping).into_future());
        tokio::select! {
            ended = &mut serving => return ended.map(|()| Ending::Drained),
            _ = told => {}
        }
        // Serving ends with its last HTTP response, which a stream is. It knows nothing of WebSockets: those let go of
        // their outboxes when their farewell is written.
        match timeout(drain_deadline, join(serving, registry.drained())).await {
            Ok((served, ())) => served.map(|()| Ending::Drained),
            Err(_elapsed) => Ok(Ending::Cut),
        }
    }
}
