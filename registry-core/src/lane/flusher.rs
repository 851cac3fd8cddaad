//! The flusher: consumes the log of its lane and writes to the sockets of the lane's subscribers.
//!
//! A broadcast appends to the log and returns. The flusher takes the whole log at once (a *turn*),
//! joins the frames that each subscriber hears, and hands them over in one write. So one message
//! costs one write, and the more messages arrive at a time, the less each costs. The flusher never
//! waits: when a socket is full, the [owner](crate::subscriber::socket) of that outbox writes the
//! rest.
//!
//! Invariant: only the flusher touches its book of subscribers.

use super::book::Book;
use super::flusher_log::{FlusherLog, abandon};
use super::segment::ServeCounts;
use super::turn::Turn;
use crate::clock::{Clock, SystemClock};
use crate::contain::{discard, in_drop};
use crate::subscriber::gate::Gate;
use crate::subscriber::seat::Registrar;
use crate::sync::Ordering;
use std::fmt;
use std::mem;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

/// Writes after which a flusher pauses. By then, tasks that want to read, revoke or publish have
/// waited a third of a millisecond.
const WRITES_AT_ONCE: usize = 128;
/// Writes in a turn after which the flusher pauses once more, so that publishers fill the next
/// turn.
const BUSY_TURN: usize = 64;

/// How far a flusher got.
///
/// # Examples
/// ```
/// use registry_core::{Flusher, LaneOptions, Progress, SubscriberRegistry};
/// use std::future::poll_fn;
/// use std::task::Poll;
/// use std::time::Instant;
///
/// /// The task that drives a flusher, on any runtime.
/// async fn drive(mut flusher: Flusher<u32>) {
///     let mut progress = Progress::More;
///     while progress == Progress::More {
///         progress = poll_fn(|cx| flusher.poll_serve(cx, Instant::now())).await;
///         // A pause for other tasks, as `tokio::task::yield_now().await`.
///     }
/// }
///
/// let registry = SubscriberRegistry::new();
/// let flusher = registry.open_lane(LaneOptions::new());
/// drop(registry);
/// # use std::future::Future;
/// let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// assert_eq!(std::pin::pin!(drive(flusher)).poll(&mut cx), Poll::Ready(()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// It did a part of its work: let other tasks run, then call again.
    More,
    /// No work will follow: the registry was dropped or shut down, and everything was handed over.
    Done,
}

/// Serves one lane of a registry: hands broadcasts to the lane's outboxes, and writes to those that
/// [have a wire](crate::Outbox::attach).
///
/// A task must call [`poll_serve`](Self::poll_serve) whenever its waker asks for it; one such task
/// per core is best. A flusher is made by
/// [`SubscriberRegistry::open_lane`](crate::SubscriberRegistry::open_lane). Dropping it ends the
/// lane's subscribers as [`Failed`](crate::CloseReason::Failed), since nothing serves them any
/// more; new ones go to other lanes, or to none.
///
/// # Examples
/// ```
/// use registry_core::{
///     Encoded, LaneOptions, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
///     Wire, WireFormat,
/// };
/// use std::io;
/// use std::sync::{Arc, Mutex};
/// use std::task::{Context, Poll, Waker};
/// use std::time::Instant;
///
/// static LINES: WireFormat = WireFormat::new("lines", |_, encoded, out| {
///     out.extend_from_slice(encoded.body());
///     out.extend_from_slice(b"\n");
/// });
///
/// #[derive(Default)]
/// struct Socket(Mutex<Vec<u8>>);
///
/// impl Wire for Socket {
///     fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
///         self.0.lock().unwrap().extend_from_slice(bytes);
///         Ok(bytes.len())
///     }
///
///     fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
///         Poll::Ready(Ok(()))
///     }
/// }
///
/// let encoder = |number: &u32| Ok(Encoded::json(number.to_string()));
/// let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
/// let mut flusher = registry.open_lane(LaneOptions::new());
/// let options = OutboxOptions::new().with_flusher();
/// let outbox = registry.open_outbox(&LINES, options, Registration::new())?;
/// let socket = Arc::new(Socket::default());
/// let _outbox = outbox.attach(socket.clone());
/// registry.broadcast("runs", 42)?;
/// registry.broadcast("runs", 43)?;
/// let mut cx = Context::from_waker(Waker::noop());
/// assert!(flusher.poll_serve(&mut cx, Instant::now()).is_pending()); // all is written
/// assert_eq!(*socket.0.lock().unwrap(), b"42\n43\n"); // in one write
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[must_use = "dropping a flusher ends its subscribers"]
pub struct Flusher<T: Send + Sync + 'static> {
    lane: usize,
    log: Arc<FlusherLog<T>>,
    registry: Weak<dyn Registrar>,
    book: Book<Arc<Gate>>,
    turn: Option<Turn<T>>,
}

impl<T: Send + Sync + 'static> Flusher<T> {
    pub(crate) fn new(lane: usize, log: Arc<FlusherLog<T>>, registry: Weak<dyn Registrar>) -> Self {
        Self { lane, log, registry, book: Book::default(), turn: None }
    }

    /// Hands over what was broadcast, for some hundred microseconds at most; pending when nothing
    /// is left.
    ///
    /// While it is pending, the waker of the latest call is woken by the next broadcast that one of
    /// the lane's subscribers hears. `now` is what [`last_write`](crate::SocketOutbox::last_write)
    /// returns for an outbox that was written to.
    pub fn poll_serve(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Progress> {
        let mut budget = WRITES_AT_ONCE;
        loop {
            let turn = match self.turn.take() {
                Some(turn) => turn,
                None => match self.log.poll_entries(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(entries) if entries.is_empty() => {
                        return Poll::Ready(Progress::Done);
                    }
                    Poll::Ready(entries) => Turn::new(entries),
                },
            };
            if self.serve(turn, &mut budget, now) {
                return Poll::Ready(Progress::More);
            }
        }
    }

    /// Serves a turn as far as the budget of writes goes; true when it is time for a pause.
    fn serve(&mut self, mut turn: Turn<T>, budget: &mut usize, now: Instant) -> bool {
        let over = turn.serve(&mut self.book, budget, now, |ended| match self.registry.upgrade() {
            Some(registry) => registry.remove(ended),
            None => ended.seat.notify(),
        });
        self.count(turn.take_counts());
        let busy = turn.writes() > BUSY_TURN;
        if !over {
            self.turn = Some(turn);
        }
        !over || busy
    }

    fn count(&mut self, turn: ServeCounts) {
        let lane = &self.log.counts;
        let visits = turn.visits + mem::take(&mut self.book.visits);
        lane.writes.fetch_add(turn.writes, Ordering::Relaxed);
        lane.messages.fetch_add(turn.messages, Ordering::Relaxed);
        lane.dropped.fetch_add(turn.dropped, Ordering::Relaxed);
        lane.visits.fetch_add(visits, Ordering::Relaxed);
    }
}

impl<T: Send + Sync + 'static> Drop for Flusher<T> {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            in_drop(|| registry.lane_closed(self.lane));
        }
        // A draining subscriber still gets the earlier broadcasts. But if the thread is unwinding,
        // serving them may be what panicked.
        if !std::thread::panicking() {
            let now = SystemClock.now();
            let turns = [self.turn.take(), Some(Turn::new(self.log.take()))];
            for turn in turns.into_iter().flatten() {
                let mut no_pause = usize::MAX;
                self.serve(turn, &mut no_pause, now);
            }
        }
        abandon(self.log.take().into_iter());
        mem::take(&mut self.book).into_seats().for_each(discard);
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Flusher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flusher")
            .field("lane", &self.lane)
            .field("subscribers", &self.book.len())
            .finish_non_exhaustive()
    }
}
