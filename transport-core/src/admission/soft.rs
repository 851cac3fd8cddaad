//! Soft refusals: answers for clients that cannot read a status.
//!
//! A native `EventSource` gives up for good at any status but `200`. So where a refusal is
//! transient and the request names `text/event-stream`, the answer is an event stream that says
//! when to come back, and ends. Every other client gets the status. The code that draws the ticket
//! decides it from the answer alone, so that it covers a handler's own `503` and a rate limiter's
//! `429` too.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::Response;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The longest time, in milliseconds, that a refusal may ask a client to stay away: an hour.
const LONGEST: u64 = 60 * 60 * 1000;
/// The shortest. A client that comes back sooner only adds to the load.
const SHORTEST: u64 = 1000;

/// Marks a `500` of the library's own that may pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transient;

/// A request whose client cannot read a status, in its extensions and with the code that answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct SoftlyRefused {
    /// Its refusal has been counted. So the answer is not counted again, whatever the application
    /// made of that refusal.
    counted: Arc<AtomicBool>,
}

impl SoftlyRefused {
    /// Marks a request whose client cannot read a status.
    pub(crate) fn mark<B>(request: &mut Request<B>) -> Option<Self> {
        let soft = reads_event_streams(request.method(), request.headers());
        soft.then(|| request.extensions_mut().get_or_insert_default::<Self>().clone())
    }

    pub(crate) fn set_counted(&self) {
        self.counted.store(true, Ordering::Relaxed);
    }

    /// Turns a transient refusal into an event stream, and counts it unless that has been done;
    /// leaves any other answer as it is.
    pub(crate) fn soften(&self, response: Response, count: impl FnOnce(StatusCode)) -> Response {
        let status = response.status();
        let response = soften(response);
        if response.status() != status && !self.counted.swap(true, Ordering::Relaxed) {
            count(status);
        }
        response
    }
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
    let complete = request.parse(head).is_ok_and(|status| status.is_complete());
    let accepts = |header: &httparse::Header<'_>| {
        header.name.eq_ignore_ascii_case("accept") && names_event_streams(header.value)
    };
    complete && request.method == Some("GET") && request.headers.iter().any(accepts)
}

fn names_event_streams(accept: &[u8]) -> bool {
    let kinds = accept
        .split(|byte| *byte == b',')
        .filter_map(|kind| kind.split(|byte| *byte == b';').next());
    kinds.map(<[u8]>::trim_ascii).any(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
}

/// The event stream that stands for a refusal.
pub(crate) fn stream(status: StatusCode, retry_after: Option<u64>) -> String {
    let least = retry_after.unwrap_or(0).saturating_mul(1000).clamp(SHORTEST, LONGEST);
    // Jittered up to twice the time, so that the clients of a crowd do not come back together.
    let retry = least + RandomState::new().hash_one(least) % (least + 1);
    let status = status.as_u16();
    format!(
        "retry: {retry}\nevent: close\ndata: {{\"reason\":\"unavailable\",\"status\":{status}}}\n\n"
    )
}

/// Turns a transient refusal into an event stream; leaves any other answer as it is. Headers of
/// other layers, such as CORS, stay.
fn soften(mut response: Response) -> Response {
    let status = response.status();
    let transient = match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => true,
        StatusCode::INTERNAL_SERVER_ERROR => response.extensions().get::<Transient>().is_some(),
        _ => false,
    };
    if !transient {
        return response;
    }
    let headers = response.headers_mut();
    let after =
        headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::refusal::Refusal;
    use axum::response::IntoResponse;
    use std::collections::BTreeSet;

    fn accept(value: &'static str) -> HeaderMap {
        [(header::ACCEPT, HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn adm_2_only_a_get_that_names_event_streams_is_refused_softly() {
        for named in
            ["text/event-stream", "Text/Event-Stream", "text/html, text/event-stream;q=0.5"]
        {
            assert!(reads_event_streams(&Method::GET, &accept(named)), "{named}");
            assert!(!reads_event_streams(&Method::HEAD, &accept(named)), "{named}");
            assert!(!reads_event_streams(&Method::POST, &accept(named)), "{named}");
        }
        for other in ["*/*", "text/*", "application/json", "text/event-streams", ""] {
            assert!(!reads_event_streams(&Method::GET, &accept(other)), "{other}");
        }
        assert!(!reads_event_streams(&Method::GET, &HeaderMap::new()));
    }

    /// The status, and the times that a hundred clients are told.
    fn times(refusal: &Refusal) -> (u16, BTreeSet<u64>) {
        let mut status = 0;
        let retry = |_| {
            let softened = soften(refusal.clone().into_response());
            status = softened.status().as_u16();
            let after = softened
                .headers()
                .get(header::RETRY_AFTER)
                .map(|value| value.to_str().unwrap().parse().unwrap());
            let stream = stream(refusal.status(), after.or(refusal.retry_after().map(u64::from)));
            stream
                .strip_prefix("retry: ")
                .and_then(|rest| rest.lines().next()?.parse().ok())
                .unwrap()
        };
        let times = (0..100).map(retry).collect();
        (status, times)
    }

    #[test]
    fn adm_2_a_transient_refusal_asks_clients_to_come_back_at_different_times() {
        for (seconds, range) in [
            (0, 1000..=2000),
            (1, 1000..=2000),
            (7, 7000..=14_000),
            (u32::MAX, LONGEST..=2 * LONGEST),
        ] {
            let (status, times) = times(&Refusal::unavailable("busy", seconds));
            assert_eq!(status, 200);
            assert!(times.len() > 50, "{} different times", times.len());
            assert!(times.iter().all(|time| range.contains(time)), "{seconds}: {times:?}");
        }
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
}
