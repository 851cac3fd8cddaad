//! Runs every case on every server, round by round.

use crate::Result;
use crate::build::Binaries;
use crate::cases::{Baseline, Case, Wire};
use crate::machine;
use crate::pin::{Cores, bound, spawn_on};
use crate::results::{Measured, Report, Results, Row};
use crate::servers::Server;
use crate::stats::Summary;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server may take to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(15);
const GLANCE: Duration = Duration::from_millis(10);

/// The outcome of each run, by case, server and repeat; a fault is in words.
type Outcomes = HashMap<(String, String, usize), std::result::Result<Report, String>>;

/// Runs everything: each repeat goes through the cases, each case through the servers, so that what
/// is compared ran within the same minutes. `save` is given what there is after each repeat, so
/// that a run that is broken off has its figures.
pub(crate) fn run(
    cases: &[Case],
    servers: &[Server],
    repeats: usize,
    binaries: &Binaries,
    cores: &Cores,
    mut save: impl FnMut(&Results) -> Result<()>,
) -> Result<Results> {
    let start = Instant::now();
    let mut outcomes = Outcomes::new();
    let machine = machine::describe(cores, servers);
    let mut results = Results { machine, repeats: 0, seconds: 0, measures: Vec::new() };
    let total: usize = repeats
        * cases
            .iter()
            .map(|case| servers.iter().filter(|server| case.takes(server)).count())
            .sum::<usize>();
    for repeat in 0..repeats {
        for case in cases {
            // Each time another is the first, lest one always runs after the same other.
            let (later, first) = servers.split_at(repeat % servers.len());
            for server in first.iter().chain(later).filter(|server| case.takes(server)) {
                let outcome = run_once(case, server, binaries, cores)?;
                let said = match &outcome {
                    Ok(report) => {
                        let figures = case.measures.iter().map(|measure| {
                            format!("{:.2} {}", (measure.read)(report), measure.unit)
                        });
                        figures.collect::<Vec<_>>().join(", ")
                    }
                    Err(fault) => format!("void: {fault}"),
                };
                if case.revoke > 0
                    && let Ok(report) = &outcome
                {
                    let place = if report.revoked_ahead {
                        "before the reading"
                    } else {
                        "behind the reading (no `chrt`)"
                    };
                    results.machine.insert("revocations".into(), format!("timed {place}"));
                }
                let key = (case.name.to_owned(), server.name.clone(), repeat);
                outcomes.insert(key, outcome);
                eprintln!(
                    "[{:3}/{total}] {:16} {:20} {said}",
                    outcomes.len(),
                    case.name,
                    server.label
                );
            }
        }
        let done = repeat + 1;
        let measures =
            cases.iter().flat_map(|case| summarise(case, servers, done, &outcomes)).collect();
        results =
            Results { repeats: done, seconds: start.elapsed().as_secs(), measures, ..results };
        save(&results)?;
    }
    Ok(results)
}

fn summarise(
    case: &Case,
    servers: &[Server],
    repeats: usize,
    outcomes: &Outcomes,
) -> Vec<Measured> {
    let report = |case: &str, server: &str, repeat| {
        outcomes.get(&(case.to_owned(), server.to_owned(), repeat)).map(std::result::Result::as_ref)
    };
    let of = |measure: &crate::cases::Measure| {
        let rows = servers.iter().filter(|server| case.takes(server)).map(|server| {
            let void = (0..repeats)
                .find_map(|repeat| report(case.name, &server.name, repeat)?.err())
                .cloned();
            let figure = |case: &str, server: &str, repeat| {
                Some((measure.read)(report(case, server, repeat)?.ok()?))
            };
            let figures = (0..repeats).filter_map(|repeat| figure(case.name, &server.name, repeat));
            let ratios = (0..repeats).filter_map(|repeat| {
                let base = match measure.baseline {
                    Baseline::Server(other) => figure(case.name, other, repeat),
                    Baseline::Case(other) => figure(other, &server.name, repeat),
                    Baseline::Nothing => None,
                };
                Some(figure(case.name, &server.name, repeat)? / base?)
            });
            let sound = void.is_none();
            Row {
                server: server.name.clone(),
                label: server.label.to_owned(),
                figure: Summary::of(figures).filter(|_| sound),
                ratio: Summary::of(ratios).filter(|_| sound),
                void,
            }
        });
        Measured {
            case: case.name.to_owned(),
            title: measure.title.clone(),
            unit: measure.unit.to_owned(),
            more_is_better: measure.more_is_better,
            rows: rows.collect(),
        }
    };
    case.measures.iter().map(of).collect()
}

/// One run on a fresh server. The outer error ends the matrix, the inner one makes this run void.
fn run_once(
    case: &Case,
    server: &Server,
    binaries: &Binaries,
    cores: &Cores,
) -> Result<std::result::Result<Report, String>> {
    let running = match Running::start(server, cores) {
        Ok(running) => running,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", running.port);
    let mut load = bound(binaries.benches.join("loadgen"));
    load.args(["--subscribe", &url(server.path(case.wire).unwrap_or_default())]);
    load.args([
        "--publish",
        &server.publish_url(running.port),
        "--pid",
        &running.child.id().to_string(),
    ]);
    load.args(&case.arguments).args(server.handshake);
    if case.wire == Wire::Ws {
        load.arg("--ws");
    }
    if let (Some(revoke), 1..) = (server.revoke, case.revoke) {
        load.args(["--revoke", &case.revoke.to_string(), "--revoke-url", &url(revoke)]);
    }
    let output = spawn_on(cores.client, load.stdout(Stdio::piped()).stderr(Stdio::piped()))?
        .wait_with_output()?;
    if !output.status.success() {
        return Ok(Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let report: Report = serde_json::from_slice(&output.stdout)?;
    Ok(match report.fault(case.revoke) {
        Some(fault) => Err(fault),
        None => Ok(report),
    })
}

/// A server that listens. It ends when this is dropped.
struct Running {
    child: Child,
    port: u16,
    files: PathBuf,
}

impl Running {
    fn start(server: &Server, cores: &Cores) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let files = std::env::temp_dir().join(format!("matrix-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&files)?;
        let mut command = server.command(port, &files)?;
        let child = spawn_on(cores.server, command.stdin(Stdio::null()).stdout(Stdio::null()))?;
        let mut running = Self { child, port, files };
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = running.child.try_wait()? {
                return Err(format!("{} ended at once: {status}", server.label).into());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("{} does not listen", server.label).into());
            }
            sleep(GLANCE);
        }
        Ok(running)
    }

    fn stop(&mut self) -> Result<()> {
        // Asked first: nginx is several processes, and takes the others along.
        if let (None, Ok(pid)) = (self.child.try_wait()?, i32::try_from(self.child.id())) {
            Pid::from_raw(pid).map_or(Ok(()), |pid| kill_process(pid, Signal::TERM))?;
        }
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            if start.elapsed() > PATIENCE {
                self.child.kill()?;
            }
            sleep(GLANCE);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("matrix: a server cannot be ended: {error}");
        }
        remove(&self.files);
    }
}

fn remove(files: &Path) {
    if let Err(error) = std::fs::remove_dir_all(files) {
        eprintln!("matrix: {} stays: {error}", files.display());
    }
}
