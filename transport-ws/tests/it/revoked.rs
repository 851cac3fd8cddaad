//! The close codes of revocations.

use crate::Server;
use registry_core::Revocation;
use transport_core::test_util::{Host, account};

async fn ws_1_a_revocation_asks_the_client_back_and_a_log_out_does_not(host: Host) {
    let server = Server::start(host, &["ada"]).await;
    let ada = server.open("token=ada").await;
    assert_eq!(server.live.close_by_identity(account("ada")), 1);
    assert_eq!(ada.closed().await, (4001, "revoked".into()));

    for (revocation, code, word) in [
        (Revocation::Revoked, 4001, "revoked"),
        (Revocation::LoggedOut, 4005, "logged_out"),
        (Revocation::Expired, 4002, "expired"),
    ] {
        let ada = server.open("token=ada").await;
        assert_eq!(server.live.close_by_identity_as(account("ada"), revocation), 1);
        assert_eq!(ada.closed().await, (code, word.into()));
    }
}

transport_core::on_every_host!(ws_1_a_revocation_asks_the_client_back_and_a_log_out_does_not);
