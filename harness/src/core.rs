//! `registry-core` as a [`Subject`].

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use registry_core::{
    BroadcastError, ChannelFilter, CloseReason, Encoded, Message, OutboxOptions, RegistryOptions,
    Revocation, ScopeCap, SendOutcome, Sink, SubscriberRegistry, Subscription, WireFormat,
};

use crate::protocol::{Hello, Order};
use crate::script::{self, Identity, Reason, Registration};
use crate::subject::{Factory, Handle, Probe, Refused, Subject, Ticket, lock};
use crate::trace::{Received, Report};

/// What `registry-core` claims.
#[must_use]
pub fn hello() -> Hello {
    let features =
        ["count", "groups", "kinds", "exact", "reasons", "report", "revoke_as", "shutdown"];
    let mut hello = Hello::new(
        "registry-core",
        &["core", "scope_cap", "admission", "directed", "queued", "threads"],
        &features,
    );
    hello.policies.order = Order::Total;
    hello.version = env!("CARGO_PKG_VERSION").into();
    hello.language = "rust".into();
    hello
}

/// Makes fresh registries of `registry-core`.
#[must_use]
pub fn factory() -> Factory {
    Arc::new(|cap| {
        let mut options = RegistryOptions::new();
        if let Some(cap) = cap {
            options = options.with_scope_cap(ScopeCap::new(NonZeroUsize::new(cap as usize)?));
        }
        let encoder = |data: &String| Ok(Encoded::text(data.as_str()));
        let registry = SubscriberRegistry::<String>::with_encoder(options, encoder);
        Some(Arc::new(registry) as Arc<dyn Subject>)
    })
}

impl Sink<String> for Probe {
    fn send(&self, message: &Arc<Message<String>>) -> SendOutcome {
        if Probe::send(self, message.data()) { SendOutcome::Accepted } else { SendOutcome::Failed }
    }

    fn close(&self, reason: CloseReason) {
        Probe::close(self, Some(reason.as_str()));
    }
}

impl From<&Identity> for registry_core::Identity {
    fn from(identity: &Identity) -> Self {
        match identity {
            Identity::Plain(value) => Self::untyped(value),
            Identity::Kinded { kind, value } => Self::new(kind, value),
        }
    }
}

impl From<Reason> for Revocation {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Revoked => Self::Revoked,
            Reason::LoggedOut => Self::LoggedOut,
            Reason::Expired => Self::Expired,
        }
    }
}

fn registration(with: &Registration) -> registry_core::Registration {
    let filter = match with.channels.as_deref() {
        None => ChannelFilter::All,
        Some([]) if !with.exact => ChannelFilter::All,
        Some(names) => ChannelFilter::only(names.iter().map(String::as_str)),
    };
    let groups = with.groups.iter().map(Into::into);
    let made = registry_core::Registration::new().with_filter(filter).with_groups(groups);
    match &with.scope {
        Some(scope) => made.with_scope(scope),
        None => made,
    }
}

impl Subject for SubscriberRegistry<String> {
    fn subscribe(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused> {
        if let Some(wanted) = &with.outbox {
            let opened = self.open_outbox(&RAW, bounds(wanted), registration(with));
            return boxed(opened.map(Mutex::new));
        }
        // The compatible call wherever it can say what is asked for, so that it is tested too.
        let names: Option<Vec<&str>> =
            with.channels.as_ref().map(|names| names.iter().map(String::as_str).collect());
        let made = match (with.exact, &with.scope, with.groups.as_slice()) {
            (false, None, []) => SubscriberRegistry::subscribe(self, sink, names.as_deref(), None),
            (false, None, [Identity::Plain(identity)]) => {
                SubscriberRegistry::subscribe(self, sink, names.as_deref(), Some(identity))
            }
            _ => self.subscribe_with(sink, registration(with)),
        };
        boxed(made)
    }

    fn broadcast(&self, channel: &str, data: &str) -> Result<Option<Report>, String> {
        reported(SubscriberRegistry::broadcast(self, channel, data.to_owned()))
    }

    fn send_to(
        &self,
        identity: &Identity,
        channel: &str,
        data: &str,
    ) -> Result<Option<Report>, String> {
        reported(SubscriberRegistry::send_to(self, identity, channel, data.to_owned()))
    }

    fn close_by_identity(&self, identity: &Identity) -> usize {
        SubscriberRegistry::close_by_identity(self, identity)
    }

    fn close_by_identity_as(&self, identity: &Identity, reason: Reason) -> usize {
        SubscriberRegistry::close_by_identity_as(self, identity, reason.into())
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn begin(&self) -> Option<Arc<dyn Ticket>> {
        Some(Arc::new(Mutex::new(Some(SubscriberRegistry::draw_ticket(self)))))
    }

    fn shutdown(&self) {
        self.begin_shutdown();
    }
}

fn reported(
    sent: Result<registry_core::Report, BroadcastError<String>>,
) -> Result<Option<Report>, String> {
    let report = sent.map_err(|error| error.to_string())?;
    Ok(Some(Report {
        matched: report.matched as u64,
        accepted: report.accepted as u64,
        dropped: report.dropped as u64,
        lagged: report.lagged as u64,
        failed: report.failed as u64,
    }))
}

fn boxed<E>(made: Result<impl Handle + 'static, E>) -> Result<Arc<dyn Handle>, Refused> {
    made.map(|made| Arc::new(made) as Arc<dyn Handle>).map_err(|_| Refused)
}

impl Handle for Subscription {
    fn unsubscribe(&self) {
        Subscription::unsubscribe(self);
    }
}

/// A frame is the payload and nothing else, so that a message has as many bytes as the script says.
static RAW: WireFormat =
    WireFormat::new("raw", |_, encoded, out| out.extend_from_slice(encoded.body()));

fn bounds(wanted: &script::Outbox) -> OutboxOptions {
    let at_least_one = |count: u32| NonZeroUsize::new(count as usize).unwrap_or(NonZeroUsize::MIN);
    OutboxOptions::new()
        .with_max_messages(at_least_one(wanted.messages))
        .with_max_bytes(at_least_one(wanted.bytes))
        .with_overflow(match wanted.overflow {
            script::Overflow::Close => registry_core::Overflow::Close,
            script::Overflow::DropOldest => registry_core::Overflow::DropOldest,
            script::Overflow::DropNewest => registry_core::Overflow::DropNewest,
            script::Overflow::KeepLatest => registry_core::Overflow::KeepLatest,
        })
}

/// An outbox, with the script as its owner.
impl Handle for Mutex<registry_core::Outbox> {
    fn unsubscribe(&self) {
        lock(self).subscription().unsubscribe();
    }

    fn take(&self, max_bytes: u32) -> Option<Received> {
        let mut outbox = lock(self);
        let text = |frame: &Bytes| String::from_utf8_lossy(frame).into_owned();
        Some(match outbox.poll_next(&mut Context::from_waker(Waker::noop()), max_bytes as usize) {
            Poll::Pending => Received::default(),
            Poll::Ready(registry_core::Next::Closed(reason)) => {
                Received { end: Some(reason.as_str().to_owned()), ..Received::default() }
            }
            Poll::Ready(registry_core::Next::Frames(batch)) => Received {
                messages: batch.frames.iter().map(text).collect(),
                lost: batch.lost,
                end: None,
            },
        })
    }
}

/// A ticket is used up by value; what is asked of it afterwards is refused here, as the compiler
/// would.
impl Ticket for Mutex<Option<registry_core::Ticket<String>>> {
    fn admit(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused> {
        let ticket = lock(self).take().ok_or(Refused)?;
        if let Some(wanted) = &with.outbox {
            let opened = ticket.admit_outbox(&RAW, bounds(wanted), registration(with));
            return boxed(opened.map(Mutex::new));
        }
        boxed(ticket.admit(sink, registration(with)))
    }

    fn abandon(&self) {
        let ticket = lock(self).take();
        drop(ticket);
    }
}
