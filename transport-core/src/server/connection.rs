//! One connection from its first byte to its end, and the answers to its requests.

use super::http::{BUFFER_BYTES, Ended, Http, Serving};
use super::registries::Registries;
use super::stats::Counts;
use crate::admission::refusal::Refusal;
use crate::admission::refused_socket::RefusedSockets;
use crate::admission::soft::Softener;
use crate::socket::accepted::Socket;
use crate::socket::cut::{Cut, Cutter, answering};
#[cfg(feature = "http2")]
use crate::socket::streams::STREAM;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::Body;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

/// As many first bytes of a connection as tell HTTP/1 from HTTP/2.
const FIRST_BYTES: usize = 24;

/// The state that the connections of one server share.
pub(super) struct Shared {
    pub(super) app: Router,
    pub(super) registries: Registries,
    /// Whether connections can be direct: nothing is between HTTP and the socket, and the options
    /// permit it.
    pub(super) plain: bool,
    /// Whether the first bytes of a socket are those of HTTP.
    pub(super) peeks: bool,
    pub(super) http: Http,
    pub(super) cutter: Arc<Cutter>,
    pub(super) counts: Arc<Counts>,
    pub(super) refused_sockets: RefusedSockets,
}

/// Serves one connection to its end.
pub(super) async fn connect<S>(
    wrapped: impl Future<Output = io::Result<S>>,
    socket: Arc<Socket>,
    peer: SocketAddr,
    shared: Arc<Shared>,
    mut ending: watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // For the first head and everything before it.
    let deadline = Instant::now() + shared.http.head_timeout;
    let counts = shared.counts.clone();
    let mut first = [0; FIRST_BYTES];
    let begun = async {
        let peeked = if shared.peeks { socket.peek(&mut first).await? } else { 0 };
        Ok::<_, io::Error>((wrapped.await?, peeked))
    };
    let begun = tokio::select! {
        biased;
        begun = timeout_at(deadline, begun) => begun,
        // The peer has asked for nothing yet, so a shutdown need not wait for it.
        Ok(()) = ending.changed() => return,
    };
    let ended = match begun {
        Ok(Ok((io, peeked))) => {
            let connection = {
                let (socket, service) = (Arc::downgrade(&socket), shared.clone());
                // Boxed, because hyper keeps the memory of a request's future for as long as the
                // connection lives.
                let service = move |request| {
                    answer(request, socket.upgrade(), Some(peer), service.clone()).map(Ok).boxed()
                };
                shared.http.serve(&first[..peeked], io, service, ending)
            };
            drop(shared);
            let mut served = pin!(unless_gone(connection, &socket));
            // Before it knows the protocol, hyper waits for the first bytes without a limit.
            match timeout_at(deadline, served.as_mut()).await {
                Ok(ended) => ended,
                Err(_elapsed) if !socket.has_asked() => Ended::NoHead,
                Err(_elapsed) => served.await,
            }
        }
        Ok(Err(_gone)) => Ended::Done,
        Err(_elapsed) => Ended::NoHead,
    };
    let count = match ended {
        Ended::Done => return,
        Ended::NoHead if socket.has_begun() || !socket.has_asked() => &counts.slow_heads,
        _ => &counts.idle_closed,
    };
    count.fetch_add(1, Ordering::Relaxed);
}

/// Serves one connection of a Unix socket to its end.
#[cfg(unix)]
pub(super) async fn connect_unix(
    io: super::unix::UnixIo,
    shared: Arc<Shared>,
    ending: watch::Receiver<()>,
) {
    let service = shared.clone();
    let service = move |request| answer(request, None, None, service.clone()).map(Ok).boxed();
    // Proxies speak HTTP/1.1 there. hyper would find out the protocol without a time limit.
    if shared.http.serve(b"GET", io, service, ending).await == Ended::NoHead {
        shared.counts.slow_heads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Serves a connection until its peer is gone. hyper takes a peer that has ended its side for gone,
/// but it finds that out by reading, and it does not read while it holds unread bytes of the peer
/// or while its writes wait for an HTTP/2 peer.
async fn unless_gone(connection: Serving, socket: &Socket) -> Ended {
    tokio::select! {
        biased;
        ended = connection => ended,
        () = socket.peer_gone() => Ended::Done,
    }
}

/// Has the application answer one request, which carries the peer's address and the means to cut
/// its stream.
pub(super) async fn answer<B>(
    mut request: Request<B>,
    socket: Option<Arc<Socket>>,
    peer: Option<SocketAddr>,
    shared: Arc<Shared>,
) -> Response
where
    B: Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    let number = socket.as_ref().map_or(0, |socket| socket.note_request());
    if head_bytes(&request) > BUFFER_BYTES as usize {
        let reason = format!("the head of the request is too large: {BUFFER_BYTES} bytes at most");
        return Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason).into_response();
    }
    let cut = cut(request.version(), socket.as_ref(), number, &shared);
    let plain = cut.as_ref().and_then(Cut::plain_socket);
    drop(socket);
    // HTTP/2 has the host in the address, HTTP/1 in a header. A comparison of hosts should need to
    // look at one place only.
    let host = request
        .uri()
        .authority()
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().entry(header::HOST).or_insert(host);
    }
    let extensions = request.extensions_mut();
    if let Some(peer) = peer {
        extensions.insert(ConnectInfo(peer));
    }
    if let Some(cut) = cut.clone() {
        extensions.insert(cut);
    }
    let may_connect = |headers: &HeaderMap| shared.registries.may_connect(headers);
    let soft = Softener::of(&mut request, &shared.refused_sockets, may_connect);
    let answered = answering(cut, async {
        shared.registries.draw_tickets_for(request.extensions_mut());
        shared.app.clone().call(request).await
    });
    let answered = AssertUnwindSafe(answered).catch_unwind().await;
    let response = answered.map_or_else(
        |_panic| {
            shared.counts.panics.fetch_add(1, Ordering::Relaxed);
            Refusal::failed("the handler failed").into_response()
        },
        |Ok(response)| response,
    );
    let response = match soft {
        Some(soft) => soft.soften(response, |status| shared.registries.count(status)),
        None => response,
    };
    if let Some(socket) = plain.and_then(|socket| socket.upgrade()) {
        socket.proof().set_last(closes(&response));
    }
    response
}

/// The means to cut the connection, or the stream, of a request.
fn cut(
    version: Version,
    socket: Option<&Arc<Socket>>,
    number: u32,
    shared: &Shared,
) -> Option<Cut> {
    // Under `axum::serve` a connection may speak HTTP/2 although this crate does not. A revocation
    // must not reset the streams of others.
    if version == Version::HTTP_2 {
        #[cfg(feature = "http2")]
        return STREAM.try_with(|stream| Cut::stream(stream.clone(), shared.cutter.clone())).ok();
        #[cfg(not(feature = "http2"))]
        return None;
    }
    let plain = shared.plain && version == Version::HTTP_11;
    socket.map(|socket| Cut::socket(socket, number, plain, shared.cutter.clone()))
}

/// Returns how large the head of a request is, as HTTP/1 writes it. hyper bounds its read buffer
/// only, and only when it reads again: a head that ends within the buffer's last growth may be
/// twice as large.
fn head_bytes<B>(request: &Request<B>) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let fields = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    request.method().as_str().len() + target + "  HTTP/1.1\r\n\r\n".len() + fields.sum::<usize>()
}

/// Tells whether hyper ends the connection after this response.
fn closes(response: &Response) -> bool {
    let connection = response
        .headers()
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    connection
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("close"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::live::Live;
    use crate::server::Server;
    use crate::server::options::ServerOptions;
    use crate::socket::io::ServerIo;
    use socket2::SockRef;
    use std::future::pending;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;
    use tokio::time::sleep;

    /// Serves with these options over what `wrap` makes of a socket, and connects a client.
    async fn served_over<F>(
        options: ServerOptions,
        wrap: impl Fn(ServerIo) -> F + Send + 'static,
    ) -> TcpStream
    where
        F: Future<Output = io::Result<ServerIo>> + Send + 'static,
    {
        let server = Server::bind("127.0.0.1:0", options).await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(async move {
            server.run_over(Router::new(), &Live::<()>::new(), pending(), wrap).await
        });
        TcpStream::connect(address).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn limits_a_head_and_the_handshake_before_it_have_one_deadline() {
        let late = Duration::from_millis(9_500);
        for handshake in [Duration::ZERO, late] {
            let mut client = served_over(ServerOptions::new(), move |io| async move {
                sleep(handshake).await;
                Ok(io)
            })
            .await;
            let begun = Instant::now();
            sleep(late).await;
            client.write_all(b"G").await.unwrap();
            let _reset = client.read_to_end(&mut Vec::new()).await;
            assert!(
                begun.elapsed() < Duration::from_millis(10_100),
                "{:?} after {handshake:?}",
                begun.elapsed()
            );
        }
        let server = Server::bind("127.0.0.1:0", ServerOptions::new()).await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(async move {
            server.run(Router::new(), &Live::<()>::new(), pending::<()>()).await
        });
        let mut client = TcpStream::connect(address).await.unwrap();
        let begun = Instant::now();
        sleep(late).await;
        client.write_all(b"G").await.unwrap();
        let _reset = client.read_to_end(&mut Vec::new()).await;
        assert!(begun.elapsed() < Duration::from_millis(10_100), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn sse_5_a_socket_under_tls_is_tuned_like_any_other() {
        let (sender, mut sockets) = mpsc::unbounded_channel();
        let seven = Duration::from_secs(7);
        let options =
            [(ServerOptions::new(), 30), (ServerOptions::new().with_user_timeout(seven), 7)];
        for (options, seconds) in options {
            let sender = sender.clone();
            let _client = served_over(options, move |io: ServerIo| {
                sender.send(io).unwrap();
                pending()
            })
            .await;
            let socket = sockets.recv().await.unwrap().into_socket();
            let timeout = SockRef::from(socket.tcp()).tcp_user_timeout().unwrap();
            assert_eq!(timeout, Some(Duration::from_secs(seconds)));
            assert!(socket.tcp().nodelay().unwrap(), "a message does not wait for the next");
        }
    }
}
