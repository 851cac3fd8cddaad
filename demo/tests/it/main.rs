//! The calls of the demo, over real sockets of the loopback.

#![allow(clippy::unwrap_used, reason = "a helper that panics fails its test")]

mod binary;
mod broadcasts;
mod client;
mod directed;
mod guarded;
mod named;
mod open_mode;
mod page;
mod sessions;
mod shutdown;
mod snapshots;
mod streams;
mod subscribers;
