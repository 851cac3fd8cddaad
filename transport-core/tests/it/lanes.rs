//! Lanes on the worker threads of a real runtime: whatever they are at, a revocation that has returned is the end.

use crate::wire::{account, soon, until};
use bytes::BytesMut;
use registry_core::{Flusher, Json, LaneOptions, Outbox, OutboxOptions, Registration, Served, SubscriberRegistry};
use registry_core::{Wire, WireFormat};
use std::future::poll_fn;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use tokio::time::Instant;

static PLAIN: WireFormat = WireFormat::new("plain", |_, body: &[u8], out: &mut BytesMut| {
    out.extend_from_slice(body);
    out.extend_from_slice(b" ");
});

/// A socket that is sometimes full, and knows when it is written to after the revocation of its subscriber returned.
#[derive(Default)]
struct Watched {
    revoked: AtomicBool,
    writes: AtomicUsize,
    late: AtomicUsize,
}

impl Watched {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let before = self.writes.fetch_add(1, Ordering::SeqCst);
        // A write takes a while, and others run meanwhile: the close must wait for it.
        std::thread::yield_now();
        let written = match before % 8 {
            3 => Err(io::ErrorKind::WouldBlock.into()),
            6 => Ok(bytes.len().div_ceil(2)),
            _ => Ok(bytes.len()),
        };
        self.late.fetch_add(usize::from(self.revoked.load(Ordering::SeqCst)), Ordering::SeqCst);
        written
    }
}

impl Wire for Watched {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }
}

async fn drive(mut flusher: Flusher<usize>) {
    while poll_fn(|cx| flusher.poll_serve(cx, Instant::now().into_std())).await == Served::More {
        tokio::task::yield_now().await;
    }
}

/// Writes what did not fit, until the end.
async fn own(outbox: Outbox, socket: Arc<Watched>) {
    let room = |_: &mut std::task::Context<'_>| Poll::Ready(Ok(()));
    let now = Instant::now().into_std();
    let ended = poll_fn(|cx| outbox.poll_flush(cx, now, room, |bytes| socket.write(bytes))).await;
    assert!(ended.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rev_12_after_a_revocation_returned_no_thread_writes() {
    const LANES: usize = 3;
    const ACCOUNTS: usize = 60;
    const SOCKETS: usize = 3;
    let registry = SubscriberRegistry::<usize>::new();
    registry.encode_with(Json);
    for _ in 0..LANES {
        tokio::spawn(drive(registry.open_lane(LaneOptions::new())));
    }
    let roomy = OutboxOptions::new().with_max_bytes(NonZeroUsize::MAX).with_max_messages(NonZeroUsize::MAX).in_lane();
    let mut accounts = Vec::new();
    let mut owners = Vec::new();
    for number in 0..ACCOUNTS {
        let name = format!("account {number}");
        let mut sockets = Vec::new();
        for _ in 0..SOCKETS {
            let outbox = registry.open_outbox(&PLAIN, roomy, Registration::new().group(account(&name))).unwrap();
            let socket = Arc::new(Watched::default());
            outbox.attach(socket.clone());
            owners.push(tokio::spawn(own(outbox, socket.clone())));
            sockets.push(socket);
        }
        accounts.push((name, sockets));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = (0..2)
        .map(|_| {
            let (registry, stop) = (registry.clone(), stop.clone());
            tokio::spawn(async move {
                let mut number = 0;
                while !stop.load(Ordering::SeqCst) {
                    number += 1;
                    registry.broadcast("runs", number).unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for (name, sockets) in &accounts {
        let written = || sockets.iter().all(|socket| socket.writes.load(Ordering::SeqCst) >= 8);
        until("writes to each of them", written).await;
        assert_eq!(registry.close_by_identity(&account(name)), SOCKETS);
        for socket in sockets {
            socket.revoked.store(true, Ordering::SeqCst);
        }
    }
    stop.store(true, Ordering::SeqCst);
    for task in owners.into_iter().chain(publishers) {
        soon("the end of a task", task).await.unwrap();
    }
    let late: usize =
        accounts.iter().flat_map(|(_, sockets)| sockets).map(|socket| socket.late.load(Ordering::SeqCst)).sum();
    assert_eq!(late, 0, "writes after their subscriber was revoked");
}
