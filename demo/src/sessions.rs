//! Accounts and sessions, in memory.
//!
//! A session has a public id, which names it everywhere, and a token, which only its client knows: the id, a dot and a
//! random secret. The id finds the session and the secret is compared without telling where it differs, so neither step
//! helps someone who guesses.

use crate::secret::Secret;
use registry_core::{ChannelFilter, Identity};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bounds what a client that only signs in can make the server keep: about 30 MB.
const MAX_SESSIONS: usize = 100_000;

/// One login of one account.
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) account: String,
    /// What it may hear.
    pub(crate) channels: ChannelFilter,
    secret: Secret,
}

impl Session {
    /// Returns the credential that the client presents from now on.
    pub(crate) fn token(&self) -> String {
        format!("{}.{}", self.id, self.secret.reveal())
    }

    pub(crate) fn identity(&self) -> Identity {
        session_identity(&self.id)
    }

    pub(crate) fn account_identity(&self) -> Identity {
        account_identity(&self.account)
    }
}

/// What the streams of one session hold.
pub(crate) fn session_identity(id: &str) -> Identity {
    Identity::new("session", id)
}

/// What the streams of all sessions of an account hold.
pub(crate) fn account_identity(account: &str) -> Identity {
    Identity::new("account", account)
}

/// Why nobody could be signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignInError {
    Full,
    NoRandomness,
}

/// Every session there is.
#[derive(Default)]
pub(crate) struct Sessions {
    store: Mutex<Store>,
}

/// Invariant: `accounts` names exactly the accounts and ids that `sessions` holds.
#[derive(Default)]
struct Store {
    sessions: HashMap<String, Arc<Session>>,
    accounts: HashMap<String, HashSet<String>>,
}

impl Sessions {
    /// Begins a session, with a fresh token.
    pub(crate) fn sign_in(&self, account: String, channels: ChannelFilter) -> Result<Arc<Session>, SignInError> {
        let secret = Secret::random().map_err(|_| SignInError::NoRandomness)?;
        let mut store = self.lock();
        if store.sessions.len() >= MAX_SESSIONS {
            return Err(SignInError::Full);
        }
        let id = loop {
            let id = format!("{:016x}", getrandom::u64().map_err(|_| SignInError::NoRandomness)?);
            if !store.sessions.contains_key(&id) {
                break id;
            }
        };
        let session = Arc::new(Session { id, account, channels, secret });
        store.accounts.entry(session.account.clone()).or_default().insert(session.id.clone());
        store.sessions.insert(session.id.clone(), session.clone());
        Ok(session)
    }

    /// Finds the session of a token, if it has not ended.
    pub(crate) fn find(&self, token: &str) -> Option<Arc<Session>> {
        let (id, secret) = token.split_once('.')?;
        let session = self.lock().sessions.get(id)?.clone();
        session.secret.is(secret).then_some(session)
    }

    /// Ends one session: its token is dead when this returns.
    pub(crate) fn end(&self, id: &str) {
        let mut store = self.lock();
        let Some(session) = store.sessions.remove(id) else { return };
        if let Some(ids) = store.accounts.get_mut(&session.account) {
            ids.remove(id);
            if ids.is_empty() {
                store.accounts.remove(&session.account);
            }
        }
    }

    /// Ends every session of an account: their tokens are dead when this returns.
    pub(crate) fn end_account(&self, account: &str) {
        let mut store = self.lock();
        for id in store.accounts.remove(account).unwrap_or_default() {
            store.sessions.remove(&id);
        }
    }

    /// Counts sessions, and the accounts they belong to.
    pub(crate) fn count(&self) -> (usize, usize) {
        let store = self.lock();
        (store.sessions.len(), store.accounts.len())
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // Nothing panics between two changes that belong together.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_in(sessions: &Sessions, account: &str) -> Arc<Session> {
        sessions.sign_in(account.into(), ChannelFilter::All).unwrap()
    }

    #[test]
    fn a_token_is_fresh_and_finds_its_own_session() {
        let sessions = Sessions::default();
        let (one, two) = (sign_in(&sessions, "ada"), sign_in(&sessions, "ada"));
        assert_ne!(one.token(), two.token());
        assert_eq!(sessions.find(&one.token()).unwrap().id, one.id);
        assert_eq!(sessions.find(&two.token()).unwrap().id, two.id);
        let mixed = format!("{}.{}", one.id, two.secret.reveal());
        for wrong in ["", ".", &one.id, &format!("{}.", one.id), &mixed, &format!("{}0", one.token())] {
            assert!(sessions.find(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn ending_takes_exactly_what_was_named() {
        let sessions = Sessions::default();
        let (ada, too, grace) = (sign_in(&sessions, "ada"), sign_in(&sessions, "ada"), sign_in(&sessions, "grace"));
        assert_eq!(sessions.count(), (3, 2));
        sessions.end(&ada.id);
        sessions.end(&ada.id);
        assert!(sessions.find(&ada.token()).is_none() && sessions.find(&too.token()).is_some());
        sessions.end_account("ada");
        sessions.end_account("nobody");
        assert!(sessions.find(&too.token()).is_none() && sessions.find(&grace.token()).is_some());
        assert_eq!(sessions.count(), (1, 1));
        sessions.end(&grace.id);
        assert_eq!(sessions.count(), (0, 0));
    }
}
