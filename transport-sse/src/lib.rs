//! Serves a subscriber registry as server-sent events (text/event-stream) from an axum router.
