//! Lanes on a real runtime: how many a server has; that no write follows a revocation that has
//! returned; and that a revocation does not wait for the end of a turn.

use axum::Router;
use registry_core::{
    Flusher, LaneOptions, OutboxOptions, Progress, Registration, SocketOutbox, Wire, WireFormat,
};
use std::collections::HashSet;
use std::future::poll_fn;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::runtime::{Builder, Handle};
use tokio::time::Instant;
use transport_core::test_util::{Raw, TestServer, account, soon, until, until_is};
use transport_core::{Live, ServerOptions};

static PLAIN: WireFormat = WireFormat::new("plain", |_, encoded, out| {
    out.extend_from_slice(encoded.body());
    out.extend_from_slice(b" ");
});

/// A socket that is sometimes full, and counts writes after the revocation of its subscriber
/// returned.
#[derive(Default)]
struct Watched {
    revoked: AtomicBool,
    writes: AtomicUsize,
    late: AtomicUsize,
}

impl Wire for Watched {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
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

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The debug output of a lane that is opened after those of a server: its number is how many there
/// are.
async fn next_lane(options: ServerOptions) -> String {
    let live = Live::<usize>::new();
    let server = TestServer::start(Router::new(), &live, options).await;
    // A server that answers has opened its lanes.
    assert_eq!(Raw::get(server.address, "/").await.0.status, 404);
    format!("{:?}", live.open_lane(LaneOptions::new()))
}

#[test]
fn a_server_has_a_lane_for_each_worker_by_default() {
    let five = NonZeroUsize::new(5).unwrap();
    // Two numbers, because one of them may be that of the machine's cores.
    for workers in [1, 3] {
        let runtime =
            Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap();
        let each = [
            (ServerOptions::new(), workers),
            (ServerOptions::new().with_lane_count(NonZeroUsize::MIN), 1),
            (ServerOptions::new().with_lane_count(five), 5),
            (ServerOptions::new().with_portable(), 0),
        ];
        for (options, lanes) in each {
            let next = runtime.block_on(next_lane(options));
            assert_eq!(next, format!("Flusher {{ lane: {lanes}, subscribers: 0, .. }}"));
        }
    }
}

#[tokio::test]
async fn sub_7_lanes_end_with_their_registry() {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let lanes = ServerOptions::new().with_lane_count(NonZeroUsize::new(3).unwrap());
    for shut_down in [true, false] {
        let live = Live::<usize>::new();
        let server = TestServer::start(Router::new(), &live, lanes.clone()).await;
        // A server that answers has opened its lanes.
        assert_eq!(Raw::get(server.address, "/").await.0.status, 404);
        if shut_down {
            server.stop().await;
        } else {
            server.abandon().await;
            until_is("the end of all but the lanes", before + 3, tasks).await;
            drop(live);
        }
        until_is("the end of the lanes", before, tasks).await;
    }
}

async fn drive(mut flusher: Flusher<usize>) {
    while poll_fn(|cx| flusher.poll_serve(cx, Instant::now().into_std())).await == Progress::More {
        tokio::task::yield_now().await;
    }
}

/// Writes what did not fit, until the end.
async fn flush(outbox: SocketOutbox) {
    let now = Instant::now().into_std();
    assert!(poll_fn(|cx| outbox.poll_flush(cx, now)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rev_12_after_a_revocation_returned_no_thread_writes() {
    const LANES: usize = 3;
    const ACCOUNTS: usize = 60;
    const SOCKETS: usize = 3;
    let live = Live::<usize>::new();
    for _ in 0..LANES {
        tokio::spawn(drive(live.open_lane(LaneOptions::new())));
    }
    let roomy = OutboxOptions::new()
        .with_max_bytes(NonZeroUsize::MAX)
        .with_max_messages(NonZeroUsize::MAX)
        .with_flusher();
    let mut accounts = Vec::new();
    let mut tasks = Vec::new();
    for number in 0..ACCOUNTS {
        let name = format!("account {number}");
        let mut sockets = Vec::new();
        for _ in 0..SOCKETS {
            let outbox = live
                .open_outbox(&PLAIN, roomy, Registration::new().with_group(account(&name)))
                .unwrap();
            let socket = Arc::new(Watched::default());
            tasks.push(tokio::spawn(flush(outbox.attach(socket.clone()))));
            sockets.push(socket);
        }
        accounts.push((name, sockets));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = (0..2)
        .map(|_| {
            let (live, stop) = (live.clone(), stop.clone());
            tokio::spawn(async move {
                let mut number = 0;
                while !stop.load(Ordering::SeqCst) {
                    number += 1;
                    live.broadcast("runs", number).unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for (name, sockets) in &accounts {
        let written = || sockets.iter().all(|socket| socket.writes.load(Ordering::SeqCst) >= 8);
        until("writes to each of them", written).await;
        assert_eq!(live.close_by_identity(account(name)), SOCKETS);
        for socket in sockets {
            socket.revoked.store(true, Ordering::SeqCst);
        }
    }
    stop.store(true, Ordering::SeqCst);
    for task in tasks.into_iter().chain(publishers) {
        soon("the end of a task", task).await.unwrap();
    }
    let late: usize = accounts
        .iter()
        .flat_map(|(_, sockets)| sockets)
        .map(|socket| socket.late.load(Ordering::SeqCst))
        .sum();
    assert_eq!(late, 0, "writes after their subscriber was revoked");
}

/// A socket that takes everything and appends it to a common list.
struct Noting(usize, Arc<Mutex<Vec<(usize, String)>>>);

impl Wire for Noting {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.1.lock().unwrap().push((self.0, String::from_utf8_lossy(bytes).into_owned()));
        Ok(bytes.len())
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn prg_1_a_revocation_does_not_wait_for_the_end_of_a_turn() {
    const MEMBERS: usize = 2_000;
    let live = Live::<usize>::new();
    // For its lane, whose flusher has the one thread of this test until it pauses.
    let _server = TestServer::start(
        Router::new(),
        &live,
        ServerOptions::new().with_lane_count(NonZeroUsize::MIN),
    )
    .await;
    tokio::task::yield_now().await;
    let written = Arc::new(Mutex::new(Vec::new()));
    for member in 0..MEMBERS {
        let group = Registration::new().with_group(account(&member.to_string()));
        let outbox = live.open_outbox(&PLAIN, OutboxOptions::new().with_flusher(), group).unwrap();
        let socket = Arc::new(Noting(member, written.clone()));
        let outbox = outbox.attach(socket.clone());
        tokio::spawn(async move {
            flush(outbox).await;
            socket.try_write(b"farewell").unwrap();
        });
    }
    assert_eq!(live.stats().in_lanes, MEMBERS);
    live.broadcast("runs", 1).unwrap();
    until("half of the turn", || written.lock().unwrap().len() >= MEMBERS / 2).await;
    let reached: HashSet<usize> =
        written.lock().unwrap().iter().map(|(member, _)| *member).collect();
    let revoked =
        (0..MEMBERS).find(|member| !reached.contains(member)).expect("a pause within the turn");
    assert_eq!(live.close_by_identity(account(&revoked.to_string())), 1);
    // All others get it. A message that the revoked one has not got by then never arrives.
    live.broadcast("runs", 2).unwrap();
    until("the next turn", || written.lock().unwrap().len() >= 2 * MEMBERS - 1).await;
    let written = written.lock().unwrap();
    let mut to_each = vec![String::new(); MEMBERS];
    written.iter().for_each(|(member, bytes)| to_each[*member].push_str(bytes));
    for (member, read) in to_each.iter().enumerate() {
        assert_eq!(read, if member == revoked { "farewell" } else { "1 2 " }, "member {member}");
    }
    let farewell = written.iter().position(|(_, bytes)| bytes == "farewell");
    assert!(
        farewell < written.iter().rposition(|(_, bytes)| bytes == "1 "),
        "it waited for the others"
    );
}
