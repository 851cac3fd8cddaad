//! ADM: no revocation between a login check and the subscription is missed.

use crate::kit::*;
use registry_core::{
    AdmitError, CloseReason, ManualClock, Outbox, OutboxOptions, Registration, RegistryOptions,
    ScopeCap, SubscribeError, WhenFull,
};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn adm_1_a_revocation_between_draw_and_admit_refuses() {
    let registry = Registry::new();
    let ticket = registry.draw_ticket();
    assert_eq!(registry.close_by_identity(id("ada")), 0);
    let probe = Probe::new();
    assert_eq!(ticket.admit(probe.clone(), group("ada")).unwrap_err(), AdmitError::Revoked);

    let ticket = registry.draw_ticket();
    registry.close_by_identity(id("ada"));
    assert_eq!(
        ticket.admit(probe, scope("ada")).unwrap_err(),
        AdmitError::Revoked,
        "a scope counts too"
    );
}

#[test]
fn adm_1_a_revocation_of_any_identity_refuses_however_many_there_are() {
    let registry = encoding();
    let names = ["scope", "first", "second", "third", "last"];
    let registration =
        || names[1..].iter().fold(scope(names[0]), |all, name| all.with_group(id(name)));
    let held: Vec<_> = registration().identities().cloned().collect();
    assert_eq!(held, names.map(id), "the scope, then the groups");
    for name in names {
        let (of_a_sink, of_an_outbox) = (registry.draw_ticket(), registry.draw_ticket());
        assert_eq!(registry.close_by_identity(id(name)), 0);
        assert_eq!(
            of_a_sink.admit(Probe::new(), registration()).unwrap_err(),
            AdmitError::Revoked,
            "{name}"
        );
        let refused = of_an_outbox.admit_outbox(&RAW, OutboxOptions::new(), registration());
        assert_eq!(refused.unwrap_err(), AdmitError::Revoked, "{name}");
    }
    assert!(registry.draw_ticket().admit(Probe::new(), registration()).is_ok());
}

#[test]
fn adm_1_a_revocation_before_draw_or_after_admit_does_not_refuse() {
    let registry = Registry::new();
    let older = registry.draw_ticket();
    registry.close_by_identity(id("ada"));
    let probe = Probe::new();
    let younger = registry.draw_ticket();
    let _admitted = younger.admit(probe.clone(), group("ada")).unwrap();
    // The older ticket was drawn before the revocation.
    assert_eq!(older.admit(probe.clone(), group("ada")).unwrap_err(), AdmitError::Revoked);
    assert_eq!(registry.close_by_identity(id("ada")), 1, "admitted, then ended and counted");
    assert_eq!(probe.closed(), [CloseReason::Revoked]);
}

#[test]
fn adm_1_a_revocation_that_ends_subscribers_also_refuses_open_tickets() {
    let ends: [fn(&Outbox); 3] = [
        |_| {},
        |outbox| outbox.close(CloseReason::Shutdown),
        |outbox| outbox.close(CloseReason::Lagged),
    ];
    for (end, found) in ends.into_iter().zip([1, 0, 0]) {
        let registry = encoding();
        let session = open(&registry, group("ada"));
        let (one, other) = (registry.draw_ticket(), registry.draw_ticket());
        // The subscriber is active, or drains, or has ended while its owner still holds the outbox.
        end(&session);
        assert_eq!(registry.close_by_identity(id("ada")), found);
        assert_eq!(registry.stats().remembered_revocations, 1);
        for ticket in [one, other] {
            let refused = ticket.admit_outbox(&RAW, OutboxOptions::new(), group("ada"));
            assert_eq!(refused.unwrap_err(), AdmitError::Revoked);
        }
    }
}

#[test]
fn adm_1_a_plain_subscribe_is_no_admission() {
    let registry = Registry::new();
    let _ticket = registry.draw_ticket();
    registry.close_by_identity(id("ada"));
    assert!(
        registry.subscribe_with(Probe::new(), group("ada")).is_ok(),
        "REV-9: a revocation is an event"
    );
}

#[test]
fn adm_2_a_refusal_leaves_nothing_behind_and_evicts_no_subscriber() {
    let registry = encoding_with(capped(1));
    let first = Probe::new();
    let _first = join(&registry, &first, scope("s"));
    let refused = Probe::new();
    let weak = Arc::downgrade(&refused);

    let ticket = registry.draw_ticket();
    registry.close_by_identity(id("ada"));
    assert_eq!(
        ticket.admit(refused, scope("s").with_group(id("ada"))).unwrap_err(),
        AdmitError::Revoked
    );
    registry.broadcast("c", 1).unwrap();

    assert!(weak.upgrade().is_none(), "the refused sink is kept");
    assert_eq!(first.events(), [Event::Sent(1)], "the refused one evicted another");
    let stats = registry.stats();
    assert_eq!((stats.subscribers, stats.tickets, stats.remembered_revocations), (1, 0, 0));
}

#[test]
fn adm_2_a_refusal_without_an_encoder_frees_the_ticket() {
    let registry = Registry::new();
    let refused =
        registry.draw_ticket().admit_outbox(&RAW, OutboxOptions::new(), Registration::new());
    assert_eq!(refused.unwrap_err(), AdmitError::Subscribe(SubscribeError::NoEncoder));
    assert_eq!(registry.stats().tickets, 0);
}

#[test]
fn adm_2_a_refusal_by_the_registry_frees_the_ticket() {
    let cap = ScopeCap::new(size(1)).with_when_full(WhenFull::RefuseNew);
    let registry = encoding_with(RegistryOptions::new().with_scope_cap(cap));
    let _first = open(&registry, scope("s"));
    let refused = registry.draw_ticket().admit(Probe::new(), scope("s"));
    assert_eq!(refused.unwrap_err(), AdmitError::Subscribe(SubscribeError::ScopeFull));
    registry.begin_shutdown();
    let refused = registry.draw_ticket().admit(Probe::new(), Registration::new());
    assert_eq!(refused.unwrap_err(), AdmitError::Subscribe(SubscribeError::ShuttingDown));
    assert_eq!(registry.stats().tickets, 0);
}

#[test]
fn adm_3_open_tickets_hear_nothing_count_nowhere_and_take_no_place() {
    let registry = encoding_with(capped(1));
    let probe = Probe::new();
    let _one = join(&registry, &probe, scope("s"));
    let tickets: Vec<_> = (0..5).map(|_| registry.draw_ticket()).collect();
    assert_eq!((registry.len(), registry.stats().tickets), (1, 5));
    assert_eq!(registry.broadcast("c", 1).unwrap().matched, 1);
    assert_eq!(probe.closed(), []);
    drop(tickets);
    assert_eq!(registry.stats().tickets, 0);
}

#[test]
fn adm_4_identities_are_first_named_at_admit() {
    let registry = Registry::new();
    let ticket = registry.draw_ticket();
    let probe = Probe::new();
    let _subscription = ticket.admit(probe.clone(), group("ada").with_scope(id("s"))).unwrap();
    assert_eq!(registry.close_by_identity(id("ada")), 1);
}

#[test]
fn adm_5_revoking_others_does_not_refuse() {
    let registry = Registry::new();
    let ticket = registry.draw_ticket();
    for n in 0..100 {
        registry.close_by_identity(id(&format!("other-{n}")));
    }
    assert!(ticket.admit(Probe::new(), group("ada")).is_ok());
}

#[test]
fn adm_6_a_dropped_ticket_is_freed_and_nothing_is_remembered_without_one() {
    let registry = Registry::new();
    registry.close_by_identity(id("a"));
    assert_eq!(registry.stats().remembered_revocations, 0, "no ticket was open");
    let ticket = registry.draw_ticket();
    registry.close_by_identity(id("a"));
    assert_eq!(registry.stats().remembered_revocations, 1);
    drop(ticket);
    assert_eq!((registry.stats().tickets, registry.stats().remembered_revocations), (0, 0));
}

#[test]
fn adm_6_revocations_since_the_oldest_open_ticket_are_remembered() {
    let registry = Registry::new();
    let remembered = || registry.stats().remembered_revocations;
    let revoke = |name: &str| assert_eq!(registry.close_by_identity(id(name)), 0);
    let oldest = registry.draw_ticket();
    revoke("a");
    let middle = registry.draw_ticket();
    revoke("b");
    let youngest = registry.draw_ticket();
    assert_eq!(remembered(), 2);
    // Nothing is forgotten when a younger ticket is drawn or dropped.
    drop(youngest);
    drop(registry.draw_ticket());
    assert_eq!(remembered(), 2);
    let registration = || group("a").with_group(id("b"));
    assert_eq!(oldest.admit(Probe::new(), registration()).unwrap_err(), AdmitError::Revoked);
    assert_eq!(remembered(), 1, "the first, which came before all that are open");
    assert_eq!(
        middle.admit(Probe::new(), group("a")).map(drop),
        Ok(()),
        "the first came before it"
    );
    assert_eq!((remembered(), registry.stats().tickets), (0, 0));
}

#[test]
fn adm_6_a_ticket_expires() {
    let brief = Duration::from_secs(3);
    for (options, lifetime) in [
        (RegistryOptions::new(), RegistryOptions::DEFAULT_TICKET_LIFETIME),
        (RegistryOptions::new().with_ticket_lifetime(brief), brief),
    ] {
        let clock = ManualClock::new();
        let registry = Registry::with_options(options.with_clock(clock.clone()));
        let (late, in_time) = (registry.draw_ticket(), registry.draw_ticket());
        clock.advance(lifetime - Duration::from_nanos(1));
        assert!(in_time.admit(Probe::new(), group("ada")).is_ok());
        clock.advance(Duration::from_nanos(1));
        assert_eq!(late.admit(Probe::new(), group("ada")).unwrap_err(), AdmitError::Expired);
    }
}

#[test]
fn adm_6_a_ticket_may_live_for_ever() {
    let registry =
        Registry::with_options(RegistryOptions::new().with_ticket_lifetime(Duration::MAX));
    assert!(registry.draw_ticket().admit(Probe::new(), group("ada")).is_ok());
}

#[test]
fn adm_6_a_ticket_that_is_older_than_a_forgotten_revocation_is_refused() {
    let registry =
        Registry::with_options(RegistryOptions::new().with_max_remembered_revocations(10));
    let older = registry.draw_ticket();
    for n in 0..11 {
        registry.close_by_identity(id(&format!("{n}")));
        assert!(registry.stats().remembered_revocations <= 10);
    }
    let younger = registry.draw_ticket();
    assert_eq!(older.admit(Probe::new(), group("ada")).unwrap_err(), AdmitError::Forgotten);
    assert!(younger.admit(Probe::new(), group("ada")).is_ok());
}

#[test]
fn adm_6_a_ticket_outlives_its_registry() {
    let registry = Registry::new();
    let (admitting, dropped) = (registry.draw_ticket(), registry.draw_ticket());
    drop(registry);
    drop(dropped);
    let refused = admitting.admit(Probe::new(), group("ada"));
    assert_eq!(refused.unwrap_err(), AdmitError::Subscribe(SubscribeError::ShuttingDown));
}
