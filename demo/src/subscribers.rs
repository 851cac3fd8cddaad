//! The open streams, one by one.

use crate::app::App;
use crate::paging::{Asked, Place};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use registry_core::{Channel, ChannelFilter, Revocation, SubscriberInfo, SubscriptionId};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};
use transport_core::{ConnectionKind, Refusal};

/// The longest page. A stream may hear a hundred channels by name, each of 256 bytes, so a page of
/// streams is shorter than one of channels.
const LONGEST_PAGE: usize = 200;

/// A part of the streams, in no order of a meaning.
#[derive(Serialize)]
pub(crate) struct Page {
    subscribers: Vec<Subscriber>,
    /// The next value of `after`; `null` at the end of the list.
    next: Option<String>,
}

#[derive(Serialize)]
struct Subscriber {
    id: String,
    /// When it was admitted, in milliseconds since 1970.
    since: u128,
    identities: Vec<Identity>,
    /// Every channel is `null`.
    channels: Option<BTreeSet<Channel>>,
    transport: &'static str,
    kind: &'static str,
    queued_messages: usize,
    queued_bytes: usize,
    lost: u64,
    /// How many milliseconds ago its socket last took bytes; `null` where HTTP has the socket.
    last_write_ms: Option<u128>,
}

#[derive(Serialize)]
struct Identity {
    kind: Option<String>,
    value: String,
}

impl From<SubscriberInfo> for Subscriber {
    fn from(info: SubscriberInfo) -> Self {
        let ago = |moment: Instant| info.read_at.saturating_duration_since(moment);
        let since = SystemTime::now().checked_sub(ago(info.since));
        let since = since.and_then(|since| since.duration_since(SystemTime::UNIX_EPOCH).ok());
        let identity = |identity: &registry_core::Identity| Identity {
            kind: identity.kind().map(str::to_owned),
            value: identity.value().to_owned(),
        };
        Self {
            id: info.id.to_string(),
            since: since.as_ref().map_or(0, Duration::as_millis),
            identities: info.identities.iter().map(identity).collect(),
            last_write_ms: info.last_write.map(|moment| ago(moment).as_millis()),
            channels: match info.filter {
                ChannelFilter::All => None,
                ChannelFilter::Only(names) => Some(names),
            },
            transport: info.format,
            // It was admitted on HTTP's socket, and may have got it since.
            kind: if info.wired { ConnectionKind::Direct.name() } else { info.label },
            queued_messages: info.queued_messages,
            queued_bytes: info.queued_bytes,
            lost: info.lost,
        }
    }
}

pub(crate) async fn subscribers(
    State(app): State<App>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Page>, Refusal> {
    let place = Place::of(asked, LONGEST_PAGE)?;
    let after = place.after.as_deref().map(str::parse::<SubscriptionId>).transpose();
    let after = after.map_err(|error| Refusal::bad_request(format!("`after`: {error}")))?;
    // One more tells whether there is a next page.
    let mut rows = app.live.page(after, place.limit + 1);
    let more = place.cut(&mut rows);
    let next = rows.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(Page { subscribers: rows.into_iter().map(Subscriber::from).collect(), next }))
}

/// Revokes one stream: it comes back, if its credential is still good.
pub(crate) fn close(app: &App, id: &str) -> usize {
    id.parse().is_ok_and(|id| app.live.close(id, Revocation::Revoked)).into()
}
