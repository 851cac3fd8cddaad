//! One process of clients.

use crate::board::Board;
use futures_util::StreamExt;
use serde::Deserialize;
use std::io::{BufRead, Write, stdin, stdout};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};

/// How many connections are made at once: the server's backlog holds them.
const OPENING: usize = 256;
/// How many of those which never read are of the first account, which is the one that is revoked.
pub(crate) const STALLED_OF_FIRST: usize = 5;
/// As little as the kernel grants: a client that never reads shall be full soon.
const STALLED_RECEIVE_BYTES: u32 = 4096;
/// Enough for the messages of the show.
const READ_BYTES: usize = 1024;

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) to: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) connections: usize,
    pub(crate) accounts: usize,
    pub(crate) stalled: usize,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Transport {
    Sse,
    Ws,
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "sse" => Ok(Self::Sse),
            "ws" => Ok(Self::Ws),
            other => Err(format!("{other:?} is neither `sse` nor `ws`")),
        }
    }
}

impl Plan {
    /// Spread over the first account and, one each, the ones after it.
    fn stalls(&self, account: usize, nth: usize) -> bool {
        match account {
            0 => nth < STALLED_OF_FIRST.min(self.stalled),
            _ => nth == 0 && account + STALLED_OF_FIRST <= self.stalled,
        }
    }
}

/// A message of the show.
#[derive(Deserialize)]
struct Round {
    round: u64,
}

type Shared = Arc<Mutex<Board>>;

fn lock(board: &Shared) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn run(plan: Plan) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let board = Shared::default();
    let answering = board.clone();
    std::thread::spawn(move || runtime.block_on(hold(plan, board)));
    for line in stdin().lock().lines() {
        line.map_err(|error| error.to_string())?;
        let text = serde_json::to_string(&*lock(&answering)).map_err(|error| error.to_string())?;
        writeln!(stdout(), "{text}").map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Opens every connection, those which never read last, and holds them.
async fn hold(plan: Plan, board: Shared) {
    let plan = Arc::new(plan);
    let opening = Arc::new(Semaphore::new(OPENING));
    let mut all: Vec<_> = (0..plan.connections)
        .map(|i| (i % plan.accounts, i / plan.accounts))
        .map(|(account, nth)| (plan.stalls(account, nth), account))
        .collect();
    all.sort_unstable();
    for (stalls, account) in all {
        let Ok(permit) = opening.clone().acquire_owned().await else { return };
        let (plan, board) = (plan.clone(), board.clone());
        tokio::spawn(async move {
            let opened = open(&plan, account, stalls).await;
            drop(permit);
            match opened {
                Err(error) => lock(&board).failures.push(error),
                Ok(connection) => connection.live(&Client { board, account, stalls }).await,
            }
        });
    }
    std::future::pending().await
}

struct Client {
    board: Shared,
    account: usize,
    stalls: bool,
}

enum Connection {
    Sse(BufReader<TcpStream>),
    Ws(Box<WebSocketStream<TcpStream>>),
}

async fn open(plan: &Plan, account: usize, stalls: bool) -> Result<Connection, String> {
    let words = |error: &dyn std::fmt::Display| format!("account {account}: {error}");
    let socket = TcpSocket::new_v4().map_err(|e| words(&e))?;
    if stalls {
        socket.set_recv_buffer_size(STALLED_RECEIVE_BYTES).map_err(|e| words(&e))?;
    }
    let tcp = socket.connect(plan.to).await.map_err(|e| words(&e))?;
    // A client that never reads has a channel of its own, on which it is filled.
    let channels = match tcp.local_addr() {
        Ok(local) if stalls => format!("news,flood-{}", local.port()),
        _ => "news".into(),
    };
    let query = format!("channels={channels}&group=account-{account}");
    match plan.transport {
        Transport::Sse => {
            let mut tcp = BufReader::with_capacity(READ_BYTES, tcp);
            let request = format!("GET /events?{query} HTTP/1.1\r\nHost: {}\r\n\r\n", plan.to);
            tcp.get_mut().write_all(request.as_bytes()).await.map_err(|e| words(&e))?;
            let mut status = String::new();
            tcp.read_line(&mut status).await.map_err(|e| words(&e))?;
            if status.starts_with("HTTP/1.1 200") {
                Ok(Connection::Sse(tcp))
            } else {
                Err(words(&status.trim()))
            }
        }
        Transport::Ws => {
            let config =
                WebSocketConfig::default().read_buffer_size(READ_BYTES).write_buffer_size(0);
            let address = format!("ws://{}/ws?{query}", plan.to);
            let opened =
                tokio_tungstenite::client_async_with_config(address, tcp, Some(config)).await;
            opened.map(|(stream, _)| Connection::Ws(Box::new(stream))).map_err(|e| words(&e))
        }
    }
}

impl Connection {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Sse(tcp) => tcp.get_ref(),
            Self::Ws(stream) => stream.get_ref(),
        }
    }

    /// Stays open until the server ends it, and notes how it did.
    async fn live(self, client: &Client) {
        lock(&client.board).open += 1;
        let how = if client.stalls {
            self.stall(client).await
        } else {
            match self {
                Self::Sse(tcp) => hear_events(tcp, client).await,
                Self::Ws(stream) => hear_messages(*stream, client).await,
            }
        };
        let mut board = lock(&client.board);
        board.open -= 1;
        *board.ended.entry(client.account).or_default().entry(how).or_default() += 1;
    }

    /// Never reads. An error of the socket is the one thing that shows without reading.
    async fn stall(self, client: &Client) -> String {
        if let Ok(address) = self.tcp().local_addr() {
            lock(&client.board).stalled_ports.push(address.port());
        }
        match self.tcp().ready(Interest::ERROR).await {
            Ok(_) => "reset".into(),
            Err(error) => error.to_string(),
        }
    }
}

/// Reads lines: neither the borders of chunks nor the fields that do not matter here look like
/// those which do.
async fn hear_events(mut tcp: BufReader<TcpStream>, client: &Client) -> String {
    let (mut line, mut latest, mut closing, mut reason) = (String::new(), 0, false, None);
    loop {
        line.clear();
        match tcp.read_line(&mut line).await {
            Ok(read) if read > 0 => {}
            Ok(_) => return reason.unwrap_or_else(|| "end".into()),
            Err(_) => return reason.unwrap_or_else(|| "reset".into()),
        }
        if line.trim_end() == "event: close" {
            closing = true;
        } else if let Some(data) = line.strip_prefix("data: ") {
            if closing {
                reason = Some(reason_of(data));
            } else {
                client.hears(data, &mut latest);
            }
        }
    }
}

async fn hear_messages(mut stream: WebSocketStream<TcpStream>, client: &Client) -> String {
    let (mut latest, mut reason) = (0, None);
    loop {
        match stream.next().await {
            Some(Ok(Message::Text(text))) => client.hears(&text, &mut latest),
            Some(Ok(Message::Close(Some(frame)))) => reason = Some(frame.reason.to_string()),
            Some(Ok(_)) => {}
            Some(Err(_)) => return reason.unwrap_or_else(|| "reset".into()),
            None => return reason.unwrap_or_else(|| "end".into()),
        }
    }
}

fn reason_of(data: &str) -> String {
    #[derive(Deserialize)]
    struct Farewell {
        reason: String,
    }
    serde_json::from_str::<Farewell>(data)
        .map_or_else(|_| data.to_owned(), |farewell| farewell.reason)
}

impl Client {
    fn hears(&self, data: &str, latest: &mut u64) {
        let mut board = lock(&self.board);
        match serde_json::from_str::<Round>(data) {
            Ok(Round { round }) if round > *latest => {
                *latest = round;
                *board.heard.entry(round).or_default() += 1;
            }
            _ => board.out_of_order += 1,
        }
    }
}
