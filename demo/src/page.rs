//! The page and its parts, and the headers that keep content of other sites out of it.

use crate::routes::Routes;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use transport_core::LIVE_JS;

/// Nothing from elsewhere, no inline code, no frame around it; and the browser itself refuses text
/// that would become HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

const FILES: [(&str, &str, &str); 5] = [
    ("/", "text/html; charset=utf-8", include_str!("../page/index.html")),
    ("/app.css", "text/css; charset=utf-8", include_str!("../page/app.css")),
    ("/app.js", "text/javascript; charset=utf-8", include_str!("../page/app.js")),
    ("/live.js", "text/javascript; charset=utf-8", LIVE_JS),
    ("/icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
];

/// The routes of the page.
pub(crate) fn routes() -> Routes {
    FILES.into_iter().fold(Routes::default(), |routes, (path, kind, text)| {
        routes.read(path, async move || ([(header::CONTENT_TYPE, kind)], text))
    })
}

/// Adds the headers that every response has. Nothing is cached: answers change, and the page
/// belongs to its server.
pub(crate) async fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
