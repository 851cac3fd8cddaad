//! An outbox whose peer's socket is attached, as its owner sees it.

use super::gate::{Unwritten, Work};
use super::outbox::Outbox;
use super::wire::Wire;
use crate::contain::wake_all;
use crate::types::close::CloseReason;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// An [`Outbox`] with the peer's socket attached by [`Outbox::attach`]. Dropping it unsubscribes.
///
/// While the socket has room, a [flusher](crate::Flusher) writes to it. The owner's task sleeps
/// then; it is woken to write what did not fit, and at the end.
///
/// # Examples
/// ```
/// use registry_core::{
///     CloseReason, Encoded, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
///     Wire, WireFormat,
/// };
/// use std::io;
/// use std::sync::{Arc, Mutex};
/// use std::task::{Context, Poll, Waker};
/// use std::time::Instant;
///
/// static BODIES: WireFormat =
///     WireFormat::new("bodies", |_, encoded, out| out.extend_from_slice(encoded.body()));
///
/// #[derive(Default)]
/// struct Socket(Mutex<Vec<u8>>);
///
/// impl Wire for Socket {
///     fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
///         self.0.lock().unwrap().extend_from_slice(bytes);
///         Ok(bytes.len())
///     }
///
///     fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
///         Poll::Ready(Ok(()))
///     }
/// }
///
/// let encoder = |number: &u32| Ok(Encoded::json(number.to_string()));
/// let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
/// let outbox = registry.open_outbox(&BODIES, OutboxOptions::new(), Registration::new())?;
/// let socket = Arc::new(Socket::default());
/// let outbox = outbox.attach(socket.clone());
/// registry.broadcast("runs", 42)?;
///
/// let mut cx = Context::from_waker(Waker::noop());
/// assert!(outbox.poll_flush(&mut cx, Instant::now()).is_pending()); // all is written
/// assert_eq!(*socket.0.lock().unwrap(), b"42");
/// outbox.outbox().close(CloseReason::Heartbeat);
/// let flushed = outbox.poll_flush(&mut cx, Instant::now());
/// assert!(matches!(flushed, Poll::Ready(Ok(CloseReason::Heartbeat))));
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping an outbox unsubscribes it"]
pub struct SocketOutbox(Outbox);

impl Outbox {
    /// Attaches the peer's socket: from now on frames are written to it, those already queued
    /// first.
    ///
    /// Every write happens under the lock that an end takes. So after
    /// [`close_by_identity`](crate::SubscriberRegistry::close_by_identity) returned, no more frames
    /// of the application are written, and that call waits for one non-blocking write at most
    /// (REV-12). A frame that is partly written by then is not completed.
    ///
    /// A [flusher](crate::Flusher) writes for an outbox [that asked for
    /// one](crate::OutboxOptions::with_flusher) while the socket has room. The rest is queued, and
    /// the owner writes it: see [`SocketOutbox::poll_flush`].
    pub fn attach(self, wire: Arc<dyn Wire>) -> SocketOutbox {
        let waker = self.gate().attach(wire);
        self.wire_attached();
        wake_all(waker);
        SocketOutbox(self)
    }
}

impl SocketOutbox {
    /// Writes what waits for the socket to have room, and returns the reason when the subscriber
    /// has ended.
    ///
    /// While it is pending, the waker of the latest call is woken when something is left to write,
    /// or at the end. `now` is what [`last_write`](Self::last_write) returns after a write.
    ///
    /// # Errors
    /// Those of the wire: the peer has left.
    pub fn poll_flush(&self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<CloseReason>> {
        let gate = self.0.gate();
        loop {
            match ready!(gate.poll_work(cx)) {
                Work::Closed(reason) => return Poll::Ready(Ok(reason)),
                Work::Write => {}
            }
            let Poll::Ready(room) = gate.poll_room(cx) else {
                return gate.poll_discarded(cx).map(Ok);
            };
            room?;
            match gate.write(now) {
                Ok(()) => {}
                Err(Unwritten::Gone(error)) => return Poll::Ready(Err(error)),
                Err(Unwritten::Broken) => self.0.close(CloseReason::Failed),
            }
        }
    }

    /// Writes a frame of the owner's own, at the next border between frames and before what is
    /// queued: a keep-alive, or an answer to a ping.
    ///
    /// It counts towards no bound, so an owner that answers its peer should look at
    /// [`pending_control`](Self::pending_control) first. After a discarding end it is dropped.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     OutboxOptions, Registration, RegistryOptions, SubscriberRegistry, Wire,
    /// };
    /// use std::io;
    /// use std::sync::{Arc, Mutex};
    /// use std::task::{Context, Poll, Waker};
    /// use std::time::Instant;
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// /// A socket that takes so many more bytes.
    /// struct Socket {
    ///     room: Mutex<usize>,
    ///     bytes: Mutex<Vec<u8>>,
    /// }
    ///
    /// impl Wire for Socket {
    ///     fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
    ///         let mut room = self.room.lock().unwrap();
    ///         if *room == 0 {
    ///             return Err(io::ErrorKind::WouldBlock.into());
    ///         }
    ///         let taken = bytes.len().min(*room);
    ///         *room -= taken;
    ///         self.bytes.lock().unwrap().extend_from_slice(&bytes[..taken]);
    ///         Ok(taken)
    ///     }
    ///
    ///     fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
    ///         if *self.room.lock().unwrap() > 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    ///     }
    /// }
    ///
    /// let outbox = registry.open_outbox(&TEXT, OutboxOptions::new(), Registration::new())?;
    /// let socket = Arc::new(Socket { room: Mutex::new(3), bytes: Mutex::default() });
    /// let outbox = outbox.attach(socket.clone());
    ///
    /// outbox.send_control(b"ping ", Instant::now());
    /// assert_eq!(outbox.pending_control(), 0); // all of it left the queue,
    /// assert!(outbox.is_waiting()); // and a part waits for room
    /// registry.broadcast("runs", 1)?;
    /// outbox.send_control(b"pong ", Instant::now());
    /// assert_eq!(outbox.pending_control(), 5);
    /// *socket.room.lock().unwrap() = 100;
    /// let mut cx = Context::from_waker(Waker::noop());
    /// assert!(outbox.poll_flush(&mut cx, Instant::now()).is_pending());
    /// assert_eq!(*socket.bytes.lock().unwrap(), b"ping pong 1");
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn send_control(&self, frame: &[u8], now: Instant) {
        match self.0.gate().send_control(frame, now) {
            Ok(waker) => wake_all(waker),
            Err(_) => self.0.close(CloseReason::Failed),
        }
    }

    /// Returns how many bytes of the owner's own frames wait.
    #[must_use]
    pub fn pending_control(&self) -> usize {
        self.0.gate().control_bytes()
    }

    /// Tells whether something waits for the socket to have room.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.0.gate().is_slow()
    }

    /// Returns when the socket last took bytes, by the clock of the task that wrote.
    #[must_use]
    pub fn last_write(&self) -> Option<Instant> {
        self.0.gate().last_write()
    }

    /// Tells whether the last write ended within a frame: no farewell can follow then.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     OutboxOptions, Registration, RegistryOptions, SubscriberRegistry, Wire,
    /// };
    /// use std::io;
    /// use std::sync::{Arc, Mutex};
    /// use std::task::{Context, Poll, Waker};
    /// use std::time::Instant;
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// /// A socket that takes so many more bytes.
    /// struct Socket {
    ///     room: Mutex<usize>,
    ///     bytes: Mutex<Vec<u8>>,
    /// }
    ///
    /// impl Wire for Socket {
    ///     fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
    ///         let mut room = self.room.lock().unwrap();
    ///         if *room == 0 {
    ///             return Err(io::ErrorKind::WouldBlock.into());
    ///         }
    ///         let taken = bytes.len().min(*room);
    ///         *room -= taken;
    ///         self.bytes.lock().unwrap().extend_from_slice(&bytes[..taken]);
    ///         Ok(taken)
    ///     }
    ///
    ///     fn poll_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
    ///         if *self.room.lock().unwrap() > 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    ///     }
    /// }
    ///
    /// let outbox = registry.open_outbox(&TEXT, OutboxOptions::new(), Registration::new())?;
    /// let socket = Arc::new(Socket { room: Mutex::new(2), bytes: Mutex::default() });
    /// let outbox = outbox.attach(socket.clone());
    ///
    /// registry.broadcast("runs", 1_000)?;
    /// let mut cx = Context::from_waker(Waker::noop());
    /// assert!(outbox.poll_flush(&mut cx, Instant::now()).is_pending());
    /// assert!(outbox.is_mid_frame() && outbox.is_waiting());
    /// *socket.room.lock().unwrap() = 100;
    /// assert!(outbox.poll_flush(&mut cx, Instant::now()).is_pending());
    /// assert!(!outbox.is_mid_frame() && !outbox.is_waiting());
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        self.0.gate().is_mid_frame()
    }

    /// Returns the outbox: its end, its hook, its subscription.
    pub fn outbox(&self) -> &Outbox {
        &self.0
    }
}
