//! What waits before a socket that is full, when a flusher brings it.

use crate::kit::*;
use registry_core::{
    ChannelFilter, CloseReason, Flusher, LaneOptions, Outbox, OutboxOptions, Overflow, Registration, Served,
    SubscriberRegistry, Wire, WireFormat,
};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

static LINES: WireFormat = WireFormat::new("lines", |_, body, out| {
    out.extend_from_slice(body);
    out.extend_from_slice(b"\n");
})
.with_notice(|lost, out| out.extend_from_slice(format!("lost {lost}\n").as_bytes()));

#[derive(Default)]
struct Socket {
    full: AtomicBool,
    written: Mutex<Vec<u8>>,
}

impl Wire for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
}

impl Socket {
    fn text(&self) -> String {
        String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
    }
}

struct Lane {
    registry: SubscriberRegistry<String>,
    flusher: Flusher<String>,
}

impl Lane {
    fn open(options: LaneOptions) -> Self {
        let registry = SubscriberRegistry::new();
        registry.encode_with(|data: &String| Ok(data.clone().into()));
        let flusher = registry.open_lane(options);
        Self { registry, flusher }
    }

    fn join(&self, options: OutboxOptions, channel: &str) -> (Outbox, Arc<Socket>) {
        let registration = Registration::new().filter(ChannelFilter::only([channel]));
        let outbox = self.registry.open_outbox(&LINES, options.in_lane(), registration).unwrap();
        let socket = Arc::new(Socket::default());
        outbox.attach(socket.clone());
        (outbox, socket)
    }

    fn broadcast(&self, channel: &str, text: &str) {
        self.registry.broadcast(channel, text.to_owned()).unwrap();
    }

    #[allow(clippy::disallowed_methods, reason = "nobody asks when it was written")]
    fn serve(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while self.flusher.poll_serve(&mut cx, Instant::now()) == Poll::Ready(Served::More) {}
    }
}

/// Writes what waits, as an owner does whose socket has room.
#[allow(clippy::disallowed_methods, reason = "nobody asks when it was written")]
fn flush(outbox: &Outbox, socket: &Socket) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut looks = 0;
    let room = |_: &mut Context<'_>| {
        looks += 1;
        assert!(looks < 10_000, "it writes without end");
        Poll::Ready(Ok(()))
    };
    assert!(outbox.poll_flush(&mut cx, Instant::now(), room, |bytes| socket.try_write(bytes)).is_pending());
}

#[test]
fn que_3_what_waits_holds_no_more_memory_than_its_bytes() {
    let mut lane = Lane::open(LaneOptions::new());
    let (stalled, full) = lane.join(OutboxOptions::new(), "rare");
    let (_reader, busy_socket) = lane.join(OutboxOptions::new(), "busy");
    full.full.store(true, Ordering::SeqCst);
    let busy = "x".repeat(60 * 1024);
    let used = allocation_counter::measure(|| {
        for _ in 0..200 {
            lane.broadcast("busy", &busy);
            lane.broadcast("rare", "a few bytes");
            lane.serve();
            busy_socket.written.lock().unwrap().clear();
        }
    });
    assert!(stalled.is_waiting());
    assert!(used.bytes_current < 1 << 20, "{} bytes for 200 short messages", used.bytes_current);
}

#[test]
fn que_1_what_the_log_had_no_room_for_is_told_before_the_next_message() {
    let mut lane = Lane::open(LaneOptions::new().with_max_bytes(size(1)));
    let (outbox, socket) = lane.join(OutboxOptions::new().with_overflow(Overflow::DropOldest), "runs");
    for text in ["one", "two", "three"] {
        lane.broadcast("runs", text);
    }
    lane.serve();
    lane.broadcast("runs", "four");
    lane.serve();
    flush(&outbox, &socket);
    assert_eq!(socket.text(), "one\nlost 2\nfour\n");
    assert_eq!(lane.registry.stats().dropped, 2);
}

#[test]
fn cnt_1_who_lags_while_it_drains_is_counted_once() {
    let mut lane = Lane::open(LaneOptions::new());
    let (_outbox, socket) = lane.join(OutboxOptions::new().with_max_messages(size(1)), "runs");
    socket.full.store(true, Ordering::SeqCst);
    for text in ["one", "two", "three"] {
        lane.broadcast("runs", text);
    }
    assert_eq!(lane.registry.begin_shutdown(), 1);
    lane.serve();
    assert_eq!(lane.registry.stats().ended, BTreeMap::from([(CloseReason::Shutdown, 1)]));
}
