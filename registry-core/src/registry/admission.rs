//! Open tickets and remembered revocations. They close the race between a login check and the
//! subscription that follows it.
//!
//! A ticket is drawn before the credential is read. While any ticket is open, revocations are
//! remembered; an admission is refused when one of its identities was revoked after its ticket was
//! drawn (ADM-1). Pure state: time is an input.
//!
//! Invariants: nothing is remembered while no ticket is open; at most `limit` revocations are
//! remembered, and a ticket older than a revocation that was forgotten is refused (ADM-6).

use crate::types::error::AdmitError;
use crate::types::identity::Identity;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// The number of a ticket; later tickets have greater numbers.
pub(crate) type TicketNo = u64;

pub(crate) struct Admission {
    lifetime: Duration,
    limit: usize,
    drawn: TicketNo,
    revocations: u64,
    /// Open tickets in the order in which they were drawn, which is the order in which they expire.
    open: BTreeMap<TicketNo, Open>,
    /// Remembered revocations by number, oldest first.
    log: VecDeque<(u64, Identity)>,
    /// The latest remembered revocation of each identity.
    latest: HashMap<Identity, u64>,
    /// The greatest number that was forgotten while a ticket was open.
    forgotten: u64,
}

#[derive(Clone, Copy)]
struct Open {
    /// The number of the last revocation before the ticket.
    born: u64,
    /// `None` if the clock cannot represent the moment.
    expires: Option<Instant>,
}

impl Admission {
    pub(crate) fn new(lifetime: Duration, limit: usize) -> Self {
        Self {
            lifetime,
            limit,
            drawn: 0,
            revocations: 0,
            open: BTreeMap::new(),
            log: VecDeque::new(),
            latest: HashMap::new(),
            forgotten: 0,
        }
    }

    pub(crate) fn draw(&mut self, now: Instant) -> TicketNo {
        self.expire(now);
        self.drawn += 1;
        self.open.insert(
            self.drawn,
            Open { born: self.revocations, expires: now.checked_add(self.lifetime) },
        );
        self.drawn
    }

    /// Remembers a revocation, if a ticket is open that it could concern.
    pub(crate) fn revoked(&mut self, identity: &Identity, now: Instant) {
        self.expire(now);
        if self.open.is_empty() {
            return;
        }
        self.revocations += 1;
        self.latest.insert(identity.clone(), self.revocations);
        self.log.push_back((self.revocations, identity.clone()));
        while self.log.len() > self.limit {
            self.forgotten = self.forget_oldest();
        }
    }

    /// Uses the ticket up, and tells whether it admits a subscriber with these identities.
    pub(crate) fn redeem<'a>(
        &mut self,
        ticket: TicketNo,
        identities: impl IntoIterator<Item = &'a Identity>,
        now: Instant,
    ) -> Result<(), AdmitError> {
        self.expire(now);
        let Some(open) = self.open.get(&ticket).copied() else { return Err(AdmitError::Expired) };
        let revoked = identities.into_iter().any(|identity| {
            self.latest.get(identity).is_some_and(|revocation| *revocation > open.born)
        });
        self.free(ticket);
        if revoked {
            Err(AdmitError::Revoked)
        } else if open.born < self.forgotten {
            Err(AdmitError::Forgotten)
        } else {
            Ok(())
        }
    }

    /// Frees a ticket.
    pub(crate) fn free(&mut self, ticket: TicketNo) {
        self.open.remove(&ticket);
        self.prune();
    }

    pub(crate) fn open_tickets(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn remembered(&self) -> usize {
        self.log.len()
    }

    fn expire(&mut self, now: Instant) {
        while self
            .open
            .first_entry()
            .is_some_and(|first| first.get().expires.is_some_and(|at| at <= now))
        {
            self.open.pop_first();
        }
        self.prune();
    }

    /// Forgets the revocations that came before every open ticket.
    fn prune(&mut self) {
        match self.open.first_key_value().map(|(_, oldest)| oldest.born) {
            Some(born) => {
                while self.log.front().is_some_and(|(number, _)| *number <= born) {
                    self.forget_oldest();
                }
            }
            None => {
                self.log = VecDeque::new();
                self.latest = HashMap::new();
            }
        }
    }

    fn forget_oldest(&mut self) -> u64 {
        let Some((number, identity)) = self.log.pop_front() else { return 0 };
        if self.latest.get(&identity) == Some(&number) {
            self.latest.remove(&identity);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};

    fn id(value: &str) -> Identity {
        Identity::untyped(value)
    }

    #[test]
    fn adm_6_remembered_revocations_are_bounded_and_forgetting_one_refuses_older_tickets() {
        let now = SystemClock.now();
        let mut admission = Admission::new(Duration::from_secs(10), 3);
        let old = admission.draw(now);
        for value in ["a", "b", "c", "d"] {
            admission.revoked(&id(value), now);
            assert!(admission.remembered() <= 3 && admission.latest.len() <= 3);
        }
        let young = admission.draw(now);
        assert_eq!(admission.redeem(old, [&id("untouched")], now), Err(AdmitError::Forgotten));
        assert_eq!(admission.redeem(young, [&id("a"), &id("d")], now), Ok(()));
        assert_eq!(
            (admission.open_tickets(), admission.remembered(), admission.latest.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn adm_6_as_many_as_the_limit_are_remembered() {
        let now = SystemClock.now();
        let mut admission = Admission::new(Duration::from_secs(10), 3);
        let ticket = admission.draw(now);
        for value in ["a", "b", "c"] {
            admission.revoked(&id(value), now);
        }
        assert_eq!(
            (admission.remembered(), admission.redeem(ticket, [&id("untouched")], now)),
            (3, Ok(()))
        );
    }

    #[test]
    fn adm_6_the_same_identity_revoked_over_and_over_stays_within_the_bound() {
        let now = SystemClock.now();
        let mut admission = Admission::new(Duration::from_secs(10), 3);
        let ticket = admission.draw(now);
        for _ in 0..10 {
            admission.revoked(&id("a"), now);
            assert!(admission.remembered() <= 3);
        }
        assert_eq!(admission.redeem(ticket, [&id("a")], now), Err(AdmitError::Revoked));
    }

    #[test]
    fn adm_1_every_identity_is_compared_with_revocations_after_the_ticket_only() {
        let now = SystemClock.now();
        let mut admission = Admission::new(Duration::from_secs(10), 9);
        let held = ["a", "b", "c", "d"].map(id);
        for revoked in &held {
            let before = admission.draw(now);
            admission.revoked(revoked, now);
            let after = admission.draw(now);
            assert_eq!(admission.redeem(after, &held, now), Ok(()));
            assert_eq!(admission.redeem(before, &held, now), Err(AdmitError::Revoked));
        }
    }

    #[test]
    fn adm_6_only_revocations_before_the_oldest_ticket_are_forgotten() {
        let now = SystemClock.now();
        let mut admission = Admission::new(Duration::from_secs(10), 9);
        let oldest = admission.draw(now);
        admission.revoked(&id("a"), now);
        let middle = admission.draw(now);
        admission.revoked(&id("b"), now);
        let youngest = admission.draw(now);
        admission.free(youngest);
        assert_eq!(
            (admission.remembered(), admission.latest.len()),
            (2, 2),
            "the youngest decides nothing"
        );
        assert_eq!(admission.redeem(oldest, [&id("a")], now), Err(AdmitError::Revoked));
        assert_eq!((admission.remembered(), admission.latest.len()), (1, 1));
        assert_eq!(admission.redeem(middle, [&id("a"), &id("b")], now), Err(AdmitError::Revoked));
        assert_eq!((admission.remembered(), admission.latest.len()), (0, 0));
    }

    #[test]
    fn adm_6_forgetting_an_older_revocation_of_an_identity_keeps_the_later_one() {
        let now = SystemClock.now();
        let mut admission = Admission::new(Duration::from_secs(10), 9);
        let first = admission.draw(now);
        admission.revoked(&id("a"), now);
        let second = admission.draw(now);
        admission.revoked(&id("a"), now);
        admission.free(first);
        assert_eq!((admission.remembered(), admission.latest.len()), (1, 1));
        assert_eq!(admission.redeem(second, [&id("a")], now), Err(AdmitError::Revoked));
    }

    #[test]
    fn adm_6_revocations_that_only_an_expired_ticket_needed_are_forgotten() {
        let now = SystemClock.now();
        let mut admission = Admission::new(Duration::from_secs(10), 9);
        admission.draw(now);
        admission.revoked(&id("a"), now);
        let young = admission.draw(now + Duration::from_secs(5));
        admission.revoked(&id("b"), now + Duration::from_secs(5));
        assert_eq!(admission.remembered(), 2);
        assert_eq!(
            admission.redeem(young, [&id("a"), &id("c")], now + Duration::from_secs(11)),
            Ok(())
        );
        assert_eq!((admission.open_tickets(), admission.remembered()), (0, 0));
    }

    #[test]
    fn adm_6_expired_tickets_that_were_not_dropped_are_freed_when_others_are_drawn() {
        let now = SystemClock.now();
        let mut admission = Admission::new(Duration::from_secs(10), 9);
        for second in 0..3 {
            admission.draw(now + Duration::from_secs(second));
        }
        admission.draw(now + Duration::from_secs(11));
        assert_eq!(admission.open_tickets(), 2, "the third, and the one that has just begun");
    }

    #[test]
    fn adm_6_an_expired_ticket_keeps_no_revocation_remembered() {
        let now = SystemClock.now();
        let mut admission = Admission::new(Duration::from_secs(10), 3);
        let ticket = admission.draw(now);
        admission.revoked(&id("a"), now + Duration::from_secs(9));
        assert_eq!(admission.remembered(), 1);
        let later = now + Duration::from_secs(10);
        admission.revoked(&id("b"), later);
        assert_eq!(admission.remembered(), 0);
        assert_eq!(admission.redeem(ticket, [&id("c")], later), Err(AdmitError::Expired));
    }
}
