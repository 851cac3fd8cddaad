//! Prints what a load from memory that was not touched for a while costs, in nanoseconds.
//!
//! A chain through all cache lines of some megabytes, in an order that no prefetcher guesses, is
//! followed without a pause, and again 20 loads at a time with pauses of two milliseconds. With
//! `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` the same memory is on large pages, where the system has
//! them for processes that ask.

use std::hint::black_box;
use std::time::{Duration, Instant};

const BYTES: usize = 20 << 20;
const LOADS: usize = 20;
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    next: usize,
}

fn main() {
    let lines = BYTES / size_of::<Line>();
    let mut order: Vec<usize> = (0..lines).collect();
    let mut random = 88_172_645_463_325_252_u64; // xorshift's usual seed
    for at in (1..lines).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        order.swap(at, random as usize % at); // Sattolo's: one cycle through all
    }
    let chain: Vec<Line> = order.into_iter().map(|next| Line { next }).collect();
    let follow = |from: usize, loads: usize| {
        let start = Instant::now();
        let at = (0..loads).fold(from, |at, _| black_box(chain[at].next));
        (at, start.elapsed())
    };
    let (mut at, _) = follow(0, lines);
    let (reached, took) = follow(at, lines);
    println!("without a pause     {:8.1}", took.as_nanos() as f64 / lines as f64);
    at = reached;
    let (rounds, mut total) = (300, Duration::ZERO);
    for _ in 0..rounds {
        std::thread::sleep(PAUSE);
        let (reached, took) = follow(at, LOADS);
        at = reached;
        total += took;
    }
    println!("after a pause       {:8.1}", total.as_nanos() as f64 / (rounds * LOADS) as f64);
}
