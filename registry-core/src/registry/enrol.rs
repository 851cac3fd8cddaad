//! How a subscriber enters the registry.

use super::Inner;
use super::admission::{Admission, TicketNo};
use super::channels::LaneId;
use crate::contain::discard;
use crate::lane::book::Numbers;
use crate::lane::flusher_log::FlusherLog;
use crate::lane::log::Entry;
use crate::lane::outboxes::Place;
use crate::subscriber::gate::Gate;
use crate::subscriber::notify::EVICTION_DEPTH;
use crate::subscriber::outbox::Outbox;
use crate::subscriber::seat::{Registrar, Seat};
use crate::subscriber::sink::{Sink, SinkSeat};
use crate::subscriber::stream::{STREAM, SubscriberStream};
use crate::subscriber::subscription::Subscription;
use crate::types::bounds::OutboxOptions;
use crate::types::close::{CloseReason, EndHook};
use crate::types::error::{AdmitError, SubscribeError};
use crate::types::format::WireFormat;
use crate::types::id::{MemberId, MessageId};
use crate::types::registration::Registration;
use std::sync::{Arc, Weak};
use std::task::Waker;

/// What is left of a ticket: its number, and the hook of its subscriber.
type Redeemed = (TicketNo, Option<Arc<EndHook>>);

/// The kind of subscriber behind a seat, as the registry sees it.
struct Kind {
    /// The format's name; `"sink"` for sinks.
    format: &'static str,
    /// The options of an outbox.
    outbox: Option<OutboxOptions>,
}

impl<T: Send + Sync + 'static> Inner<T> {
    pub(super) fn open_sink(
        &self,
        sink: impl Sink<T>,
        registration: Registration,
    ) -> Result<Subscription, SubscribeError> {
        self.enrol_sink(sink, self.options.end_hook(), registration, |_, _| Ok(()))
    }

    pub(super) fn admit_sink(
        &self,
        (ticket, hook): Redeemed,
        sink: impl Sink<T>,
        registration: Registration,
    ) -> Result<Subscription, AdmitError> {
        self.enrol_sink(sink, hook, registration, self.redeem(ticket))
    }

    pub(super) fn open_outbox(
        &self,
        format: &'static WireFormat,
        options: OutboxOptions,
        registration: Registration,
    ) -> Result<Outbox, SubscribeError> {
        let hook = self.options.end_hook();
        let enrolled = self.enrol_outbox(format, options, hook, registration, |_, _| Ok(()));
        enrolled.map(|(outbox, _)| outbox)
    }

    pub(super) fn admit_outbox(
        &self,
        (ticket, hook): Redeemed,
        format: &'static WireFormat,
        options: OutboxOptions,
        registration: Registration,
    ) -> Result<(Outbox, MessageId), AdmitError> {
        self.enrol_outbox(format, options, hook, registration, self.redeem(ticket))
    }

    pub(super) fn open_stream(
        &self,
        options: OutboxOptions,
        registration: Registration,
    ) -> Result<SubscriberStream<T>, SubscribeError> {
        // A consumer in the process has no connection that an end hook would have to end.
        self.enrol_stream(options, None, registration, |_, _| Ok(()))
    }

    pub(super) fn admit_stream(
        &self,
        (ticket, hook): Redeemed,
        options: OutboxOptions,
        registration: Registration,
    ) -> Result<SubscriberStream<T>, AdmitError> {
        self.enrol_stream(options, hook, registration, self.redeem(ticket))
    }

    /// The check of a ticket. The clock is read before the lock is taken.
    fn redeem(
        &self,
        ticket: TicketNo,
    ) -> impl FnOnce(&mut Admission, &Registration) -> Result<(), AdmitError> + use<T> {
        let now = self.options.clock.now();
        move |admission, registration| admission.redeem(ticket, registration.identities(), now)
    }

    fn enrol_sink<E: From<SubscribeError>>(
        &self,
        sink: impl Sink<T>,
        hook: Option<Arc<EndHook>>,
        registration: Registration,
        check: impl FnOnce(&mut Admission, &Registration) -> Result<(), E>,
    ) -> Result<Subscription, E> {
        let seat = Arc::new(SinkSeat::new(sink, hook));
        let kind = Kind { format: "sink", outbox: None };
        let enrolled = self.enrol(seat.clone(), kind, registration, check, |_, _, id, numbers| {
            self.sinks.join(id, seat.clone(), numbers);
            None
        });
        if enrolled.is_err() {
            discard(seat);
        }
        enrolled.map(|(subscription, _)| subscription)
    }

    fn enrol_outbox<E: From<SubscribeError>>(
        &self,
        format: &'static WireFormat,
        options: OutboxOptions,
        hook: Option<Arc<EndHook>>,
        registration: Registration,
        check: impl FnOnce(&mut Admission, &Registration) -> Result<(), E>,
    ) -> Result<(Outbox, MessageId), E> {
        if self.encoder.is_none() {
            return Err(SubscribeError::NoEncoder.into());
        }
        let gate = Arc::new(Gate::new(format, options, hook));
        let join = |lanes: &[Arc<FlusherLog<T>>], lane, id, numbers| match lane {
            LaneId::Flusher(number) => lanes[number].join(id, gate.clone(), numbers),
            LaneId::Outboxes | LaneId::Sinks => {
                self.outboxes.append(Entry::Join(id, Place::Outbox(gate.clone()), numbers));
                // No flusher serves this outbox, even if its options ask for one. So the gate is
                // marked complete here.
                gate.complete()
            }
        };
        let kind = Kind { format: format.name(), outbox: Some(options) };
        let (subscription, after) = self.enrol(gate.clone(), kind, registration, check, join)?;
        Ok((Outbox::new(gate, subscription), after))
    }

    fn enrol_stream<E: From<SubscribeError>>(
        &self,
        options: OutboxOptions,
        hook: Option<Arc<EndHook>>,
        registration: Registration,
        check: impl FnOnce(&mut Admission, &Registration) -> Result<(), E>,
    ) -> Result<SubscriberStream<T>, E> {
        // Flushers write to sockets, and this has none.
        let options = OutboxOptions { flusher: false, ..options };
        let gate = Arc::new(Gate::new(&STREAM, options, hook));
        let join = |_: &[Arc<FlusherLog<T>>], _, id, numbers| {
            self.outboxes.append(Entry::Join(id, Place::Stream(gate.clone()), numbers));
            None
        };
        let kind = Kind { format: STREAM.name(), outbox: Some(options) };
        let (subscription, _) = self.enrol(gate.clone(), kind, registration, check, join)?;
        Ok(SubscriberStream::new(gate, subscription))
    }

    /// Checks the admission and takes the subscriber, in one critical section: a revocation comes
    /// before it or after it. Returns also the id of the last broadcast before.
    fn enrol<E: From<SubscribeError>>(
        &self,
        seat: Arc<dyn Seat>,
        kind: Kind,
        registration: Registration,
        check: impl FnOnce(&mut Admission, &Registration) -> Result<(), E>,
        join: impl FnOnce(&[Arc<FlusherLog<T>>], LaneId, MemberId, Numbers) -> Option<Waker>,
    ) -> Result<(Subscription, MessageId), E> {
        let now = self.options.clock.now();
        let (id, after, evicted) = {
            let mut state = self.state.lock();
            check(&mut state.table.admission, &registration)?;
            if state.table.shutting_down {
                return Err(SubscribeError::ShuttingDown.into());
            }
            if state.table.refuses(registration.scope()) {
                return Err(SubscribeError::ScopeFull.into());
            }
            let lane = match kind.outbox {
                None => LaneId::Sinks,
                Some(OutboxOptions { flusher: true, .. }) => {
                    state.table.lane().unwrap_or(LaneId::Outboxes)
                }
                Some(_) => LaneId::Outboxes,
            };
            let seated = state.table.insert(seat.clone(), lane, kind.format, registration, now);
            let mut evicted = self.shut(&mut state, seated.evicted, CloseReason::Evicted);
            evicted.wakers.extend(join(&state.lanes, lane, seated.id.member(), seated.numbers));
            if kind.outbox.is_some() {
                self.owners.add();
            }
            (seated.id, MessageId::new(self.epoch, state.table.seq), evicted)
        };
        self.finish(evicted, EVICTION_DEPTH);
        let registry: Weak<dyn Registrar> = self.this.clone();
        Ok((Subscription::new(id, seat, registry), after))
    }
}
