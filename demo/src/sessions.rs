//! Accounts and sessions, in memory.
//!
//! A session has a public id, which names it everywhere, and a token, which only its client knows:
//! the id, a dot and a random secret. The id finds the session. The secret is compared in constant
//! time. So neither step helps a client that guesses.
//!
//! Clients that only sign in cannot make the server keep more and more: the number of sessions is
//! bounded, so are the bytes of the lists of what they may hear, and each session expires. Time is
//! an input of every call. A session that has expired is not found any more, and the next call of
//! any kind removes it.

use crate::budget::{Budget, Held};
use crate::secret::Secret;
use registry_core::{ChannelFilter, Identity};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The bytes that the lists of all sessions may take together: some 900 of the longest, or 47,000
/// of ten short names.
const MAX_LIST_BYTES: usize = 32 << 20;

/// The bytes that a name in a list takes at most, beside its own and a quarter of them.
const NAME_BYTES: usize = 64;

/// The longest lifetime: far beyond any use, and no clock overflows.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The public name of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id(u64);

impl Id {
    /// Reads an id as it is written, and in no other spelling.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let id = Self(u64::from_str_radix(text, 16).ok()?);
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One login of one account.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: Id,
    pub(crate) account: Arc<str>,
    /// When it expires.
    pub(crate) expires: Instant,
    /// The channels that it may hear; all where there is no list.
    list: Option<Arc<List>>,
    secret: Secret,
}

/// Sessions whose list was set in one call share it.
#[derive(Debug)]
struct List {
    channels: ChannelFilter,
    _held: Held,
}

impl Session {
    /// Returns the credential that the client presents from now on.
    pub(crate) fn token(&self) -> String {
        format!("{}.{}", self.id, self.secret.reveal())
    }

    /// Returns what it may hear.
    pub(crate) fn channels(&self) -> ChannelFilter {
        self.list.as_ref().map_or(ChannelFilter::All, |list| list.channels.clone())
    }

    pub(crate) fn identity(&self) -> Identity {
        session_identity(self.id)
    }

    pub(crate) fn account_identity(&self) -> Identity {
        account_identity(&self.account)
    }
}

/// The identity that the streams of one session hold.
pub(crate) fn session_identity(id: Id) -> Identity {
    Identity::new("session", id.to_string())
}

/// The identity that the streams of all sessions of an account hold.
pub(crate) fn account_identity(account: &str) -> Identity {
    Identity::new("account", account)
}

/// Why a call could not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Sessions,
    Lists,
    NoRandomness,
}

/// Every session there is.
pub(crate) struct Sessions {
    /// How many there may be. With the longest names of accounts, 100,000 take 50 MiB.
    most: usize,
    lifetime: Duration,
    lists: Arc<Budget>,
    store: Mutex<Store>,
}

/// Invariant: the indexes name exactly the sessions there are, and `account_count` counts the
/// accounts among them.
#[derive(Default)]
struct Store {
    sessions: HashMap<Id, Session>,
    of_accounts: BTreeSet<(Arc<str>, Id)>,
    account_count: usize,
    ends: BTreeSet<(Instant, Id)>,
}

impl Sessions {
    /// Keeps so many sessions at most, each for so long.
    pub(crate) fn new(most: usize, lifetime: Duration) -> Self {
        let lists = Budget::new(MAX_LIST_BYTES);
        Self { most, lifetime: lifetime.min(LONGEST), lists, store: Mutex::default() }
    }

    /// Begins a session, with a new token.
    pub(crate) fn sign_in(
        &self,
        now: Instant,
        account: &str,
        channels: ChannelFilter,
    ) -> Result<Session, Full> {
        let secret = Secret::random().map_err(|_| Full::NoRandomness)?;
        let list = self.list(channels)?;
        let mut store = self.lock(now);
        if store.sessions.len() >= self.most {
            return Err(Full::Sessions);
        }
        let id = loop {
            let id = Id(getrandom::u64().map_err(|_| Full::NoRandomness)?);
            if !store.sessions.contains_key(&id) {
                break id;
            }
        };
        let account = store.account(account);
        let session = Session { id, account, expires: now + self.lifetime, list, secret };
        store.insert(session.clone());
        Ok(session)
    }

    /// Finds the session of a token, if it has not ended.
    pub(crate) fn find(&self, now: Instant, token: &str) -> Option<Session> {
        let (id, secret) = token.split_once('.')?;
        let session = self.lock(now).sessions.get(&Id::parse(id)?)?.clone();
        session.secret.is(secret).then_some(session)
    }

    /// Sets what every session that the account now has may hear, from now on.
    pub(crate) fn set_channels(
        &self,
        now: Instant,
        account: &str,
        channels: ChannelFilter,
    ) -> Result<(), Full> {
        let mut store = self.lock(now);
        let ids = store.ids(account);
        if ids.is_empty() {
            return Ok(());
        }
        let list = self.list(channels)?;
        for id in ids {
            if let Some(session) = store.sessions.get_mut(&id) {
                session.list.clone_from(&list);
            }
        }
        Ok(())
    }

    /// Ends one session: its token is dead when this returns.
    pub(crate) fn end(&self, now: Instant, id: Id) {
        self.lock(now).remove(id);
    }

    /// Ends every session of an account: their tokens are dead when this returns.
    pub(crate) fn end_account(&self, now: Instant, account: &str) {
        let mut store = self.lock(now);
        for id in store.ids(account) {
            store.remove(id);
        }
    }

    /// Counts sessions, and the accounts they belong to.
    pub(crate) fn count(&self, now: Instant) -> (usize, usize) {
        let store = self.lock(now);
        (store.sessions.len(), store.account_count)
    }

    /// Makes the list of a session, if there is room for it. An empty list needs no room, and
    /// neither does *everything*.
    fn list(&self, channels: ChannelFilter) -> Result<Option<Arc<List>>, Full> {
        let ChannelFilter::Only(names) = &channels else { return Ok(None) };
        let mut held = self.lists.hold();
        let bytes = names.iter().map(|name| name.as_str().len() * 5 / 4 + NAME_BYTES).sum();
        if !held.grow(bytes) {
            return Err(Full::Lists);
        }
        Ok(Some(Arc::new(List { channels, _held: held })))
    }

    /// Removes the sessions that have expired, and locks the store.
    fn lock(&self, now: Instant) -> MutexGuard<'_, Store> {
        // Nothing panics between two changes that belong together.
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(&(expires, id)) = store.ends.first()
            && expires <= now
        {
            store.ends.pop_first();
            store.remove(id);
        }
        store
    }
}

impl Store {
    /// Returns the name of an account, the one that its sessions share if it has any.
    fn account(&self, account: &str) -> Arc<str> {
        let account = Arc::from(account);
        let named = self.of_accounts.range(all_of(&account)).next().map(|(name, _)| name.clone());
        named.unwrap_or(account)
    }

    /// Returns the sessions of an account.
    fn ids(&self, account: &str) -> Vec<Id> {
        self.of_accounts.range(all_of(&account.into())).map(|(_, id)| *id).collect()
    }

    fn has(&self, account: &Arc<str>) -> bool {
        self.of_accounts.range(all_of(account)).next().is_some()
    }

    fn insert(&mut self, session: Session) {
        self.account_count += usize::from(!self.has(&session.account));
        self.of_accounts.insert((session.account.clone(), session.id));
        self.ends.insert((session.expires, session.id));
        self.sessions.insert(session.id, session);
    }

    fn remove(&mut self, id: Id) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.ends.remove(&(session.expires, id));
        self.of_accounts.remove(&(session.account.clone(), id));
        self.account_count -= usize::from(!self.has(&session.account));
    }
}

fn all_of(account: &Arc<str>) -> RangeInclusive<(Arc<str>, Id)> {
    (account.clone(), Id(u64::MIN))..=(account.clone(), Id(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn sessions() -> Sessions {
        Sessions::new(100, DAY)
    }

    fn sign_in(sessions: &Sessions, now: Instant, account: &str) -> Session {
        sessions.sign_in(now, account, ChannelFilter::All).unwrap()
    }

    /// The sizes of the store and its indexes.
    fn left(sessions: &Sessions) -> [usize; 3] {
        let store = sessions.store.lock().unwrap();
        [store.sessions.len(), store.of_accounts.len(), store.ends.len()]
    }

    #[test]
    fn a_token_is_new_and_finds_its_own_session() {
        let (sessions, now) = (sessions(), Instant::now());
        let (one, two) = (sign_in(&sessions, now, "ada"), sign_in(&sessions, now, "ada"));
        assert_ne!(one.token(), two.token());
        assert_eq!(sessions.find(now, &one.token()).unwrap().id, one.id);
        assert_eq!(sessions.find(now, &two.token()).unwrap().id, two.id);
        let mixed = format!("{}.{}", one.id, two.secret.reveal());
        for wrong in [
            "",
            ".",
            &one.id.to_string(),
            &format!("{}.", one.id),
            &mixed,
            &format!("{}0", one.token()),
        ] {
            assert!(sessions.find(now, wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        assert_eq!(Id::parse("00000000000000ab"), Some(Id(0xab)));
        for other in [
            "",
            "ab",
            "00000000000000AB",
            "+0000000000000ab",
            "000000000000000ab",
            "00000000000000xy",
            " 0",
        ] {
            assert_eq!(Id::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_call_ends_exactly_the_sessions_that_it_names() {
        let (sessions, now) = (sessions(), Instant::now());
        let [ada, too, grace, longer] =
            ["ada", "ada", "grace", "ada "].map(|name| sign_in(&sessions, now, name));
        assert_eq!(sessions.count(now), (4, 3));
        sessions.end(now, ada.id);
        sessions.end(now, ada.id);
        assert_eq!(sessions.count(now), (3, 3));
        assert!(
            sessions.find(now, &ada.token()).is_none()
                && sessions.find(now, &too.token()).is_some()
        );
        sessions.end_account(now, "ada");
        sessions.end_account(now, "nobody");
        assert!(sessions.find(now, &too.token()).is_none());
        assert!(
            sessions.find(now, &grace.token()).is_some()
                && sessions.find(now, &longer.token()).is_some()
        );
        assert_eq!(sessions.count(now), (2, 2));
        sessions.end(now, grace.id);
        sessions.end_account(now, &longer.account);
        assert_eq!(
            (sessions.count(now), left(&sessions)),
            ((0, 0), [0; 3]),
            "long before they would have expired"
        );
    }

    #[test]
    fn a_session_expires_at_its_time_and_leaves_nothing() {
        let (sessions, begun) = (sessions(), Instant::now());
        let ada = sign_in(&sessions, begun, "ada");
        let later = begun + DAY / 2;
        let grace = sign_in(&sessions, later, "grace");
        assert_eq!((ada.expires, grace.expires), (begun + DAY, later + DAY));

        let just_before = begun + DAY - Duration::from_nanos(1);
        assert!(
            sessions.find(just_before, &ada.token()).is_some(),
            "use does not matter, and does not shorten"
        );
        assert_eq!(sessions.count(just_before), (2, 2));
        assert!(sessions.find(begun + DAY, &ada.token()).is_none());
        assert_eq!(sessions.count(begun + DAY), (1, 1));
        assert_eq!(sessions.count(later + DAY), (0, 0));
        assert_eq!(left(&sessions), [0; 3]);
    }

    #[test]
    fn one_session_too_many_is_refused_until_one_ends_or_expires() {
        let (sessions, now) = (Sessions::new(2, DAY), Instant::now());
        let attempt =
            |now| sessions.sign_in(now, "ada", ChannelFilter::All).map(|session| session.id);
        let first = attempt(now).unwrap();
        attempt(now + DAY / 2).unwrap();
        assert_eq!(attempt(now + DAY / 2), Err(Full::Sessions));
        sessions.end(now, first);
        attempt(now + DAY).unwrap();
        assert_eq!(attempt(now + DAY), Err(Full::Sessions));
        attempt(now + DAY / 2 + DAY).unwrap();
        assert_eq!(
            Sessions::new(1, Duration::MAX)
                .sign_in(now, "ada", ChannelFilter::All)
                .unwrap()
                .expires,
            now + LONGEST
        );
    }

    #[test]
    fn setting_channels_replaces_those_of_every_session_that_the_account_has() {
        let (sessions, now) = (sessions(), Instant::now());
        let hears = |session: &Session| sessions.find(now, &session.token()).unwrap().channels();
        let before = ChannelFilter::only(["jobs"]);
        let (one, two) =
            (sessions.sign_in(now, "ada", before).unwrap(), sign_in(&sessions, now, "ada"));
        let other = sign_in(&sessions, now, "grace");
        let runs = ChannelFilter::only(["runs"]);
        for set in [runs.clone(), ChannelFilter::only::<&str>([]), ChannelFilter::All, runs] {
            sessions.set_channels(now, "ada", set.clone()).unwrap();
            assert_eq!(
                (hears(&one), hears(&two), hears(&other)),
                (set.clone(), set, ChannelFilter::All)
            );
        }
        assert_eq!(
            hears(&sign_in(&sessions, now, "ada")),
            ChannelFilter::All,
            "a later sign-in has what it asks for"
        );
        sessions.set_channels(now, "nobody", ChannelFilter::All).unwrap();
        assert_eq!(sessions.count(now), (4, 2));
    }

    #[test]
    fn lists_have_a_bound_together_and_hearing_nothing_needs_no_room() {
        let now = Instant::now();
        // Room for two lists of one name of four bytes.
        let mut sessions = sessions();
        sessions.lists = Budget::new(2 * (5 + NAME_BYTES));
        let list = |name: &str| ChannelFilter::only([name]);
        let one = sessions.sign_in(now, "ada", list("runs")).unwrap();
        sessions.sign_in(now, "ada", list("jobs")).unwrap();
        assert_eq!(sessions.sign_in(now, "ada", list("more")).unwrap_err(), Full::Lists);
        assert_eq!(sessions.set_channels(now, "ada", list("more")), Err(Full::Lists));
        assert_eq!(
            sessions.find(now, &one.token()).unwrap().channels(),
            list("runs"),
            "nothing was changed"
        );
        assert_eq!(
            sessions.set_channels(now, "nobody", list("more")),
            Ok(()),
            "nothing is to be kept"
        );
        sessions.sign_in(now, "ada", ChannelFilter::All).unwrap();

        // Hearing nothing takes no room, and makes some; however many sessions have a list, it is
        // one.
        sessions.set_channels(now, "ada", ChannelFilter::only::<&str>([])).unwrap();
        drop(one);
        sessions.set_channels(now, "ada", list("more")).unwrap();
        sessions.sign_in(now, "grace", list("runs")).unwrap();
        assert_eq!(sessions.sign_in(now, "grace", list("jobs")).unwrap_err(), Full::Lists);
        sessions.end_account(now, "ada");
        sessions.sign_in(now, "grace", list("jobs")).unwrap();
    }
}
