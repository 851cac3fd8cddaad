//! Messages to the holders of an identity and to single subscribers, and the end of a single one,
//! on every kind of lane.

mod lanes;

use crate::kit::*;
use crate::wire::*;
use futures_core::Stream;
use proptest::prelude::*;
use registry_core::{
    ChannelFilter, CloseReason, Encoded, Flusher, Identity, LaneOptions, Next, Outbox,
    OutboxOptions, Overflow, Registration, RegistryOptions, Revocation, SendOutcome, SocketOutbox,
    SubscriberStream, Subscription, SubscriptionId, Ticket,
};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

/// The kinds of subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sink,
    Stream,
    Outbox,
    /// With a flusher and a wire.
    Wired,
}

const KINDS: [Kind; 4] = [Kind::Sink, Kind::Stream, Kind::Outbox, Kind::Wired];

enum Owner {
    Sink(Subscription, Arc<Probe>),
    Stream(SubscriberStream<u32>),
    Outbox(Outbox),
    Wired(SocketOutbox, Arc<Socket>),
}

/// A subscriber of any kind, and what it got.
struct Member {
    owner: Owner,
    got: Vec<u32>,
    closed: Option<CloseReason>,
}

impl Member {
    fn join(registry: &Registry, kind: Kind, registration: Registration) -> Self {
        let options = OutboxOptions::new();
        let owner = match kind {
            Kind::Sink => {
                let probe = Probe::new();
                Owner::Sink(join(registry, &probe, registration), probe)
            }
            Kind::Stream => Owner::Stream(registry.stream(registration, options).unwrap()),
            Kind::Outbox => Owner::Outbox(open(registry, registration)),
            Kind::Wired => {
                let (outbox, socket) = wired(registry, registration);
                Owner::Wired(outbox, socket)
            }
        };
        Self { owner, got: Vec::new(), closed: None }
    }

    fn id(&self) -> SubscriptionId {
        match &self.owner {
            Owner::Sink(subscription, _) => subscription.id(),
            Owner::Stream(stream) => stream.subscription().id(),
            Owner::Outbox(outbox) => outbox.subscription().id(),
            Owner::Wired(outbox, _) => outbox.outbox().subscription().id(),
        }
    }

    /// What it has got so far.
    fn got(&mut self) -> &[u32] {
        let mut cx = Context::from_waker(Waker::noop());
        match &mut self.owner {
            Owner::Sink(_, probe) => {
                self.got = probe.sent();
                self.closed = probe.closed().first().copied();
            }
            Owner::Stream(stream) => {
                while let Poll::Ready(Some(message)) = Pin::new(&mut *stream).poll_next(&mut cx) {
                    self.got.push(*message.data());
                }
                self.closed = stream.close_reason();
            }
            Owner::Outbox(outbox) => {
                self.got.extend(frames(outbox));
                if let Some(Next::Closed(reason)) = poll(outbox) {
                    self.closed = Some(reason);
                }
            }
            Owner::Wired(outbox, socket) => {
                self.closed = flush(outbox);
                self.got = socket.values();
            }
        }
        &self.got
    }

    fn closed(&mut self) -> Option<CloseReason> {
        self.got();
        self.closed
    }
}

fn deaf(value: &str) -> Registration {
    group(value).with_filter(ChannelFilter::Only([].into()))
}

#[test]
fn dir_1_every_holder_gets_it_once_whatever_it_hears() {
    let (registry, mut flusher) = lanes::registry_and_flusher();
    for kind in KINDS {
        let filters = [
            ChannelFilter::All,
            ChannelFilter::Only([].into()),
            ChannelFilter::only(["c"]),
            ChannelFilter::only(["other"]),
            ChannelFilter::only(["other", "c"]),
            ChannelFilter::only(["other", "third"]),
        ];
        let mut holders: Vec<_> = filters
            .map(|filter| Member::join(&registry, kind, group("ada").with_filter(filter)))
            .into();
        // As scope and as group, and twice as group.
        holders.push(Member::join(&registry, kind, group("ada").with_scope(id("ada"))));
        holders.push(Member::join(&registry, kind, group("ada").with_group(id("ada"))));
        let namesakes = [Identity::untyped("ada"), ("test2", "ada").into()];
        let mut others =
            [group("bob"), Registration::new(), Registration::new().with_groups(namesakes)]
                .map(|registration| Member::join(&registry, kind, registration));
        let report = registry.send_to(id("ada"), "c", 7).unwrap();
        assert_eq!((report.matched, report.accepted, report.pending), (8, 8, 0), "{kind:?}");
        serve(&mut flusher);
        holders.iter_mut().for_each(|member| assert_eq!(member.got(), [7], "{kind:?}"));
        others.iter_mut().for_each(|member| assert!(member.got().is_empty(), "{kind:?}"));
        // It changes nothing of what they hear.
        registry.broadcast("c", 8).unwrap();
        serve(&mut flusher);
        let heard = holders.iter_mut().map(|member| member.got().len() == 2);
        assert!(heard.eq([true, false, true, false, true, false, true, true]), "{kind:?}");
    }
}

#[test]
fn dir_1_one_that_drains_gets_nothing_and_one_that_comes_later_neither() {
    let (registry, mut flusher) = lanes::registry_and_flusher();
    let mut draining = open(&registry, group("ada"));
    let (wired_draining, socket) = wired(&registry, group("ada"));
    let mut active = Member::join(&registry, Kind::Outbox, group("ada"));
    registry.send_to(id("ada"), "c", 1).unwrap();
    draining.close(CloseReason::Shutdown);
    wired_draining.outbox().close(CloseReason::Shutdown);
    let report = registry.send_to(id("ada"), "c", 2).unwrap();
    assert_eq!((report.matched, report.accepted), (1, 1));
    let ids = [draining.subscription().id(), wired_draining.outbox().subscription().id()];
    for id in ids {
        assert_eq!(registry.send(id, "c", 3).unwrap().matched, 0);
    }
    let mut late = [Kind::Sink, Kind::Stream, Kind::Outbox, Kind::Wired]
        .map(|kind| Member::join(&registry, kind, group("ada")));
    serve(&mut flusher);
    assert_eq!(frames(&mut draining), [1], "what was sent before is flushed");
    assert_eq!((flush(&wired_draining), socket.values()), (Some(CloseReason::Shutdown), vec![1]));
    assert_eq!(active.got(), [1, 2]);
    late.iter_mut().for_each(|member| assert!(member.got().is_empty()));
}

#[test]
fn dir_1_a_sink_that_takes_the_place_of_another_does_not_get_its_messages() {
    let registry = Registry::new();
    let bob = Arc::new(Mutex::new(None));
    let heir = Probe::new();
    let first = Probe::new();
    let (again, kept, next) = (registry.clone(), bob.clone(), heir.clone());
    let held = Arc::new(Mutex::new(None::<Subscription>));
    let gone = held.clone();
    first.on_send(move |n| {
        if n == 0 {
            let ada = gone.lock().unwrap().take().unwrap();
            again.send_to(id("ada"), "c", 1).unwrap();
            again.send(ada.id(), "c", 2).unwrap();
            let key = key_of(ada.id());
            drop(ada);
            let sub = join(&again, &next, group("bob"));
            assert_eq!(key_of(sub.id()), key, "the place is used again");
            again.send(sub.id(), "c", 3).unwrap();
            *kept.lock().unwrap() = Some(sub);
        }
        SendOutcome::Accepted
    });
    let _first = join(&registry, &first, hears(&["start"]));
    let ada = Probe::new();
    *held.lock().unwrap() = Some(join(&registry, &ada, group("ada")));
    registry.broadcast("start", 0).unwrap();
    first.events(); // fails if an assertion in the sink did
    assert_eq!((ada.sent(), heir.sent()), (vec![], vec![3]));
}

fn key_of(id: SubscriptionId) -> String {
    id.to_string().rsplit('-').next().unwrap().to_owned()
}

#[test]
fn dir_1_a_compacted_log_of_sinks_delivers_only_to_those_that_stay() {
    let registry = Registry::new();
    let stays = Probe::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let probe = Probe::new();
    let (again, keep, gone) = (registry.clone(), stays.clone(), seen.clone());
    let kept = Arc::new(Mutex::new(None));
    let last = kept.clone();
    probe.on_send(move |n| {
        if n == 0 {
            for round in 0..3_000 {
                let passing = Probe::new();
                let _passes = join(&again, &passing, group("ada"));
                if round % 10 == 0 {
                    again.send_to(id("ada"), "c", 1).unwrap();
                }
                gone.lock().unwrap().push(passing);
            }
            let sub = join(&again, &keep, group("ada"));
            again.send_to(id("ada"), "c", 2).unwrap();
            *last.lock().unwrap() = Some(sub);
        }
        SendOutcome::Accepted
    });
    let _probe = join(&registry, &probe, hears(&["start"]));
    registry.broadcast("start", 0).unwrap();
    probe.events();
    assert_eq!(stays.sent(), [2]);
    assert!(seen.lock().unwrap().iter().all(|passing| passing.events().is_empty()));
}

#[test]
fn dir_2_directed_messages_and_broadcasts_have_one_order() {
    let (registry, mut flusher) = lanes::registry_and_flusher();
    let mut members = KINDS.map(|kind| Member::join(&registry, kind, group("ada")));
    let mut ids = Vec::new();
    let mut expected = Vec::new();
    for n in 0..40_u32 {
        let report = match n % 4 {
            0 => registry.broadcast("c", n),
            1 => registry.send_to(id("ada"), "c", n),
            2 => registry.send_to(id("nobody"), "c", n),
            _ => registry.send(members[n as usize / 4 % 4].id(), "c", n),
        }
        .unwrap();
        ids.push(report.id.seq());
        expected.push((n, [4, 4, 0, 1][n as usize % 4]));
        assert_eq!(report.matched, expected[n as usize].1);
    }
    assert!(ids.into_iter().eq(1..=40), "every message takes an id, also one for nobody");
    serve(&mut flusher);
    for (which, member) in members.iter_mut().enumerate() {
        let own = |n: &u32| match n % 4 {
            0 | 1 => true,
            2 => false,
            _ => *n as usize / 4 % 4 == which,
        };
        assert!(member.got().iter().copied().eq((0..40).filter(own)), "{:?}", KINDS[which]);
    }
}

#[test]
fn dir_2_a_message_that_a_sink_sends_is_delivered_after_the_one_it_is_in() {
    let registry = encoding();
    let (first, second) = (Probe::new(), Probe::new());
    let again = registry.clone();
    let closing = Probe::closing({
        let again = registry.clone();
        move |_| assert_eq!(again.send_to(id("ada"), "c", 30).unwrap().matched, 3)
    });
    first.on_send(move |n| {
        if n == 1 {
            let report = again.send_to(id("ada"), "c", 10).unwrap();
            assert_eq!((report.matched, report.accepted, report.pending), (3, 1, 2));
            again.broadcast("c", 20).unwrap();
        }
        SendOutcome::Accepted
    });
    let mut outbox = open(&registry, group("ada"));
    let _first = join(&registry, &first, group("ada"));
    let _second = join(&registry, &second, group("ada"));
    registry.broadcast("c", 1).unwrap();
    assert_eq!((first.sent(), second.sent()), (vec![1, 10, 20], vec![1, 10, 20]));
    let closing = join(&registry, &closing, group("bob"));
    assert!(registry.close(closing.id(), Revocation::Revoked));
    assert_eq!(second.sent(), [1, 10, 20, 30], "and from inside a close");
    assert_eq!(frames(&mut outbox), [1, 10, 20, 30]);
}

#[test]
fn dir_3_one_subscriber_is_found_by_its_id_while_it_is_active() {
    let (registry, mut flusher) = lanes::registry_and_flusher();
    let other = encoding();
    for kind in KINDS {
        let mut members =
            [group("ada"), deaf("ada"), group("ada")].map(|r| Member::join(&registry, kind, r));
        let _elsewhere = [0; 12].map(|_| open(&other, group("ada")));
        for (which, member) in members.iter().enumerate() {
            let report = registry.send(member.id(), "c", which as u32).unwrap();
            assert_eq!((report.matched, report.accepted), (1, 1));
            let parsed: SubscriptionId = member.id().to_string().parse().unwrap();
            assert_eq!(registry.send(parsed, "c", 7).unwrap().matched, 1);
            assert_eq!(other.send(parsed, "c", 7).unwrap().matched, 0, "an id of a registry");
        }
        serve(&mut flusher);
        for (which, member) in members.iter_mut().enumerate() {
            assert_eq!(member.got(), [which as u32, 7], "{kind:?}");
        }
        let id = members[0].id();
        drop(members);
        let heir = Member::join(&registry, kind, group("ada"));
        let report = registry.send(id, "c", 9).unwrap();
        assert_eq!((report.matched, report.pending), (0, 0));
        assert_eq!(registry.broadcast("nobody", 1).unwrap().id.seq(), report.id.seq() + 1);
        drop(heir);
    }
}

#[test]
fn dir_3_del_8_a_payload_that_cannot_be_encoded_comes_back_and_takes_no_id() {
    let registry = Registry::with_encoder(RegistryOptions::new(), |data: &u32| {
        if *data == 13 { Err("on purpose".into()) } else { Ok(Encoded::json(data.to_string())) }
    });
    let mut outbox = open(&registry, group("ada"));
    let own = outbox.subscription().id();
    assert_eq!(registry.send_to(id("ada"), "c", 13).unwrap_err().data, 13);
    assert_eq!(registry.send(own, "c", 13).unwrap_err().data, 13);
    assert_eq!(registry.send_to(id("nobody"), "c", 13).unwrap_err().data, 13);
    assert_eq!(registry.send(own, "c", 1).unwrap().id.seq(), 1);
    assert_eq!(frames(&mut outbox), [1]);
}

#[test]
fn dir_4_nothing_that_was_addressed_to_it_comes_after_an_end_returned() {
    for end in 0..3 {
        let (registry, mut flusher) = lanes::registry_and_flusher();
        let mut members = [Kind::Stream, Kind::Outbox, Kind::Wired]
            .map(|kind| Member::join(&registry, kind, deaf("ada")));
        let (_witness, witness) = wired(&registry, deaf("bob"));
        registry.send_to(id("ada"), "c", 1).unwrap();
        registry.send_to(id("bob"), "c", 1).unwrap();
        for member in &members {
            registry.send(member.id(), "c", 2).unwrap();
        }
        match end {
            0 => assert_eq!(registry.close_by_identity(id("ada")), 3),
            1 => members.iter().for_each(|member| {
                assert!(registry.close(member.id(), Revocation::Revoked));
            }),
            _ => members.iter_mut().for_each(|member| match &member.owner {
                Owner::Outbox(outbox) => outbox.close(CloseReason::Revoked),
                Owner::Wired(outbox, _) => outbox.outbox().close(CloseReason::Revoked),
                Owner::Stream(stream) => stream.close_handle().close(CloseReason::Revoked),
                Owner::Sink(..) => {}
            }),
        }
        if let Owner::Wired(_, socket) = &members[2].owner {
            socket.seal();
        }
        serve(&mut flusher);
        for member in &mut members {
            assert_eq!((member.closed(), &member.got[..]), (Some(CloseReason::Revoked), &[][..]));
        }
        if let Owner::Wired(_, socket) = &members[2].owner {
            assert_eq!(socket.late(), 0, "REV-12");
        }
        assert_eq!(witness.values(), [1], "the lane went on");
    }
}

#[test]
fn dir_4_a_sink_that_is_ended_before_its_turn_gets_nothing() {
    let registry = Registry::new();
    let (first, second) = (Probe::new(), Probe::new());
    let again = registry.clone();
    first.on_send(move |n| {
        if n == 1 {
            again.send_to(id("b"), "c", 2).unwrap();
            assert_eq!(again.close_by_identity(id("b")), 1);
            assert_eq!(again.send_to(id("b"), "c", 3).unwrap().matched, 0);
        }
        SendOutcome::Accepted
    });
    let _first = join(&registry, &first, group("a"));
    let _second = join(&registry, &second, deaf("b"));
    registry.send_to(id("a"), "c", 1).unwrap();
    assert_eq!(first.sent(), [1]);
    assert_eq!(second.events(), [Event::Closed(CloseReason::Revoked)]);
}

#[test]
fn dir_5_queues_and_policies_apply() {
    let registry = encoding();
    let bounded = |overflow| {
        let options = OutboxOptions::new().with_max_messages(size(2)).with_overflow(overflow);
        registry.open_outbox(&RAW, options, deaf("ada")).unwrap()
    };
    let mut close = bounded(Overflow::Close);
    let mut oldest = bounded(Overflow::DropOldest);
    let mut newest = bounded(Overflow::DropNewest);
    let mut latest = bounded(Overflow::KeepLatest);
    for (channel, n) in [("a", 1), ("b", 2)] {
        assert_eq!(registry.send_to(id("ada"), channel, n).unwrap().accepted, 4);
    }
    let report = registry.send_to(id("ada"), "a", 3).unwrap();
    assert_eq!((report.matched, report.lagged, report.accepted, report.dropped), (4, 1, 2, 1));
    let own = newest.subscription().id();
    assert_eq!(registry.send(own, "b", 4).unwrap().dropped, 1);
    assert_eq!(registry.page(None, 9).iter().map(|info| info.lost).sum::<u64>(), 4);
    assert_eq!(registry.stats().dropped, 4);
    assert_eq!(ended(&mut close), Some(CloseReason::Lagged));
    let lost = |outbox: &mut Outbox| match poll(outbox) {
        Some(Next::Frames(batch)) => (batch.frames.len(), batch.lost),
        other => panic!("{other:?}"),
    };
    assert_eq!((lost(&mut oldest), lost(&mut newest), lost(&mut latest)), ((2, 1), (2, 2), (2, 1)));
}

#[test]
fn dir_5_the_log_of_sinks_counts_directed_messages_too() {
    let options = RegistryOptions::new().with_max_waiting_broadcasts(size(2));
    let registry = Registry::with_options(options);
    let (first, second) = (Probe::new(), Probe::new());
    let again = registry.clone();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let noted = reports.clone();
    first.on_send(move |n| {
        for n in 2..=4 * u32::from(n == 1) {
            let report = again.send_to(id("ada"), "c", n).unwrap();
            noted.lock().unwrap().push((report.pending, report.dropped));
        }
        SendOutcome::Accepted
    });
    let _first = join(&registry, &first, group("ada"));
    let _second = join(&registry, &second, group("ada"));
    registry.broadcast("c", 1).unwrap();
    assert_eq!(*reports.lock().unwrap(), [(2, 0), (2, 0), (0, 2)]);
    assert_eq!((second.sent(), registry.stats().dropped), (vec![1, 2, 3], 2));
}

#[test]
fn dir_5_a_sink_that_fails_or_panics_at_a_directed_message_is_ended() {
    let registry = Registry::new();
    let panics = Probe::sending(|_| panic!("on purpose"));
    let drops = Probe::sending(|_| SendOutcome::Dropped);
    let lags = Probe::sending(|_| SendOutcome::Lagged);
    let left = Probe::sending(|_| SendOutcome::Closed);
    let fine = Probe::new();
    let all = [&panics, &drops, &lags, &left, &fine];
    let _all = all.map(|probe| join(&registry, probe, deaf("ada")));
    let report = registry.send_to(id("ada"), "c", 1).unwrap();
    let counts = (report.failed, report.dropped, report.lagged, report.ended, report.accepted);
    assert_eq!((report.matched, counts), (5, (1, 1, 1, 1, 1)));
    assert_eq!(
        (panics.closed(), lags.closed()),
        (vec![CloseReason::Failed], vec![CloseReason::Lagged])
    );
    assert_eq!(registry.send_to(id("ada"), "c", 2).unwrap().matched, 2);
    let lost: Vec<u64> = registry.page(None, 9).iter().map(|info| info.lost).collect();
    assert_eq!(lost, [2, 0], "of a sink, what it dropped");
}

#[test]
fn dir_6_one_subscriber_is_ended_and_nobody_else() {
    let (registry, mut flusher) = lanes::registry_and_flusher();
    for kind in KINDS {
        for revocation in Revocation::ALL {
            let mut pair = [(); 2].map(|()| Member::join(&registry, kind, group("ada")));
            let before = registry.stats().ended.get(&revocation.into()).copied().unwrap_or(0);
            if kind != Kind::Sink {
                registry.broadcast("c", 1).unwrap(); // it is queued, and discarded
            }
            let ticket: Ticket<u32> = registry.draw_ticket();
            assert!(registry.close(pair[0].id(), revocation), "{kind:?}");
            assert!(!registry.close(pair[0].id(), revocation), "{kind:?}: a second time");
            assert!(ticket.check(&group("ada")).is_ok(), "no identity was revoked");
            assert_eq!((registry.len(), registry.holders(id("ada"))), (1, 1));
            let ended = registry.stats().ended.get(&revocation.into()).copied();
            assert_eq!(ended, Some(before + 1));
            registry.send_to(id("ada"), "c", 2).unwrap();
            serve(&mut flusher);
            let got: &[u32] = if kind == Kind::Sink { &[2] } else { &[1, 2] };
            assert_eq!((pair[1].closed(), &pair[1].got[..]), (None, got), "{kind:?}");
            assert_eq!((pair[0].closed(), &pair[0].got[..]), (Some(revocation.into()), &[][..]));
        }
    }
}

#[test]
fn dir_6_one_that_drains_loses_its_queue_and_is_not_counted_again() {
    let (registry, mut flusher) = lanes::registry_and_flusher();
    let mut outbox = open(&registry, group("ada"));
    let (wired, socket) = wired(&registry, group("ada"));
    socket.set_room(0);
    registry.broadcast("c", 1).unwrap();
    serve(&mut flusher);
    assert_eq!(registry.begin_shutdown(), 2);
    for id in [outbox.subscription().id(), wired.outbox().subscription().id()] {
        assert!(!registry.close(id, Revocation::Revoked));
    }
    socket.set_room(usize::MAX);
    assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Revoked)));
    assert_eq!((flush(&wired), socket.bytes()), (Some(CloseReason::Revoked), vec![]));
    assert_eq!(registry.stats().ended, [(CloseReason::Shutdown, 2)].into());
}

#[test]
fn dir_6_a_sink_may_end_itself_and_others_from_inside_its_calls() {
    let registry = Registry::new();
    let victim = Probe::new();
    let victims = Arc::new(join(&registry, &victim, Registration::new()));
    let own = Arc::new(OnceLock::<SubscriptionId>::new());
    let probe = Probe::new();
    let (again, me, other) = (registry.clone(), own.clone(), victims.id());
    probe.on_send(move |_| {
        assert!(again.close(*me.get().unwrap(), Revocation::LoggedOut));
        assert!(again.close(other, Revocation::Revoked));
        SendOutcome::Accepted
    });
    let sub = join(&registry, &probe, group("ada"));
    own.set(sub.id()).unwrap();
    registry.send(sub.id(), "c", 1).unwrap();
    assert_eq!(probe.events(), [Event::Sent(1), Event::Closed(CloseReason::LoggedOut)]);
    assert_eq!(victim.closed(), [CloseReason::Revoked]);
    assert!(registry.is_empty());
}

/// One step of a program on a registry with all kinds of subscribers.
#[derive(Debug, Clone)]
enum Step {
    /// A kind, a filter, and a set of identities as bits.
    Join(usize, usize, u8),
    Leave(usize),
    Broadcast(usize),
    SendTo(u8),
    Send(usize),
    Revoke(u8),
    Close(usize),
    Serve,
}

const FILTERS: [Option<&[&str]>; 5] =
    [None, Some(&[]), Some(&["a"]), Some(&["a", "b"]), Some(&["b", "c"])];

fn step() -> impl Strategy<Value = Step> {
    let which = 0_usize..10;
    prop_oneof![
        4 => (0_usize..4, 0..FILTERS.len(), 0_u8..8).prop_map(|(k, f, i)| Step::Join(k, f, i)),
        2 => which.clone().prop_map(Step::Leave),
        3 => (0_usize..3).prop_map(Step::Broadcast),
        4 => (0_u8..3).prop_map(Step::SendTo),
        3 => which.clone().prop_map(Step::Send),
        1 => (0_u8..3).prop_map(Step::Revoke),
        1 => which.prop_map(Step::Close),
        2 => Just(Step::Serve),
    ]
}

/// A subscriber of a program, and what a plain list says of it.
struct Line {
    member: Option<Member>,
    id: SubscriptionId,
    kind: Kind,
    filter: usize,
    holds: u8,
    expected: Vec<u32>,
    ended: bool,
}

impl Line {
    fn holds(&self, identity: u8) -> bool {
        self.holds & (1 << identity) != 0
    }

    fn hears(&self, channel: &str) -> bool {
        FILTERS[self.filter].is_none_or(|names| names.contains(&channel))
    }

    /// Checks what it got; it misses nothing if it is served.
    fn check(&mut self, served: bool) {
        let Some(member) = &mut self.member else { return };
        let got = member.got().to_vec();
        assert_eq!(got, self.expected[..got.len()], "DIR-1, DIR-2: {:?}", self.kind);
        let due = served && !self.ended;
        assert!(!due || got.len() == self.expected.len(), "DIR-1: {:?}", self.kind);
        assert!(self.ended || member.closed.is_none(), "DIR-6: {:?}", member.closed);
    }
}

proptest! {
    #[test]
    fn dir_1_dir_2_dir_3_dir_6_all_lanes_agree_with_a_plain_list(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let (registry, mut flusher) = lanes::registry_and_flusher();
        let mut lines: Vec<Line> = Vec::new();
        let mut number = 0;
        for step in steps {
            number += 1;
            let publish = |lines: &mut Vec<Line>, matches: &dyn Fn(usize, &Line) -> bool| {
                let for_it = |(at, line): &(usize, &mut Line)| !line.ended && matches(*at, line);
                let mut matched = 0;
                for (_, line) in lines.iter_mut().enumerate().filter(for_it) {
                    line.expected.push(number);
                    matched += 1;
                }
                matched
            };
            match step {
                Step::Join(kind, filter, holds) => {
                    let names = FILTERS[filter].map(|names| names.iter().copied());
                    let groups = (0..3).filter(|bit| holds & (1 << bit) != 0);
                    let registration = Registration::new()
                        .with_filter(names.map_or(ChannelFilter::All, ChannelFilter::only))
                        .with_groups(groups.map(|bit| id(&bit.to_string())));
                    let member = Member::join(&registry, KINDS[kind], registration);
                    let (kind, expected) = (KINDS[kind], Vec::new());
                    let id = member.id();
                    lines.push(Line {
                        member: Some(member), id, kind, filter, holds, expected, ended: false,
                    });
                }
                Step::Leave(which) => if let Some(line) = lines.get_mut(which) {
                    line.check(false);
                    line.ended = true;
                    line.member = None;
                },
                Step::Broadcast(channel) => {
                    let channel = ["a", "b", "c"][channel];
                    let matched = publish(&mut lines, &|_, line| line.hears(channel));
                    let report = registry.broadcast(channel, number).unwrap();
                    prop_assert_eq!((report.matched, report.accepted), (matched, matched));
                }
                Step::SendTo(identity) => {
                    let matched = publish(&mut lines, &|_, line| line.holds(identity));
                    let name = id(&identity.to_string());
                    prop_assert_eq!(registry.holders(&name), matched, "WHO-1");
                    let report = registry.send_to(name, "b", number).unwrap();
                    prop_assert_eq!((report.matched, report.accepted), (matched, matched));
                }
                Step::Send(which) => if let Some(id) = lines.get(which).map(|line| line.id) {
                    let matched = publish(&mut lines, &|at, _| at == which);
                    let report = registry.send(id, "a", number).unwrap();
                    prop_assert_eq!((report.matched, report.accepted), (matched, matched));
                },
                Step::Revoke(identity) => {
                    let held = |line: &&mut Line| line.holds(identity) && !line.ended;
                    let ended = lines.iter_mut().filter(held).map(|line| line.ended = true).count();
                    prop_assert_eq!(registry.close_by_identity(id(&identity.to_string())), ended);
                }
                Step::Close(which) => if let Some(line) = lines.get_mut(which) {
                    let ends = registry.close(line.id, Revocation::Revoked);
                    prop_assert_eq!(ends, !std::mem::replace(&mut line.ended, true), "DIR-6");
                },
                Step::Serve => {
                    serve(&mut flusher);
                    lines.iter_mut().for_each(|line| line.check(true));
                }
            }
        }
        serve(&mut flusher);
        lines.iter_mut().for_each(|line| line.check(true));
        prop_assert_eq!(registry.len(), lines.iter().filter(|line| !line.ended).count());
    }
}

#[test]
fn dir_5_a_full_lane_is_told_by_the_report() {
    let registry = encoding();
    let mut flusher: Flusher<u32> = registry.open_lane(LaneOptions::new().with_max_bytes(size(1)));
    let (outbox, socket) = wired(&registry, deaf("ada"));
    let counts = |n| {
        let report = registry.send_to(id("ada"), "c", n).unwrap();
        (report.matched, report.accepted, report.dropped, report.pending)
    };
    assert_eq!([counts(1), counts(2)], [(1, 1, 0, 0), (1, 0, 1, 0)]);
    serve(&mut flusher);
    assert_eq!((flush(&outbox), socket.values()), (Some(CloseReason::Lagged), vec![1]));
}
