//! The sockets of the server on real connections, by requirement.
#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped has failed the test")]

mod bare;
mod entry;
mod handover;
mod lanes;
mod limits;
mod listener;
#[cfg(unix)]
mod unix;
mod upgrade;
