//! The layer that draws the tickets of requests, for servers other than [`Server`](crate::Server).

use super::live::Live;
use super::refused_socket::RefusedSockets;
use super::soft::Softener;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use axum::response::Response;
use bytes::Bytes;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

impl<T: Send + Sync + 'static> Live<T> {
    /// Makes the layer that draws the ticket of each request, and turns refusals into event
    /// streams and close codes for clients that cannot read a status.
    ///
    /// Add it last, so that it is the outermost: the ticket must be drawn before any middleware
    /// reads a credential. [`Server::run`](crate::Server::run) does the same by itself.
    ///
    /// # Examples
    /// ```
    /// use axum::Router;
    /// use axum::routing::get;
    /// use transport_core::{Entry, Live};
    ///
    /// async fn ticket(entry: Entry<String>) -> String {
    ///     format!("{entry:?}")
    /// }
    ///
    /// let live = Live::<String>::new();
    /// let app: Router = Router::new().route("/", get(ticket)).layer(live.entry_layer());
    /// assert!(app.has_routes());
    /// ```
    pub fn entry_layer(&self) -> EntryLayer<T> {
        EntryLayer { live: self.clone(), places: RefusedSockets::default() }
    }
}

/// See [`Live::entry_layer`].
#[must_use = "a layer does nothing unless it is added"]
pub struct EntryLayer<T: Send + Sync + 'static> {
    live: Live<T>,
    places: RefusedSockets,
}

impl<T: Send + Sync + 'static, S> Layer<S> for EntryLayer<T> {
    type Service = EntryService<T, S>;

    fn layer(&self, inner: S) -> EntryService<T, S> {
        EntryService { live: self.live.clone(), places: self.places.clone(), inner }
    }
}

/// The service of an [`EntryLayer`].
pub struct EntryService<T: Send + Sync + 'static, S> {
    live: Live<T>,
    places: RefusedSockets,
    inner: S,
}

impl<T, S, A, B> Service<Request<A>> for EntryService<T, S>
where
    T: Send + Sync + 'static,
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        self.live.draw_ticket_for(request.extensions_mut());
        let may_connect = |headers: &HeaderMap| self.live.may_connect(headers);
        let soft = Softener::of(&mut request, &self.places, may_connect);
        let soft = soft.map(|soft| (soft, self.live.clone()));
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?.map(Body::new);
            Ok(match soft {
                Some((soft, live)) => soft.soften(response, |status| live.count(status)),
                None => response,
            })
        })
    }
}

impl<T: Send + Sync + 'static> Clone for EntryLayer<T> {
    fn clone(&self) -> Self {
        Self { live: self.live.clone(), places: self.places.clone() }
    }
}

impl<T: Send + Sync + 'static, S: Clone> Clone for EntryService<T, S> {
    fn clone(&self) -> Self {
        let Self { live, places, inner } = self;
        Self { live: live.clone(), places: places.clone(), inner: inner.clone() }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for EntryLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryLayer").field("live", &self.live).finish()
    }
}

impl<T: Send + Sync + 'static, S> fmt::Debug for EntryService<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryService").field("live", &self.live).finish_non_exhaustive()
    }
}
