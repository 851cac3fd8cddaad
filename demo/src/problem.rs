//! Why a call of the API failed, as the JSON object `{"error":"…"}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::error::Category;
use transport_core::Refusal;

/// Why a call failed.
pub(crate) enum Problem {
    Refused(Refusal),
    /// The body is not the JSON that is asked for.
    Json(serde_json::Error),
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

#[derive(Serialize)]
struct BadJson {
    error: String,
    line: usize,
    column: usize,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let error = match self {
            Self::Refused(refusal) => return refusal.into_response(),
            Self::Json(error) => error,
        };
        let what = match error.classify() {
            Category::Data => "unsuitable JSON",
            Category::Io | Category::Syntax | Category::Eof => "invalid JSON",
        };
        let body = BadJson {
            error: format!("{what}: {error}"),
            line: error.line(),
            column: error.column(),
        };
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    }
}
