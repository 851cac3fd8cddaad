//! SNP-1: a snapshot and the later messages make the state, whatever the schedule.

use registry_core::{
    Encoded, Next, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry, WireFormat,
};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;
use std::task::{Context, Poll, Waker};

const CHANNELS: usize = 2;
const CHANGES: u64 = 3;

static TEXT: WireFormat =
    WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));

/// Each value is changed first, and broadcast then, both under one lock.
fn program() {
    let encoder = |text: &String| Ok(Encoded::text(text.as_str()));
    let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    let values: Arc<Vec<Mutex<u64>>> = Arc::new((0..CHANNELS).map(|_| Mutex::new(0)).collect());
    let publishers: Vec<_> = (0..CHANNELS)
        .map(|channel| {
            let (registry, values) = (registry.clone(), values.clone());
            thread::spawn(move || {
                for _ in 0..CHANGES {
                    let mut value = values[channel].lock().unwrap();
                    *value += 1;
                    registry.broadcast("board", format!("{channel}={value};")).unwrap();
                }
            })
        })
        .collect();
    let subscriber = {
        let (registry, values) = (registry.clone(), values.clone());
        thread::spawn(move || {
            let ticket = registry.draw_ticket();
            let (options, all) = (OutboxOptions::new(), Registration::new());
            let (outbox, after) = ticket.admit_outbox_after(&TEXT, options, all).unwrap();
            let text = |(channel, value): (usize, &Mutex<u64>)| {
                format!("{channel}={};", value.lock().unwrap())
            };
            let snapshot: String = values.iter().enumerate().map(text).collect();
            outbox.put_first(vec![snapshot.into()]);
            (outbox, after)
        })
    };
    for publisher in publishers {
        publisher.join().unwrap();
    }
    let (mut outbox, after) = subscriber.join().unwrap();
    let mut read = String::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Next::Frames(batch)) = outbox.poll_next(&mut cx, 7) {
        batch.frames.iter().for_each(|frame| read.push_str(std::str::from_utf8(frame).unwrap()));
    }
    let mut shown = [0; CHANNELS];
    let mut changes = 0;
    for change in read.split_terminator(';') {
        let (channel, value) = change.split_once('=').unwrap();
        let (channel, value): (usize, u64) = (channel.parse().unwrap(), value.parse().unwrap());
        assert!(value <= shown[channel] + 1 || changes < CHANNELS, "a gap in {read}");
        shown[channel] = value;
        changes += 1;
    }
    assert_eq!(shown, [CHANGES; CHANNELS], "{read}");
    let all = CHANNELS as u64 * CHANGES;
    assert_eq!(
        (changes - CHANNELS) as u64,
        all - after.seq(),
        "each later broadcast, once: {read}"
    );
}

#[test]
fn snp_1_a_snapshot_and_what_follows_it_make_the_state() {
    shuttle::check_random(program, 5_000);
}
