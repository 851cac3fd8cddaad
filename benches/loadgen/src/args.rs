//! The command line.

use crate::Result;
use crate::http::Url;
use lexopt::prelude::*;

/// The text of `--help`.
pub(crate) const HELP: &str = "\
Opens event streams on a server, publishes to them, and prints one line of JSON about what arrived.

  --subscribe URL   http://127.x.y.z:port/path; {i} is the connection's number, {c} its channel
  --ws              upgrade to WebSocket; without it, server-sent events
  --say TEXT        send TEXT as a frame after the upgrade (repeatable; {i} and {c} as above)
  --ready TEXT      a connection is subscribed once it has received TEXT; by default, with the
                    response head
  --conns N         connections [1]
  --channels C      spread over so many channels, `i % C`; publishes go to each in turn [1]
  --slow K          so many more, with a small receive buffer, that never read [0]
  --publish URL     where to POST ({c} as above); without it, nothing is published and only memory
                    is measured
  --mode MODE       closed: the next publish when all have the former; burst: as fast as the
                    publishers get answers; rate=R: R a second [closed]
  --publishers W    connections that publish, one request in flight each [1]
  --messages M      publishes that are measured [100]
  --warmup K        publishes before them, in a closed loop [3]
  --payload B       bytes of JSON [200]
  --revoke N        so many more connections (numbered after --conns, on a channel of their own),
                    ended one each 10 ms
  --revoke-url URL  what to DELETE to end connection {i}
  --revoked TEXT    what a connection receives at its end [revoked]
  --pid P           the server: its CPU time and memory are read, its children's too
  --max-secs S      publish no more after so many seconds [20]
  --stall-secs S    give up when nothing has happened for so long [5]
  --idle-ms T       rest before the memory is read [500]
  --pause-us T      rest between two looks for what has come, in place of being woken by it; 0 is
                    to be woken [0]
";

/// When the next message is published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// When all subscribers have received the former.
    Closed,
    /// As soon as a publisher has its answer.
    Burst,
    /// So many a second.
    Rate(f64),
}

pub(crate) struct Args {
    pub(crate) subscribe: Url,
    pub(crate) ws: bool,
    pub(crate) say: Vec<String>,
    pub(crate) ready: Option<String>,
    pub(crate) conns: usize,
    pub(crate) channels: usize,
    pub(crate) slow: usize,
    pub(crate) publish: Option<Url>,
    pub(crate) mode: Mode,
    pub(crate) publishers: usize,
    pub(crate) messages: u64,
    pub(crate) warmup: u64,
    pub(crate) payload: usize,
    pub(crate) revoke: usize,
    pub(crate) revoke_url: Option<Url>,
    pub(crate) revoked: String,
    pub(crate) pid: Option<u32>,
    pub(crate) max_secs: f64,
    pub(crate) stall_secs: f64,
    pub(crate) idle_ms: u64,
    pub(crate) pause_us: u64,
}

impl Args {
    /// Reads the command line; `None` when it asks for help.
    pub(crate) fn parse() -> Result<Option<Self>> {
        let mut args = Self {
            subscribe: Url::default(),
            ws: false,
            say: Vec::new(),
            ready: None,
            conns: 1,
            channels: 1,
            slow: 0,
            publish: None,
            mode: Mode::Closed,
            publishers: 1,
            messages: 100,
            warmup: 3,
            payload: 200,
            revoke: 0,
            revoke_url: None,
            revoked: "revoked".into(),
            pid: None,
            max_secs: 20.0,
            stall_secs: 5.0,
            idle_ms: 500,
            pause_us: 0,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            let Long(name) = argument else { return Err(argument.unexpected().into()) };
            let name = name.to_owned();
            if name == "help" {
                return Ok(None);
            }
            if name == "ws" {
                args.ws = true;
                continue;
            }
            let value = parser.value()?;
            match name.as_str() {
                "subscribe" => args.subscribe = Url::parse(&value.string()?)?,
                "say" => args.say.push(value.string()?),
                "ready" => args.ready = Some(value.string()?),
                "conns" => args.conns = value.parse()?,
                "channels" => args.channels = value.parse::<usize>()?.max(1),
                "slow" => args.slow = value.parse()?,
                "publish" => args.publish = Some(Url::parse(&value.string()?)?),
                "mode" => args.mode = mode(&value.string()?)?,
                "publishers" => args.publishers = value.parse::<usize>()?.max(1),
                "messages" => args.messages = value.parse()?,
                "warmup" => args.warmup = value.parse()?,
                "payload" => args.payload = value.parse()?,
                "revoke" => args.revoke = value.parse()?,
                "revoke-url" => args.revoke_url = Some(Url::parse(&value.string()?)?),
                "revoked" => args.revoked = value.string()?,
                "pid" => args.pid = Some(value.parse()?),
                "max-secs" => args.max_secs = value.parse()?,
                "stall-secs" => args.stall_secs = value.parse()?,
                "idle-ms" => args.idle_ms = value.parse()?,
                "pause-us" => args.pause_us = value.parse()?,
                _ => return Err(Long(&name).unexpected().into()),
            }
        }
        if args.subscribe.path.is_empty() {
            return Err("--subscribe is missing; try --help".into());
        }
        if args.revoke > 0 && args.revoke_url.is_none() {
            return Err("--revoke needs --revoke-url".into());
        }
        Ok(Some(args))
    }
}

fn mode(text: &str) -> Result<Mode> {
    match text {
        "closed" => Ok(Mode::Closed),
        "burst" => Ok(Mode::Burst),
        _ => {
            let rate = text.strip_prefix("rate=").and_then(|rate| rate.parse().ok());
            rate.filter(|rate| *rate > 0.0)
                .map(Mode::Rate)
                .ok_or("--mode is closed, burst or rate=R".into())
        }
    }
}
