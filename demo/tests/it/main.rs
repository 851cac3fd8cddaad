//! The calls of the demo, over real sockets of the loopback.

mod binary;
mod broadcasts;
mod client;
mod guarded;
mod open_mode;
mod page;
mod sessions;
mod shutdown;
mod streams;
