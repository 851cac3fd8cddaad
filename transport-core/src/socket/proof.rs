//! The proof that all bytes which HTTP wrote of a response have reached the socket.
//!
//! hyper gives up a connection for an upgrade only, and an event stream is none. But a
//! [`ServerIo`](super::io::ServerIo) sees every byte that hyper writes, and hyper flushes it only
//! when nothing is left to write. The body says which bytes its first frame must become. If all
//! that was written ends in exactly these at a flush, then nothing of the response is held back
//! anywhere: the head is out, and no layer has changed the frame or keeps a part of it. From then
//! on the socket is the body's. If the proof fails, nothing has happened, and the body goes on over
//! HTTP.

use std::io::IoSlice;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The outcome of an awaited proof.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// The socket is handed over now.
    Now,
    /// It was handed over before.
    Before,
    /// The HTTP server keeps it.
    Not,
}

/// The state that a socket and the body of its present response share.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// Whether the connection ends with the present response, of which nothing is flushed yet.
    last: AtomicBool,
    /// Whether a write or a flush may matter. A body arms in the task that writes, so the stage
    /// need not be locked for this.
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
        /// Whether the body has it, or never will.
        taken: bool,
        /// The HTTP server's task, which waits for that.
        server: Option<Waker>,
    },
}

#[derive(Debug)]
struct Armed {
    tail: &'static [u8],
    /// The end of what was written since: at most as many bytes as the tail has.
    written: Vec<u8>,
    body: Option<Waker>,
}

// A waker is the runtime's code: it is cloned before the lock is taken, and dropped after it was
// released.
impl Proof {
    /// Notes whether the response that comes next ends the connection.
    pub(crate) fn set_last(&self, last: bool) {
        self.last.store(last, Ordering::Relaxed);
    }

    /// Expects that what is written from now on ends in `tail` at the next flush.
    pub(super) fn arm(&self, tail: &'static [u8]) {
        let armed = Box::new(Armed { tail, written: Vec::with_capacity(tail.len()), body: None });
        let _former;
        let mut stage = self.lock();
        if !matches!(*stage, Stage::Detached { .. }) && self.last.load(Ordering::Relaxed) {
            _former = mem::replace(&mut *stage, Stage::Armed(armed));
            self.armed.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that HTTP has written so many bytes of these.
    pub(super) fn note_written(&self, slices: &[IoSlice<'_>], bytes: usize) {
        if self.armed.load(Ordering::Relaxed)
            && let Stage::Armed(armed) = &mut *self.lock()
        {
            armed.note_written(slices, bytes);
        }
    }

    /// Decides at a flush; `None` when nothing was armed.
    pub(super) fn flushed(&self) -> Option<bool> {
        if !self.armed.load(Ordering::Relaxed) {
            // The head is out, so its end can no longer prove where the first chunk begins. A body
            // that arms only now could wait for ever, if a layer keeps its first frame.
            self.last.store(false, Ordering::Relaxed);
            return None;
        }
        self.armed.store(false, Ordering::Relaxed);
        let (former, proven) = {
            let mut stage = self.lock();
            let Stage::Armed(armed) = &*stage else { return None };
            let proven = armed.written == armed.tail;
            let next =
                if proven { Stage::Detached { taken: false, server: None } } else { Stage::Served };
            (mem::replace(&mut *stage, next), proven)
        };
        if let Stage::Armed(armed) = former
            && let Some(body) = armed.body
        {
            body.wake();
        }
        Some(proven)
    }

    /// Waits until the body has the detached socket.
    pub(super) fn poll_taken(&self, cx: &Context<'_>) -> Poll<()> {
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

    /// Waits for the decision, as the body does.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Handed> {
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

    /// Notes that the body will not take the socket.
    pub(super) fn give_up(&self) {
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
    fn note_written(&mut self, slices: &[IoSlice<'_>], mut bytes: usize) {
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
        proof.set_last(true);
        proof.arm(TAIL);
        proof
    }

    fn write(proof: &Proof, bytes: &[u8]) {
        proof.note_written(&[IoSlice::new(bytes)], bytes.len());
    }

    proptest! {
        #[test]
        fn rev_12_the_proof_is_the_end_of_all_that_was_written(
            // Each write has its slices, and how much of them was taken.
            writes in prop::collection::vec(
                (prop::collection::vec("[ab]{0,6}", 0..4), 0..20_usize),
                0..6,
            ),
            ends in any::<bool>(),
        ) {
            let proof = armed();
            let mut all = Vec::new();
            for (slices, taken) in &writes {
                let taken = slices.concat().len().min(*taken);
                let io: Vec<_> =
                    slices.iter().map(|slice| IoSlice::new(slice.as_bytes())).collect();
                proof.note_written(&io, taken);
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
    fn rev_12_the_decision_wakes_the_body_and_the_takeover_wakes_the_server() {
        for (bytes, handed) in [(TAIL, Handed::Now), (b"ba", Handed::Not)] {
            let (body, server) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
            let (for_body, for_server) = (body.clone().into(), server.clone().into());
            let (body_cx, server_cx) =
                (Context::from_waker(&for_body), Context::from_waker(&for_server));
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
    fn sse_5_the_server_is_woken_when_the_body_does_not_take_the_socket() {
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
    fn rev_12_bytes_written_before_arming_prove_nothing() {
        let proof = Proof::default();
        proof.set_last(true);
        write(&proof, TAIL);
        proof.arm(TAIL);
        assert_eq!(proof.flushed(), Some(false));
    }

    #[test]
    fn sse_3_a_body_that_arms_after_the_head_is_out_waits_for_no_flush() {
        let proof = Proof::default();
        proof.set_last(true);
        assert_eq!(proof.flushed(), None);
        proof.arm(TAIL);
        assert_eq!(proof.poll(&Context::from_waker(Waker::noop())), Poll::Ready(Handed::Not));
        write(&proof, TAIL);
        assert_eq!(proof.flushed(), None);
    }
}
