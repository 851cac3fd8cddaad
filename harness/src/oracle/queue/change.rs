//! What each change makes of each state of an outbox.

use std::collections::BTreeSet;

use super::{Change, Queue, Rule, bytes};
use crate::oracle::why::Why;
use crate::script::Overflow;
use crate::trace::Received;

/// A message that waits, and how many were lost just before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Waiting {
    pub(super) message: usize,
    gap: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct State {
    pub(super) queue: Vec<Waiting>,
    /// Lost after the last that waits.
    tail: u64,
    /// Lost and not reported.
    owed: u64,
    /// The same when the rest was discarded: it may be reported beside the end, or never.
    forgiven: u64,
    pub(super) ended: Option<Why>,
    /// The end came during a drain.
    drained: bool,
    /// Whether the latest of a key displaces older ones although there is room; one or the other,
    /// always.
    early: Option<bool>,
    /// The pending changes that have happened, or never will, by place.
    pub(super) done: u64,
}

impl Queue<'_> {
    /// Calls `found` with every state that one more change leads to.
    pub(super) fn each_next(
        &self,
        state: &State,
        crowded: &mut BTreeSet<usize>,
        found: &mut dyn FnMut(State),
    ) {
        for (place, pending) in self.pending.iter().enumerate() {
            let own = 1 << place;
            if state.done & own != 0 || pending.after & !state.done != 0 {
                continue;
            }
            let mut state = state.clone();
            state.done |= own;
            if !pending.must {
                found(state.clone());
            }
            match &pending.change {
                Change::Push(message, _) => self.push(state, message.cast, crowded, found),
                Change::End(why) => self.end(state, *why, found),
                Change::Take(limit, taken) => {
                    self.take(state, *limit, taken).into_iter().for_each(&mut *found)
                }
            }
        }
    }

    fn size(&self, message: usize) -> usize {
        self.messages[message].data.len()
    }

    fn has_room(&self, state: &State, message: usize) -> bool {
        let bytes: usize = state.queue.iter().map(|waiting| self.size(waiting.message)).sum();
        let fits = state.queue.len() < self.bounds.messages as usize
            && bytes + self.size(message) <= self.bounds.bytes as usize;
        state.queue.is_empty() || fits || self.without == Some(Rule::Bounds)
    }

    fn push(
        &self,
        mut state: State,
        cast: usize,
        crowded: &mut BTreeSet<usize>,
        found: &mut dyn FnMut(State),
    ) {
        let Some(new) = self.messages.iter().position(|message| message.cast == cast) else {
            return found(state);
        };
        let repeats = new > 0 && self.messages[new - 1].data == self.messages[new].data;
        if state.ended.is_some() || (repeats && self.without == Some(Rule::Merges)) {
            return found(state);
        }
        let room = self.has_room(&state, new);
        if !room {
            crowded.insert(cast);
        }
        if self.bounds.overflow == Overflow::KeepLatest
            && self.older_of_its_key(&state, new).is_some()
        {
            return self.keep_latest(&state, new, room, found);
        }
        if room {
            state.append(new);
            return found(state);
        }
        // With nothing of its key to displace, keeping the latest leaves open what happens.
        let (oldest, newest, close) = match self.bounds.overflow {
            Overflow::KeepLatest => (true, true, true),
            Overflow::DropOldest => (true, false, false),
            Overflow::DropNewest => (false, true, false),
            Overflow::Close => (false, false, true),
        };
        if close {
            found(state.clone().lagged());
        }
        if newest {
            let mut state = state.clone();
            (state.tail, state.owed) = (state.tail + 1, state.owed + 1);
            found(state);
        }
        if oldest {
            self.make_room(&mut state, new);
            state.append(new);
            found(state);
        }
    }

    /// A message comes, and older ones of its key wait.
    fn keep_latest(&self, state: &State, new: usize, room: bool, found: &mut dyn FnMut(State)) {
        if room && state.early != Some(true) {
            let mut late = State { early: Some(false), ..state.clone() };
            late.append(new);
            found(late);
        }
        if room && state.early == Some(false) {
            return;
        }
        // The older ones go, all of them or as many as needed; then the oldest of the others, or it
        // has lagged.
        let mut all = state.clone();
        all.early = if room { Some(true) } else { all.early };
        while let Some(older) = self.older_of_its_key(&all, new) {
            all.lose(older);
        }
        if !self.has_room(&all, new) {
            found(state.clone().lagged());
        }
        let mut some = state.clone();
        while let Some(older) = self.older_of_its_key(&some, new)
            && !self.has_room(&some, new)
        {
            some.lose(older);
        }
        for mut state in [Some(all), Some(some).filter(|_| !room)].into_iter().flatten() {
            self.make_room(&mut state, new);
            state.append(new);
            found(state);
        }
    }

    fn older_of_its_key(&self, state: &State, new: usize) -> Option<usize> {
        let key = self.messages[new].channel;
        state.queue.iter().position(|waiting| self.messages[waiting.message].channel == key)
    }

    fn make_room(&self, state: &mut State, new: usize) {
        while !self.has_room(state, new) {
            state.lose(0);
        }
    }

    fn end(&self, mut state: State, why: Why, found: &mut dyn FnMut(State)) {
        match state.ended {
            None => {}
            // A discarding end overrides a draining one.
            Some(Why::Shutdown) if why != Why::Shutdown => state.drained = true,
            Some(_) => return found(state),
        }
        state.ended = Some(why);
        if !why.discards() || self.without == Some(Rule::Discards) {
            found(state.clone());
        }
        state.discard();
        found(state);
    }

    fn take(&self, mut state: State, limit: u32, taken: &Received) -> Option<State> {
        let count = taken.messages.len();
        let prefix =
            state.queue.get(..count)?.iter().map(|waiting| self.messages[waiting.message].data);
        if !prefix.eq(taken.messages.iter().map(String::as_str)) {
            return None;
        }
        if let Some(reason) = &taken.end {
            let why = state.ended.filter(|_| count == 0 && state.queue.is_empty())?;
            let first = state.drained && reason == Why::Shutdown.reason();
            let fits = reason.is_empty() || reason == why.reason() || first;
            let lost = if self.without == Some(Rule::Counts) { 0 } else { taken.lost };
            let forgiven = state.forgiven + std::mem::take(&mut state.owed);
            state.forgiven = forgiven.checked_sub(lost).filter(|_| fits)?;
            return Some(state);
        }
        let nothing = state.queue.is_empty() && state.ended.is_none_or(|why| why == Why::Unsub);
        if (count == 0 && !nothing) || (count > 1 && bytes(taken) > limit as usize) {
            return None;
        }
        state.queue.drain(..count);
        if self.without != Some(Rule::Counts) {
            state.owed = state.owed.checked_sub(taken.lost)?;
            let not_due = state.tail + state.queue.iter().map(|waiting| waiting.gap).sum::<u64>();
            if state.owed > not_due {
                return None;
            }
        }
        Some(state)
    }
}

impl State {
    fn append(&mut self, message: usize) {
        self.queue.push(Waiting { message, gap: std::mem::take(&mut self.tail) });
    }

    /// Loses one that waits; the next one follows the gap.
    fn lose(&mut self, at: usize) {
        let lost = self.queue.remove(at);
        let gap = self.queue.get_mut(at).map_or(&mut self.tail, |next| &mut next.gap);
        *gap += 1 + lost.gap;
        self.owed += 1;
    }

    fn lagged(mut self) -> Self {
        self.ended = Some(Why::Lag);
        self.discard();
        self
    }

    fn discard(&mut self) {
        self.queue.clear();
        self.forgiven += std::mem::take(&mut self.owed);
        self.tail = 0;
    }
}
