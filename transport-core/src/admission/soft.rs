//! Soft refusals: answers for clients that cannot read a status.
//!
//! A native `EventSource` gives up for good at any status but `200`. So where a refusal is
//! transient and the request names `text/event-stream`, the answer is an event stream that says
//! when to come back, and ends. A page's `WebSocket` sees no status at all. So where it offers
//! `live.v1`, its refusal is [spoken after the upgrade](super::refused_socket). Every other client
//! gets the status. The code that draws the ticket decides it from the answer alone, so that it
//! covers a handler's own `503` and a rate limiter's `429` too.

use super::refusal::{Refusal, Transient};
use super::refused_socket::{RefusedSockets, SocketRequest, Spoken};
use super::stats::Refusals;
use axum::body::Body;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// The longest time, in milliseconds, that a refusal may ask a client to stay away, before the
/// jitter: a day.
const LONGEST: u64 = 24 * 60 * 60 * 1000;
/// The shortest. A client that comes back sooner only adds to the load.
const SHORTEST: u64 = 1000;

/// A request whose client cannot read a status, in its extensions and with the code that answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct SoftlyRefused {
    /// Its refusal has been counted. So the answer is not counted again, whatever the application
    /// made of that refusal.
    counted: Arc<AtomicBool>,
}

/// Counts the refusals of one request.
#[derive(Debug, Clone)]
pub(super) struct RefusalCount {
    refusals: Arc<Refusals>,
    soft: Option<SoftlyRefused>,
}

impl RefusalCount {
    pub(super) fn new(refusals: Arc<Refusals>, request: &Extensions) -> Self {
        Self { refusals, soft: request.get().cloned() }
    }

    pub(super) fn count(&self, refusal: &Refusal) {
        self.refusals.count(refusal.status());
        if let Some(soft) = &self.soft {
            soft.counted.store(true, Ordering::Relaxed);
        }
    }
}

/// How the refusal of a request is answered, whose client cannot read a status.
#[derive(Debug)]
pub(crate) struct Softener {
    refused: SoftlyRefused,
    how: How,
}

#[derive(Debug)]
enum How {
    /// By an event stream.
    Stream,
    /// By the close code of a WebSocket.
    Socket(SocketRequest),
}

impl Softener {
    /// Looks at a request, and marks it if its client cannot read a status. A page of an origin
    /// that may not connect keeps the status, whatever refused it: it is told nothing.
    pub(crate) fn of<B>(
        request: &mut Request<B>,
        places: &RefusedSockets,
        may_connect: impl FnOnce(&HeaderMap) -> bool,
    ) -> Option<Self> {
        let how = How::of(request, places, may_connect)?;
        let refused = request.extensions_mut().get_or_insert_default::<SoftlyRefused>().clone();
        Some(Self { refused, how })
    }

    /// Turns a refusal into an answer that the client can read, and counts it unless that has been
    /// done; leaves any other answer as it is.
    pub(crate) fn soften(self, response: Response, count: impl FnOnce(StatusCode)) -> Response {
        let status = response.status();
        let response = match self.how {
            How::Stream => soften(response),
            How::Socket(request) => speak(request, response),
        };
        let counted = || self.refused.counted.swap(true, Ordering::Relaxed);
        if response.status() != status && !counted() {
            count(status);
        }
        response
    }
}

impl How {
    fn of<B>(
        request: &Request<B>,
        places: &RefusedSockets,
        may_connect: impl FnOnce(&HeaderMap) -> bool,
    ) -> Option<Self> {
        if reads_event_streams(request.method(), request.headers()) {
            return Some(Self::Stream);
        }
        let asked = SocketRequest::of(request, places)?;
        may_connect(request.headers()).then_some(Self::Socket(asked))
    }
}

/// Answers a refusal by a close code; leaves any other answer as it is, and a refusal for which no
/// place is free.
fn speak(request: SocketRequest, response: Response) -> Response {
    let spoken = match response.status() {
        StatusCode::UNAUTHORIZED => Some(Spoken::Unauthenticated),
        StatusCode::FORBIDDEN => Some(Spoken::Forbidden),
        _ if is_transient(&response) => {
            let after = response.headers().get(header::RETRY_AFTER).and_then(seconds);
            Some(Spoken::Unavailable(retry(after)))
        }
        _ => None,
    };
    spoken.and_then(|spoken| request.refuse(spoken)).unwrap_or(response)
}

/// Tells whether the client reads event streams: a `GET` that names them. A wildcard does not.
fn reads_event_streams(method: &Method, headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    method == Method::GET && accepted.any(|value| names_event_streams(value.as_bytes()))
}

/// Tells the same of the head of a request that has not been parsed.
pub(crate) fn head_reads_event_streams(head: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut headers);
    // Of a head that is cut off, or has more headers than that, the headers before count.
    let _partial = request.parse(head);
    let accepts = |header: &httparse::Header<'_>| {
        header.name.eq_ignore_ascii_case("accept") && names_event_streams(header.value)
    };
    request.method == Some("GET") && request.headers.iter().any(accepts)
}

fn names_event_streams(accept: &[u8]) -> bool {
    accept.split(|byte| *byte == b',').any(|range| {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let named =
            parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"));
        named && !parts.any(is_zero)
    })
}

/// Tells whether a parameter of a media range is a quality of zero, which refuses the range.
fn is_zero(parameter: &[u8]) -> bool {
    let mut parts = parameter.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
    parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"q"))
        && parts.next().is_some_and(|value| value.iter().all(|byte| b"0.".contains(byte)))
}

/// After how many milliseconds a client is to come back, whose refusal names so many seconds.
fn retry(after: Option<u64>) -> u64 {
    let least = after.unwrap_or(0).saturating_mul(1000).clamp(SHORTEST, LONGEST);
    // Jittered up to twice the time, so that the clients of a crowd do not come back together.
    least + RandomState::new().hash_one(least) % (least + 1)
}

/// The event stream that stands for a refusal.
pub(crate) fn stream(status: StatusCode, retry_after: Option<u64>) -> String {
    let (status, retry) = (status.as_u16(), retry(retry_after));
    format!(
        "retry: {retry}\nevent: close\ndata: {{\"reason\":\"unavailable\",\"status\":{status}}}\n\n"
    )
}

/// Tells whether an answer is a refusal that may pass.
fn is_transient(response: &Response) -> bool {
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => true,
        StatusCode::INTERNAL_SERVER_ERROR => response.extensions().get::<Transient>().is_some(),
        _ => false,
    }
}

/// Turns a transient refusal into an event stream; leaves any other answer as it is. Headers of
/// other layers, such as CORS, stay.
fn soften(mut response: Response) -> Response {
    if !is_transient(&response) {
        return response;
    }
    let status = response.status();
    let headers = response.headers_mut();
    let after = headers.get(header::RETRY_AFTER).and_then(seconds);
    for of_the_body in
        [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::RETRY_AFTER, header::ETAG]
    {
        headers.remove(of_the_body);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.status_mut() = StatusCode::OK;
    *response.body_mut() = Body::from(stream(status, after));
    response
}

/// Reads a `Retry-After`: a number of seconds, or a date.
fn seconds(after: &HeaderValue) -> Option<u64> {
    let after = after.to_str().ok()?.trim();
    after.parse().ok().or_else(|| {
        let at = httpdate::parse_http_date(after).ok()?;
        Some(at.duration_since(SystemTime::now()).map_or(0, |left| left.as_secs() + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use std::collections::BTreeSet;

    fn accept(value: &'static str) -> HeaderMap {
        [(header::ACCEPT, HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn adm_2_only_a_get_that_names_event_streams_is_refused_softly() {
        for named in
            ["text/event-stream", "Text/Event-Stream", "text/html, text/event-stream ; q=0.5"]
        {
            assert!(reads_event_streams(&Method::GET, &accept(named)), "{named}");
            assert!(!reads_event_streams(&Method::HEAD, &accept(named)), "{named}");
            assert!(!reads_event_streams(&Method::POST, &accept(named)), "{named}");
        }
        let refused = ["text/event-stream;q=0", "text/event-stream; charset=utf-8; Q=0.000"];
        let others = ["*/*", "text/*", "application/json", "text/event-streams", ""];
        for other in others.into_iter().chain(refused) {
            assert!(!reads_event_streams(&Method::GET, &accept(other)), "{other}");
        }
        assert!(!reads_event_streams(&Method::GET, &HeaderMap::new()));
    }

    /// The times in milliseconds that a hundred clients get.
    async fn times(response: impl Fn() -> Response) -> BTreeSet<u64> {
        let mut times = BTreeSet::new();
        for _ in 0..100 {
            let softened = soften(response());
            assert_eq!(softened.status(), 200);
            assert!(!softened.headers().contains_key(header::RETRY_AFTER));
            let body = axum::body::to_bytes(softened.into_body(), 1000).await.unwrap();
            let body = std::str::from_utf8(&body).unwrap();
            let retry = body.strip_prefix("retry: ").unwrap().lines().next().unwrap();
            times.insert(retry.parse().unwrap());
        }
        times
    }

    #[tokio::test]
    async fn adm_2_a_transient_refusal_asks_clients_to_come_back_at_different_times() {
        for (seconds, range) in [
            (0, 1000..=2000),
            (1, 1000..=2000),
            (7, 7000..=14_000),
            (u32::MAX, LONGEST..=2 * LONGEST),
        ] {
            let refusal = Refusal::unavailable("busy", seconds);
            let times = times(|| refusal.clone().into_response()).await;
            assert!(times.len() > 50, "{} different times", times.len());
            assert!(times.iter().all(|time| range.contains(time)), "{seconds}: {times:?}");
        }
    }

    #[tokio::test]
    async fn adm_2_a_date_in_retry_after_is_understood() {
        let after = |at: SystemTime| {
            let date = httpdate::fmt_http_date(at);
            move || (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, &*date)]).into_response()
        };
        let (now, minute) = (SystemTime::now(), std::time::Duration::from_secs(60));
        let later = times(after(now + 10 * minute)).await;
        assert!(later.iter().all(|time| (590_000..=1_202_000).contains(time)), "{later:?}");
        let past = times(after(now - minute)).await;
        assert!(past.iter().all(|time| (1000..=2000).contains(time)), "{past:?}");
    }

    #[test]
    fn adm_2_a_refusal_that_lasts_keeps_its_status() {
        for refusal in [
            Refusal::unauthenticated("x"),
            Refusal::forbidden("x"),
            Refusal::no_content(),
            Refusal::bad_request("x"),
        ] {
            let status = refusal.status();
            assert_eq!(soften(refusal.into_response()).status(), status);
        }
        let application =
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "a bug of the application");
        assert_eq!(soften(application.into_response()).status(), 500);
    }

    /// A page that offers `live.v1`.
    fn page() -> Request<()> {
        let mut request = Request::get("/ws")
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")
            .header(header::SEC_WEBSOCKET_PROTOCOL, "live.v1")
            .body(())
            .unwrap();
        let upgrade = hyper::upgrade::on(&mut request);
        request.extensions_mut().insert(upgrade);
        request
    }

    #[tokio::test]
    async fn ws_3_a_refusal_is_spoken_to_a_page_of_the_same_host_only() {
        let places = RefusedSockets::default();
        assert!(Softener::of(&mut page(), &places, |_| false).is_none(), "another host");
        let answered = |refusal: Refusal| {
            let softener = Softener::of(&mut page(), &places, |_| true).unwrap();
            let mut counted = Vec::new();
            let answer = softener.soften(refusal.into_response(), |status| counted.push(status));
            (answer.status().as_u16(), counted)
        };
        for status in [401_u16, 403, 429, 503] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(answered(Refusal::new(status, "x")), (101, vec![status]));
        }
        assert_eq!(answered(Refusal::failed("x")).0, 101);
        for status in [400_u16, 404, 409, 426, 500] {
            let refusal = Refusal::new(StatusCode::from_u16(status).unwrap(), "x");
            assert_eq!(answered(refusal), (status, vec![]));
        }
    }
}
