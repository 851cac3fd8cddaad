//! Notifies subscribers of their end: runs the close callbacks, one after the other, without
//! recursion that grows.
//!
//! A close may end further subscribers. Those of a nested revocation are notified before it returns
//! (REV-1), down to a fixed depth. Those of a nested eviction, and those that lie deeper, wait for
//! the outermost call on the same thread, so that two sinks which evict each other go round a loop
//! and not down the stack (RE-8).

use super::seat::Seat;
use crate::contain::discard;
use crate::sync::thread_local;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

/// How many revocations may run their closes inside each other on one thread: well within the
/// smallest usual stack.
pub(crate) const REVOCATION_DEPTH: usize = 32;
/// Evictions run their closes only where no close is running.
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

/// Notifies all of them, or leaves them to an outer call of the same registry when `depth` levels
/// are running already.
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
        // The thread is ending and its frames are gone; what is left of recursion then is bounded
        // by what ends with it.
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

/// Notifies one. Its owner may drop it then, so this may be the last reference to the seat and
/// to a wire behind it, whose destructor is foreign code.
fn notify(seat: Arc<dyn Seat>) {
    seat.notify();
    discard(seat);
}

/// The next seat that nested calls left to the outermost one; without any, this level is over.
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
