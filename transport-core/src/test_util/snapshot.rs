//! Handlers that send a snapshot first (SNP), for every transport.

use super::host::{Host, Running};
use super::raw::{Head, Raw};
use super::tokens::account;
use super::{soon, until, until_is};
use crate::admission::grant::Grant;
use crate::admission::live::Live;
use crate::admission::options::LiveOptions;
use crate::admission::refusal::Refusal;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::MethodRouter;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use registry_core::{CloseReason, Encoded, MessageId};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::yield_now;

/// What an application does to take a snapshot.
pub type Take =
    Arc<dyn Fn(MessageId) -> BoxFuture<'static, Result<Vec<Encoded>, Refusal>> + Send + Sync>;

/// How one transport is asked for a snapshot.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::exhaustive_structs, reason = "each transport's tests write one")]
pub struct Snapshots {
    /// A route that admits with the grant, and sends first what is taken.
    pub route: fn(Grant, Take) -> MethodRouter,
    /// The headers that its request needs.
    pub headers: &'static str,
    /// The status of an admission.
    pub admitted: u16,
    /// What stands for the reason where a `503` is spoken after the upgrade.
    pub spoken: Option<&'static str>,
}

impl Snapshots {
    /// Expects an answer that may pass, with its reason.
    async fn expect_transient(self, (head, mut raw): (Head, Raw), reason: &str) {
        match self.spoken {
            None => assert_eq!(head.status, 503, "{reason}"),
            Some(_) => assert_eq!(head.status, self.admitted, "{reason}"),
        }
        raw.read_past(self.spoken.unwrap_or(reason)).await;
    }
}

/// A running transport whose streams begin with a snapshot.
#[derive(Debug)]
struct Asker {
    asked: Snapshots,
    live: Live<String>,
    running: Running,
}

impl Asker {
    async fn start(host: Host, asked: Snapshots, options: LiveOptions, take: Take) -> Self {
        let live = Live::builder().with_options(options).build();
        Self::of(host, asked, live, take).await
    }

    async fn of(host: Host, asked: Snapshots, live: Live<String>, take: Take) -> Self {
        let grant = Grant::only(["runs"]).with_group(account("ada"));
        let app = Router::new().route("/live", (asked.route)(grant, take));
        let running = Running::start(host, app, &live).await;
        Self { asked, live, running }
    }

    async fn ask(&self) -> (Head, Raw) {
        Raw::request(self.running.address, "GET", "/live", self.asked.headers).await
    }

    fn broadcast(&self, text: &str) -> MessageId {
        self.live.broadcast("runs", text.to_owned()).unwrap().id
    }
}

/// Takes what a function makes.
fn take(of: impl Fn(MessageId) -> Result<Vec<Encoded>, Refusal> + Send + Sync + 'static) -> Take {
    Arc::new(move |at| std::future::ready(of(at)).boxed())
}

/// The snapshot comes first, its last part has the id of the last broadcast before, and all that is
/// broadcast later follows.
pub async fn what_was_broadcast_before_is_in_it_and_the_rest_follows(host: Host, asked: Snapshots) {
    let live = Live::<String>::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let during: Take = Arc::new({
        let (live, seen) = (live.clone(), seen.clone());
        move |at| {
            let (live, seen) = (live.clone(), seen.clone());
            async move {
                assert_eq!(live.len(), 1, "the subscriber is active");
                live.broadcast("runs", "<during>".into()).unwrap();
                yield_now().await;
                live.broadcast("other", "<not heard>".into()).unwrap();
                seen.lock().unwrap().push(at);
                Ok(vec![Encoded::text("<part 1>"), Encoded::json("[\"<part 2>\"]")])
            }
            .boxed()
        }
    });
    let asker = Asker::of(host, asked, live, during).await;
    let before = asker.broadcast("<before>");
    let (head, mut raw) = asker.ask().await;
    assert_eq!(head.status, asked.admitted);
    assert_eq!(*seen.lock().unwrap(), [before]);
    asker.broadcast("<after>");
    let read = raw.read_past("<after>").await;
    let place = |text: &str| {
        let found: Vec<_> = read.match_indices(text).map(|(at, _)| at).collect();
        assert_eq!(found.len(), 1, "{text} once in {read}");
        found[0]
    };
    let places =
        [place("<part 1>"), place(&before.to_string()), place("<part 2>"), place("<during>")];
    assert!(places.is_sorted(), "only the last part has the id: {read}");
    assert_eq!(read.matches("snapshot").count(), 2, "each part is an event named so: {read}");
    assert!(!read.contains("<before>") && !read.contains("<not heard>"), "{read}");
}

/// A peer that is revoked in the middle of a snapshot gets no more of it, and no farewell in the
/// middle of an event.
pub async fn a_revocation_in_the_middle_discards_the_rest(host: Host, asked: Snapshots) {
    const BYTES: usize = 32 << 20;
    let options = LiveOptions::new().with_max_snapshot_bytes(BYTES + 1024);
    let large = take(|_| Ok(vec![Encoded::text("x".repeat(BYTES))]));
    let asker = Asker::start(host, asked, options, large).await;
    let raw = Raw::connect_narrow(asker.running.address).await;
    let (_, mut raw) = raw.ask("GET", "/live", asked.headers).await;
    raw.read_past("xxxx").await;
    if host.is_direct() {
        until_is("the direct connection", 1, || asker.live.stats().wired).await;
    }
    assert_eq!(asker.live.close_by_identity(account("ada")), 1);
    let read = raw.read_to_end().await;
    assert!(read.len() < BYTES, "{} bytes", read.len());
    assert!(!read.contains("revoked"), "a farewell would be a part of the snapshot");
    until("the end", || asker.live.admission_stats().kinds.values().all(|open| *open == 0)).await;
}

/// Takes that fail are answered `503`, and leave no subscriber.
pub async fn what_fails_is_answered_and_leaves_no_subscriber(host: Host, asked: Snapshots) {
    let options = || {
        LiveOptions::new()
            .with_max_snapshot_bytes(1_000)
            .with_snapshot_timeout(Duration::from_millis(20))
    };
    let slow: Take = Arc::new(|_| std::future::pending().boxed());
    let panics: Take = Arc::new(|_| async { panic!("on purpose") }.boxed());
    let two = |bytes| vec![Encoded::text("x".repeat(bytes)), Encoded::text("y".repeat(bytes))];
    let large = take(move |_| Ok(two(500)));
    for (take, reason) in
        [(slow, "took too long"), (panics, "the snapshot failed"), (large, "is too large")]
    {
        let asker = Asker::start(host, asked, options(), take).await;
        asked.expect_transient(asker.ask().await, reason).await;
        assert!(asker.live.is_empty(), "{reason}");
        assert_eq!(asker.live.stats().ended, [(CloseReason::Failed, 1)].into(), "{reason}");
        assert_eq!(asker.live.admission_stats().refusals, [(503, 1)].into(), "counted once");
    }
    let fits = take(move |_| Ok(two(300)));
    let asker = Asker::start(host, asked, options(), fits).await;
    assert_eq!(asker.ask().await.0.status, asked.admitted);

    let teapot = take(|_| Err(Refusal::new(StatusCode::IM_A_TEAPOT, "short and stout")));
    let asker = Asker::start(host, asked, options(), teapot).await;
    let (head, mut raw) = asker.ask().await;
    assert_eq!(head.status, 418, "the application's own answer");
    raw.read_past("short and stout").await;
    until("the removal", || asker.live.is_empty()).await;

    let live = Live::<String>::new();
    let revoked: Take = Arc::new({
        let live = live.clone();
        move |_| {
            live.close_by_identity(account("ada"));
            std::future::pending().boxed()
        }
    });
    let asker = Asker::of(host, asked, live, revoked).await;
    // Without a wait for what was to be taken.
    asked.expect_transient(soon("an answer", asker.ask()).await, "(revoked)").await;
    assert!(asker.live.is_empty());
    assert_eq!(asker.live.stats().ended, [(CloseReason::Revoked, 1)].into());
}

/// The values of some channels. Each is changed first, and broadcast then, both under one lock.
struct Board {
    live: Live<String>,
    values: Vec<Mutex<u64>>,
}

impl Board {
    fn set_next(&self, channel: usize) {
        let mut value = self.values[channel].lock().unwrap();
        *value += 1;
        self.live.broadcast("runs", format!("<{channel}={value}>")).unwrap();
    }

    fn all(&self) -> Vec<u64> {
        self.values.iter().map(|value| *value.lock().unwrap()).collect()
    }

    fn snapshot(&self) -> Encoded {
        let mut text = String::new();
        for (channel, value) in self.all().iter().enumerate() {
            write!(text, "<{channel}={value}>").unwrap();
        }
        Encoded::text(text)
    }
}

/// Connections open with a snapshot while publishers write: in the end each has seen what the board
/// shows, without a gap.
pub async fn the_state_of_each_client_is_that_of_the_server(host: Host, asked: Snapshots) {
    const CHANNELS: usize = 8;
    const PUBLISHERS: usize = 64;
    const CLIENTS: usize = 100;
    let live = Live::<String>::new();
    let values = (0..CHANNELS).map(|_| Mutex::new(0)).collect();
    let board = Arc::new(Board { live: live.clone(), values });
    let taken = board.clone();
    let asker = Asker::of(host, asked, live, take(move |_| Ok(vec![taken.snapshot()]))).await;
    let publishing = (0..PUBLISHERS).map(|publisher| {
        let board = board.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                board.set_next(publisher % CHANNELS);
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        })
    });
    let publishing = join_all(publishing.collect::<Vec<_>>());
    let opening = async {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(asker.ask().await);
        }
        clients
    };
    let (mut clients, _) = tokio::join!(opening, publishing);
    asker.broadcast("<the end>");
    let expected = board.all();
    assert_eq!(expected.iter().sum::<u64>(), 640);
    for (head, raw) in &mut clients {
        assert_eq!(head.status, asked.admitted);
        let read = raw.read_past("<the end>").await;
        let mut shown: BTreeMap<usize, u64> = BTreeMap::new();
        for (channel, value) in changes(&read) {
            match shown.insert(channel, value) {
                Some(before) => assert!(value <= before + 1, "a gap on {channel}: {read}"),
                None => assert!(shown.len() <= CHANNELS),
            }
        }
        assert!(shown.values().eq(&expected), "{shown:?} and not {expected:?}: {read}");
    }
}

/// The channels and values in the texts `<channel=value>`, in order.
fn changes(read: &str) -> impl Iterator<Item = (usize, u64)> {
    read.split('<').filter_map(|text| {
        let (channel, value) = text.split_once('>')?.0.split_once('=')?;
        Some((channel.parse().ok()?, value.parse().ok()?))
    })
}
