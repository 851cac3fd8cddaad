//! A transport-agnostic subscriber registry whose revocations are a proof and not a hope.
//!
//! Subscribers connect with a [`ChannelFilter`] and any number of [identities](Identity).
//! [`broadcast`](SubscriberRegistry::broadcast) reaches exactly the matching ones.
//! [`close_by_identity`](SubscriberRegistry::close_by_identity) ends every subscriber that holds an
//! identity and returns how many, for the moment a permission changes. After it returned, no send
//! begins on them, nothing queued is flushed, and a connection that was still logging in is refused
//! ([`Ticket`]). A message can also be addressed to the
//! [holders of an identity](SubscriberRegistry::send_to) or to
//! [one subscriber](SubscriberRegistry::send).
//!
//! A subscriber is either a [`Sink`], or an [`Outbox`]: a bounded queue of encoded frames whose
//! owner writes them to a peer, as the transports do. A consumer in the process takes the messages
//! themselves ([`SubscriberStream`]). Where the peer's socket is at hand, a
//! [`Flusher`] writes to it directly ([`Wire`]). The crate knows no async runtime and no HTTP.
//!
//! Names in parentheses, such as `REV-2`, are the numbers of the requirements under which a
//! statement is tested; `docs/spec.md` lists them.
//!
//! # Features
//! - `json` (default): the encoder [`Json`], and publishing to [`Topic`]s.
//! - `schemars`: the list of an application's topics with their JSON Schema.
//! - `serde`: the statistics, and what is told of a subscriber, can be serialised.

mod clock;
mod contain;
mod lane;
mod registry;
mod subscriber;
mod sync;
mod types;

pub use clock::{Clock, ManualClock, SystemClock};
pub use lane::flusher::{Flusher, Progress};
pub use registry::{SubscriberRegistry, Ticket, Watch};
pub use subscriber::outbox::Outbox;
pub use subscriber::queue::{Batch, Next};
pub use subscriber::sink::Sink;
pub use subscriber::socket::SocketOutbox;
pub use subscriber::stream::SubscriberStream;
pub use subscriber::subscription::{CloseHandle, Subscription};
pub use subscriber::wire::Wire;
pub use types::bounds::{LaneOptions, OutboxOptions, Overflow};
pub use types::channel::{Channel, ChannelFilter};
pub use types::close::{CloseReason, Revocation};
#[cfg(feature = "json")]
pub use types::encode::Json;
pub use types::encode::{BodyKind, Encode, EncodeError, Encoded};
pub use types::error::{AdmitError, BroadcastError, SubscribeError};
pub use types::event_name::{EventName, EventNameError};
pub use types::format::{MessageHead, WireFormat};
pub use types::id::{MessageId, ParseMessageIdError, ParseSubscriptionIdError, SubscriptionId};
pub use types::identity::Identity;
pub use types::info::SubscriberInfo;
pub use types::message::Message;
pub use types::options::{RegistryOptions, ScopeCap, WhenFull};
pub use types::presence::Presence;
pub use types::registration::Registration;
pub use types::report::{Report, SendOutcome};
pub use types::stats::{ChannelCount, Stats};
pub use types::topic::{Event, Topic, TopicFamily};
#[cfg(feature = "schemars")]
pub use types::topics::Topics;

/// The README's program, compiled and run.
#[cfg(all(doctest, feature = "json"))]
#[doc = include_str!("../README.md")]
struct Readme;
