//! The peer of a connection, as the application's handler of inbound text sees it.
//!
//! Invariant: at most one reply waits for the connection's task, so a peer that does not read makes
//! its handler wait and holds no memory.

use crate::frame::text;
use bytes::Bytes;
use std::future::poll_fn;
use std::pin::Pin;
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
    /// A revocation discards a reply that was not written.
    ///
    /// # Errors
    /// [`Gone`] after the end of the connection.
    ///
    /// # Cancel safety
    /// Dropping the future sends nothing.
    pub async fn reply(&self, reply: impl AsRef<str>) -> Result<(), Gone> {
        let mut frame = Some(text(reply.as_ref()));
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
            replies.waiting = frame.take();
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
        Self(Peer { grant, replies: Arc::default() })
    }

    pub(crate) fn peer(&self) -> Peer {
        self.0.clone()
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
        let peer = desk.peer();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(peer.reply("first")).poll(&mut cx).is_ready());
        for _ in 0..3 {
            assert!(pin!(peer.reply("given up")).poll(&mut cx).is_pending());
        }
        assert_eq!(peer.lock().senders.len(), 1, "however often it tries");
        let mut second = pin!(peer.reply("second"));
        assert!(second.as_mut().poll(&mut cx).is_pending());
        assert_eq!(desk.poll_reply(&cx), Poll::Ready(text("first")));
        assert!(!desk.has_reply() && desk.poll_reply(&cx).is_pending());
        assert_eq!(second.poll(&mut cx), Poll::Ready(Ok(())));
        assert_eq!(desk.poll_reply(&cx), Poll::Ready(text("second")));
        assert!(pin!(peer.reply("third")).poll(&mut cx).is_ready());
        let mut fourth = pin!(peer.reply("fourth"));
        assert!(fourth.as_mut().poll(&mut cx).is_pending());
        drop(desk);
        assert_eq!(fourth.poll(&mut cx), Poll::Ready(Err(Gone)));
        assert_eq!(pin!(peer.reply("fifth")).poll(&mut cx), Poll::Ready(Err(Gone)));
        assert!(peer.lock().waiting.is_none() && peer.lock().senders.is_empty());
    }
}
