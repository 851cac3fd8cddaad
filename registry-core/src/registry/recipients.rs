//! Whom a message is for, as the table finds them under the registry's lock.

use super::channels::{Hearing, LaneId};
use crate::lane::book::Audience;
use crate::types::channel::Channel;
use crate::types::id::MemberId;

/// The subscribers that a message is for, lane by lane.
pub(crate) trait Recipients {
    fn total(&self) -> usize;

    /// How many of them a lane serves.
    fn of(&self, lane: LaneId) -> usize;

    /// What the log of a lane keeps of them.
    fn audience(&self, lane: LaneId) -> Audience;

    /// The interned name of the channel, if there is one.
    fn channel(&self) -> Option<&Channel>;
}

impl Recipients for Hearing<'_> {
    fn total(&self) -> usize {
        self.total()
    }

    fn of(&self, lane: LaneId) -> usize {
        self.of(lane)
    }

    fn audience(&self, _: LaneId) -> Audience {
        Audience::Hearing(self.known.map(|(number, _)| number))
    }

    fn channel(&self) -> Option<&Channel> {
        self.known.map(|(_, name)| name)
    }
}

/// Subscribers to whom a message is addressed, by the index of their lane.
#[derive(Default)]
pub(crate) struct Addressed(Vec<Vec<MemberId>>);

impl Addressed {
    pub(crate) fn add(&mut self, id: MemberId, lane: LaneId) {
        if self.0.len() <= lane.index() {
            self.0.resize_with(lane.index() + 1, Vec::new);
        }
        self.0[lane.index()].push(id);
    }
}

impl Recipients for Addressed {
    fn total(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    fn of(&self, lane: LaneId) -> usize {
        self.0.get(lane.index()).map_or(0, Vec::len)
    }

    fn audience(&self, lane: LaneId) -> Audience {
        Audience::Only(self.0.get(lane.index()).map_or(&[][..], Vec::as_slice).into())
    }

    fn channel(&self) -> Option<&Channel> {
        None
    }
}
