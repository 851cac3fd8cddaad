//! Any bytes from a WebSocket peer, in between broadcasts, silence and reading: the connection
//! never panics, always ends, unsubscribes, keeps within its bounds, and writes nothing but valid
//! frames, nothing after a close, and no broadcast after a revocation (WS-1, WS-2, WS-4, REV-3).
//! Over `live.v1` each text is a message of the protocol (WS-6).

#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use registry_core::{
    ChannelFilter, Encoded, Identity, OutboxOptions, Registration, RegistryOptions,
    SubscriberRegistry,
};
use serde_json::{Value, json};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use transport_core::{Admitted, Grant};
use transport_ws::{LIVE, WS, WsOptions, fuzzing::serve};

const SOCKET_BYTES: usize = 512;
/// The longest close frame.
const CLOSE_BYTES: usize = 127;
const MESSAGE_BYTES: usize = 1024;
const OUTBOX_BYTES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// More than every bound together; a pile of replies or fragments exceeds it.
const MEMORY_BYTES: u64 = 64 * 1024;
/// Longer than two heartbeats and a close handshake.
const LONG: Duration = Duration::from_secs(120);

thread_local! {
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
}

/// What happens to a connection.
#[derive(Debug, Arbitrary)]
struct Life<'a> {
    /// Whether the peer is allowed to flood, so that only the bound on replies stands against it.
    unlimited: bool,
    /// Whether it speaks `live.v1`.
    live: bool,
    steps: Vec<Step<'a>>,
    end: End,
}

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    /// Bytes as they are.
    Bytes(&'a [u8]),
    /// A frame that is valid so far as its fields are, and how often.
    Frame(Frame<'a>, u8),
    /// A message of `live.v1` with this data, and how often.
    Say(&'a str, u8),
    Broadcast(&'a str),
    /// The peer reads at most so much.
    Read(u8),
    /// Nothing happens for so many seconds.
    Wait(u8),
    Revoke,
    Shutdown,
}

#[derive(Debug, Arbitrary)]
enum End {
    /// The peer says no more and reads to the end.
    Finish,
    /// The peer is gone at once.
    Vanish,
    /// The peer neither reads nor writes any more.
    Stall,
}

#[derive(Debug)]
struct Frame<'a> {
    first: u8,
    mask: Option<[u8; 4]>,
    payload: &'a [u8],
    /// Added to the length in the header.
    lie: u8,
}

impl<'a> Arbitrary<'a> for Frame<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let kind: u8 = input.arbitrary()?;
        let opcode = [0x0, 0x1, 0x2, 0x8, 0x9, 0xA, 0x3, 0xF][usize::from(kind & 7)];
        let (fin, reserved) =
            (if kind & 8 == 0 { 0x80 } else { 0 }, if kind >> 4 == 15 { 0x40 } else { 0 });
        let odd: u8 = input.arbitrary()?;
        let mask = if odd % 16 == 15 { None } else { Some(input.arbitrary()?) };
        let lie = if odd / 16 == 15 { input.arbitrary()? } else { 0 };
        Ok(Self { first: fin | reserved | opcode, mask, payload: input.arbitrary()?, lie })
    }
}

impl Frame<'_> {
    fn bytes(&self) -> Vec<u8> {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        let mut out = vec![self.first];
        match self.payload.len() + usize::from(self.lie) {
            short @ 0..126 => out.push(masked | short as u8),
            middle => {
                out.push(masked | 126);
                out.extend((middle as u16).to_be_bytes());
            }
        }
        let mask = self.mask.unwrap_or_default();
        out.extend(self.mask.iter().flatten());
        out.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        out
    }
}

/// A strict parser of what a server may write. It keeps only the frame that is not whole yet.
#[derive(Default)]
struct FromServer {
    partial: Vec<u8>,
    texts: usize,
    live: bool,
    closed: bool,
}

impl FromServer {
    fn hears(&mut self, bytes: &[u8], sent: &[&str]) {
        self.partial.extend_from_slice(bytes);
        while let Some(length) = self.frame(sent) {
            self.partial.drain(..length);
        }
    }

    /// The length of the first frame, if it is whole.
    fn frame(&mut self, sent: &[&str]) -> Option<usize> {
        let first = *self.partial.first()?;
        assert!(!self.closed, "bytes after a close frame");
        assert_eq!(first & 0xF0, 0x80, "a fragment, or a reserved bit");
        let second = *self.partial.get(1)?;
        assert_eq!(second & 0x80, 0, "masked");
        let (header, length) = match second {
            126 => (4, usize::from(u16::from_be_bytes(*self.partial.get(2..)?.first_chunk()?))),
            127 => (10, u64::from_be_bytes(*self.partial.get(2..)?.first_chunk()?) as usize),
            short => (2, usize::from(short)),
        };
        let shortest = match length {
            0..126 => 2,
            126..0x1_0000 => 4,
            _ => 10,
        };
        assert_eq!(header, shortest, "a length written at length");
        let payload = self.partial.get(header..header + length)?;
        match first & 0x0F {
            0x1 if self.live => {
                let message: Value = serde_json::from_slice(payload).expect("JSON");
                match message["type"].as_str() {
                    Some("event") => {
                        assert_eq!(message["data"], sent[self.texts], "the next broadcast");
                        self.texts += 1;
                    }
                    Some("ack" | "reply" | "error") => {}
                    other => panic!("{other:?}"),
                }
            }
            0x1 => {
                assert_eq!(payload, sent[self.texts].as_bytes(), "the next broadcast");
                self.texts += 1;
            }
            0x9 | 0xA => assert!(length <= 125),
            0x8 => {
                assert!(length <= 125 && length != 1);
                if let [high, low, reason @ ..] = payload {
                    let code = u16::from_be_bytes([*high, *low]);
                    let valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
                    assert!(valid && std::str::from_utf8(reason).is_ok(), "{code} {reason:?}");
                }
                self.closed = true;
            }
            opcode => panic!("opcode {opcode}"),
        }
        Some(header + length)
    }
}

/// Fails by unwinding at "fail", never ends at "stay", and replies to "hi" if it speaks `live.v1`.
async fn handle(live: bool, peer: transport_ws::Peer, text: String) {
    match text.as_str() {
        // Not `panic!`: the fuzzer takes the hook's word for a finding.
        "fail" => std::panic::resume_unwind(Box::new("failed")),
        "stay" => std::future::pending().await,
        "hi" if live => drop(peer.reply("hello").await),
        _ => {}
    }
}

struct Peer<'a> {
    io: DuplexStream,
    heard: FromServer,
    sent: Vec<&'a str>,
    /// Once revoked: how many bytes may still come.
    due: Option<usize>,
}

impl<'a> Peer<'a> {
    /// It gives up when it is not read; what was written stands.
    async fn write(&mut self, bytes: &[u8]) -> bool {
        timeout(Duration::from_millis(1), self.io.write_all(bytes))
            .await
            .is_ok_and(|written| written.is_ok())
    }

    async fn read(&mut self, most: usize) -> bool {
        let mut buffer = [0; SOCKET_BYTES];
        let most = most.min(buffer.len());
        match timeout(Duration::from_millis(1), self.io.read(&mut buffer[..most])).await {
            Ok(Ok(read)) if read > 0 => {
                if let Some(due) = &mut self.due {
                    *due =
                        due.checked_sub(read).expect("only what the socket held, and the farewell");
                }
                self.heard.hears(&buffer[..read], &self.sent);
                true
            }
            Ok(_) => false,
            Err(_elapsed) => true,
        }
    }

    async fn lives(mut self, life: &Life<'a>, registry: &SubscriberRegistry<String>) {
        let ada = Identity::new("account", "ada");
        for step in &life.steps {
            match step {
                Step::Bytes(bytes) => drop(self.write(bytes).await),
                Step::Frame(frame, times) => {
                    let bytes = frame.bytes();
                    let mut left = 1 + usize::from(*times) * 8;
                    while left > 0 && self.write(&bytes).await {
                        left -= 1;
                    }
                }
                Step::Say(data, times) => {
                    let message = json!({ "type": "message", "ref": times, "data": data });
                    let payload = message.to_string();
                    let frame = Frame {
                        first: 0x81,
                        mask: Some([7; 4]),
                        payload: payload.as_bytes(),
                        lie: 0,
                    };
                    let bytes = frame.bytes();
                    for _ in 0..=*times {
                        if !self.write(&bytes).await {
                            break;
                        }
                    }
                }
                Step::Broadcast(text) => {
                    let report = registry.broadcast("any", (*text).to_owned());
                    if report.is_ok_and(|report| report.accepted == 1) {
                        self.sent.push(text);
                    }
                }
                Step::Read(most) => {
                    self.read(usize::from(*most)).await;
                }
                Step::Wait(seconds) => sleep(Duration::from_secs(u64::from(*seconds))).await,
                Step::Revoke => {
                    if registry.close_by_identity(&ada) == 1 {
                        self.due = Some(SOCKET_BYTES + CLOSE_BYTES);
                    }
                }
                Step::Shutdown => {
                    registry.begin_shutdown();
                }
            }
        }
        match life.end {
            End::Vanish => {}
            End::Stall => sleep(LONG).await,
            End::Finish => {
                let _ = self.io.shutdown().await;
                let end = async { while self.read(SOCKET_BYTES).await {} };
                timeout(LONG, end).await.expect("the peer sees the end");
            }
        }
    }
}

async fn run(life: &Life<'_>) {
    let encoder = |text: &String| Ok(Encoded::text(text.as_str()));
    let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    let ada = Registration::new().with_group(Identity::new("account", "ada"));
    let bounds = OutboxOptions::new().with_max_bytes(OUTBOX_BYTES);
    let live = life.live;
    let format = if live { &LIVE } else { &WS };
    let outbox = registry.open_outbox(format, bounds, ada).expect("a subscriber");
    let grant = Arc::new(Grant::new(ChannelFilter::All));
    let admitted = Admitted::new(outbox, grant);
    let mut options = WsOptions::new()
        .with_max_message_bytes(MESSAGE_BYTES)
        .with_on_text(move |peer, text| handle(live, peer, text));
    if life.unlimited {
        options = options.with_rate(NonZeroU32::MAX, NonZeroU32::MAX);
    }
    let (ours, io) = duplex(SOCKET_BYTES);
    let heard = FromServer { live, ..FromServer::default() };
    let peer = Peer { io, heard, sent: Vec::new(), due: None };
    let connection = tokio::spawn(serve(ours, admitted, options));
    peer.lives(life, &registry).await;
    timeout(LONG, connection).await.expect("it ends").expect("it does not panic");
    let stats = registry.stats();
    assert_eq!((stats.subscribers, stats.draining), (0, 0), "it unsubscribes");
}

fuzz_target!(|life: Life<'_>| {
    let used = allocation_counter::measure(|| RUNTIME.with(|runtime| runtime.block_on(run(&life))));
    assert!(used.bytes_max < MEMORY_BYTES, "{} bytes at once", used.bytes_max);
});
