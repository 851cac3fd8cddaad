//! The streams of HTTP/2 connections, each so that it can be aborted, which resets it.

use futures_util::future::{AbortHandle, Abortable};
use std::sync::{Arc, Weak};
use tokio::sync::watch;

tokio::task_local! {
    /// The HTTP/2 stream whose future is being polled.
    pub(crate) static STREAM: Stream;
}

/// One HTTP/2 stream.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    abort: AbortHandle,
    alive: Weak<Alive>,
}

impl Stream {
    /// Resets the stream; false if it had ended before.
    pub(super) fn reset(&self) -> bool {
        let alive = self.alive.strong_count() > 0;
        if alive {
            self.abort.abort();
        }
        alive
    }
}

/// Runs the streams of one HTTP/2 connection and counts them.
#[derive(Debug, Clone)]
pub(crate) struct Streams(Arc<watch::Sender<usize>>);

impl Streams {
    /// Returns them with their number.
    pub(crate) fn new() -> (Self, watch::Receiver<usize>) {
        let (open, number) = watch::channel(0);
        (Self(Arc::new(open)), number)
    }
}

/// Lives as long as its stream.
#[derive(Debug)]
struct Alive(Arc<watch::Sender<usize>>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let (abort, registration) = AbortHandle::new_pair();
        self.0.send_modify(|open| *open += 1);
        let alive = Arc::new(Alive(self.0.clone()));
        let this = Stream { abort, alive: Arc::downgrade(&alive) };
        tokio::spawn(STREAM.scope(this, async move {
            let _alive = alive;
            Abortable::new(stream, registration).await
        }));
    }
}
