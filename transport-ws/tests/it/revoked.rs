//! What a client is told whose authority was ended.

use crate::Server;
use crate::wire::{Site, account, on_both_sites};
use registry_core::Revocation;

async fn ws_1_a_revocation_says_come_back_and_a_log_out_says_stay_away(site: Site) {
    let server = Server::start(site, &["ada"]).await;
    let ada = server.open("token=ada").await;
    assert_eq!(server.registry.close_by_identity(&account("ada")), 1);
    assert_eq!(ada.closed().await, (4001, "revoked".into()));

    for (revocation, code, word) in [
        (Revocation::Revoked, 4001, "revoked"),
        (Revocation::LoggedOut, 4005, "logged_out"),
        (Revocation::Expired, 4002, "expired"),
    ] {
        let ada = server.open("token=ada").await;
        assert_eq!(server.registry.close_by_identity_as(&account("ada"), revocation), 1);
        assert_eq!(ada.closed().await, (code, word.into()));
    }
}

on_both_sites!(ws_1_a_revocation_says_come_back_and_a_log_out_says_stay_away);
