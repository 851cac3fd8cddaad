//! Histories that the judge passes, and faults that it notices.

use super::*;
use Call::{Broadcast, Close, Draw, Revoke, SendOne, SendTo, Subscribe, Take, Unsubscribe};
use Event::{Closed, Failing, Send, Sent, Write};
use Outcome::{Done, Refused, Revoked, Took};

/// A history that a test writes. Operations are named by the moment of their call.
#[derive(Default)]
struct History(Vec<Record>);

impl History {
    fn see(&mut self, thread: usize, event: Event) -> &mut Self {
        self.0.push(Record { thread, event });
        self
    }

    fn call(&mut self, thread: usize, call: Call) -> OpNo {
        let no = self.0.len();
        self.see(thread, Event::Call(no, call));
        no
    }

    fn done(&mut self, thread: usize, no: OpNo, outcome: Outcome) -> &mut Self {
        self.see(thread, Event::Return(no, outcome))
    }

    fn now(&mut self, thread: usize, call: Call, outcome: Outcome) -> &mut Self {
        let no = self.call(thread, call);
        self.done(thread, no, outcome)
    }

    /// A sink that hears channel 1 and holds identity 1.
    fn join(&mut self, sub: Sub) -> &mut Self {
        self.now(0, subscribe(sub, false, None), Done)
    }

    fn send(&mut self, thread: usize, sub: Sub, seq: u64) -> &mut Self {
        self.see(thread, Send(sub, seq)).see(thread, Sent(sub, seq))
    }

    /// A broadcast that reaches these sinks before it returns.
    fn broadcast(&mut self, thread: usize, seq: u64, subs: &[Sub]) -> &mut Self {
        let no = self.call(thread, BROADCAST);
        subs.iter().for_each(|sub| {
            self.send(thread, *sub, seq);
        });
        self.done(thread, no, Outcome::Sent(seq))
    }

    fn passes(&self, len: usize) {
        assert_eq!(judge(&self.0, len), Ok(()));
    }

    fn breaks(&self, len: usize, rule: &str) {
        let verdict = judge(&self.0, len).expect_err(rule);
        // "subscriber 1: CLO-2, CLO-3: closed without …"
        let named =
            verdict.split(": ").flat_map(|part| part.split(", ")).any(|named| named == rule);
        assert!(named, "{rule} expected: {verdict}");
    }
}

const BROADCAST: Call = Broadcast { channel: 1 };
const REVOKE: Call = Revoke { identity: 1 };

fn subscribe(sub: Sub, outbox: bool, ticket: Option<OpNo>) -> Call {
    let kind = if outbox { Kind::Outbox } else { Kind::Sink };
    Subscribe { sub, kind, hears: 1, holds: 1, ticket }
}

#[test]
fn a_history_without_a_fault_passes() {
    let mut h = History::default();
    h.join(1).broadcast(0, 1, &[1]).join(2).broadcast(1, 2, &[2, 1]);
    h.now(0, Broadcast { channel: 2 }, Outcome::Sent(3)).now(1, Unsubscribe { sub: 2 }, Done);
    h.passes(1);
    let revoke = h.call(0, REVOKE);
    h.see(0, Closed(1, true)).done(0, revoke, Revoked(1)).passes(0);
}

#[test]
fn del_1_a_missing_broadcast_is_noticed() {
    History::default().join(1).broadcast(0, 1, &[]).breaks(1, "DEL-1");
    History::default().join(1).broadcast(0, 1, &[1]).broadcast(0, 2, &[]).breaks(1, "DEL-1");
    // A late one is missing too, unless another thread was delivering.
    History::default().join(1).broadcast(0, 1, &[]).send(1, 1, 1).breaks(1, "DEL-1");
    let mut h = History::default();
    let other = h.join(1).call(1, BROADCAST);
    h.broadcast(0, 1, &[]).send(1, 1, 1).send(1, 1, 2).done(1, other, Outcome::Sent(2)).passes(1);
}

#[test]
fn del_1_a_frame_missing_from_an_outbox_is_noticed() {
    let mut h = History::default();
    h.now(0, subscribe(1, true, None), Done).broadcast(0, 1, &[]).now(
        1,
        Take { sub: 1 },
        Took(vec![]),
    );
    h.breaks(1, "DEL-1");
    let mut h = History::default();
    h.now(0, subscribe(1, true, None), Done).broadcast(0, 1, &[]).now(
        1,
        Take { sub: 1 },
        Took(vec![1]),
    );
    h.passes(1);
}

#[test]
fn del_2_del_4_a_repeated_unknown_or_unmatched_broadcast_is_noticed() {
    History::default().join(1).broadcast(0, 1, &[1, 1]).breaks(1, "DEL-2");
    History::default().join(1).broadcast(0, 1, &[1]).send(0, 1, 7).breaks(1, "DEL-4");
    let mut h = History::default();
    h.join(1).now(0, Broadcast { channel: 2 }, Outcome::Sent(1)).send(0, 1, 1).breaks(1, "DEL-4");
}

#[test]
fn ord_3_a_wrong_order_is_noticed() {
    let mut h = History::default();
    let outer = h.join(1).call(1, BROADCAST);
    h.broadcast(0, 1, &[])
        .send(1, 1, 2)
        .send(1, 1, 1)
        .done(1, outer, Outcome::Sent(2))
        .breaks(1, "ORD-3");
    History::default().broadcast(0, 2, &[]).broadcast(0, 1, &[]).breaks(0, "ORD-1");
    History::default().broadcast(0, 1, &[]).broadcast(0, 1, &[]).breaks(0, "ORD-3");
    // A broadcast that is called from inside the delivery of another one, and is ordered before it.
    let mut h = History::default();
    let outer = h.join(1).call(1, BROADCAST);
    h.see(1, Send(1, 2)).now(1, BROADCAST, Outcome::Sent(1)).see(1, Sent(1, 2)).done(
        1,
        outer,
        Outcome::Sent(2),
    );
    h.breaks(1, "ORD-2");
}

#[test]
fn con_1_a_gap_or_an_earlier_broadcast_is_noticed() {
    let mut h = History::default();
    let other = h.join(1).call(1, BROADCAST);
    h.broadcast(0, 1, &[1])
        .broadcast(0, 3, &[1])
        .done(1, other, Outcome::Sent(2))
        .breaks(1, "CON-1");
    History::default().broadcast(0, 1, &[]).join(1).send(0, 1, 1).breaks(1, "CON-1");
    // A subscriber that subscribes from inside a delivery, and gets that broadcast.
    let mut h = History::default();
    let outer = h.join(1).call(1, BROADCAST);
    h.see(1, Send(1, 1))
        .join(2)
        .see(1, Sent(1, 1))
        .send(1, 2, 1)
        .done(1, outer, Outcome::Sent(1))
        .breaks(2, "RE-3");
}

#[test]
fn rev_2_sub_3_a_send_that_begins_too_late_is_noticed() {
    for (call, outcome, rule) in
        [(REVOKE, Revoked(1), "REV-2"), (Unsubscribe { sub: 1 }, Done, "SUB-3")]
    {
        let revoked = call == REVOKE;
        let mut h = History::default();
        h.join(1).now(
            0,
            Subscribe { sub: 2, kind: Kind::Sink, hears: 1, holds: 0, ticket: None },
            Done,
        );
        let broadcast = h.call(1, BROADCAST);
        h.see(1, Send(2, 1));
        let end = h.call(0, call);
        h.done(0, end, outcome).see(1, Sent(2, 1)).send(1, 1, 1).done(
            1,
            broadcast,
            Outcome::Sent(1),
        );
        h.breaks(1, rule);
        // A send that may have begun before the end is not too late.
        let mut h = History::default();
        h.join(1);
        let broadcast = h.call(1, BROADCAST);
        let end = h.call(0, if revoked { REVOKE } else { Unsubscribe { sub: 1 } });
        if revoked {
            h.see(0, Closed(1, true));
        }
        h.done(0, end, if revoked { Revoked(1) } else { Done });
        h.send(1, 1, 1).done(1, broadcast, Outcome::Sent(1)).passes(0);
    }
}

#[test]
fn rev_2_a_frame_taken_after_the_revocation_returned_is_noticed() {
    let mut h = History::default();
    h.now(0, subscribe(1, true, None), Done).broadcast(0, 1, &[]).now(0, REVOKE, Revoked(1));
    h.now(1, Take { sub: 1 }, Took(vec![1])).breaks(0, "REV-2");
}

#[test]
fn rev_1_a_revocation_that_closes_no_subscriber_or_closes_too_late_is_noticed() {
    History::default().join(1).now(0, REVOKE, Revoked(0)).breaks(1, "REV-1");
    History::default()
        .join(1)
        .now(0, REVOKE, Revoked(1))
        .see(1, Closed(1, true))
        .breaks(0, "REV-1");
    // Two revocations overlap: either may have closed it, but one of them must.
    let mut h = History::default();
    let other = h.join(1).call(1, REVOKE);
    h.now(0, REVOKE, Revoked(0)).see(1, Closed(1, true)).done(1, other, Revoked(1)).passes(0);
    let mut h = History::default();
    let other = h.join(1).call(1, REVOKE);
    h.now(0, REVOKE, Revoked(0)).done(1, other, Revoked(0)).breaks(1, "REV-1");
    // A close inside its own send waits.
    let mut h = History::default();
    let broadcast = h.join(1).call(1, BROADCAST);
    h.see(1, Send(1, 1)).now(1, REVOKE, Revoked(1)).see(1, Sent(1, 1)).see(1, Closed(1, true));
    h.done(1, broadcast, Outcome::Sent(1)).passes(0);
}

#[test]
fn clo_a_close_that_is_repeated_unfounded_early_or_followed_is_noticed() {
    let revoked = |h: &mut History, closes: usize| {
        let revoke = h.call(0, REVOKE);
        (0..closes).for_each(|_| {
            h.see(0, Closed(1, true));
        });
        h.done(0, revoke, Revoked(1));
    };
    let mut h = History::default();
    revoked(h.join(1), 2);
    h.breaks(0, "CLO-1");
    History::default().join(1).see(0, Closed(1, true)).breaks(0, "CLO-2");
    History::default().join(1).see(0, Closed(1, false)).breaks(0, "CLO-2");
    let mut h = History::default();
    revoked(h.join(1).now(0, Unsubscribe { sub: 1 }, Done), 1);
    h.breaks(0, "CLO-3");
    let mut h = History::default();
    let (revoke, broadcast) = (h.join(1).call(0, REVOKE), h.call(1, BROADCAST));
    h.see(0, Closed(1, true)).now(1, Draw, Done).send(1, 1, 1);
    h.done(0, revoke, Revoked(1)).done(1, broadcast, Outcome::Sent(1)).breaks(0, "CLO-4");
    let mut h = History::default();
    let broadcast = h.join(1).call(1, BROADCAST);
    h.see(1, Send(1, 1));
    let revoke = h.call(1, REVOKE);
    h.see(1, Closed(1, true)).done(1, revoke, Revoked(1)).see(1, Sent(1, 1)).done(
        1,
        broadcast,
        Outcome::Sent(1),
    );
    h.breaks(0, "CLO-4");
}

#[test]
fn cnt_1_cnt_2_wrong_counts_are_noticed() {
    for counted in [0, 2] {
        let mut h = History::default();
        let revoke = h.join(1).call(0, REVOKE);
        h.see(0, Closed(1, true)).done(0, revoke, Revoked(counted)).breaks(0, "CNT-1");
    }
    History::default().join(1).breaks(0, "CNT-2");
    History::default().join(1).now(0, Unsubscribe { sub: 1 }, Done).breaks(1, "CNT-2");
}

#[test]
fn con_2_an_unsubscribe_that_wins_and_is_counted_is_noticed() {
    let mut h = History::default();
    let (revoke, own) = (h.join(1).call(0, REVOKE), h.call(1, Unsubscribe { sub: 1 }));
    h.done(0, revoke, Revoked(1)).done(1, own, Done).breaks(0, "CNT-1");
}

#[test]
fn adm_1_an_admission_with_a_revoked_credential_is_noticed() {
    let begun = || {
        let mut h = History::default();
        let ticket = h.call(0, Draw);
        h.done(0, ticket, Done);
        (h, subscribe(1, false, Some(ticket)))
    };
    let (mut h, admit) = begun();
    h.now(1, REVOKE, Revoked(0)).now(0, admit, Done).breaks(1, "ADM-1");
    let (mut h, admit) = begun();
    h.now(1, REVOKE, Revoked(0)).now(0, admit, Refused).passes(0);
    // When they overlap, it is ended or refused.
    let (mut h, admit) = begun();
    let (revoke, admit) = (h.call(1, REVOKE), h.call(0, admit));
    h.done(1, revoke, Revoked(0)).done(0, admit, Done).breaks(1, "REV-1");
    let (mut h, admit) = begun();
    h.now(0, admit, Refused).breaks(0, "ADM-5");
    let (mut h, admit) = begun();
    h.now(1, Revoke { identity: 2 }, Revoked(0)).now(0, admit, Refused).breaks(0, "ADM-5");
    let (mut h, admit) = begun();
    h.now(1, REVOKE, Revoked(0)).now(0, admit, Refused).see(0, Closed(1, true)).breaks(0, "ADM-2");
}

#[test]
fn iso_5_a_failed_sink_that_stays_is_noticed() {
    let mut h = History::default();
    let broadcast = h.join(1).call(0, BROADCAST);
    h.see(0, Send(1, 1))
        .see(0, Failing(1))
        .see(0, Sent(1, 1))
        .done(0, broadcast, Outcome::Sent(1))
        .breaks(0, "ISO-5");
    let mut h = History::default();
    let broadcast = h.join(1).call(0, BROADCAST);
    h.see(0, Send(1, 1)).see(0, Failing(1)).see(0, Sent(1, 1)).see(0, Closed(1, false));
    h.done(0, broadcast, Outcome::Sent(1)).passes(0);
    let mut h = History::default();
    let broadcast = h.join(1).call(0, BROADCAST);
    h.see(0, Send(1, 1)).see(0, Failing(1)).see(0, Sent(1, 1)).see(0, Closed(1, false));
    h.done(0, broadcast, Outcome::Sent(1)).broadcast(0, 2, &[1]).breaks(0, "ISO-5");
}

const WIRED: Call = Subscribe { sub: 1, kind: Kind::Wired, hears: 1, holds: 1, ticket: None };

#[test]
fn rev_12_a_write_after_or_across_the_return_of_a_revocation_is_noticed() {
    let mut h = History::default();
    let broadcast = h.now(0, WIRED, Done).call(0, BROADCAST);
    h.see(2, Write(1)).send(2, 1, 1).done(0, broadcast, Outcome::Sent(1));
    let revoke = h.call(1, REVOKE);
    h.see(1, Closed(1, true)).done(1, revoke, Revoked(1)).passes(0);
    h.see(2, Write(1)).breaks(0, "REV-12");
    // A send to a sink may be seen that late, a write to a wire may not.
    let mut h = History::default();
    h.now(0, WIRED, Done);
    let (broadcast, revoke) = (h.call(0, BROADCAST), h.call(1, REVOKE));
    h.see(1, Closed(1, true)).done(1, revoke, Revoked(1)).done(0, broadcast, Outcome::Sent(1));
    h.send(2, 1, 1).breaks(0, "CLO-4");
    let mut h = History::default();
    h.now(0, WIRED, Done);
    let (broadcast, revoke) = (h.call(0, BROADCAST), h.call(1, REVOKE));
    h.see(2, Send(1, 1)).see(1, Closed(1, true)).done(1, revoke, Revoked(1)).see(2, Sent(1, 1));
    h.done(0, broadcast, Outcome::Sent(1)).breaks(0, "REV-12");
}

#[test]
fn del_1_a_message_that_no_flusher_writes_is_noticed() {
    let mut h = History::default();
    h.now(0, WIRED, Done).broadcast(0, 1, &[]).breaks(1, "DEL-1");
    let mut h = History::default();
    h.now(0, WIRED, Done).broadcast(0, 1, &[]).see(2, Write(1)).send(2, 1, 1).passes(1);
}

#[test]
fn clo_2_a_subscriber_whose_wire_broke_need_not_be_notified() {
    let mut h = History::default();
    h.now(0, WIRED, Done).broadcast(0, 1, &[]);
    h.see(2, Write(1)).see(2, Send(1, 1)).see(2, Failing(1)).see(2, Sent(1, 1)).passes(0);
    h.breaks(1, "CNT-2");
}

#[test]
fn dir_1_a_directed_message_that_is_missing_or_not_for_the_subscriber_is_noticed() {
    let mine = SendTo { identity: 1 };
    let mut h = History::default();
    let op = h.join(1).call(0, mine.clone());
    h.send(0, 1, 1).done(0, op, Outcome::Sent(1)).passes(1);
    History::default().join(1).now(0, mine.clone(), Outcome::Sent(1)).breaks(1, "DEL-1");
    for other in [SendTo { identity: 2 }, SendOne { sub: 2 }] {
        let mut h = History::default();
        h.join(1).now(0, other, Outcome::Sent(1)).passes(1);
        h.send(0, 1, 1).breaks(1, "DEL-4");
    }
    let mut h = History::default();
    h.join(1).now(0, SendOne { sub: 1 }, Outcome::Sent(1)).breaks(1, "DEL-1");
    h.send(1, 1, 1).breaks(1, "DEL-1");
}

#[test]
fn dir_2_a_directed_message_out_of_order_is_noticed() {
    let mut h = History::default();
    let op = h.join(1).call(0, SendTo { identity: 1 });
    h.send(0, 1, 1).done(0, op, Outcome::Sent(1)).broadcast(0, 2, &[1]).passes(1);
    let mut h = History::default();
    let first = h.join(1).call(1, SendTo { identity: 1 });
    let second = h.call(0, BROADCAST);
    h.send(0, 1, 2).send(0, 1, 1).done(0, second, Outcome::Sent(2)).done(
        1,
        first,
        Outcome::Sent(1),
    );
    h.breaks(1, "ORD-3");
}

#[test]
fn dir_6_an_end_of_one_is_a_revocation_of_it_alone() {
    let close = Close { sub: 1 };
    let mut h = History::default();
    let op = h.join(1).join(2).call(0, close.clone());
    h.see(0, Closed(1, true)).done(0, op, Revoked(1)).passes(1);
    h.send(0, 1, 1).breaks(1, "DEL-4");
    let mut h = History::default();
    h.join(1).join(2).now(0, close.clone(), Revoked(0)).breaks(2, "REV-1");
    let mut h = History::default();
    let op = h.join(1).join(2).call(0, close);
    h.see(0, Closed(2, true)).see(0, Closed(1, true)).done(0, op, Revoked(2)).breaks(0, "CLO-2");
}
