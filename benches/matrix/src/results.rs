//! The results, as they are written to `matrix.json`.

use crate::cases::is_essential;
use crate::stats::Summary;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is read of the load generator's report.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Report {
    pub(crate) expected: f64,
    pub(crate) published: f64,
    pub(crate) lost: f64,
    pub(crate) uneven: usize,
    pub(crate) closed: usize,
    pub(crate) stalled: bool,
    pub(crate) deliveries_per_second: f64,
    pub(crate) latency_p99: f64,
    pub(crate) cpu_us_per_delivery: f64,
    pub(crate) cpu_us_per_publish: f64,
    pub(crate) memory_grown: f64,
    pub(crate) idle_bytes_per_connection: f64,
    pub(crate) revoked: usize,
    pub(crate) revoked_p99: f64,
    pub(crate) revoked_ahead: bool,
}

/// Fewer revocations have no percentile.
const FEW: usize = 10;

impl Report {
    /// Why nothing may be read off this run.
    pub(crate) fn fault(&self, revoke: usize) -> Option<String> {
        if self.lost != 0.0 {
            let percent = 100.0 * self.lost / self.expected.max(1.0);
            return Some(format!("{percent:.1} % lost"));
        }
        if self.uneven > 0 {
            return Some(format!("uneven on {} connections", self.uneven));
        }
        if self.closed > 0 {
            return Some(format!("{} connections closed", self.closed));
        }
        if self.stalled || self.published == 0.0 {
            return Some("stalled".into());
        }
        (self.revoked < revoke.min(FEW)).then(|| format!("only {} were revoked", self.revoked))
    }
}

/// A whole matrix.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: BTreeMap<String, String>,
    pub(crate) repeats: usize,
    pub(crate) seconds: u64,
    pub(crate) measures: Vec<Measured>,
}

/// One measure on all servers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) case: String,
    pub(crate) title: String,
    pub(crate) unit: String,
    pub(crate) more_is_better: bool,
    pub(crate) rows: Vec<Row>,
}

/// One measure on one server: either it has figures, or the reason why not.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) server: String,
    pub(crate) label: String,
    pub(crate) figure: Option<Summary>,
    /// To the baseline of the same repeat.
    pub(crate) ratio: Option<Summary>,
    pub(crate) void: Option<String>,
}

impl Results {
    /// The faults that leave nothing to compare.
    pub(crate) fn void(&self) -> Vec<String> {
        let rows = self
            .measures
            .iter()
            .flat_map(|measured| measured.rows.iter().map(move |row| (measured, row)));
        let faults = rows.filter(|(_, row)| is_essential(&row.server));
        let mut faults: Vec<String> = faults
            .filter_map(|(measured, row)| {
                Some(format!("{} in {}: {}", row.label, measured.case, row.void.as_ref()?))
            })
            .collect();
        faults.dedup();
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lost: f64, uneven: usize) -> Report {
        let text = format!(
            r#"{{"expected":100,"published":1,"lost":{lost},"uneven":{uneven},"closed":0,
            "stalled":false,"deliveries_per_second":1,"latency_p99":1,"cpu_us_per_delivery":1,
            "cpu_us_per_publish":1,"memory_grown":1,
            "idle_bytes_per_connection":1,"revoked":3,"revoked_p99":0,"revoked_ahead":true}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_run_that_lost_or_repeated_something_has_no_figure() {
        assert_eq!(report(0.0, 0).fault(0), None);
        assert_eq!(report(3.0, 1).fault(0).as_deref(), Some("3.0 % lost"));
        assert_eq!(report(0.0, 2).fault(0).as_deref(), Some("uneven on 2 connections"));
        assert_eq!(report(0.0, 0).fault(3), None);
        assert_eq!(report(0.0, 0).fault(400).as_deref(), Some("only 3 were revoked"));
    }
}
