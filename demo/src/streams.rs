//! The streams, over both transports.

use crate::app::App;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use transport_core::{Entered, Framing, Refusal};
use transport_sse::Sse;
use transport_ws::WsUpgrade;

pub(crate) async fn events(State(app): State<App>, request: Request) -> Result<Sse, Refusal> {
    let (parts, _) = request.into_parts();
    Ok(Sse::new(enter(&app, &parts).await?))
}

pub(crate) async fn socket(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    let (mut parts, _) = request.into_parts();
    let upgrade = WsUpgrade::from_request_parts(&mut parts, &()).await?;
    Ok(upgrade.serve(enter(&app, &parts).await?))
}

/// Checks the credential and admits the request; with `snapshot=1` it is sent first the last values
/// of the channels that it hears.
async fn enter<F: Framing>(app: &App, request: &Parts) -> Result<Entered<F>, Refusal> {
    let entry = app.live.entry(request)?;
    let grant = entry.authorise(&app.authoriser, request).await?;
    if !entry.asked().has_flag("snapshot") {
        return entry.admit(grant);
    }
    entry.require_snapshots::<F>()?;
    let (requested, granted) = (entry.requested().clone(), grant.registration().filter().clone());
    let snapshot = async |_at| Ok::<_, Refusal>([app.latest.snapshot(&requested, &granted)]);
    entry.admit(grant)?.first(snapshot).await
}
