//! REV, CLO and CNT: ending subscribers by identity.

use crate::kit::*;
use registry_core::{
    CloseReason, Identity, Next, OutboxOptions, Registration, Revocation, WireFormat,
};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

#[test]
fn rev_1_all_holders_are_ended_and_notified_before_it_returns() {
    let registry = encoding();
    let probes: Vec<_> = (0..10).map(|_| Probe::new()).collect();
    let _guards: Vec<_> = probes.iter().map(|probe| join(&registry, probe, group("a"))).collect();
    let mut outbox = open(&registry, scope("a"));
    assert_eq!(registry.close_by_identity(id("a")), 11);
    assert!(
        probes.iter().all(|probe| probe.events() == [Event::Closed(CloseReason::Revoked)]),
        "CLO-1, CLO-5"
    );
    assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Revoked)));
    assert_eq!(registry.len(), 0);
    assert_eq!(registry.stats().ended[&CloseReason::Revoked], 11);
}

#[test]
fn rev_2_nothing_is_sent_afterwards() {
    let registry = encoding();
    let probe = Probe::new();
    let _subscription = join(&registry, &probe, group("a"));
    let mut outbox = open(&registry, group("a"));
    registry.close_by_identity(id("a"));
    assert_eq!(registry.broadcast("c", 1).unwrap().matched, 0);
    assert_eq!(probe.events(), [Event::Closed(CloseReason::Revoked)]);
    assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Revoked)));
    assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Revoked)), "it is reported again");
}

#[test]
fn rev_2_nothing_is_sent_by_a_broadcast_that_began_earlier() {
    let registry = Registry::new();
    let (stop, park) = Stop::new();
    let park = Arc::new(park);
    // The sink that is served first waits in its send. The other two have not got the broadcast
    // yet.
    let probes: Vec<_> = (0..3)
        .map(|_| {
            let park = park.clone();
            Probe::sending(move |_| {
                park();
                registry_core::SendOutcome::Accepted
            })
        })
        .collect();
    let _guards: Vec<_> = probes.iter().map(|probe| join(&registry, probe, group("a"))).collect();
    let report = finishes(move || {
        std::thread::scope(|scope| {
            let broadcast = scope.spawn(|| registry.broadcast("c", 1).unwrap());
            stop.arrived();
            assert_eq!(registry.close_by_identity(id("a")), 3);
            drop(stop);
            broadcast.join().unwrap()
        })
    });
    assert_eq!((report.accepted, report.ended), (1, 2));
    assert_eq!(probes.iter().map(|probe| probe.sent().len()).sum::<usize>(), 1);
    assert!(
        probes
            .iter()
            .all(|probe| probe.events().last() == Some(&Event::Closed(CloseReason::Revoked))),
        "CLO-4"
    );
}

#[test]
fn rev_2_and_rev_3_an_outbox_takes_nothing_from_a_broadcast_that_began_earlier() {
    static PARK: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();
    static SLOW: WireFormat = WireFormat::new("slow", |_, encoded, out| {
        PARK.get().unwrap()();
        out.extend_from_slice(encoded.body());
    });
    let (stop, park) = Stop::new();
    assert!(PARK.set(Box::new(park)).is_ok());
    let registry = encoding();
    let mut outboxes: Vec<_> = (0..3)
        .map(|_| registry.open_outbox(&SLOW, OutboxOptions::new(), group("a")).unwrap())
        .collect();
    finishes(move || {
        thread::scope(|scope| {
            // The delivery waits in the middle: it has the list of subscribers, and has not built
            // the frame yet.
            let broadcast = scope.spawn(|| registry.broadcast("c", 1).unwrap());
            stop.arrived();
            assert_eq!(registry.close_by_identity(id("a")), 3);
            drop(stop);
            let report = broadcast.join().unwrap();
            assert_eq!((report.matched, report.accepted, report.ended), (3, 0, 3));
        });
    });
    for outbox in &mut outboxes {
        assert_eq!(poll(outbox), Some(Next::Closed(CloseReason::Revoked)));
    }
}

#[test]
fn rev_4_others_are_untouched() {
    let registry = Registry::new();
    let (held, other, none) = (Probe::new(), Probe::new(), Probe::new());
    let _held = join(&registry, &held, group("a"));
    let _other = join(&registry, &other, group("b"));
    let _none = join(&registry, &none, Registration::new());
    assert_eq!(registry.close_by_identity(id("a")), 1);
    registry.broadcast("c", 1).unwrap();
    assert_eq!((other.events(), none.events()), (vec![Event::Sent(1)], vec![Event::Sent(1)]));
    assert_eq!(registry.len(), 2);
}

#[test]
fn rev_5_identities_compare_byte_for_byte() {
    let registry = Registry::new();
    let values = ["ada", "Ada", " ada", "ada ", "ad", "adaa", "", "ada\0", "é", "e\u{301}", "*"];
    let _guards: Vec<_> =
        values.iter().map(|value| join(&registry, &Probe::new(), group(value))).collect();
    for (n, value) in values.iter().enumerate() {
        assert_eq!(registry.close_by_identity(id(value)), 1, "{value:?}");
        assert_eq!(registry.len(), values.len() - n - 1);
    }
}

#[test]
fn rev_6_channels_and_kinds_are_namespaces() {
    let registry = Registry::new();
    let probe = Probe::new();
    let _named = registry.subscribe(probe.clone(), Some(&["ada"]), Some("runs")).unwrap();
    let _kinded = join(&registry, &probe, Registration::new().with_group(Identity::new("a", "bc")));
    for missing in [
        Identity::untyped("ada"),
        Identity::new("", "runs"),
        Identity::new("runs", ""),
        Identity::untyped("bc"),
        Identity::untyped("abc"),
        Identity::new("ab", "c"),
        Identity::new("", "abc"),
        Identity::new("bc", "a"),
    ] {
        assert_eq!(registry.close_by_identity(&missing), 0, "{missing:?}");
    }
    assert_eq!(registry.close_by_identity(Identity::untyped("runs")), 1);
    assert_eq!(registry.close_by_identity(Identity::new("a", "bc")), 1);
}

#[test]
fn rev_7_any_identity_matches_and_each_subscriber_counts_once() {
    for revoked in ["s", "g", "h"] {
        let registry = Registry::with_options(capped(9));
        let probe = Probe::new();
        let registration = scope("s")
            .with_group(id("g"))
            .with_group(id("g"))
            .with_group(id("s"))
            .with_group(id("h"));
        let _first = join(&registry, &probe, registration.clone());
        let _second = join(&registry, &probe, registration);
        assert_eq!(registry.close_by_identity(id(revoked)), 2);
        for all in ["s", "g", "h"] {
            assert_eq!(registry.close_by_identity(id(all)), 0);
        }
        assert_eq!(probe.closed(), [CloseReason::Revoked; 2]);
    }
}

#[test]
fn rev_7_the_lists_of_holders_survive_removals_in_any_order() {
    let registry = Registry::new();
    let mut guards: Vec<_> = (0..60)
        .map(|n| {
            join(&registry, &Probe::new(), group("all").with_group(id(["x", "y", "z"][n % 3])))
        })
        .collect();
    for step in [7, 3, 11, 2] {
        let mut n = 0;
        guards.retain(|_| {
            n += 1;
            n % step != 0
        });
    }
    let left = guards.len();
    assert_eq!(registry.len(), left);
    let by_name: Vec<_> =
        ["x", "y"].iter().map(|name| registry.close_by_identity(id(name))).collect();
    let rest = registry.close_by_identity(id("all"));
    assert_eq!(by_name.iter().sum::<usize>() + rest, left);
    assert_eq!((registry.close_by_identity(id("z")), registry.len()), (0, 0));
}

#[test]
fn rev_8_all_matches_are_ended_before_the_first_close_runs() {
    let registry = encoding();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (inner, log) = (registry.clone(), seen.clone());
    let probe = Probe::closing(move |_| {
        let report = inner.broadcast("c", 1).unwrap();
        log.lock().unwrap().push((inner.len(), report.matched));
    });
    let _guards: Vec<_> = (0..3).map(|_| join(&registry, &probe, group("a"))).collect();
    let _outbox = open(&registry, group("a"));
    assert_eq!(registry.close_by_identity(id("a")), 4);
    assert_eq!(*seen.lock().unwrap(), [(0, 0); 3]);
}

#[test]
fn rev_8_a_close_that_is_stuck_holds_up_no_other_end() {
    let registry = encoding();
    let (in_send, park_send) = Stop::new();
    let (in_close, park_close) = Stop::new();
    let park_close = Arc::new(park_close);
    let sending = Probe::sending(move |_| {
        park_send();
        registry_core::SendOutcome::Accepted
    });
    let _sending = join(&registry, &sending, Registration::new());
    let revoked: Vec<_> = (0..3)
        .map(|_| {
            let park = park_close.clone();
            Probe::closing(move |_| park())
        })
        .collect();
    let guards: Vec<_> = revoked.iter().map(|probe| join(&registry, probe, group("a"))).collect();
    let mut outbox = open(&registry, group("a"));
    let notified = Arc::new(Mutex::new(Vec::new()));
    let noted = notified.clone();
    outbox.on_end(move |reason| noted.lock().unwrap().push(reason));
    finishes(move || {
        // The order of the four is open, so the delivery has handed the message to one of them at
        // most.
        let sent = || revoked.iter().map(|probe| probe.sent().len()).sum::<usize>();
        thread::scope(|scope| {
            let broadcast = scope.spawn(|| registry.broadcast("c", 1).unwrap());
            in_send.arrived();
            let before = sent();
            let revoking = scope.spawn(|| registry.close_by_identity(id("a")));
            in_close.arrived();
            assert_eq!(poll(&mut outbox), Some(Next::Closed(CloseReason::Revoked)));
            assert_eq!(
                *notified.lock().unwrap(),
                [CloseReason::Revoked],
                "its deadline must not wait for the close of a sink (REV-11)"
            );
            drop(in_send);
            broadcast.join().unwrap();
            assert_eq!(sent(), before, "a send began on one that had ended");
            drop(in_close);
            assert_eq!(revoking.join().unwrap(), 4);
        });
        drop(guards);
    });
}

#[test]
fn rev_9_a_revocation_is_an_event() {
    let registry = Registry::new();
    registry.close_by_identity(id("a"));
    let probe = Probe::new();
    let _subscription = join(&registry, &probe, group("a"));
    registry.broadcast("c", 1).unwrap();
    assert_eq!((probe.sent(), registry.len()), (vec![1], 1));
}

#[test]
fn rev_10_an_unknown_identity_returns_zero() {
    let registry = Registry::new();
    let _subscription = join(&registry, &Probe::new(), group("a"));
    assert_eq!(registry.close_by_identity(id("b")), 0);
    assert_eq!(registry.len(), 1);
}

#[test]
fn clo_4_a_close_on_another_thread_does_not_wait_for_the_send() {
    let registry = Registry::new();
    let (stop, park) = Stop::new();
    let probe = Probe::sending(move |_| {
        park();
        registry_core::SendOutcome::Accepted
    });
    let _guard = join(&registry, &probe, group("a"));
    let seen = probe.clone();
    finishes(move || {
        std::thread::scope(|scope| {
            scope.spawn(|| registry.broadcast("c", 1).unwrap());
            stop.arrived();
            assert_eq!(registry.close_by_identity(id("a")), 1);
            assert_eq!(seen.events(), [Event::Sent(1), Event::Closed(CloseReason::Revoked)]);
            assert_eq!(registry.broadcast("c", 2).unwrap().matched, 0);
            drop(stop);
        });
    });
    assert_eq!(probe.events().len(), 2, "closed once, and no send after it");
}

#[test]
fn clo_5_the_first_discarding_reason_stands() {
    let registry = encoding();
    let mut outbox = open(&registry, group("a"));
    outbox.close(CloseReason::Heartbeat);
    outbox.close(CloseReason::Protocol);
    assert_eq!(registry.close_by_identity(id("a")), 0);
    registry.begin_shutdown();
    assert_eq!(ended(&mut outbox), Some(CloseReason::Heartbeat));
    assert_eq!(
        registry.stats().ended.into_iter().collect::<Vec<_>>(),
        [(CloseReason::Heartbeat, 1)]
    );
}

#[test]
fn clo_5_each_revocation_has_the_reason_of_its_name_and_the_default_is_revoked() {
    let table = [
        (Revocation::Revoked, CloseReason::Revoked, "revoked"),
        (Revocation::LoggedOut, CloseReason::LoggedOut, "logged_out"),
        (Revocation::Expired, CloseReason::Expired, "expired"),
    ];
    assert_eq!(Revocation::ALL, table.map(|(revocation, ..)| revocation));
    assert_eq!(Revocation::default(), Revocation::Revoked);
    for (revocation, reason, name) in table {
        assert_eq!((CloseReason::from(revocation), reason.discards()), (reason, true));
        assert_eq!((revocation.as_str(), revocation.to_string().as_str()), (name, name));
    }
}

#[test]
fn rev_13_each_revocation_ends_sinks_and_outboxes_by_its_own_reason_and_discards() {
    for revocation in Revocation::ALL {
        let reason = CloseReason::from(revocation);
        let registry = encoding();
        let probe = Probe::new();
        let _subscription = join(&registry, &probe, group("a"));
        let mut outbox = open(&registry, group("a"));
        registry.broadcast("c", 1).unwrap();
        assert_eq!(registry.close_by_identity_as(id("a"), revocation), 2);
        assert_eq!(probe.events(), [Event::Sent(1), Event::Closed(reason)]);
        assert_eq!(
            poll(&mut outbox),
            Some(Next::Closed(reason)),
            "REV-3: what was queued is discarded"
        );
        assert_eq!(registry.stats().ended.into_iter().collect::<Vec<_>>(), [(reason, 2)]);
        for again in Revocation::ALL {
            assert_eq!(registry.close_by_identity_as(id("a"), again), 0, "CNT-1");
        }
        assert_eq!(
            (poll(&mut outbox), probe.events().len()),
            (Some(Next::Closed(reason)), 2),
            "the first stands"
        );
    }
}

#[test]
fn adm_1_each_revocation_refuses_an_admission_that_it_crosses() {
    for revocation in Revocation::ALL {
        let registry = encoding();
        let ticket = registry.draw_ticket();
        assert_eq!(registry.close_by_identity_as(id("a"), revocation), 0);
        let refused = ticket.admit_outbox(&RAW, OutboxOptions::new(), group("a"));
        assert_eq!(refused.unwrap_err(), registry_core::AdmitError::Revoked);
    }
}
