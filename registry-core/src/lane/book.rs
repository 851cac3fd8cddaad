//! The book: a lane's subscribers, by channel.

use crate::types::id::{Key, MemberId};
use std::sync::Arc;

/// A channel's number while some subscriber names it. Reused like a [`Key`].
pub(crate) type ChannelNo = usize;

/// A filter over channel numbers.
#[derive(Debug, Clone)]
pub(crate) enum Numbers {
    All,
    One(ChannelNo),
    /// Sorted, without repetition; may be empty.
    Many(Arc<[ChannelNo]>),
}

impl Numbers {
    /// The numbers of the channels it names.
    pub(crate) fn named(&self) -> &[ChannelNo] {
        match self {
            Self::All => &[],
            Self::One(channel) => std::slice::from_ref(channel),
            Self::Many(channels) => channels,
        }
    }

    /// Tells whether it names the channel.
    pub(crate) fn names(&self, channel: ChannelNo) -> bool {
        self.named().binary_search(&channel).is_ok()
    }
}

/// Whom a message is for, among the subscribers of a lane.
#[derive(Debug)]
pub(crate) enum Audience {
    /// Those that hear a channel; `None` for a channel that no subscriber names.
    Hearing(Option<ChannelNo>),
    /// Exactly these, whatever they hear. Each was in the lane when the message was logged. One
    /// that left since is in the book no more, even if another has its key.
    Only(Box<[MemberId]>),
}

impl Audience {
    /// Bytes of memory that it takes beside itself.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Hearing(_) => 0,
            Self::Only(members) => size_of_val(&**members),
        }
    }
}

/// A lane's subscribers, by channel.
///
/// Pure state: it applies joins and leaves, and lists the seats that hear a channel. A change costs
/// as much as it names channels, whatever the number of subscribers.
pub(crate) struct Book<S> {
    members: Vec<Option<Member>>,
    count: usize,
    channels: Vec<Heard<S>>,
    unfiltered: Vec<Listener<S>>,
    /// Those that hear no channel: they get only what is addressed to them.
    deaf: Vec<Listener<S>>,
    /// Listeners visited so far.
    pub(crate) visits: u64,
}

/// The subscribers that name a channel.
struct Heard<S> {
    /// As their only channel.
    alone: Vec<Listener<S>>,
    /// As one of several channels.
    among: Vec<Listener<S>>,
}

impl<S> Default for Heard<S> {
    fn default() -> Self {
        Self { alone: Vec::new(), among: Vec::new() }
    }
}

/// One entry of a list of the [`Book`].
#[derive(Clone)]
pub(crate) struct Listener<S> {
    pub(crate) key: Key,
    pub(crate) seat: S,
}

/// One list of the [`Book`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum List {
    Alone(ChannelNo),
    Among(ChannelNo),
    Unfiltered,
    Deaf,
}

/// Where a member of the [`Book`] stands.
pub(crate) struct Found<'a> {
    /// One of its lists, and its place there.
    pub(crate) list: List,
    pub(crate) place: usize,
    pub(crate) numbers: &'a Numbers,
}

struct Member {
    serial: u64,
    numbers: Numbers,
    /// Its index in each of its lists, in the order of [`lists`].
    places: Box<[usize]>,
}

impl Member {
    /// The index of its entry in a list.
    fn place(&mut self, list: List) -> Option<&mut usize> {
        let at = match list {
            List::Unfiltered | List::Deaf | List::Alone(_) => 0,
            List::Among(channel) => self.numbers.named().binary_search(&channel).ok()?,
        };
        self.places.get_mut(at)
    }
}

/// The lists that contain a subscriber; there is at least one.
fn lists(numbers: &Numbers) -> impl Iterator<Item = List> {
    let unnamed = match numbers {
        Numbers::All => Some(List::Unfiltered),
        Numbers::Many(channels) if channels.is_empty() => Some(List::Deaf),
        _ => None,
    };
    let alone = matches!(numbers, Numbers::One(_));
    let named = numbers.named().iter();
    unnamed
        .into_iter()
        .chain(named.map(move |&no| if alone { List::Alone(no) } else { List::Among(no) }))
}

impl<S> Default for Book<S> {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            count: 0,
            channels: Vec::new(),
            unfiltered: Vec::new(),
            deaf: Vec::new(),
            visits: 0,
        }
    }
}

impl<S: Clone> Book<S> {
    /// Adds a subscriber.
    pub(crate) fn join(&mut self, id: MemberId, seat: S, numbers: Numbers) {
        let MemberId { key, serial } = id;
        let mut places = Vec::with_capacity(numbers.named().len().max(1));
        for list in lists(&numbers) {
            let listeners = self.list_mut(list);
            places.push(listeners.len());
            listeners.push(Listener { key, seat: seat.clone() });
            self.visits += 1;
        }
        if self.members.len() <= key {
            self.members.resize_with(key + 1, || None);
        }
        self.members[key] = Some(Member { serial, numbers, places: places.into() });
        self.count += 1;
    }

    /// Removes a subscriber and returns its seat. Its destructor may run application code: the
    /// caller contains it, without locks.
    pub(crate) fn leave(&mut self, key: Key) -> Option<S> {
        let member = self.members.get_mut(key).and_then(Option::take)?;
        let mut seat = None;
        for (list, &place) in lists(&member.numbers).zip(&member.places) {
            seat = Some(self.remove(list, place));
        }
        self.count -= 1;
        if self.count == 0 {
            // An empty book keeps no memory (SUB-7).
            *self = Self { visits: self.visits, ..Self::default() };
        }
        seat
    }

    fn remove(&mut self, list: List, place: usize) -> S {
        self.visits += 1;
        let listeners = self.list_mut(list);
        let seat = listeners.swap_remove(place).seat;
        if let Some(moved) = listeners.get(place).map(|moved| moved.key) {
            if let Some(at) = self.members[moved].as_mut().and_then(|member| member.place(list)) {
                *at = place;
            }
        } else if listeners.is_empty() {
            *listeners = Vec::new();
        }
        seat
    }

    fn list_mut(&mut self, list: List) -> &mut Vec<Listener<S>> {
        if let List::Alone(channel) | List::Among(channel) = list
            && self.channels.len() <= channel
        {
            self.channels.resize_with(channel + 1, Heard::default);
        }
        match list {
            List::Alone(channel) => &mut self.channels[channel].alone,
            List::Among(channel) => &mut self.channels[channel].among,
            List::Unfiltered => &mut self.unfiltered,
            List::Deaf => &mut self.deaf,
        }
    }

    /// Returns the subscribers in a list.
    pub(crate) fn list(&self, list: List) -> &[Listener<S>] {
        match list {
            List::Alone(channel) => self.channels.get(channel).map_or(&[], |heard| &heard.alone),
            List::Among(channel) => self.channels.get(channel).map_or(&[], |heard| &heard.among),
            List::Unfiltered => &self.unfiltered,
            List::Deaf => &self.deaf,
        }
    }

    /// Finds a subscriber, unless it left: then another may have its key.
    pub(crate) fn find(&self, id: MemberId) -> Option<Found<'_>> {
        let member = self.members.get(id.key)?.as_ref().filter(|m| m.serial == id.serial)?;
        let (list, &place) = lists(&member.numbers).zip(&member.places).next()?;
        Some(Found { list, place, numbers: &member.numbers })
    }

    /// Returns how many subscribers there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Returns every seat, once for each list that contains it. The caller contains their
    /// destructors, one by one.
    pub(crate) fn into_seats(self) -> impl Iterator<Item = S> {
        let named =
            self.channels.into_iter().flat_map(|heard| heard.alone.into_iter().chain(heard.among));
        named.chain(self.unfiltered).chain(self.deaf).map(|listener| listener.seat)
    }

    /// Calls `each` for every subscriber that a message is for, in no particular order.
    pub(crate) fn for_each(&mut self, audience: &Audience, mut each: impl FnMut(Key, &S)) {
        let found: Vec<Listener<S>>;
        let lists: [&[Listener<S>]; 3] = match audience {
            Audience::Hearing(channel) => {
                let named = channel.and_then(|channel| self.channels.get(channel));
                let [alone, among] =
                    named.map_or([&[][..]; 2], |heard| [&heard.alone, &heard.among]);
                [alone, among, &self.unfiltered]
            }
            // They are collected so that there is one loop, into which the compiler puts `each`.
            Audience::Only(members) => {
                let place = |id: &MemberId| self.find(*id);
                let places = members.iter().filter_map(place);
                found = places.map(|found| self.list(found.list)[found.place].clone()).collect();
                [&found, &[], &[]]
            }
        };
        for listeners in lists {
            self.visits += listeners.len() as u64;
            for listener in listeners {
                each(listener.key, &listener.seat);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[derive(Debug, Clone)]
    enum Step {
        Join(Key, Option<BTreeSet<ChannelNo>>),
        Leave(Key),
    }

    fn step() -> impl Strategy<Value = Step> {
        let filter = proptest::option::of(proptest::collection::btree_set(0_usize..5, 0..4));
        prop_oneof![
            (0_usize..8, filter).prop_map(|(k, f)| Step::Join(k, f)),
            (0_usize..8).prop_map(Step::Leave)
        ]
    }

    proptest! {
        #[test]
        fn flt_1_book_agrees_with_a_plain_list(steps in proptest::collection::vec(step(), 0..60)) {
            let mut book = Book::default();
            let mut model: BTreeMap<Key, Option<BTreeSet<ChannelNo>>> = BTreeMap::new();
            let (mut serial, mut serials) = (0, BTreeMap::new());
            for step in steps {
                match step {
                    Step::Join(key, filter) => {
                        if model.contains_key(&key) { continue }
                        let numbers = match &filter {
                            None => Numbers::All,
                            Some(set) if set.len() == 1 => Numbers::One(*set.first().unwrap()),
                            Some(set) => Numbers::Many(set.iter().copied().collect()),
                        };
                        serial += 1;
                        book.join(MemberId { key, serial }, key, numbers);
                        model.insert(key, filter);
                        serials.insert(key, serial);
                    }
                    Step::Leave(key) => { book.leave(key); model.remove(&key); }
                }
                for key in 0..8 {
                    let last = serials.get(&key).copied().unwrap_or(1);
                    let audience = Audience::Only(
                        (1..=last).map(|serial| MemberId { key, serial }).collect());
                    let mut found = Vec::new();
                    book.for_each(&audience, |at, seat| found.push((at, *seat)));
                    let expected = model.contains_key(&key).then_some((key, key));
                    prop_assert_eq!(found, Vec::from_iter(expected));
                }
                for channel in 0..6 {
                    let mut heard = Vec::new();
                    book.for_each(&Audience::Hearing(Some(channel)), |key, seat| {
                        assert_eq!(key, *seat);
                        heard.push(key);
                    });
                    heard.sort_unstable();
                    let expected: Vec<Key> = model.iter()
                        .filter(|(_, set)| set.as_ref().is_none_or(|set| set.contains(&channel)))
                        .map(|(key, _)| *key).collect();
                    prop_assert_eq!(heard, expected);
                }
            }
            for key in 0..8 { book.leave(key); }
            prop_assert_eq!(book.members.capacity(), 0);
            prop_assert_eq!(book.channels.capacity(), 0);
            prop_assert_eq!(book.unfiltered.capacity(), 0);
            prop_assert_eq!(book.deaf.capacity(), 0);
        }
    }
}
