//! What the transports of a subscriber registry share: the authoriser and its grant, the channels that a request asks
//! for, the admission that no revocation slips through, and the frames that wait for a socket.
//!
//! A web developer writes an [`Authorise`], wraps the registry in a [`Live`], and mounts `transport_sse::sse(&live)` and
//! `transport_ws::ws(&live)` on an axum router. Both enter by [`Live::admit`]: ticket, authoriser, admission (ADM-7).

mod authorise;
mod channels;
mod cut;
mod handover;
mod live;
mod origin;
mod owned;
mod owner;
mod pending;
mod refusal;
mod server;
mod socket;
mod wired;

/// What an `impl` of [`Authorise`] is written under.
pub use async_trait::async_trait;
pub use authorise::{Authorise, Denied, Grant};
pub use channels::Ungranted;
pub use cut::{Deadlines, Path};
pub use handover::Handover;
pub use live::{Admitted, Live, LiveOptions};
pub use origin::Origins;
pub use owned::{OwnedSocket, reclaim};
pub use owner::{Owner, Owning};
pub use pending::Pending;
pub use refusal::Refusal;
pub use server::{Drained, Server, ServerMetrics, ServerOptions};
pub use socket::Io;
pub use wired::{Wired, bounded};

/// How many bytes an owner takes from its outbox at a time: what was taken cannot be recalled by a revocation (REV-3).
pub const TAKE_BYTES: usize = 64 * 1024;
