//! The ticket: the right to admit one subscriber.

use super::Inner;
use super::admission::TicketNo;
use crate::contain::{discard, in_drop};
use crate::subscriber::outbox::Outbox;
use crate::subscriber::sink::Sink;
use crate::subscriber::stream::SubscriberStream;
use crate::subscriber::subscription::Subscription;
use crate::types::bounds::OutboxOptions;
use crate::types::close::EndHook;
use crate::types::error::{AdmitError, SubscribeError};
use crate::types::format::WireFormat;
use crate::types::id::MessageId;
use crate::types::registration::Registration;
use std::fmt;
use std::sync::{Arc, Weak};

/// The right to admit one subscriber, drawn **before** its credential is read.
///
/// Any server reads a credential first and subscribes afterwards. A revocation in between finds no
/// subscriber to close, and the connection would live on with a revoked credential. A ticket closes
/// that window: if one of the identities that [`admit`](Ticket::admit) names was revoked since the
/// ticket was drawn, the admission is refused.
///
/// A ticket admits once. It expires
/// ([`ticket_lifetime`](crate::RegistryOptions::with_ticket_lifetime), 10 s), receives nothing, is
/// counted nowhere, and is freed when it is dropped. It does not keep the registry alive.
///
/// # Examples
/// ```
/// use registry_core::{
///     AdmitError, Encoded, Identity, OutboxOptions, Registration, RegistryOptions,
///     SubscriberRegistry, WireFormat,
/// };
/// # static RAW: WireFormat =
/// #     WireFormat::new("raw", |_, encoded, out| out.extend_from_slice(encoded.body()));
/// let encoder = |number: &u32| Ok(Encoded::json(number.to_string()));
/// let registry = SubscriberRegistry::<u32>::with_encoder(RegistryOptions::new(), encoder);
///
/// let ticket = registry.draw_ticket();
/// // The login check reads the credential, which takes its time …
/// let ada = Identity::new("account", "ada");
/// // … and meanwhile it is revoked: there is no subscriber to close yet.
/// registry.close_by_identity(&ada);
/// let registration = Registration::new().with_group(ada);
/// let refused = ticket.admit_outbox(&RAW, OutboxOptions::new(), registration);
/// assert_eq!(refused.unwrap_err(), AdmitError::Revoked);
/// ```
#[must_use = "a ticket that is dropped admits no subscriber"]
pub struct Ticket<T: Send + Sync + 'static> {
    registry: Weak<Inner<T>>,
    number: TicketNo,
    /// The hook of its subscriber.
    hook: Option<Arc<EndHook>>,
}

impl<T: Send + Sync + 'static> Ticket<T> {
    pub(super) fn new(
        registry: Weak<Inner<T>>,
        number: TicketNo,
        hook: Option<Arc<EndHook>>,
    ) -> Self {
        Self { registry, number, hook }
    }

    /// Admits a sink, if none of its identities was revoked since the ticket was drawn.
    ///
    /// # Errors
    /// See [`AdmitError`]. The sink is dropped; nothing was sent, and no subscriber was evicted
    /// (ADM-2).
    ///
    /// # Examples
    /// ```
    /// use registry_core::{AdmitError, Identity, Registration, SubscriberRegistry};
    /// # use registry_core::{CloseReason, Message, SendOutcome, Sink};
    /// # struct Screen;
    /// # impl Sink<String> for Screen {
    /// #     fn send(&self, _: &std::sync::Arc<Message<String>>) -> SendOutcome {
    /// #         SendOutcome::Accepted
    /// #     }
    /// #     fn close(&self, _: CloseReason) {}
    /// # }
    ///
    /// let registry = SubscriberRegistry::<String>::new();
    /// let ada = Identity::new("account", "ada");
    /// let hers = || Registration::new().with_group(ada.clone());
    /// let (early, late) = (registry.draw_ticket(), {
    ///     registry.close_by_identity(&ada);
    ///     registry.draw_ticket()
    /// });
    /// assert_eq!(early.admit(Screen, hers()).unwrap_err(), AdmitError::Revoked);
    /// assert!(late.admit(Screen, hers()).is_ok());
    /// ```
    pub fn admit(
        mut self,
        sink: impl Sink<T>,
        registration: Registration,
    ) -> Result<Subscription, AdmitError> {
        match self.registry.upgrade() {
            Some(inner) => inner.admit_sink(self.redeemed(), sink, registration),
            None => {
                discard(sink);
                Err(SubscribeError::ShuttingDown.into())
            }
        }
    }

    /// Admits an outbox, if none of its identities was revoked since the ticket was drawn.
    ///
    /// # Errors
    /// See [`AdmitError`].
    ///
    /// # Examples
    /// ```
    /// use registry_core::{OutboxOptions, Registration, RegistryOptions, SubscriberRegistry};
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let ticket = registry.draw_ticket();
    /// let _outbox = ticket.admit_outbox(&TEXT, OutboxOptions::new(), Registration::new())?;
    /// assert_eq!(registry.stats().formats["text"], 1);
    /// # Ok::<_, registry_core::AdmitError>(())
    /// ```
    pub fn admit_outbox(
        self,
        format: &'static WireFormat,
        options: OutboxOptions,
        registration: Registration,
    ) -> Result<Outbox, AdmitError> {
        self.admit_outbox_after(format, options, registration).map(|(outbox, _)| outbox)
    }

    /// Admits an outbox as [`admit_outbox`](Self::admit_outbox) does, and returns also the id of
    /// the last broadcast before: every later one that matches is queued, and no earlier one
    /// (SNP-1).
    ///
    /// # Errors
    /// See [`AdmitError`].
    ///
    /// # Examples
    /// ```
    /// use registry_core::{OutboxOptions, Registration, RegistryOptions, SubscriberRegistry};
    /// # use registry_core::{Encoded, WireFormat};
    /// # static TEXT: WireFormat =
    /// #     WireFormat::new("text", |_, encoded, out| out.extend_from_slice(encoded.body()));
    /// # let encoder = |number: &u32| Ok(Encoded::text(number.to_string()));
    /// # let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    ///
    /// let before = registry.broadcast("runs", 1)?.id;
    /// let (options, everything) = (OutboxOptions::new(), Registration::new());
    /// let admitted = registry.draw_ticket().admit_outbox_after(&TEXT, options, everything);
    /// let (_outbox, after) = admitted?;
    /// assert_eq!(after, before);
    /// # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn admit_outbox_after(
        mut self,
        format: &'static WireFormat,
        options: OutboxOptions,
        registration: Registration,
    ) -> Result<(Outbox, MessageId), AdmitError> {
        let inner = self.registry.upgrade().ok_or(SubscribeError::ShuttingDown)?;
        inner.admit_outbox(self.redeemed(), format, options, registration)
    }

    /// Admits a stream, if none of its identities was revoked since the ticket was drawn.
    ///
    /// # Errors
    /// See [`AdmitError`].
    ///
    /// # Examples
    /// ```
    /// use registry_core::{AdmitError, Identity, OutboxOptions, Registration, SubscriberRegistry};
    ///
    /// let registry = SubscriberRegistry::<u32>::new();
    /// let ada = Identity::new("account", "ada");
    /// let hers = || Registration::new().with_group(ada.clone());
    /// let ticket = registry.draw_ticket();
    /// registry.close_by_identity(&ada);
    /// let refused = ticket.admit_stream(OutboxOptions::new(), hers());
    /// assert_eq!(refused.unwrap_err(), AdmitError::Revoked);
    /// assert!(registry.draw_ticket().admit_stream(OutboxOptions::new(), hers()).is_ok());
    /// ```
    pub fn admit_stream(
        mut self,
        options: OutboxOptions,
        registration: Registration,
    ) -> Result<SubscriberStream<T>, AdmitError> {
        let inner = self.registry.upgrade().ok_or(SubscribeError::ShuttingDown)?;
        inner.admit_stream(self.redeemed(), options, registration)
    }

    fn redeemed(&mut self) -> (TicketNo, Option<Arc<EndHook>>) {
        (self.number, self.hook.take())
    }

    /// Uses the ticket up without admitting a subscriber: for a request that only asks what an
    /// admission would be answered, such as `HEAD`.
    ///
    /// No scope is looked at, and a registry that is shutting down does not refuse.
    ///
    /// # Errors
    /// Those of [`AdmitError`] that concern the ticket, when an admission would meet them now.
    ///
    /// # Examples
    /// ```
    /// use registry_core::{AdmitError, Identity, Registration, SubscriberRegistry};
    ///
    /// let registry = SubscriberRegistry::<String>::new();
    /// let ada = Identity::new("account", "ada");
    /// let ticket = registry.draw_ticket();
    /// registry.close_by_identity(&ada);
    /// let hers = Registration::new().with_group(ada);
    /// assert_eq!(ticket.check(&hers), Err(AdmitError::Revoked));
    /// assert_eq!(registry.draw_ticket().check(&hers), Ok(()));
    /// assert!(registry.is_empty());
    /// ```
    pub fn check(self, registration: &Registration) -> Result<(), AdmitError> {
        let inner = self.registry.upgrade().ok_or(SubscribeError::ShuttingDown)?;
        let now = inner.options.clock.now();
        inner.state.lock().table.admission.redeem(self.number, registration.identities(), now)
    }
}

impl<T: Send + Sync + 'static> Drop for Ticket<T> {
    fn drop(&mut self) {
        // Also after an admission or a refusal: the ticket is not open any more (ADM-2).
        if let Some(inner) = self.registry.upgrade() {
            in_drop(|| inner.state.lock().table.admission.free(self.number));
        }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("number", &self.number).finish_non_exhaustive()
    }
}
