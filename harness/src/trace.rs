//! Traces: what was observed while a script ran.
//!
//! A trace is one list of events in one order, over all threads: an adapter with threads appends
//! under one lock. It logs a send or close *at entry*, before the sink does anything else, and
//! never leaves out, merges or sorts events.

use serde::{Deserialize, Serialize};

use crate::script::{OpId, is_default};

/// What was observed, in order.
pub type Trace = Vec<Event>;

/// One observation. `thread` is the thread it was made on; the main one is 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub enum Event {
    /// An operation begins.
    Call {
        /// The operation.
        op: OpId,
        /// The thread.
        #[serde(rename = "lane", default, skip_serializing_if = "is_default")]
        thread: u32,
    },
    /// An operation returned.
    Ret {
        /// The operation.
        op: OpId,
        /// The number that `revoke` or `count` returned; a negative one is judged like any other.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n: Option<i64>,
        /// Set when `sub` or `admit` was refused.
        #[serde(default, skip_serializing_if = "is_default")]
        refused: bool,
        /// What `cast` reported, where it reports.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        report: Option<Report>,
        /// What `take` found.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken: Option<Received>,
    },
    /// An operation threw.
    Err {
        /// The operation.
        op: OpId,
        /// What it said.
        error: String,
    },
    /// A send begins.
    Send {
        /// The sink it is made on.
        sink: u32,
        /// The payload.
        data: String,
        /// The thread.
        #[serde(rename = "lane", default, skip_serializing_if = "is_default")]
        thread: u32,
    },
    /// A send ended.
    Sent {
        /// The sink.
        sink: u32,
        /// Whether its rule made it throw or fail.
        #[serde(default, skip_serializing_if = "is_default")]
        threw: bool,
        /// The thread.
        #[serde(rename = "lane", default, skip_serializing_if = "is_default")]
        thread: u32,
    },
    /// A close begins.
    Close {
        /// The sink.
        sink: u32,
        /// The reason, where the registry gives one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The thread.
        #[serde(rename = "lane", default, skip_serializing_if = "is_default")]
        thread: u32,
    },
    /// A close ended.
    Closed {
        /// The sink.
        sink: u32,
        /// Whether its rule made it throw or fail.
        #[serde(default, skip_serializing_if = "is_default")]
        threw: bool,
        /// The thread.
        #[serde(rename = "lane", default, skip_serializing_if = "is_default")]
        thread: u32,
    },
    /// The fuel ran out: the registry kept calling sinks. Nothing follows.
    Fuel,
    /// A `hold` or a thread waited longer than the runner's patience. What follows was freed by
    /// force.
    Stuck {
        /// The `hold` or `par`.
        op: OpId,
    },
    /// The registry could not be constructed with the script's options. Nothing follows.
    Unbuilt {
        /// What the constructor said.
        error: String,
    },
}

impl Event {
    /// The thread, where the event names it.
    #[must_use]
    pub fn thread(&self) -> Option<u32> {
        match self {
            Event::Call { thread, .. }
            | Event::Send { thread, .. }
            | Event::Sent { thread, .. }
            | Event::Close { thread, .. }
            | Event::Closed { thread, .. } => Some(*thread),
            _ => None,
        }
    }
}

/// What a broadcast says of its hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Subscribers whose filter matched.
    pub matched: u64,
    /// Hand-overs that were accepted.
    #[serde(default)]
    pub accepted: u64,
    /// Messages that a full queue dropped.
    #[serde(default)]
    pub dropped: u64,
    /// Subscribers that were closed because they lagged.
    #[serde(default)]
    pub lagged: u64,
    /// Hand-overs that failed.
    #[serde(default)]
    pub failed: u64,
}

/// What the owner of an outbox found in it; nothing of all this if there was nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Received {
    /// The oldest messages, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<String>,
    /// How many messages overflow has cost and no earlier `take` reported.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lost: u64,
    /// The subscriber has ended and nothing is left: the reason, empty where the registry gives
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}
