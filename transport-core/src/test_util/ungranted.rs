//! Requests that name channels beyond their grant (ADM-8), for every transport.

use super::host::{Host, Running};
use super::raw::{Head, Raw};
use super::tokens::{Tokens, grant};
use super::until;
use crate::admission::live::Live;
use axum::Router;
use axum::routing::MethodRouter;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::subsequence;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use registry_core::ChannelFilter;
use std::collections::BTreeSet;

/// How one transport is asked.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::exhaustive_structs, reason = "each transport's tests write one")]
pub struct Asked {
    /// The transport's route.
    pub route: fn(&Live<String>, Tokens) -> MethodRouter,
    /// The headers that its request needs.
    pub headers: &'static str,
    /// The status of an admission.
    pub admitted: u16,
}

/// A running transport, and how it is asked.
#[derive(Debug)]
pub struct Asker {
    asked: Asked,
    /// The registry.
    pub live: Live<String>,
    /// Its login check.
    pub tokens: Tokens,
    /// Its server.
    pub running: Running,
}

impl Asker {
    /// Starts the transport.
    pub async fn start(host: Host, asked: Asked) -> Self {
        let (live, tokens) = (Live::new(), Tokens::default());
        let app = Router::new().route("/live", (asked.route)(&live, tokens.clone()));
        let running = Running::start(host, app, &live).await;
        Self { asked, live, tokens, running }
    }

    /// Asks for these channels, as `ada`.
    pub async fn ask(&self, names: &[&str]) -> (Head, Raw) {
        let named: String = names.iter().map(|name| format!("&channel={}", encode(name))).collect();
        Raw::request(
            self.running.address,
            "GET",
            &format!("/live?token=ada{named}"),
            self.asked.headers,
        )
        .await
    }
}

fn encode(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let hex = std::str::from_utf8(&rest[..2]).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &rest[2..];
        } else {
            assert!(
                first.is_ascii_alphanumeric() || b"-._~".contains(first),
                "{text:?} is not safe"
            );
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// The names that a head lists, and their number.
pub fn listed(head: &Head) -> (Vec<String>, usize) {
    let names = head.header("x-channels-refused").into_iter().flat_map(|list| list.split(','));
    let count = head.header("x-channels-refused-count").map_or(0, |count| count.parse().unwrap());
    (names.map(decode).collect(), count)
}

/// In byte order, as names are counted and listed.
const NAMES: [&str; 9] = ["", "\r\nx-evil: 1", " ", "\"'", "100%", "a", "a,b", "b", "ä\u{2028}"];

/// Asks at random: the subscriber hears exactly what is named and granted, and the head lists the
/// rest.
pub async fn any_request_hears_what_it_is_granted_and_the_head_lists_the_rest(
    host: Host,
    asked: Asked,
) {
    let asker = Asker::start(host, asked).await;
    let mut runner = TestRunner::default();
    let case =
        (subsequence(&NAMES, 0..=NAMES.len()), option::of(subsequence(&NAMES, 0..=NAMES.len())));
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let (names, granted) = case.new_tree(&mut runner).unwrap().current();
        let filter = granted.clone().map_or(ChannelFilter::All, ChannelFilter::only);
        asker.tokens.grant("ada", grant("ada", filter));
        let is_granted =
            |name: &&str| granted.as_ref().is_none_or(|granted| granted.contains(name));
        let (heard, refused): (Vec<&str>, Vec<&str>) = names.iter().copied().partition(is_granted);

        let (head, mut raw) = asker.ask(&names).await;
        let case = format!("asked {names:?} of {granted:?}");
        let (listed, count) = listed(&head);
        assert!(head.header("x-evil").is_none(), "{case}");
        if !names.is_empty() && heard.is_empty() {
            assert_eq!((head.status, asker.live.len()), (403, 0), "{case}");
            raw.read_past("is not granted to this credential").await;
            seen.insert("refused");
            continue;
        }
        assert_eq!((head.status, asker.live.len()), (asked.admitted, 1), "{case}");
        assert_eq!(
            (&listed, count),
            (&refused.iter().map(|name| (*name).to_owned()).collect(), refused.len()),
            "{case}"
        );
        let registered: Vec<String> = asker
            .live
            .channels(None, 100)
            .iter()
            .map(|counted| counted.channel.as_str().to_owned())
            .collect();
        let hears = if names.is_empty() { granted.clone() } else { Some(heard.clone()) };
        assert_eq!(registered, hears.clone().unwrap_or_default(), "{case}");
        assert_eq!(asker.live.stats().unfiltered, usize::from(hears.is_none()), "{case}");
        for name in NAMES {
            let matched =
                asker.live.broadcast(name, format!("on {}.", encode(name))).unwrap().matched;
            assert_eq!(
                matched == 1,
                hears.as_ref().is_none_or(|hears| hears.contains(&name)),
                "{case} on {name:?}"
            );
        }
        if let Some(last) =
            NAMES.iter().rfind(|name| hears.as_ref().is_none_or(|hears| hears.contains(name)))
        {
            raw.read_past(&format!("on {}.", encode(last))).await;
        }
        seen.insert(if refused.is_empty() { "granted" } else { "granted in part" });
        drop(raw);
        until("the removal", || asker.live.is_empty()).await;
    }
    assert_eq!(seen.len(), 3, "only {seen:?}");
}

/// Asks for so many long names that they do not fit into a head.
pub async fn a_head_lists_what_fits_and_counts_all(host: Host, asked: Asked) {
    let asker = Asker::start(host, asked).await;
    asker.tokens.grant("ada", grant("ada", ChannelFilter::only(["runs"])));
    let long: Vec<String> = (10..99).map(|number| format!("{number}{}", "x".repeat(200))).collect();
    let names: Vec<&str> = long.iter().map(String::as_str).chain(["runs", "short"]).collect();
    let (head, _raw) = asker.ask(&names).await;
    assert_eq!((head.status, asker.live.len()), (asked.admitted, 1));
    let (listed, count) = listed(&head);
    assert_eq!(count, 90);
    assert_eq!(listed, [&long[..10], &["short".to_owned()]].concat(), "whole names, in 2 KiB");
}
