//! A request that may become a subscriber: its ticket, and what it asks for.
//!
//! The ticket is drawn before any middleware runs: by [`Server`](crate::Server), or by the layer
//! [`Live::entry_layer`]. Otherwise a middleware that loads the user, and a revocation after it,
//! would let a dead credential in. So a request without a drawn ticket is answered `500`.

use super::admitted::Admitted;
use super::channels::{Limits, Ungranted, requested};
use super::grant::Grant;
use super::live::Live;
use super::refusal::Refusal;
use crate::socket::cut::Cut;
use crate::socket::handover::Handover;
use crate::socket::kind::ConnectionKind;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, Method, StatusCode, header};
use registry_core::{AdmitError, ChannelFilter, SubscribeError, Ticket, WireFormat};
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Seconds after which a refused client may come back.
const RETRY_AFTER: u32 = 1;

/// A drawn ticket in the extensions of a request. A request is cloned with its extensions, and a
/// ticket cannot be: the first entry takes it.
struct Drawn<T: Send + Sync + 'static> {
    live: Live<T>,
    ticket: Arc<Mutex<Option<Ticket<T>>>>,
    /// Whether another registry with the same payload drew a ticket too.
    ambiguous: bool,
}

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
        }
    }
}

impl<T: Send + Sync + 'static> Live<T> {
    /// Takes the ticket of a request, which must have been drawn for this registry: the beginning
    /// of a transport's route.
    ///
    /// # Errors
    /// Those of [`Entry`] as an extractor.
    pub fn entry(&self, request: &Parts) -> Result<Entry<T>, Refusal> {
        match request.extensions.get::<Drawn<T>>() {
            Some(drawn) if !drawn.live.is_same(self) => Err(misplaced(NO_TICKET)),
            _ => Entry::take(request),
        }
    }
}

/// The frames of one transport. It keeps a subscriber of one transport from being served by another.
pub trait Framing: Send + Sync + 'static {
    /// Returns the wire format.
    fn format() -> &'static WireFormat;
}

/// A request that may become a subscriber: an extractor for handlers of your own.
///
/// Its ticket was drawn before any middleware and any extractor ran. So a revocation that comes any
/// time after the credential was read refuses the admission, wherever it was read.
///
/// # Errors
/// As an extractor it is refused with
/// - `400`: the query cannot be read.
/// - `403`: a page of another host asks for an upgrade.
/// - `500`: no ticket was drawn, or two registries of the same payload drew one.
/// - `503`: the ticket is used; a request is admitted once.
///
/// # Examples
/// ```
/// use axum::Router;
/// use axum::http::HeaderMap;
/// use axum::routing::get;
/// use registry_core::ChannelFilter;
/// use transport_core::{Entry, Grant, Live, Refusal};
///
/// // A transport's `Sse::new(entry.admit(grant)?)` is what a handler returns.
/// async fn channels(entry: Entry<String>) -> Result<String, Refusal> {
///     Ok(format!("{:?}", entry.requested()))
/// }
///
/// let live = Live::<String>::new();
/// let app: Router = Router::new().route("/", get(channels)).layer(live.entry_layer());
/// ```
pub struct Entry<T: Send + Sync + 'static> {
    live: Live<T>,
    ticket: Ticket<T>,
    requested: ChannelFilter,
    /// Whether the request only asks for the head of the answer.
    is_head: bool,
    cut: Option<Cut>,
    handover: Option<Handover>,
}

impl<T: Send + Sync + 'static, S: Sync> FromRequestParts<S> for Entry<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Self::take(parts)
    }
}

impl<T: Send + Sync + 'static> Entry<T> {
    /// Takes the ticket of a request.
    pub(crate) fn take(parts: &Parts) -> Result<Self, Refusal> {
        let Some(drawn) = parts.extensions.get::<Drawn<T>>() else {
            return Err(misplaced(NO_TICKET));
        };
        if drawn.ambiguous {
            return Err(misplaced(TWO_REGISTRIES));
        }
        let live = drawn.live.clone();
        Self::of(parts, &live, drawn).inspect_err(|refusal| live.count(refusal))
    }

    fn of(parts: &Parts, live: &Live<T>, drawn: &Drawn<T>) -> Result<Self, Refusal> {
        if parts.headers.contains_key(header::UPGRADE) {
            live.options().origins().check(&parts.headers)?;
        }
        let options = live.options();
        let limits =
            Limits { names: options.max_channels(), name_bytes: options.max_channel_bytes() };
        let requested = requested(parts.uri.query(), limits)?;
        let ticket = drawn.ticket.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ticket =
            ticket.ok_or_else(|| busy("this request was admitted before: send another"))?;
        let cut = parts.extensions.get::<Cut>().cloned();
        let (is_head, handover) = (parts.method == Method::HEAD, Handover::of(parts));
        Ok(Self { live: live.clone(), ticket, requested, is_head, cut, handover })
    }

    /// Returns the channels that the request asks for.
    #[must_use]
    pub fn requested(&self) -> &ChannelFilter {
        &self.requested
    }

    /// Returns the registry.
    #[must_use]
    pub fn live(&self) -> &Live<T> {
        &self.live
    }

    /// Admits the request with what its credential is granted, or returns why not and counts that.
    ///
    /// It is one attempt (ADM-1). A client that a revocation crossed comes back and is checked anew.
    /// A request that names channels hears those that it is granted ([`Entered::ungranted`],
    /// ADM-8). `HEAD` gets the answer of an admission and admits no subscriber.
    ///
    /// # Errors
    /// - `401`: the grant has expired.
    /// - `403`: the request names channels, and none of them is granted.
    /// - `429`: the scope is full and refuses newcomers.
    /// - `503`: an identity was revoked since the ticket was drawn, the ticket has expired (10 s by
    ///   default), or the registry shuts down.
    pub fn admit<F: Framing>(self, grant: impl Into<Grant>) -> Result<Entered<F>, Refusal> {
        let live = self.live.clone();
        self.try_admit(grant.into()).inspect_err(|refusal| live.count(refusal))
    }

    fn try_admit<F: Framing>(self, grant: Grant) -> Result<Entered<F>, Refusal> {
        let Self { live, ticket, requested, is_head, cut, handover } = self;
        let ungranted = Ungranted::of(&requested, grant.registration().filter())?;
        let expires = match grant.expires_at().map(remaining) {
            None => None,
            Some(Some(left)) => Instant::now().checked_add(left),
            Some(None) => return Err(Refusal::unauthenticated("the credential has expired")),
        };
        let registration = grant.restricted_to(&requested);
        if is_head {
            ticket.check(&registration).map_err(refusal)?;
            return Ok(Entered { ungranted, subscriber: None, framing: PhantomData });
        }
        // A flusher serves the subscriber once its socket is direct. Until then, and if it never
        // is, its task takes frames.
        let outbox = live.options().outbox();
        let options = if handover.is_some() { outbox.with_flusher() } else { outbox };
        let outbox = ticket.admit_outbox(F::format(), options, registration).map_err(refusal)?;
        let kind = live.guard(cut.as_ref().map_or(ConnectionKind::Portable, Cut::kind));
        let deadlines = cut.as_ref().map(Cut::deadlines).unwrap_or_default();
        if let Some(cut) = cut {
            cut.watch(&outbox);
        }
        let admitted =
            Admitted { outbox, grant: Arc::new(grant), expires, kind, deadlines, handover };
        Ok(Entered { ungranted, subscriber: Some(admitted), framing: PhantomData })
    }
}

/// A request that was admitted for one transport, which makes the answer of it. Dropping it unsubscribes.
#[must_use = "dropping it unsubscribes"]
pub struct Entered<F> {
    ungranted: Ungranted,
    subscriber: Option<Admitted>,
    framing: PhantomData<fn() -> F>,
}

impl<F: Framing> Entered<F> {
    /// Wraps a subscriber that no [`Entry`] admitted.
    pub fn new(admitted: Admitted) -> Self {
        Self { ungranted: Ungranted::default(), subscriber: Some(admitted), framing: PhantomData }
    }

    /// Returns the channels that were asked for and are not granted.
    pub fn ungranted(&self) -> &Ungranted {
        &self.ungranted
    }

    /// Returns the subscriber; none for a `HEAD`.
    #[must_use]
    pub fn into_admitted(self) -> Option<Admitted> {
        self.subscriber
    }
}

const NO_TICKET: &str = "this request has no ticket: add `.layer(live.entry_layer())` as the last \
    layer of the router, or serve the router with `transport_core::Server::run(app, &live, …)`";
const TWO_REGISTRIES: &str = "two registries of the same payload type drew a ticket for this \
    request: give each a payload type of its own";

/// A mistake of the application, which no client can mend.
fn misplaced(reason: &str) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, reason)
}

fn refusal(error: AdmitError) -> Refusal {
    match error {
        AdmitError::Subscribe(SubscribeError::ScopeFull) => {
            let reason = "too many connections of this session: close one first";
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason).with_retry_after(RETRY_AFTER)
        }
        AdmitError::Subscribe(error) => busy(&error.to_string()),
        _crossed => busy("permissions are being changed: try again"),
    }
}

pub(super) fn busy(reason: &str) -> Refusal {
    Refusal::unavailable(reason, RETRY_AFTER)
}

/// Returns how long it is until a moment of wall-clock time; `None` when that is past.
fn remaining(at: SystemTime) -> Option<Duration> {
    at.duration_since(SystemTime::now()).ok().filter(|left| !left.is_zero())
}

impl<T: Send + Sync + 'static> fmt::Debug for Entry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("requested", &self.requested).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Entered<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Entered");
        shown.field("ungranted", &self.ungranted).field("subscriber", &self.subscriber).finish()
    }
}
