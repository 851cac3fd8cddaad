//! Names, errors, debug output and statistics: what they show and what they hide.

use crate::kit::{Probe, encoding, hears, join, open};
use crate::wire::{BARE, wired, with_flusher};
use registry_core::{
    AdmitError, Channel, ChannelFilter, CloseReason, Identity, LaneOptions, ManualClock,
    OutboxOptions, Overflow, Registration, RegistryOptions, ScopeCap, SubscribeError,
    SubscriberRegistry, WireFormat,
};
use std::error::Error;
use std::num::NonZeroUsize;

#[test]
fn rev_6_an_identity_has_a_kind_or_none_and_hides_its_value() {
    let (ada, plain) = (Identity::new("account", "ada"), Identity::untyped("ada"));
    assert_eq!((ada.kind(), ada.value()), (Some("account"), "ada"));
    assert_eq!((plain.kind(), plain.value()), (None, "ada"));
    assert_eq!(format!("{ada:?} {plain:?}"), "Identity(account, 3 bytes) Identity(-, 3 bytes)");
}

#[test]
fn clo_5_every_reason_has_a_name_of_its_own() {
    let names: Vec<String> = CloseReason::ALL.iter().map(ToString::to_string).collect();
    let expected = [
        "revoked",
        "logged_out",
        "expired",
        "heartbeat",
        "evicted",
        "lagged",
        "failed",
        "protocol",
        "shutdown",
        "unsubscribed",
    ];
    assert_eq!(names, expected);
    let drains: Vec<CloseReason> =
        CloseReason::ALL.into_iter().filter(|reason| !reason.discards()).collect();
    assert_eq!(drains, [CloseReason::Shutdown]);
}

#[test]
fn del_8_an_error_says_what_to_do_and_keeps_its_cause() {
    let encoder = |_: &u8| Err("no words for it".into());
    let registry = SubscriberRegistry::with_encoder(RegistryOptions::new(), encoder);
    let error = registry.broadcast("c", 7).unwrap_err();
    assert_eq!(
        (error.data, error.to_string().as_str()),
        (7, "the payload cannot be encoded: no words for it")
    );
    assert_eq!(Error::source(&error).unwrap().to_string(), "no words for it");
    assert_eq!(format!("{error:?}"), "BroadcastError { source: \"no words for it\", .. }");
}

#[test]
fn adm_2_a_refusal_says_what_to_do() {
    for (error, words, retryable) in [
        (AdmitError::Revoked, "check the credential again", true),
        (AdmitError::Expired, "draw a new one", true),
        (AdmitError::Forgotten, "too many revocations", true),
        (SubscribeError::ShuttingDown.into(), "shutting down", false),
        (SubscribeError::ScopeFull.into(), "end one of its subscribers first", false),
        (SubscribeError::NoEncoder.into(), "with_encoder", false),
    ] {
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.is_retryable(), retryable, "{error}");
    }
}

#[test]
fn que_3_the_default_bounds_are_the_documented_ones() {
    let size = |n: usize| NonZeroUsize::new(n).unwrap();
    let outbox = OutboxOptions::new().with_max_messages(size(1_024)).with_max_bytes(size(1 << 20));
    assert_eq!(OutboxOptions::new(), outbox.with_overflow(Overflow::Close));
    assert_eq!(OutboxOptions::default(), OutboxOptions::new());
    assert_eq!(LaneOptions::new(), LaneOptions::new().with_max_bytes(size(64 << 20)));
    assert_eq!(LaneOptions::default(), LaneOptions::new());
    let registry = "RegistryOptions { scope_cap: None, ticket_lifetime: 10s, \
        max_remembered_revocations: 4096, max_waiting_broadcasts: 65536, end_hooks: false, .. }";
    assert_eq!(
        [RegistryOptions::new(), RegistryOptions::default()].map(|all| format!("{all:?}")),
        [registry; 2]
    );
}

#[test]
fn debug_output_names_its_subject() {
    static RAW: WireFormat =
        WireFormat::new("raw", |_, encoded, out| out.extend_from_slice(encoded.body()));
    let registry = encoding();
    let outbox = registry
        .open_outbox(&RAW, OutboxOptions::new(), registry_core::Registration::new())
        .unwrap();
    registry.broadcast("c", 7).unwrap();
    assert_eq!(format!("{:?}", Channel::from("c")), "\"c\"");
    assert_eq!(Channel::from("c").to_string(), "c");
    assert_eq!(format!("{:?}", ChannelFilter::only(["c"])), "Only({\"c\"})");
    assert_eq!(format!("{RAW:?}"), "WireFormat(\"raw\")");
    assert_eq!(format!("{registry:?}"), "SubscriberRegistry { len: 1, .. }");
    assert_eq!(
        format!("{outbox:?}"),
        "Outbox { id: SubscriptionId(1), messages: 1, bytes: 1, wired: false, ended: None, .. }"
    );
    assert!(outbox.subscription().id().to_string().ends_with("-1-0"));
    let mut flusher = registry.open_lane(LaneOptions::new());
    let join = || {
        registry
            .open_outbox(
                &RAW,
                OutboxOptions::new().with_flusher(),
                registry_core::Registration::new(),
            )
            .unwrap()
    };
    let _two = [join(), join()];
    assert!(!crate::wire::serve(&mut flusher));
    assert_eq!(format!("{flusher:?}"), "Flusher { lane: 0, subscribers: 2, .. }");
    assert_eq!(
        format!("{:?}", outbox.subscription()),
        "Subscription { id: SubscriptionId(1), .. }"
    );
    assert!(format!("{:?}", registry.draw_ticket()).starts_with("Ticket { number: 1"));
    assert!(format!("{:?}", ManualClock::new()).starts_with("ManualClock("));
    let options =
        format!("{:?}", RegistryOptions::new().with_scope_cap(ScopeCap::new(NonZeroUsize::MIN)));
    assert!(
        options.contains("limit: 1") && options.contains("10s") && options.contains("4096"),
        "{options}"
    );
    assert!(
        format!("{:?}", OutboxOptions::new().with_overflow(Overflow::DropOldest))
            .contains("DropOldest")
    );
}

#[test]
fn debug_output_of_an_outbox_shows_that_it_has_a_wire() {
    let registry = encoding();
    let (outbox, _socket) = wired(&registry, Registration::new());
    let shown =
        "Outbox { id: SubscriptionId(1), messages: 0, bytes: 0, wired: true, ended: None, .. }";
    assert_eq!(format!("{:?}", outbox.outbox()), shown);
    assert_eq!(format!("{outbox:?}"), format!("SocketOutbox({shown})"));
}

#[test]
fn cnt_2_the_statistics_count_active_subscribers_and_no_former_ones() {
    let registry = encoding();
    let named = open(&registry, hears(&["a", "b"]));
    let _flusher = registry.open_lane(LaneOptions::new());
    let unfiltered = (
        open(&registry, Registration::new()),
        registry.open_outbox(&BARE, with_flusher(), Registration::new()).unwrap(),
        join(&registry, &Probe::new(), Registration::new()),
    );
    let sink = join(&registry, &Probe::new(), hears(&["a"]));
    let read = || {
        let stats = registry.stats();
        let count = |of: &str| stats.formats.get(of).copied().unwrap_or_default();
        let page = registry.channels(None, 10);
        assert_eq!(stats.channels_named, page.len());
        let channels: Vec<_> =
            page.into_iter().map(|count| (count.channel.to_string(), count.subscribers)).collect();
        (stats.subscribers, count("raw"), count("sink"), stats.unfiltered, channels)
    };
    assert_eq!(read(), (5, 2, 2, 3, vec![("a".into(), 2), ("b".into(), 1)]));
    drop(unfiltered);
    drop(named);
    assert_eq!(read(), (1, 0, 1, 0, vec![("a".into(), 1)]));
    drop(sink);
    assert_eq!(read(), (0, 0, 0, 0, vec![]));
}

#[test]
fn cnt_2_channels_are_paged_in_the_order_of_their_names_each_exactly_once() {
    let registry = encoding();
    let names: Vec<String> = (0..25).map(|n| format!("channel {n:02}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).chain(["", "\u{10ffff}"]).collect();
    let _subscribers = [open(&registry, hears(&all)), open(&registry, hears(&all[3..5]))];
    let mut seen: Vec<(String, usize)> = Vec::new();
    loop {
        let after = seen.last().map(|(name, _)| name.clone());
        let page = registry.channels(after.as_deref(), 7);
        if page.is_empty() {
            break;
        }
        assert_eq!(
            page.len(),
            7.min(all.len() - seen.len()),
            "a page that is not the last is full: {page:?}"
        );
        seen.extend(page.into_iter().map(|count| (count.channel.to_string(), count.subscribers)));
        assert!(seen.len() <= all.len(), "a name comes again: {seen:?}");
    }
    let mut expected: Vec<(String, usize)> =
        all.iter().map(|name| ((*name).to_owned(), 1)).collect();
    expected[3].1 = 2;
    expected[4].1 = 2;
    expected.sort();
    assert_eq!(seen, expected);
    let last = registry.channels(Some("channel 24, which is not there"), 9);
    assert_eq!(last.iter().map(|count| count.channel.as_str()).collect::<Vec<_>>(), ["\u{10ffff}"]);
    assert_eq!(
        (registry.channels(None, 0), registry.channels(Some("\u{10ffff}"), 9)),
        (vec![], vec![])
    );
    assert_eq!(registry.channels(None, usize::MAX).len(), all.len());
}

#[test]
fn cnt_2_statistics_copy_no_names_and_pages_of_channels_share_them() {
    let registry = encoding();
    let looks = || {
        let stats = allocation_counter::measure(|| drop(registry.stats()));
        let page = allocation_counter::measure(|| assert!(registry.channels(None, 10).len() <= 10));
        (stats.bytes_total, page.bytes_total)
    };
    let _few = open(&registry, hears(&["a"]));
    let with_few = looks();
    let names: Vec<String> = (0..1_000).map(|n| format!("{n:01000}")).collect();
    let _many = open(&registry, hears(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    let with_many = looks();
    assert_eq!(with_many.0, with_few.0, "the statistics cost what they cost");
    assert!(with_many.1 < 1_000, "{} bytes for ten names of a thousand", with_many.1);
}

#[cfg(all(feature = "json", feature = "serde"))]
#[test]
fn cnt_2_the_statistics_are_serialised_under_the_names_of_their_fields() {
    use serde_json::{json, to_value};

    let registry = encoding();
    let _outbox = open(&registry, hears(&["a"]));
    let _ended = join(&registry, &Probe::new(), hears(&["a"]).with_group(Identity::new("k", "v")));
    registry.close_by_identity(Identity::new("k", "v"));
    let stats = to_value(registry.stats()).unwrap();
    assert_eq!((&stats["subscribers"], &stats["channels_named"]), (&json!(1), &json!(1)));
    assert_eq!(stats["formats"], json!({"raw": 1, "sink": 0}));
    assert_eq!(stats["ended"], json!({"revoked": 1}));
    let channels = to_value(registry.channels(None, 9)).unwrap();
    assert_eq!(channels, json!([{"channel": "a", "subscribers": 1}]));
}
