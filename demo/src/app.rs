//! The state that the handlers share.

use crate::authoriser::SessionAuthoriser;
use crate::budget::Budget;
use crate::guard::Guard;
use crate::latest::Latest;
use crate::payload::Live;
use crate::sessions::Sessions;
use std::sync::Arc;
use transport_core::ServerMetrics;

/// The state that the handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) live: Live,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) authoriser: Arc<SessionAuthoriser>,
    pub(crate) latest: Arc<Latest>,
    pub(crate) bodies: Arc<Budget>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) server: ServerMetrics,
}
