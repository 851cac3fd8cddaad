//! What it costs to frame one message; it is done once for each broadcast and wire.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{Criterion, criterion_group, criterion_main};
use micro::body;
use registry_core::{Encode, Json, MessageId, SubscriberRegistry};
use std::hint::black_box;
use transport_sse::SSE;
use transport_ws::WS;

/// The id of a broadcast: registries alone make them.
fn id() -> MessageId {
    SubscriberRegistry::<()>::new().broadcast("", ()).expect("nothing is encoded").id
}

fn frames(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("200 bytes");
    let (id, body) = (id(), body());
    bench.bench_function("SSE event", |bencher| bencher.iter(|| SSE.frame(id, black_box(&body))));
    bench.bench_function("WebSocket frame", |bencher| {
        bencher.iter(|| WS.frame(id, black_box(&body)));
    });
    let text = "x".repeat(198);
    bench.bench_function("JSON string", |bencher| bencher.iter(|| Json.encode(black_box(&text))));
    bench.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
