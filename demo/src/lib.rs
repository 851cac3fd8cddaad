//! The demo of the subscriber registry: a server whose accounts and sessions live in memory, and a
//! page to try it with.
//!
//! It is what an application around the registry looks like: an
//! [`Authorise`](transport_core::Authorise) that reads a session, routes for both transports, and
//! log-out calls that first take the session away and then close its streams. The binary adds only
//! arguments and signals; tests start a [`Server`] in process, on port 0.

mod api;
mod app;
mod authoriser;
mod body;
mod budget;
mod channels;
mod descriptors;
mod guard;
mod guesses;
mod latest;
mod options;
mod page;
mod paging;
mod payload;
mod problem;
mod publish;
mod routes;
mod secret;
mod server;
mod sessions;
mod stats;
mod streams;
mod subscribers;

pub use descriptors::{connections_within, take_all_descriptors};
pub use guard::Reach;
pub use options::Options;
pub use payload::{Live, Payload};
pub use routes::{Access, Call};
pub use server::Server;
