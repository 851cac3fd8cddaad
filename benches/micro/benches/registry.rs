//! What the registry costs, without sockets.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use micro::{Crowd, CrowdInLane, HEARD, body, group, identity, open};
use registry_core::{EventName, Outbox};
use std::hint::black_box;
use std::time::{Duration, Instant};
use transport_sse::{SSE, SSE_ENVELOPE};
use transport_ws::{LIVE, WS};

/// Operations between two readings of the clock, and between two tidyings that are not measured.
const ROUND: u64 = 64;

/// Measures `operation` in rounds, and calls `tidy` outside the time.
fn rounds<S>(
    iterations: u64,
    state: &mut S,
    operation: impl Fn(&mut S, u64),
    tidy: impl Fn(&mut S),
) -> Duration {
    let mut spent = Duration::ZERO;
    let mut done = 0;
    while done < iterations {
        let round = ROUND.min(iterations - done);
        let start = Instant::now();
        for at in 0..round {
            operation(state, at);
        }
        spent += start.elapsed();
        tidy(state);
        done += round;
    }
    spent
}

fn broadcast(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("broadcast, 10,000 subscribers");
    for hearing in [0_usize, 10, 1000] {
        let mut crowd = Crowd::new(10_000, hearing);
        bench.throughput(Throughput::Elements(hearing.max(1) as u64));
        bench.bench_function(BenchmarkId::new("matches", hearing), |bencher| {
            bencher.iter_custom(|times| {
                rounds(times, &mut crowd, |crowd, _| crowd.broadcast(), Crowd::take)
            });
        });
    }
    bench.finish();
}

fn lane(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("in a lane, 10,000 subscribers");
    for hearing in [10_usize, 1000] {
        let mut crowd = CrowdInLane::new(10_000, hearing);
        bench.throughput(Throughput::Elements(hearing as u64));
        bench.bench_function(BenchmarkId::new("broadcast, matches", hearing), |bencher| {
            bencher.iter_custom(|times| {
                rounds(times, &mut crowd, |crowd, _| crowd.broadcast(), CrowdInLane::serve)
            });
        });
        let broadcast_and_serve = |crowd: &mut CrowdInLane, _| {
            crowd.broadcast();
            crowd.serve();
        };
        bench.bench_function(
            BenchmarkId::new("broadcast and write, matches", hearing),
            |bencher| {
                bencher.iter_custom(|times| rounds(times, &mut crowd, broadcast_and_serve, |_| ()));
            },
        );
    }
    bench.finish();
}

fn close_by_identity(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("close_by_identity, 100,000 subscribers");
    bench.sample_size(20);
    let mut crowd = Crowd::new(100_000, 0);
    bench.bench_function("nobody holds it", |bencher| {
        let nobody = identity(usize::MAX);
        bencher.iter(|| crowd.registry.close_by_identity(black_box(&nobody)));
    });
    for (name, holders) in [("1 holder", 1), ("10 holders", 10)] {
        let named =
            |at: u64| if holders == 1 { identity(at as usize * 10) } else { group(at as usize) };
        let identities: Vec<_> = (0..ROUND).map(named).collect();
        bench.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                rounds(
                    times,
                    &mut crowd,
                    |crowd, at| {
                        let closed = crowd.registry.close_by_identity(&identities[at as usize]);
                        assert_eq!(closed, holders);
                    },
                    reopen,
                )
            });
        });
    }
    bench.finish();
}

/// Brings the first subscribers, of whom some were closed, back.
fn reopen(crowd: &mut Crowd) {
    let Crowd { registry, others, .. } = crowd;
    for (number, outbox) in others.iter_mut().enumerate().take(ROUND as usize * 10) {
        outbox.subscription().unsubscribe();
        *outbox = open(registry, number, &format!("other-{}", number / 100));
    }
}

/// What an event's name, and the messages of `live.v1`, cost a delivery (P11).
fn names(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("broadcast and write, 1,000 matches");
    let named = || body().with_name(EventName::from_static("created"));
    for (name, format, body) in [
        ("SSE", &SSE, body()),
        ("SSE with a name", &SSE, named()),
        ("SSE in an envelope", &SSE_ENVELOPE, named()),
        ("WebSocket", &WS, body()),
        ("live.v1", &LIVE, named()),
    ] {
        let mut crowd = CrowdInLane::of(1_000, 1_000, format, body);
        bench.throughput(Throughput::Elements(1_000));
        bench.bench_function(name, |bencher| {
            bencher.iter(|| {
                crowd.broadcast();
                crowd.serve();
            });
        });
    }
    bench.finish();
}

/// Messages to an identity, and a page of the subscribers (P13).
fn directed(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("100,000 subscribers");
    bench.sample_size(20);
    let mut crowd = Crowd::new(100_000, ROUND as usize * 10);
    for (name, holders) in [("nobody", 0), ("1 holder", 1), ("10 holders", 10)] {
        let named = |at: u64| match holders {
            0 => identity(usize::MAX),
            1 => identity(at as usize),
            _ => group(at as usize),
        };
        let identities: Vec<_> = (0..ROUND).map(named).collect();
        bench.bench_function(BenchmarkId::new("send_to", name), |bencher| {
            bencher.iter_custom(|times| {
                let send = |crowd: &mut Crowd, at: u64| {
                    let report = crowd.registry.send_to(&identities[at as usize], HEARD, ());
                    assert_eq!(report.expect("it can be encoded").accepted, holders);
                };
                rounds(times, &mut crowd, send, Crowd::take)
            });
        });
    }
    bench.bench_function("a page of 1,000", |bencher| {
        bencher.iter(|| assert_eq!(crowd.registry.page(None, 1_000).len(), 1_000));
    });
    bench.finish();
}

fn subscribe(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("subscribe and unsubscribe, 100,000 subscribers");
    bench.sample_size(20);
    let crowd = Crowd::new(100_000, 0);
    bench.bench_function("an outbox, 1 channel, 2 identities", |bencher| {
        bencher.iter(|| drop::<Outbox>(open(&crowd.registry, black_box(100_000), "other-7")));
    });
    bench.finish();
}

criterion_group!(benches, broadcast, lane, names, close_by_identity, directed, subscribe);
criterion_main!(benches);
