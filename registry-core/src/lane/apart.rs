//! Subscribers to whom messages of a segment are addressed. They are served apart from those that
//! hear the same channels, with the frames that they hear and those addressed to them, in the order
//! of the log.
//!
//! So a directed message does not cut a batch: whoever it is not for is served as if it were not
//! there.

use super::book::{Audience, Book, Found, List, Numbers};
use super::log::Broadcast;
use crate::subscriber::gate::Gate;
use crate::types::id::{Key, MemberId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A list of the book, and a place in it.
pub(crate) type Place = (List, usize);

/// What a group of subscribers that are served apart gets.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Share {
    /// The bits of the channels that they name; `None` if they hear every channel.
    pub(crate) hears: Option<u64>,
    /// The places, in the segment, of the messages that are addressed to them.
    pub(crate) directed: Vec<usize>,
}

/// The subscribers to whom a segment's messages are addressed.
#[derive(Default)]
pub(crate) struct Apart {
    /// The places of the messages that are addressed to each.
    directed: BTreeMap<MemberId, Vec<usize>>,
    /// Those in the book, by what they get.
    pub(crate) groups: BTreeMap<Share, Vec<Place>>,
    /// The places that the shared group of a list leaves out, the last one first.
    gaps: BTreeMap<List, Vec<usize>>,
    keys: Vec<Key>,
}

impl Apart {
    /// Finds the subscribers. The directed messages stand at these places of the segment; `bits`
    /// tells which of its channels a filter names.
    pub(crate) fn find<T>(
        segment: &[Broadcast<T>],
        directed: &[usize],
        book: &mut Book<Arc<Gate>>,
        bits: impl Fn(&Numbers) -> u64,
    ) -> Self {
        let mut apart = Self::default();
        for &at in directed {
            if let Audience::Only(members) = &segment[at].audience {
                members.iter().for_each(|id| apart.directed.entry(*id).or_default().push(at));
            }
        }
        book.visits += apart.directed.len() as u64;
        for (&id, directed) in &apart.directed {
            // One that joined in the batch is not in the book yet, and one that left before it, not
            // any more. Another subscriber may have the key.
            let Some(Found { list, place, numbers }) = book.find(id) else { continue };
            let hears = if list == List::Unfiltered { None } else { Some(bits(numbers)) };
            let share = Share { hears, directed: directed.clone() };
            apart.groups.entry(share).or_default().push((list, place));
            apart.gaps.entry(list).or_default().push(place);
            apart.keys.push(id.key);
        }
        apart.gaps.values_mut().for_each(|gaps| gaps.sort_unstable_by(|a, b| b.cmp(a)));
        apart
    }

    /// The places of the messages that are addressed to a subscriber.
    pub(crate) fn directed_to(&self, id: MemberId) -> &[usize] {
        self.directed.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The keys of those in the book.
    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Takes the places that the shared group of a list leaves out, the last one first.
    pub(crate) fn take_gaps(&mut self, list: List) -> Vec<usize> {
        self.gaps.remove(&list).unwrap_or_default()
    }
}
