//! Publishing: to a channel, and to those that hold an identity.

use crate::app::App;
use crate::body::JsonBody;
use crate::payload::{Payload, encoded};
use crate::problem::Problem;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use registry_core::{BroadcastError, Encoded, EventName, Identity, Report};
use serde::{Deserialize, Serialize};
use transport_core::Refusal;

/// A [`Report`].
#[derive(Serialize)]
struct Sent {
    id: String,
    matched: usize,
    accepted: usize,
    dropped: usize,
    lagged: usize,
    failed: usize,
    ended: usize,
    pending: usize,
}

/// What the query says of a message.
#[derive(Deserialize)]
pub(crate) struct About {
    event: Option<String>,
    channel: Option<String>,
}

type Asked = Result<Query<About>, QueryRejection>;

pub(crate) async fn broadcast(
    State(app): State<App>,
    channel: Result<Path<String>, PathRejection>,
    about: Asked,
    body: JsonBody,
) -> Result<Response, Problem> {
    let Path(channel) = channel.map_err(|error| Refusal::bad_request(error.body_text()))?;
    broadcast_to(&app, &channel, about, &body).await
}

/// `""` is a channel like any other, but no segment of a path.
pub(crate) async fn broadcast_unnamed(
    State(app): State<App>,
    about: Asked,
    body: JsonBody,
) -> Result<Response, Problem> {
    broadcast_to(&app, "", about, &body).await
}

async fn broadcast_to(
    app: &App,
    channel: &str,
    about: Asked,
    body: &JsonBody,
) -> Result<Response, Problem> {
    let message = message(&read(about)?, body)?;
    // A client that broadcasts faster than the sockets take it waits here.
    app.live.caught_up().await;
    let broadcast = || app.live.broadcast(channel, message.clone().into());
    answer(app.latest.publish(channel, &message, broadcast))
}

/// Sends a message to those that hold an identity, whatever they hear.
pub(crate) async fn send_to(
    State(app): State<App>,
    identity: Result<Path<(String, String)>, PathRejection>,
    about: Asked,
    body: JsonBody,
) -> Result<Response, Problem> {
    let Path((kind, value)) = identity.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let about = read(about)?;
    let message = message(&about, &body)?;
    let Some(channel) = about.channel else { return Err(Refusal::bad_request(NO_CHANNEL).into()) };
    app.live.caught_up().await;
    answer(app.live.send_to(Identity::new(kind, value), &channel, message.into()))
}

const NO_CHANNEL: &str = "name what the message is about: `?channel=…`";

fn read(about: Asked) -> Result<About, Refusal> {
    let Query(about) = about.map_err(|error| Refusal::bad_request(error.body_text()))?;
    Ok(about)
}

fn message(about: &About, body: &JsonBody) -> Result<Encoded, Problem> {
    let name = about.event.as_deref().map(EventName::new).transpose();
    let name = name.map_err(|error| Refusal::bad_request(error.to_string()))?;
    Ok(encoded(body.parse()?, name))
}

fn answer(report: Result<Report, BroadcastError<Payload>>) -> Result<Response, Problem> {
    let report = report
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let body = Sent {
        id: report.id.to_string(),
        matched: report.matched,
        accepted: report.accepted,
        dropped: report.dropped,
        lagged: report.lagged,
        failed: report.failed,
        ended: report.ended,
        pending: report.pending,
    };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}
