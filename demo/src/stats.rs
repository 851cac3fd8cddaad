//! The server's counts, and the channels that subscribers name.

use crate::app::App;
use crate::paging::{Asked, Place};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use registry_core::CloseReason;
use serde::Serialize;
use std::collections::BTreeMap;
use tokio::time::Instant;
use transport_core::{AdmissionStats, ConnectionKind, Refusal, ServerStats};
use transport_sse::SSE;
use transport_ws::WS;

/// The longest page. Names that streams ask for, or sessions may hear, have 256 bytes at most, so
/// it has an end in bytes too.
const LONGEST_PAGE: usize = 1000;

/// The [statistics](registry_core::Stats), with zeros for what was not counted yet.
#[derive(Serialize)]
pub(crate) struct Counts {
    sessions: usize,
    accounts: usize,
    subscribers: usize,
    draining: usize,
    transports: BTreeMap<&'static str, usize>,
    /// Channels that a subscriber names.
    channels_named: usize,
    /// Subscribers that hear every channel.
    unfiltered: usize,
    /// Streams that ended, by reason.
    closed: BTreeMap<&'static str, u64>,
    /// Streams that were refused, by status.
    refused: BTreeMap<u16, u64>,
    /// Streams by the way that their bytes go; all four kinds.
    kinds: BTreeMap<ConnectionKind, usize>,
    broadcasts: u64,
    dropped: u64,
    tickets: usize,
    remembered_revocations: usize,
    lanes: Lanes,
    connections: Connections,
}

/// The streams that flushers serve, and what flushers wrote to them.
#[derive(Serialize)]
struct Lanes {
    subscribers: usize,
    wired: usize,
    writes: u64,
    messages: u64,
}

/// The counts of the server and of the guard.
#[derive(Serialize)]
struct Connections {
    #[serde(flatten)]
    server: ServerStats,
    wrong_tokens: u64,
}

pub(crate) async fn stats(State(app): State<App>) -> Json<Counts> {
    let stats = app.live.stats();
    let AdmissionStats { refusals, kinds, .. } = app.live.admission_stats();
    let (sessions, accounts) = app.sessions.count(Instant::now());
    let of_format = |name| (name, stats.formats.get(name).copied().unwrap_or(0));
    let of_reason =
        |reason: CloseReason| (reason.as_str(), stats.ended.get(&reason).copied().unwrap_or(0));
    Json(Counts {
        sessions,
        accounts,
        subscribers: stats.subscribers,
        draining: stats.draining,
        transports: [SSE.name(), WS.name()].map(of_format).into(),
        closed: CloseReason::ALL.map(of_reason).into(),
        channels_named: stats.channels_named,
        unfiltered: stats.unfiltered,
        broadcasts: stats.broadcasts,
        dropped: stats.dropped,
        tickets: stats.tickets,
        remembered_revocations: stats.remembered_revocations,
        refused: refusals,
        kinds,
        lanes: Lanes {
            subscribers: stats.in_lanes,
            wired: stats.wired,
            writes: stats.lane_writes,
            messages: stats.lane_messages,
        },
        connections: Connections {
            server: app.server.stats(),
            wrong_tokens: app.guard.wrong_tokens(),
        },
    })
}

/// A part of the channels that subscribers name, in the order of their names.
#[derive(Serialize)]
pub(crate) struct Page {
    channels: Vec<Subscribers>,
    /// The next value of `after`; `null` at the end of the list.
    next: Option<String>,
}

#[derive(Serialize)]
struct Subscribers {
    name: String,
    subscribers: usize,
}

pub(crate) async fn channels(
    State(app): State<App>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Page>, Refusal> {
    let place = Place::of(asked, LONGEST_PAGE)?;
    // One more tells whether there is a next page.
    let mut counts = app.live.channels(place.after.as_deref(), place.limit + 1);
    let more = place.cut(&mut counts);
    let next = counts.last().filter(|_| more).map(|last| last.channel.as_str().to_owned());
    let channels = counts
        .iter()
        .map(|count| Subscribers {
            name: count.channel.as_str().to_owned(),
            subscribers: count.subscribers,
        })
        .collect();
    Ok(Json(Page { channels, next }))
}
