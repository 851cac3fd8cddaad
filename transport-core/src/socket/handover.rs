//! How the body of a response takes over the socket that it is written to.

use super::accepted::Socket;
use super::cut::Cut;
use super::direct::DirectSocket;
use super::proof::Handed;
use axum::http::request::Parts;
use std::sync::Weak;
use std::task::{Context, Poll};

/// The chance of a response's body to take the socket over from the HTTP server.
///
/// Each HTTP/1.1 request without TLS on a [`Server`](crate::Server) carries one. The body calls
/// [`arm`](Self::arm) right before it returns its first frame, and returns no more frames while
/// [`poll_socket`](Self::poll_socket) is pending. When it gets the socket, it ends; when it does
/// not, it goes on returning frames.
///
/// Dropping a handover that waits leaves the connection to the HTTP server.
///
/// # Examples
/// ```
/// use bytes::Bytes;
/// use hyper::body::{Body, Frame};
/// use std::convert::Infallible;
/// use std::pin::Pin;
/// use std::task::{Context, Poll, ready};
/// use transport_core::{DirectSocket, Handover};
///
/// /// Sends a greeting over HTTP; then `take` gets the socket.
/// struct Greeting<F> {
///     handover: Handover,
///     greeted: bool,
///     take: F,
/// }
///
/// impl<F: FnMut(DirectSocket) + Unpin> Body for Greeting<F> {
///     type Data = Bytes;
///     type Error = Infallible;
///
///     fn poll_frame(
///         self: Pin<&mut Self>,
///         cx: &mut Context<'_>,
///     ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
///         let this = self.get_mut();
///         if !this.greeted {
///             this.greeted = true;
///             this.handover.arm(b"\r\n6\r\nhello\n\r\n");
///             return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"hello\n")))));
///         }
///         if let Some(socket) = ready!(this.handover.poll_socket(cx)) {
///             (this.take)(socket);
///         }
///         Poll::Ready(None)
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Handover {
    socket: Weak<Socket>,
    armed: bool,
}

impl Handover {
    /// Returns the handover of a request's connection. There is none over TLS, HTTP/2 and HTTP/1.0,
    /// on other servers, and with
    /// [`ServerOptions::with_portable`](crate::ServerOptions::with_portable).
    #[must_use]
    pub fn of(request: &Parts) -> Option<Self> {
        request.extensions.get::<Cut>()?.plain_socket().map(Self::new)
    }

    pub(crate) fn new(socket: Weak<Socket>) -> Self {
        Self { socket, armed: false }
    }

    /// Sets what the bytes on the wire must end in once hyper has written the next frame of the
    /// body and has nothing more.
    ///
    /// That is the frame's chunk, with the line end before it: `\r\n6\r\nhello\n\r\n` for
    /// `hello\n`. The line end belongs to the head; it proves that the chunk's size begins there.
    ///
    /// A response without `connection: close` proves nothing, because hyper would serve another
    /// request on the connection.
    pub fn arm(&mut self, tail: &'static [u8]) {
        self.armed = true;
        if let Some(socket) = self.socket.upgrade() {
            socket.proof().arm(tail);
        }
    }

    /// Waits for the proof. Returns the socket when it holds, and `None` when it does not: then the
    /// body must go on.
    ///
    /// From then on the caller alone reads and writes the socket: what hyper writes is discarded,
    /// and hyper takes the connection for ended. Bytes that the peer sent after its request may be
    /// lost with hyper's buffer.
    pub fn poll_socket(&self, cx: &mut Context<'_>) -> Poll<Option<DirectSocket>> {
        // The task that dropped the socket drops the body next.
        let Some(socket) = self.socket.upgrade() else { return Poll::Ready(None) };
        socket.proof().poll(cx).map(|handed| match handed {
            Handed::Now => Some(DirectSocket::take_over(socket)),
            Handed::Before => Some(DirectSocket::share(socket)),
            Handed::Not => None,
        })
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if self.armed
            && let Some(socket) = self.socket.upgrade()
        {
            socket.proof().give_up();
        }
    }
}
