//! Coming, going, failing, being revoked.

use super::*;

pub(super) fn lives() -> Vec<Case> {
    cases! {
        "unsubscribe ends one, again and again" {
            sub(0, a()); sub(1, a()); unsub(0); unsub(0); cast("a", "m1"); settle(); count();
        };
        "one sink twice" {
            sub_on(0, 0, a()); sub_on(1, 0, a()); cast("a", "m1"); settle(); count(); unsub(0);
            cast("a", "m2"); settle(); count();
        };
        "one sink twice, one of them revoked" {
            sub_on(0, 0, a().group("x")); sub_on(1, 0, a().group("y")); revoke("x");
            cast("a", "m1"); settle(); revoke("y"); revoke("y");
        };
        "a sink comes back" {
            sub_on(0, 0, a().group("x")); revoke("x"); sub_on(1, 0, a().group("x")); unsub(0);
            cast("a", "m1"); settle(); revoke("x");
        };
        "two registries" {
            sub(0, a().group("x")); elsewhere(sub(1, a().group("x"))); cast("a", "m1");
            elsewhere(cast("a", "m2")); settle(); revoke("x"); elsewhere(cast("a", "m3"));
            elsewhere(settle()); elsewhere(revoke("x"));
        };
        "three hundred subscribers" ({
            let mut steps: Vec<Op> = (0..300).map(|label| sub(label, a().group("x"))).collect();
            steps.extend(steps! {
                sub(300, a()); count(); cast("a", "m1"); settle(); revoke("x"); count();
                cast("a", "m2"); settle();
            });
            steps
        });
        // One way only: where deliveries settle later, they settle registry by registry.
        "broadcast on another registry from inside a send" {
            sub(0, a()); elsewhere(sub(1, a())); cast("a", "m1"); settle();
            elsewhere(cast("a", "m2")); settle();
        } .on_send(0, vec![elsewhere(cast("a", "n1"))]);
        "two registries are counted apart" { sub(0, a()); elsewhere(count()); count(); };
        "a sink fails, the others do not" {
            sub(0, a()); sub(1, a().group("x")); sub(2, a()); cast("a", "m1"); settle();
            cast("a", "m2"); settle(); count(); revoke("x");
        } .throws(1, Hook::Send);
        "the only sink fails" {
            sub(0, a().group("x")); cast("a", "m1"); settle(); cast("a", "m2"); settle();
            sub(1, a()); cast("a", "m3"); settle();
        } .rule(0, Hook::Send, vec![], Ending::Fail);
        "a sink fails twice" {
            sub(0, a()); sub(1, a()); cast("a", "m1"); settle(); cast("a", "m2"); settle();
        } .throws(0, Hook::Send).nth(0, Hook::Send, 2, vec![], Ending::Throw)
            .throws(0, Hook::Close);
        "shutdown" {
            sub(0, a()); sub(1, a().group("x")); op(Act::Shutdown); cast("a", "m1"); settle();
            revoke("x"); sub(2, a()); count();
        };
        "shutdown, again and again" {
            sub(0, a().group("x")); sub(1, a()); unsub(1); op(Act::Shutdown); op(Act::Shutdown);
            unsub(0); revoke("x"); op(Act::Shutdown); count();
        };
        "a close fails at shutdown" {
            sub(0, a()); sub(1, a()); op(Act::Shutdown); cast("a", "m1"); settle();
        } .throws(0, Hook::Close);
        "subscribe from inside a close at shutdown" {
            sub(0, a().group("x")); sub(1, a()); op(Act::Shutdown); cast("a", "m1"); settle();
            count(); revoke("x");
        } .on_close(0, vec![sub(5, a().group("x")), cast("a", "n1")]);
        "a shutdown ends one registry" {
            sub(0, a()); elsewhere(op(Act::Shutdown)); elsewhere(sub(1, a())); cast("a", "m1");
            settle(); sub(2, a()); cast("a", "m2"); settle();
        };
    }
}

pub(super) fn revocations() -> Vec<Case> {
    let kinded = Identity::kinded;
    cases! {
        "revoke ends all that hold it" {
            sub(0, a().group("x")); sub(1, a().group("y")); sub(2, a()); sub(3, a().group("x"));
            count(); revoke("x"); count(); cast("a", "m1"); settle(); revoke("x"); unsub(0);
            unsub(3); count();
        };
        "an unknown identity" { revoke("x"); sub(0, a().group("y")); revoke("x"); revoke("a"); };
        "an identity is not a channel" {
            sub(0, on(&["x"]).group("a")); revoke("x"); cast("a", "m1"); cast("x", "m2"); settle();
            revoke("a");
        };
        "revoked and back" {
            sub(0, a().group("x")); revoke("x"); sub(1, a().group("x")); cast("a", "m1"); settle();
            revoke("x");
        };
        "unsubscribed, then revoked" {
            sub(0, a().group("x")); unsub(0); revoke("x"); cast("a", "m1"); settle();
        };
        "any of several identities" {
            sub(0, a().group("x").group("y").group("x")); sub(1, a().group("y").group("y"));
            sub(2, a().group("x").group("z")); revoke("x"); revoke("y"); revoke("z");
        };
        "scope and group alike" {
            sub(0, a().scope("x").group("x")); sub(1, a().scope("y").group("x")); revoke("x");
            revoke("y");
        } .cap(5);
        "kinds are not concatenated" {
            sub(0, a().group(kinded("a", "b:c"))); sub(1, a().group(kinded("a:b", "c")));
            sub(2, a().group("a:b:c")); revoke(kinded("a", "b:c")); revoke("a:b:c");
            revoke("a:b:c");
        };
        "no kind matches no kind" {
            sub(0, a().group(kinded("user", "1"))); sub(1, a().group("1")); revoke("1");
            cast("a", "m1"); settle(); revoke(kinded("account", "1")); revoke(kinded("user", "1"));
        };
        "revocations that name their reason" {
            sub(0, a().group("x")); sub(1, a().group("y")); sub(2, a().group("z"));
            sub(3, a().group("w")); revoke_as("x", Reason::LoggedOut);
            revoke_as("y", Reason::Expired); revoke_as("z", Reason::Revoked); cast("a", "m1");
            settle(); revoke("w"); revoke_as("x", Reason::Expired);
        };
        "logged out and back" {
            sub(0, a().group("x")); revoke_as("x", Reason::LoggedOut); sub(1, a().group("x"));
            cast("a", "m1"); settle(); revoke("x");
        };
        "a close fails" {
            sub(0, a().group("x")); sub(1, a().group("x")); sub(2, a().group("x")); revoke("x");
            count(); cast("a", "m1"); settle(); revoke("x");
        } .throws(0, Hook::Close).throws(1, Hook::Close);
    }
}
