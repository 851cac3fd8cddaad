//! The promises, each with what is seen where its mechanism is off.

use super::Shown;
use super::client::Client;
use demo::{Options, Reach, Server};
use registry_core::{
    ChannelFilter, CloseReason, Identity, Message, OutboxOptions, Registration, SendOutcome, Sink,
    SubscriberRegistry,
};
use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, oneshot};
use tokio::time::{Instant, sleep};
use transport_sse::{Entry, Grant, Live, Refusal, Sse};

pub(super) type Promise = (&'static str, Pin<Box<dyn Future<Output = io::Result<Shown>>>>);

/// Every promise, in the order of the tour.
pub(super) fn all() -> [Promise; 5] {
    [
        ("A login that crosses a revocation is refused", Box::pin(crossed_login())),
        ("A reader that has stalled is cut off", Box::pin(stalled_reader())),
        ("What is queued is discarded", Box::pin(discarded_queue())),
        (
            "A broadcast in progress reaches nobody who was revoked",
            Box::pin(broadcast_in_progress()),
        ),
        ("Every subscriber is counted once", Box::pin(exact_counts())),
    ]
}

fn ada() -> Identity {
    Identity::new("account", "ada")
}

fn hers() -> Registration {
    Registration::new().with_group(ada())
}

/// A demo on the loopback address, which ends when this is dropped.
struct Running {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Running {
    async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server = Server::with_listener(listener, Reach::Loopback, &options)?;
        let (address, (stop, stopped)) = (server.address(), oneshot::channel::<()>());
        tokio::spawn(server.run(async { stopped.await.unwrap_or(()) }));
        Ok(Self { address, _stop: stop })
    }
}

/// The login check has read the session when the account is revoked; its stream is not open yet.
async fn crossed_login() -> io::Result<Shown> {
    let delay = Duration::from_millis(500);
    let server = Running::start(Options::new().with_authorise_delay(delay)).await?;
    let sign_in = r#"{"account":"ada"}"#;
    let (_, answer) = Client::call(server.address, "POST /api/sessions", sign_in).await?;
    let token = answer.split("\"token\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let token = token.ok_or_else(|| io::Error::other("no token"))?;
    let mut client = Client::connect(server.address).await?;
    let bearer = format!("authorization: Bearer {token}\r\n");
    let revoke = async {
        sleep(delay / 2).await;
        Client::call(server.address, "DELETE /api/accounts/ada", "").await
    };
    let (status, revoked) = tokio::join!(client.ask("GET /events", &bearer, ""), revoke);
    let (status, (_, closed)) = (status?, revoked?);
    let (_, sent) = Client::call(server.address, "POST /api/channels/runs", "1").await?;

    // Without a ticket: the credential is read, the revocation finds nobody, the stream opens.
    let registry = SubscriberRegistry::<u32>::new();
    let found = registry.close_by_identity(ada());
    let stream = registry.stream(hers(), OutboxOptions::new()).map_err(io::Error::other)?;
    let heard = registry.broadcast("runs", 1).map_or(0, |report| report.matched);
    drop(stream);
    Ok(Shown {
        done: "ada opens a stream; while the server checks her session, her account is revoked"
            .into(),
        seen: format!(
            "the call answered {closed}, the stream {status}; the next broadcast reached {}",
            if sent.contains("\"matched\":0,") { "nobody" } else { "somebody" }
        ),
        holds: status == 503 && sent.contains("\"matched\":0,"),
        control: format!(
            "without a ticket the call found {found} streams, and then a stream with the dead \
             credential heard {heard} broadcast"
        ),
    })
}

const LARGE: usize = 8 << 20;

async fn stalled_reader() -> io::Result<Shown> {
    let server = Running::start(Options::new().with_open(true)).await?;
    let mut stalled = Client::connect_narrow(server.address).await?;
    let mut reader = Client::connect(server.address).await?;
    stalled.ask("GET /events?group=ada", "", "").await?;
    reader.ask("GET /events?group=ada", "", "").await?;
    let text = format!("{:?}", "x".repeat(900 << 10));
    for _ in 0..4 {
        Client::call(server.address, "POST /api/channels/runs", &text).await?;
        reader.read_past("xx\"\n\n").await?;
    }
    let begun = Instant::now();
    Client::call(server.address, "DELETE /api/groups/ada", "").await?;
    let returned = begun.elapsed();
    stalled.wait_until_over().await?;
    let (over, (after, is_reset)) = (begun.elapsed(), stalled.read_on().await);

    // The same on a server that cannot reset: `axum::serve`, whose sockets are its own.
    let live = Live::<String>::new();
    let events = async |entry: Entry<String>| {
        let grant = Grant::new(ChannelFilter::All).with_group(ada());
        Ok::<_, Refusal>(Sse::new(entry.admit(grant)?))
    };
    let app = axum::Router::new().route("/", axum::routing::get(events)).layer(live.entry_layer());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut elsewhere = Client::connect_narrow(address).await?;
    elsewhere.ask("GET /", "", "").await?;
    live.broadcast("runs", "x".repeat(LARGE)).map_err(io::Error::other)?;
    sleep(Duration::from_millis(300)).await;
    live.close_by_identity(ada());
    sleep(over).await;
    let (more, _) = elsewhere.read_on().await;
    serving.abort();
    Ok(Shown {
        done: "a client stops reading until its socket and the server's are full; then it is \
               revoked"
            .into(),
        seen: format!(
            "the call returned after {returned:.0?}; the connection was reset after {over:.1?} \
             (the deadline is 2 s), and the client read {} KiB, which its own system held",
            after >> 10
        ),
        // Its receive buffer is of 4 KiB, which the system may double.
        holds: is_reset && after <= 16 << 10 && over < Duration::from_secs(4),
        control: format!(
            "on sockets of `axum::serve` the client reads {} KiB more after it was revoked",
            more >> 10
        ),
    })
}

async fn discarded_queue() -> io::Result<Shown> {
    const QUEUED: u32 = 1000;
    let registry = SubscriberRegistry::<u32>::new();
    let mut stream = registry.stream(hers(), OutboxOptions::new()).map_err(io::Error::other)?;
    let (sender, mut receiver) = broadcast::channel(QUEUED as usize);
    for number in 0..QUEUED {
        let report = registry.broadcast("runs", number);
        report.map_err(|_| io::Error::other("it cannot be sent"))?;
        sender.send(number).map_err(io::Error::other)?;
    }
    let closed = registry.close_by_identity(ada());
    let mut heard = 0;
    while stream.next().await.is_some() {
        heard += 1;
    }
    drop(sender);
    let mut elsewhere = 0;
    while receiver.recv().await.is_ok() {
        elsewhere += 1;
    }
    let reason = stream.close_reason().map_or("not ended", CloseReason::as_str);
    Ok(Shown {
        done: format!("{QUEUED} messages wait for a consumer; then its account is revoked"),
        seen: format!("the call answered {closed}; the consumer got {heard} of them: {reason}"),
        holds: (closed, heard, reason) == (1, 0, "revoked"),
        control: format!("a closed `tokio::sync::broadcast` still gave out {elsewhere} of them"),
    })
}

/// A sink that counts, and holds up the broadcast if it has a gate.
struct Counting {
    heard: Arc<AtomicUsize>,
    gate: Option<(mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>)>,
}

impl Sink<u32> for Counting {
    fn send(&self, _: &Arc<Message<u32>>) -> SendOutcome {
        self.heard.fetch_add(1, Ordering::SeqCst);
        if let Some((entered, released)) = &self.gate {
            let _nobody_waits = entered.send(());
            let released = released.lock().unwrap_or_else(PoisonError::into_inner);
            let _tour_is_over = released.recv();
        }
        SendOutcome::Accepted
    }

    fn close(&self, _: CloseReason) {}
}

async fn broadcast_in_progress() -> io::Result<Shown> {
    const BEHIND: usize = 100;
    let registry = SubscriberRegistry::<u32>::new();
    let (entered, is_in) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let gate = Some((entered, Mutex::new(released)));
    let first = Counting { heard: Arc::default(), gate };
    let _first = registry.subscribe(first, None, None).map_err(io::Error::other)?;
    let heard = Arc::new(AtomicUsize::new(0));
    let mut behind = Vec::new();
    for _ in 0..BEHIND {
        let sink = Counting { heard: heard.clone(), gate: None };
        behind.push(registry.subscribe_with(sink, hers()).map_err(io::Error::other)?);
    }
    let publisher = registry.clone();
    let publishing = thread::spawn(move || publisher.broadcast("runs", 1).is_ok());
    is_in.recv().map_err(io::Error::other)?;
    let begun = Instant::now();
    let closed = registry.close_by_identity(ada());
    let returned = begun.elapsed();
    release.send(()).map_err(io::Error::other)?;
    let sent = publishing.join().unwrap_or(false);
    let heard = heard.load(Ordering::SeqCst);

    let elsewhere = plain_loop(BEHIND)?;
    Ok(Shown {
        done: format!(
            "the first of 101 sinks holds up a broadcast; meanwhile the {BEHIND} behind it are \
             revoked"
        ),
        seen: format!("the call answered {closed} after {returned:.0?}; {heard} of them got it"),
        holds: sent && (closed, heard) == (BEHIND, 0),
        control: format!("from a plain loop over the subscribers {elsewhere} of them got it"),
    })
}

/// Broadcasts as most servers do, by a loop over a copy of the list; the list is emptied while the
/// first holds the loop up. Returns how many of those behind it got the message.
fn plain_loop(behind: usize) -> io::Result<usize> {
    let (entered, is_in) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let heard = Arc::new(AtomicUsize::new(0));
    let mut subscribers: Vec<Box<dyn FnMut() + Send>> = vec![Box::new(move || {
        let _nobody_waits = entered.send(());
        let _tour_is_over = released.recv();
    })];
    for _ in 0..behind {
        let heard = heard.clone();
        subscribers.push(Box::new(move || {
            heard.fetch_add(1, Ordering::SeqCst);
        }));
    }
    let list: Vec<_> = subscribers.into_iter().map(|send| Arc::new(Mutex::new(send))).collect();
    let list = Arc::new(Mutex::new(list));
    let publisher = list.clone();
    let publishing = thread::spawn(move || {
        let copy = publisher.lock().unwrap_or_else(PoisonError::into_inner).clone();
        copy.iter().for_each(|send| send.lock().unwrap_or_else(PoisonError::into_inner)());
    });
    is_in.recv().map_err(io::Error::other)?;
    list.lock().unwrap_or_else(PoisonError::into_inner).clear();
    release.send(()).map_err(io::Error::other)?;
    publishing.join().map_err(|_| io::Error::other("the loop panicked"))?;
    Ok(heard.load(Ordering::SeqCst))
}

async fn exact_counts() -> io::Result<Shown> {
    let registry = SubscriberRegistry::<u32>::new();
    let names: Vec<Identity> =
        (0..CALLS).map(|name| Identity::new("account", name.to_string())).collect();
    let mut streams = Vec::new();
    for at in 0..SUBSCRIBERS {
        let two = accounts_of(at).map(|name| names[name].clone());
        let registration = Registration::new().with_groups(two);
        let stream = registry.stream(registration, OutboxOptions::new());
        streams.push(stream.map_err(io::Error::other)?);
    }
    let start = Arc::new(Barrier::new(CALLS));
    let calls: Vec<_> = names
        .into_iter()
        .map(|name| {
            let (registry, start) = (registry.clone(), start.clone());
            thread::spawn(move || {
                start.wait();
                registry.close_by_identity(&name)
            })
        })
        .collect();
    let counts: Vec<usize> = calls.into_iter().map(|call| call.join().unwrap_or(0)).collect();
    let sum: usize = counts.iter().sum();
    let ended = registry.stats().ended.get(&CloseReason::Revoked).copied().unwrap_or(0);
    Ok(Shown {
        done: format!(
            "{SUBSCRIBERS} subscribers have two of sixteen accounts each; all sixteen are revoked \
             at once"
        ),
        seen: format!("the sixteen calls answered {sum} together, and {ended} ended"),
        holds: sum == SUBSCRIBERS && ended == SUBSCRIBERS as u64,
        control: format!("calls that look first and close then counted {}", look_then_close()),
    })
}

/// The calls of the last promise.
const CALLS: usize = 16;
const SUBSCRIBERS: usize = 20_000;

/// The two accounts of a subscriber, so that two calls claim it.
fn accounts_of(subscriber: usize) -> [usize; 2] {
    let first = subscriber % CALLS;
    [first, (first + 1 + subscriber / CALLS % (CALLS - 1)) % CALLS]
}

/// Revokes as a server does that looks for the holders, closes each, and counts what it found.
/// Returns the sum of the counts.
fn look_then_close() -> usize {
    let open: BTreeSet<usize> = (0..SUBSCRIBERS).collect();
    let (open, start) = (Mutex::new(open), Barrier::new(CALLS));
    let lock = || open.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        let call = |name| {
            let (lock, start) = (&lock, &start);
            scope.spawn(move || {
                let holds = |at: &usize| accounts_of(*at).contains(&name);
                let found: BTreeSet<usize> = lock().iter().copied().filter(holds).collect();
                start.wait();
                let mut open = lock();
                open.retain(|at| !found.contains(at));
                found.len()
            })
        };
        let calls: Vec<_> = (0..CALLS).map(call).collect();
        calls.into_iter().map(|call| call.join().unwrap_or(0)).sum()
    })
}
