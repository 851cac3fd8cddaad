//! What is printed.

use serde::Serialize;

/// One run. `lost` and `uneven` must be 0, or its other figures mean nothing.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) connections: usize,
    pub(crate) published: u64,
    pub(crate) expected: u64,
    pub(crate) delivered: u64,
    /// Expected and not received.
    pub(crate) lost: i64,
    /// Connections that received another number than they should have.
    pub(crate) uneven: usize,
    /// Connections that the server closed, victims excepted.
    pub(crate) closed: usize,
    /// Whether nothing happened any more before all was received.
    pub(crate) stalled: bool,
    pub(crate) seconds: f64,
    pub(crate) deliveries_per_second: f64,
    /// From the publish to the read, in microseconds.
    pub(crate) latency_p50: f64,
    pub(crate) latency_p99: f64,
    pub(crate) latency_max: f64,
    /// From the publish to its answer.
    pub(crate) answer_p50: f64,
    pub(crate) server_cpu_seconds: f64,
    pub(crate) cpu_us_per_delivery: f64,
    pub(crate) cpu_us_per_publish: f64,
    /// When this nears the server's figure, the client was the limit.
    pub(crate) client_us_per_delivery: f64,
    /// How often the client slept, for the server to wake it.
    pub(crate) client_sleeps_per_delivery: f64,
    pub(crate) deliveries_per_read: f64,
    /// Of the server: before the connections, with all of them idle, and how much it grew at its
    /// peak in the run.
    pub(crate) memory_before: u64,
    pub(crate) memory_idle: u64,
    pub(crate) memory_grown: u64,
    pub(crate) idle_bytes_per_connection: f64,
    pub(crate) revoked: u64,
    /// From the revocation's request to the farewell at its connection, in microseconds.
    pub(crate) revoked_p50: f64,
    pub(crate) revoked_p99: f64,
    pub(crate) revoked_max: f64,
    /// Whether the revocations were timed ahead of the reading; else its queue is in the times.
    pub(crate) revoked_ahead: bool,
}
