//! Admission: which requests become subscribers, and how the others are refused.

pub(crate) mod admitted;
pub(crate) mod asked;
pub(crate) mod authorise;
pub(crate) mod builder;
pub(crate) mod channels;
pub(crate) mod credential;
mod drawn;
pub(crate) mod entry;
pub(crate) mod grant;
pub(crate) mod layer;
pub(crate) mod live;
pub(crate) mod options;
pub(crate) mod origin;
pub(crate) mod refusal;
pub(crate) mod refused_socket;
mod snapshot;
pub(crate) mod soft;
pub(crate) mod stats;
