//! The state that the handlers share.

use crate::budget::Budget;
use crate::guard::Guard;
use crate::payload::Live;
use crate::sessions::Sessions;
use std::sync::Arc;
use transport_core::ServerMetrics;

/// The state that the handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) live: Live,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) bodies: Arc<Budget>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) server: ServerMetrics,
}
