//! What it costs to frame one message; it is done once for each broadcast and wire.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{Criterion, criterion_group, criterion_main};
use micro::body;
use registry_core::{Channel, Encode, EventName, Json, MessageHead, MessageId, SubscriberRegistry};
use std::hint::black_box;
use transport_sse::{SSE, SSE_ENVELOPE};
use transport_ws::{LIVE, WS};

/// The id of a broadcast: registries alone make them.
fn id() -> MessageId {
    SubscriberRegistry::<()>::new().broadcast("", ()).expect("nothing is encoded").id
}

fn frames(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("200 bytes");
    let (id, channel, body) = (id(), Channel::from("runs"), body());
    let named = body.clone().with_name(EventName::from_static("created"));
    let head = MessageHead::new(id, &channel);
    for (name, format, body) in [
        ("SSE event", &SSE, &body),
        ("SSE event with a name", &SSE, &named),
        ("SSE event in an envelope", &SSE_ENVELOPE, &named),
        ("WebSocket frame", &WS, &body),
        ("live.v1 event", &LIVE, &named),
    ] {
        bench.bench_function(name, |bencher| {
            bencher.iter(|| format.frame(head, black_box(body)));
        });
    }
    let text = "x".repeat(198);
    bench.bench_function("JSON string", |bencher| bencher.iter(|| Json.encode(black_box(&text))));
    bench.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
