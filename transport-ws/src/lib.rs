//! Serves a subscriber registry over WebSocket, upgraded from an axum router.
