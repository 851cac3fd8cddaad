//! Refusals of WebSockets that speak `live.v1`: a page sees no status of a failed upgrade, so the
//! refusal is spoken after it, as a close code.
//!
//! Such a socket has no subscriber and is not read. It is gone within a second, and a bounded
//! number of them exists; beyond it the client gets the status.

use super::asked::{LIVE_V1, protocols};
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, Version, header};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

/// How many such sockets may exist at a server, or a layer.
const MAX_SOCKETS: usize = 1024;
/// How long such a socket lives: a second, less what the timer may be late.
const LIFE: Duration = Duration::from_millis(900);
/// What a server appends to the key of a handshake: RFC 6455, 1.3.
const HANDSHAKE: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;

/// Places for the sockets that one server, or one layer, may have at a time.
#[derive(Debug, Clone)]
pub(crate) struct RefusedSockets(Arc<Semaphore>);

impl Default for RefusedSockets {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_SOCKETS)))
    }
}

/// What a client is told, and by which code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// Sign in, then come back.
    Unauthenticated,
    /// Do not come back.
    Forbidden,
    /// Come back after so many milliseconds.
    Unavailable(u64),
}

impl Spoken {
    /// A message if need be, and the close frame.
    fn frames(self) -> Vec<u8> {
        let mut out = Vec::new();
        let (code, text): (u16, &str) = match self {
            Self::Unauthenticated => (4401, "unauthenticated"),
            Self::Forbidden => (4403, "forbidden"),
            Self::Unavailable(retry) => {
                let error =
                    format!(r#"{{"type":"error","code":"unavailable","retry_ms":{retry}}}"#);
                put_frame(TEXT, &[error.as_bytes()], &mut out);
                (1013, "unavailable")
            }
        };
        put_frame(CLOSE, &[&code.to_be_bytes(), text.as_bytes()], &mut out);
        out
    }
}

/// Appends a short frame, as a server writes it.
fn put_frame(opcode: u8, parts: &[&[u8]], out: &mut Vec<u8>) {
    let payload = parts.concat();
    debug_assert!(payload.len() <= 125, "longer frames have another head");
    out.extend([FIN | opcode, payload.len() as u8]);
    out.extend(payload);
}

/// A request that can be refused so: a good handshake that offers `live.v1`.
#[derive(Debug)]
pub(super) struct SocketRequest {
    accept: HeaderValue,
    upgrade: OnUpgrade,
    places: RefusedSockets,
}

impl SocketRequest {
    pub(super) fn of<B>(request: &Request<B>, places: &RefusedSockets) -> Option<Self> {
        let headers = request.headers();
        let is = |name, value: &str| {
            let named = headers.get(name).and_then(|value| value.to_str().ok());
            named.is_some_and(|named| {
                named.split(',').any(|item| item.trim().eq_ignore_ascii_case(value))
            })
        };
        let is_handshake = request.method() == Method::GET
            && request.version() == Version::HTTP_11
            && is(header::UPGRADE, "websocket")
            && is(header::CONNECTION, "upgrade")
            && is(header::SEC_WEBSOCKET_VERSION, "13")
            && protocols(headers).any(|offered| offered == LIVE_V1);
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_handshake)?;
        let upgrade = request.extensions().get::<OnUpgrade>()?.clone();
        let accept = Sha1::new().chain_update(key.as_bytes()).chain_update(HANDSHAKE).finalize();
        let accept = HeaderValue::try_from(BASE64_STANDARD.encode(accept)).ok()?;
        Some(Self { accept, upgrade, places: places.clone() })
    }

    /// Answers with an upgrade, and speaks the refusal; gives nothing back if no place is free.
    pub(super) fn refuse(self, spoken: Spoken) -> Option<Response> {
        let Self { accept, upgrade, places } = self;
        let place = places.0.try_acquire_owned().ok()?;
        tokio::spawn(speak(upgrade, spoken, place));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(LIVE_V1));
        Some(response)
    }
}

/// Writes the refusal, and drops the socket at the end of its life. Until then the client can read
/// it: dropping a socket with unread bytes resets it.
async fn speak(upgrade: OnUpgrade, spoken: Spoken, place: OwnedSemaphorePermit) {
    let end = Instant::now() + LIFE;
    let speaking = async {
        let mut socket = TokioIo::new(upgrade.await.ok()?);
        socket.write_all(&spoken.frames()).await.ok()?;
        socket.shutdown().await.ok()?;
        sleep_until(end).await;
        Some(())
    };
    let _over = timeout_at(end, speaking).await;
    drop(place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ws_3_a_refusal_is_spoken_as_a_close_code_and_a_time_to_come_back() {
        assert_eq!(Spoken::Unauthenticated.frames(), b"\x88\x11\x11\x31unauthenticated");
        assert_eq!(Spoken::Forbidden.frames(), b"\x88\x0b\x11\x33forbidden");
        let text = br#"{"type":"error","code":"unavailable","retry_ms":1500}"#;
        let mut expected = vec![0x81, text.len() as u8];
        expected.extend(text);
        expected.extend(b"\x88\x0d\x03\xf5unavailable");
        assert_eq!(Spoken::Unavailable(1500).frames(), expected);
    }

    /// A handshake that is changed.
    fn request(places: &RefusedSockets, change: fn(&mut Request<()>)) -> Option<SocketRequest> {
        let mut request = Request::get("/ws")
            .header("host", "here")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", "live.v1, bearer.YQ")
            .body(())
            .unwrap();
        let upgrade = hyper::upgrade::on(&mut request);
        request.extensions_mut().insert(upgrade);
        change(&mut request);
        SocketRequest::of(&request, places)
    }

    #[test]
    fn ws_3_only_a_handshake_that_offers_the_protocol_is_refused_so() {
        let places = RefusedSockets::default();
        let good = request(&places, |_| {}).expect("a good handshake");
        assert_eq!(good.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "the sample of RFC 6455");
        let changes: [fn(&mut Request<()>); 6] = [
            |request| *request.method_mut() = Method::HEAD,
            |request| *request.version_mut() = Version::HTTP_2,
            |request| drop(request.headers_mut().remove("upgrade")),
            |request| drop(request.headers_mut().remove("sec-websocket-key")),
            |request| drop(request.headers_mut().remove("sec-websocket-protocol")),
            |request| drop(request.extensions_mut().remove::<OnUpgrade>()),
        ];
        assert!(changes.into_iter().all(|change| request(&places, change).is_none()));
    }

    #[tokio::test]
    async fn ws_3_beyond_the_bound_a_refusal_is_a_status() {
        let places = RefusedSockets::default();
        let mut taken: Vec<_> =
            (0..1024).map(|_| places.0.clone().try_acquire_owned().unwrap()).collect();
        let refuse = || request(&places, |_| {}).unwrap().refuse(Spoken::Forbidden);
        assert!(refuse().is_none());
        taken.pop();
        assert_eq!(refuse().unwrap().status(), StatusCode::SWITCHING_PROTOCOLS);
    }
}
