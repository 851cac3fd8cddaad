//! The outbox of one subscriber of a [`SampleRegistry`](super::sample::SampleRegistry).

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Bug, Twist, Variety};
use crate::script::{self, Overflow};
use crate::trace::Received;

/// A bounded queue, right unless it is made wrong on purpose.
pub(super) struct Outbox {
    bounds: script::Outbox,
    twist: Twist,
    queue: Mutex<Queue>,
    moved: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(String, String)>,
    lost: u64,
    ended: Option<&'static str>,
    /// What an end found waiting.
    discarded: u64,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Skipped,
    Accepted,
    /// The sink failed.
    Failed,
    /// An outbox was full: it, or another, was lost.
    Lossy,
    Lagged,
}

/// How long a mutant waits for its reader: longer than a suite that expects it to.
const WAIT: Duration = Duration::from_millis(300);

impl Outbox {
    pub(super) fn new(bounds: script::Outbox, twist: Twist) -> Self {
        Self { bounds, twist, queue: Mutex::default(), moved: Condvar::new() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, bug: Bug) -> bool {
        self.twist.has(bug)
    }

    fn has_room(&self, queue: &Queue, data: &str) -> bool {
        let waiting = &queue.waiting;
        let letters = self.has(Bug::CountsLetters);
        let bulk = |data: &str| if letters { data.chars().count() } else { data.len() };
        let bytes: usize = waiting.iter().map(|(_, data)| bulk(data)).sum();
        let most = self.bounds.messages as usize + usize::from(self.has(Bug::HoldsOneTooMany));
        let fits = bytes + bulk(data) <= self.bounds.bytes as usize;
        if waiting.is_empty() {
            return fits || !self.has(Bug::RefusesTheLarge);
        }
        self.has(Bug::HoldsEverything)
            || (waiting.len() < most && (fits || self.has(Bug::IgnoresTheBytes)))
    }

    pub(super) fn push(&self, channel: &str, data: &str) -> Sent {
        let mut queue = self.queue();
        if queue.ended.is_some() && !self.has(Bug::PushesAfterTheEnd) {
            return Sent::Skipped;
        }
        if self.has(Bug::WaitsForRoom) && !self.has_room(&queue, data) {
            let full = |queue: &mut Queue| !self.has_room(queue, data);
            queue = self
                .moved
                .wait_timeout_while(queue, WAIT, full)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let before = queue.lost;
        let room = self.has_room(&queue, data);
        let latest = self.bounds.overflow == Overflow::KeepLatest && !self.has(Bug::IgnoresTheKey);
        if latest && (!room || self.twist.is(Variety::DisplacesEarly)) {
            if self.has(Bug::ReplacesInPlace)
                && let Some(older) = queue.waiting.iter_mut().find(|(own, _)| own == channel)
            {
                data.clone_into(&mut older.1);
                queue.lost += 1;
                return Sent::Lossy;
            }
            let all = queue.waiting.len();
            queue.waiting.retain(|(own, _)| own != channel);
            queue.lost += (all - queue.waiting.len()) as u64;
        }
        while !self.has_room(&queue, data) {
            let newest = queue.waiting.is_empty() || self.has(Bug::DropsTheWrongOne);
            match self.bounds.overflow {
                Overflow::Close if !self.has(Bug::DropsInsteadOfClosing) => {
                    queue.end("lagged");
                    return Sent::Lagged;
                }
                Overflow::DropOldest | Overflow::KeepLatest if !newest => {
                    queue.waiting.pop_front();
                    queue.lost += 1;
                }
                _ => {
                    queue.lost += 1;
                    return Sent::Lossy;
                }
            }
        }
        queue.waiting.push_back((channel.to_owned(), data.to_owned()));
        if queue.lost > before { Sent::Lossy } else { Sent::Accepted }
    }

    pub(super) fn take(&self, max_bytes: u32) -> Received {
        let mut queue = self.queue();
        if queue.waiting.is_empty() {
            let end = queue.ended.map(str::to_owned);
            let lost = if self.has(Bug::CountsTheDiscarded) { queue.discarded } else { 0 };
            if self.has(Bug::SaysTheEndOnce) && end.is_some() {
                queue.ended = Some("");
            }
            return Received { end, lost, messages: Vec::new() };
        }
        let mut room = if self.has(Bug::TakesEverything) { usize::MAX } else { max_bytes as usize };
        let mut messages = Vec::new();
        let past = self.has(Bug::TakesPastTheLimit);
        let fits = |next: &str, room: usize| next.len() <= room || (past && room > 0);
        while queue.waiting.front().is_some_and(|(_, next)| messages.is_empty() || fits(next, room))
        {
            let Some((_, data)) = queue.waiting.pop_front() else { break };
            room = room.saturating_sub(data.len());
            messages.push(data);
            if self.twist.is(Variety::TakesOneByOne) {
                break;
            }
        }
        let lost = std::mem::take(&mut queue.lost);
        self.moved.notify_all();
        Received { messages, lost: if self.has(Bug::ForgetsLosses) { 0 } else { lost }, end: None }
    }

    /// Ends it: what waits is discarded, unless the registry shuts down.
    pub(super) fn end(&self, reason: &'static str) {
        let mut queue = self.queue();
        let drains = queue.ended == Some("shutdown") && !self.has(Bug::SparesTheDraining);
        let again = queue.ended.is_some() && self.has(Bug::SaysTheLastEnd);
        if queue.ended.is_none() || drains || again {
            let waiting = std::mem::take(&mut queue.waiting);
            queue.discarded += waiting.len() as u64;
            queue.end(reason);
            let drains =
                reason == "shutdown" || (reason == "logged_out" && self.has(Bug::LoggedOutDrain));
            if drains || self.has(Bug::FlushesAfterTheEnd) {
                queue.waiting = waiting;
            }
        }
        self.moved.notify_all();
    }

    /// Gives another reason for its end.
    pub(super) fn end_otherwise(&self, reason: &'static str) {
        self.queue().ended = Some(reason);
    }
}

impl Queue {
    fn end(&mut self, reason: &'static str) {
        self.ended = Some(reason);
        self.waiting.clear();
    }
}
