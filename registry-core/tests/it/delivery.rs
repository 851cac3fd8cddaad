//! DEL and ORD: which messages arrive, how often, in which order, and what the report counts.

use crate::kit::*;
use crate::wire::{serve, with_flusher};
use registry_core::{
    CloseReason, Encode, Encoded, Json, LaneOptions, Message, MessageId, OutboxOptions,
    Registration, RegistryOptions, SendOutcome, Sink, SubscribeError, WireFormat,
};
use serde_json::value::RawValue;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

#[test]
fn del_1_and_del_2_every_match_gets_it_exactly_once() {
    let registry = encoding();
    let probes: Vec<_> = (0..20).map(|_| Probe::new()).collect();
    let filters: [&[&str]; 4] = [&["a"], &["b"], &["a", "b"], &[]];
    let _guards: Vec<_> = probes
        .iter()
        .zip(filters.iter().cycle())
        .map(|(p, f)| registry.subscribe(p.clone(), Some(f), None))
        .collect();
    let mut outboxes: Vec<_> =
        filters[..3].iter().map(|filter| open(&registry, hears(filter))).collect();
    assert_eq!(registry.broadcast("a", 1).unwrap().accepted, 15 + 2);
    assert_eq!(registry.broadcast("b", 2).unwrap().accepted, 15 + 2);
    for (n, probe) in probes.iter().enumerate() {
        assert_eq!(probe.sent(), [&[1][..], &[2], &[1, 2], &[1, 2]][n % 4]);
    }
    let heard: Vec<_> = outboxes.iter_mut().map(frames).collect();
    assert_eq!(heard, [&[1][..], &[2], &[1, 2]]);
}

#[test]
fn del_3_a_broadcast_without_a_matching_subscriber_is_a_no_op() {
    let registry = encoding();
    let probe = Probe::new();
    let _subscription = join(&registry, &probe, hears(&["a"]));
    let mut outbox = open(&registry, hears(&["a"]));
    let report = registry.broadcast("b", 1).unwrap();
    assert_eq!((report.matched, report.accepted, report.pending), (0, 0, 0));
    assert_eq!(
        (probe.events(), frames(&mut outbox)),
        (vec![], vec![]),
        "DEL-4: nothing is sent that was not broadcast"
    );
}

#[test]
fn del_4_nothing_is_sent_before_or_without_a_broadcast() {
    let registry = encoding();
    registry.broadcast("c", 1).unwrap();
    let probe = Probe::new();
    let subscription = join(&registry, &probe, Registration::new());
    let mut outbox = open(&registry, Registration::new());
    assert_eq!((probe.events(), poll(&mut outbox)), (vec![], None));
    drop(subscription);
    assert_eq!(probe.events(), []);
}

#[test]
fn del_5_equal_payloads_are_not_merged() {
    let registry = encoding();
    let probe = Probe::new();
    let _subscription = join(&registry, &probe, Registration::new());
    let mut outbox = open(&registry, Registration::new());
    (0..3).for_each(|_| assert_eq!(registry.broadcast("c", 7).unwrap().accepted, 2));
    assert_eq!((probe.sent(), frames(&mut outbox)), (vec![7; 3], vec![7; 3]));
}

/// A sink that keeps the messages.
#[derive(Default)]
struct Keeper(Mutex<Vec<Arc<Message<u32>>>>);

impl Sink<u32> for Keeper {
    fn send(&self, message: &Arc<Message<u32>>) -> SendOutcome {
        self.0.lock().unwrap().push(message.clone());
        SendOutcome::Accepted
    }

    fn close(&self, _: CloseReason) {}
}

#[test]
fn del_6_all_sinks_share_one_unalterable_message() {
    let registry = encoding();
    let keepers = [Arc::new(Keeper::default()), Arc::new(Keeper::default())];
    let _guards: Vec<_> =
        keepers.iter().map(|keeper| registry.subscribe(keeper.clone(), None, None)).collect();
    let id = registry.broadcast("runs", 7).unwrap().id;
    let [one, two] = keepers.each_ref().map(|keeper| keeper.0.lock().unwrap()[0].clone());
    assert!(Arc::ptr_eq(&one, &two));
    assert_eq!(
        (one.id(), one.channel(), *one.data(), &one.encoded().unwrap().body()[..]),
        (id, "runs", 7, &b"7"[..])
    );
    assert_eq!(
        format!("{one:?}"),
        format!("Message {{ id: {id:?}, channel: \"runs\", data: 7, .. }}")
    );
}

#[test]
fn del_7_the_report_adds_up() {
    let registry = encoding();
    let answers = [
        SendOutcome::Accepted,
        SendOutcome::Dropped,
        SendOutcome::Lagged,
        SendOutcome::Failed,
        SendOutcome::Closed,
    ];
    let probes = answers.map(|answer| Probe::sending(move |_| answer));
    let _guards = probes.each_ref().map(|probe| join(&registry, probe, hears(&["c"])));
    let _elsewhere = join(&registry, &Probe::new(), hears(&["d"]));
    let mut outbox = open(&registry, Registration::new());
    let report = registry.broadcast("c", 1).unwrap();
    let counts = [
        report.accepted,
        report.dropped,
        report.lagged,
        report.failed,
        report.ended,
        report.pending,
    ];
    assert_eq!((report.matched, counts), (6, [2, 1, 1, 1, 1, 0]));
    assert_eq!((frames(&mut outbox), registry.len()), (vec![1], 4));
}

#[test]
fn del_7_ids_count_the_broadcasts_of_one_epoch() {
    let registry = Registry::new();
    let ids: Vec<MessageId> = (0..3).map(|n| registry.broadcast("c", n).unwrap().id).collect();
    assert_eq!(ids.iter().map(|id| id.seq()).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(ids.iter().all(|id| id.epoch() == ids[0].epoch()));
    assert_eq!(ids[2].to_string(), format!("{:016x}-3", ids[0].epoch()));
    assert_eq!(registry.stats().broadcasts, 3);
}

#[test]
fn del_8_a_payload_that_cannot_be_encoded_closes_no_subscriber_and_uses_no_id() {
    let registry = Registry::with_encoder(RegistryOptions::new(), |data: &u32| match data {
        13 => Err("unlucky".into()),
        data => Ok(Encoded::text(data.to_string())),
    });
    let probe = Probe::new();
    let _subscription = join(&registry, &probe, Registration::new());
    let mut outbox = open(&registry, Registration::new());
    let first = registry.broadcast("c", 1).unwrap().id;
    let error = registry.broadcast("c", 13).unwrap_err();
    assert_eq!((error.data, error.source.to_string().as_str()), (13, "unlucky"));
    assert_eq!(registry.broadcast("nobody-names-this", 13).unwrap_err().data, 13);
    assert_eq!(registry.broadcast("c", 2).unwrap().id.seq(), first.seq() + 1);
    assert_eq!(
        (probe.events(), frames(&mut outbox)),
        (vec![Event::Sent(1), Event::Sent(2)], vec![1, 2])
    );
    assert_eq!(registry.len(), 2);
}

#[test]
fn del_1_a_registry_without_an_encoder_serves_sinks_and_opens_no_outbox() {
    let registry = Registry::new();
    let refused = registry.open_outbox(&RAW, OutboxOptions::new(), Registration::new());
    assert_eq!(refused.unwrap_err(), SubscribeError::NoEncoder);
    let keeper = Arc::new(Keeper::default());
    let _subscription = registry.subscribe(keeper.clone(), None, None).unwrap();
    registry.broadcast("c", 1).unwrap();
    assert!(keeper.0.lock().unwrap()[0].encoded().is_none());
    assert_eq!(registry.len(), 1);

    let registry = encoding();
    let mut outbox = open(&registry, Registration::new());
    let keeper = Arc::new(Keeper::default());
    let _subscription = registry.subscribe(keeper.clone(), None, None).unwrap();
    registry.broadcast("c", 2).unwrap();
    assert_eq!(
        (frames(&mut outbox), keeper.0.lock().unwrap()[0].encoded()),
        (vec![2], Some(&Encoded::json("2")))
    );
}

#[test]
fn que_1_a_payload_is_encoded_once_and_framed_once_per_format() {
    static ENCODED: AtomicUsize = AtomicUsize::new(0);
    static FRAMED: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    static ONE: WireFormat = WireFormat::new("one", |_, encoded, out| {
        FRAMED[0].fetch_add(1, Ordering::SeqCst);
        out.extend_from_slice(encoded.body());
    });
    static TWO: WireFormat = WireFormat::new("two", |head, encoded, out| {
        FRAMED[1].fetch_add(1, Ordering::SeqCst);
        out.extend_from_slice(format!("{}:", head.id().seq()).as_bytes());
        out.extend_from_slice(encoded.body());
    });
    let registry = Registry::with_encoder(RegistryOptions::new(), |data: &u32| {
        ENCODED.fetch_add(1, Ordering::SeqCst);
        Ok(Encoded::text(data.to_string()))
    });
    let counts = || [&ENCODED, &FRAMED[0], &FRAMED[1]].map(|count| count.load(Ordering::SeqCst));
    let mut ones = Vec::new();
    let mut twos = Vec::new();
    for _ in 0..100 {
        ones.push(registry.open_outbox(&ONE, OutboxOptions::new(), hears(&["c"])).unwrap());
        twos.push(registry.open_outbox(&TWO, OutboxOptions::new(), Registration::new()).unwrap());
    }
    let _sink = join(&registry, &Probe::new(), Registration::new());
    registry.broadcast("c", 1).unwrap();
    assert_eq!(counts(), [1, 1, 1]);
    registry.broadcast("d", 2).unwrap();
    assert_eq!(counts(), [2, 1, 2], "nobody of the first format hears it");
    assert_eq!(frames(&mut ones[99]), [1]);
    let taken = poll(&mut twos[99]);
    let Some(registry_core::Next::Frames(batch)) = taken else { panic!("{taken:?}") };
    assert_eq!(batch.frames, ["1:1", "2:2"]);
}

#[test]
fn sse_2_json_holds_no_carriage_return_and_is_otherwise_unchanged() {
    for (given, encoded) in [
        ("{\r\n\"a\":\r1,\n\t\"b\": \"\\r\"}", "{ \n\"a\": 1,\n\t\"b\": \"\\r\"}"),
        ("[1,\r\r2]", "[1,  2]"),
        ("\"\\r\\n\"", "\"\\r\\n\""),
    ] {
        let raw = RawValue::from_string(given.to_owned()).unwrap();
        assert_eq!(Json.encode(&raw).unwrap(), Encoded::json(encoded), "{given:?}");
    }
    assert_eq!(Json.encode(&"a\r\nb").unwrap(), Encoded::json(r#""a\r\nb""#));
}

#[test]
fn que_1_two_formats_of_one_name_are_two_formats() {
    static PLAIN: WireFormat =
        WireFormat::new("twin", |_, encoded, out| out.extend_from_slice(encoded.body()));
    static TENFOLD: WireFormat = WireFormat::new("twin", |_, encoded, out| {
        out.extend_from_slice(encoded.body());
        out.extend_from_slice(b"0");
    });
    let registry = encoding();
    let mut flusher = registry.open_lane(LaneOptions::new());
    for options in [OutboxOptions::new(), with_flusher()] {
        let mut outboxes = [&PLAIN, &TENFOLD, &PLAIN]
            .map(|format| registry.open_outbox(format, options, Registration::new()).unwrap());
        // The first round is the turn in which they join, the second a later one.
        for _ in 0..2 {
            registry.broadcast("c", 7).unwrap();
            serve(&mut flusher);
            assert_eq!(outboxes.each_mut().map(frames), [[7], [70], [7]], "{options:?}");
        }
        assert_eq!(registry.stats().formats["twin"], 3);
    }
}

#[test]
fn ord_1_broadcasts_arrive_in_their_order() {
    let registry = encoding();
    let probe = Probe::new();
    let _subscription = join(&registry, &probe, Registration::new());
    let mut outboxes = [open(&registry, Registration::new()), open(&registry, hears(&["0", "2"]))];
    for n in 0..100 {
        registry.broadcast(&format!("{}", n % 3), n).unwrap();
    }
    assert_eq!(probe.sent(), (0..100).collect::<Vec<_>>());
    assert_eq!(frames(&mut outboxes[0]), (0..100).collect::<Vec<_>>());
    assert_eq!(frames(&mut outboxes[1]), (0..100).filter(|n| n % 3 != 1).collect::<Vec<_>>());
}
