//! The options of a registry.

use crate::clock::{Clock, SystemClock};
use crate::contain::contain;
use crate::types::close::{CloseReason, EndHook, both};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// How many subscribers may share a scope, and what happens at the cap.
///
/// A cap below one cannot be constructed (CAP-5).
///
/// # Examples
/// ```
/// use registry_core::{
///     Identity, Registration, RegistryOptions, ScopeCap, SubscribeError, SubscriberRegistry,
///     WhenFull,
/// };
/// use std::num::NonZeroUsize;
/// # use registry_core::{CloseReason, Message, SendOutcome, Sink};
/// # struct Screen;
/// # impl Sink<String> for Screen {
/// #     fn send(&self, _: &std::sync::Arc<Message<String>>) -> SendOutcome {
/// #         SendOutcome::Accepted
/// #     }
/// #     fn close(&self, _: CloseReason) {}
/// # }
/// let one = NonZeroUsize::MIN;
/// let cap = ScopeCap::new(one).with_when_full(WhenFull::RefuseNew);
/// let options = RegistryOptions::new().with_scope_cap(cap);
/// let registry = SubscriberRegistry::<String>::with_options(options);
/// let session = || Registration::new().with_scope(Identity::new("session", "17"));
/// let _tab = registry.subscribe_with(Screen, session())?;
/// let refused = registry.subscribe_with(Screen, session());
/// assert_eq!(refused.unwrap_err(), SubscribeError::ScopeFull);
/// # Ok::<_, SubscribeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScopeCap {
    pub(crate) limit: NonZeroUsize,
    pub(crate) when_full: WhenFull,
}

/// What happens when a scope is full (CAP-2).
///
/// # Examples
/// ```
/// use registry_core::{
///     Identity, Registration, RegistryOptions, ScopeCap, SubscriberRegistry, WhenFull,
/// };
/// use std::num::NonZeroUsize;
/// # use registry_core::{CloseReason, Message, SendOutcome, Sink};
/// # struct Screen;
/// # impl Sink<String> for Screen {
/// #     fn send(&self, _: &std::sync::Arc<Message<String>>) -> SendOutcome {
/// #         SendOutcome::Accepted
/// #     }
/// #     fn close(&self, _: CloseReason) {}
/// # }
/// for when_full in [WhenFull::EvictOldest, WhenFull::RefuseNew] {
///     let cap = ScopeCap::new(NonZeroUsize::MIN).with_when_full(when_full);
///     let options = RegistryOptions::new().with_scope_cap(cap);
///     let registry = SubscriberRegistry::<String>::with_options(options);
///     let session = || Registration::new().with_scope(Identity::new("session", "17"));
///     let _old_tab = registry.subscribe_with(Screen, session())?;
///     let new_tab = registry.subscribe_with(Screen, session());
///     assert_eq!(new_tab.is_ok(), when_full == WhenFull::EvictOldest);
///     assert_eq!(registry.len(), 1);
/// }
/// # Ok::<_, registry_core::SubscribeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenFull {
    /// The oldest subscriber of the scope is ended as [`Evicted`](crate::CloseReason::Evicted). The
    /// default.
    #[default]
    EvictOldest,
    /// The new subscriber is refused with
    /// [`SubscribeError::ScopeFull`](crate::SubscribeError::ScopeFull).
    RefuseNew,
}

impl ScopeCap {
    /// Creates a cap that evicts the oldest.
    #[must_use]
    pub fn new(limit: NonZeroUsize) -> Self {
        Self { limit, when_full: WhenFull::default() }
    }

    /// Sets what happens at the cap.
    #[must_use]
    pub fn with_when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }
}

/// Options of a registry. Every one has a default that is safe.
///
/// # Examples
/// ```
/// use registry_core::{RegistryOptions, ScopeCap, SubscriberRegistry};
/// use std::num::NonZeroUsize;
/// use std::time::Duration;
///
/// // Six tabs for each session, and login checks that take up to half a minute.
/// let six = NonZeroUsize::new(6).expect("not zero");
/// let options = RegistryOptions::new()
///     .with_scope_cap(ScopeCap::new(six))
///     .with_ticket_lifetime(Duration::from_secs(30));
/// assert!(format!("{options:?}").contains("ticket_lifetime: 30s"));
/// let registry = SubscriberRegistry::<String>::with_options(options);
/// assert!(registry.is_empty());
/// ```
#[derive(Clone)]
pub struct RegistryOptions {
    pub(crate) scope_cap: Option<ScopeCap>,
    pub(crate) ticket_lifetime: Duration,
    pub(crate) max_remembered_revocations: usize,
    pub(crate) max_waiting_broadcasts: NonZeroUsize,
    pub(crate) clock: Arc<dyn Clock>,
    end_hooks: Option<Arc<EndHooks>>,
}

/// Makes the hook of a subscriber.
type EndHooks = dyn Fn() -> Option<Arc<EndHook>> + Send + Sync;

impl RegistryOptions {
    /// 10 s: longer than any login check should take, short enough that an abandoned one is soon
    /// forgotten.
    pub const DEFAULT_TICKET_LIFETIME: Duration = Duration::from_secs(10);
    /// 4,096 revocations within the life of one ticket; about 400 KiB.
    pub const DEFAULT_REMEMBERED_REVOCATIONS: usize = 4096;
    /// 65,536 broadcasts may wait behind a sink that does not return.
    pub const DEFAULT_WAITING_BROADCASTS: NonZeroUsize =
        NonZeroUsize::new(65_536).expect("not zero");

    /// Creates the defaults: no cap, tickets of 10 s, 4,096 remembered revocations, 65,536 waiting
    /// broadcasts.
    #[must_use]
    pub fn new() -> Self {
        Self {
            scope_cap: None,
            ticket_lifetime: Self::DEFAULT_TICKET_LIFETIME,
            max_remembered_revocations: Self::DEFAULT_REMEMBERED_REVOCATIONS,
            max_waiting_broadcasts: Self::DEFAULT_WAITING_BROADCASTS,
            clock: Arc::new(SystemClock),
            end_hooks: None,
        }
    }

    /// Caps how many subscribers may be active in one scope.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{Identity, Registration, RegistryOptions, ScopeCap, SubscriberRegistry};
    /// use std::num::NonZeroUsize;
    /// # use registry_core::{CloseReason, Message, SendOutcome, Sink};
    /// # struct Screen;
    /// # impl Sink<String> for Screen {
    /// #     fn send(&self, _: &std::sync::Arc<Message<String>>) -> SendOutcome {
    /// #         SendOutcome::Accepted
    /// #     }
    /// #     fn close(&self, _: CloseReason) {}
    /// # }
    /// let one = NonZeroUsize::MIN;
    /// let options = RegistryOptions::new().with_scope_cap(ScopeCap::new(one));
    /// let registry = SubscriberRegistry::<String>::with_options(options);
    /// let session = || Registration::new().with_scope(Identity::new("session", "17"));
    /// let _old_tab = registry.subscribe_with(Screen, session())?;
    /// let _new_tab = registry.subscribe_with(Screen, session())?; // evicts the old one
    /// assert_eq!(registry.len(), 1);
    /// # Ok::<_, registry_core::SubscribeError>(())
    /// ```
    #[must_use]
    pub fn with_scope_cap(mut self, cap: ScopeCap) -> Self {
        self.scope_cap = Some(cap);
        self
    }

    /// Sets how long a ticket is valid.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     AdmitError, ManualClock, Registration, RegistryOptions, SubscriberRegistry,
    /// };
    /// use std::time::Duration;
    /// # use registry_core::{CloseReason, Message, SendOutcome, Sink};
    /// # struct Screen;
    /// # impl Sink<String> for Screen {
    /// #     fn send(&self, _: &std::sync::Arc<Message<String>>) -> SendOutcome {
    /// #         SendOutcome::Accepted
    /// #     }
    /// #     fn close(&self, _: CloseReason) {}
    /// # }
    /// let clock = ManualClock::new();
    /// let lifetime = Duration::from_secs(3);
    /// let options =
    ///     RegistryOptions::new().with_ticket_lifetime(lifetime).with_clock(clock.clone());
    /// let registry = SubscriberRegistry::<String>::with_options(options);
    /// let ticket = registry.draw_ticket();
    /// clock.advance(lifetime);
    /// let refused = ticket.admit(Screen, Registration::new());
    /// assert_eq!(refused.unwrap_err(), AdmitError::Expired);
    /// ```
    #[must_use]
    pub fn with_ticket_lifetime(mut self, lifetime: Duration) -> Self {
        self.ticket_lifetime = lifetime;
        self
    }

    /// Sets how many revocations are remembered for open tickets. Beyond that number the oldest is
    /// forgotten, and tickets that were drawn before it are refused (ADM-6).
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     AdmitError, Identity, Registration, RegistryOptions, SubscriberRegistry,
    /// };
    /// # use registry_core::{CloseReason, Message, SendOutcome, Sink};
    /// # struct Screen;
    /// # impl Sink<String> for Screen {
    /// #     fn send(&self, _: &std::sync::Arc<Message<String>>) -> SendOutcome {
    /// #         SendOutcome::Accepted
    /// #     }
    /// #     fn close(&self, _: CloseReason) {}
    /// # }
    /// let options = RegistryOptions::new().with_max_remembered_revocations(1);
    /// let registry = SubscriberRegistry::<String>::with_options(options);
    /// let ticket = registry.draw_ticket();
    /// for account in ["ada", "bob"] {
    ///     registry.close_by_identity(Identity::new("account", account));
    /// }
    /// assert_eq!(registry.stats().remembered_revocations, 1);
    /// // One revocation was forgotten, and it could concern this subscriber.
    /// let refused = ticket.admit(Screen, Registration::new());
    /// assert_eq!(refused.unwrap_err(), AdmitError::Forgotten);
    /// ```
    #[must_use]
    pub fn with_max_remembered_revocations(mut self, revocations: usize) -> Self {
        self.max_remembered_revocations = revocations;
        self
    }

    /// Sets how many broadcasts may wait for sinks while one sink does not return. Beyond that
    /// number, broadcasts are dropped for sinks and counted; outboxes still get them.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     CloseReason, Message, RegistryOptions, SendOutcome, Sink, SubscriberRegistry,
    /// };
    /// use std::num::NonZeroUsize;
    /// use std::sync::Arc;
    ///
    /// /// Publishes twice when it receives the first message.
    /// struct Repeater(SubscriberRegistry<u32>);
    ///
    /// impl Sink<u32> for Repeater {
    ///     fn send(&self, message: &Arc<Message<u32>>) -> SendOutcome {
    ///         if *message.data() == 1 {
    ///             for number in [2, 3] {
    ///                 let _waits_or_is_dropped = self.0.broadcast("numbers", number);
    ///             }
    ///         }
    ///         SendOutcome::Accepted
    ///     }
    ///     fn close(&self, _: CloseReason) {}
    /// }
    ///
    /// let options = RegistryOptions::new().with_max_waiting_broadcasts(NonZeroUsize::MIN);
    /// let registry = SubscriberRegistry::with_options(options);
    /// let _subscription = registry.subscribe(Repeater(registry.clone()), None, None)?;
    /// registry.broadcast("numbers", 1)?;
    /// // While the sink had the first message, there was room for the second, not for the third.
    /// assert_eq!((registry.stats().broadcasts, registry.stats().dropped), (3, 1));
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    #[must_use]
    pub fn with_max_waiting_broadcasts(mut self, broadcasts: NonZeroUsize) -> Self {
        self.max_waiting_broadcasts = broadcasts;
        self
    }

    /// Sets the clock by which tickets age.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{ManualClock, RegistryOptions, SubscriberRegistry};
    ///
    /// let clock = ManualClock::new();
    /// let options = RegistryOptions::new().with_clock(clock.clone());
    /// let registry = SubscriberRegistry::<String>::with_options(options);
    /// let _old = registry.draw_ticket();
    /// clock.advance(RegistryOptions::DEFAULT_TICKET_LIFETIME);
    /// let _young = registry.draw_ticket();
    /// assert_eq!(registry.stats().tickets, 1); // the old one expired
    /// ```
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Adds what makes a hook for each subscriber: for a server that has to act on the connection
    /// of a subscriber that is ended, whichever code admitted it. Hooks that were added before
    /// stay, and are called first.
    ///
    /// `make` is called on the thread that draws a ticket, or that subscribes without one, but not
    /// for a [`stream`](crate::SubscriberRegistry::stream), which has no connection. What it
    /// returns is called as a hook of [`Outbox::on_end`](crate::Outbox::on_end) is; for a
    /// [sink](crate::Sink), it is called after the sink's `close`, and never without it.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{
    ///     CloseReason, Identity, OutboxOptions, Registration, RegistryOptions, SubscriberRegistry,
    /// };
    /// use std::sync::{Arc, Mutex};
    ///
    /// let ends = Arc::new(Mutex::new(Vec::new()));
    /// let seen = ends.clone();
    /// let options = RegistryOptions::new().with_end_hooks(move || {
    ///     let seen = seen.clone();
    ///     Some(move |reason: CloseReason| seen.lock().unwrap().push(reason))
    /// });
    /// let registry = SubscriberRegistry::<String>::with_options(options);
    /// let ada = Identity::new("account", "ada");
    /// let hers = Registration::new().with_group(ada.clone());
    /// let _stream = registry.draw_ticket().admit_stream(OutboxOptions::new(), hers)?;
    /// registry.close_by_identity(&ada);
    /// assert_eq!(*ends.lock().unwrap(), [CloseReason::Revoked]);
    /// # Ok::<_, registry_core::AdmitError>(())
    /// ```
    #[must_use]
    pub fn with_end_hooks<H: Fn(CloseReason) + Send + Sync + 'static>(
        mut self,
        make: impl Fn() -> Option<H> + Send + Sync + 'static,
    ) -> Self {
        let make: Arc<EndHooks> = Arc::new(move || Some(Arc::new(make()?)));
        self.end_hooks = Some(match self.end_hooks.take() {
            None => make,
            Some(first) => Arc::new(move || match (contain(&*first), contain(&*make)) {
                (Some(Some(first)), Some(Some(then))) => Some(both(first, then)),
                (first, then) => first.flatten().or(then.flatten()),
            }),
        });
        self
    }

    /// Makes the hook of a subscriber.
    pub(crate) fn end_hook(&self) -> Option<Arc<EndHook>> {
        let make = self.end_hooks.as_deref()?;
        contain(make).flatten()
    }
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryOptions")
            .field("scope_cap", &self.scope_cap)
            .field("ticket_lifetime", &self.ticket_lifetime)
            .field("max_remembered_revocations", &self.max_remembered_revocations)
            .field("max_waiting_broadcasts", &self.max_waiting_broadcasts)
            .field("end_hooks", &self.end_hooks.is_some())
            .finish_non_exhaustive()
    }
}
