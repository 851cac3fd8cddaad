//! What may be in an outbox.
//!
//! A message is pushed, the owner takes, the subscriber ends: each happens at one moment between a
//! call and its return. Where calls overlap, the model holds every state that some order of these
//! moments leads to. A take removes the states that it contradicts. A trace is rejected when no
//! state is left, so a trace with an explanation passes.
//!
//! Where the requirements leave a choice, every choice is a state: after an unsubscribe or a
//! shutdown the queue may be kept or not; the latest of a key may displace older ones early; losses
//! may be reported ahead of their place.
//!
//! To find the rule that was broken, the history is replayed to models that lack one rule each; the
//! model that explains it names the rule.

mod change;

use std::collections::BTreeSet;

use change::State;

use super::why::Why;
use crate::script::{OpId, Outbox, Overflow};
use crate::trace::Received;

/// One broadcast, as an outbox sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'s> {
    pub(crate) cast: usize,
    pub(crate) channel: &'s str,
    pub(crate) data: &'s str,
}

/// What happens to an outbox at one moment.
#[derive(Debug, Clone)]
pub(crate) enum Change<'s> {
    /// With the broadcasts from inside of whose deliveries it was made: it may overtake them.
    Push(Message<'s>, Vec<usize>),
    End(Why),
    /// At most so many bytes; what it found is known, because the queue is asked after it returned.
    Take(u32, &'s Received),
}

/// A rule that can be left out, to find out which was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A discarding end discards.
    Discards,
    /// Losses are counted.
    Counts,
    /// Nothing exceeds the bounds.
    Bounds,
    /// Equal messages are not merged.
    Merges,
}

/// Whether a subscriber has ended, as far as its outbox shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Alive,
    Over(Why),
    Unknown,
}

/// A change that was called for and may not have happened.
#[derive(Debug, Clone)]
struct Pending<'s> {
    op: OpId,
    change: Change<'s>,
    /// It surely happens.
    must: bool,
    /// The operation has returned.
    returned: bool,
    /// Those, by place, that come first.
    after: u64,
}

#[derive(Debug, Clone)]
enum Past<'s> {
    Begin(OpId, Change<'s>, bool),
    Returned(OpId, bool),
    Spared(OpId),
    Rest(bool),
}

/// An outbox, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue<'s> {
    pub(crate) bounds: Outbox,
    without: Option<Rule>,
    messages: Vec<Message<'s>>,
    pending: Vec<Pending<'s>>,
    /// Empty when nothing explains what was seen.
    states: Vec<State>,
    /// What came nearest when nothing was left.
    nearest: State,
    history: Vec<Past<'s>>,
    /// The broadcasts that were taken, as far as their payloads tell.
    pub(crate) had: Vec<usize>,
    /// Takes in progress, and whether there were several at a time since the last moment without
    /// one: then it is unknown which of them found its messages first.
    takes: usize,
    beside: bool,
    /// The reason that its owner was given.
    pub(crate) said: Option<String>,
    /// An end discarded something.
    pub(crate) cut_short: bool,
    /// Broadcasts that may have found no room.
    pub(crate) crowded: BTreeSet<usize>,
    /// Messages and bytes that were taken since the last push, and so waited together.
    together: (usize, usize),
    /// Too much overlaps to be followed.
    gave_up: bool,
}

/// How many states are followed at once. Random scripts need a few hundred at most.
const STATES: usize = 10_000;

impl<'s> Queue<'s> {
    pub(crate) fn new(bounds: &Outbox) -> Self {
        Self { bounds: *bounds, states: vec![State::default()], ..Self::default() }
    }

    /// What is in it is not known any more: everything is accepted from now on.
    pub(crate) fn give_up(&mut self) {
        self.gave_up = true;
    }

    /// An operation begins that makes this change at some moment, unless it need not.
    pub(crate) fn begin(&mut self, op: OpId, change: Change<'s>, must: bool) {
        self.history.push(Past::Begin(op, change.clone(), must));
        self.gave_up |= self.pending.len() == u64::BITS as usize;
        if self.gave_up {
            return;
        }
        let mut after = 0;
        if let Change::Push(message, stems) = &change {
            self.messages.push(*message);
            self.together = (0, 0);
            for (place, other) in self.pending.iter().enumerate() {
                let earlier =
                    matches!(&other.change, Change::Push(first, _) if !stems.contains(&first.cast));
                after |= u64::from(earlier && other.returned) << place;
            }
        }
        self.cut_short |=
            matches!(change, Change::End(why) if why.discards()) && must && self.holds_something();
        self.pending.push(Pending { op, change, must, returned: false, after });
    }

    /// The operation has returned: its takes and ends have happened; a push may still be on its
    /// way, unless it has `arrived`. False if nothing explains that.
    pub(crate) fn returned(&mut self, op: OpId, arrived: bool) -> bool {
        if self.pending.iter().all(|pending| pending.op != op) {
            return true;
        }
        self.history.push(Past::Returned(op, arrived));
        let mut due = 0;
        let all = self.pending.iter_mut().enumerate();
        for (place, pending) in all.filter(|(_, pending)| pending.op == op) {
            pending.returned = true;
            due |= u64::from(arrived || !matches!(pending.change, Change::Push(..))) << place;
        }
        self.advance(due)
    }

    /// Notes that a take begins.
    pub(crate) fn take_begins(&mut self) {
        self.takes += 1;
        self.beside |= self.takes > 1;
    }

    /// Notes that a take ends; tells whether its messages came after those of all takes that ended
    /// before it.
    pub(crate) fn take_ends(&mut self) -> bool {
        self.takes = self.takes.saturating_sub(1);
        let alone = !self.beside;
        self.beside &= self.takes > 0;
        alone
    }

    /// The operation ended without doing what it was called for.
    pub(crate) fn spared(&mut self, op: OpId) {
        self.history.push(Past::Spared(op));
        for pending in self.pending.iter_mut().filter(|pending| pending.op == op) {
            pending.must = false;
        }
    }

    /// Nothing is in progress, and what was pushed has arrived if it is due.
    pub(crate) fn rest(&mut self, due: bool) {
        let pushes = self.pending.iter().any(|pending| matches!(pending.change, Change::Push(..)));
        if self.pending.is_empty() || self.gave_up || (pushes && !due) {
            return;
        }
        self.history.push(Past::Rest(due));
        let all = u64::MAX.checked_shr(u64::BITS - self.pending.len() as u32).unwrap_or_default();
        self.advance(all);
        self.pending.clear();
        self.states.iter_mut().for_each(|state| state.done = 0);
    }

    /// Follows every order of what is pending until `due` is done.
    fn advance(&mut self, due: u64) -> bool {
        if self.gave_up || due == 0 {
            return true;
        }
        let mut crowded = std::mem::take(&mut self.crowded);
        let (seen, reached) = self.explore(&mut crowded, Some(due));
        if seen.len() > STATES {
            self.gave_up = true;
            return true;
        }
        self.crowded = crowded;
        if reached.is_empty() {
            self.nearest =
                seen.into_iter().max_by_key(|state| state.done.count_ones()).unwrap_or_default();
        }
        self.states = reached.into_iter().collect();
        !self.states.is_empty()
    }

    /// The states that what is pending leads to, in any order, and those of them at which it went
    /// no further, because what is due was done.
    fn explore(
        &self,
        crowded: &mut BTreeSet<usize>,
        due: Option<u64>,
    ) -> (BTreeSet<State>, BTreeSet<State>) {
        let mut left = self.states.clone();
        let mut seen: BTreeSet<State> = left.iter().cloned().collect();
        let mut reached = BTreeSet::new();
        while let Some(state) = left.pop()
            && seen.len() <= STATES
        {
            if due.is_some_and(|due| state.done & due == due) {
                reached.insert(state);
                continue;
            }
            self.each_next(&state, crowded, &mut |next| {
                if seen.insert(next.clone()) {
                    left.push(next);
                }
            });
        }
        (seen, reached)
    }
}

/// What is asked of it.
impl<'s> Queue<'s> {
    /// Whether what is pending could end it as *lagged*.
    pub(crate) fn may_lag(&self) -> bool {
        let lags = |state: &State| state.ended == Some(Why::Lag);
        matches!(self.bounds.overflow, Overflow::Close | Overflow::KeepLatest)
            && self.explore(&mut BTreeSet::new(), None).0.iter().any(lags)
    }

    /// Whether a push that is pending could have found no room.
    pub(crate) fn may_crowd(&self) -> bool {
        let mut crowded = BTreeSet::new();
        self.explore(&mut crowded, None);
        self.pending.iter().any(|pending| match &pending.change {
            Change::Push(own, _) => crowded.contains(&own.cast),
            _ => false,
        })
    }

    pub(crate) fn fate(&self) -> Fate {
        if self.gave_up || !self.pending.is_empty() {
            return Fate::Unknown;
        }
        let mut fates = self.states.iter().map(|state| state.ended);
        match fates.next() {
            Some(Some(why)) if fates.all(|fate| fate.is_some()) => Fate::Over(why),
            Some(None) if fates.all(|fate| fate.is_none()) => Fate::Alive,
            _ => Fate::Unknown,
        }
    }

    /// Whether something waits for sure.
    fn holds_something(&self) -> bool {
        !self.states.is_empty() && self.states.iter().all(|state| !state.queue.is_empty())
    }

    /// How it ended, in one of the states that are left.
    pub(crate) fn ended(&self) -> Option<Why> {
        self.states.first().and_then(|state| state.ended)
    }

    /// How it had ended when nothing explained what was seen.
    pub(crate) fn ended_before(&self) -> Option<Why> {
        self.nearest.ended
    }

    /// The first message that should have been found and was not, when nothing explained what was
    /// seen.
    pub(crate) fn first_wrong(&self, taken: &Received) -> Option<Message<'s>> {
        let mut found = taken.messages.iter();
        let mut due = self.nearest.queue.iter().map(|waiting| self.messages[waiting.message]);
        due.find(|due| found.next().is_none_or(|data| data != due.data))
    }

    /// The broadcasts with this payload that it was offered.
    pub(crate) fn offered(&self, data: &str) -> impl Iterator<Item = usize> {
        self.messages.iter().filter(move |message| message.data == data).map(|message| message.cast)
    }

    /// The one broadcast with this payload, if there is no other.
    pub(crate) fn only(&self, data: &str) -> Option<usize> {
        let mut all = self.offered(data);
        all.next().filter(|_| all.next().is_none())
    }

    /// How often this payload was taken, the take in question included.
    pub(crate) fn times_taken(&self, data: &str) -> usize {
        let takes = self.history.iter().filter_map(|past| match past {
            Past::Begin(_, Change::Take(_, taken), _) => Some(taken),
            _ => None,
        });
        takes.flat_map(|taken| &taken.messages).filter(|own| *own == data).count()
    }

    /// Counts what a take found, and says whether more waited together than may.
    pub(crate) fn exceeds(&mut self, taken: &Received) -> bool {
        if self.pending.iter().any(|pending| matches!(pending.change, Change::Push(..))) {
            return false;
        }
        self.together.0 += taken.messages.len();
        self.together.1 += bytes(taken);
        let (messages, bytes) = self.together;
        messages > 1
            && (messages > self.bounds.messages as usize || bytes > self.bounds.bytes as usize)
    }

    /// Whether the same history makes sense without a rule.
    pub(crate) fn explained_without(&self, rule: Rule) -> bool {
        let mut other = Queue { without: Some(rule), ..Queue::new(&self.bounds) };
        for past in &self.history {
            match past {
                Past::Begin(op, change, must) => other.begin(*op, change.clone(), *must),
                Past::Returned(op, arrived) => {
                    other.returned(*op, *arrived);
                }
                Past::Spared(op) => other.spared(*op),
                Past::Rest(due) => other.rest(*due),
            }
        }
        !other.gave_up && !other.states.is_empty()
    }
}

/// How much a take found.
pub(crate) fn bytes(taken: &Received) -> usize {
    taken.messages.iter().map(String::len).sum()
}
