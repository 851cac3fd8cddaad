//! The show: the steps, the expectations of each, and the figures.

use crate::board::Board;
use crate::clients::{self, STALLED_OF_FIRST, Transport};
use crate::http::call;
use crate::processes::{Clients, Demo, Usage};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Of each process: how many never read.
const STALLED: usize = 25;
/// When a peer that does not read is reset: the server's default.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
/// The time in which the demo promises to exit.
const EXIT_DEADLINE: Duration = Duration::from_secs(10);
/// How late a machine may be whose processors are shared.
const SLACK: Duration = Duration::from_secs(1);
/// For what has no deadline.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often is asked.
const PERIOD: Duration = Duration::from_millis(10);
/// The size of one message of the flood: an outbox holds five.
const FLOOD_BYTES: usize = 192 * 1024;
/// So many looks in a row at which the socket holds the same number of bytes: it is full.
const FULL: u32 = 2;
/// How long a socket gets to take what was sent.
const TAKING: Duration = Duration::from_millis(50);
/// After which time memory is given back that a crowd used, and how much may be left of it.
const GIVEN_BACK: Duration = Duration::from_secs(30);
const LEFT_KIB: u64 = 64 * 1024;
/// How much memory may have grown since the rounds before, each time after it was given back.
const GROWTH_KIB: u64 = 16 * 1024;

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    pub(crate) accounts: usize,
    pub(crate) warm_ups: usize,
    pub(crate) demo: PathBuf,
}

#[derive(Deserialize)]
struct Sent {
    matched: usize,
    accepted: usize,
    lagged: usize,
}

#[derive(Deserialize)]
struct Closed {
    closed: usize,
}

#[derive(Deserialize)]
struct Stats {
    subscribers: usize,
}

/// Prints the rows of a table, or nothing.
#[derive(Clone, Copy)]
struct Figures {
    shown: bool,
}

impl Figures {
    fn note(self, what: impl Display, figure: impl Display) {
        if self.shown {
            println!("| {what} | {figure} |");
        }
    }
}

pub(crate) fn run(plan: &Plan) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(show(plan))
}

async fn show(plan: &Plan) -> Result<(), String> {
    expect(
        plan.accounts >= STALLED && plan.connections >= plan.accounts * 2 * STALLED_OF_FIRST,
        || format!("{STALLED} accounts at least, of {} connections each", 2 * STALLED_OF_FIRST),
    )?;
    let figures = Figures { shown: true };
    println!("| what | figure |\n|---|---|");
    let demo = Demo::start(&plan.demo).await?;
    let idle = demo.usage()?;
    figures.note("the server, idle", usage(idle));
    let mut warm = idle;
    for n in 1..=plan.warm_ups {
        let quietly = Figures { shown: false };
        warm = round(plan, &demo, idle, quietly)
            .await
            .map_err(|error| format!("in warm-up {n}: {error}"))?;
        figures.note(format_args!("… after {n} equal rounds"), usage(warm));
    }
    if plan.warm_ups > 0 {
        warm = given_back(&demo, figures).await?;
    }
    let after = round(plan, &demo, idle, figures).await?;
    figures.note("… when all had gone", usage(after));
    expect(after.descriptors == warm.descriptors, || {
        format!("descriptors are left: {}", usage(after))
    })?;
    let after = given_back(&demo, figures).await?;
    expect(after.resident_kib <= idle.resident_kib + LEFT_KIB, || {
        format!("memory is not given back: {}", usage(after))
    })?;
    if plan.warm_ups > 0 {
        expect(after.resident_kib <= warm.resident_kib + GROWTH_KIB, || {
            format!("memory is left: {}", usage(after))
        })?;
    }
    drain(plan, demo, figures).await
}

/// The resources that the server uses some time after a crowd left.
async fn given_back(demo: &Demo, figures: Figures) -> Result<Usage, String> {
    sleep(GIVEN_BACK).await;
    let usage_now = demo.usage()?;
    figures.note(format_args!("… {} s later", GIVEN_BACK.as_secs()), usage(usage_now));
    Ok(usage_now)
}

/// Opens the crowd, broadcasts, stalls, revokes, broadcasts again, and lets the crowd go.
async fn round(plan: &Plan, demo: &Demo, idle: Usage, figures: Figures) -> Result<Usage, String> {
    let of_process = clients::Plan {
        to: demo.address,
        transport: Transport::Sse,
        connections: plan.connections,
        accounts: plan.accounts,
        stalled: STALLED,
    };
    let all = 2 * plan.connections;
    // Of each process: what is the first account's, and what of it reads.
    let first = plan.connections.div_ceil(plan.accounts);
    let first_reading = first - STALLED_OF_FIRST;

    let begun = Instant::now();
    let mut crowd = [Clients::start("sse", &of_process)?, Clients::start("ws", &of_process)?];
    until(&mut crowd, "all are open", PATIENCE, |board| board.open == plan.connections).await?;
    figures.note(
        format_args!(
            "{} SSE and {0} WebSocket connections of {} accounts opened in",
            plan.connections, plan.accounts
        ),
        seconds(begun),
    );
    figures.note("the server, all connected", usage(demo.usage()?));

    let begun = Instant::now();
    let sent = broadcast(demo, "news", r#"{"round":1}"#).await?;
    figures.note("a broadcast to all returned after", seconds(begun));
    expect(sent.matched == all && sent.accepted == all, || {
        format!("{} of {all} were matched", sent.matched)
    })?;
    let reading = plan.connections - STALLED;
    until(&mut crowd, "all clients that read hear it", PATIENCE, |board| {
        board.heard.get(&1) == Some(&reading)
    })
    .await?;
    figures.note(format_args!("… and the {} that read had it after", 2 * reading), seconds(begun));

    let mut ports = Vec::new();
    for clients in &mut crowd {
        ports.extend(clients.board().await?.stalled_ports);
    }
    expect(ports.len() == 2 * STALLED, || format!("{} never read", ports.len()))?;
    let held = fill(demo, &ports).await?;
    figures.note(format_args!("{} never read; the kernel holds for them", ports.len()), mib(held));

    let begun = Instant::now();
    let Closed { closed } = call(demo.address, "DELETE", "/api/groups/account-0", "").await?;
    figures.note("revoking an account returned after", seconds(begun));
    expect(closed == 2 * first, || format!("{closed} were closed, not {}", 2 * first))?;
    until(
        &mut crowd,
        "its connections end, those which never read by a reset",
        CLOSE_DEADLINE + SLACK,
        |board| {
            board.ended_as(0, "revoked") == first_reading
                && board.ended_as(0, "reset") == STALLED_OF_FIRST
        },
    )
    .await?;
    figures.note(
        format_args!("… it counted {closed}; the last of them, which never read, was reset after"),
        seconds(begun),
    );

    // The witness: connections of other accounts still hear, and no other one was ended.
    let sent = broadcast(demo, "news", r#"{"round":2}"#).await?;
    expect(sent.matched == all - closed, || {
        format!("{} of {} were matched", sent.matched, all - closed)
    })?;
    let witnesses = plan.connections - STALLED - first_reading;
    until(&mut crowd, "all others hear the next message", PATIENCE, |board| {
        board.heard.get(&2) == Some(&witnesses)
    })
    .await?;
    for clients in &mut crowd {
        let board = clients.board().await?;
        expect(board.endings() == first, || format!("others were ended: {:?}", board.ended))?;
        expect(board.open == plan.connections - first, || format!("{} are open", board.open))?;
        expect(board.out_of_order == 0, || format!("{} came twice or late", board.out_of_order))?;
        expect(board.heard.get(&1) == Some(&reading), || format!("heard: {:?}", board.heard))?;
    }
    figures.note("… the others heard the next broadcast, once each", (2 * witnesses).to_string());

    let begun = Instant::now();
    for clients in crowd {
        clients.end().await?;
    }
    loop {
        let Stats { subscribers } = call(demo.address, "GET", "/api/stats", "").await?;
        let now = demo.usage()?;
        if subscribers == 0 && now.descriptors <= idle.descriptors {
            figures.note("all clients left; the server had closed them after", seconds(begun));
            return Ok(now);
        }
        expect(begun.elapsed() < PATIENCE, || {
            format!("{subscribers} subscribers stay, {}", usage(now))
        })?;
        sleep(PERIOD).await;
    }
}

/// SIGTERM with one process of clients open, some of which never read.
async fn drain(plan: &Plan, demo: Demo, figures: Figures) -> Result<(), String> {
    let of_process = clients::Plan {
        to: demo.address,
        transport: Transport::Sse,
        connections: plan.connections,
        accounts: plan.accounts,
        stalled: STALLED,
    };
    let mut crowd = [Clients::start("sse", &of_process)?];
    until(&mut crowd, "all are open", PATIENCE, |board| board.open == plan.connections).await?;
    let ports = crowd[0].board().await?.stalled_ports;
    fill(&demo, &ports).await?;
    let begun = Instant::now();
    let (last_line, status) = demo.terminate().await?;
    let took = begun.elapsed();
    let what = format!(
        "SIGTERM with {} SSE connections, {} of which never read: exit after",
        plan.connections,
        ports.len()
    );
    figures.note(what, format!("{:.2} s", took.as_secs_f64()));
    figures.note("… its last line", last_line);
    expect(status.success(), || format!("the server exited with {status}"))?;
    expect(took <= EXIT_DEADLINE, || format!("the server took {took:?} to exit"))?;
    let reading = plan.connections - STALLED;
    let ends = |board: &Board, how| {
        board.ended.keys().map(|account| board.ended_as(*account, how)).sum::<usize>()
    };
    until(&mut crowd, "all that read got a farewell, the others were reset", PATIENCE, |board| {
        ends(board, "shutdown") == reading && ends(board, "reset") == STALLED
    })
    .await?;
    figures.note("… got a farewell, were reset", format!("{reading}, {STALLED}"));
    let [clients] = crowd;
    clients.end().await
}

/// Waits until every process of clients shows it.
async fn until(
    crowd: &mut [Clients],
    what: &str,
    within: Duration,
    is_so: impl Fn(&Board) -> bool,
) -> Result<(), String> {
    let begun = Instant::now();
    for clients in crowd {
        loop {
            let board = clients.board().await?;
            if is_so(&board) {
                break;
            }
            let failure = board.failures.first();
            if let Some(failure) = failure {
                return Err(format!("{what}: {} were refused: {failure}", board.failures.len()));
            }
            expect(begun.elapsed() < within, || {
                let Board { open, heard, ended, .. } = board;
                format!(
                    "waited {within:?} until {what}: {open} are open, heard {heard:?}, \
                     ended {ended:?}"
                )
            })?;
            sleep(PERIOD).await;
        }
    }
    Ok(())
}

/// Sends to those which never read until their sockets are full; how many bytes the kernel then
/// holds.
async fn fill(demo: &Demo, ports: &[u16]) -> Result<u64, String> {
    let payload = format!("\"{}\"", "x".repeat(FLOOD_BYTES));
    let mut filling: BTreeMap<u16, (u64, u32)> = ports.iter().map(|port| (*port, (0, 0))).collect();
    while !filling.is_empty() {
        for port in filling.keys() {
            let sent = broadcast(demo, &format!("flood-{port}"), &payload).await?;
            let Sent { matched, accepted, lagged } = sent;
            expect(accepted == 1, || {
                format!("flooding {port}: {matched} matched, {accepted} accepted, {lagged} lagged")
            })?;
        }
        sleep(TAKING).await;
        let unsent = demo.unsent(ports)?;
        for (port, (before, looks)) in &mut filling {
            let now = unsent.get(port).copied().unwrap_or(0);
            *looks = if now > 0 && now == *before { *looks + 1 } else { 0 };
            *before = now;
        }
        filling.retain(|_, (_, looks)| *looks < FULL);
    }
    Ok(demo.unsent(ports)?.values().sum())
}

async fn broadcast(demo: &Demo, channel: &str, body: &str) -> Result<Sent, String> {
    call(demo.address, "POST", &format!("/api/channels/{channel}"), body).await
}

fn expect(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(otherwise()) }
}

fn seconds(since: Instant) -> String {
    format!("{:.2} s", since.elapsed().as_secs_f64())
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn usage(usage: Usage) -> String {
    format!("{} MiB resident, {} descriptors", usage.resident_kib >> 10, usage.descriptors)
}
