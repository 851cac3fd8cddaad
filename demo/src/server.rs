//! The demo behind a listener.

use crate::api::app;
use crate::guard::Reach;
use crate::options::Options;
use crate::payload::Live;
use crate::routes::Call;
use axum::Router;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use transport_core::{Drained, ServerMetrics, ServerOptions};

/// A server that listens already, and does not answer until it is [run](Server::run).
#[derive(Debug)]
pub struct Server {
    server: transport_core::Server,
    address: SocketAddr,
    router: Router,
    live: Live,
    calls: Vec<Call>,
}

impl Server {
    /// Listens on an address, with the rules of that address's [`Reach`].
    ///
    /// # Errors
    /// The operating system's, [`AddrInUse`](io::ErrorKind::AddrInUse) among them.
    pub async fn bind(address: SocketAddr, options: &Options) -> io::Result<Self> {
        let server = transport_core::Server::bind(address, server_options(options)).await?;
        Self::new(server, Reach::of(address), options)
    }

    /// Takes a listener, with the rules of `reach`.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn with_listener(
        listener: TcpListener,
        reach: Reach,
        options: &Options,
    ) -> io::Result<Self> {
        let server = transport_core::Server::from_listener(listener, server_options(options));
        Self::new(server, reach, options)
    }

    fn new(server: transport_core::Server, reach: Reach, options: &Options) -> io::Result<Self> {
        let address = server.local_addr()?;
        let (router, live, calls) = app(reach, options, server.metrics());
        Ok(Self { server, address, router, live, calls })
    }

    /// Returns the address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the calls that it knows, as they were given to the router.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Returns the counts of its connections, to be read while it runs.
    #[must_use]
    pub fn metrics(&self) -> ServerMetrics {
        self.server.metrics()
    }

    /// Serves until `stop` completes, then ends within the drain deadline: open streams get a
    /// farewell, and connections that still stall are reset.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Drained {
        self.server.run(self.router, &self.live, stop).await
    }
}

fn server_options(options: &Options) -> ServerOptions {
    let server = ServerOptions::new()
        .with_drain_deadline(options.drain_deadline)
        .with_max_connections(options.max_connections);
    if options.portable { server.with_portable() } else { server }
}
