//! Decides whether a history of calls could have been made by a registry that keeps its promises.
//!
//! A history is the sequence of everything that the threads saw: calls, their returns, and the
//! calls of sinks. Each operation took effect somewhere between its call and its return, so each
//! rule uses only what *must* have come before or after. A hand-over to a sink has such an interval
//! too: it began after the last event of its thread (`since`), and at the latest when the sink saw
//! it (`at`).
//!
//! The rules carry the numbers of the requirements; subscribers are judged one by one.

use std::collections::BTreeMap;

/// Names a subscriber by the number of its subscribe call.
pub(crate) type Sub = usize;
/// Names an operation.
pub(crate) type OpNo = usize;
/// A set of channels, or of identities, as bits.
pub(crate) type Bits = u8;

/// The kind of a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sink,
    /// A message is handed to it when its owner takes it.
    Outbox,
    /// An outbox with a flusher and a wire: a message is handed to it when it is written, and its
    /// hook is notified.
    Wired,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// Draws a ticket.
    Draw,
    /// Subscribes; with the `Draw` of a ticket, admits.
    Subscribe {
        sub: Sub,
        kind: Kind,
        hears: Bits,
        holds: Bits,
        ticket: Option<OpNo>,
    },
    Unsubscribe {
        sub: Sub,
    },
    Revoke {
        identity: Bits,
    },
    Broadcast {
        channel: Bits,
    },
    /// Sends to the holders of an identity.
    SendTo {
        identity: Bits,
    },
    /// Sends to one subscriber.
    SendOne {
        sub: Sub,
    },
    /// Ends one subscriber, as a revocation of it alone.
    Close {
        sub: Sub,
    },
    /// Takes everything from an outbox, or writes everything that waits for its wire.
    Take {
        sub: Sub,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Refused,
    Revoked(usize),
    Sent(u64),
    Took(Vec<u64>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Call(OpNo, Call),
    Return(OpNo, Outcome),
    /// A send began in the sink; it runs until `Sent`.
    Send(Sub, u64),
    Sent(Sub, u64),
    /// Bytes are handed to its wire.
    Write(Sub),
    /// The send that is running will report that the sink, or the wire, is broken.
    Failing(Sub),
    /// The sink was closed, or the outbox was found closed by force; true if the reason is
    /// *revoked*.
    Closed(Sub, bool),
}

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) thread: usize,
    pub(crate) event: Event,
}

/// An operation, from its call to its return.
struct Op {
    thread: usize,
    begin: usize,
    end: usize,
    call: Call,
    outcome: Outcome,
}

impl Op {
    /// Tells whether it sends a message for this subscriber.
    fn is_for(&self, sub: Sub, hears: Bits, holds: Bits) -> bool {
        match self.call {
            Call::Broadcast { channel } => channel & hears != 0,
            Call::SendTo { identity } => identity & holds != 0,
            Call::SendOne { sub: addressed } => addressed == sub,
            _ => false,
        }
    }

    fn sends(&self) -> bool {
        matches!(self.call, Call::Broadcast { .. } | Call::SendTo { .. } | Call::SendOne { .. })
    }

    /// Tells whether it ends this subscriber.
    fn revokes(&self, own: Sub, holds: Bits) -> bool {
        match self.call {
            Call::Revoke { identity } => identity & holds != 0,
            Call::Close { sub } => sub == own,
            _ => false,
        }
    }
}

struct HandOver {
    seq: u64,
    thread: usize,
    since: usize,
    at: usize,
    /// When the sink returned.
    until: usize,
}

/// One subscriber's part of a history.
#[derive(Default)]
struct Life {
    hand_overs: Vec<HandOver>,
    /// When and on which thread it was closed; true if the reason was *revoked*.
    closes: Vec<(usize, usize, bool)>,
    failing: Option<usize>,
    /// When something was written to its wire.
    writes: Vec<usize>,
}

/// Returns the rule that a history breaks. `len` is what the registry returned at the end, with
/// nothing running.
pub(crate) fn judge(history: &[Record], len: usize) -> Result<(), String> {
    let (ops, lives) = read(history);
    let broadcasts = broadcasts(&ops, &lives)?;
    let (mut active, mut revoked, mut counted) = (0, 0, 0);
    for op in ops.values() {
        match (&op.call, &op.outcome) {
            (Call::Subscribe { sub, .. }, _) => {
                let nobody = Life::default();
                let life = lives.get(sub).unwrap_or(&nobody);
                let case = Case { ops: &ops, broadcasts: &broadcasts, join: op, life };
                active +=
                    usize::from(case.judge().map_err(|rule| format!("subscriber {sub}: {rule}"))?);
                revoked += life.closes.iter().filter(|(_, _, revoked)| *revoked).count();
            }
            (_, Outcome::Revoked(count)) => counted += count,
            _ => {}
        }
    }
    require(counted == revoked, || format!("CNT-1: {counted} counted, {revoked} revoked"))?;
    require(active == len, || format!("CNT-2: len is {len}, {active} are active"))
}

fn require(kept: bool, rule: impl FnOnce() -> String) -> Result<(), String> {
    if kept { Ok(()) } else { Err(rule()) }
}

fn read(history: &[Record]) -> (BTreeMap<OpNo, Op>, BTreeMap<Sub, Life>) {
    let mut ops = BTreeMap::new();
    let mut lives: BTreeMap<Sub, Life> = BTreeMap::new();
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    for (at, Record { thread, event }) in history.iter().enumerate() {
        let thread = *thread;
        let since = last.insert(thread, at).unwrap_or(0);
        match event {
            Event::Call(no, call) => {
                let (call, outcome) = (call.clone(), Outcome::Done);
                ops.insert(*no, Op { thread, begin: at, end: usize::MAX, call, outcome });
            }
            Event::Return(no, outcome) => {
                let op = ops.get_mut(no).expect("a call returns after it was made");
                (op.end, op.outcome) = (at, outcome.clone());
                if let (Call::Take { sub }, Outcome::Took(seqs)) = (&op.call, outcome) {
                    let since = op.begin;
                    let hand_over = |&seq| HandOver { seq, thread, since, at, until: at };
                    lives.entry(*sub).or_default().hand_overs.extend(seqs.iter().map(hand_over));
                }
            }
            Event::Send(sub, seq) => {
                let hand_over = HandOver { seq: *seq, thread, since, at, until: usize::MAX };
                lives.entry(*sub).or_default().hand_overs.push(hand_over);
            }
            Event::Sent(sub, seq) => {
                let mut sends = lives.entry(*sub).or_default().hand_overs.iter_mut();
                sends
                    .find(|send| send.seq == *seq && send.until == usize::MAX)
                    .expect("a send ends after it began")
                    .until = at;
            }
            Event::Write(sub) => lives.entry(*sub).or_default().writes.push(at),
            Event::Failing(sub) => lives.entry(*sub).or_default().failing = Some(at),
            Event::Closed(sub, revoked) => {
                lives.entry(*sub).or_default().closes.push((at, thread, *revoked))
            }
        }
    }
    (ops, lives)
}

/// A broadcast, and the moment at which its place in the order was fixed at the latest: its return,
/// or the first subscriber that saw it.
struct Placed<'a> {
    op: &'a Op,
    at: usize,
}

/// All messages in the order of their ids, which must be a possible order of their calls.
fn broadcasts<'a>(
    ops: &'a BTreeMap<OpNo, Op>,
    lives: &BTreeMap<Sub, Life>,
) -> Result<BTreeMap<u64, Placed<'a>>, String> {
    let mut placed = BTreeMap::new();
    for op in ops.values() {
        if let Outcome::Sent(seq) = op.outcome {
            let twice = placed.insert(seq, Placed { op, at: op.end });
            require(twice.is_none(), || format!("ORD-3: two broadcasts have the id {seq}"))?;
        }
    }
    for hand_over in lives.values().flat_map(|life| &life.hand_overs) {
        let Some(broadcast) = placed.get_mut(&hand_over.seq) else {
            return Err(format!("DEL-4: {} was not sent", hand_over.seq));
        };
        broadcast.at = broadcast.at.min(hand_over.at);
    }
    let mut begun = 0;
    for (seq, broadcast) in &placed {
        begun = begun.max(broadcast.op.begin);
        require(broadcast.at > begun, || {
            format!("ORD-1, ORD-2: {seq} was there before one with a smaller id began")
        })?;
    }
    Ok(placed)
}

/// One subscriber, as the judge sees it.
struct Case<'a> {
    ops: &'a BTreeMap<OpNo, Op>,
    broadcasts: &'a BTreeMap<u64, Placed<'a>>,
    join: &'a Op,
    life: &'a Life,
}

impl Case<'_> {
    /// True when the subscriber is active at the end of the history.
    fn judge(&self) -> Result<bool, String> {
        let Call::Subscribe { sub, kind, hears, holds, ticket } = self.join.call else {
            unreachable!("a subscribe")
        };
        let ticket = ticket.map(|no| &self.ops[&no]);
        let revocations: Vec<&Op> = self
            .ops
            .values()
            .filter(|op| op.revokes(sub, holds))
            .filter(|op| op.end > ticket.unwrap_or(self.join).begin)
            .collect();
        if self.join.outcome == Outcome::Refused {
            self.refusal(ticket, &revocations)?;
            return Ok(false);
        }
        // A revocation from this moment on must reach it; with a ticket, also one before the
        // admission.
        let reachable = ticket.unwrap_or(self.join).end;
        for op in &revocations {
            let missed = op.begin > reachable && op.end < self.join.begin;
            require(!missed, || "ADM-1: admitted although it was revoked since the ticket".into())?;
        }
        let unsubscribe = self.ops.values().find(|op| op.call == Call::Unsubscribe { sub });
        let is_for = |op: &Op| op.is_for(sub, hears, holds);
        self.order(is_for)?;
        self.ends(&revocations, reachable, unsubscribe, kind)?;
        self.deliveries(sub, is_for, kind, &revocations, unsubscribe)?;
        Ok(self.life.closes.is_empty() && unsubscribe.is_none() && self.life.failing.is_none())
    }

    fn refusal(&self, ticket: Option<&Op>, revocations: &[&Op]) -> Result<(), String> {
        let reason = ticket.is_some() && revocations.iter().any(|op| op.begin < self.join.end);
        require(reason, || "ADM-5: refused without a revocation since the ticket".into())?;
        let nothing = self.life.hand_overs.is_empty() && self.life.closes.is_empty();
        require(nothing, || "ADM-2: something reached a refused sink".into())
    }

    /// Checks that it was handed one run of the messages that are for it, in their order, and none
    /// from before it joined.
    fn order(&self, is_for: impl Fn(&Op) -> bool) -> Result<(), String> {
        let heard: Vec<u64> = self
            .broadcasts
            .iter()
            .filter(|(_, broadcast)| is_for(broadcast.op))
            .map(|(seq, _)| *seq)
            .collect();
        let mut before: Option<usize> = None;
        for hand_over in &self.life.hand_overs {
            let seq = hand_over.seq;
            let Ok(place) = heard.binary_search(&seq) else {
                return Err(format!("DEL-4: {seq} is not for it"));
            };
            if let Some(before) = before {
                require(place != before, || format!("DEL-2: {seq} came twice"))?;
                require(place > before, || format!("ORD-3: {seq} came after {}", heard[before]))?;
                require(place == before + 1, || {
                    format!("CON-1: {} is missing before {seq}", heard[place - 1])
                })?;
            }
            before = Some(place);
            let earlier = self.broadcasts[&seq].at < self.join.begin;
            require(!earlier, || format!("CON-1, RE-3: {seq} was sent before it came"))?;
        }
        Ok(())
    }

    fn ends(
        &self,
        revocations: &[&Op],
        reachable: usize,
        unsubscribe: Option<&Op>,
        kind: Kind,
    ) -> Result<(), String> {
        let Life { hand_overs, closes, failing, writes } = self.life;
        // A write happens under the gate's lock, so it begins when it is seen.
        let began = |send: &HandOver| if kind == Kind::Wired { send.at } else { send.since };
        require(closes.len() <= 1, || format!("CLO-1: closed {} times", closes.len()))?;
        for send in hand_overs {
            let seq = send.seq;
            let after = |moment: Option<usize>| moment.is_some_and(|moment| began(send) > moment);
            require(!after(unsubscribe.map(|op| op.end)), || {
                format!("SUB-3: {seq} began after unsubscribe returned")
            })?;
            require(!after(*failing), || format!("ISO-5: {seq} began after the sink had failed"))?;
            let close = closes.first();
            require(!after(close.map(|(at, ..)| *at)), || {
                format!("CLO-4: {seq} began after the close")
            })?;
            let inside = close.is_some_and(|&(at, thread, _)| {
                kind == Kind::Sink && thread == send.thread && send.at < at && at < send.until
            });
            require(!inside, || format!("CLO-4: closed inside the send of {seq}"))?;
        }
        let during =
            |moment: usize| hand_overs.iter().any(|send| send.at < moment && moment < send.until);
        for op in revocations.iter().filter(|op| op.begin > reachable) {
            let ended = op.end.max(self.join.end);
            let late = hand_overs.iter().find(|send| began(send) > ended);
            require(late.is_none(), || {
                format!("REV-2: {} began after the revocation returned", late.map_or(0, |s| s.seq))
            })?;
            let written =
                kind == Kind::Wired && (writes.iter().any(|at| *at > ended) || during(ended));
            require(!written, || "REV-12: written to after the revocation returned".into())?;
            let mut others =
                revocations.iter().filter(|other| other.begin != op.begin).map(|other| other.begin);
            let shared = others.any(|begin| begin < ended)
                || unsubscribe.is_some_and(|other| other.begin < ended)
                || failing.is_some_and(|at| at < ended);
            // A close inside its own send waits for that send; an outbox is found closed later.
            let inside = hand_overs
                .iter()
                .any(|s| s.thread == op.thread && s.at < op.begin && op.begin < s.until);
            let by = if kind == Kind::Outbox || inside { usize::MAX } else { ended };
            let notified = closes.first().is_some_and(|(at, ..)| *at < by);
            require(notified || shared, || "REV-1: not closed by the revocation's return".into())?;
            let gone = !closes.is_empty() || unsubscribe.is_some() || failing.is_some();
            require(gone, || "REV-1: active after a revocation".into())?;
        }
        for &(at, _, revoked) in closes {
            let forced = if revoked {
                revocations
                    .iter()
                    .any(|op| op.begin < at && unsubscribe.is_none_or(|own| op.begin < own.end))
            } else {
                failing.is_some_and(|failed| failed < at)
            };
            require(forced, || {
                "CLO-2, CLO-3: closed without a reason, or after unsubscribe returned".into()
            })?;
        }
        if kind != Kind::Wired && failing.is_some() && closes.is_empty() && unsubscribe.is_none() {
            return Err("ISO-5: a failed sink was not closed".into());
        }
        Ok(())
    }

    /// Checks that it was handed every message that it had to be handed.
    fn deliveries(
        &self,
        sub: Sub,
        is_for: impl Fn(&Op) -> bool,
        kind: Kind,
        revocations: &[&Op],
        unsubscribe: Option<&Op>,
    ) -> Result<(), String> {
        let ending = revocations
            .iter()
            .map(|op| op.begin)
            .chain(unsubscribe.map(|op| op.begin))
            .chain(self.life.failing);
        let ending = ending.min().unwrap_or(usize::MAX);
        for (seq, Placed { op: broadcast, .. }) in self.broadcasts {
            if !is_for(broadcast) || broadcast.begin < self.join.end {
                continue;
            }
            let handed =
                self.life.hand_overs.iter().find(|send| send.seq == *seq).map(|send| send.at);
            let due = if kind == Kind::Wired {
                Some(usize::MAX) // when its flusher and its owner are done
            } else if kind == Kind::Outbox {
                // An owner that takes after the broadcast returned gets it.
                let looks = self
                    .ops
                    .values()
                    .filter(|op| op.call == Call::Take { sub } && op.begin > broadcast.end);
                looks.map(|op| op.end).min()
            } else if self.ops.values().any(|op| {
                op.sends()
                    && op.begin < broadcast.end
                    && broadcast.begin < op.end
                    && op.begin != broadcast.begin
            }) {
                Some(usize::MAX) // another thread was delivering: when all have returned
            } else {
                Some(broadcast.end)
            };
            if let Some(due) = due {
                let missing = ending >= due && handed.is_none_or(|at| at > due);
                require(!missing, || format!("DEL-1: {seq} is missing"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
