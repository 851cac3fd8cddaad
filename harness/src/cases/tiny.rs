//! What an adapter must get right before it is worth judging a registry.

use super::*;
use crate::script::Outbox;

/// A few tiny scripts, which come before all others.
pub(crate) fn tiny() -> Vec<Case> {
    let x = || a().group("x");
    let s = || a().scope("s");
    let take = |sub| op(Act::Take { sub, bytes: None });
    let abandon = |ticket| op(Act::Abandon { ticket });
    let overwritten = |with: Registration| Registration { overwrite: Some("b".into()), ..with };
    let exact = Registration { exact: true, ..on(&[]) };
    let (kind, other) = (Identity::kinded("user", "x"), Identity::kinded("team", "x"));
    cases! {
        "a subscriber" { sub(0, x()); };
        "a broadcast" { sub(0, x()); cast("a", "m1"); settle(); };
        "every channel" { sub(0, Registration::all()); cast("unheard of", "m1"); settle(); };
        "an unsubscribe, twice" { sub(0, x()); unsub(0); unsub(0); };
        "an unknown label is skipped" { unsub(7); };
        "a revocation" { sub(0, x()); sub(1, x()); revoke("x"); };
        "a revocation that names its reason" {
            sub(0, x()); revoke_as("x", Reason::LoggedOut); sub(1, x());
            revoke_as("x", Reason::Expired); sub(2, x()); revoke_as("x", Reason::Revoked);
        };
        "another registry" { sub(0, x()); elsewhere(cast("a", "m1")); settle(); };
        "a list that is overwritten" {
            sub(0, overwritten(a())); sub(1, overwritten(Registration::all())); cast("a", "m1");
            settle();
        };
        "a call from inside a send" {
            sub(0, x()); cast("a", "m1"); settle();
        } .on_send(0, vec![unsub(0)]);
        "a send that throws" {
            sub(0, x()); cast("a", "m1"); settle();
        } .throws(0, Hook::Send);
        "a close that throws" {
            sub(0, x()); sub(1, x()); revoke("x");
        } .throws(0, Hook::Close);
        "one sink for two subscribers" {
            sub(0, x()); sub_on(1, 0, a()); cast("a", "m1"); settle();
        } .nth(0, Hook::Send, 2, Vec::new(), Ending::Throw);
        "a message to an identity" { sub(0, x()); send_to("x", "b", "m1"); settle(); };
        "a count" { sub(0, x()); count(); };
        "two groups" { sub(0, x().group("y")); revoke("y"); revoke("x"); };
        "a group with a kind" {
            sub(0, a().group(kind.clone())); revoke(other); revoke(kind);
        };
        "an empty list that is meant exactly" { sub(0, exact); cast("a", "m1"); settle(); };
        "a scope, which is an identity too" { sub(0, s()); revoke("s"); };
        "a cap of one" { sub(0, s()); sub(1, s()); cast("a", "m1"); settle(); } .cap(1);
        "a ticket" { begin(0); admit(0, 0, x()); cast("a", "m1"); settle(); unsub(7); };
        "a ticket that came too late" { begin(0); revoke("x"); admit(0, 0, x()); };
        "tickets that are unknown or used up" {
            admit(7, 0, x()); abandon(7); begin(0); admit(0, 0, x()); admit(0, 1, x());
            abandon(0);
        };
        "an outbox" {
            sub(0, a().outbox(Outbox::default())); cast("a", "m1"); settle(); take(0); take(0);
            take(7);
        };
        "a shutdown" { sub(0, x()); op(Act::Shutdown); revoke("x"); };
    }
}
