//! The common part of the transports of a subscriber registry: the login check and its grant, the
//! channels that a request asks for, an admission that notices every revocation, and a server whose
//! sockets a revocation can reset.
//!
//! An application makes a [`Live`] and runs its axum router on a [`Server`]. Its handlers take an
//! [`Entry`], check the credential, and answer with what [`Entry::admit`] returns: as
//! `transport_sse::Sse`, or by `transport_ws::WsUpgrade` (ADM-7). Without handlers of its own it
//! implements [`Authorise`] and mounts `transport_sse::sse(&live, authoriser)` or
//! `transport_ws::ws(&live, authoriser)`.
//!
//! # Features
//! - `json` (default): [`Live::new`] and [`Live::builder`], which encode payloads as JSON.
//! - `schemars`: `registry_core::Topics`.
//! - `serde`: the statistics can be serialised.
//! - `http2`: [`Server`] speaks HTTP/2 beside HTTP/1.1.
//! - `test-util`: the module `test_util`, a server and a client for tests of transports.

mod admission;
mod envelope;
mod script;
mod server;
mod socket;
#[cfg(feature = "test-util")]
pub mod test_util;

pub use admission::admitted::Admitted;
pub use admission::asked::Asked;
pub use admission::authorise::Authorise;
pub use admission::builder::LiveBuilder;
pub use admission::channels::Ungranted;
pub use admission::credential::{Credential, Token};
pub use admission::entry::{Entered, Entry, Framing};
pub use admission::grant::Grant;
pub use admission::layer::{EntryLayer, EntryService};
pub use admission::live::Live;
pub use admission::options::LiveOptions;
pub use admission::origin::Origins;
pub use admission::refusal::Refusal;
pub use admission::stats::AdmissionStats;
/// The attribute that an `impl` of [`Authorise`] needs.
pub use async_trait::async_trait;
pub use envelope::{put_data, put_members};
pub use script::LIVE_JS;
pub use server::listener::{ConnectionService, Drain, MakeService, ServerListener};
pub use server::options::ServerOptions;
pub use server::registries::Registries;
pub use server::stats::{ServerMetrics, ServerStats};
pub use server::{Drained, Server};
pub use socket::connection::DirectConnection;
pub use socket::cut::Deadlines;
pub use socket::direct::{DirectSocket, take_upgraded_socket};
pub use socket::handover::Handover;
pub use socket::io::ServerIo;
pub use socket::kind::{ConnectionKind, KindGuard};
pub use socket::task::{ConnectionTask, Run};
pub use socket::write_buffer::WriteBuffer;
