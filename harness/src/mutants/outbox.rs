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
    waiting: VecDeque<Waiting>,
    /// Lost after the last that waits, and not reported.
    tail: u64,
    ended: Option<&'static str>,
    /// What an end found waiting.
    discarded: u64,
}

struct Waiting {
    channel: String,
    data: String,
    /// How many were lost just before it, and not reported.
    gap: u64,
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
const WAIT: Duration = Duration::from_millis(450);

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
        let bytes: usize = waiting.iter().map(|own| bulk(&own.data)).sum();
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
        let mut lossy = false;
        let room = self.has_room(&queue, data);
        let latest = self.bounds.overflow == Overflow::KeepLatest && !self.has(Bug::IgnoresTheKey);
        if latest && (!room || self.twist.is(Variety::DisplacesEarly)) {
            if self.has(Bug::ReplacesInPlace)
                && let Some(older) = queue.waiting.iter_mut().find(|own| own.channel == channel)
            {
                data.clone_into(&mut older.data);
                queue.tail += 1;
                return Sent::Lossy;
            }
            let few = self.twist.is(Variety::DisplacesFew);
            while let Some(older) = queue.waiting.iter().position(|own| own.channel == channel)
                && !(few && self.has_room(&queue, data))
            {
                queue.lose(older);
                lossy = true;
            }
        }
        while !self.has_room(&queue, data) {
            let of_none = latest && !lossy;
            let newest = queue.waiting.is_empty()
                || self.has(Bug::DropsTheWrongOne)
                || (of_none && self.twist.is(Variety::LatestIsLost))
                || (latest && lossy && self.has(Bug::DisplacesForNothing));
            match self.bounds.overflow {
                Overflow::KeepLatest if of_none && self.twist.is(Variety::LatestLags) => {
                    queue.end("lagged");
                    return Sent::Lagged;
                }
                Overflow::Close if !self.has(Bug::DropsInsteadOfClosing) => {
                    queue.end("lagged");
                    return Sent::Lagged;
                }
                Overflow::DropOldest | Overflow::KeepLatest if !newest => {
                    queue.lose(0);
                    lossy = true;
                }
                _ => {
                    queue.tail += 1;
                    return Sent::Lossy;
                }
            }
        }
        let gap = std::mem::take(&mut queue.tail);
        queue.waiting.push_back(Waiting { channel: channel.into(), data: data.into(), gap });
        if lossy { Sent::Lossy } else { Sent::Accepted }
    }

    pub(super) fn take(&self, max_bytes: u32) -> Received {
        let mut queue = self.queue();
        if queue.waiting.is_empty() {
            let silent = self.twist.is(Variety::GivesNoReasons);
            let end = queue.ended.map(|reason| if silent { "" } else { reason }.to_owned());
            let reports = match end {
                None => self.twist.is(Variety::ReportsWhenEmpty),
                Some(_) => self.twist.is(Variety::ReportsAtTheEnd),
            };
            let mut lost = if reports { std::mem::take(&mut queue.tail) } else { 0 };
            if self.has(Bug::CountsTheDiscarded) {
                lost += queue.discarded;
            }
            if self.has(Bug::SaysTheEndOnce) && end.is_some() {
                queue.ended = Some("");
            }
            return Received { end, lost, ..Received::default() };
        }
        let mut room = if self.has(Bug::TakesEverything) { usize::MAX } else { max_bytes as usize };
        room /= 1 + usize::from(self.twist.is(Variety::TakesHalf));
        let (mut messages, mut lost) = (Vec::new(), 0);
        let past = self.has(Bug::TakesPastTheLimit);
        let fits = |next: &str, room: usize| next.len() <= room || (past && room > 0);
        while let Some(next) = queue.waiting.front()
            && (messages.is_empty() || fits(&next.data, room))
            && let Some(next) = queue.waiting.pop_front()
        {
            room = room.saturating_sub(next.data.len());
            lost += next.gap;
            messages.push(next.data);
            if self.twist.is(Variety::TakesOneByOne) {
                break;
            }
        }
        let at_the_gap =
            [Variety::ReportsAtTheGap, Variety::ReportsWhenEmpty, Variety::ReportsAtTheEnd];
        if !at_the_gap.into_iter().any(|variety| self.twist.is(variety)) {
            let gaps = queue.waiting.iter_mut().map(|own| std::mem::take(&mut own.gap));
            lost += gaps.sum::<u64>() + std::mem::take(&mut queue.tail);
        }
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
            let first = queue.ended.filter(|_| self.twist.is(Variety::KeepsTheFirstReason));
            queue.end(first.unwrap_or(reason));
            let drains = (reason == "shutdown" && !self.twist.is(Variety::ShutdownDiscards))
                || (reason == "unsubscribed" && self.twist.is(Variety::UnsubscribeKeeps))
                || (reason == "logged_out" && self.has(Bug::LoggedOutDrain));
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
    /// Loses one that waits: the next one follows the gap.
    fn lose(&mut self, at: usize) {
        let gap = 1 + self.waiting.remove(at).map_or(0, |lost| lost.gap);
        match self.waiting.get_mut(at) {
            Some(next) => next.gap += gap,
            None => self.tail += gap,
        }
    }

    fn end(&mut self, reason: &'static str) {
        self.ended = Some(reason);
        self.tail += self.waiting.iter().map(|own| own.gap).sum::<u64>();
        self.waiting.clear();
    }
}
