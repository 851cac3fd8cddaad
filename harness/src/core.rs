//! `registry-core` as a [`Subject`].

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use registry_core::{
    ChannelFilter, CloseReason, Message, RegistryOptions, ScopeCap, SendOutcome, Sink, SubscriberRegistry, Subscription,
};

use crate::{
    protocol::{Hello, Order},
    script::{Identity, Registration},
    subject::{Factory, Handle, Probe, Refused, Subject, Ticket},
    trace::Report,
};

/// What `registry-core` claims.
#[must_use]
pub fn hello() -> Hello {
    let features = ["count", "groups", "kinds", "exact", "reasons", "report", "shutdown"];
    let mut hello = Hello::new("registry-core", &["core", "scope_cap", "admission", "threads"], &features);
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
        Some(Arc::new(SubscriberRegistry::<String>::with_options(options)) as Arc<dyn Subject>)
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
            Identity::Plain(value) => Self::unkinded(value),
            Identity::Kinded { kind, value } => Self::new(kind, value),
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
    let made = registry_core::Registration::new().filter(filter).groups(groups);
    match &with.scope {
        Some(scope) => made.scope(scope.into()),
        None => made,
    }
}

impl Subject for SubscriberRegistry<String> {
    fn subscribe(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused> {
        // The compatible call wherever it can say what is asked for, so that it is tested too.
        let made = match (with.exact, &with.scope, with.groups.as_slice()) {
            (false, None, []) => {
                let names = with.channels.as_ref().map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
                SubscriberRegistry::subscribe(self, sink, names.as_deref(), None)
            }
            (false, None, [Identity::Plain(identity)]) => {
                let names = with.channels.as_ref().map(|names| names.iter().map(String::as_str).collect::<Vec<_>>());
                SubscriberRegistry::subscribe(self, sink, names.as_deref(), Some(identity))
            }
            _ => self.subscribe_with(sink, registration(with)),
        };
        made.map(|made| Arc::new(made) as Arc<dyn Handle>).map_err(|_| Refused)
    }

    fn broadcast(&self, channel: &str, data: &str) -> Result<Option<Report>, String> {
        let report =
            SubscriberRegistry::broadcast(self, channel, data.to_owned()).map_err(|error| error.to_string())?;
        Ok(Some(Report {
            matched: report.matched as u64,
            accepted: report.accepted as u64,
            dropped: report.dropped as u64,
            lagged: report.lagged as u64,
            failed: report.failed as u64,
        }))
    }

    fn close_by_identity(&self, identity: &Identity) -> usize {
        SubscriberRegistry::close_by_identity(self, &identity.into())
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn begin(&self) -> Option<Arc<dyn Ticket>> {
        Some(Arc::new(Admission(Mutex::new(Some(SubscriberRegistry::begin(self))))))
    }

    fn shutdown(&self) {
        self.begin_shutdown();
    }
}

impl Handle for Subscription {
    fn unsubscribe(&self) {
        Subscription::unsubscribe(self);
    }
}

/// A ticket is used up by value; what is asked of it afterwards is refused here, as the compiler would.
struct Admission(Mutex<Option<registry_core::Ticket<String>>>);

impl Admission {
    fn take(&self) -> Option<registry_core::Ticket<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Ticket for Admission {
    fn admit(&self, sink: Probe, with: &Registration) -> Result<Arc<dyn Handle>, Refused> {
        let ticket = self.take().ok_or(Refused)?;
        ticket.admit(sink, registration(with)).map(|made| Arc::new(made) as Arc<dyn Handle>).map_err(|_| Refused)
    }

    fn abandon(&self) {
        drop(self.take());
    }
}
