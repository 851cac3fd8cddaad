//! The bounds of outboxes and of the logs of lanes, and what happens at a bound.

use std::num::NonZeroUsize;

/// What happens when a message does not fit into an outbox.
///
/// # Examples
/// ```
/// use registry_core::{
///     Next, OutboxOptions, Overflow, Registration, RegistryOptions, SubscriberRegistry,
/// };
/// use std::num::NonZeroUsize;
/// use std::task::{Context, Poll, Waker};
/// # use registry_core::{Encoded, WireFormat};
/// # static TEXT: WireFormat =
/// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
/// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
/// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
///
/// let mut cx = Context::from_waker(Waker::noop());
/// for (overflow, kept) in [
///     (Overflow::DropOldest, ["3", "4"]),
///     (Overflow::DropNewest, ["1", "2"]),
///     (Overflow::KeepLatest, ["2", "4"]), // 1 and 3 stood on the channel of 4
/// ] {
///     let two = NonZeroUsize::new(2).expect("not zero");
///     let options = OutboxOptions::new().with_max_messages(two).with_overflow(overflow);
///     let mut outbox = registry.open_outbox(&TEXT, options, Registration::new())?;
///     for (channel, number) in [("a", 1), ("b", 2), ("a", 3), ("a", 4)] {
///         registry.broadcast(channel, number)?;
///     }
///     let Poll::Ready(Next::Frames(batch)) = outbox.poll_next(&mut cx, 65_536) else {
///         panic!("nothing is queued")
///     };
///     assert_eq!((batch.frames, batch.lost), (kept.map(Into::into).into(), 2));
/// }
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The subscriber is ended as [`Lagged`](crate::CloseReason::Lagged); a client that comes back
    /// starts anew. The default: no loss goes unnoticed.
    #[default]
    Close,
    /// The oldest messages make room; the loss is counted and shown to the owner.
    DropOldest,
    /// The new message is dropped; the loss is counted and shown to the owner.
    DropNewest,
    /// Of each channel only the latest matters: older queued messages of the same channel make
    /// room, and then, if that is not enough, the oldest of all. The new one is appended, so what
    /// remains is in order; the loss is counted and shown. For values that replace each other, with
    /// a channel for each.
    KeepLatest,
}

/// The bounds of an outbox and what happens at them.
///
/// # Examples
/// ```
/// use registry_core::{
///     CloseReason, Next, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
/// };
/// use std::num::NonZeroUsize;
/// use std::task::{Context, Poll, Waker};
/// # use registry_core::{Encoded, WireFormat};
/// # static TEXT: WireFormat =
/// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
/// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
/// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
///
/// // By default, an outbox whose queue is full ends as lagged.
/// let options = OutboxOptions::new().with_max_messages(NonZeroUsize::MIN);
/// let mut outbox = registry.open_outbox(&TEXT, options, Registration::new())?;
/// assert_eq!(registry.broadcast("runs", 1)?.accepted, 1);
/// assert_eq!(registry.broadcast("runs", 2)?.lagged, 1);
/// let next = outbox.poll_next(&mut Context::from_waker(Waker::noop()), 65_536);
/// assert_eq!(next, Poll::Ready(Next::Closed(CloseReason::Lagged)));
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxOptions {
    pub(crate) max_messages: NonZeroUsize,
    pub(crate) max_bytes: NonZeroUsize,
    pub(crate) overflow: Overflow,
    pub(crate) flusher: bool,
    pub(crate) label: &'static str,
}

impl OutboxOptions {
    /// 1,024 messages: a second of a busy channel, so that a short stall loses nothing.
    pub const DEFAULT_MESSAGES: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");
    /// 1 MiB: the bound that comparable libraries use; 1,000 stalled readers cost 1 GiB at the very
    /// most.
    pub const DEFAULT_BYTES: NonZeroUsize = NonZeroUsize::new(1 << 20).expect("not zero");

    /// Creates the default bounds: 1,024 messages, 1 MiB, close on overflow; without a label.
    #[must_use]
    pub fn new() -> Self {
        Self {
            max_messages: Self::DEFAULT_MESSAGES,
            max_bytes: Self::DEFAULT_BYTES,
            overflow: Overflow::default(),
            flusher: false,
            label: "",
        }
    }

    /// Sets the largest number of queued messages.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{OutboxOptions, Registration, RegistryOptions, SubscriberRegistry};
    /// use std::num::NonZeroUsize;
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let two = NonZeroUsize::new(2).expect("not zero");
    /// let options = OutboxOptions::new().with_max_messages(two);
    /// let _outbox = registry.open_outbox(&TEXT, options, Registration::new())?;
    /// for (number, lagged) in [(1, 0), (2, 0), (3, 1)] {
    ///     assert_eq!(registry.broadcast("runs", number)?.lagged, lagged);
    /// }
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[must_use]
    pub fn with_max_messages(mut self, messages: NonZeroUsize) -> Self {
        self.max_messages = messages;
        self
    }

    /// Sets the largest number of queued bytes, counted in encoded frames. A single larger frame is
    /// still accepted by an empty outbox.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{OutboxOptions, Registration, RegistryOptions, SubscriberRegistry};
    /// use std::num::NonZeroUsize;
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let five = NonZeroUsize::new(5).expect("not zero");
    /// let options = OutboxOptions::new().with_max_bytes(five);
    /// let _outbox = registry.open_outbox(&TEXT, options, Registration::new())?;
    /// // Frames of four bytes, one byte and one byte.
    /// for (number, lagged) in [(1_000, 0), (1, 0), (2, 1)] {
    ///     assert_eq!(registry.broadcast("runs", number)?.lagged, lagged);
    /// }
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets what happens at a bound.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     OutboxOptions, Overflow, Registration, RegistryOptions, SubscriberRegistry,
    /// };
    /// use std::num::NonZeroUsize;
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let options = OutboxOptions::new()
    ///     .with_max_messages(NonZeroUsize::MIN)
    ///     .with_overflow(Overflow::DropOldest);
    /// let _outbox = registry.open_outbox(&TEXT, options, Registration::new())?;
    /// registry.broadcast("runs", 1)?;
    /// assert_eq!(registry.broadcast("runs", 2)?.accepted, 1);
    /// assert_eq!(registry.stats().dropped, 1);
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[must_use]
    pub fn with_overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Makes a [flusher](crate::Flusher) serve the outbox, if the registry has one: a broadcast
    /// then leaves the message to the flusher and returns. For owners that are going to [attach a
    /// wire](crate::Outbox::attach).
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     LaneOptions, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
    /// };
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let _flusher = registry.open_lane(LaneOptions::new());
    /// let options = OutboxOptions::new().with_flusher();
    /// let _served = registry.open_outbox(&TEXT, options, Registration::new())?;
    /// let _other = registry.open_outbox(&TEXT, OutboxOptions::new(), Registration::new())?;
    /// assert_eq!(registry.stats().in_lanes, 1);
    /// # Ok::<_, registry_core::SubscribeError>(())
    /// ```
    #[must_use]
    pub fn with_flusher(mut self) -> Self {
        self.flusher = true;
        self
    }

    /// Sets what the subscriber is called where subscribers are
    /// [listed](crate::SubscriberRegistry::page): the kind of its connection, for example.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{OutboxOptions, Registration, SubscriberRegistry};
    ///
    /// let registry = SubscriberRegistry::<u32>::new();
    /// let options = OutboxOptions::new().with_label("metrics");
    /// let _metrics = registry.stream(Registration::new(), options)?;
    /// assert_eq!(registry.page(None, 1)[0].label, "metrics");
    /// # Ok::<_, registry_core::SubscribeError>(())
    /// ```
    #[must_use]
    pub fn with_label(mut self, label: &'static str) -> Self {
        self.label = label;
        self
    }
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The options of a lane, which a [`Flusher`](crate::Flusher) serves.
///
/// # Examples
/// ```
/// use registry_core::{
///     LaneOptions, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
/// };
/// use std::num::NonZeroUsize;
/// # use registry_core::{Encoded, WireFormat};
/// # static TEXT: WireFormat =
/// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
/// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
/// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
///
/// let megabyte = NonZeroUsize::new(1 << 20).expect("not zero");
/// let _flusher = registry.open_lane(LaneOptions::new().with_max_bytes(megabyte));
/// let options = OutboxOptions::new().with_flusher();
/// let _outbox = registry.open_outbox(&TEXT, options, Registration::new())?;
/// // Nothing drives the flusher, so its log fills. Each of these broadcasts counts 129 bytes.
/// let mut accepted = 0;
/// while registry.broadcast("runs", 7)?.accepted == 1 {
///     accepted += 1;
/// }
/// assert_eq!(accepted, (1 << 20) / 129);
/// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneOptions {
    pub(crate) max_bytes: NonZeroUsize,
}

impl LaneOptions {
    /// 64 MiB: more than a burst between two turns of a flusher that has work, and what a server
    /// can spare when one has not run for too long.
    pub const DEFAULT_BYTES: NonZeroUsize = NonZeroUsize::new(64 << 20).expect("not zero");

    /// Creates the default bound: 64 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self { max_bytes: Self::DEFAULT_BYTES }
    }

    /// Sets the bound on bytes that wait for the flusher. Each message counts its encoded payload
    /// and 128 bytes, a directed one also 16 bytes for each subscriber that it is for. The flusher
    /// may hold as much again while it writes.
    ///
    /// Beyond the bound, the lane drops broadcasts. The policy of each outbox decides the rest:
    /// [`Overflow::Close`](crate::Overflow::Close) ends the subscriber as lagged; any other policy
    /// counts the loss and reports it.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self::new()
    }
}
