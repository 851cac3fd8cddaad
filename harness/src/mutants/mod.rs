//! The mutants: registries that are wrong in one way each, registries that are right in unusual
//! ways.
//!
//! They test the suite itself. If it does not reject a mutant *for the requirement that the mutant
//! breaks*, it is blind there; if it rejects a legal variant, it demands more than the text.

mod address;
mod admit;
mod gate;
mod handles;
mod list;
mod matching;
mod outbox;
mod revoke;
mod sample;
mod subject;
mod threads;
mod variants;

use std::sync::Arc;

pub use list::{Bug, MUTANTS, Mutant};
use sample::{SampleRegistry, SharedQueue};
pub use variants::{VARIANTS, Variant, Variety};

use crate::protocol::{Delivery, EmptyChannels, FullScope, Hello, Order, Policies, SendFailure};
use crate::subject::{Factory, Subject};

/// What all samples claim.
#[must_use]
pub fn hello() -> Hello {
    let mut hello = Hello::new(
        "specimen",
        &["core", "scope_cap", "admission", "directed", "queued", "threads"],
        &["count", "groups", "kinds", "exact", "reasons", "revoke_as", "shutdown"],
    );
    hello.policies.order = Order::Total;
    hello.language = "rust".into();
    hello
}

/// The right registry.
#[must_use]
pub fn sound() -> Factory {
    build(Twist::default())
}

/// A wrong one.
#[must_use]
pub fn mutant(bug: Bug) -> Factory {
    build(Twist { bug: Some(bug), ..Twist::default() })
}

/// A right one that differs, and what it declares.
#[must_use]
pub fn variant(variety: Variety) -> (Hello, Factory) {
    let mut hello = hello();
    let policies = &mut hello.policies;
    match variety {
        Variety::KeepsFailing => policies.send_failure = SendFailure::Keep,
        Variety::DropsFailing => policies.send_failure = SendFailure::Drop,
        Variety::DeliversInnerFirst | Variety::DeclaresLess => {
            policies.order = Order::PerSubscriber
        }
        Variety::RefusesWhenFull => policies.full_scope = FullScope::RefuseNew,
        Variety::HearsNothing => policies.empty_channels = EmptyChannels::None,
        Variety::Asynchronous | Variety::SendsAtOnceLater => policies.delivery = Delivery::Async,
        Variety::DeclaresOtherwise => {
            (policies.delivery, policies.send_failure) = (Delivery::Async, SendFailure::Keep);
            policies.order = Order::PerSubscriber;
            policies.empty_channels = EmptyChannels::None;
            policies.full_scope = FullScope::RefuseNew;
        }
        Variety::Reports => drop(hello.features.insert("report".into())),
        _ => {}
    }
    // What a name says that it does not claim.
    let lacks = match variety {
        Variety::GivesNoReasons => "reasons revoke_as".to_owned(),
        // What it sends to an identity would come before the message that is being delivered.
        Variety::DeliversInnerFirst => "directed".to_owned(),
        _ => format!("{variety:?}").replace("ClaimsNo", "").to_lowercase(),
    };
    let only_core = variety == Variety::ClaimsOnlyCore;
    let claims = |name: &String| !only_core && !lacks.split(' ').any(|lack| lack == name);
    hello.profiles.retain(claims);
    hello.features.retain(claims);
    let policies = hello.policies;
    (hello, build(Twist { bug: None, variety: Some(variety), policies }))
}

/// In what a sample differs from the plain right registry.
#[derive(Debug, Clone, Copy, Default)]
struct Twist {
    bug: Option<Bug>,
    variety: Option<Variety>,
    policies: Policies,
}

impl Twist {
    fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn is(self, variety: Variety) -> bool {
        self.variety == Some(variety)
    }
}

fn build(twist: Twist) -> Factory {
    let shared: std::sync::Mutex<Option<SampleRegistry>> = std::sync::Mutex::new(None);
    let shared_queue = twist.has(Bug::OneQueueForAll).then(Arc::<SharedQueue>::default);
    Arc::new(move |cap| {
        if cap == Some(0) && !twist.has(Bug::CapOfZero) {
            return None;
        }
        let fresh = SampleRegistry::new(cap.map(|cap| cap as usize), twist, shared_queue.clone());
        if twist.has(Bug::OneTableForAll) {
            // All registries of one script share a table; the next script is known by the table
            // having been dropped.
            let mut shared = shared.lock().ok()?;
            if let Some(sample) = shared.as_ref().filter(|sample| sample.in_use()) {
                return Some(Arc::new(sample.clone()) as Arc<dyn Subject>);
            }
            *shared = Some(fresh.clone());
        }
        Some(Arc::new(fresh))
    })
}
