//! The task of one WebSocket connection.
//!
//! Invariants: every byte to the peer goes through [`Outgoing`], in whole frames; the parser is not
//! polled while replies to the peer pile up, so that a peer which sends and does not read stops
//! being read.

use crate::frame::{Closing, PING};
use crate::inbound::{Inbound, Rate};
use crate::live::{self, Code, Heard, Told};
use crate::options::WsOptions;
use crate::outgoing::{Outgoing, Piped};
use crate::peer::{Answering, Desk};
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use registry_core::{CloseReason, Outbox};
use std::io::Cursor;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, split};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::{self, Error, Message};
use transport_core::{
    Admitted, ConnectionTask, Deadlines, DirectConnection, KindGuard, take_upgraded_socket,
};

/// Replies to the peer beyond which it is not read: some dozens of pongs. As much again may be with
/// the writer.
const MAX_REPLY_BYTES: usize = 8 * 1024;

type Handling = Pin<Box<dyn Future<Output = Result<(), Box<dyn std::any::Any + Send>>> + Send>>;

/// What the messages of a connection look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Payloads and nothing else.
    Raw,
    /// `live.v1`, and the message that the client is to be sent first, if there is one.
    LiveV1(Option<Bytes>),
}

pub(crate) struct Connection<O, R> {
    outgoing: O,
    inbound: Inbound<R>,
    /// For the application's handler, if there is one.
    desk: Option<Desk>,
    options: Arc<WsOptions>,
    rate: Rate,
    /// Its messages are those of `live.v1`.
    is_live: bool,
    handling: Option<Handling>,
    /// Over `live.v1`, the message that the handler has.
    answering: Option<Arc<Answering>>,
    /// The next ping, or the moment at which the last one has gone unanswered for too long.
    heartbeat: Pin<Box<Sleep>>,
    awaiting_pong: bool,
    expires: Option<Pin<Box<Sleep>>>,
    deadlines: Deadlines,
}

/// Serves an upgraded connection to its end, in a task of its own: on its socket, where HTTP can
/// give that up.
pub(crate) fn serve(
    upgraded: Upgraded,
    admitted: Admitted,
    options: Arc<WsOptions>,
    protocol: Protocol,
) {
    let direct = admitted.handover.is_some();
    match if direct { take_upgraded_socket(upgraded) } else { Err(upgraded) } {
        Ok((socket, read)) if read.is_empty() => {
            let ends = |outbox, kind| (DirectConnection::new(outbox, socket.clone(), kind), socket);
            tokio::spawn(Connection::new(admitted, options, protocol, ends).run());
        }
        Ok((socket, read)) => {
            let reader = Cursor::new(read).chain(socket.clone());
            let ends = |outbox, kind| (DirectConnection::new(outbox, socket, kind), reader);
            tokio::spawn(Connection::new(admitted, options, protocol, ends).run());
        }
        Err(upgraded) => {
            tokio::spawn(piped(TokioIo::new(upgraded), admitted, options, protocol).run());
        }
    }
}

/// A connection over a stream.
pub(crate) fn piped<IO>(
    io: IO,
    admitted: Admitted,
    options: Arc<WsOptions>,
    protocol: Protocol,
) -> Connection<impl Outgoing, impl Incoming>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (reader, writer) = split(io);
    let ends = |outbox, kind| (Piped::new(outbox, writer, kind), reader);
    Connection::new(admitted, options, protocol, ends)
}

/// How a connection's life ended.
pub(crate) enum End {
    /// The peer closed properly; the echo is among the replies.
    ByPeer,
    /// The socket broke, or the peer left without a close frame.
    Gone,
    /// The server closes.
    Closing(Closing),
}

/// The reading side of a connection.
pub(crate) trait Incoming: AsyncRead + Unpin + Send + 'static {}

impl<R: AsyncRead + Unpin + Send + 'static> Incoming for R {}

impl<O: Outgoing, R: Incoming> ConnectionTask for Connection<O, R> {
    type End = End;

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.expires.as_mut().is_some_and(|at| at.as_mut().poll(cx).is_ready()) {
            self.expires = None;
            self.outgoing.outbox().close(CloseReason::Expired);
        }
        if let Poll::Ready(end) = self.poll_heartbeat(cx) {
            return Poll::Ready(end);
        }
        loop {
            if let Poll::Ready(reason) = self.outgoing.outbox().poll_discarded(cx) {
                return Poll::Ready(End::Closing(Closing::Reason(reason)));
            }
            if let Poll::Ready(end) = self.poll_inbound(cx) {
                return Poll::Ready(end);
            }
            let replies =
                if self.outgoing.has_room() { self.inbound.take_replies() } else { Bytes::new() };
            let mut replied = !replies.is_empty();
            self.outgoing.send_control(replies);
            if self.outgoing.has_room()
                && let Some(desk) = &self.desk
                && let Poll::Ready(reply) = desk.poll_reply(cx)
            {
                self.outgoing.send_control(reply);
                replied = true;
            }
            match self.outgoing.poll_flush(cx) {
                Poll::Ready(Ok(reason)) => {
                    return Poll::Ready(End::Closing(Closing::Reason(reason)));
                }
                Poll::Ready(Err(_gone)) => return Poll::Ready(End::Gone),
                // The peer is read again once its replies are on their way: their number may have
                // stopped the reading.
                Poll::Pending if replied || (self.outgoing.has_room() && self.has_replies()) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    async fn close(self, end: End) {
        let Self { mut inbound, outgoing, options, handling, desk, deadlines, .. } = self;
        drop((handling, desk)); // now, and not when the peer is gone
        let outbox = outgoing.outbox();
        let mut patience = options.close_timeout;
        let farewell = match end {
            // The flusher may have noticed first that the peer is gone.
            End::Gone | End::Closing(Closing::Reason(CloseReason::Unsubscribed)) => return,
            End::ByPeer => {
                outbox.close(CloseReason::Unsubscribed);
                inbound.take_replies()
            }
            End::Closing(closing) => {
                match closing {
                    // The outbox counts as draining until the farewell is written, so that a
                    // shutdown waits for it.
                    Closing::Reason(reason @ CloseReason::Shutdown) => {
                        patience = patience.max(deadlines.after(reason))
                    }
                    Closing::Reason(reason) => outbox.close(reason),
                    _ => outbox.close(CloseReason::Protocol),
                }
                closing.frame().unwrap_or_default()
            }
        };
        let mut reader = inbound.into_reader();
        let peer_ended = async {
            let mut rest = [0; 512];
            while reader.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        };
        outgoing.close(farewell, matches!(end, End::ByPeer), peer_ended, patience).await;
    }
}

impl<O: Outgoing, R: Incoming> Connection<O, R> {
    fn new(
        admitted: Admitted,
        options: Arc<WsOptions>,
        protocol: Protocol,
        ends: impl FnOnce(Outbox, KindGuard) -> (O, R),
    ) -> Self {
        let now = Instant::now();
        let (mut outgoing, reader) = ends(admitted.outbox, admitted.kind);
        let is_live = protocol != Protocol::Raw;
        if let Protocol::LiveV1(Some(first)) = protocol {
            outgoing.send_control(first);
        }
        Self {
            outgoing,
            inbound: Inbound::new(reader),
            desk: options.on_text.is_some().then(|| Desk::new(admitted.grant)),
            rate: Rate::new(options.burst, now),
            is_live,
            handling: None,
            answering: None,
            heartbeat: Box::pin(sleep_until(now + options.ping_period)),
            awaiting_pong: false,
            expires: admitted.expires.map(|at| Box::pin(sleep_until(at))),
            deadlines: admitted.deadlines,
            options,
        }
    }

    fn has_replies(&self) -> bool {
        self.inbound.reply_bytes() > 0 || self.desk.as_ref().is_some_and(Desk::has_reply)
    }

    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        while self.heartbeat.as_mut().poll(cx).is_ready() {
            // While a handler runs nothing is read, so the pong may have come.
            if self.awaiting_pong && self.handling.is_none() {
                return Poll::Ready(End::Closing(Closing::Reason(CloseReason::Heartbeat)));
            }
            if !self.awaiting_pong {
                self.outgoing.send_control(PING);
                self.awaiting_pong = true;
            }
            self.heartbeat.as_mut().reset(Instant::now() + self.options.pong_timeout);
        }
        Poll::Pending
    }

    /// Reads what the peer sends, as long as there is room for the replies and no handler runs.
    fn poll_inbound(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if let Some(handling) = &mut self.handling {
                match handling.as_mut().poll(cx) {
                    Poll::Ready(Ok(())) => self.handled(),
                    Poll::Ready(Err(_panic)) => {
                        return Poll::Ready(End::Closing(Closing::Reason(CloseReason::Failed)));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            if self.inbound.reply_bytes() > MAX_REPLY_BYTES {
                // Until the writer takes them, after which this is polled again.
                return Poll::Pending;
            }
            let read = self.inbound.poll_message(cx, &self.options);
            // The headers of tiny fragments count too, so that a message which never ends is cut.
            // Twice the payload is ample.
            let limit = self
                .options
                .max_message_bytes
                .saturating_mul(2)
                .saturating_add(self.options.read_buffer_bytes);
            match read {
                Poll::Pending if self.inbound.unfinished() > limit => {
                    return Poll::Ready(End::Closing(Closing::TooBig));
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(broken(&error)),
                Poll::Ready(Ok(message)) => {
                    if let Some(closing) = self.heard(message) {
                        return Poll::Ready(End::Closing(closing));
                    }
                }
            }
        }
    }

    /// Takes one message; `Some` when it is one too many, or of a kind that is not accepted.
    fn heard(&mut self, message: Message) -> Option<Closing> {
        match message {
            Message::Pong(_) if self.awaiting_pong => {
                self.awaiting_pong = false;
                self.heartbeat.as_mut().reset(Instant::now() + self.options.ping_period);
                return None;
            }
            // The parser answers it and then ends.
            Message::Close(_) => return None,
            _ => {}
        }
        if !self.rate.allows(&self.options, Instant::now()) {
            return Some(Closing::Violation("protocol: too many messages"));
        }
        match message {
            Message::Text(text) => {
                if self.is_live {
                    self.heard_live(text.as_str());
                } else {
                    self.handle(text.as_str().to_owned(), None);
                }
                None
            }
            Message::Binary(_) => Some(Closing::Violation("protocol: text only")),
            _ => None,
        }
    }
}

impl<O, R: Incoming> Connection<O, R> {
    /// Hands a message to the application's handler, if there is one.
    fn handle(&mut self, text: String, answering: Option<Arc<Answering>>) {
        if let (Some(handler), Some(desk)) = (&self.options.on_text, &self.desk) {
            let handling = handler(desk.peer(answering.clone()), text);
            self.handling = Some(Box::pin(AssertUnwindSafe(handling).catch_unwind()));
            self.answering = answering;
        }
    }

    /// The handler has returned. A message that it did not reply to is acknowledged.
    fn handled(&mut self) {
        self.handling = None;
        if let Some(answering) = self.answering.take()
            && let Some(reference) = answering.acknowledge()
        {
            self.inbound.add_reply(&Told::Ack { reference }.frame());
        }
    }

    fn heard_live(&mut self, text: &str) {
        let (reference, code, message) = match live::read(text) {
            Heard::Message { reference, data } if self.options.on_text.is_some() => {
                return self.handle(data, Some(Answering::new(reference)));
            }
            Heard::Message { reference, .. } => {
                (reference, Code::Unsupported, "this server takes no messages".to_owned())
            }
            Heard::Fault { reference, code, message } => (reference, code, message),
        };
        let told = Told::Error { reference: reference.as_ref(), code, message: &message };
        self.inbound.add_reply(&told.frame());
    }
}

fn broken(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Closing(Closing::TooBig),
        Error::Utf8(_) => End::Closing(Closing::NotUtf8),
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            End::Gone
        }
        Error::Protocol(_) => End::Closing(Closing::Violation("protocol: not a valid frame")),
        Error::ConnectionClosed => End::ByPeer,
        _ => End::Gone,
    }
}

#[cfg(test)]
mod tests;
