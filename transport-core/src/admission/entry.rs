//! A request that may become a subscriber: its ticket, and what it asks for.
//!
//! The ticket is drawn before any middleware runs: by [`Server`](crate::Server), or by the layer
//! [`Live::entry_layer`]. Otherwise a middleware that loads the user, and a revocation after it,
//! would let a dead credential in. So a request without a drawn ticket is answered `500`.

use super::admitted::Admitted;
use super::asked::Asked;
use super::channels::{Limits, Ungranted, requested};
use super::drawn::{Drawn, OfOtherPayloads};
use super::grant::Grant;
use super::live::Live;
use super::options::SnapshotLimits;
use super::refusal::Refusal;
use super::soft::RefusalCount;
use crate::socket::cut::Cut;
use crate::socket::handover::Handover;
use crate::socket::kind::ConnectionKind;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use registry_core::{AdmitError, ChannelFilter, MessageId, SubscribeError, Ticket, WireFormat};
use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Seconds after which a refused client may come back.
const RETRY_AFTER: u32 = 1;

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

/// The frames of one transport. It keeps a subscriber of one transport from being served by
/// another.
pub trait Framing: Send + Sync + 'static {
    /// Returns the wire format of a request.
    fn format(asked: &Asked) -> &'static WireFormat;
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
/// - `500`: no ticket was drawn, or two registries of the same payload drew one, or it was taken
///   before: a request is admitted once. The reason says what to change in the application.
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
    asked: Asked,
    /// Whether the request only asks for the head of the answer.
    is_head: bool,
    cut: Option<Cut>,
    handover: Option<Handover>,
    count: RefusalCount,
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
            let others = parts.extensions.get::<OfOtherPayloads>().is_some();
            let payload = type_name::<T>();
            return Err(misplaced(&if others { no_registry(payload) } else { NO_TICKET.into() }));
        };
        if drawn.ambiguous {
            return Err(misplaced(TWO_REGISTRIES));
        }
        let count = RefusalCount::new(drawn.live.refusals(), &parts.extensions);
        Self::of(parts, drawn, count.clone()).inspect_err(|refusal| count.count(refusal))
    }

    fn of(parts: &Parts, drawn: &Drawn<T>, count: RefusalCount) -> Result<Self, Refusal> {
        let live = &drawn.live;
        if parts.headers.contains_key(header::UPGRADE) {
            live.options().origins().check(&parts.headers)?;
        }
        let options = live.options();
        let limits =
            Limits { names: options.max_channels(), name_bytes: options.max_channel_bytes() };
        let requested = requested(parts.uri.query(), limits)?;
        let ticket = drawn.ticket.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ticket = ticket.ok_or_else(|| misplaced(USED))?;
        let cut = parts.extensions.get::<Cut>().cloned();
        let (is_head, handover) = (parts.method == Method::HEAD, Handover::of(parts));
        let (live, asked) = (live.clone(), Asked::of(parts));
        Ok(Self { live, ticket, requested, asked, is_head, cut, handover, count })
    }

    /// Returns the channels that the request asks for.
    #[must_use]
    pub fn requested(&self) -> &ChannelFilter {
        &self.requested
    }

    /// Returns what the request says of the form of its messages.
    #[must_use]
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Returns the registry.
    #[must_use]
    pub fn live(&self) -> &Live<T> {
        &self.live
    }

    /// Admits the request with what its credential is granted, or returns why not and counts that.
    ///
    /// It is one attempt (ADM-1). A client that a revocation crossed comes back and is checked
    /// anew. A request that names channels hears those that it is granted ([`Entered::ungranted`],
    /// ADM-8). `HEAD` is answered by the same checks, except those of a full scope and of a
    /// shutdown, and admits no subscriber.
    ///
    /// # Errors
    /// - `401`: the grant has expired.
    /// - `403`: the request names channels, and none of them is granted.
    /// - `429`: the scope is full and refuses newcomers.
    /// - `503`: an identity was revoked since the ticket was drawn, the ticket has expired (10 s by
    ///   default), or the registry shuts down.
    pub fn admit<F: Framing>(self, grant: impl Into<Grant>) -> Result<Entered<F>, Refusal> {
        let count = self.count.clone();
        self.try_admit(grant.into()).inspect_err(|refusal| count.count(refusal))
    }

    pub(super) fn count(&self, refusal: &Refusal) {
        self.count.count(refusal);
    }

    fn try_admit<F: Framing>(self, grant: Grant) -> Result<Entered<F>, Refusal> {
        let Self { live, ticket, requested, asked, is_head, cut, handover, count } = self;
        let format = F::format(&asked);
        let snapshot = live.options().snapshot();
        let ungranted = Ungranted::of(&requested, grant.registration().filter())?;
        let expires = match grant.expires_at().map(remaining) {
            None => None,
            Some(Some(left)) => Instant::now().checked_add(left),
            Some(None) => return Err(Refusal::unauthenticated("the credential has expired")),
        };
        let registration = grant.restricted_to(&requested);
        let entered = |subscriber, after| Entered {
            ungranted,
            subscriber,
            after,
            snapshot,
            count,
            framing: PhantomData,
        };
        if is_head {
            ticket.check(&registration).map_err(refusal)?;
            return Ok(entered(None, None));
        }
        let kind = cut.as_ref().map_or(ConnectionKind::Portable, Cut::kind);
        // A flusher serves the subscriber once its socket is direct. Until then, and if it never
        // is, its task takes frames.
        let outbox = live.options().outbox().with_label(kind.name());
        let options = if handover.is_some() { outbox.with_flusher() } else { outbox };
        let admitted = ticket.admit_outbox_after(format, options, registration);
        let (outbox, after) = admitted.map_err(refusal)?;
        let kind = live.guard(kind);
        let deadlines = cut.as_ref().map(Cut::deadlines).unwrap_or_default();
        let admitted =
            Admitted { outbox, grant: Arc::new(grant), expires, kind, deadlines, handover };
        Ok(entered(Some(admitted), Some(after)))
    }
}

/// A request that was admitted for one transport, which makes the answer of it. Dropping it
/// unsubscribes.
#[must_use = "dropping it unsubscribes"]
pub struct Entered<F> {
    ungranted: Ungranted,
    pub(super) subscriber: Option<Admitted>,
    /// The last broadcast before its admission, if it was admitted.
    pub(super) after: Option<MessageId>,
    pub(super) snapshot: SnapshotLimits,
    pub(super) count: RefusalCount,
    framing: PhantomData<fn() -> F>,
}

impl<F: Framing> Entered<F> {
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

const NO_TICKET: &str = "this request has no ticket: serve the router with \
    `Server::run(app, &live, …)` or `ServerListener::make_service(app, &live)`, or add \
    `.layer(live.entry_layer())` after its last route, merge, fallback and layer; if you do, a \
    middleware makes a new request and leaves out the extensions of this one";
const USED: &str = "the ticket of this request was used: a handler takes one `Entry`, and no layer \
    sends a request twice";
const TWO_REGISTRIES: &str = "two registries of the same payload type drew a ticket for this \
    request: give each a payload type of its own";

fn no_registry(payload: &str) -> String {
    format!(
        "this request has a ticket, but of no registry with the payload `{payload}`: name that \
         payload's registry where you serve the router, as in \
         `Server::run(app, (&live, &other), …)`, or correct the type of the `Entry`"
    )
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::authorise::Authorise;
    use crate::admission::builder::LiveBuilder;
    use crate::admission::options::LiveOptions;
    use axum::http::Request;
    use registry_core::{Identity, Json, RegistryOptions, ScopeCap};
    use std::num::NonZeroUsize;

    static RAW: WireFormat =
        WireFormat::new("raw", |_, encoded, out| out.extend_from_slice(encoded.body()));

    struct Raw;

    impl Framing for Raw {
        fn format(_: &Asked) -> &'static WireFormat {
            &RAW
        }
    }

    /// A request whose ticket is drawn.
    fn request(live: &Live<u8>, method: &str, target: &str) -> Parts {
        let mut request = Request::builder().method(method).uri(target).body(()).unwrap();
        live.draw_ticket_for(request.extensions_mut());
        request.into_parts().0
    }

    fn get(live: &Live<u8>, target: &str) -> Parts {
        request(live, "GET", target)
    }

    fn admit(parts: &Parts, grant: Grant) -> Result<Entered<Raw>, Refusal> {
        Entry::<u8>::take(parts)?.admit(grant)
    }

    fn ada() -> Identity {
        Identity::new("account", "ada")
    }

    fn everything() -> Grant {
        Grant::new(ChannelFilter::All)
    }

    fn refused<R>(outcome: Result<R, Refusal>) -> u16 {
        outcome.err().expect("a refusal").status().as_u16()
    }

    #[test]
    fn adm_7_a_revocation_after_the_ticket_was_drawn_refuses_the_admission() {
        let live = Live::<u8>::new();
        for method in ["GET", "HEAD"] {
            let crossed = request(&live, method, "/");
            assert_eq!(live.close_by_identity(ada()), 0, "nobody is subscribed yet");
            assert_eq!(refused(admit(&crossed, everything().with_group(ada()))), 503);
            assert!(live.is_empty());
            let next = request(&live, method, "/");
            assert!(admit(&next, everything().with_group(ada())).is_ok(), "the next one is good");
        }
        assert_eq!(live.admission_stats().refusals, [(503, 2)].into());
        assert_eq!(live.stats().tickets, 0);
    }

    #[test]
    fn adm_7_a_request_is_admitted_once_however_often_it_is_cloned() {
        let live = Live::<u8>::new();
        let first = get(&live, "/");
        let again = first.clone();
        let entered = admit(&first, everything()).unwrap();
        assert_eq!(refused(admit(&again, everything())), 500, "a mistake of the application");
        assert_eq!(live.len(), 1);
        drop(entered);
        assert_eq!(live.len(), 0);
    }

    #[test]
    fn adm_7_a_request_without_a_ticket_is_answered_with_the_missing_line() {
        let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        let refusal = Entry::<u8>::take(&parts).unwrap_err();
        assert_eq!(refusal.status(), StatusCode::INTERNAL_SERVER_ERROR);
        for line in [".layer(live.entry_layer())", "Server::run(app, &live", "new request"] {
            assert!(refusal.reason().contains(line), "{refusal}");
        }
        let mut request = Request::get("/").body(()).unwrap();
        Live::<String>::new().draw_ticket_for(request.extensions_mut());
        let refusal = Entry::<u8>::take(&request.into_parts().0).unwrap_err();
        assert_eq!(refusal.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(refusal.reason().contains("no registry with the payload `u8`"), "{refusal}");
    }

    #[test]
    fn adm_7_two_registries_of_one_payload_are_not_taken_for_each_other() {
        let (one, two) = (Live::<u8>::new(), Live::<u8>::new());
        let drawn_by = |all: &[&Live<u8>]| {
            let mut request = Request::get("/").body(()).unwrap();
            all.iter().for_each(|live| live.draw_ticket_for(request.extensions_mut()));
            request.into_parts().0
        };
        assert_eq!(refused(Entry::<u8>::take(&drawn_by(&[&one, &two]))), 500);
        assert_eq!(refused(two.entry(&drawn_by(&[&one]))), 500, "the route is of another registry");
        assert!(one.entry(&drawn_by(&[&one, &one])).is_ok(), "a second layer changes nothing");
        let other = Live::<String>::new();
        let mut request = Request::get("/").body(()).unwrap();
        one.draw_ticket_for(request.extensions_mut());
        other.draw_ticket_for(request.extensions_mut());
        let (parts, ()) = request.into_parts();
        assert!(Entry::<u8>::take(&parts).is_ok() && Entry::<String>::take(&parts).is_ok());
    }

    #[test]
    fn adm_8_a_subscriber_hears_what_it_asked_for_and_is_granted() {
        let live = Live::<u8>::new();
        let some = || Grant::new(ChannelFilter::only(["a", "b"]));
        let entered = admit(&get(&live, "/?channels=b,c"), some()).unwrap();
        assert_eq!(entered.ungranted().names().collect::<Vec<_>>(), ["c"]);
        let heard = live.channels(None, 9);
        assert_eq!(heard.iter().map(|heard| heard.channel.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(refused(admit(&get(&live, "/?channel=c"), some())), 403);
    }

    #[test]
    fn who_2_a_subscriber_is_listed_with_the_kind_of_connection_that_it_was_admitted_on() {
        let live = Live::<u8>::new();
        let entered = admit(&get(&live, "/"), everything()).unwrap();
        let listed: Vec<_> = live.page(None, 9).iter().map(|row| (row.label, row.wired)).collect();
        assert_eq!(listed, [("portable", false)], "this request came by no server");
        drop(entered);
    }

    #[test]
    fn adm_8_a_head_request_is_answered_as_an_admission_and_takes_no_place() {
        let cap = ScopeCap::new(NonZeroUsize::MIN);
        let registry = RegistryOptions::new().with_scope_cap(cap);
        let live = LiveBuilder::new(Json).with_registry_options(registry).build();
        let grant = || Grant::new(ChannelFilter::only(["a"])).with_scope(ada());
        let _oldest = admit(&get(&live, "/"), grant()).unwrap();
        let head = admit(&request(&live, "HEAD", "/?channels=a,b"), grant()).unwrap();
        assert_eq!(head.ungranted().names().collect::<Vec<_>>(), ["b"]);
        assert!(head.into_admitted().is_none());
        assert_eq!((live.len(), live.stats().ended.len()), (1, 0), "nobody was evicted");
    }

    #[test]
    fn rev_7_a_subscriber_holds_every_identity_of_its_grant() {
        let names = ["scope", "first", "second", "third"].map(|name| Identity::new("name", name));
        let [scope, groups @ ..] = names.clone();
        let grant = groups.into_iter().fold(everything().with_scope(scope), Grant::with_group);
        for name in names {
            let live = Live::<u8>::new();
            let _entered = admit(&get(&live, "/"), grant.clone()).unwrap();
            assert_eq!(live.close_by_identity(&name), 1, "{name:?}");
        }
    }

    #[test]
    fn ws_3_an_upgrade_from_a_page_of_another_host_is_refused_and_counted() {
        let live = Live::<u8>::new();
        let mut parts = get(&live, "/");
        parts.headers.insert("origin", "https://evil.example".parse().unwrap());
        parts.headers.insert("host", "live.example".parse().unwrap());
        parts.headers.insert("upgrade", "websocket".parse().unwrap());
        assert_eq!(refused(Entry::<u8>::take(&parts)), 403);
        assert_eq!(live.admission_stats().refusals, [(403, 1)].into());
        parts.headers.remove("upgrade");
        assert!(Entry::<u8>::take(&parts).is_ok(), "an event stream needs no such check");
    }

    /// Grants this after so long.
    struct After(Duration, Grant);

    #[async_trait::async_trait]
    impl Authorise for After {
        async fn authorise(&self, _: &Parts) -> Result<Grant, Refusal> {
            tokio::time::sleep(self.0).await;
            Ok(self.1.clone())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn adm_6_a_login_check_is_given_up_when_its_time_is_over() {
        let (patience, start) = (Duration::from_secs(3), Instant::now());
        let options = LiveOptions::new().with_authorise_timeout(patience);
        let live = LiveBuilder::new(Json).with_options(options).build();
        let parts = get(&live, "/");
        let entry = live.entry(&parts).unwrap();
        let endless = After(Duration::from_secs(3600), everything());
        let refused = entry.authorise(&endless, &parts).await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            (start.elapsed(), live.admission_stats().refusals),
            (patience, [(503, 1)].into())
        );
        drop(entry);
        assert_eq!(live.stats().tickets, 0);
    }
}
