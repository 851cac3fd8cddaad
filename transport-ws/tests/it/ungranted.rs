//! Channels beyond the grant: see the wire's `beyond`.

use crate::beyond::any_request_hears_what_is_granted_of_it_and_is_told_the_rest;
use crate::beyond::{Asked, a_head_tells_what_fits_and_counts_all};
use crate::handshake::UPGRADE;
use crate::wire::{Site, on_both_sites};
use transport_ws::ws;

const SOCKET: Asked = Asked { route: ws, headers: UPGRADE, admitted: 101 };

async fn adm_8_any_request_hears_what_is_granted_of_it_and_is_told_the_rest(site: Site) {
    any_request_hears_what_is_granted_of_it_and_is_told_the_rest(site, SOCKET).await;
}

async fn adm_8_a_head_tells_what_fits_and_counts_all(site: Site) {
    a_head_tells_what_fits_and_counts_all(site, SOCKET).await;
}

on_both_sites!(
    adm_8_any_request_hears_what_is_granted_of_it_and_is_told_the_rest,
    adm_8_a_head_tells_what_fits_and_counts_all,
);
