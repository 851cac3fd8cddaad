//! A login check that tests steer.

use crate::admission::authorise::Authorise;
use crate::admission::grant::Grant;
use crate::admission::refusal::Refusal;
use async_trait::async_trait;
use axum::http::request::Parts;
use registry_core::{ChannelFilter, Identity, Registration};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Runs at each look at a credential, with the number of the look, from 1.
type Hook = Arc<dyn Fn(usize) + Send + Sync>;

/// Tokens and their grants: `?token=…` is the credential.
#[derive(Clone, Default)]
pub struct Tokens {
    grants: Arc<Mutex<HashMap<String, Grant>>>,
    looks: Arc<AtomicUsize>,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl Tokens {
    /// Makes one token for each name; the account and the session have that name too.
    pub fn of(names: &[&str]) -> Self {
        let tokens = Self::default();
        for name in names {
            tokens.grant(name, grant(name, ChannelFilter::All));
        }
        tokens
    }

    /// Makes or replaces a token.
    pub fn grant(&self, token: &str, grant: Grant) {
        self.grants.lock().unwrap().insert(token.to_owned(), grant);
    }

    /// Removes a token.
    pub fn remove(&self, token: &str) {
        self.grants.lock().unwrap().remove(token);
    }

    /// Returns how many times a credential was looked up.
    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    /// Runs `hook` after each look at the credential and before the admission.
    pub fn after_look(&self, hook: impl Fn(usize) + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Some(Arc::new(hook));
    }
}

/// Returns a grant of these channels to the session and the account of this name.
pub fn grant(name: &str, channels: ChannelFilter) -> Grant {
    Grant::new(channels).with_scope(Identity::new("session", name)).with_group(account(name))
}

/// Returns the account of this name.
pub fn account(name: &str) -> Identity {
    Identity::new("account", name)
}

#[async_trait]
impl Authorise for Tokens {
    async fn authorise(&self, request: &Parts) -> Result<Grant, Refusal> {
        let query = request.uri.query().unwrap_or_default();
        let token =
            query.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or_default();
        let found = self.grants.lock().unwrap().get(token).cloned();
        let look = self.looks.fetch_add(1, Ordering::SeqCst) + 1;
        let hook = self.hook.lock().unwrap().clone(); // a panicking hook must not poison the lock
        if let Some(hook) = hook {
            hook(look);
        }
        found.ok_or_else(|| Refusal::unauthenticated("sign in first"))
    }
}

/// Grants every request what one registration of the sink suite asks for.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "tests write it")]
pub struct AsRegistered(pub Registration);

#[async_trait]
impl Authorise for AsRegistered {
    async fn authorise(&self, _: &Parts) -> Result<Grant, Refusal> {
        Ok(self.0.clone().into())
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("grants", &self.grants)
            .field("looks", &self.looks)
            .finish_non_exhaustive()
    }
}
