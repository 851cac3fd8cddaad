//! What is measured.

use crate::results::Report;
use crate::servers::{BATCHING, DEMO, FLOOR, PORTABLE};

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Sse,
    Ws,
}

/// How long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Quick,
    Full,
}

/// One run of the load generator, and what is read off it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) wire: Wire,
    pub(crate) arguments: Vec<String>,
    /// Connections that are revoked during the run; only a server that can do so takes part then.
    pub(crate) revoke: usize,
    pub(crate) measures: Vec<Measure>,
}

pub(crate) struct Measure {
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    pub(crate) more_is_better: bool,
    pub(crate) read: fn(&Report) -> f64,
    /// What the figure is divided by: another run of the same repeat.
    pub(crate) baseline: Baseline,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Baseline {
    /// The same case on this server.
    Server(&'static str),
    /// The same server in this case.
    Case(&'static str),
    Nothing,
}

const CPU: fn(&Report) -> f64 = |report| report.cpu_us_per_delivery;

impl Case {
    fn new(name: &'static str, wire: Wire, arguments: &str, measures: Vec<Measure>) -> Self {
        let arguments = arguments.split_whitespace().map(str::to_owned).collect();
        Self { name, wire, arguments, revoke: 0, measures }
    }
}

fn measure(
    title: &str,
    unit: &'static str,
    baseline: Baseline,
    read: fn(&Report) -> f64,
) -> Measure {
    Measure { title: title.to_owned(), unit, more_is_better: false, read, baseline }
}

/// All cases. The number of messages is all that differs between the sizes, and the time that a run
/// may take.
pub(crate) fn all(size: Size) -> Vec<Case> {
    let (small, large, burst, sparse, slow, revoke, secs) = match size {
        Size::Quick => (200, 30, 2_000, 2_000, 500, 100, 5),
        Size::Full => (1_000, 150, 8_000, 10_000, 1_200, 400, 8),
    };
    let floor = Baseline::Server(FLOOR);
    let mut cases = Vec::new();
    for (wire, of) in [
        (Wire::Sse, ["sse-1k", "sse-10k", "sse-burst", "sse-few", "sse-sparse"]),
        (Wire::Ws, ["ws-1k", "ws-10k", "ws-burst", "ws-few", "ws-sparse"]),
    ] {
        let name = wire.label();
        let limit = format!("--max-secs {secs}");
        cases.push(Case::new(
            of[0],
            wire,
            &format!("--conns 1000 --messages {small} {limit}"),
            vec![measure(
                &format!("{name}, 1,000 connections, closed loop: CPU per delivery"),
                "µs",
                floor,
                CPU,
            )],
        ));
        cases.push(Case::new(
            of[1],
            wire,
            &format!("--conns 10000 --messages {large} {limit}"),
            vec![
                measure(
                    &format!("{name}, 10,000 connections, closed loop: CPU per delivery"),
                    "µs",
                    floor,
                    CPU,
                ),
                measure(
                    &format!("{name}, 10,000 idle connections: memory of each"),
                    "KiB",
                    Baseline::Nothing,
                    |report| report.idle_bytes_per_connection / 1024.0,
                ),
            ],
        ));
        let rate = Measure {
            more_is_better: true,
            ..measure(
                &format!("{name}, 1,000 connections, burst of 64 publishers: deliveries"),
                "million/s",
                Baseline::Server(BATCHING),
                |report| report.deliveries_per_second / 1e6,
            )
        };
        cases.push(Case::new(
            of[2],
            wire,
            &format!("--conns 1000 --mode burst --publishers 64 --messages {burst} {limit}"),
            vec![
                rate,
                measure(
                    &format!("{name}, 1,000 connections, burst of 64 publishers: CPU per delivery"),
                    "µs",
                    Baseline::Server(BATCHING),
                    CPU,
                ),
            ],
        ));
        let per_publish: fn(&Report) -> f64 = |report| report.cpu_us_per_publish;
        cases.push(Case::new(
            of[3],
            wire,
            &format!("--conns 20 --channels 2 --messages {sparse} {limit}"),
            vec![measure(
                &format!("{name}, 10 of 20 connections match: CPU per publish"),
                "µs",
                floor,
                per_publish,
            )],
        ));
        let cost = "CPU per publish";
        let title = format!("{name}, 10 of 10,000 connections match");
        let grown = format!("{title} (ratio: to 10 of 20): {cost}");
        cases.push(Case::new(
            of[4],
            wire,
            &format!("--conns 10000 --channels 1000 --messages {sparse} {limit}"),
            vec![
                measure(&format!("{title}: {cost}"), "µs", floor, per_publish),
                measure(&grown, "µs", Baseline::Case(of[3]), per_publish),
            ],
        ));
    }
    let flow =
        format!("--conns 50 --mode rate=500 --payload 16384 --messages {slow} --max-secs 60");
    let p99: fn(&Report) -> f64 = |report| report.latency_p99 / 1e3;
    cases.push(Case::new(
        "calm",
        Wire::Sse,
        &flow,
        vec![measure("SSE, 50 readers, 8 MB/s each: p99 latency", "ms", Baseline::Nothing, p99)],
    ));
    cases.push(Case::new(
        "slow",
        Wire::Sse,
        &format!("{flow} --slow 5"),
        vec![
            measure(
                "SSE, 50 readers beside 5 that never read: p99 latency (ratio: to without)",
                "ms",
                Baseline::Case("calm"),
                p99,
            ),
            measure(
                "SSE, 50 readers beside 5 that never read: growth of the server's memory at its \
                 peak",
                "MiB",
                Baseline::Nothing,
                |report| report.memory_grown / f64::from(1 << 20),
            ),
        ],
    ));
    let load = format!("--conns 1000 --messages 1000000 --max-secs {}", revoke / 50);
    for (name, wire, mode, title) in [
        ("sse-revoke", Wire::Sse, "", "SSE, closed loop"),
        ("ws-revoke", Wire::Ws, "", "WebSocket, closed loop"),
        ("sse-revoke-burst", Wire::Sse, "--mode burst --publishers 64", "SSE, burst"),
        ("ws-revoke-burst", Wire::Ws, "--mode burst --publishers 64", "WebSocket, burst"),
    ] {
        let p99 = measure(
            &format!("{title} to 1,000: revocation to farewell, p99"),
            "ms",
            Baseline::Nothing,
            |report| report.revoked_p99 / 1e3,
        );
        cases.push(Case { revoke, ..Case::new(name, wire, &format!("{load} {mode}"), vec![p99]) });
    }
    cases
}

impl Case {
    /// Whether a server takes part: the batching floor only where it differs.
    pub(crate) fn takes(&self, server: &crate::servers::Server) -> bool {
        let bursts = self.arguments.iter().any(|argument| argument == "burst");
        server.path(self.wire).is_some()
            && (server.name != BATCHING || bursts)
            && (self.revoke == 0 || server.revoke.is_some())
    }
}

impl Wire {
    fn label(self) -> &'static str {
        match self {
            Self::Sse => "SSE",
            Self::Ws => "WebSocket",
        }
    }
}

/// Whether a void run of this server leaves nothing to compare.
pub(crate) fn is_essential(server: &str) -> bool {
    [FLOOR, BATCHING, DEMO, PORTABLE].contains(&server)
}
