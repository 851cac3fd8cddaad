//! Channels beyond the grant (ADM-8).

use crate::handshake::UPGRADE;
use transport_core::test_util::Host;
use transport_core::test_util::ungranted::{
    Asked, a_head_lists_what_fits_and_counts_all,
    any_request_hears_what_it_is_granted_and_the_head_lists_the_rest,
};
use transport_ws::ws;

const SOCKET: Asked = Asked { route: ws, headers: UPGRADE, admitted: 101 };

async fn adm_8_any_request_hears_what_it_is_granted_and_the_head_lists_the_rest(host: Host) {
    any_request_hears_what_it_is_granted_and_the_head_lists_the_rest(host, SOCKET).await;
}

async fn adm_8_a_head_lists_what_fits_and_counts_all(host: Host) {
    a_head_lists_what_fits_and_counts_all(host, SOCKET).await;
}

transport_core::on_every_host!(
    adm_8_any_request_hears_what_it_is_granted_and_the_head_lists_the_rest,
    adm_8_a_head_lists_what_fits_and_counts_all,
);
