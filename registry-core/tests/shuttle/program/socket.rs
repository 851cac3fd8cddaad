//! The sockets of peers, and the owners that write to them.

use super::Probe;
use crate::judge::Event;
use registry_core::{Clock, CloseReason, Outbox, Sink, SocketOutbox, SystemClock, Wire};
use shuttle::rand::{Rng, thread_rng};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// A peer's socket, which takes everything, a few bytes, or nothing. The socket of a subscriber
/// that fails never takes a whole message.
struct Socket {
    probe: Probe,
    /// The part of the next message that has arrived.
    bytes: Mutex<Vec<u8>>,
    /// The last write found no room.
    full: AtomicBool,
}

/// Attaches a wire to an outbox, and records its end.
pub(super) fn connect(outbox: Outbox, probe: Probe) -> SocketOutbox {
    let socket = Arc::new(Socket { probe, bytes: Mutex::default(), full: AtomicBool::default() });
    let notified = socket.clone();
    outbox.on_end(move |reason| {
        if reason != CloseReason::Unsubscribed {
            Sink::close(&notified.probe, reason);
        }
    });
    outbox.attach(socket)
}

/// Notes that the owner is to poll again.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls the owner until nothing waits, or until the end.
pub(super) fn flush(outbox: &SocketOutbox) {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    loop {
        match outbox.poll_flush(&mut Context::from_waker(&waker), SystemClock.now()) {
            Poll::Ready(Ok(_ended)) => return,
            Poll::Ready(Err(_gone)) => return outbox.outbox().subscription().unsubscribe(),
            Poll::Pending if woken.0.swap(false, Ordering::SeqCst) => shuttle::thread::yield_now(),
            Poll::Pending => return,
        }
    }
}

impl Wire for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Probe { world, sub, fails, .. } = &self.probe;
        let Some(world) = world.upgrade() else { return Ok(bytes.len()) };
        world.record(Event::Write(*sub));
        let mut rng = thread_rng();
        let room = match rng.gen_range(0..5) {
            0 => {
                self.full.store(true, Ordering::SeqCst);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            1 => rng.gen_range(1..10),
            _ => usize::MAX,
        };
        let taken = bytes.len().min(room);
        for byte in &bytes[..taken] {
            let seq = {
                let mut bytes = self.bytes.lock().unwrap();
                bytes.push(*byte);
                (bytes.len() == size_of::<u64>())
                    .then(|| bytes.drain(..).fold(0, |seq, byte| seq << 8 | u64::from(byte)))
            };
            let Some(seq) = seq else { continue };
            world.record(Event::Send(*sub, seq));
            shuttle::thread::yield_now();
            if *fails {
                world.record(Event::Failing(*sub));
            }
            world.record(Event::Sent(*sub, seq));
            if *fails {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(taken)
    }

    /// The peer reads as soon as the owner waits for room.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.full.swap(false, Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
