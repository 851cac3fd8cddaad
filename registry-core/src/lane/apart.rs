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
use std::collections::HashMap;
use std::sync::Arc;

/// The directed messages of a segment by subscriber, as places in the segment.
pub(crate) type Addressed = HashMap<MemberId, Vec<usize>>;

/// Collects the directed messages of a segment, which stand at these places in it.
pub(crate) fn addressed<T>(segment: &[Broadcast<T>], directed: &[usize]) -> Addressed {
    let mut addressed = Addressed::new();
    for &at in directed {
        if let Audience::Only(members) = &segment[at].audience {
            members.iter().for_each(|id| addressed.entry(*id).or_default().push(at));
        }
    }
    addressed
}

/// What a group of subscribers that are served apart gets.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Share {
    /// The bits of the channels that they name; `None` if they hear every channel.
    pub(crate) hears: Option<u64>,
    /// The places of the messages that are addressed to them.
    pub(crate) directed: Vec<usize>,
}

/// The addressed subscribers that are in the book.
#[derive(Default)]
pub(crate) struct Apart {
    /// Those that get the same, as places in lists of the book.
    pub(crate) groups: HashMap<Share, Vec<(List, usize)>>,
    /// The places that the shared group of a list leaves out, the last one first.
    gaps: HashMap<List, Vec<usize>>,
    keys: Vec<Key>,
}

impl Apart {
    /// Finds the addressed subscribers. `bits` tells which channels of the segment a filter names.
    pub(crate) fn find(
        addressed: Addressed,
        book: &mut Book<Arc<Gate>>,
        bits: impl Fn(&Numbers) -> u64,
    ) -> Self {
        let mut apart = Self::default();
        book.visits += addressed.len() as u64;
        for (id, directed) in addressed {
            // One that joined in the batch is not in the book yet, and one that left before it, not
            // any more. Another subscriber may have the key.
            let Some(Found { list, place, numbers }) = book.find(id) else { continue };
            let hears = if list == List::Unfiltered { None } else { Some(bits(numbers)) };
            apart.groups.entry(Share { hears, directed }).or_default().push((list, place));
            apart.gaps.entry(list).or_default().push(place);
            apart.keys.push(id.key);
        }
        apart.gaps.values_mut().for_each(|gaps| gaps.sort_unstable_by(|a, b| b.cmp(a)));
        apart
    }

    /// The keys of the subscribers.
    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Takes the places that the shared group of a list leaves out, the last one first.
    pub(crate) fn take_gaps(&mut self, list: List) -> Vec<usize> {
        self.gaps.remove(&list).unwrap_or_default()
    }
}
