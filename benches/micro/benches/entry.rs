//! What a ticket costs each request, and what drawing tickets costs a broadcaster.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use criterion::{Criterion, criterion_group, criterion_main};
use micro::Crowd;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tower_service::Service;
use transport_sse::Live;

fn request(criterion: &mut Criterion) {
    let live = Live::<String>::new();
    let plain: Router = Router::new().route("/", get(async || ""));
    let layered = plain.clone().layer(live.entry_layer());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut bench = criterion.benchmark_group("a request");
    for (name, app) in [("of a router", plain), ("of a router with the layer", layered)] {
        bench.bench_function(name, |bencher| {
            bencher.iter(|| {
                let request = Request::get("/").body(Body::empty()).expect("a request");
                black_box(runtime.block_on(app.clone().call(request)).expect("infallible"))
            });
        });
    }
    bench.finish();
}

fn broadcast(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("a broadcast to 10 of 10,000");
    for draws in [false, true] {
        let mut crowd = Crowd::new(10_000, 10);
        let registry = crowd.registry.clone();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while draws && !stop.load(Ordering::Relaxed) {
                    drop(registry.draw_ticket());
                }
            });
            let name = if draws { "while tickets are drawn" } else { "alone" };
            bench.bench_function(name, |bencher| {
                bencher.iter(|| {
                    crowd.broadcast();
                    crowd.take();
                });
            });
            stop.store(true, Ordering::Relaxed);
        });
    }
    bench.finish();
}

criterion_group!(benches, request, broadcast);
criterion_main!(benches);
