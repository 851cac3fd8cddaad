//! Names of events, and the envelope (NAM).

use axum::Router;
use registry_core::{Encoded, Event, EventName, Topic};
use transport_core::test_util::{Host, Raw, Running, Tokens};
use transport_sse::{Live, LiveBuilder, sse};

/// A server, and a stream that is asked for with a query.
async fn stream(host: Host, query: &str) -> (Live<Event>, Running, Raw) {
    let live = LiveBuilder::for_topics().build();
    let app = Router::new().route("/events", sse(&live, Tokens::of(&["ada"])));
    let running = Running::start(host, app, &live).await;
    let target = format!("/events?token=ada{query}");
    let (head, mut raw) = Raw::get(running.address, &target).await;
    assert_eq!(head.status, 200);
    raw.read_past(": ok\n\n").await;
    (live, running, raw)
}

fn created(encoded: Encoded) -> Event {
    encoded.with_name(EventName::from_static("created")).into()
}

async fn nam_2_a_name_is_a_field_of_its_event(host: Host) {
    let (live, _running, mut raw) = stream(host, "").await;
    let id = live.broadcast("runs", created(Encoded::json("{\"run\":17}"))).unwrap().id;
    let read = raw.read_past("\n\n").await;
    assert!(
        read.ends_with(&format!("\nid: {id}\nevent: created\ndata: {{\"run\":17}}\n\n")),
        "{read}"
    );
    let id = live.broadcast("runs", Encoded::json("17").into()).unwrap().id;
    let read = raw.read_past("\n\n").await;
    assert!(read.ends_with(&format!("\nid: {id}\ndata: 17\n\n")), "as before: {read}");
}

async fn nam_2_an_envelope_names_the_channel(host: Host) {
    let (live, _running, mut raw) = stream(host, "&envelope=1").await;
    for (event, line, data) in [
        (
            created(Encoded::json("{\"run\":17}")),
            "event: created\n",
            r#"{"channel":"a\"b","event":"created","data":{"run":17}}"#,
        ),
        (
            Encoded::text("two\nlines").into(),
            "",
            r#"{"channel":"a\"b","event":null,"data":"two\nlines"}"#,
        ),
    ] {
        let id = live.broadcast("a\"b", event).unwrap().id;
        let read = raw.read_past("\n\n").await;
        assert!(read.ends_with(&format!("\nid: {id}\n{line}data: {data}\n\n")), "{read}");
    }
}

async fn nam_3_what_is_published_on_a_topic_has_its_channel_and_name(host: Host) {
    static RUNS: Topic<u64> =
        Topic::new("runs").with_events(&["even", "odd"], |n| ["even", "odd"][*n as usize % 2]);
    let (live, _running, mut raw) = stream(host, "&channels=runs").await;
    assert_eq!(live.publish(&RUNS, &17).unwrap().matched, 1);
    raw.read_past("event: odd\ndata: 17\n\n").await;
    static OTHER: Topic<&str> = Topic::new("other");
    assert_eq!(live.publish(&OTHER, &"not heard").unwrap().matched, 0);
    assert_eq!(live.publish(&RUNS, &18).unwrap().matched, 1);
    raw.read_past("event: even\ndata: 18\n\n").await;
}

transport_core::on_every_host!(
    nam_2_a_name_is_a_field_of_its_event,
    nam_2_an_envelope_names_the_channel,
    nam_3_what_is_published_on_a_topic_has_its_channel_and_name,
);
