//! The counts of a process of clients, which it reports to the show.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts over all connections of one process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Board {
    /// Connections that are open, those which never read included.
    pub(crate) open: usize,
    /// How many connections heard each round's message, in order and once.
    pub(crate) heard: BTreeMap<u64, usize>,
    /// Messages that a connection heard twice, or after a later one.
    pub(crate) out_of_order: usize,
    /// How the connections of each account ended: a reason, or `reset`, or `end` without a
    /// farewell.
    pub(crate) ended: BTreeMap<usize, BTreeMap<String, usize>>,
    /// The local ports of those which never read.
    pub(crate) stalled_ports: Vec<u16>,
    /// Why connections were not opened.
    pub(crate) failures: Vec<String>,
}

impl Board {
    /// All ends.
    pub(crate) fn endings(&self) -> usize {
        self.ended.values().flat_map(BTreeMap::values).sum()
    }

    /// The ends of one account that happened so.
    pub(crate) fn ended_as(&self, account: usize, how: &str) -> usize {
        self.ended.get(&account).and_then(|ends| ends.get(how)).copied().unwrap_or(0)
    }
}
