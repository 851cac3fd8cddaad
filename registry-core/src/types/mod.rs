//! The vocabulary of the registry: values without locks, threads or references to subscribers.
//!
//! These modules know each other only in one direction, from the composed types (`message`,
//! `registration`) to the simple ones (`id`, `channel`, `identity`, `close`), and they know nothing
//! of the rest of the crate but its clock.

pub(crate) mod bounds;
pub(crate) mod channel;
pub(crate) mod close;
pub(crate) mod encode;
pub(crate) mod error;
pub(crate) mod event_name;
pub(crate) mod format;
pub(crate) mod id;
pub(crate) mod identity;
pub(crate) mod info;
pub(crate) mod message;
pub(crate) mod options;
pub(crate) mod presence;
pub(crate) mod registration;
pub(crate) mod report;
pub(crate) mod stats;
pub(crate) mod topic;
#[cfg(feature = "schemars")]
pub(crate) mod topics;
