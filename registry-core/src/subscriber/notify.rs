//! Notifies subscribers of their end: runs the close callbacks, one after the other, with bounded
//! recursion.
//!
//! A close may end further subscribers. The subscribers that a nested revocation ends are notified
//! before it returns (REV-1), down to a fixed depth. Those that a deeper revocation or a nested
//! eviction ends are left to the outermost call on the same thread. So two sinks that evict each
//! other make that call loop, and the stack does not grow (RE-8).

use super::seat::Seat;
use crate::contain::discard;
use crate::sync::thread_local;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

/// How many nested revocations may run their closes on one thread. So many fit well into the
/// smallest usual stack.
pub(crate) const REVOCATION_DEPTH: usize = 32;
/// An eviction runs its closes only if no close is running on the thread.
pub(crate) const EVICTION_DEPTH: usize = 1;

/// The registries whose closes are running on this thread, outermost first.
struct Frame {
    registry: usize,
    depth: usize,
    waiting: VecDeque<Arc<dyn Seat>>,
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = RefCell::default();
}

/// Notifies all seats, or leaves them to an outer call of the same registry when `depth` levels are
/// running already.
pub(crate) fn notify_all(registry: usize, mut seats: VecDeque<Arc<dyn Seat>>, depth: usize) {
    if seats.is_empty() {
        return;
    }
    let Ok(outermost) = FRAMES.try_with(|frames| {
        let mut frames = frames.borrow_mut();
        match frames.iter_mut().find(|frame| frame.registry == registry) {
            Some(frame) if frame.depth >= depth => {
                frame.waiting.append(&mut seats);
                false
            }
            Some(frame) => {
                frame.depth += 1;
                false
            }
            None => {
                frames.push(Frame { registry, depth: 1, waiting: VecDeque::new() });
                true
            }
        }
    }) else {
        // The thread is ending, and its `FRAMES` were destroyed. Only destructors still run on it,
        // so further recursion is bounded by what they end.
        seats.into_iter().for_each(notify);
        return;
    };
    if !outermost && seats.is_empty() {
        return;
    }
    for seat in seats {
        notify(seat);
    }
    while let Some(seat) = leave_or_next(registry, outermost) {
        notify(seat);
    }
}

/// Notifies one seat. Its owner may then drop it, so this may be the last reference to the seat and
/// to its wire, whose destructor is application code.
fn notify(seat: Arc<dyn Seat>) {
    seat.notify();
    discard(seat);
}

/// Returns the next seat that nested calls left to the outermost call. Without one, it ends this
/// level.
fn leave_or_next(registry: usize, outermost: bool) -> Option<Arc<dyn Seat>> {
    let next = FRAMES.try_with(|frames| {
        let mut frames = frames.borrow_mut();
        let at = frames.iter().position(|frame| frame.registry == registry)?;
        let frame = &mut frames[at];
        if outermost && let Some(seat) = frame.waiting.pop_front() {
            return Some(seat);
        }
        frame.depth -= 1;
        if outermost {
            frames.remove(at);
        }
        None
    });
    next.ok().flatten()
}
