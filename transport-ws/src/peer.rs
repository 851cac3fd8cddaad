//! The peer of a connection, as the application's handler of inbound text sees it.
//!
//! Invariant: at most one reply waits for the connection's task, so a peer that does not read makes
//! its handler wait and holds no memory.

use crate::frame::bare;
use crate::live::{self, Ref};
use bytes::Bytes;
use registry_core::Encoded;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::{fmt, mem};
use transport_core::Grant;

/// The application's handler of inbound text.
pub(crate) type OnText =
    dyn Fn(Peer, String) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// The connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection has ended")
    }
}

impl std::error::Error for Gone {}

/// The peer of one connection. A clone works from any task, and may outlive the connection.
///
/// # Examples
/// ```
/// use transport_ws::WsOptions;
///
/// let options = WsOptions::new().with_on_text(|peer, text| async move {
///     // A peer that is gone needs no answer.
///     let _gone = peer.reply(format!("you said {text}")).await;
/// });
/// assert!(format!("{options:?}").ends_with("on_text: true }"));
/// ```
#[derive(Debug, Clone)]
pub struct Peer {
    grant: Arc<Grant>,
    replies: Arc<Mutex<Replies>>,
    form: Form,
}

/// The form of a reply.
#[derive(Debug, Clone)]
enum Form {
    /// The payload and nothing else.
    Raw,
    /// A message of `live.v1`, to the message with this `ref`.
    Live(Arc<Answering>),
}

/// A message of the peer that is being handled.
#[derive(Debug)]
pub(crate) struct Answering {
    reference: Option<Ref>,
    answer: AtomicU8,
}

/// The answer that bears the `ref`: none yet, replies, or an acknowledgement.
const NONE: u8 = 0;
const REPLIES: u8 = 1;
const ACK: u8 = 2;

impl Answering {
    pub(crate) fn new(reference: Option<Ref>) -> Arc<Self> {
        Arc::new(Self { reference, answer: AtomicU8::new(NONE) })
    }

    /// Returns the `ref` if nothing has answered it: it is acknowledged then.
    pub(crate) fn acknowledge(&self) -> Option<&Ref> {
        let answer = self.answer.compare_exchange(NONE, ACK, Ordering::Relaxed, Ordering::Relaxed);
        self.reference.as_ref().filter(|_| answer.is_ok())
    }

    /// Returns the `ref` for a reply; none if it was acknowledged before.
    fn reply(&self) -> Option<&Ref> {
        let answer =
            self.answer.compare_exchange(NONE, REPLIES, Ordering::Relaxed, Ordering::Relaxed);
        self.reference.as_ref().filter(|_| answer != Err(ACK))
    }
}

#[derive(Debug, Default)]
struct Replies {
    /// The frame that waits for the connection's task.
    waiting: Option<Bytes>,
    /// The connection's task.
    task: Option<Waker>,
    /// The tasks that wait for room.
    senders: Vec<Waker>,
    gone: bool,
}

impl Peer {
    /// Returns what the peer was granted.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Sends text to this peer alone, between two messages. Waits while the reply before it waits
    /// for the socket.
    ///
    /// Over `live.v1` it is a `reply` with the `ref` of the message that is being handled, and the
    /// text is its `data`. A message with a `ref` that has got no reply is acknowledged when its
    /// handler returns; a reply after that bears no `ref`.
    ///
    /// A revocation discards a reply that was not written.
    ///
    /// # Errors
    /// [`Gone`] after the end of the connection.
    ///
    /// # Cancel safety
    /// Dropping the future sends nothing.
    pub async fn reply(&self, reply: impl AsRef<str>) -> Result<(), Gone> {
        self.reply_with(Encoded::text(reply.as_ref())).await
    }

    /// Sends a payload to this peer alone, as [`reply`](Self::reply) does: JSON over `live.v1` is
    /// copied into the message, and bytes are a binary frame on a raw WebSocket.
    ///
    /// # Errors
    /// [`Gone`] after the end of the connection.
    ///
    /// # Cancel safety
    /// Dropping the future sends nothing.
    ///
    /// # Examples
    /// ```
    /// use transport_ws::{Encoded, WsOptions};
    ///
    /// let options = WsOptions::new().with_on_text(|peer, text| async move {
    ///     let length = Encoded::json(format!(r#"{{"length":{}}}"#, text.len()));
    ///     let _gone = peer.reply_with(length).await;
    /// });
    /// assert!(format!("{options:?}").ends_with("on_text: true }"));
    /// ```
    pub async fn reply_with(&self, reply: Encoded) -> Result<(), Gone> {
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut replies = self.lock();
            if replies.gone {
                return Poll::Ready(Err(Gone));
            }
            if replies.waiting.is_some() {
                // A task that gives up and tries again is woken once.
                if !replies.senders.iter().any(|sender| sender.will_wake(&waker)) {
                    replies.senders.push(waker);
                }
                return Poll::Pending;
            }
            replies.waiting = Some(match &self.form {
                Form::Raw => bare(&reply),
                Form::Live(answering) => live::reply(answering.reply(), &reply),
            });
            let task = replies.task.take();
            drop(replies);
            if let Some(task) = task {
                task.wake();
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Replies> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection's end of its [`Peer`]. Dropping it tells every clone that the connection is gone.
pub(crate) struct Desk(Peer);

impl Desk {
    pub(crate) fn new(grant: Arc<Grant>) -> Self {
        Self(Peer { grant, replies: Arc::default(), form: Form::Raw })
    }

    /// Returns the peer for the handler of one message; over `live.v1`, with what is to be
    /// answered.
    pub(crate) fn peer(&self, answering: Option<Arc<Answering>>) -> Peer {
        Peer { form: answering.map_or(Form::Raw, Form::Live), ..self.0.clone() }
    }

    /// Takes the reply that waits, if there is one; else the task is woken when there is.
    pub(crate) fn poll_reply(&self, cx: &Context<'_>) -> Poll<Bytes> {
        let waker = cx.waker().clone();
        let (reply, woken) = {
            let mut replies = self.0.lock();
            match replies.waiting.take() {
                Some(reply) => (Some(reply), mem::take(&mut replies.senders)),
                None => (None, replies.task.replace(waker).into_iter().collect()),
            }
        };
        let Some(reply) = reply else { return Poll::Pending };
        woken.into_iter().for_each(Waker::wake);
        Poll::Ready(reply)
    }

    /// Tells whether a reply waits.
    pub(crate) fn has_reply(&self) -> bool {
        self.0.lock().waiting.is_some()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let senders = {
            let mut replies = self.0.lock();
            replies.gone = true;
            (replies.waiting, replies.task) = (None, None);
            mem::take(&mut replies.senders)
        };
        senders.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry_core::ChannelFilter;
    use std::pin::pin;

    #[test]
    fn ws_2_a_reply_waits_for_the_one_before_it_and_its_task_is_kept_once() {
        let desk = Desk::new(Arc::new(Grant::new(ChannelFilter::All)));
        let peer = desk.peer(None);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(peer.reply("first")).poll(&mut cx).is_ready());
        for _ in 0..3 {
            assert!(pin!(peer.reply("given up")).poll(&mut cx).is_pending());
        }
        assert_eq!(peer.lock().senders.len(), 1, "however often it tries");
        let mut second = pin!(peer.reply("second"));
        assert!(second.as_mut().poll(&mut cx).is_pending());
        assert_eq!(desk.poll_reply(&cx), Poll::Ready(bare(&Encoded::text("first"))));
        assert!(!desk.has_reply() && desk.poll_reply(&cx).is_pending());
        assert_eq!(second.poll(&mut cx), Poll::Ready(Ok(())));
        assert_eq!(desk.poll_reply(&cx), Poll::Ready(bare(&Encoded::text("second"))));
        assert!(pin!(peer.reply("third")).poll(&mut cx).is_ready());
        let mut fourth = pin!(peer.reply("fourth"));
        assert!(fourth.as_mut().poll(&mut cx).is_pending());
        drop(desk);
        assert_eq!(fourth.poll(&mut cx), Poll::Ready(Err(Gone)));
        assert_eq!(pin!(peer.reply("fifth")).poll(&mut cx), Poll::Ready(Err(Gone)));
        assert!(peer.lock().waiting.is_none() && peer.lock().senders.is_empty());
    }
}
