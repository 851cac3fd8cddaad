//! A snapshot, then live (SNP).

use axum::response::Response;
use axum::routing::{MethodRouter, get};
use transport_core::test_util::Host;
use transport_core::test_util::snapshot::{
    Snapshots, Take, a_revocation_in_the_middle_discards_the_rest,
    the_state_of_each_client_is_that_of_the_server,
    what_fails_is_answered_and_leaves_no_subscriber,
    what_was_broadcast_before_is_in_it_and_the_rest_follows,
};
use transport_ws::{Entry, Grant, Refusal, WsUpgrade};

fn route(grant: Grant, take: Take) -> MethodRouter {
    get(async move |entry: Entry<String>, upgrade: WsUpgrade| -> Result<Response, Refusal> {
        let entered = entry.admit(grant.clone())?;
        Ok(upgrade.serve(entered.first(async |at| take(at).await).await?))
    })
}

const SOCKET: Snapshots = Snapshots {
    route,
    headers: "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: live.v1\r\n",
    admitted: 101,
    spoken: Some("\"code\":\"unavailable\""),
};

async fn snp_1_what_was_broadcast_before_is_in_it_and_the_rest_follows(host: Host) {
    what_was_broadcast_before_is_in_it_and_the_rest_follows(host, SOCKET).await;
}

async fn snp_2_a_revocation_in_the_middle_discards_the_rest(host: Host) {
    a_revocation_in_the_middle_discards_the_rest(host, SOCKET).await;
}

async fn snp_3_what_fails_is_answered_and_leaves_no_subscriber(host: Host) {
    what_fails_is_answered_and_leaves_no_subscriber(host, SOCKET).await;
}

async fn snp_1_the_state_of_each_client_is_that_of_the_server(host: Host) {
    the_state_of_each_client_is_that_of_the_server(host, SOCKET).await;
}

transport_core::on_every_host!(
    snp_1_what_was_broadcast_before_is_in_it_and_the_rest_follows,
    snp_2_a_revocation_in_the_middle_discards_the_rest,
    snp_3_what_fails_is_answered_and_leaves_no_subscriber,
    snp_1_the_state_of_each_client_is_that_of_the_server,
);
