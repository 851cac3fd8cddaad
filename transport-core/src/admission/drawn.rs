//! The ticket of a request, in its extensions from the moment that it was drawn.

use super::live::Live;
use axum::http::Extensions;
use registry_core::Ticket;
use std::sync::{Arc, Mutex};

/// A drawn ticket in the extensions of a request. A request is cloned with its extensions, and a
/// ticket cannot be: the first entry takes it.
pub(super) struct Drawn<T: Send + Sync + 'static> {
    pub(super) live: Live<T>,
    pub(super) ticket: Arc<Mutex<Option<Ticket<T>>>>,
    /// Whether another registry with the same payload drew a ticket too.
    pub(super) ambiguous: bool,
}

/// Tells that some ticket was drawn, where one of a certain payload was not.
#[derive(Clone)]
pub(super) struct OfOtherPayloads;

impl<T: Send + Sync + 'static> Clone for Drawn<T> {
    fn clone(&self) -> Self {
        let Self { live, ticket, ambiguous } = self;
        Self { live: live.clone(), ticket: ticket.clone(), ambiguous: *ambiguous }
    }
}

impl<T: Send + Sync + 'static> Live<T> {
    /// Draws the ticket of a request, unless it has one, and puts it into the request's extensions.
    ///
    /// [`Server`](crate::Server) and [`entry_layer`](Self::entry_layer) call it. Call it yourself,
    /// before anything reads the credential, where neither is in the way.
    ///
    /// # Examples
    /// ```
    /// use axum::http::{Extensions, Request};
    /// use transport_core::Live;
    ///
    /// let live = Live::<String>::new();
    /// let mut request = Request::get("/events").body(()).unwrap();
    /// live.draw_ticket_for(request.extensions_mut());
    /// assert_eq!(live.stats().tickets, 1);
    /// drop(request);
    /// assert_eq!(live.stats().tickets, 0, "an unused ticket is freed");
    /// ```
    pub fn draw_ticket_for(&self, extensions: &mut Extensions) {
        if let Some(drawn) = extensions.get_mut::<Drawn<T>>() {
            drawn.ambiguous |= !drawn.live.is_same(self);
        } else {
            let ticket = Arc::new(Mutex::new(Some(self.draw_ticket())));
            extensions.insert(Drawn { live: self.clone(), ticket, ambiguous: false });
            extensions.insert(OfOtherPayloads);
        }
    }
}
