//! A snapshot, then live (SNP).

use axum::routing::{MethodRouter, get};
use transport_core::test_util::Host;
use transport_core::test_util::snapshot::{
    Snapshots, Take, a_revocation_in_the_middle_discards_the_rest,
    the_state_of_each_client_is_that_of_the_server,
    what_fails_is_answered_and_leaves_no_subscriber,
    what_was_broadcast_before_is_in_it_and_the_rest_follows,
};
use transport_sse::{Entry, Grant, Refusal, Sse};

fn route(grant: Grant, take: Take) -> MethodRouter {
    get(async move |entry: Entry<String>| -> Result<Sse, Refusal> {
        let entered = entry.admit(grant.clone())?;
        Ok(Sse::new(entered.first(async |at| take(at).await).await?))
    })
}

const EVENTS: Snapshots = Snapshots { route, headers: "", admitted: 200, spoken: None };

async fn snp_1_what_was_broadcast_before_is_in_it_and_the_rest_follows(host: Host) {
    what_was_broadcast_before_is_in_it_and_the_rest_follows(host, EVENTS).await;
}

async fn snp_2_a_revocation_in_the_middle_discards_the_rest(host: Host) {
    a_revocation_in_the_middle_discards_the_rest(host, EVENTS).await;
}

async fn snp_3_what_fails_is_answered_and_leaves_no_subscriber(host: Host) {
    what_fails_is_answered_and_leaves_no_subscriber(host, EVENTS).await;
}

async fn snp_1_the_state_of_each_client_is_that_of_the_server(host: Host) {
    the_state_of_each_client_is_that_of_the_server(host, EVENTS).await;
}

transport_core::on_every_host!(
    snp_1_what_was_broadcast_before_is_in_it_and_the_rest_follows,
    snp_2_a_revocation_in_the_middle_discards_the_rest,
    snp_3_what_fails_is_answered_and_leaves_no_subscriber,
    snp_1_the_state_of_each_client_is_that_of_the_server,
);
