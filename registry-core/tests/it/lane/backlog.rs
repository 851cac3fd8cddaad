//! Messages of a flusher that wait for a full socket.

use crate::kit::*;
use registry_core::{
    ChannelFilter, CloseReason, Encoded, Flusher, LaneOptions, OutboxOptions, Overflow, Progress,
    Registration, RegistryOptions, SocketOutbox, SubscriberRegistry, Wire, WireFormat,
};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

static LINES: WireFormat = WireFormat::new("lines", |_, encoded, out| {
    out.extend_from_slice(encoded.body());
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

    /// Wakes no task: no test here makes room for an owner that waits for it.
    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.full.load(Ordering::SeqCst) { Poll::Pending } else { Poll::Ready(Ok(())) }
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
        let encoder = |data: &String| Ok(Encoded::text(data.clone()));
        let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
        let flusher = registry.open_lane(options);
        Self { registry, flusher }
    }

    fn join(&self, options: OutboxOptions, channel: &str) -> (SocketOutbox, Arc<Socket>) {
        let registration = Registration::new().with_filter(ChannelFilter::only([channel]));
        let outbox =
            self.registry.open_outbox(&LINES, options.with_flusher(), registration).unwrap();
        let socket = Arc::new(Socket::default());
        (outbox.attach(socket.clone()), socket)
    }

    fn broadcast(&self, channel: &str, text: &str) {
        self.registry.broadcast(channel, text.to_owned()).unwrap();
    }

    #[allow(clippy::disallowed_methods, reason = "no test here reads the time of a write")]
    fn serve(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while self.flusher.poll_serve(&mut cx, Instant::now()) == Poll::Ready(Progress::More) {}
    }
}

/// Writes what waits, as the owner of a socket with room does.
#[allow(clippy::disallowed_methods, reason = "no test here reads the time of a write")]
fn flush(outbox: &SocketOutbox) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(outbox.poll_flush(&mut cx, Instant::now()).is_pending());
}

#[test]
fn que_3_waiting_frames_hold_no_more_memory_than_their_bytes() {
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
fn que_1_a_loss_in_the_log_is_reported_before_the_next_message() {
    let mut lane = Lane::open(LaneOptions::new().with_max_bytes(size(1)));
    let (outbox, socket) =
        lane.join(OutboxOptions::new().with_overflow(Overflow::DropOldest), "runs");
    for text in ["one", "two", "three"] {
        lane.broadcast("runs", text);
    }
    lane.serve();
    lane.broadcast("runs", "four");
    lane.serve();
    flush(&outbox);
    assert_eq!(socket.text(), "one\nlost 2\nfour\n");
    assert_eq!(lane.registry.stats().dropped, 2);
}

#[test]
fn cnt_1_a_subscriber_that_lags_while_it_drains_is_counted_once() {
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
