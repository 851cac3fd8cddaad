//! A transport-agnostic subscriber registry whose revocations are a proof and not a hope.
//!
//! Subscribers connect with a [`ChannelFilter`] and any number of [identities](Identity).
//! [`broadcast`](SubscriberRegistry::broadcast) reaches exactly the matching ones;
//! [`close_by_identity`](SubscriberRegistry::close_by_identity) ends every subscriber that holds an identity and says how
//! many, for the moment a permission is revoked. After it returned no send begins on them, nothing queued is flushed,
//! and a connection that was still logging in is refused ([`Ticket`]).
//!
//! A subscriber is either a foreign [`Sink`], or an [`Outbox`]: a bounded queue of encoded frames whose owner writes them
//! to a peer, as the transports do. Where the peer's socket is at hand, a [`Flusher`] writes to it directly ([`Wire`]). The
//! crate knows no async runtime and no HTTP.
//!
//! The names in parentheses throughout (`REV-2`) are the numbers of the requirements that a statement is tested under;
//! `SPEC.md` lists them.

mod admission;
mod channel;
mod clock;
mod close;
mod contain;
mod error;
mod flusher;
mod gate;
mod identity;
mod inline;
mod lane;
mod message;
mod options;
mod outbox;
mod registry;
mod report;
mod sink;
mod subscription;
mod sync;
mod table;
mod telling;
mod turn;

pub use channel::{Channel, ChannelFilter};
pub use clock::{Clock, ManualClock, SystemClock};
pub use close::{CloseReason, Revocation};
pub use error::{AdmitError, BroadcastError, SubscribeError};
pub use flusher::{Flusher, LaneOptions, Served};
pub use gate::Wire;
pub use identity::Identity;
pub use message::{Encode, EncodeError, Json, Message, MessageId, WireFormat};
pub use options::{RegistryOptions, ScopeCap, WhenFull};
pub use outbox::{Batch, Outbox, OutboxOptions, Overflow, Taken};
pub use registry::{SubscriberRegistry, Ticket};
pub use report::{ChannelCount, Report, Stats};
pub use sink::{SendOutcome, Sink};
pub use subscription::{Ender, Registration, Subscription, SubscriptionId};
