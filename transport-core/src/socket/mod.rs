//! One connection's socket: what the author of a transport works with.

pub(crate) mod accepted;
pub(crate) mod connection;
pub(crate) mod cut;
pub(crate) mod direct;
pub(crate) mod handover;
pub(crate) mod io;
pub(crate) mod kind;
pub(crate) mod proof;
#[cfg(feature = "http2")]
pub(crate) mod streams;
pub(crate) mod task;
pub(crate) mod write_buffer;
