//! The registries of one server, whatever their payloads.

use crate::admission::live::Live;
use axum::http::{Extensions, HeaderMap, StatusCode};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, select_all};
use registry_core::{Flusher, LaneOptions, Progress};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use tokio::task::yield_now;
use tokio::time::Instant;

/// One or several registries that a server serves: from a [`Live`], or a tuple of two to four.
///
/// # Examples
/// ```
/// use transport_core::{Live, Registries};
///
/// let (runs, prices) = (Live::<String>::new(), Live::<u64>::new());
/// let one = Registries::from(&runs);
/// let both = Registries::from((&runs, &prices));
/// assert_eq!(format!("{one:?}, {both:?}"), "Registries(1), Registries(2)");
/// ```
#[derive(Clone)]
pub struct Registries(Arc<[Arc<dyn Registry>]>);

/// A registry without its payload type.
trait Registry: Send + Sync {
    fn draw_ticket_for(&self, extensions: &mut Extensions);
    fn count(&self, refused: StatusCode);
    fn may_connect(&self, headers: &HeaderMap) -> bool;
    /// Opens a lane, and returns what drives its flusher.
    fn drive(&self, options: LaneOptions) -> BoxFuture<'static, ()>;
    fn begin_shutdown(&self) -> usize;
    fn shutdown_begun(&self) -> BoxFuture<'static, usize>;
    fn drained(&self) -> BoxFuture<'static, ()>;
}

impl<T: Send + Sync + 'static> Registry for Live<T> {
    fn draw_ticket_for(&self, extensions: &mut Extensions) {
        Self::draw_ticket_for(self, extensions);
    }

    fn count(&self, refused: StatusCode) {
        Self::count(self, refused);
    }

    fn may_connect(&self, headers: &HeaderMap) -> bool {
        Self::may_connect(self, headers)
    }

    fn drive(&self, options: LaneOptions) -> BoxFuture<'static, ()> {
        drive(self.open_lane(options)).boxed()
    }

    fn begin_shutdown(&self) -> usize {
        Self::begin_shutdown(self)
    }

    fn shutdown_begun(&self) -> BoxFuture<'static, usize> {
        Self::shutdown_begun(self).boxed()
    }

    fn drained(&self) -> BoxFuture<'static, ()> {
        self.registry().drained().boxed()
    }
}

/// Serves the connections of one lane until the registry is dropped or shut down.
async fn drive<T: Send + Sync + 'static>(mut flusher: Flusher<T>) {
    let mut serve = async || poll_fn(|cx| flusher.poll_serve(cx, Instant::now().into_std())).await;
    while serve().await == Progress::More {
        yield_now().await;
    }
}

impl Registries {
    /// Draws a ticket of each for a request.
    pub(super) fn draw_tickets_for(&self, extensions: &mut Extensions) {
        self.0.iter().for_each(|registry| registry.draw_ticket_for(extensions));
    }

    /// Counts a refusal that no registry has counted, at the first.
    pub(super) fn count(&self, refused: StatusCode) {
        if let Some(registry) = self.0.first() {
            registry.count(refused);
        }
    }

    /// Tells whether a page of the origin that the headers name may open a WebSocket at each.
    pub(super) fn may_connect(&self, headers: &HeaderMap) -> bool {
        self.0.iter().all(|registry| registry.may_connect(headers))
    }

    /// Opens so many lanes in each, and has tasks drive them.
    pub(super) fn open_lanes(&self, lanes: usize, options: LaneOptions) {
        for registry in self.0.iter() {
            (0..lanes).for_each(|_| drop(tokio::spawn(registry.drive(options))));
        }
    }

    /// Begins the shutdown of each; returns how many subscribers that ended.
    pub(super) fn shut_down(&self) -> usize {
        self.0.iter().map(|registry| registry.begin_shutdown()).sum()
    }

    /// Waits for the shutdown of one, and begins that of the others; returns how many subscribers
    /// all that ended.
    pub(super) async fn shut_down_together(&self) -> usize {
        let begun = self.0.iter().map(|registry| registry.shutdown_begun());
        select_all(begun).await;
        self.shut_down()
    }

    /// Waits until no subscriber is draining.
    pub(super) async fn drained(&self) {
        join_all(self.0.iter().map(|registry| registry.drained())).await;
    }
}

impl<T: Send + Sync + 'static> From<&Live<T>> for Registries {
    fn from(live: &Live<T>) -> Self {
        Self([Arc::new(live.clone()) as Arc<dyn Registry>].into())
    }
}

macro_rules! from_tuple {
    ($($live:ident),*) => {
        impl<$($live: Send + Sync + 'static),*> From<($(&Live<$live>,)*)> for Registries {
            #[expect(non_snake_case, reason = "each has the name of its payload type")]
            fn from(($($live,)*): ($(&Live<$live>,)*)) -> Self {
                Self([$(Arc::new($live.clone()) as Arc<dyn Registry>),*].into())
            }
        }
    };
}

from_tuple!(A, B);
from_tuple!(A, B, C);
from_tuple!(A, B, C, D);

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registries").field(&self.0.len()).finish()
    }
}
