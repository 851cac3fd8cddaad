//! How the body of a response gets the socket that it is written to.
//!
//! hyper gives a connection up for an upgrade only, and an event stream is none. But [`Io`](crate::Io) sees every byte that
//! hyper writes, and hyper flushes it only when nothing is left to write. So when a body says which bytes its first frame
//! must become, and all that was written ends in exactly these at a flush, then nothing of the response is anywhere else: no
//! layer has changed the frame or keeps a part of it, and the head is out. From there on the socket is the body's.
//! Where the proof fails, nothing has happened, and the body goes on as it would have.

use crate::cut::Cut;
use crate::owned::OwnedSocket;
use crate::socket::Socket;
use axum::http::request::Parts;
use std::io::IoSlice;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

/// The chance of a response's body to take the socket over from the HTTP server.
///
/// The requests of a plain HTTP/1.1 connection of [`Server`](crate::Server) carry one. Its order: [`arm`](Self::arm) right
/// before the body gives its first frame; give nothing more while [`poll_socket`](Self::poll_socket) is pending; with the
/// socket, end the body; without it, go on giving frames.
///
/// Dropping it while it waits leaves the connection to the HTTP server.
///
/// # Examples
/// ```
/// use bytes::Bytes;
/// use hyper::body::{Body, Frame};
/// use std::convert::Infallible;
/// use std::pin::Pin;
/// use std::task::{Context, Poll, ready};
/// use transport_core::{Handover, OwnedSocket};
///
/// /// Greets, and goes on by itself: `take` gets the socket.
/// struct Greeting<F> {
///     handover: Handover,
///     greeted: bool,
///     take: F,
/// }
///
/// impl<F: FnMut(OwnedSocket) + Unpin> Body for Greeting<F> {
///     type Data = Bytes;
///     type Error = Infallible;
///
///     fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
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
    /// Returns the handover of a request's connection; `None` where there can be none: over TLS, HTTP/2 and HTTP/1.0, on
    /// other servers, and where [`ServerOptions::portable`](crate::ServerOptions::portable) was asked for.
    #[must_use]
    pub fn of(request: &Parts) -> Option<Self> {
        request.extensions.get::<Cut>()?.plain_socket().map(Self::new)
    }

    pub(crate) fn new(socket: Weak<Socket>) -> Self {
        Self { socket, armed: false }
    }

    /// Says what the bytes on the wire must end in when the next frame of the body is written, and hyper has nothing more.
    ///
    /// For a frame in a chunk that is the chunk, with the line end before it: `\r\n6\r\nhello\n\r\n` for `hello\n`. That
    /// line end belongs to the head; it proves that the chunk's size begins there.
    ///
    /// A response without `connection: close` proves nothing: hyper would serve another request on the connection.
    pub fn arm(&mut self, tail: &'static [u8]) {
        self.armed = true;
        if let Some(socket) = self.socket.upgrade() {
            socket.proof().arm(tail);
        }
    }

    /// Waits for the proof, and returns the socket when it holds; `None` when it does not, and the body must go on.
    ///
    /// With the socket everything else belongs to the caller: hyper's writes end nowhere from then on, and it takes the
    /// connection for ended. The bytes that the peer sent after its request may be lost with hyper's buffer.
    pub fn poll_socket(&self, cx: &mut Context<'_>) -> Poll<Option<OwnedSocket>> {
        // Whoever let go of the socket lets go of the body next.
        let Some(socket) = self.socket.upgrade() else { return Poll::Ready(None) };
        socket.proof().poll(cx).map(|handed| match handed {
            Handed::Now => Some(OwnedSocket::take_over(socket)),
            Handed::Before => Some(OwnedSocket::share(socket)),
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

/// How an awaited proof came out.
#[derive(Debug, PartialEq, Eq)]
enum Handed {
    Now,
    Before,
    Not,
}

/// What a socket and the body of its present response know of each other.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// Whether the connection ends with the present response, of which nothing is flushed yet.
    last: AtomicBool,
    /// Whether a write or a flush may matter: a body arms in the task that writes, so this need not be asked of the stage.
    armed: AtomicBool,
    stage: Mutex<Stage>,
}

#[derive(Debug, Default)]
enum Stage {
    /// The HTTP server has the socket.
    #[default]
    Served,
    Armed(Box<Armed>),
    /// The socket was detached from the HTTP server.
    Detached {
        /// Whether its new owner has it, or none is to come.
        taken: bool,
        /// The HTTP server, which waits for that.
        server: Option<Waker>,
    },
}

#[derive(Debug)]
struct Armed {
    tail: &'static [u8],
    /// The end of what was written since: no more than the tail has.
    written: Vec<u8>,
    body: Option<Waker>,
}

// What is replaced under the lock is dropped after it, and wakers are made before it: they are foreign code.
impl Proof {
    /// Notes whether the response that comes next ends the connection.
    pub(crate) fn answers(&self, last: bool) {
        self.last.store(last, Ordering::Relaxed);
    }

    fn arm(&self, tail: &'static [u8]) {
        let armed = Box::new(Armed { tail, written: Vec::with_capacity(tail.len()), body: None });
        let _former;
        let mut stage = self.lock();
        if !matches!(*stage, Stage::Detached { .. }) && self.last.load(Ordering::Relaxed) {
            _former = mem::replace(&mut *stage, Stage::Armed(armed));
            self.armed.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that so many bytes of these were written.
    pub(crate) fn wrote(&self, slices: &[IoSlice<'_>], bytes: usize) {
        if self.armed.load(Ordering::Relaxed)
            && let Stage::Armed(armed) = &mut *self.lock()
        {
            armed.wrote(slices, bytes);
        }
    }

    /// Decides at a flush; `None` when nobody asked.
    pub(crate) fn flushed(&self) -> Option<bool> {
        if !self.armed.load(Ordering::Relaxed) {
            // The head is out, and its end can no longer prove where the first chunk begins. A body that comes only now might
            // wait for a flush in vain, if a layer keeps its first frame.
            self.last.store(false, Ordering::Relaxed);
            return None;
        }
        self.armed.store(false, Ordering::Relaxed);
        let (former, proven) = {
            let mut stage = self.lock();
            let Stage::Armed(armed) = &*stage else { return None };
            let proven = armed.written == armed.tail;
            let next = if proven { Stage::Detached { taken: false, server: None } } else { Stage::Served };
            (mem::replace(&mut *stage, next), proven)
        };
        if let Stage::Armed(armed) = former
            && let Some(body) = armed.body
        {
            body.wake();
        }
        Some(proven)
    }

    /// Waits until a detached socket has its new owner.
    pub(crate) fn poll_taken(&self, cx: &Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let _former;
        match &mut *self.lock() {
            Stage::Detached { taken: false, server } => {
                _former = server.replace(waker);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Handed> {
        let waker = cx.waker().clone();
        let _former;
        let server = match &mut *self.lock() {
            Stage::Served => return Poll::Ready(Handed::Not),
            Stage::Armed(armed) => {
                _former = armed.body.replace(waker);
                return Poll::Pending;
            }
            Stage::Detached { taken: true, .. } => return Poll::Ready(Handed::Before),
            Stage::Detached { taken, server } => {
                *taken = true;
                server.take()
            }
        };
        if let Some(server) = server {
            server.wake();
        }
        Poll::Ready(Handed::Now)
    }

    /// Nobody will ask any more.
    fn give_up(&self) {
        let former = {
            let mut stage = self.lock();
            let next = match *stage {
                Stage::Detached { .. } => Stage::Detached { taken: true, server: None },
                _ => Stage::Served,
            };
            mem::replace(&mut *stage, next)
        };
        if let Stage::Detached { server: Some(server), .. } = former {
            server.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Armed {
    fn wrote(&mut self, slices: &[IoSlice<'_>], mut bytes: usize) {
        for slice in slices {
            let part = &slice[..slice.len().min(bytes)];
            bytes -= part.len();
            self.written.extend_from_slice(&part[part.len().saturating_sub(self.tail.len())..]);
            self.written.drain(..self.written.len().saturating_sub(self.tail.len()));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    const TAIL: &[u8] = b"abab";

    #[derive(Default)]
    pub(crate) struct Woken(pub(crate) AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn armed() -> Proof {
        let proof = Proof::default();
        proof.answers(true);
        proof.arm(TAIL);
        proof
    }

    fn write(proof: &Proof, bytes: &[u8]) {
        proof.wrote(&[IoSlice::new(bytes)], bytes.len());
    }

    proptest! {
        #[test]
        fn rev_12_the_proof_is_the_end_of_all_that_was_written(
            // Each write has its slices, and how much of them was taken.
            writes in prop::collection::vec((prop::collection::vec("[ab]{0,6}", 0..4), 0..20_usize), 0..6),
            ends in any::<bool>(),
        ) {
            let proof = armed();
            let mut all = Vec::new();
            for (slices, taken) in &writes {
                let taken = slices.concat().len().min(*taken);
                proof.wrote(&slices.iter().map(|slice| IoSlice::new(slice.as_bytes())).collect::<Vec<_>>(), taken);
                all.extend_from_slice(&slices.concat().as_bytes()[..taken]);
            }
            if ends {
                write(&proof, TAIL);
                all.extend_from_slice(TAIL);
            }
            prop_assert_eq!(proof.flushed(), Some(all.ends_with(TAIL)));
            prop_assert_eq!(proof.flushed(), None, "it is decided once");
        }
    }

    #[test]
    fn rev_12_the_body_is_woken_by_the_decision_and_the_server_by_the_new_owner() {
        for (bytes, handed) in [(TAIL, Handed::Now), (b"ba", Handed::Not)] {
            let (body, server) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
            let (for_body, for_server) = (body.clone().into(), server.clone().into());
            let (body_cx, server_cx) = (Context::from_waker(&for_body), Context::from_waker(&for_server));
            let proof = armed();
            assert_eq!(proof.poll(&body_cx), Poll::Pending);
            write(&proof, bytes);
            assert_eq!((proof.poll(&body_cx), body.0.load(Ordering::SeqCst)), (Poll::Pending, 0));
            let proven = proof.flushed() == Some(true);
            assert_eq!((proven, body.0.load(Ordering::SeqCst)), (handed == Handed::Now, 1));
            assert_eq!(proof.poll_taken(&server_cx).is_pending(), proven);
            assert_eq!(proof.poll(&body_cx), Poll::Ready(handed));
            assert_eq!(server.0.load(Ordering::SeqCst), usize::from(proven));
            assert!(proof.poll_taken(&server_cx).is_ready());
            let again = if proven { Handed::Before } else { Handed::Not };
            assert_eq!(proof.poll(&body_cx), Poll::Ready(again));
        }
    }

    #[test]
    fn sse_5_a_server_is_woken_when_the_socket_gets_no_owner() {
        let server = Arc::new(Woken::default());
        let waker = server.clone().into();
        let proof = armed();
        write(&proof, TAIL);
        assert_eq!(proof.flushed(), Some(true));
        assert!(proof.poll_taken(&Context::from_waker(&waker)).is_pending());
        proof.give_up();
        assert_eq!(server.0.load(Ordering::SeqCst), 1);
        assert!(proof.poll_taken(&Context::from_waker(&waker)).is_ready());
    }

    #[test]
    fn rev_12_what_was_written_before_counts_for_nothing() {
        let proof = Proof::default();
        proof.answers(true);
        write(&proof, TAIL);
        proof.arm(TAIL);
        assert_eq!(proof.flushed(), Some(false));
    }

    #[test]
    fn sse_3_a_body_that_comes_when_the_head_is_out_waits_for_no_flush() {
        let proof = Proof::default();
        proof.answers(true);
        assert_eq!(proof.flushed(), None);
        proof.arm(TAIL);
        assert_eq!(proof.poll(&Context::from_waker(Waker::noop())), Poll::Ready(Handed::Not));
        write(&proof, TAIL);
        assert_eq!(proof.flushed(), None);
    }
}
