//! The frame parser, which exists only while there is something to parse.
//!
//! tungstenite's parser holds its read buffer for as long as it lives, and most connections say
//! nothing for most of their lives. Between two messages it remembers nothing else, so there it is
//! dropped; [`Borders`] knows where that is.

use crate::options::WsOptions;
use std::io::{self, Read, Write};
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Result};

/// How much is read at first, on the stack: enough for a pong or a short message.
const FIRST_BYTES: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Parser {
    context: Option<Box<WebSocketContext>>,
    borders: Borders,
    /// Bytes read since the last whole message.
    pub(crate) unfinished: usize,
}

impl Parser {
    /// Reads the next message, and writes what must be replied to it.
    ///
    /// # Errors
    /// `WouldBlock` when the wire has no more now. Any other is the last result.
    pub(crate) fn read(
        &mut self,
        wire: &mut (impl Read + Write),
        options: &WsOptions,
    ) -> Result<Message> {
        let Self { context, borders, unfinished } = self;
        let mut wire = Tracked { wire, borders, unfinished };
        let parser = match context {
            Some(parser) => parser,
            None => {
                let mut first = [0; FIRST_BYTES];
                let read = wire.read(&mut first)?;
                let first = first[..read].to_vec();
                let parser = WebSocketContext::from_partially_read(
                    first,
                    Role::Server,
                    Some(config(options)),
                );
                context.insert(Box::new(parser))
            }
        };
        let result = parser.read(&mut wire);
        match &result {
            Ok(_) => *unfinished = 0,
            // All that was read was parsed, and all replies are written, since writing does not
            // block.
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                if borders.between_messages() && parser.can_write() {
                    *context = None;
                }
            }
            Err(_) => {}
        }
        result
    }
}

fn config(options: &WsOptions) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(options.read_buffer_bytes)
        .write_buffer_size(0)
        .max_message_size(Some(options.max_message_bytes))
        .max_frame_size(Some(options.max_message_bytes))
}

/// A wire whose bytes are noted as they are read.
struct Tracked<'a, W> {
    wire: &'a mut W,
    borders: &'a mut Borders,
    unfinished: &'a mut usize,
}

impl<W: Read> Read for Tracked<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.wire.read(buffer)?;
        self.borders.pass(&buffer[..read]);
        *self.unfinished += read;
        Ok(read)
    }
}

impl<W: Write> Write for Tracked<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wire.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wire.flush()
    }
}

/// Where in the stream of frames its reader is. It need not know violations of the protocol: the
/// parser ends there.
#[derive(Debug, Default)]
struct Borders {
    /// The beginning of a frame whose length is not known yet.
    header: [u8; 10],
    header_bytes: usize,
    /// The rest of the frame, in bytes.
    left: u64,
    /// Whether a message goes on in another frame.
    fragmented: bool,
}

impl Borders {
    fn between_messages(&self) -> bool {
        self.header_bytes == 0 && self.left == 0 && !self.fragmented
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.left > 0 {
                let passed = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= passed as u64;
                bytes = &bytes[passed..];
            } else {
                self.header[self.header_bytes] = byte;
                self.header_bytes += 1;
                bytes = rest;
                self.begin_frame();
            }
        }
    }

    /// Begins the frame, if its header tells its length by now.
    fn begin_frame(&mut self) {
        let [first, second, long @ ..] = self.header;
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.header_bytes < 2 || self.header_bytes < 2 + length_bytes {
            return;
        }
        let length = match length_bytes {
            0 => u64::from(second & 0x7f),
            _ => long[..length_bytes].iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let (ends, control) = (first & 0x80 != 0, first & 0x08 != 0);
        *self = Self {
            left: length.saturating_add(mask),
            fragmented: if control { self.fragmented } else { !ends },
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use std::collections::VecDeque;

    const MESSAGE_BYTES: usize = 400;

    fn options() -> WsOptions {
        WsOptions::new().with_max_message_bytes(MESSAGE_BYTES).with_read_buffer_bytes(64)
    }

    /// A wire on which pieces come one after the other: `WouldBlock` stands between two.
    #[derive(Default)]
    struct Script {
        pieces: VecDeque<Vec<u8>>,
        end: Option<io::ErrorKind>,
        replies: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.pieces.front_mut() else {
                return self.end.map_or(Ok(0), |kind| Err(kind.into()));
            };
            if piece.is_empty() {
                self.pieces.pop_front();
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let read = piece.len().min(buffer.len());
            buffer[..read].copy_from_slice(&piece[..read]);
            piece.drain(..read);
            Ok(read)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.replies.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The results that a connection reads, each with the replies by then.
    fn seen(
        mut script: Script,
        mut read: impl FnMut(&mut Script) -> Result<Message>,
    ) -> Vec<(String, Vec<u8>)> {
        let mut seen = Vec::new();
        loop {
            let result = read(&mut script);
            seen.push((format!("{result:?}"), script.replies.clone()));
            match result {
                Ok(_) => {}
                Err(Error::Io(error))
                    if error.kind() == io::ErrorKind::WouldBlock && !script.pieces.is_empty() => {}
                Err(_) => return seen,
            }
        }
    }

    fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        let mask = if masked { 0x80 } else { 0 };
        match payload.len() {
            short @ 0..=125 => frame.push(mask | short as u8),
            middle @ 126..=199 => {
                frame.push(mask | 126);
                frame.extend((middle as u16).to_be_bytes());
            }
            // Longer than it must be, which is read all the same.
            long => {
                frame.push(mask | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        let key: &[u8] = if masked { &[1, 2, 3, 4] } else { &[0] };
        frame.extend(masked.then_some(key).into_iter().flatten());
        frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    fn payload() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => "[a-zé]{0,6}".prop_map(String::into_bytes),
            1 => (120..140_usize).prop_map(|length| vec![b'x'; length]),
            1 => (MESSAGE_BYTES - 2..MESSAGE_BYTES + 3).prop_map(|length| vec![b'x'; length]),
        ]
    }

    /// The bytes that a peer sends at once: mostly valid ones.
    fn sent() -> impl Strategy<Value = Vec<u8>> {
        let control = || prop::sample::select(vec![0x89, 0x8a]);
        let whole = (prop::sample::select(vec![0x81, 0x82, 0x89, 0x8a]), payload());
        let fragmented =
            (0x01..=0x02_u8, vec((payload(), prop::option::of(control())), 1..4), payload());
        prop_oneof![
            8 => whole.prop_map(|(first, payload)| frame(first, true, &payload)),
            8 => fragmented.prop_map(|(first, parts, last)| {
                let mut sent = Vec::new();
                for (number, (part, control)) in parts.iter().enumerate() {
                    sent.extend(frame(if number == 0 { first } else { 0 }, true, part));
                    let control = control.map(|first| frame(first, true, b"in between"));
                    sent.extend(control.unwrap_or_default());
                }
                sent.extend(frame(0x80, true, &last));
                sent
            }),
            1 => payload().prop_map(|payload| frame(0x88, true, &payload)),
            1 => (any::<u8>(), any::<bool>(), payload())
                .prop_map(|(first, masked, bytes)| frame(first, masked, &bytes)),
            1 => vec(any::<u8>(), 0..20),
        ]
    }

    fn pieces() -> impl Strategy<Value = VecDeque<Vec<u8>>> {
        (vec(sent(), 1..8), any::<bool>(), vec(any::<Index>(), 0..12)).prop_map(
            |(sent, between, cuts)| {
                let mut borders: Vec<usize> = Vec::new();
                let bytes = sent.concat();
                if between {
                    borders.extend(sent.iter().scan(0, |at, sent| {
                        *at += sent.len();
                        Some(*at)
                    }));
                }
                borders.extend(cuts.iter().map(|cut| cut.index(bytes.len() + 1)));
                borders.extend([0, bytes.len()]);
                borders.sort_unstable();
                borders.dedup();
                borders.windows(2).map(|piece| bytes[piece[0]..piece[1]].to_vec()).collect()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn ws_2_a_parser_that_is_dropped_between_messages_reads_the_same_as_one_that_stays(
            pieces in pieces(),
            end in prop::option::of(prop::sample::select(vec![
                io::ErrorKind::WouldBlock,
                io::ErrorKind::ConnectionReset,
            ])),
        ) {
            let script = || Script { pieces: pieces.clone(), end, replies: Vec::new() };
            let mut stays = WebSocketContext::new(Role::Server, Some(config(&options())));
            let expected = seen(script(), |script| stays.read(script));
            let mut parser = Parser::default();
            prop_assert_eq!(seen(script(), |script| parser.read(script, &options())), expected);
        }
    }

    fn reads(parser: &mut Parser, script: &mut Script, bytes: &[u8]) -> Vec<Message> {
        script.pieces.push_back(bytes.to_vec());
        let mut messages = Vec::new();
        while let Ok(message) = parser.read(script, &options()) {
            messages.push(message);
        }
        assert!(script.pieces.is_empty());
        messages
    }

    #[test]
    fn que_3_the_parser_is_dropped_between_messages() {
        let (mut parser, mut script) = (Parser::default(), Script::default());
        let mut step = |bytes: &[u8], messages: usize, parses: bool| {
            assert_eq!(reads(&mut parser, &mut script, bytes).len(), messages, "{bytes:x?}");
            assert_eq!(parser.context.is_some(), parses, "{bytes:x?}");
        };
        step(b"", 0, false);
        step(&frame(0x81, true, b"text"), 1, false);
        step(&frame(0x8a, true, b""), 1, false);
        step(&[frame(0x81, true, b"one"), frame(0x89, true, b"two")].concat(), 2, false);
        let long = frame(0x82, true, &[b'x'; 300]);
        for byte in &long[..long.len() - 1] {
            step(&[*byte], 0, true);
        }
        step(&long[long.len() - 1..], 1, false);
        step(&frame(0x01, true, b"be"), 0, true);
        step(&frame(0x89, true, b"in between"), 1, true);
        step(&frame(0x00, true, b"gi"), 0, true);
        step(&frame(0x80, true, b"n"), 1, false);
        assert_eq!(script.replies, [&b"\x8a\x03two"[..], b"\x8a\x0ain between"].concat());
    }

    #[test]
    fn ws_2_the_bytes_of_a_message_are_counted_until_it_is_whole() {
        let (mut parser, mut script) = (Parser::default(), Script::default());
        let message = frame(0x81, true, b"message");
        let (begin, end) = message.split_at(5);
        for _ in 0..3 {
            assert_eq!(reads(&mut parser, &mut script, begin).len(), 0);
            assert_eq!(parser.unfinished, begin.len());
            assert_eq!(reads(&mut parser, &mut script, end).len(), 1);
            assert_eq!(parser.unfinished, 0);
        }
    }
}
