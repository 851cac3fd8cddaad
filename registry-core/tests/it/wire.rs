//! A socket in memory that takes everything, a part or nothing, or breaks; and a parser of its
//! bytes.

use crate::kit::*;
use bytes::{Bytes, BytesMut};
use registry_core::{
    Clock, CloseReason, Encoded, Flusher, MessageHead, OutboxOptions, Progress, Registration,
    SocketOutbox, SystemClock, Wire, WireFormat,
};
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// `m<seq> <value> <padding>\n`, where the value says how long the padding is.
pub(crate) static BARE: WireFormat = WireFormat::new("bare", frame).with_notice(notice);
/// The same frames, in an envelope for each write: `<length>{frames}`.
pub(crate) static ENVELOPED: WireFormat =
    WireFormat::new("enveloped", frame).with_envelope(head, b"}").with_notice(notice);
/// The same frames in the same envelope, without a notice of losses.
pub(crate) static SILENT: WireFormat = WireFormat::new("silent", frame).with_envelope(head, b"}");

fn frame(head: MessageHead<'_>, encoded: &Encoded, out: &mut BytesMut) {
    let value: usize = std::str::from_utf8(encoded.body()).unwrap().parse().unwrap();
    out.extend_from_slice(
        format!("m{} {value} {}\n", head.id().seq(), "x".repeat(padding(value))).as_bytes(),
    );
}

/// Values below a thousand have short frames; a larger value is the length of its padding.
fn padding(value: usize) -> usize {
    if value < 1_000 { value % 40 } else { value }
}

fn notice(lost: u64, out: &mut BytesMut) {
    out.extend_from_slice(format!("!{lost}\n").as_bytes());
}

fn head(bytes: usize, out: &mut BytesMut) {
    out.extend_from_slice(format!("{bytes}{{").as_bytes());
}

/// A frame of the owner's own.
pub(crate) fn control(number: usize) -> Vec<u8> {
    format!("#{number}\n").into_bytes()
}

/// What a peer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    Message(u64, u32),
    Lost(u64),
    Control(usize),
}

/// Parses what a peer received. Returns its frames, and the bytes of an incomplete frame at the
/// end.
pub(crate) fn read(bytes: &[u8], enveloped: bool) -> (Vec<Read>, Vec<u8>) {
    let mut reads = Vec::new();
    let mut rest = bytes;
    if !enveloped {
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            reads.push(line(&rest[..end]));
            rest = &rest[end + 1..];
        }
        return (reads, rest.to_vec());
    }
    while let Some(open) = rest.iter().position(|byte| *byte == b'{') {
        let length: usize =
            std::str::from_utf8(&rest[..open]).unwrap().parse().expect("an envelope's length");
        assert!(length > 0, "an empty envelope, which would end the stream");
        let end = open + 1 + length;
        if rest.len() <= end {
            break;
        }
        let (inner, partial) = read(&rest[open + 1..end], false);
        assert_eq!(
            (rest[end], partial.len()),
            (b'}', 0),
            "an envelope that does not hold whole frames"
        );
        reads.extend(inner);
        rest = &rest[end + 1..];
    }
    (reads, rest.to_vec())
}

fn line(line: &[u8]) -> Read {
    let text = std::str::from_utf8(line).unwrap();
    match text.split_at(1) {
        ("!", lost) => Read::Lost(lost.parse().unwrap()),
        ("#", number) => Read::Control(number.parse().unwrap()),
        ("m", rest) => {
            let [seq, value, pad] = rest.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
            let value: usize = value.parse().unwrap();
            assert!(
                pad.len() == padding(value) && pad.bytes().all(|x| x == b'x'),
                "a frame with wrong padding: {text:?}"
            );
            Read::Message(seq.parse().unwrap(), value as u32)
        }
        _ => panic!("no frame: {text:?}"),
    }
}

#[derive(Default)]
struct State {
    /// Bytes that the socket takes before it is full.
    room: usize,
    /// How often the owner asked for room since the socket last took bytes.
    asked: usize,
    broken: bool,
    sealed: bool,
    late: usize,
    writes: usize,
    bytes: Vec<u8>,
}

/// A peer's socket.
#[derive(Default)]
pub(crate) struct Socket(Mutex<State>);

impl Socket {
    pub(crate) fn new() -> Arc<Self> {
        Self::with_room(usize::MAX)
    }

    pub(crate) fn with_room(room: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { room, ..State::default() })))
    }

    pub(crate) fn set_room(&self, room: usize) {
        self.0.lock().unwrap().room = room;
    }

    pub(crate) fn break_down(&self) {
        self.0.lock().unwrap().broken = true;
    }

    /// Counts every later write as too late (REV-12).
    pub(crate) fn seal(&self) {
        self.0.lock().unwrap().sealed = true;
    }

    /// Returns how many writes were too late.
    pub(crate) fn late(&self) -> usize {
        self.0.lock().unwrap().late
    }

    /// Returns how many writes it took bytes of.
    pub(crate) fn writes(&self) -> usize {
        self.0.lock().unwrap().writes
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    pub(crate) fn has_room(&self) -> bool {
        let state = self.0.lock().unwrap();
        state.room > 0 || state.broken
    }

    /// What a peer of bare frames read so far, which is whole frames only.
    pub(crate) fn read(&self) -> Vec<Read> {
        let (reads, partial) = read(&self.bytes(), false);
        assert_eq!(partial, b"", "a partial frame");
        reads
    }

    /// The values that a peer of bare frames read so far.
    pub(crate) fn values(&self) -> Vec<u32> {
        self.read()
            .iter()
            .filter_map(|read| if let Read::Message(_, value) = read { Some(*value) } else { None })
            .collect()
    }
}

impl Wire for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        state.late += usize::from(state.sealed);
        if state.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if state.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = bytes.len().min(state.room);
        if state.room != usize::MAX {
            state.room -= taken;
        }
        state.writes += 1;
        state.asked = 0;
        state.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Wakes no task: a test that makes room polls the owner itself.
    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock().unwrap();
        state.asked += 1;
        assert!(state.asked < 10_000, "its owner asks for room without end and writes nothing");
        drop(state);
        if self.has_room() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

/// A wire that takes all bytes and keeps none.
pub(crate) struct Nothing;

impl Wire for Nothing {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

pub(crate) fn now() -> Instant {
    SystemClock.now()
}

pub(crate) fn with_flusher() -> OutboxOptions {
    OutboxOptions::new().with_flusher()
}

/// An outbox with a flusher and a wire that takes everything.
pub(crate) fn wired(
    registry: &Registry,
    registration: Registration,
) -> (SocketOutbox, Arc<Socket>) {
    wired_with(registry, &BARE, with_flusher(), registration)
}

pub(crate) fn wired_with(
    registry: &Registry,
    format: &'static WireFormat,
    options: OutboxOptions,
    registration: Registration,
) -> (SocketOutbox, Arc<Socket>) {
    let outbox = registry.open_outbox(format, options, registration).unwrap();
    let socket = Socket::new();
    (outbox.attach(socket.clone()), socket)
}

/// Serves until nothing is left; true if the flusher is done.
pub(crate) fn serve<T: Send + Sync + 'static>(flusher: &mut Flusher<T>) -> bool {
    loop {
        match flusher.poll_serve(&mut Context::from_waker(Waker::noop()), now()) {
            Poll::Ready(Progress::Done) => return true,
            Poll::Ready(_) => {}
            Poll::Pending => return false,
        }
    }
}

/// Polls the owner once.
pub(crate) fn flush_with(outbox: &SocketOutbox, waker: &Waker) -> Poll<io::Result<CloseReason>> {
    outbox.poll_flush(&mut Context::from_waker(waker), now())
}

/// Writes what waits; returns the reason if the subscriber has ended.
pub(crate) fn flush(outbox: &SocketOutbox) -> Option<CloseReason> {
    match flush_with(outbox, Waker::noop()) {
        Poll::Ready(reason) => Some(reason.unwrap()),
        Poll::Pending => None,
    }
}

/// Parses frames that were taken, each of which is whole.
pub(crate) fn read_frames(frames: &[Bytes]) -> Vec<Read> {
    frames
        .iter()
        .flat_map(|frame| {
            let (reads, partial) = read(frame, false);
            assert_eq!((reads.len(), partial.len()), (1, 0), "not one frame: {frame:?}");
            reads
        })
        .collect()
}
