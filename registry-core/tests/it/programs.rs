//! Random programs on lanes, compared with a plain list: which messages each subscriber got, in
//! which order, and which losses were reported.
//!
//! Flushers and owners are polled at random, and at the end only when they are woken. So a lost
//! wake-up shows as a message that never arrives.

mod line;

use crate::kit::*;
use crate::wire::*;
use line::{Lane, Line, Owned};
use proptest::prelude::*;
use registry_core::{
    BroadcastError, ChannelFilter, CloseReason, LaneOptions, OutboxOptions, Overflow, Registration,
    Report, Revocation, SocketOutbox, WireFormat,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

const CHANNELS: [&str; 4] = ["a", "b", "", "ab"];
const FILTERS: [Option<&[usize]>; 7] =
    [None, Some(&[]), Some(&[0]), Some(&[1]), Some(&[0, 1]), Some(&[1, 2, 3]), Some(&[0, 1, 2, 3])];

#[derive(Debug, Clone)]
enum Step {
    Join(Plan),
    Attach(usize),
    Unsubscribe(usize),
    Drop(usize),
    /// A channel, and a value that says how long the frame is.
    Broadcast(usize, u32),
    /// An identity, and the same.
    SendTo(u8, usize, u32),
    /// A subscriber, and the same.
    Send(usize, usize, u32),
    /// Ends one subscriber.
    Close(usize),
    /// One call of a flusher.
    Serve(usize),
    /// Sets how many bytes a socket takes from now on.
    Room(usize, usize),
    Break(usize),
    /// One poll of an owner.
    Owner(usize),
    Control(usize),
    Revoke(u8),
    /// The owner ends its subscriber, and flushes.
    Finish(usize),
    Open,
    DropFlusher(usize),
    Shutdown,
}

#[derive(Debug, Clone)]
struct Plan {
    filter: usize,
    overflow: Overflow,
    /// Messages and bytes; `None` for bounds that are never reached.
    bounds: Option<(usize, usize)>,
    identity: u8,
    format: usize,
    with_flusher: bool,
    wired: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    let overflow = prop_oneof![
        Just(Overflow::Close),
        Just(Overflow::DropOldest),
        Just(Overflow::DropNewest),
        Just(Overflow::KeepLatest)
    ];
    let bounds = proptest::option::of((1_usize..5, 1_usize..200));
    (
        0..FILTERS.len(),
        overflow,
        bounds,
        0_u8..4,
        0_usize..3,
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.7),
    )
        .prop_map(|(filter, overflow, bounds, identity, format, with_flusher, wired)| Plan {
            filter,
            overflow,
            bounds,
            identity,
            format,
            with_flusher,
            wired,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0_usize..8;
    let value = prop_oneof![12 => 0_u32..1_000, 1 => 30_000_u32..90_000];
    let room = prop_oneof![2 => Just(usize::MAX), 2 => Just(0), 3 => 1_usize..150];
    prop_oneof![
        6 => plan().prop_map(Step::Join),
        2 => which.clone().prop_map(Step::Attach),
        1 => which.clone().prop_map(Step::Unsubscribe),
        1 => which.clone().prop_map(Step::Drop),
        14 => (0..CHANNELS.len(), value.clone())
            .prop_map(|(name, value)| Step::Broadcast(name, value)),
        5 => (0_u8..4, 0..CHANNELS.len(), value.clone())
            .prop_map(|(to, name, value)| Step::SendTo(to, name, value)),
        4 => (which.clone(), 0..CHANNELS.len(), value)
            .prop_map(|(to, name, value)| Step::Send(to, name, value)),
        1 => which.clone().prop_map(Step::Close),
        6 => (0_usize..3).prop_map(Step::Serve),
        6 => (which.clone(), room).prop_map(|(which, room)| Step::Room(which, room)),
        1 => which.clone().prop_map(Step::Break),
        6 => which.clone().prop_map(Step::Owner),
        3 => which.clone().prop_map(Step::Control),
        2 => (0_u8..4).prop_map(Step::Revoke),
        1 => which.prop_map(Step::Finish),
    ]
}

/// The last step of a program, if it has one.
fn last() -> impl Strategy<Value = Option<Step>> {
    prop_oneof![
        2 => Just(None),
        2 => Just(Some(Step::Shutdown)),
        1 => (0_usize..3).prop_map(|which| Some(Step::DropFlusher(which))),
    ]
}

struct World {
    registry: Registry,
    options: LaneOptions,
    lanes: Vec<Lane>,
    lines: Vec<Line>,
    shut_down: bool,
}

impl World {
    fn new(lanes: usize, log_bytes: Option<usize>) -> Self {
        let options = log_bytes
            .map_or(LaneOptions::new(), |bytes| LaneOptions::new().with_max_bytes(size(bytes)));
        let mut world = Self {
            registry: encoding(),
            options,
            lanes: Vec::new(),
            lines: Vec::new(),
            shut_down: false,
        };
        (0..lanes).for_each(|_| world.run(Step::Open));
        world
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Open => {
                let (wakes, waker) = Wakes::new();
                let flusher = Some(self.registry.open_lane(self.options));
                self.lanes.push(Lane {
                    flusher,
                    wakes,
                    waker,
                    followed: 0,
                    more: true,
                    done: false,
                });
            }
            Step::Join(plan) => self.join(plan),
            Step::Attach(which) => self.with(which, |line| {
                match line.owned.take() {
                    Some(Owned::Queue(outbox)) => {
                        line.owned = Some(Owned::Wire(outbox.attach(line.socket.clone())));
                        line.wired = true;
                        // From now on the flush registers the waker.
                        line.closed = None;
                        line.turn();
                    }
                    owned => line.owned = owned,
                }
            }),
            Step::Unsubscribe(which) => self.with(which, |line| {
                if let Some(owned) = &line.owned {
                    owned.outbox().subscription().unsubscribe();
                    line.socket.seal();
                }
            }),
            Step::Drop(which) => self.with(which, Line::leave),
            Step::Broadcast(channel, value) => self.publish(
                value,
                |_, line| line.hears(channel),
                |registry| registry.broadcast(CHANNELS[channel], value),
            ),
            Step::SendTo(number, channel, value) => self.publish(
                value,
                |_, line| line.plan.identity == number,
                |registry| registry.send_to(id(&number.to_string()), CHANNELS[channel], value),
            ),
            Step::Send(which, channel, value) => {
                let Some(id) = self.lines.get(which).map(|line| line.id) else { return };
                self.publish(
                    value,
                    |at, _| at == which,
                    |registry| registry.send(id, CHANNELS[channel], value),
                );
            }
            Step::Close(which) => {
                let Some(line) = self.lines.get_mut(which) else { return };
                let (active, owned) = (line.is_active(), line.owned.is_some());
                let ends = self.registry.close(line.id, Revocation::Revoked);
                assert_eq!(ends, active && owned, "DIR-6");
                if owned {
                    line.socket.seal();
                    assert!(line.reason().is_some_and(CloseReason::discards), "DIR-6");
                }
            }
            Step::Serve(which) => {
                if let Some(lane) = self.lanes.get_mut(which) {
                    lane.serve();
                }
            }
            Step::Room(which, room) => self.with(which, |line| line.socket.set_room(room)),
            Step::Break(which) => self.with(which, |line| line.socket.break_down()),
            Step::Owner(which) => self.with(which, Line::turn),
            Step::Control(which) => self.with(which, |line| {
                let wire = line.owned.as_ref().and_then(Owned::wire);
                if let Some(outbox) = wire.filter(|_| line.closed.is_none()) {
                    outbox.send_control(&control(line.controls), now());
                    line.controls += 1;
                }
            }),
            Step::Revoke(number) => {
                let held = |line: &&mut Line| line.plan.identity == number && line.owned.is_some();
                let active =
                    self.lines.iter_mut().filter(held).filter(|line| line.is_active()).count();
                assert_eq!(
                    self.registry.close_by_identity(id(&number.to_string())),
                    active,
                    "CNT-1"
                );
                for line in self.lines.iter_mut().filter(held) {
                    line.socket.seal();
                    assert!(
                        line.reason().is_some_and(CloseReason::discards),
                        "REV-1: {:?}",
                        line.reason()
                    );
                }
            }
            Step::Finish(which) => self.with(which, |line| {
                if let Some(owned) = &line.owned {
                    owned.outbox().close(CloseReason::Shutdown);
                }
            }),
            Step::DropFlusher(which) => {
                let Some(lane) = self.lanes.get_mut(which) else { return };
                let active =
                    self.lines.iter().filter(|line| line.lane == Some(which) && line.is_active());
                let ended: Vec<_> = active.map(|line| line.reasons.clone()).collect();
                lane.flusher = None;
                for reasons in ended {
                    assert_eq!(*reasons.lock().unwrap(), [CloseReason::Failed]);
                }
            }
            Step::Shutdown => {
                let active = self.lines.iter().filter(|line| line.is_active()).count();
                assert_eq!(self.registry.begin_shutdown(), active, "CNT-1");
                self.shut_down = true;
            }
        }
        self.check();
    }

    fn with(&mut self, which: usize, act: impl FnOnce(&mut Line)) {
        if let Some(line) = self.lines.get_mut(which) {
            act(line);
        }
    }

    fn join(&mut self, plan: Plan) {
        let names = FILTERS[plan.filter].map(|names| names.iter().map(|name| CHANNELS[*name]));
        let filter = names.map_or(ChannelFilter::All, ChannelFilter::only);
        let registration =
            Registration::new().with_filter(filter).with_group(id(&plan.identity.to_string()));
        let (messages, bytes) = plan.bounds.unwrap_or((100_000, 100_000_000));
        let mut options = OutboxOptions::new().with_overflow(plan.overflow);
        options = options.with_max_messages(size(messages)).with_max_bytes(size(bytes));
        if plan.with_flusher {
            options = options.with_flusher();
        }
        let members = |lane| {
            self.lines.iter().filter(|line| line.lane == Some(lane) && line.is_active()).count()
        };
        let open = (0..self.lanes.len()).filter(|lane| self.lanes[*lane].flusher.is_some());
        let lane = open.min_by_key(|lane| (members(*lane), *lane)).filter(|_| plan.with_flusher);
        let format: &'static WireFormat = [&BARE, &ENVELOPED, &SILENT][plan.format];
        let outbox = self.registry.open_outbox(format, options, registration).unwrap();
        let subscriber = outbox.subscription().id();
        let (reasons, socket) = (Arc::new(Mutex::new(Vec::new())), Socket::new());
        let (heard, sealed) = (reasons.clone(), socket.clone());
        outbox.on_end(move |reason: CloseReason| {
            if reason.discards() {
                sealed.seal();
            }
            heard.lock().unwrap().push(reason);
        });
        let wired = plan.wired;
        let owned =
            if wired { Owned::Wire(outbox.attach(socket.clone())) } else { Owned::Queue(outbox) };
        let (wakes, waker) = Wakes::new();
        let mut line = Line {
            id: subscriber,
            plan,
            owned: Some(owned),
            socket,
            wired,
            wakes,
            waker,
            followed: 0,
            waits_for_room: false,
            closed: None,
            lane,
            reasons,
            expected: Vec::new(),
            controls: 0,
            taken: Vec::new(),
            was_mid_frame: false,
        };
        line.turn();
        self.lines.push(line);
    }

    /// Publishes a message that is for some of the lines.
    fn publish(
        &mut self,
        value: u32,
        is_for: impl Fn(usize, &Line) -> bool,
        publish: impl FnOnce(&Registry) -> Result<Report, BroadcastError<u32>>,
    ) {
        let before: Vec<bool> = self.lines.iter().map(Line::is_active).collect();
        let report = publish(&self.registry).unwrap();
        let mut matched = 0;
        for (at, line) in self.lines.iter_mut().enumerate() {
            if before[at] && is_for(at, line) {
                matched += 1;
                line.expected.push((report.id.seq(), value));
            }
        }
        let counts = (report.matched, report.pending, report.failed);
        assert_eq!(counts, (matched, 0, 0), "FLT-1, DIR-1, DIR-3");
    }

    /// Checks what must hold at any moment.
    fn check(&self) {
        let active = self.lines.iter().filter(|line| line.is_active()).count();
        let stats = self.registry.stats();
        assert_eq!((stats.subscribers, self.registry.len()), (active, active), "CNT-2");
        for number in 0..4 {
            let holds = |line: &&Line| line.plan.identity == number && line.is_active();
            let holders = self.lines.iter().filter(holds).count();
            assert_eq!(self.registry.holders(id(&number.to_string())), holders, "WHO-1");
        }
        let listed: BTreeSet<u64> =
            self.registry.page(None, 100).iter().map(|info| info.id.serial()).collect();
        let active = self.lines.iter().filter(|line| line.is_active());
        assert!(listed.into_iter().eq(active.map(|line| line.id.serial())), "WHO-2");
        let in_lanes =
            self.lines.iter().filter(|line| line.lane.is_some() && line.is_active()).count();
        assert_eq!(stats.in_lanes, in_lanes);
        assert_eq!(
            stats.wired,
            self.lines.iter().filter(|line| line.wired && line.owned.is_some()).count()
        );
        let mut ended = BTreeMap::new();
        for line in &self.lines {
            let reasons = line.reasons.lock().unwrap();
            if let Some(first) = reasons.first() {
                *ended.entry(*first).or_insert(0) += 1;
            }
            let overridden =
                reasons.len() == 2 && reasons[0] == CloseReason::Shutdown && reasons[1].discards();
            assert!(reasons.len() < 2 || overridden, "CLO-1, CLO-5: {reasons:?}");
            assert!(
                line.has_bounds(),
                "QUE-1, QUE-3: {:?}",
                line.owned.as_ref().map(Owned::outbox)
            );
            assert_eq!(line.socket.late(), 0, "REV-12: a write after the end");
        }
        assert_eq!(stats.ended, ended, "CNT-1: each end is counted once, by its first reason");
    }

    /// Polls every task that was woken until no task is woken any more.
    fn settle(&mut self) {
        loop {
            let due = self.lanes.iter_mut().find(|lane| lane.is_due()).map(Lane::serve);
            let owner = self.lines.iter_mut().find(|line| line.is_due()).map(Line::turn);
            if due.is_none() && owner.is_none() {
                break;
            }
        }
        self.check();
    }

    /// Checks what must hold when everything is served and every peer has read.
    fn judge(&self) {
        for (number, line) in self.lines.iter().enumerate() {
            let bytes = line.socket.bytes();
            let (reads, partial) = read(&bytes, line.enveloped());
            let wire = line.owned.as_ref().map(Owned::wire);
            let mid_frame = wire
                .map_or(line.was_mid_frame, |wire| wire.is_some_and(SocketOutbox::is_mid_frame));
            assert!(
                partial.is_empty() || mid_frame,
                "{number}: a partial frame, and a farewell would follow it"
            );
            assert!(
                !line.enveloped() || mid_frame != partial.is_empty(),
                "{number}: the last write was whole"
            );
            let all: Vec<Read> = line.taken.iter().copied().chain(reads).collect();
            let mut heard = Vec::new();
            let (mut lost, mut controls) = (0, Vec::new());
            for read in all {
                match read {
                    Read::Message(seq, value) => heard.push((seq, value)),
                    Read::Lost(messages) => lost += messages as usize,
                    Read::Control(number) => controls.push(number),
                }
            }
            let expected = &line.expected;
            let mut rest = expected.iter();
            for message in &heard {
                assert!(
                    rest.any(|next| next == message),
                    "{number}: ORD-1, DEL-2, DEL-4: {heard:?} of {expected:?}"
                );
            }
            assert!(controls.iter().copied().eq(0..controls.len()), "{number}: {controls:?}");
            let reason = line.reason();
            let served = reason.is_none_or(|reason| !reason.discards());
            if line.plan.overflow == Overflow::Close
                || (line.plan.bounds.is_none() && self.is_roomy())
            {
                assert_eq!(
                    (&expected[..heard.len()], lost),
                    (&heard[..], 0),
                    "{number}: a message is missing"
                );
                assert!(
                    !served || heard.len() == expected.len(),
                    "{number}: DEL-1: {heard:?} of {expected:?}"
                );
            }
            if line.plan.bounds.is_none() && self.is_roomy() {
                assert_ne!(reason, Some(CloseReason::Lagged), "{number}");
            }
            if served {
                // A format without notices reports no loss; an outbox without a wire reports it
                // with the next batch.
                let silent = line.plan.format == 2 && line.wired;
                assert!(
                    silent || heard.len() + lost <= expected.len(),
                    "{number}: more was lost than was sent"
                );
                if line.wired && !silent {
                    assert_eq!(
                        heard.len() + lost,
                        expected.len(),
                        "{number}: QUE-1: a loss was not reported"
                    );
                }
                assert!(
                    !line.wired || controls.len() == line.controls,
                    "{number}: a control frame was not written"
                );
            }
            if let Some(reason) = reason.filter(|_| line.owned.is_some()) {
                // An owner that saw the end of its drain does not ask for a later end.
                let notified = [Some(reason), Some(CloseReason::Shutdown)].contains(&line.closed);
                assert!(notified, "{number}: CLO-5: its owner was not notified of the end");
            }
        }
    }

    fn is_roomy(&self) -> bool {
        self.options == LaneOptions::new()
    }
}

proptest! {
    #[test]
    fn flt_1_ord_1_del_2_rev_12_lanes_agree_with_a_plain_list(
        lanes in 1_usize..4,
        log_bytes in proptest::option::weighted(0.3, 200_usize..1_000),
        steps in proptest::collection::vec(step(), 1..60),
        last in last(),
    ) {
        let mut world = World::new(lanes, log_bytes);
        for step in steps.into_iter().chain(last) {
            world.run(step);
        }
        // Every peer reads on. Only woken tasks are polled.
        for line in &world.lines {
            line.socket.set_room(usize::MAX);
        }
        world.settle();
        world.judge();
        if world.shut_down {
            let done = |lane: &Lane| lane.done || lane.flusher.is_none();
            prop_assert!(world.lanes.iter().all(done), "DRN-1");
        }
        world.lines.iter_mut().for_each(Line::leave);
        world.settle();
        let stats = world.registry.stats();
        prop_assert_eq!((stats.subscribers, stats.draining, stats.wired), (0, 0, 0));
    }
}
