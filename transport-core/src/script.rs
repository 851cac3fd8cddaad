//! The script that keeps a client connected.

/// A client for pages and for Node, as the text of an ES module without dependencies.
///
/// It connects over an event stream or a WebSocket that speaks `live.v1`, comes back by the rules
/// of `docs/protocol.md`, and renews the credential. Serve it from a route of yours, or copy the
/// file `live.js` of this crate.
///
/// # Examples
/// ```
/// use axum::Router;
/// use axum::http::header;
/// use axum::routing::get;
/// use transport_core::LIVE_JS;
///
/// let script = ([(header::CONTENT_TYPE, "text/javascript")], LIVE_JS);
/// let app: Router = Router::new().route("/live.js", get(async move || script));
/// assert!(app.has_routes() && LIVE_JS.contains("export function connect("));
/// ```
/// A page then says
/// ```js
/// import { connect } from "/live.js";
///
/// const live = connect("/events", { channels: ["runs"] });
/// live.onEvent("created", ({ channel, data }) => console.log(channel, data));
/// ```
pub const LIVE_JS: &str = include_str!("../live.js");
