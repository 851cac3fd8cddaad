//! `registry-core` against a plain list that is obviously right: random programs with sinks that fail, panic and call back.
//!
//! Only what no legal order between subscribers can change is compared; the oracle judges the rest.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use registry_core::{
    ChannelFilter, CloseReason, Identity, Message, Registration, SendOutcome, Sink, SubscriberRegistry, Subscription,
};

const CHANNELS: [&str; 3] = ["", "a", "ab"];
const ECHO: &str = "echo";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Plain,
    Fails,
    Panics,
    /// Broadcasts each message that is not an echo once more, on a channel that only the unfiltered hear.
    Echoes,
}

#[derive(Debug, Clone)]
enum Step {
    Subscribe(Option<Vec<usize>>, Vec<u8>, Nature),
    Unsubscribe(usize),
    Broadcast(usize),
    Revoke(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let natures = prop_oneof![
        4 => Just(Nature::Plain), 1 => Just(Nature::Fails), 1 => Just(Nature::Panics), 1 => Just(Nature::Echoes)
    ];
    let filter = proptest::option::of(proptest::collection::vec(0_usize..3, 0..3));
    let identities = proptest::collection::vec(0_u8..3, 0..3);
    prop_oneof![
        3 => (filter, identities, natures).prop_map(|(f, i, n)| Step::Subscribe(f, i, n)),
        1 => (0_usize..8).prop_map(Step::Unsubscribe),
        4 => (0_usize..3).prop_map(Step::Broadcast),
        1 => (0_u8..3).prop_map(Step::Revoke),
    ]
}

/// What a subscriber was sent, and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    sent: Vec<u32>,
    closed: Vec<CloseReason>,
}

struct Actor {
    nature: Nature,
    seen: Arc<Mutex<Seen>>,
    registry: SubscriberRegistry<u32>,
}

impl Sink<u32> for Actor {
    fn send(&self, message: &Arc<Message<u32>>) -> SendOutcome {
        self.seen.lock().unwrap().sent.push(*message.data());
        match self.nature {
            Nature::Fails => return SendOutcome::Failed,
            Nature::Panics => std::panic::resume_unwind(Box::new("on purpose")),
            Nature::Echoes if message.channel() != ECHO => {
                self.registry.broadcast(ECHO, message.data() + 1_000).unwrap();
            }
            Nature::Plain | Nature::Echoes => {}
        }
        SendOutcome::Accepted
    }

    fn close(&self, reason: CloseReason) {
        self.seen.lock().unwrap().closed.push(reason);
    }
}

/// One line of the list.
struct Line {
    filter: Option<Vec<usize>>,
    identities: Vec<u8>,
    nature: Nature,
    active: bool,
    seen: Seen,
}

impl Line {
    fn end(&mut self, reason: CloseReason) {
        self.active = false;
        self.seen.closed.push(reason);
    }
}

/// Delivers to a plain list; `None` is the channel of the echoes. Returns how many echoes it makes.
fn deliver(list: &mut [Line], channel: Option<usize>, data: u32) -> usize {
    let mut echoes = 0;
    for line in list.iter_mut().filter(|line| line.active) {
        let named = line.filter.as_ref().is_none_or(|names| channel.is_some_and(|channel| names.contains(&channel)));
        if named {
            line.seen.sent.push(data);
            match line.nature {
                Nature::Fails | Nature::Panics => line.end(CloseReason::Failed),
                Nature::Echoes => echoes += usize::from(channel.is_some()),
                Nature::Plain => {}
            }
        }
    }
    echoes
}

fn identity(number: u8) -> Identity {
    Identity::new("kind", number.to_string())
}

proptest! {
    #[test]
    fn the_registry_agrees_with_a_plain_list(steps in proptest::collection::vec(step(), 1..40)) {
        let registry = SubscriberRegistry::<u32>::new();
        let mut list: Vec<Line> = Vec::new();
        let mut actors: Vec<(Arc<Mutex<Seen>>, Subscription)> = Vec::new();
        for (data, step) in (0_u32..).zip(steps) {
            match step {
                Step::Subscribe(filter, identities, nature) => {
                    let seen = Arc::new(Mutex::new(Seen::default()));
                    let actor = Actor { nature, seen: seen.clone(), registry: registry.clone() };
                    let hears = filter.as_ref().map_or(ChannelFilter::All, |names| {
                        ChannelFilter::only(names.iter().map(|name| CHANNELS[*name]))
                    });
                    let registration =
                        Registration::new().filter(hears).groups(identities.iter().copied().map(identity));
                    actors.push((seen, registry.subscribe_with(actor, registration).unwrap()));
                    list.push(Line { filter, identities, nature, active: true, seen: Seen::default() });
                }
                Step::Unsubscribe(which) => {
                    if let Some(((_, subscription), line)) = actors.get(which).zip(list.get_mut(which)) {
                        subscription.unsubscribe();
                        line.active = false;
                    }
                }
                Step::Broadcast(channel) => {
                    let hearing = |line: &&Line| {
                        line.active && line.filter.as_ref().is_none_or(|names| names.contains(&channel))
                    };
                    let matched = list.iter().filter(hearing).count();
                    let report = registry.broadcast(CHANNELS[channel], data).unwrap();
                    prop_assert_eq!(report.matched, matched);
                    prop_assert_eq!(report.accepted + report.failed, matched);
                    for _ in 0..deliver(&mut list, Some(channel), data) {
                        deliver(&mut list, None, data + 1_000);
                    }
                }
                Step::Revoke(number) => {
                    let mut ended = 0;
                    for line in list.iter_mut().filter(|line| line.active && line.identities.contains(&number)) {
                        line.end(CloseReason::Revoked);
                        ended += 1;
                    }
                    prop_assert_eq!(registry.close_by_identity(&identity(number)), ended);
                }
            }
            prop_assert_eq!(registry.len(), list.iter().filter(|line| line.active).count());
            for ((seen, _), line) in actors.iter().zip(&list) {
                prop_assert_eq!(&*seen.lock().unwrap(), &line.seen);
            }
        }
    }
}
